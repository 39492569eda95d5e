//! One writer for each PM2: an advisory lock on a file in PM2's home.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// Who holds a lock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub command: String,
    /// Since when, as a local time of day with date.
    pub since: String,
    /// Whether PM2 has been changed since its dump was last written. It outlives the holder: one that is killed leaves
    /// it to the next.
    #[serde(default)]
    pub unsaved: bool,
    /// Whether it is changing PM2. Where a dead holder says so it was killed at it, and PM2 may still be busy with what it
    /// asked for.
    #[serde(default)]
    pub at_work: bool,
}

/// The lock, until dropped. The kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    holder: Holder,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// PM2's home cannot be made.
    #[error("cannot make PM2's home `{path}`")]
    Home {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The lock's file cannot be opened.
    #[error("cannot open the lock `{path}`")]
    Open {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The lock cannot be taken at all.
    #[error("cannot lock `{path}`")]
    Lock {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds it.
    #[error("another pm2-sync is at work on this PM2{}", holder.as_ref().map(|h| format!(": `{}` (pid {}) since {}", h.command, h.pid, h.since)).unwrap_or_default())]
    Held {
        /// Who, if it said so.
        holder: Option<Holder>,
    },
    /// The pass was told to stop while it waited.
    #[error("stopped while waiting for another pm2-sync")]
    Stopped,
}

impl Lock {
    /// Takes the lock of `pm2_home`, waiting for up to `timeout`. `waiting` is told once who is waited for.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(
        pm2_home: &Utf8Path,
        command: &str,
        timeout: Duration,
        should_stop: &dyn Fn() -> bool,
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
        let path = pm2_home.join("pm2-sync.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| LockError::Open {
                path: path.clone(),
                source,
            })?;
        let started = Instant::now();
        let mut told = false;
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
            if should_stop() {
                return Err(LockError::Stopped);
            }
            // Most passes are over in a moment: nobody needs to hear of those.
            if !told && started.elapsed() > Duration::from_millis(300) {
                told = true;
                waiting(holder.as_ref());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let last = read(&mut file);
        let holder = Holder {
            pid: std::process::id(),
            command: command.to_owned(),
            // What local time is, only whoever waits needs to know: to find it out is to read the list of all time
            // zones, which takes longer than many a sync.
            since: jiff::Timestamp::now().to_string(),
            unsaved: last.as_ref().is_some_and(|last| last.unsaved),
            at_work: last.is_some_and(|last| last.at_work),
        };
        let mut lock = Self { file, holder };
        lock.describe();
        Ok(lock)
    }

    /// Whether PM2 has been changed since its dump was last written.
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        self.holder.unsaved
    }

    /// Whether PM2 may be busy with what it was asked to do: before this holder's own work, because the last one was killed
    /// at its.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.holder.at_work
    }

    /// Notes that PM2 is about to be changed; if its dump is to be written afterwards, that too.
    pub(crate) fn begin_work(&mut self, save: bool) {
        self.holder.at_work = true;
        self.holder.unsaved |= save;
        self.describe();
    }

    /// Notes that the dump is as PM2 is.
    pub(crate) fn note_saved(&mut self) {
        self.holder.unsaved = false;
        self.describe();
    }

    /// Notes that PM2 has done what it was asked to do.
    pub(crate) fn end_work(&mut self) {
        self.holder.at_work = false;
        self.describe();
    }

    /// Another handle of the same lock: whoever has it open holds the lock, too.
    #[must_use]
    pub fn share(&self) -> Option<OwnedFd> {
        self.file.try_clone().ok().map(OwnedFd::from)
    }

    /// Writes down who holds the lock. A failure does not matter: a message says less, or the dump is written once more
    /// by the next change.
    fn describe(&mut self) {
        let _ = serde_json::to_vec(&self.holder).map(|mut text| {
            let length = self.file.metadata()?.len();
            if length > MOST {
                // Nobody of us wrote that.
                self.file.set_len(0)?;
            } else if let Ok(length) = usize::try_from(length) {
                // Written over what is there: ext4 sends a file to the disk at once that was made empty before it was
                // written, and that would be most of what a pass takes that has nothing to do.
                text.resize(text.len().max(length), b' ');
            }
            self.file.write_all_at(&text, 0)
        });
    }
}

/// No holder's description is longer, in bytes.
const MOST: u64 = 4096;

/// What the file says; the time is a universal one.
fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Who holds the lock, in local time.
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
    fn whoever_waits_is_told_who_holds_it_and_since_when_in_local_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let take =
            |command: &str| Lock::take(home, command, Duration::ZERO, &|| false, &mut |_| {});
        drop(take("one with a longer description than the others"));
        let _lock = take("first").unwrap();
        let Err(LockError::Held { holder }) = take("second") else {
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
