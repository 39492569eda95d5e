// The reference way to watch: chokidar, and for each change nbb to render and `pm2 start`.
// Arguments: the tree, nbb, the reference renderer, PM2's command, a directory for intermediate files.
// Prints `ready` once it watches, and `done` when all changes have been passed to PM2.
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import chokidar from 'chokidar';

const [tree, nbb, reference, pm2, dir] = process.argv.slice(2);
const run = promisify(execFile);
const [from, to, config] = ['from.json', 'to.json', 'app.json'].map((name) => `${dir}/${name}`);
const changed = new Set();
let busy = false;

async function start(definition) {
  await writeFile(from, JSON.stringify([await readFile(definition, 'utf8')]));
  await run(nbb, [reference, from, to]);
  const [answer] = JSON.parse(await readFile(to, 'utf8'));
  await writeFile(config, JSON.stringify(JSON.parse(answer.json), null, 2));
  await run(pm2, ['start', config]);
}

async function work() {
  if (busy) return;
  busy = true;
  for (const definition of changed) {
    changed.delete(definition);
    await start(definition);
  }
  busy = false;
  console.log('done');
}

chokidar
  .watch(tree, { ignoreInitial: true })
  .on('all', (event, path) => {
    if (!path.endsWith('/ecosystem.pm2.edn') || event === 'unlink') return;
    changed.add(path);
    work();
  })
  .on('ready', () => console.log('ready'));
