// Prints, as JSON, what PM2 would read from a config. Run by `node -e`, with the request as its only argument.
'use strict';
const fs = require('fs');
const path = require('path');
const request = JSON.parse(process.argv[1]);

// Output of the config itself goes to standard error.
process.stdout.write = process.stderr.write.bind(process.stderr);
// PM2 evaluates a config in `pm2 start FILE`.
process.argv = [process.execPath, request.pm2, 'start', request.file];
process.execArgv = [];

function yaml() {
  const { createRequire } = require('module');
  // PM2's own parser, else one that the project provides.
  for (const from of [request.pm2Package, path.dirname(request.path)]) {
    try {
      if (from) return createRequire(path.join(from, 'package.json'))('js-yaml');
    } catch {}
  }
  throw new Error('YAML is read with the parser of PM2, and PM2 was not found: name it with --pm2');
}

// As in PM2's lib/Common.js, parseConfig; a module that `require` refuses is imported.
async function load() {
  if (request.kind === 'json') {
    const vm = require('vm');
    return vm.runInThisContext('(' + fs.readFileSync(request.path) + ')', { filename: request.path });
  }
  if (request.kind === 'yaml') return yaml().load(fs.readFileSync(request.path).toString());
  try {
    return require(request.path);
  } catch (error) {
    if (error.code !== 'ERR_REQUIRE_ESM' && error.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return import(require('url').pathToFileURL(request.path));
  }
}

async function config() {
  let loaded = await load();
  const isObject = loaded !== null && typeof loaded === 'object';
  if (isObject && loaded.default && !loaded.apps && !loaded.pm2) loaded = loaded.default;
  return typeof loaded === 'function' ? loaded() : loaded;
}

const lost = [];

// A value as PM2's daemon receives it, through JSON.
function plain(value, at, above) {
  const lose = (what) => void lost.push({ at, what });
  switch (typeof value) {
    case 'string':
      // Half of a surrogate pair is not valid text.
      return Buffer.from(value).toString();
    case 'number':
      if (Number.isFinite(value)) return value;
      lose(String(value));
      return null;
    case 'boolean':
      return value;
    case 'undefined':
      return undefined;
    case 'bigint':
    case 'function':
    case 'symbol':
      return lose(`a ${typeof value}`);
  }
  if (value === null) return null;
  if (value instanceof RegExp) lose('a regular expression');
  if (typeof value.toJSON === 'function') return plain(value.toJSON(), at, above);
  if (above.includes(value)) {
    lose('a reference to what it is in');
    return null;
  }
  const here = [...above, value];
  if (Array.isArray(value)) return value.map((item, n) => plain(item, [...at, n], here) ?? null);
  const out = {};
  for (const key of Object.keys(value)) {
    const one = plain(value[key], [...at, key], here);
    if (one !== undefined) out[key] = one;
  }
  return out;
}

function answer(value) {
  const bytes = Buffer.from(request.mark + JSON.stringify(value));
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(1, bytes, at);
  // Connections and timers of the config must not keep the process alive.
  process.exit(0);
}

// The error, and its position in the file.
function describe(error) {
  if (!(error instanceof Error)) return String(error);
  const [, after] = String(error.stack).split(request.path + ':');
  const line = parseInt(after, 10);
  return `${line ? `line ${line}: ` : ''}${error.name}: ${error.message}`;
}

config().then(
  (value) => answer({ config: plain(value, [], []) ?? null, lost }),
  (error) => answer({ error: describe(error) }),
);
