//! The engine of `watch`.
//!
//! ```text
//! file events ─┐                ┌─> scan the tree ─┐
//! PM2's bus ───┤                │                  │
//! probes ──────┼─> one channel ─┤                  ├─> Schedule: what is due? ─┬─> PassRequest ─> one pass
//! signals ─────┘   (or a timer) └──────────────────┘                           └─> poll PM2, judge ─> PassRequest
//! ```
//!
//! Events are hints: every pass compares the complete state. Timers cover missed events: they poll PM2 once a second, or every ten
//! seconds while its events arrive and no work is left, and read all files once a minute. There is one place that waits and one
//! pass in flight, and the newest state wins. Later polls judge what a pass changed: no pass waits until an app is ready.

mod announce;
mod early;
mod passes;
mod run;
mod schedule;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use daemon_model::{DaemonId, Diagnostics};
use pm2_client::{ProcessAdapter, StopFlag};
use watcher::{Batch, Mode, Watcher};

use crate::config::Config;
use crate::definitions::{Definition, TreeFinding};
use crate::pass::{PassError, PassEvent, Request, SyncReport};
use crate::pm2::Pm2;
use crate::rollout::Gates;

use announce::Announcer;
use run::Run;

/// How an engine works.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The request of each pass. The engine sets `only`, `except`, `removal`, `search_orphans`, `settle`, `wait`, `restart` and
    /// `command`, but respects [`Removal::Never`](crate::pass::Removal::Never).
    pub request: Request,
    /// Whether to undo outside changes to PM2. Without it, only edits are applied.
    pub heal: bool,
    /// How long to wait for another pm2-sync.
    pub lock_timeout: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            request: Request::default(),
            heal: true,
            lock_timeout: Duration::from_secs(60),
        }
    }
}

/// What wakes an engine.
#[derive(Debug)]
enum Event {
    /// Files may have changed.
    Files(Batch),
    /// Processes of PM2 may have changed.
    Pm2,
    /// A probe has a new result.
    Probe,
    /// Read the settings again.
    Reload,
    /// Stop.
    Stop,
}

/// Wakes an engine from other threads. Does nothing once the engine is gone.
#[derive(Debug, Clone)]
pub struct EngineHandle(Sender<Event>);

impl EngineHandle {
    /// Files may have changed.
    pub fn files_changed(&self, batch: Batch) {
        let _ = self.0.send(Event::Files(batch));
    }

    /// Processes of PM2 may have changed.
    pub fn pm2_changed(&self) {
        let _ = self.0.send(Event::Pm2);
    }

    fn probe_reported(&self) {
        let _ = self.0.send(Event::Probe);
    }

    /// Ends the run, so that it can be started again with new settings.
    pub fn reload(&self) {
        let _ = self.0.send(Event::Reload);
    }

    /// Ends the run.
    pub fn stop(&self) {
        let _ = self.0.send(Event::Stop);
    }
}

/// Why a pass runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassReason {
    /// The engine has just started.
    Start,
    /// These definitions changed.
    Edited(BTreeSet<DaemonId>),
    /// PM2 does not run what the definitions want.
    Pm2Changed,
    /// A retry is due.
    Retry,
    /// Definitions have been absent for long enough.
    RemovalDue,
    /// All files were read again.
    Resync,
    /// Apps of these daemons have become ready, or have failed.
    Rollout(BTreeSet<DaemonId>),
    /// Liveness probes of processes failed, or readiness probes of apps have new results.
    ProbeFailed,
}

/// What an engine reports while it runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum EngineEvent<'a> {
    /// A pass begins.
    Started(&'a PassReason),
    /// Something happened inside a pass. A step that fails with the same message as before is not repeated here.
    Pass(PassEvent<'a>),
    /// A pass has ended; the first of a run is the initial sync.
    Ended(&'a SyncReport),
    /// A definition is invalid, with other errors than before.
    Broken(&'a DaemonId, &'a Definition),
    /// A definition has warnings that it did not have before.
    Warned(&'a DaemonId, &'a Definition, &'a Diagnostics),
    /// The problems of paths in the tree have changed; empty when there are none left.
    Tree(&'a [TreeFinding]),
    /// A definition that was invalid is valid again.
    Mended(&'a DaemonId),
    /// Steps of a daemon failed.
    Retrying {
        /// The daemon.
        daemon: &'a DaemonId,
        /// How often it has failed in a row.
        attempt: u32,
        /// How long until the next attempt.
        delay: Duration,
    },
    /// A daemon keeps changing, so its changes are applied less often from now on.
    Flapping {
        /// The daemon.
        daemon: &'a DaemonId,
        /// How long until its next change is applied.
        pause: Duration,
    },
    /// A pass failed as a whole, with another error than before; how long until the next attempt.
    Failed(&'a PassError, Duration),
    /// Passes succeed again after a failure.
    Recovered,
    /// PM2 was running and is now gone.
    Pm2Gone,
    /// How files are watched has changed.
    WatchMode(&'a Mode),
}

/// Receives the events of an engine.
pub type EngineObserver<'o> = dyn FnMut(EngineEvent<'_>) + 'o;

/// Why a run of the engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop.
    Stopped,
    /// It was asked to read its settings again.
    Reload,
    /// The PM2 that ran it has died; the new one runs a watcher of its own.
    Replaced,
}

/// Why an engine could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Changes of files cannot be watched.
    #[error(transparent)]
    Watch(#[from] watcher::WatchError),
}

/// Keeps PM2 in sync with the definitions until it is asked to stop.
pub struct Engine {
    config: Config,
    options: EngineOptions,
    stop: StopFlag,
    handle: EngineHandle,
    events: Receiver<Event>,
    adapter: Option<Box<dyn ProcessAdapter>>,
}

impl Engine {
    /// An engine for one workspace. Once `stop` is set, it no longer waits for anything.
    #[must_use]
    pub fn new(config: Config, options: EngineOptions, stop: StopFlag) -> Self {
        let (sender, events) = channel();
        Self {
            config,
            options,
            stop,
            handle: EngineHandle(sender),
            events,
            adapter: None,
        }
    }

    /// Uses this connection to PM2 for the next run, for example one to an in-memory PM2. A new connection is made only when it
    /// fails.
    #[must_use]
    pub fn with_adapter(mut self, adapter: Box<dyn ProcessAdapter>) -> Self {
        self.adapter = Some(adapter);
        self
    }

    /// A handle that wakes this engine.
    #[must_use]
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Sets the configuration of the next run.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
    }

    /// Reconciles now and whenever something changes, until it is asked to stop.
    ///
    /// # Errors
    /// [`EngineError::Watch`] when watching cannot begin. Later errors are reported to `observer` and retried.
    pub fn run(&mut self, observer: &mut EngineObserver<'_>) -> Result<Ended, EngineError> {
        let handle = self.handle();
        let watcher = Watcher::start(
            self.config.layout.clone(),
            watcher::Settings::default(),
            Box::new(move |batch| handle.files_changed(batch)),
        )?;
        let mut pm2 = Pm2::new(&self.config, &self.stop);
        if let Some(adapter) = self.adapter.take() {
            pm2 = pm2.with_adapter(adapter);
        }
        let handle = self.handle();
        let gates = Gates::new(move || handle.probe_reported()).watching();
        let mut run = Run::new(self, pm2, gates, Announcer::new(observer));
        Ok(run.run(&watcher))
    }
}
