//! The thread that watches.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::Layout;

use crate::file_system::remote_file_system;
use crate::notify_source::NotifyOpener;
use crate::read::ident;
use crate::settings::Settings;
use crate::source::{OpenSource, Waker};
use crate::watch_state::{Batch, Mode, WatchState};

/// Why a watch cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The thread cannot be spawned.
    #[error("cannot start the thread that watches files")]
    Spawn(#[source] io::Error),
}

/// Watches the tree of definitions on its own thread, until it is dropped.
///
/// It only reports when and where to scan again. A missing tree is not an error; the watcher waits for it.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    waker: Waker,
    /// Taken only on drop.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    resubscribe: AtomicBool,
    mode: Mutex<Mode>,
    /// Files to watch from now on.
    files: Mutex<Option<BTreeSet<Utf8PathBuf>>>,
}

impl Watcher {
    /// Starts watching. `on_batch` runs on the watcher's thread and must be quick, for example by sending the batch to another
    /// thread.
    ///
    /// # Errors
    /// [`WatchError`] when the thread cannot be started.
    pub fn start(
        layout: Layout,
        settings: Settings,
        on_batch: Box<dyn FnMut(Batch) + Send>,
    ) -> Result<Self, WatchError> {
        Self::start_with(layout, settings, Box::new(NotifyOpener), on_batch)
    }

    /// Starts watching with another source of hints.
    ///
    /// # Errors
    /// [`WatchError`] when the thread cannot be started.
    pub fn start_with(
        layout: Layout,
        settings: Settings,
        opener: Box<dyn OpenSource>,
        mut on_batch: Box<dyn FnMut(Batch) + Send>,
    ) -> Result<Self, WatchError> {
        let (sender, wakes) = sync_channel(1);
        let waker = Waker(sender);
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            resubscribe: AtomicBool::new(false),
            mode: Mutex::new(Mode::Starting),
            files: Mutex::new(None),
        });
        let for_thread = (Arc::clone(&shared), waker.clone());
        let thread = thread::Builder::new()
            .name("pm2-sync watcher".to_owned())
            .spawn(move || {
                let (shared, waker) = for_thread;
                let root = layout.daemons_dir().as_std_path().to_owned();
                let probe = Box::new(move || {
                    let metadata = std::fs::metadata(&root).ok()?;
                    metadata.is_dir().then(|| ident(&metadata))
                });
                let now = Instant::now();
                let state = WatchState::new(layout, settings, opener, probe, waker, now);
                run(state, &wakes, &shared, &mut on_batch);
            })
            .map_err(WatchError::Spawn)?;
        Ok(Self {
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// How files are currently watched.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let mode = self.shared.mode.lock();
        mode.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces all watches, because a scan found a change without a hint.
    pub fn resubscribe(&self) {
        self.shared.resubscribe.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Watches these files in addition to the tree, replacing the previous set. They are absolute paths, may lead anywhere, and
    /// need not exist yet. A batch reports each new one once it is watched.
    pub fn watch_files(&self, files: BTreeSet<Utf8PathBuf>) {
        let waiting = self.shared.files.lock();
        *waiting.unwrap_or_else(PoisonError::into_inner) = Some(files);
        self.waker.wake();
    }

    /// Whether the thread still runs. It only ends early if `on_batch` panicked.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let thread = self.thread.as_ref();
        thread.is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker.wake();
        // If its own callback drops it, the thread ends by itself.
        let thread = self.thread.take();
        if let Some(thread) = thread.filter(|it| it.thread().id() != thread::current().id()) {
            // The thread may have panicked, which `is_running` reports. Dropping must not panic again.
            let _ = thread.join();
        }
    }
}

fn run(
    mut state: WatchState,
    wakes: &Receiver<()>,
    shared: &Shared,
    on_batch: &mut Box<dyn FnMut(Batch) + Send>,
) {
    while !shared.stop.load(Ordering::Acquire) {
        let now = Instant::now();
        if shared.resubscribe.swap(false, Ordering::AcqRel) {
            state.resubscribe(now);
        }
        let files = shared.files.lock();
        let files = files.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(files) = files {
            let remote = files.iter().filter(|file| is_remote(file));
            let remote = remote.cloned().collect();
            state.set_files(files, remote, now);
        }
        let batches = state.step(now);
        *shared.mode.lock().unwrap_or_else(PoisonError::into_inner) = state.mode();
        for batch in batches {
            on_batch(batch);
        }
        let wait = state.next_at().saturating_duration_since(Instant::now());
        match wakes.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            // Impossible: this thread holds a waker itself.
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Whether a file is, or will be, on a file system that does not report changes made elsewhere.
fn is_remote(file: &Utf8Path) -> bool {
    let existing = file.ancestors().find(|path| path.exists());
    existing.is_some_and(|path| remote_file_system(path.as_std_path()).is_some())
}
