//! Where hints come from: the interface between the watcher's thread and its backend.

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
    /// These paths, with what is below them: definitions, directories, links. They need not exist.
    Dirty(Vec<Utf8PathBuf>),
}

/// A report of a source. A hint never says what changed, only where to scan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Scan these paths again.
    Dirty(Vec<Utf8PathBuf>),
    /// The same, of files whose writing has just ended: there is no need to wait before they are read.
    Written(Vec<Utf8PathBuf>),
    /// Hints went missing, and watches with them: scan everything, and open a new source.
    Lost(LostReason),
    /// Nothing more will come from this source.
    Dead(DeadReason),
}

/// Why hints went missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LostReason {
    /// The kernel's queue overflowed.
    Overflow,
    /// Hints came faster than they were taken.
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
    /// The backend's thread is gone.
    BackendGone,
    /// A heartbeat did not come back.
    Silent,
}

/// Why a source cannot be opened; files are polled meanwhile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system has no more watches or instances to give.
    #[error("the system's limit of file watches is reached")]
    Limit(#[source] io::Error),
    /// Changes made elsewhere would not be seen on this file system.
    #[error("`{path}` is on {file_system}, which does not report changes made elsewhere")]
    RemoteFileSystem {
        /// The root.
        path: Utf8PathBuf,
        /// The kind of file system.
        file_system: &'static str,
    },
    /// The root cannot be watched.
    #[error("cannot watch `{path}`")]
    Root {
        /// The root.
        path: Utf8PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The backend cannot be started.
    #[error("cannot start watching files")]
    Backend(#[source] io::Error),
}

/// A running source. All of it is called from one thread, but for what it does to fill itself.
pub trait HintSource: Send {
    /// The hints since the last call. New directories are watched before they are reported, so a scan
    /// afterwards misses nothing. Does not wait for more.
    fn drain(&mut self) -> Vec<Hint>;

    /// Also reports changes of these files, wherever they are; replaces the previous set. Neither a file nor the directories
    /// above it need to exist yet.
    fn watch_files(&mut self, files: &BTreeSet<Utf8PathBuf>);

    /// Checks whether the directories of these files are still the watched ones, and reports those that are not: moving a
    /// directory, or mounting over it, causes no event.
    fn check_files(&mut self) -> Vec<Hint>;

    /// Makes a change that the source itself must notice. False when it has no means to.
    fn beat(&mut self) -> bool;

    /// Whether the last beat has been noticed, as far as [`HintSource::drain`] has seen.
    fn beat_seen(&self) -> bool;
}

/// Opens sources: a new one each time the old one cannot be trusted any more.
pub trait OpenSource: Send {
    /// Opens a source for the tree of definitions, with everything in it watched already. It calls the
    /// waker when it has a hint.
    ///
    /// # Errors
    /// [`OpenError`] when files cannot be watched now; it is tried again later.
    fn open(&mut self, layout: &Layout, waker: Waker) -> Result<Box<dyn HintSource>, OpenError>;
}

/// Wakes the thread that watches. Never blocks.
#[derive(Debug, Clone)]
pub struct Waker(pub(crate) SyncSender<()>);

impl Waker {
    /// Wakes it.
    pub fn wake(&self) {
        // Full: it is about to wake. Disconnected: the thread has ended.
        let _ = self.0.try_send(());
    }
}
