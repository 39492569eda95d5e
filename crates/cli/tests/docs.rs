//! Runs every command shown in the pages, and checks that every flag they mention exists.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::checked::Checked;
use common::{Env, planted, sleeper};
use rustix::process::{Pid, Signal, kill_process};

/// Prefixes of commands that other tests or the gate run.
const ELSEWHERE: &[&str] = &[
    // The gate: `.ci/run`.
    ".ci/run",
    "npm ci",
    "cargo build",
    "cargo test",
    // Chores; a test below checks that they exist.
    "cargo xtask",
    // `docs/benchmarks.md`, measured by hand.
    "cargo bench",
    "cargo run --release",
    // Installation: `tools/xtask/tests/packages.rs` installs each package into an empty directory.
    "cargo install",
    "npm install",
    "sudo apt install ./pm2-sync",
    "tar -xzf pm2-sync-",
    // Scripts for other shells, too: `tests/daily.rs`.
    "source <(pm2-sync completions",
    // `packages.rs` runs what the unit runs.
    "systemctl --user",
    // A code that matches no removal: `tests/pm2/removal.rs`.
    "pm2-sync sync --confirm 3f9a01c7",
];

fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.join("../..").canonicalize().unwrap()
}

/// The pages that show commands, by their names.
fn pages() -> BTreeMap<String, String> {
    let root = root();
    let docs = root.join("docs").read_dir().unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let pages = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name));
    docs.chain(pages)
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            (name.to_owned(), std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The lines of all command blocks. A block that starts with a prompt is a transcript, which has its own test.
fn commands(page: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut lines = page.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let is_shell = ["```console", "```sh"].contains(&line);
        let is_other = line.starts_with("```") && !is_shell;
        if !is_shell && !is_other {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if is_shell && !block.first().is_some_and(|first| first.starts_with("$ ")) {
            commands.extend(block.into_iter().filter(|line| !line.is_empty()));
        }
    }
    commands
}

/// A workspace in which the commands work.
fn workspace() -> Env {
    let env = Env::new();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(root().join("fixtures/workspace/."))
        .arg(&env.root)
        .status();
    assert!(copied.unwrap().success());
    env.define("api", &sleeper("api", 1000));
    env.write(
        "FILE.edn",
        "{:apps [{:name \"web\" :script \"./web.js\" :watch true :env {:PORT 80}}]\n :profiles {:dev {:apps [{:name \"web\" :time true}]}}}",
    );
    // The scripts and PM2 files that the pages mention.
    let idle = "setInterval(() => {}, 100000);";
    let config = "module.exports = { apps: [{ name: 'shop', script: './server.js' }] };";
    env.write("server.js", idle);
    env.write("job.sh", "sleep 1000");
    env.write("ecosystem.config.js", config);
    let home = env.bed.dir().join(".pm2");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("dump.pm2"), "[]").unwrap();
    env
}

/// A shell command line that ends within a minute.
fn shell(env: &Env, line: &str) -> Checked {
    let mut bash = env.program("timeout");
    bash.args(["--foreground", "60", "bash", "-c", line]);
    bash
}

/// Runs a command that ends by itself.
fn run(env: &Env, line: &str) {
    let has_jq = || Command::new("jq").arg("--version").output().is_ok();
    let line = match line.split_once("| jq") {
        Some((before, _)) if !has_jq() => before,
        _ => line,
    };
    let done = shell(env, line).output().unwrap();
    // 2: changes are pending. 3: an app is not ready yet.
    let is_fine = matches!(done.status.code(), Some(0 | 2 | 3));
    assert!(is_fine, "{line}\n{done:?}");
}

/// Runs a command that does not end by itself, until it prints something.
fn run_for_a_moment(env: &Env, line: &str) {
    let mut command = shell(env, &format!("exec {line}"));
    let mut child = command.spawn_piped().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let streams: [Box<dyn std::io::Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    for stream in streams {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // The receiver is gone after the first line.
                let _ = sender.send(line);
            }
        });
    }
    let first = receiver.recv_timeout(std::time::Duration::from_secs(20));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(first.is_ok(), "{line} printed nothing");
    planted::check(&first.unwrap());
    assert!(matches!(status.code(), Some(0 | 130)), "{line}: {status}");
}

#[test]
fn every_command_of_the_pages_works() {
    let mut count = 0;
    for (name, page) in pages() {
        let lines = commands(&page);
        if lines.is_empty() {
            continue;
        }
        let env = workspace();
        for line in lines {
            let command = line.split(" #").next().unwrap().trim();
            if command.is_empty() || ELSEWHERE.iter().any(|known| command.starts_with(known)) {
                continue;
            }
            println!("{name}: {command}");
            count += 1;
            let is_endless = |word| ["watch", "--watch", "--follow", "-f"].contains(&word);
            if command.split(' ').any(is_endless) {
                run_for_a_moment(&env, command);
            } else {
                run(&env, command);
            }
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn every_chore_of_the_pages_exists() {
    let usage = std::fs::read_to_string(root().join("tools/xtask/src/main.rs")).unwrap();
    for (name, page) in pages() {
        for after in page.split("cargo xtask ").skip(1) {
            let end = after
                .find(|char: char| !char.is_ascii_lowercase())
                .unwrap_or(after.len());
            let chore = format!("cargo xtask {}", &after[..end]);
            assert!(usage.contains(&chore), "{name}: {chore}");
        }
    }
}

/// `pm2-sync COMMAND ... --flag` in the text of a page.
#[test]
fn every_flag_of_the_pages_exists() {
    let env = Env::new();
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    for (name, page) in pages() {
        for span in page.split('`').skip(1).step_by(2) {
            let mut words = span.split_whitespace();
            if words.next() != Some("pm2-sync") {
                continue;
            }
            let Some(command) = words
                .next()
                .filter(|word| word.starts_with(char::is_lowercase))
            else {
                continue;
            };
            let help = helps.entry(command.to_owned()).or_insert_with(|| {
                let done = env.run(&[command, "--help"]);
                assert_eq!(done.code, 0, "{name}: `{span}`: {}", done.err);
                done.out
            });
            for flag in words.filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                assert!(
                    help.contains(flag),
                    "{name}: `{span}`: {command} has no {flag}"
                );
            }
        }
    }
    assert!(helps.len() > 8, "{:?}", helps.keys());
}
