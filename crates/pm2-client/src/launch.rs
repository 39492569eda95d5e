//! Starts PM2. `pm2 ping` detaches the daemon and launches PM2's modules; starting the daemon directly would do neither.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use files::check_room;

use crate::StopFlag;
use crate::adapter::AdapterError;
use crate::proc::is_pm2_command_at_work;
use crate::socket::{ConnectOptions, SocketAdapter};

/// How long PM2 may take to start.
const DEADLINE: Duration = Duration::from_secs(30);

/// The free space that PM2's home needs. Without room for its logs and sockets PM2 starts and then ends.
pub const HOME_BYTES: usize = 64 * 1024;

/// How long `pm2 --version` may take.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait for another `pm2` command that may be starting PM2.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

/// The command that starts PM2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pm2Command {
    path: Utf8PathBuf,
}

impl Pm2Command {
    /// The command at this path.
    #[must_use]
    pub fn new(path: impl Into<Utf8PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The version that the command reports, for example `7.0.4`. None if it cannot be run, takes longer than 5 s, or does not
    /// answer like PM2. `env` is its complete environment.
    ///
    /// `pm2 --version` neither starts PM2 nor writes anything (PM2 7.0.4, `lib/Common.js`, `printVersion`).
    #[must_use]
    pub fn version(&self, env: &BTreeMap<String, String>) -> Option<String> {
        let mut output = tempfile::tempfile().ok()?;
        let mut child = Command::new(&self.path)
            .arg("--version")
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .stdout(output.try_clone().ok()?)
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let began = Instant::now();
        while child.try_wait().ok()?.is_none() {
            if began.elapsed() > VERSION_DEADLINE {
                // It may have ended just now; in either case, do not wait any longer.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut text = String::new();
        output.rewind().ok()?;
        output.take(4096).read_to_string(&mut text).ok()?;
        let last = text.lines().rfind(|line| !line.trim().is_empty())?.trim();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_version = last.split('.').count() == 3 && last.split('.').take(2).all(is_number);
        is_version.then(|| last.to_owned())
    }
}

/// Whether PM2 was already running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It was running.
    AlreadyRunning,
    /// It was started.
    StartedNow,
}

/// Why PM2 could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The command cannot be run.
    #[error("cannot run `{path} ping` to start PM2")]
    Run {
        /// The command.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// PM2 would end at once: nothing can be written to its home.
    #[error("PM2 is not running and cannot be started: cannot write to its home `{home}`")]
    Home {
        /// PM2's home.
        home: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The command failed.
    #[error("`{path} ping` failed to start PM2 ({status}): {output}")]
    Failed {
        /// The command.
        path: Utf8PathBuf,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its output, on one line.
        output: String,
    },
    /// The command did not end in time.
    #[error("`{path} ping` did not start PM2 within {} s", DEADLINE.as_secs())]
    Timeout {
        /// The command.
        path: Utf8PathBuf,
    },
    /// The caller was asked to stop during the wait; the command may still start PM2.
    #[error("interrupted while PM2 was being started")]
    Stopped,
    /// The command succeeded, but PM2 does not run.
    #[error("`{path} ping` succeeded, but no PM2 answers on `{socket}`: is it PM2's command?")]
    NotStarted {
        /// The command.
        path: Utf8PathBuf,
        /// The socket on which PM2 should answer.
        socket: Utf8PathBuf,
    },
    /// PM2 was started but does not answer.
    #[error("PM2 was started with `{path} ping`, but does not answer")]
    Silent {
        /// The command.
        path: Utf8PathBuf,
        /// The cause.
        source: AdapterError,
    },
}

/// Ensures that PM2 runs. Two starts at once can leave two daemons on one home, so the caller must hold a lock.
///
/// `env` is the complete environment of PM2, except for its home; cluster workers inherit it. `lock` is the file of the caller's
/// lock. The command inherits it, so that no other caller starts PM2 while the command still runs, even if this process is killed.
/// When `stop` is set, the command is left running, because killing it half-way would leave a PM2 without its modules.
///
/// # Errors
/// [`LaunchError::Home`] when PM2's home cannot be written to; [`LaunchError::Stopped`] when `stop` is set during the wait;
/// [`LaunchError::Run`], [`LaunchError::Failed`] and [`LaunchError::Timeout`] when the command fails; [`LaunchError::NotStarted`]
/// and [`LaunchError::Silent`] when it succeeds, but PM2 does not answer.
pub fn ensure_running(
    pm2: &Pm2Command,
    pm2_home: &Utf8Path,
    env: &BTreeMap<String, String>,
    lock: Option<OwnedFd>,
    stop: &StopFlag,
) -> Result<Started, LaunchError> {
    let connect = || {
        let options = ConnectOptions {
            stop: stop.clone(),
            ..ConnectOptions::default()
        };
        SocketAdapter::connect(pm2_home, options)
    };
    if connect().is_ok() {
        return Ok(Started::AlreadyRunning);
    }
    // `pm2 update` stops and starts PM2. If two daemons are started at once, the processes of one are unreachable.
    let began = Instant::now();
    let mut waited = false;
    while began.elapsed() < COMMAND_DEADLINE && is_pm2_command_at_work(pm2_home) {
        if stop.is_set() {
            return Err(LaunchError::Stopped);
        }
        waited = true;
        std::thread::sleep(Duration::from_millis(20));
    }
    if waited && connect().is_ok() {
        return Ok(Started::AlreadyRunning);
    }
    check_room(pm2_home.as_std_path(), HOME_BYTES).map_err(|source| LaunchError::Home {
        home: pm2_home.to_owned(),
        source,
    })?;
    run_ping(pm2, pm2_home, env, lock, stop)?;
    let path = pm2.path.clone();
    match connect() {
        Ok(_) => Ok(Started::StartedNow),
        Err(AdapterError::NotRunning { path: socket }) => {
            Err(LaunchError::NotStarted { path, socket })
        }
        Err(source) => Err(LaunchError::Silent { path, source }),
    }
}

fn run_ping(
    pm2: &Pm2Command,
    pm2_home: &Utf8Path,
    env: &BTreeMap<String, String>,
    lock: Option<OwnedFd>,
    stop: &StopFlag,
) -> Result<(), LaunchError> {
    let run_error = |source| LaunchError::Run {
        path: pm2.path.clone(),
        source,
    };
    // After a fatal error the daemon runs `node $_ update`: with `_` set it restarts itself, without it all processes are lost.
    let own_path = pm2
        .path
        .canonicalize_utf8()
        .unwrap_or_else(|_| pm2.path.clone());
    // Use a file, not a pipe: if the caller is killed, the command must not die on its next line of output.
    let mut output = tempfile::tempfile().map_err(run_error)?;
    let stdout = output.try_clone().map_err(run_error)?;
    let stderr = output.try_clone().map_err(run_error)?;
    let mut child = Command::new(&pm2.path)
        .arg("ping")
        .env_clear()
        .envs(env)
        .env("PM2_HOME", pm2_home)
        .env("_", own_path)
        // Ctrl-C must only reach this process: half-way through, the command would leave a PM2 without its modules.
        .process_group(0)
        // It does not read standard input; a lock is held as long as any process has the file open.
        .stdin(lock.map_or_else(Stdio::null, Stdio::from))
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(run_error)?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(run_error)? {
            break status;
        }
        if stop.is_set() {
            return Err(LaunchError::Stopped);
        }
        if began.elapsed() > DEADLINE {
            // It may have ended just now; in either case, do not wait any longer.
            let _ = child.kill();
            let _ = child.wait();
            return Err(LaunchError::Timeout {
                path: pm2.path.clone(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    // Only for the message, so unreadable output is ignored.
    let _ = output
        .rewind()
        .and_then(|()| output.take(4096).read_to_string(&mut text));
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    Err(LaunchError::Failed {
        path: pm2.path.clone(),
        status,
        output: lines.join("; "),
    })
}
