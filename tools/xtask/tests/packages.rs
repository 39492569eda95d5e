//! Every package of `cargo xtask dist`, installed into an empty directory and used there, offline and without a Rust toolchain.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use pm2_testbed::Testbed;
use rustix::process::{Pid, Signal, kill_process};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The packages, made once for all tests.
static DIST: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let done = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["dist", "--profile", "dev"])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    root.canonicalize().unwrap().join("target/dist")
});

/// The only package whose name starts and ends with these texts.
fn package(start: &str, end: &str) -> PathBuf {
    let entries = DIST.read_dir().unwrap().flatten();
    let found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(start) && name.ends_with(end)
        })
        .collect();
    match &found[..] {
        [only] => only.clone(),
        _ => panic!("{start}*{end}: {found:?}"),
    }
}

/// A machine with PM2 and a workspace of one daemon, `sleeper`.
struct Machine {
    bed: Testbed,
    dir: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let bed = Testbed::home_only();
        let dir = bed.dir().as_std_path().join("machine");
        let machine = Self { bed, dir };
        machine.define("{:apps [{:name \"sleeper\" :script \"/bin/sleep\" :args [\"1000\"]}]}");
        machine
    }

    fn define(&self, edn: &str) {
        let daemon = self.dir.join("w/system/daemons/sleeper");
        std::fs::create_dir_all(&daemon).unwrap();
        std::fs::write(daemon.join("ecosystem.pm2.edn"), edn).unwrap();
    }

    /// A command in the workspace that has no access to this repository except its PM2.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(self.dir.join("w"))
            .env_clear()
            .envs(self.bed.env())
            .env("PM2_HOME", self.bed.home())
            .env("PM2_SYNC_PM2", pm2_testbed::pm2_bin())
            .stdin(Stdio::null());
        command
    }

    /// Runs check, sync and status with the program of an installed package, and checks its version.
    fn use_program(&self, program: &Path) {
        let version = expect(0, self.command(program).arg("--version"));
        assert!(
            version.starts_with(&format!("pm2-sync {VERSION}")),
            "{version}"
        );
        expect(0, self.command(program).arg("check"));
        expect(2, self.command(program).arg("plan"));
        expect(0, self.command(program).arg("sync"));
        let status = expect(0, self.command(program).arg("status"));
        assert!(status.contains("in sync"), "{status}");
        self.define("{:apps [{:name 7}]}");
        let broken = expect(1, self.command(program).arg("check"));
        assert!(broken.contains("expected a string, got 7"), "{broken}");
    }
}

/// Runs a command, which must end with this status; returns its output.
#[track_caller]
fn expect(status: i32, command: &mut Command) -> String {
    let Output {
        status: ended,
        stdout,
        stderr,
    } = command.output().unwrap();
    let output = format!(
        "{}{}",
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap()
    );
    assert_eq!(ended.code(), Some(status), "{command:?}\n{output}");
    output
}

