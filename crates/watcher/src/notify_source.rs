//! Hints from the kernel by way of notify: the only file that knows that crate.
//!
//! Watches are set by [`Table`], one per directory and none recursive: notify's own recursion cannot leave out
//! `node_modules`, and tells of a new directory before it watches it. An instance that lost anything is replaced
//! as a whole, for watching a path again that it believes to be watched does nothing.

use std::any::Any;
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::os::fd::AsRawFd;
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
use rustix::fs::{MemfdFlags, Mode, memfd_create};

use crate::source::{DeadReason, Hint, HintSource, LostReason, OpenError, OpenSource, Waker};
use crate::table::{Change, Registrar, Table};

/// How many events may wait for the thread; a checkout of hundreds of files is about half of it.
const QUEUE: usize = 4096;

/// After this many different paths an instance is replaced, so that its memory stays bounded.
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
        // Neither opening nor reading a file is told of, so our own scans wake nobody; nor is writing, only
        // the closing of what was written, so a daemon that logs into its directory costs nothing.
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
        }))
    }
}

fn backend_error(failure: Failure) -> OpenError {
    match failure {
        Failure::Limit(error) => OpenError::Limit(error),
        Failure::Gone(error) => OpenError::Backend(error),
    }
}

/// Runs on notify's thread: it must be quick, or the kernel's queue overflows; and must not panic, or that
/// thread ends and nobody is told.
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
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                Change::Here
            }
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                Change::Gone
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Change::Written,
            // Both halves of it came on their own.
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
}

impl HintSource for NotifySource {
    fn drain(&mut self) -> Vec<Hint> {
        let mut hints = Vec::new();
        let mut dirty: BTreeSet<Utf8PathBuf> = BTreeSet::new();
        // No more than what can have waited: whoever writes without end must not keep us here.
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
            if change == Change::Gone && path == self.backend.root {
                hints.push(Hint::Dead(DeadReason::RootGone));
                break;
            }
            // Opening, writing and closing a file tells the same several times.
            let event = Some((path, change));
            if event == last && change == Change::Written {
                continue;
            }
            last = event;
            let Some((path, change)) = &last else {
                continue;
            };
            let taken = self
                .table
                .change(path, *change, &mut dirty, &mut self.backend);
            match taken {
                Ok(()) => {}
                Err(Failure::Limit(_)) => {
                    hints.push(Hint::Lost(LostReason::WatchLimit));
                    break;
                }
                Err(Failure::Gone(_)) => {
                    hints.push(Hint::Dead(DeadReason::BackendGone));
                    break;
                }
            }
        }
        if let Some(reason) = reason(self.lost.swap(0, Ordering::AcqRel)) {
            hints.push(Hint::Lost(reason));
        }
        if !dirty.is_empty() {
            hints.push(Hint::Dirty(dirty.into_iter().collect()));
        }
        hints
    }

    fn beat(&mut self) -> bool {
        self.canary.as_mut().is_some_and(Canary::beat)
    }

    fn beat_seen(&self) -> bool {
        self.canary.as_ref().is_none_or(|canary| canary.seen)
    }
}

/// Why a watch cannot be set that should have been.
#[derive(Debug)]
enum Failure {
    /// There are no more.
    Limit(io::Error),
    /// Nobody answers.
    Gone(io::Error),
}

impl Failure {
    fn of(error: notify::Error) -> Self {
        match error.kind {
            ErrorKind::MaxFilesWatch => Self::Limit(io::ErrorKind::StorageFull.into()),
            ErrorKind::Io(error) if is_limit(&error) => Self::Limit(error),
            ErrorKind::Io(error) => Self::Gone(error),
            _ => Self::Gone(io::Error::other(error)),
        }
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
    /// Taken only when it is dropped.
    watcher: Option<RecommendedWatcher>,
    root: PathBuf,
    /// Hashes of all paths that were ever watched. What notify believes to be watched it does not watch again,
    /// and it may believe so of a directory that is gone; so those are unwatched first, which costs it a pass
    /// over all of its watches, and only those.
    ever: HashSet<u64>,
}

impl Backend {
    fn has(&self, path: &Path) -> bool {
        let watched = self.watcher.as_ref().map(|watcher| watcher.watched_paths());
        matches!(watched, Some(Ok(paths)) if paths.iter().any(|(watched, _)| watched == path))
    }
}

impl Registrar for Backend {
    type Error = Failure;

