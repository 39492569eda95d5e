//! One writer for each PM2: an advisory lock on a file in PM2's home.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use files::Links;
use pm2_client::StopFlag;
use serde::{Deserialize, Serialize};

use crate::error::FailureKind;
use crate::trust::{Foreign, foreign};

/// Who holds a lock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The command that it runs.
    pub command: String,
    /// Since when it has held the lock, as a local date and time.
    pub since: String,
    /// Set while PM2 has changes that its dump does not. It outlives the holder: the next holder writes the dump.
    #[serde(default)]
    pub dirty: bool,
    /// Set during changes of PM2. If the holder died, PM2 may still be busy.
    #[serde(default)]
    pub in_progress: bool,
}

/// The lock, held until dropped. The kernel releases it when the process ends for any reason.
#[derive(Debug)]
pub struct Lock {
    file: File,
    holder: Holder,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// PM2's home cannot be created.
    #[error("cannot create PM2's home `{path}`")]
    Home {
        /// The directory.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// PM2's home belongs to another user.
    #[error("PM2's home `{path}` belongs to another user (uid {uid})")]
    OtherUser {
        /// The directory.
        path: Utf8PathBuf,
        /// The user.
        uid: u32,
    },
    /// The lock file cannot be opened.
    #[error("cannot open the lock `{path}`")]
    Open {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file cannot be locked at all.
    #[error("cannot lock `{path}`")]
    Lock {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process holds it.
    #[error("another pm2-sync is using this PM2{}", holder.as_ref().map(|h| format!(": `{}` (pid {}) since {}", h.command, h.pid, h.since)).unwrap_or_default())]
    Held {
        /// The holder, if it is known.
        holder: Option<Holder>,
    },
    /// The caller asked to stop while waiting.
    #[error("interrupted while waiting for another pm2-sync; nothing was changed")]
    Stopped,
}

impl LockError {
    /// The kind of the failure, from which the caller chooses an exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Stopped => FailureKind::Interrupted,
            Self::Home { .. }
            | Self::OtherUser { .. }
            | Self::Open { .. }
            | Self::Lock { .. }
            | Self::Held { .. } => FailureKind::Other,
        }
    }
}

impl Lock {
    /// Takes the lock of `pm2_home`, waiting for up to `timeout`. `waiting` is called once with the current holder, if the wait
    /// takes longer than a moment.
    ///
    /// # Errors
    /// [`LockError::OtherUser`] when PM2's home belongs to another user; [`LockError::Held`] when another pm2-sync holds the lock
    /// for too long; [`LockError::Stopped`] when `stop` is set during the wait; [`LockError::Home`], [`LockError::Open`] and
    /// [`LockError::Lock`] when the home cannot be created, or the file cannot be opened or locked.
    pub fn take(
        pm2_home: &Utf8Path,
        command: &str,
        timeout: Duration,
        stop: &StopFlag,
        waiting: &mut dyn FnMut(Option<&Holder>),
    ) -> Result<Self, LockError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(pm2_home)
            .map_err(|source| LockError::Home {
                path: pm2_home.to_owned(),
                source,
            })?;
        // The PM2 there would get every variable of every app, and its owner can replace it.
        if let Some(Foreign { path, uid }) = foreign([pm2_home.to_owned()], files::is_trusted) {
            return Err(LockError::OtherUser { path, uid });
        }
        let path = pm2_home.join(FILE);
        let mut file =
            files::open_to_lock(path.as_std_path()).map_err(|source| LockError::Open {
                path: path.clone(),
                source,
            })?;
        let started = Instant::now();
        let mut is_announced = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(LockError::Lock { path, source }),
                Err(TryLockError::WouldBlock) => {}
            }
            let holder = read_holder(&mut file);
            if started.elapsed() >= timeout {
                return Err(LockError::Held { holder });
            }
            if stop.is_set() {
                return Err(LockError::Stopped);
            }
            // Most passes are over in a moment.
            if !is_announced && started.elapsed() > Duration::from_millis(300) {
                is_announced = true;
                waiting(holder.as_ref());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Temporary files of killed runs contain environment variables.
        files::sweep(pm2_home.as_std_path());
        let last = read(&mut file);
        let holder = Holder {
            pid: std::process::id(),
            command: command.to_owned(),
            // Stored in UTC, because loading the time zones takes longer than many a sync. Shown in local time.
            since: jiff::Timestamp::now().to_string(),
            dirty: last.as_ref().is_some_and(|last| last.dirty),
            in_progress: last.is_some_and(|last| last.in_progress),
        };
        let mut lock = Self { file, holder };
        lock.describe();
        Ok(lock)
    }

