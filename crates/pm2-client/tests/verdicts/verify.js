// Prints what PM2's own command line makes of each app in the list on standard input, before it starts anything:
// an error, a value that is not a number, or a config.
const path = require('path')
const root = process.argv[2]
const Common = require(path.join(root, 'lib/Common.js'))
// For `trace: true` PM2's command line runs `npm install`, into its own folder and with our standard output.
try {
  require(path.join(root, 'lib/OtelManager.js')).ensureInstalled = () => true
} catch {
  // PM2 before 7 installs nothing.
}
const apps = JSON.parse(require('fs').readFileSync(0, 'utf8'))
const print = console.log
// PM2 also prints its errors.
console.log = console.error = console.warn = () => {}
const verdicts = apps.map(app => {
  try {
    const verified = Common.verifyConfs([app])
    if (verified instanceof Error) return { error: verified.message }
    const config = verified[0]
    const broken = Object.keys(config).find(key => Number.isNaN(config[key]))
    return broken ? { error: `${broken} is not a number` } : { config }
  } catch (error) {
    return { error: String(error) }
  }
})
print(JSON.stringify(verdicts))