    fn watch(&mut self, dirs: Vec<PathBuf>) -> Result<(), Failure> {
        let Some(watcher) = self.watcher.as_mut().filter(|_| !dirs.is_empty()) else {
            return Ok(());
        };
        if self.ever.len() > MAX_PATHS {
            return Err(Failure::Limit(io::ErrorKind::QuotaExceeded.into()));
        }
        for dir in &dirs {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(dir);
            if !self.ever.insert(hash) {
                // It may be gone already.
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
            // Without an origin it never reached the thread, or got no answer.
            if error.origin.is_none() {
                return Err(Failure::Gone(io::Error::other(error.source)));
            }
            let limit = matches!(error.source.kind, ErrorKind::MaxFilesWatch)
                || matches!(&error.source.kind, ErrorKind::Io(error) if is_limit(error));
            if limit {
                return Err(Failure::of(error.source));
            }
            // That one vanished or may not be watched, which the scan will tell.
            ops = error.remaining;
        }
        Ok(())
    }

    fn unwatch(&mut self, dir: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // It may be gone already.
            let _ = watcher.unwatch(dir);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let watcher = self.watcher.take();
        // Dropping it panics if its thread has ended.
        let dropped: Result<(), Box<dyn Any + Send>> =
            catch_unwind(AssertUnwindSafe(|| drop(watcher)));
        drop(dropped);
    }
}

/// A file without a name that is watched and touched, to learn whether events still arrive. Having no name, it
/// needs no writable directory and leaves nothing behind.
struct Canary {
    file: File,
    path: PathBuf,
    flip: bool,
    seen: bool,
}

impl Canary {
    fn new(backend: &mut Backend) -> Option<Self> {
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
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn open() -> (tempfile::TempDir, Box<dyn HintSource>, Receiver<()>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let layout = Layout::with_dirs(
            Utf8PathBuf::from_path_buf(path).unwrap(),
            "daemons",
            "out",
            [""; 0],
        );
        std::fs::create_dir(layout.daemons_dir()).unwrap();
        let (sender, wakes) = sync_channel(1);
        let source = NotifyOpener.open(&layout, Waker(sender)).unwrap();
        (dir, source, wakes)
    }

    #[test]
    fn a_beat_comes_back_without_a_hint() {
        let (_dir, mut source, wakes) = open();
        for _ in 0..3 {
            assert!(source.beat());
            assert!(!source.beat_seen());
            let deadline = Instant::now() + Duration::from_secs(10);
            while !source.beat_seen() {
                let left = deadline.saturating_duration_since(Instant::now());
                wakes.recv_timeout(left).unwrap();
                assert_eq!(source.drain(), []);
            }
        }
    }

    #[test]
    fn more_events_than_may_wait_are_told_as_lost() {
        let (dir, mut source, wakes) = open();
        for n in 0..QUEUE {
            std::fs::write(dir.path().join(format!("daemons/{n}")), "").unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            // Nothing is taken before the last write, so they must pile up.
            let hints = source.drain();
            let lost = |hint: &Hint| {
                matches!(
                    hint,
                    Hint::Lost(LostReason::ChannelFull | LostReason::Overflow)
                )
            };
            if hints.iter().any(lost) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            wakes.recv_timeout(left).unwrap();
        }
    }

    /// What a callback makes of something; whether it woke anybody.
    fn told(event: notify::Result<Event>) -> (Option<LostReason>, bool) {
        told_after(|callback| callback.take(event))
    }

    fn told_after(work: impl FnOnce(&mut Callback)) -> (Option<LostReason>, bool) {
        let (sender, events) = sync_channel(1);
        let (wake, wakes) = sync_channel(1);
        let lost = Arc::new(AtomicU8::new(0));
        let mut callback = Callback {
            sender,
            lost: Arc::clone(&lost),
            waker: Waker(wake),
        };
        callback.guard(work);
        drop(events);
        (
            reason(lost.load(Ordering::Acquire)),
            wakes.try_recv().is_ok(),
        )
    }

    #[test]
    fn an_overflow_names_no_path_and_is_told_as_lost() {
        let rescan = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert!(rescan.paths.is_empty());
        assert_eq!(told(Ok(rescan)), (Some(LostReason::Overflow), true));
    }

    #[test]
    fn errors_are_told_as_lost() {
        let limit = notify::Error::new(ErrorKind::MaxFilesWatch);
        assert_eq!(told(Err(limit)), (Some(LostReason::WatchLimit), true));
        let other = notify::Error::generic("something");
        assert_eq!(told(Err(other)), (Some(LostReason::Backend), true));
    }

    #[test]
    fn a_panic_in_the_callback_is_told_as_lost_and_ends_no_thread() {
        let told = told_after(|_| panic!("on purpose"));
        assert_eq!(told, (Some(LostReason::Panicked), true));
    }

    #[test]
    fn a_daemon_that_logs_wakes_nobody() {
        let (dir, mut source, wakes) = open();
        let path = dir.path().join("daemons/log");
        let mut log = File::create(&path).unwrap();
        let seen = |source: &mut Box<dyn HintSource>| {
            assert!(source.beat());
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut count = 0;
            while !source.beat_seen() {
                let left = deadline.saturating_duration_since(Instant::now());
                wakes.recv_timeout(left).unwrap();
                count += 1;
                assert_eq!(source.drain(), []);
            }
            count
        };
        seen(&mut source);
        for n in 0..10_000 {
            std::io::Write::write_all(&mut log, format!("line {n}\n").as_bytes()).unwrap();
        }
        assert!(seen(&mut source) <= 2, "writing woke it");
    }

    #[test]
    fn reasons_survive_as_numbers() {
        for known in REASONS {
            assert_eq!(reason(code(known)), Some(known));
        }
        assert_eq!(reason(0), None);
    }
}
