//! Hints from the kernel through notify. The only file that uses that crate.
//!
//! [`Table`] sets the watches, one per directory and none recursive: notify's own recursion cannot exclude `node_modules`, and
//! reports a new directory before it watches it. An instance that lost any event is replaced as a whole, because notify does
//! nothing when asked to watch a path that it considers watched.

use std::any::Any;
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use camino::Utf8PathBuf;
use daemon_model::Layout;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{
    Config, ErrorKind, Event, EventKindMask, PathOp, RecommendedWatcher, RecursiveMode,
    WatchPathConfig, Watcher as _,
};
use rustix::fs::Mode;

use crate::change::Change;
use crate::source::{DeadReason, Hint, HintSource, LostReason, OpenError, OpenSource, Waker};
use crate::table::{Table, WatchBackend};

/// How many events may be queued for the thread; a checkout of hundreds of files needs about half of them.
const QUEUE: usize = 4096;

/// Whether the system reports the end of writing a file. inotify does.
const TELLS_END: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// After this many different paths an instance is replaced, to limit its memory.
const MAX_PATHS: usize = 1 << 20;

/// Opens sources that use the system's file events.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotifyOpener;

impl OpenSource for NotifyOpener {
    fn open(&mut self, layout: &Layout, waker: Waker) -> Result<Box<dyn HintSource>, OpenError> {
        let root = layout.daemons_dir();
        if let Some(file_system) = crate::file_system::remote_file_system(root.as_std_path()) {
            return Err(OpenError::RemoteFileSystem {
                path: root.to_owned(),
                file_system,
            });
        }
        let (sender, events) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU8::new(0));
        let mut callback = Callback {
            sender,
            lost: Arc::clone(&lost),
            waker,
        };
        let handler = move |event: notify::Result<Event>| {
            callback.guard(|callback| callback.take(event));
        };
        // Opening and reading a file cause no event, so our own scans cause none. Writing causes none either, only closing a
        // written file, so a daemon that logs into its directory costs nothing.
        let mask = EventKindMask::CREATE
            | EventKindMask::REMOVE
            | EventKindMask::MODIFY_NAME
            | EventKindMask::MODIFY_META
            | EventKindMask::ACCESS_CLOSE;
        let config = Config::default()
            .with_event_kinds(mask)
            .with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(handler, config)
            .map_err(|error| backend_error(Failure::of(error)))?;
        let mut backend = Backend {
            watcher: Some(watcher),
            root: root.as_std_path().to_owned(),
            ever: HashSet::new(),
        };
        let mut table = Table::new(layout.clone());
        table.fill(&mut backend).map_err(backend_error)?;
        if !backend.has(root.as_std_path()) || !table.has_root() {
            return Err(OpenError::Root {
                path: root.to_owned(),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        let canary = Canary::new(&mut backend);
        Ok(Box::new(NotifySource {
            table,
            backend,
            events,
            lost,
            canary,
            deleted: BTreeSet::new(),
            hints: Vec::new(),
        }))
    }
}

fn backend_error(failure: Failure) -> OpenError {
    match failure {
        Failure::Limit(error) => OpenError::Limit(error),
        Failure::Gone(error) => OpenError::Backend(error),
    }
}

/// Runs on notify's thread. It must be quick, or the kernel's queue overflows; and must not panic, or that thread ends silently.
struct Callback {
    sender: SyncSender<(PathBuf, Change)>,
    lost: Arc<AtomicU8>,
    waker: Waker,
}

impl Callback {
    fn guard(&mut self, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.lose(LostReason::Panicked);
        }
    }

    fn take(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                return self.lose(match error.kind {
                    ErrorKind::MaxFilesWatch => LostReason::WatchLimit,
                    _ => LostReason::Backend,
                });
            }
        };
        if event.need_rescan() {
            return self.lose(LostReason::Overflow);
        }
        let change = match event.kind {
            EventKind::Create(_) => Change::Here,
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Change::Moved,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Change::Gone,
            EventKind::Remove(_) => Change::Deleted,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Change::Written,
            // Both halves of the rename are reported separately.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            _ => Change::Meta,
        };
        for path in event.paths {
            match self.sender.try_send((path, change)) {
                Ok(()) => self.waker.wake(),
                Err(TrySendError::Full(_)) => self.lose(LostReason::ChannelFull),
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    fn lose(&self, reason: LostReason) {
        self.lost.store(code(reason), Ordering::Release);
        self.waker.wake();
    }
}

const REASONS: [LostReason; 5] = [
    LostReason::Overflow,
    LostReason::ChannelFull,
    LostReason::WatchLimit,
    LostReason::Backend,
    LostReason::Panicked,
];

/// A reason as a number that is not 0.
fn code(reason: LostReason) -> u8 {
    let index = REASONS.iter().position(|known| *known == reason);
    index
        .and_then(|index| u8::try_from(index + 1).ok())
        .unwrap_or(1)
}

fn reason(code: u8) -> Option<LostReason> {
    REASONS.get(usize::from(code).checked_sub(1)?).copied()
}

struct NotifySource {
    table: Table,
    backend: Backend,
    events: Receiver<(PathBuf, Change)>,
    lost: Arc<AtomicU8>,
    canary: Option<Canary>,
    /// Files that were deleted and not created again. git replaces files this way, several at a time, and may restore their old
    /// content; so they are not reported before a quiet period. Editors move the old file away, or write to it.
    deleted: BTreeSet<Utf8PathBuf>,
    /// Hints other than changes of paths.
    hints: Vec<Hint>,
}

impl HintSource for NotifySource {
    fn watch_files(&mut self, files: &BTreeSet<Utf8PathBuf>) {
        let watched = self.table.set_files(files, &mut self.backend);
        self.hints.extend(watched.err().map(Failure::into_hint));
    }

    fn check_files(&mut self) -> Vec<Hint> {
        let mut dirty = BTreeSet::new();
        let checked = self.table.check_files(&mut dirty, &mut self.backend);
        let mut hints: Vec<Hint> = checked.err().map(Failure::into_hint).into_iter().collect();
        if !dirty.is_empty() {
            hints.push(Hint::Dirty(dirty.into_iter().collect()));
        }
        hints
    }

    fn drain(&mut self) -> Vec<Hint> {
        let mut hints = std::mem::take(&mut self.hints);
        let mut dirty: BTreeSet<Utf8PathBuf> = BTreeSet::new();
        let mut written: BTreeSet<Utf8PathBuf> = BTreeSet::new();
        // At most one full queue, so that a program that writes without end cannot keep this loop running.
        let mut last = None;
        for _ in 0..QUEUE {
            let Ok((path, change)) = self.events.try_recv() else {
                break;
            };
            if let Some(canary) = &mut self.canary
                && canary.path == path
            {
                canary.seen = true;
                continue;
            }
            if matches!(change, Change::Gone | Change::Deleted) && path == self.backend.root {
                hints.push(Hint::Dead(DeadReason::RootGone));
                break;
            }
            // Opening, writing and closing a file report the same path several times.
            let event = Some((path, change));
            if event == last && change == Change::Written {
                continue;
            }
            last = event;
            let Some((path, change)) = &last else {
                continue;
            };
            let mut changed = BTreeSet::new();
            let taken = self
                .table
                .change(path, *change, &mut changed, &mut self.backend);
            let has_ended = TELLS_END && change.ends_writing() && is_file(path);
            for read in changed {
                let is_read = self.table.is_read(&read);
                if *change == Change::Deleted && is_read {
                    self.deleted.insert(read.clone());
                }
                if has_ended && is_read && !self.deleted.remove(&read) {
                    written.insert(read.clone());
                } else if *change != Change::Meta {
                    written.remove(&read);
                }
                dirty.insert(read);
            }
            if let Err(failure) = taken {
                hints.push(failure.into_hint());
                break;
            }
        }
        if let Some(reason) = reason(self.lost.swap(0, Ordering::AcqRel)) {
            hints.push(Hint::Lost(reason));
        }
        if !dirty.is_empty() {
            let are_written = written == dirty;
            let dirty = dirty.into_iter().collect();
            hints.push(match are_written {
                true => Hint::Written(dirty),
                false => Hint::Dirty(dirty),
            });
        }
        hints
    }

    /// Other systems have no unnamed files.
    #[cfg(not(target_os = "linux"))]
    fn new(_: &mut Backend) -> Option<Self> {
        None
    }

    fn beat(&mut self) -> bool {
        self.canary.as_mut().is_some_and(Canary::beat)
    }

    fn beat_seen(&self) -> bool {
        self.canary.as_ref().is_none_or(|canary| canary.seen)
    }
}

/// Whether there is a file at this path, neither a directory nor a link.
fn is_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Why a watch could not be set.
#[derive(Debug)]
enum Failure {
    /// The system limit is reached.
    Limit(io::Error),
    /// The backend does not answer.
    Gone(io::Error),
}

impl Failure {
    fn into_hint(self) -> Hint {
        match self {
            Self::Limit(_) => Hint::Lost(LostReason::WatchLimit),
            Self::Gone(_) => Hint::Dead(DeadReason::BackendGone),
        }
    }

    fn of(error: notify::Error) -> Self {
        match error.kind {
            ErrorKind::MaxFilesWatch => Self::Limit(io::ErrorKind::StorageFull.into()),
            ErrorKind::Io(error) if is_limit(&error) => Self::Limit(error),
            ErrorKind::Io(error) => Self::Gone(error),
            _ => Self::Gone(io::Error::other(error)),
        }
    }
}

/// Whether the path to watch does not exist.
fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn is_limit(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let limits = [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::NOMEM];
    limits
        .iter()
        .any(|limit| error.raw_os_error() == Some(limit.raw_os_error()))
}

struct Backend {
    /// Taken only on drop.
    watcher: Option<RecommendedWatcher>,
    root: PathBuf,
    /// Hashes of all paths that were ever watched. notify does not watch a path again that it believes to be watched, which may be
    /// a directory that is gone. So these paths are unwatched first; only these, because that costs notify a pass over all of its
    /// watches.
    ever: HashSet<u64>,
}

impl Backend {
    fn has(&self, path: &Path) -> bool {
        let watched = self.watcher.as_ref().map(|watcher| watcher.watched_paths());
        matches!(watched, Some(Ok(paths)) if paths.iter().any(|(watched, _)| watched == path))
    }
}

impl WatchBackend for Backend {
    type Error = Failure;

    fn watch(&mut self, dirs: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
        let mut vanished = Vec::new();
        let Some(watcher) = self.watcher.as_mut().filter(|_| !dirs.is_empty()) else {
            return Ok(vanished);
        };
        if self.ever.len() > MAX_PATHS {
            return Err(Failure::Limit(io::ErrorKind::QuotaExceeded.into()));
        }
        for dir in &dirs {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(dir);
            if !self.ever.insert(hash) {
                // It may not exist any more.
                let _ = watcher.unwatch(dir);
            }
        }
        let mut ops: Vec<PathOp> = dirs
            .into_iter()
            .map(|dir| {
                let follow = dir == self.root;
                let config = WatchPathConfig::new(RecursiveMode::NonRecursive)
                    .with_dereference_symlinks(follow);
                PathOp::Watch(dir, config)
            })
            .collect();
        while let Err(error) = watcher.update_paths(ops) {
            // Without an origin, the request never reached the thread or was not answered.
            if error.origin.is_none() {
                return Err(Failure::Gone(io::Error::other(error.source)));
            }
            let limit = matches!(error.source.kind, ErrorKind::MaxFilesWatch)
                || matches!(&error.source.kind, ErrorKind::Io(error) if is_limit(error));
            if limit {
                return Err(Failure::of(error.source));
            }
            // The path vanished or must not be watched, which the scan will report.
            if let Some(PathOp::Watch(dir, _)) = error.origin
                && is_gone(&error.source)
            {
                vanished.push(dir);
            }
            ops = error.remaining;
        }
        Ok(vanished)
    }

    fn unwatch(&mut self, dir: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // It may not exist any more.
            let _ = watcher.unwatch(dir);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let watcher = self.watcher.take();
        // Dropping panics if its thread has ended.
        let dropped: Result<(), Box<dyn Any + Send>> =
            catch_unwind(AssertUnwindSafe(|| drop(watcher)));
        drop(dropped);
    }
}

/// An unnamed file that is watched and touched to find out whether events still arrive. Without a name, it needs no writable
/// directory and leaves nothing behind.
struct Canary {
    file: File,
    path: PathBuf,
    flip: bool,
    seen: bool,
}

impl Canary {
    #[cfg(target_os = "linux")]
    fn new(backend: &mut Backend) -> Option<Self> {
        use std::os::fd::AsRawFd;

        use rustix::fs::{MemfdFlags, memfd_create};

        let file = File::from(memfd_create("canary", MemfdFlags::CLOEXEC).ok()?);
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let watcher = backend.watcher.as_mut()?;
        watcher.watch(&path, RecursiveMode::NonRecursive).ok()?;
        Some(Self {
            file,
            path,
            flip: false,
            seen: true,
        })
    }

    /// Other systems have no unnamed files.
    #[cfg(not(target_os = "linux"))]
    fn new(_: &mut Backend) -> Option<Self> {
        None
    }

    fn beat(&mut self) -> bool {
        self.flip = !self.flip;
        let mode = if self.flip {
            Mode::RUSR
        } else {
            Mode::RUSR | Mode::WUSR
        };
        let touched = rustix::fs::fchmod(&self.file, mode).is_ok();
        self.seen = !touched;
        touched
    }
}

#[cfg(test)]
mod tests;
