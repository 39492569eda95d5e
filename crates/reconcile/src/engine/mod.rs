//! The engine of `watch`.
//!
//! ```text
//! file events ─┐                ┌─> scan the tree ─┐
//! PM2's bus ───┤                │                  │
//! probes ──────┼─> one channel ─┤                  ├─> Schedule: what is due? ─┬─> PassRequest ─> one pass
//! signals ─────┘   (or a timer) └──────────────────┘                           └─> poll PM2, judge ─> PassRequest
//! ```
//!
//! Events are hints: every pass compares the complete state. Without events, timers poll PM2 once a second, or every ten while its events arrive and nothing is left to do, and all
//! files once a minute. One place waits, one pass is in flight, and the newest state wins. What a pass changed is
//! judged by later polls: no pass waits until an app is ready.

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
    /// What each pass is asked to do. The engine decides about `only`, `except`, `removal`, `search_orphans`, `settle`, `wait`,
    /// `restart` and `command`; [`Removal::Never`](crate::pass::Removal::Never) stays in force.
    pub request: Request,
    /// Whether changes of PM2 are reconciled. Without it, only edits are applied.
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
    /// A probe has found something new.
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
    /// It is time to try again what failed.
    Retry,
    /// Definitions have been absent for long enough.
    RemovalDue,
    /// All files were read again.
    Resync,
    /// Apps of these daemons have become ready, or have failed.
    Rollout(BTreeSet<DaemonId>),
    /// The liveness probes of processes failed, or the readiness probes of apps found something new.
    ProbeFailed,
}

/// What an engine reports while it works.
#[derive(Debug)]
#[non_exhaustive]
pub enum EngineEvent<'a> {
    /// A pass begins.
    Started(&'a PassReason),
    /// Something happened inside a pass. A step that fails in the same words as before is not repeated here.
    Pass(PassEvent<'a>),
    /// A pass has ended; the first of a run is the one it starts with.
    Ended(&'a SyncReport),
    /// A definition is broken, in another way than before.
    Broken(&'a DaemonId, &'a Definition),
    /// A definition has warnings that it did not have before.
    Warned(&'a DaemonId, &'a Definition, &'a Diagnostics),
    /// What was found about paths of the tree has changed; empty when nothing is wrong any more.
    Tree(&'a [TreeFinding]),
    /// A definition that was broken is valid again.
    Mended(&'a DaemonId),
    /// Steps of a daemon failed.
    Retrying {
        /// The daemon.
        daemon: &'a DaemonId,
        /// How often it has failed without success in between.
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
    /// A pass failed as a whole, in another way than before; how long until the next attempt.
    Failed(&'a PassError, Duration),
    /// Passes succeed again.
    Recovered,
    /// PM2 was running and is not any more.
    Pm2Gone,
    /// How files are watched, when that has changed.
    WatchMode(&'a Mode),
}

/// What receives the events of an engine.
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

/// Keeps PM2 equal to the definitions until it is asked to stop.
pub struct Engine {
    config: Config,
    options: EngineOptions,
    stop: StopFlag,
    handle: EngineHandle,
    events: Receiver<Event>,
    adapter: Option<Box<dyn ProcessAdapter>>,
}

impl Engine {
    /// An engine for one workspace. Once `stop` is set, it waits for nothing any more.
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

    /// Uses this connection to PM2 for the next run, such as one to a PM2 in memory. Another one is made only when it fails.
    #[must_use]
    pub fn with_adapter(mut self, adapter: Box<dyn ProcessAdapter>) -> Self {
        self.adapter = Some(adapter);
        self
    }

    /// What wakes this engine.
    #[must_use]
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// The next run uses these settings.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
    }

    /// Reconciles, and does so again whenever something changes, until it is asked to stop.
    ///
    /// # Errors
    /// [`EngineError::Watch`] when watching cannot begin. Later faults are reported to `observer`, and tried again.
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
