//! The interface between the watcher's thread and its source of hints.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::SyncSender;

use camino::Utf8PathBuf;
use daemon_model::Layout;

/// Which part of the tree to scan again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Everything,
    /// These paths and everything below them: definitions, directories, links. They need not exist.
    Dirty(Vec<Utf8PathBuf>),
}

/// A report of a source. A hint never says what changed, only where to scan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Scan these paths again.
    Dirty(Vec<Utf8PathBuf>),
    /// As [`Dirty`](Self::Dirty), for files whose writing has just ended: they may be read at once.
    Written(Vec<Utf8PathBuf>),
    /// Hints were lost, and watches with them: scan everything, and open a new source.
    Lost(LostReason),
    /// This source sends nothing more.
    Dead(DeadReason),
}

/// Why hints were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LostReason {
    /// The kernel's queue overflowed.
    Overflow,
    /// Hints arrived faster than they were drained.
    ChannelFull,
    /// The system refused another watch.
    WatchLimit,
    /// The backend reported an error.
    Backend,
    /// The callback panicked.
    Panicked,
}

/// Why a source is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DeadReason {
    /// The root was deleted, moved away or unmounted.
    RootGone,
    /// The backend's thread has ended.
    BackendGone,
    /// A heartbeat was not reported.
    Silent,
}

/// Why a source cannot be opened. Files are polled in that case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system's limit of watches or instances is reached.
    #[error("the system's limit of file watches is reached")]
    Limit(#[source] io::Error),
    /// This file system does not report changes made elsewhere.
    #[error("`{path}` is on {file_system}, which does not report changes made elsewhere")]
    RemoteFileSystem {
        /// The root.
        path: Utf8PathBuf,
        /// The type of the file system.
        file_system: &'static str,
    },
    /// The root cannot be watched.
    #[error("cannot watch `{path}`")]
    Root {
        /// The root.
        path: Utf8PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The backend cannot be started.
    #[error("cannot start watching files")]
    Backend(#[source] io::Error),
}

/// A running source. It is called from one thread, and collects events on its own.
pub trait HintSource: Send {
    /// The hints since the last call. New directories are watched before they are reported, so a scan afterwards misses nothing.
    /// Does not wait.
    fn drain(&mut self) -> Vec<Hint>;

    /// Also reports changes of these files, wherever they are; replaces the previous set. The files and the directories above them
    /// need not exist yet.
    fn watch_files(&mut self, files: &BTreeSet<Utf8PathBuf>);

    /// Checks whether the directories of these files are still the watched ones, and reports those that are not: moving a
    /// directory, or mounting over it, causes no event.
    fn check_files(&mut self) -> Vec<Hint>;

    /// Makes a change that the source itself must notice. Returns false if it cannot.
    fn beat(&mut self) -> bool;

    /// Whether [`HintSource::drain`] has seen the last beat.
    fn beat_seen(&self) -> bool;
}

/// Opens sources: a new one each time the old one can no longer be trusted.
pub trait OpenSource: Send {
    /// Opens a source for the tree of definitions, with everything in it already watched. It calls the waker when it has a hint.
    ///
    /// # Errors
    /// [`OpenError`] when files cannot be watched now; the caller retries later.
    fn open(&mut self, layout: &Layout, waker: Waker) -> Result<Box<dyn HintSource>, OpenError>;
}

/// Wakes the thread that watches. Never blocks.
#[derive(Debug, Clone)]
pub struct Waker(pub(crate) SyncSender<()>);

impl Waker {
    /// Wakes it.
    pub fn wake(&self) {
        // Full: the thread is about to wake. Disconnected: it has ended.
        let _ = self.0.try_send(());
    }
}
