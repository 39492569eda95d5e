#!/usr/bin/env node
// Runs the pm2-sync of this platform, which an optional dependency brings, and ends as it ends.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");
const { optionalDependencies } = require("../package.json");

function libc() {
  if (process.platform !== "linux") return "";
  // Without this, a report looks up the names of all open connections.
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime ? "-gnu" : "-musl";
}

function fail(message, hint) {
  process.stderr.write(`error: ${message}\nhint: ${hint}\n`);
  process.exit(1);
}

function program() {
  const name = `@pm2-sync/${process.platform}-${process.arch}${libc()}`;
  if (!(name in optionalDependencies)) {
    fail(
      `pm2-sync is not built for this platform (${process.platform}, ${process.arch})`,
      "with Rust, `cargo install pm2-sync` builds it on Linux and macOS",
    );
  }
  try {
    return require.resolve(`${name}/bin/pm2-sync`);
  } catch {
    return fail(
      `the package \`${name}\` is not installed`,
      "install pm2-sync again, with optional dependencies (without `--omit=optional`), on the machine that runs it",
    );
  }
}

const file = program();
const child = spawn(file, process.argv.slice(2), { stdio: "inherit" });

// A terminal sends Ctrl-C to the child as well, for which a second one means "stop now". Without a terminal only this process
// gets the signal.
const hasTerminal = [0, 1, 2].some((fd) => require("node:tty").isatty(fd));
for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM"]) {
  process.on(signal, () => {
    if (!hasTerminal || signal === "SIGTERM") child.kill(signal);
  });
}

child.on("error", (error) => fail(`cannot run ${file}: ${error.message}`, "install pm2-sync again"));
child.on("exit", (status, signal) => {
  if (signal === null) process.exit(status);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  // In case the signal does not end this process.
  setTimeout(() => process.exit(128 + constants.signals[signal]), 1000);
});
