//! Starting PM2 where it does not run: `pm2 ping` detaches the daemon and launches PM2's modules, which starting
//! the daemon ourselves would not.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use crate::adapter::AdapterError;
use crate::proc::is_pm2_command_at_work;
use crate::socket::{Deadlines, SocketAdapter};

/// How long PM2 may take to come up.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long somebody else's `pm2` command may take that may be about to start it.
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
}

/// Whether PM2 ran before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It did.
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
        /// Why.
        source: std::io::Error,
    },
    /// The command failed.
    #[error("`{path} ping` failed to start PM2 ({status}): {output}")]
    Failed {
        /// The command.
        path: Utf8PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed.
        output: String,
    },
    /// The command did not end in time.
    #[error("`{path} ping` did not start PM2 within {} s", DEADLINE.as_secs())]
    Timeout {
        /// The command.
        path: Utf8PathBuf,
    },
    /// The caller was told to stop meanwhile; the command may start PM2 all the same.
    #[error("stopped while PM2 was being started")]
    Stopped,
    /// PM2 was started but does not answer.
    #[error("PM2 was started but does not answer")]
    Silent(#[source] AdapterError),
}

/// Makes sure that PM2 runs. Two starters at once can leave two daemons on one home: the caller holds a lock.
///
/// `env` is the whole environment that PM2 gets, besides its home: cluster workers inherit it. `lock` is the file of
/// the caller's lock: the command holds it, too, so that nobody else starts PM2 while it still works, even when the
/// caller is killed.
///
/// # Errors
/// [`LaunchError`].
pub fn ensure_running(
    pm2: &Pm2Command,
    pm2_home: &Utf8Path,
    env: &BTreeMap<String, String>,
    lock: Option<OwnedFd>,
) -> Result<Started, LaunchError> {
    ensure_running_until(pm2, pm2_home, env, lock, &|| false)
}

/// The same, for a caller that may be told to stop while the command works. It is not ended then: half-way through it would
/// leave a PM2 without its modules. With its part of the lock it keeps others from starting a second one.
///
/// # Errors
/// [`LaunchError`].
pub fn ensure_running_until(
    pm2: &Pm2Command,
    pm2_home: &Utf8Path,
    env: &BTreeMap<String, String>,
    lock: Option<OwnedFd>,
    should_stop: &dyn Fn() -> bool,
) -> Result<Started, LaunchError> {
    if SocketAdapter::connect(pm2_home, Deadlines::default()).is_ok() {
        return Ok(Started::AlreadyRunning);
    }
    // `pm2 update` ends PM2 and starts it. Of two that are started at once, one would run what nobody sees.
    let began = Instant::now();
    let mut waited = false;
    while began.elapsed() < COMMAND_DEADLINE && is_pm2_command_at_work(pm2_home) {
        if should_stop() {
            return Err(LaunchError::Stopped);
        }
        waited = true;
        std::thread::sleep(Duration::from_millis(20));
    }
    if waited && SocketAdapter::connect(pm2_home, Deadlines::default()).is_ok() {
        return Ok(Started::AlreadyRunning);
    }
    run_ping(pm2, pm2_home, env, lock, should_stop)?;
    SocketAdapter::connect(pm2_home, Deadlines::default())
        .map(|_| Started::StartedNow)
        .map_err(LaunchError::Silent)
}

fn run_ping(
    pm2: &Pm2Command,
    pm2_home: &Utf8Path,
    env: &BTreeMap<String, String>,
    lock: Option<OwnedFd>,
    should_stop: &dyn Fn() -> bool,
) -> Result<(), LaunchError> {
    let run_error = |source| LaunchError::Run {
        path: pm2.path.clone(),
        source,
    };
    // After a fatal error the daemon runs `node $_ update`: with `_` it comes back, without it all is lost.
    let own_path = pm2
        .path
        .canonicalize_utf8()
        .unwrap_or_else(|_| pm2.path.clone());
    // A file, not a pipe: when the caller is killed, the command must not die of its next line, half-way through.
    let mut output = tempfile::tempfile().map_err(run_error)?;
    let stdout = output.try_clone().map_err(run_error)?;
    let stderr = output.try_clone().map_err(run_error)?;
    let mut child = Command::new(&pm2.path)
        .arg("ping")
        .env_clear()
        .envs(env)
        .env("PM2_HOME", pm2_home)
        .env("_", own_path)
        // It reads nothing; an open file keeps its lock as long as anybody has it open.
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
        if should_stop() {
            return Err(LaunchError::Stopped);
        }
        if began.elapsed() > DEADLINE {
            // It may have ended just now; either way it is not waited for any longer.
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
    // Only for the message: what cannot be read is left out.
    let _ = output
        .rewind()
        .and_then(|()| output.take(4096).read_to_string(&mut text));
    Err(LaunchError::Failed {
        path: pm2.path.clone(),
        status,
        output: text.trim().to_owned(),
    })
}
