//! Where hints come from: the port between the thread that watches and whatever watches files for it.

use std::io;
use std::sync::mpsc::SyncSender;

use camino::Utf8PathBuf;
use daemon_model::Layout;

/// Which part of the tree to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Everything,
    /// These paths, with what lies below them: definitions, directories, links. They need not exist.
    Dirty(Vec<Utf8PathBuf>),
}

/// What a source has to tell. A hint never says what changed, only where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Look at these paths again.
    Dirty(Vec<Utf8PathBuf>),
    /// Hints went missing, and watches with them: look at everything, and open a new source.
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
    #[error("`{path}` is on {file_system}, where changes made elsewhere are not announced")]
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
    /// What came since the last call. Takes in directories that appeared before it tells of them, so that
    /// whoever looks afterwards misses nothing. Does not wait for more.
    fn drain(&mut self) -> Vec<Hint>;

    /// Makes a change that the source itself must notice. False when it has no means to.
    fn beat(&mut self) -> bool;

    /// Whether the last beat has been noticed, as far as [`HintSource::drain`] has seen.
    fn beat_seen(&self) -> bool;
}

/// Opens sources: a new one each time the old one cannot be trusted any more.
pub trait OpenSource: Send {
    /// Opens a source for the tree of definitions, with everything in it watched already. It calls the
    /// waker when it has something to tell.
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
        // Full: it is about to wake. Disconnected: there is nobody to wake.
        let _ = self.0.try_send(());
    }
}