    /// Whether PM2 has been changed since its dump was last written.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.holder.dirty
    }

    /// Whether PM2 may be busy: this holder is changing it, or the last one was killed while changing it.
    #[must_use]
    pub fn is_in_progress(&self) -> bool {
        self.holder.in_progress
    }

    /// Notes that PM2 is about to be changed, and whether its dump is to be written afterwards.
    pub(crate) fn begin_work(&mut self, save: bool) {
        self.holder.in_progress = true;
        self.holder.dirty |= save;
        self.describe();
    }

    /// Notes that the dump is up to date.
    pub(crate) fn note_saved(&mut self) {
        self.holder.dirty = false;
        self.describe();
    }

    /// Notes that PM2 has done what it was asked to do.
    pub(crate) fn end_work(&mut self) {
        self.holder.in_progress = false;
        self.describe();
    }

    /// Another handle of the same lock. A process that has it open also holds the lock.
    #[must_use]
    pub fn share(&self) -> Option<OwnedFd> {
        self.file.try_clone().ok().map(OwnedFd::from)
    }

    /// Writes the holder into the lock file. A failure does no harm: a message says less, or the next change writes the dump once
    /// more.
    fn describe(&mut self) {
        let _ = serde_json::to_vec(&self.holder).map(|mut text| {
            let length = self.file.metadata()?.len();
            if length > MOST {
                // The content was not written by pm2-sync.
                self.file.set_len(0)?;
            } else if let Ok(length) = usize::try_from(length) {
                // Overwrite in place: ext4 flushes a file that was truncated and then written, which would take most of the time of
                // a no-op pass.
                text.resize(text.len().max(length), b' ');
            }
            self.file.write_all_at(&text, 0)
        });
    }
}

/// Whether the last pass on this PM2 could not write PM2's dump. Takes no lock.
pub(crate) fn is_dump_unsaved(pm2_home: &Utf8Path) -> bool {
    let path = pm2_home.join(FILE);
    let text = files::read(path.as_std_path(), Links::Refuse, MOST).ok();
    let last = text.and_then(|text| serde_json::from_slice::<Holder>(&text).ok());
    // A sync that is in progress or was killed has not saved yet.
    last.is_some_and(|last| last.dirty && !last.in_progress)
}

/// The name of the lock file.
const FILE: &str = "pm2-sync.lock";

/// The longest description of a holder, in bytes.
const MOST: u64 = 4096;

/// The content of the file, with the time in UTC.
fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(MOST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The holder of the lock, with the time in local time.
fn read_holder(file: &mut File) -> Option<Holder> {
    let mut holder = read(file)?;
    if let Ok(since) = holder.since.parse::<jiff::Timestamp>() {
        let local = since.to_zoned(jiff::tz::TimeZone::system());
        holder.since = local.strftime("%Y-%m-%d %H:%M:%S").to_string();
    }
    Some(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_names_the_holder_and_its_start_in_local_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let take = |command: &str, seconds: u64| {
            let timeout = Duration::from_secs(seconds);
            let stop = StopFlag::default();
            Lock::take(home, command, timeout, &stop, &mut |_| {})
        };
        // A process that another test starts also holds the lock between its fork and its exec.
        drop(take("one with a longer description than the others", 20));
        let _lock = take("first", 20).unwrap();
        let Err(LockError::Held { holder }) = take("second", 0) else {
            panic!("it is held");
        };
        let holder = holder.unwrap();
        assert_eq!(
            (holder.pid, holder.command.as_str()),
            (std::process::id(), "first")
        );
        let now = jiff::Zoned::now();
        let since = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", &holder.since).unwrap();
        let ago = now.datetime().duration_since(since);
        assert!((0..60).contains(&ago.as_secs()), "{}", holder.since);
    }
}