#[test]
fn the_archive_is_unpacked_and_used() {
    let machine = Machine::new();
    let archive = package("pm2-sync-", ".tar.gz");
    expect(
        0,
        Command::new("sha256sum")
            .arg("--check")
            .arg(archive.with_added_extension("sha256"))
            .current_dir(&*DIST),
    );
    expect(
        0,
        Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .current_dir(&machine.dir),
    );
    let folder = archive.file_name().unwrap().to_str().unwrap();
    let folder = machine.dir.join(folder.strip_suffix(".tar.gz").unwrap());
    for file in ["LICENSE-MIT", "man/pm2-sync.1", "completions/_pm2-sync"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    machine.use_program(&folder.join("pm2-sync"));
}

#[test]
fn the_debian_package_is_installed_and_used() {
    let machine = Machine::new();
    let deb = package("pm2-sync_", ".deb");
    // A separate system, with an empty package database.
    let system = machine.dir.join("system");
    let database = system.join("var/lib/dpkg");
    std::fs::create_dir_all(database.join("updates")).unwrap();
    std::fs::create_dir_all(database.join("info")).unwrap();
    std::fs::write(database.join("status"), "").unwrap();
    let output = expect(
        0,
        Command::new("dpkg")
            .arg("--root")
            .arg(&system)
            .args([
                "--force-not-root",
                "--force-depends",
                "--log=/dev/null",
                "--install",
            ])
            .arg(&deb),
    );
    assert!(output.contains("Setting up pm2-sync"), "{output}");
    for file in [
        "usr/share/man/man1/pm2-sync.1",
        "usr/share/man/man1/pm2-sync-sync.1",
        "usr/share/bash-completion/completions/pm2-sync",
        "usr/share/zsh/vendor-completions/_pm2-sync",
        "usr/share/fish/vendor_completions.d/pm2-sync.fish",
    ] {
        assert!(system.join(file).is_file(), "{file}");
    }
    machine.use_program(&system.join("usr/bin/pm2-sync"));

    // The unit, run as systemd would for this workspace.
    machine.define("{:apps [{:name \"sleeper\" :script \"/bin/sleep\" :args [\"2000\"]}]}");
    let unit =
        std::fs::read_to_string(system.join("usr/lib/systemd/user/pm2-sync@.service")).unwrap();
    let setting = |key: &str| {
        let mut lines = unit
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines
            .next()
            .unwrap()
            .replace("%f", machine.dir.join("w").to_str().unwrap())
    };
    assert_eq!(setting("KillMode"), "process");
    let line = setting("ExecStart");
    let words: Vec<&str> = line.split(' ').collect();
    let mut service = Service::start(
        machine
            .command(system.join(words[0].trim_start_matches('/')))
            .args(&words[1..])
            .current_dir(setting("WorkingDirectory")),
    );
    service.wait_for_line("watching");
    service.signal(Signal::TERM);
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
    let left = machine.bed.cli(&["jlist"]);
    let left = String::from_utf8(left.stdout).unwrap();
    assert!(
        left.contains("\"online\""),
        "the apps outlive the watcher: {left}"
    );
}

/// A program that runs until it is stopped.
struct Service {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Service {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn wait_for_line(&mut self, text: &str) {
        let found = self
            .lines
            .by_ref()
            .map(Result::unwrap)
            .any(|line| line.contains(text));
        assert!(found, "it ended without a line with `{text}`");
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Installs packages for npm, offline, into an empty directory.
fn npm_install(machine: &Machine, packages: &[PathBuf]) -> PathBuf {
    let dir = machine.dir.join("w");
    std::fs::write(dir.join("package.json"), "{\"private\": true}").unwrap();
    expect(
        0,
        machine
            .command("npm")
            .args(["install", "--offline", "--no-audit", "--no-fund"])
            .args(packages),
    );
    dir.join("node_modules/.bin/pm2-sync")
}

fn launcher() -> PathBuf {
    DIST.join(format!("pm2-sync-{VERSION}.tgz"))
}

fn platform() -> PathBuf {
    package("pm2-sync-linux-", ".tgz")
}

#[test]
fn the_packages_for_npm_are_installed_and_used() {
    let machine = Machine::new();
    let program = npm_install(&machine, &[launcher(), platform()]);
    machine.use_program(&program);
    let npx = expect(
        0,
        machine
            .command("npx")
            .args(["--no", "--", "pm2-sync", "--version"]),
    );
    assert!(npx.contains(VERSION), "{npx}");
    expect(
        1,
        machine
            .command("npx")
            .args(["--no", "--", "pm2-sync", "check"]),
    );
}

#[test]
fn the_launcher_passes_signals_on_and_ends_as_the_program_ends() {
    let machine = Machine::new();
    let program = npm_install(&machine, &[launcher(), platform()]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut watch = Service::start(machine.command(&program).arg("watch"));
        watch.wait_for_line("watching");
        watch.signal(signal);
        assert_eq!(watch.child.wait().unwrap().code(), Some(0), "{signal:?}");
    }
    // If the program is killed, the launcher ends in the same way.
    let mut watch = Service::start(machine.command(&program).arg("watch"));
    watch.wait_for_line("watching");
    let children = format!("/proc/{0}/task/{0}/children", watch.child.id());
    let child = std::fs::read_to_string(children).unwrap();
    kill_process(pid(child.trim().parse().unwrap()), Signal::KILL).unwrap();
    assert_eq!(watch.child.wait().unwrap().signal(), Some(9));
}

#[test]
fn the_launcher_says_what_is_missing() {
    let machine = Machine::new();
    let program = npm_install(&machine, &[launcher()]);
    let output = expect(1, machine.command(&program).arg("check"));
    assert!(
        output.contains("error: the package `@pm2-sync/linux-"),
        "{output}"
    );
    assert!(output.contains("hint: install pm2-sync again"), "{output}");

    // Another platform, as node reports it.
    let preload = machine.dir.join("platform.js");
    std::fs::write(
        &preload,
        "Object.defineProperty(process, 'platform', { value: 'sunos' });",
    )
    .unwrap();
    let output = expect(
        1,
        machine
            .command("node")
            .arg("--require")
            .arg(&preload)
            .arg(&program)
            .arg("check"),
    );
    assert!(
        output.contains("error: pm2-sync is not built for this platform (sunos, "),
        "{output}"
    );
    assert!(output.contains("`cargo install pm2-sync`"), "{output}");
}
