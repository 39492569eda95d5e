//! Real PM2 in a private home, for tests.
//!
//! A [`Testbed`] is a PM2 of the version pinned in the lock file (or of another version, see [`pm2_bin`]), with its own home in a
//! short path (a socket's path has at most 107 bytes). Dropping it ends that PM2 and every process that names its home, even if the
//! test panics.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "for tests only: what goes wrong here fails the test at once"
)]

mod ports;
mod random;

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use ports::{free_port, free_ports};
pub use random::Random;

/// A private PM2.
#[derive(Debug)]
pub struct Testbed {
    dir: TempDir,
    home: Utf8PathBuf,
}

impl Testbed {
    /// A home whose PM2 does not run yet.
    ///
    /// # Panics
    /// When PM2 is not installed; the message says how to install it.
    #[must_use]
    pub fn home_only() -> Self {
        let pm2 = pm2_bin();
        assert!(
            pm2.is_file(),
            "PM2 is not installed: run `npm ci` in the root of the repository (looked for {pm2})"
        );
        let dir = tempfile::Builder::new()
            .prefix("p2-")
            .tempdir_in("/tmp")
            .unwrap();
        let home = Utf8PathBuf::from_path_buf(dir.path().join("h")).unwrap();
        std::fs::create_dir(&home).unwrap();
        Self { dir, home }
    }

    /// A running PM2.
    ///
    /// # Panics
    /// When PM2 is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let bed = Self::home_only();
        let output = bed.cli(&["ping"]);
        assert!(output.status.success(), "`pm2 ping` failed: {output:?}");
        bed
    }

    /// PM2's home.
    #[must_use]
    pub fn home(&self) -> &Utf8Path {
        &self.home
    }

    /// A directory for the test's own files, removed with the testbed.
    #[must_use]
    pub fn dir(&self) -> &Utf8Path {
        Utf8Path::from_path(self.dir.path()).unwrap()
    }

    /// The environment in which PM2 and its processes are started here.
    #[must_use]
    pub fn env(&self) -> BTreeMap<String, String> {
        [
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", self.dir().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Runs PM2's own command line against this home.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_in(self.dir(), args)
    }

    /// As [`cli`](Self::cli), in another current directory.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn cli_in(&self, dir: &Utf8Path, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.current_dir(dir).output().expect("pm2 can be run")
    }

    /// PM2's own command line for this home, not started yet.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(pm2_bin());
        command
            .args(args)
            .current_dir(self.dir())
            .env_clear()
            .envs(self.env())
            .env("PM2_HOME", &self.home)
            .env("_", pm2_bin())
            .stdin(Stdio::null());
        command
    }

    /// The pid of the daemon, if one has been started.
    #[must_use]
    pub fn daemon_pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.home.join("pm2.pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Every living process whose environment names this home, including the daemon.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let needle = format!("PM2_HOME={}", self.home);
        std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != std::process::id())
            .filter(|pid| {
                let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environ
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == needle.as_bytes())
            })
            .collect()
    }

    /// The daemons of this home: more than one if two were started at the same time.
    #[must_use]
    pub fn daemons(&self) -> Vec<u32> {
        let mut pids = self.processes();
        pids.retain(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"PM2 v"))
        });
        pids
    }

    /// Kills the daemon without giving it a chance to clean up.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_daemon(&self) {
        let pid = self.daemon_pid().expect("a daemon");
        signal(pid, Signal::KILL);
        wait_for(|| !is_alive(pid));
    }

    fn end(&self) {
        if let Some(pid) = self
            .daemon_pid()
            .filter(|pid| self.processes().contains(pid))
        {
            signal(pid, Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(5);
            while is_alive(pid) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // Survivors of the daemon, and processes that they start meanwhile.
        for _ in 0..100 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for pid in left {
                signal(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.end();
    }
}

/// Names another PM2 command than the pinned one, for tests with other versions.
pub const PM2_VARIABLE: &str = "PM2_TESTBED_PM2";

/// The PM2 under test: the pinned one, unless [`PM2_VARIABLE`] names another.
#[must_use]
pub fn pm2_bin() -> Utf8PathBuf {
    if let Ok(other) = std::env::var(PM2_VARIABLE) {
        return other.into();
    }
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Utf8Path::new("/"))
        .join("node_modules/pm2/bin/pm2")
}

/// Waits until `done`, for at most a minute, because a busy machine is not a failure.
///
/// # Panics
/// When it takes longer.
#[track_caller]
pub fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited for a minute in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process with this pid runs; a zombie does not count.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with('Z')
    })
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself just now.
        let _ = kill_process(pid, signal);
    }
}
