//! The thread that watches.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use daemon_model::Layout;

use crate::keeper::{Batch, Keeper, Mode};
use crate::notify_source::NotifyOpener;
use crate::read::ident;
use crate::settings::Settings;
use crate::source::{OpenSource, Waker};

/// Why a watch cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// There can be no more threads.
    #[error("cannot start the thread that watches files")]
    Spawn(#[source] io::Error),
}

/// Watches the tree of definitions in a thread of its own, until it is dropped.
///
/// It acts on nothing: it says when and where to look again. A tree that is missing is no error, but waited for.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    waker: Waker,
    /// Taken only when it is dropped.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    distrust: AtomicBool,
    mode: Mutex<Mode>,
}

impl Watcher {
    /// Starts to watch. `on_batch` runs on the watcher's thread and has to be quick: to send the batch elsewhere
    /// is what it is for.
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

    /// Starts to watch with another source of hints.
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
            distrust: AtomicBool::new(false),
            mode: Mutex::new(Mode::Starting),
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
                let keeper = Keeper::new(layout, settings, opener, probe, waker, now);
                run(keeper, &wakes, &shared, &mut on_batch);
            })
            .map_err(WatchError::Spawn)?;
        Ok(Self {
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// How files are watched at the moment.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let mode = self.shared.mode.lock();
        mode.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells that a scan found a change which no hint had announced: the watches are set anew.
    pub fn distrust(&self) {
        self.shared.distrust.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the thread still runs. It ends early only if `on_batch` panicked.
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
        // Dropped by its own callback, it ends by itself.
        let thread = self.thread.take();
        if let Some(thread) = thread.filter(|it| it.thread().id() != thread::current().id()) {
            // It panicked: whoever asked for `is_running` knows, and a drop is no place to panic again.
            let _ = thread.join();
        }
    }
}

fn run(
    mut keeper: Keeper,
    wakes: &Receiver<()>,
    shared: &Shared,
    on_batch: &mut Box<dyn FnMut(Batch) + Send>,
) {
    while !shared.stop.load(Ordering::Acquire) {
        let now = Instant::now();
        if shared.distrust.swap(false, Ordering::AcqRel) {
            keeper.distrust(now);
        }
        let batches = keeper.step(now);
        *shared.mode.lock().unwrap_or_else(PoisonError::into_inner) = keeper.mode();
        for batch in batches {
            on_batch(batch);
        }
        let wait = keeper.next_at().saturating_duration_since(Instant::now());
        match wakes.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            // Cannot be while this thread holds a waker of its own.
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
