//! The engine of `watch`: one closed [`Event`] enum, one place that waits, one pass in flight, newest request
//! wins. Events only say "look again"; every pass compares the whole truth, and a slow timer looks again even
//! when no event came.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use daemon_model::{Condition, DaemonId, Diagnostic};
use watcher::{Batch, Cause, Scanner, Scope, Watcher};

use crate::config::Config;
use crate::definitions::Definitions;
use crate::error::CommandError;
use crate::lock::Lock;
use crate::pass::{PassError, PassEvent, PassOptions, SyncReport, sync_locked};
use crate::signals::StopFlag;

/// What wakes the engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Files may have changed.
    Files(Batch),
    /// Stop.
    Stop,
}

/// What the engine tells while it works.
#[derive(Debug)]
#[non_exhaustive]
pub enum EngineEvent<'a> {
    /// Something happened inside a pass.
    Pass(PassEvent<'a>),
    /// A pass has ended; the first of a run is the one it starts with.
    Ended(&'a SyncReport),
    /// What is wrong with a definition, when that has changed since it was last told.
    Broken(&'a DaemonId, &'a crate::definitions::Definition),
    /// A definition that was broken is usable again.
    Mended(&'a DaemonId),
    /// A pass could not do its work; it is tried again after a while. Told once for each new reason.
    Failed(&'a PassError, Duration),
    /// Passes work again after failures.
    Recovered,
}

/// How long what lost its definition stays, in case the file is only away for a moment.
const REMOVAL_GRACE: Duration = Duration::from_secs(1);
/// The shortest and the longest time until a failed pass is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));

/// Keeps PM2 equal to the definitions until it is told to stop.
pub struct Engine<'a> {
    config: &'a Config,
    options: PassOptions,
    scanner: Scanner,
    events: Receiver<Event>,
    stop: StopFlag,
    told: BTreeMap<DaemonId, Vec<Diagnostic>>,
    failure: Option<(String, Duration)>,
    retry_at: Option<Instant>,
    remove_at: Option<Instant>,
}

/// The sending side of an engine's events.
pub type EventSender = Sender<Event>;

impl<'a> Engine<'a> {
    /// An engine, and where its events are sent.
    #[must_use]
    pub fn new(config: &'a Config, options: PassOptions, stop: StopFlag) -> (Self, EventSender) {
        let (sender, events) = channel();
        let engine = Self {
            config,
            options,
            scanner: Scanner::new(config.layout.clone()),
            events,
            stop,
            told: BTreeMap::new(),
            failure: None,
            retry_at: None,
            remove_at: None,
        };
        (engine, sender)
    }

    /// Syncs, then keeps it so until it is told to stop.
    ///
    /// # Errors
    /// [`CommandError`] when watching cannot begin. Later faults are told to `observer` and tried again.
    pub fn run(
        &mut self,
        sender: &EventSender,
        observer: &mut dyn FnMut(EngineEvent<'_>),
    ) -> Result<(), CommandError> {
        let files = sender.clone();
        let _watcher = Watcher::start(
            self.config.layout.clone(),
            watcher::Settings::default(),
            // The engine may be gone already: then nobody needs to look again.
            Box::new(move |batch| drop(files.send(Event::Files(batch)))),
        )?;
        self.look(&Scope::Everything, Cause::FullResync, observer);
        loop {
            let Some(batches) = self.wait() else {
                return Ok(());
            };
            let timer = batches.is_empty();
            let mut changed = false;
            for Batch { scope, cause } in batches {
                changed |= self.scan(&scope, cause, observer);
            }
            let due = self.take_due();
            if changed || due || timer {
                self.pass(observer);
            }
            if self.stop.is_set() {
                return Ok(());
            }
        }
    }

    /// The one place that waits. None is the wish to stop; no batches is a timer.
    fn wait(&self) -> Option<Vec<Batch>> {
        let deadline = [self.retry_at, self.remove_at].into_iter().flatten().min();
        let first = match deadline {
            None => self
                .events
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self
                .events
                .recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        let mut batches = Vec::new();
        let mut next = match first {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        while let Some(event) = next {
            match event {
                Event::Files(batch) => batches.push(batch),
                Event::Stop => return None,
            }
            next = self.events.try_recv().ok();
        }
        Some(batches)
    }

    fn take_due(&mut self) -> bool {
        let now = Instant::now();
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        let retry = due(&mut self.retry_at);
        // Looked at again by the pass itself, which takes `remove_at` as a sign that the grace is over.
        retry || self.remove_at.is_some_and(|at| at <= now)
    }

    fn look(&mut self, scope: &Scope, cause: Cause, observer: &mut dyn FnMut(EngineEvent<'_>)) {
        if self.scan(scope, cause, observer) {
            self.pass(observer);
        }
    }

    /// Brings the tree up to date; whether a pass is worth its while.
    fn scan(
        &mut self,
        scope: &Scope,
        cause: Cause,
        observer: &mut dyn FnMut(EngineEvent<'_>),
    ) -> bool {
        let scan = match (scope, cause) {
            (_, Cause::FullResync) => self.scanner.full(),
            (Scope::Dirty(paths), _) => self.scanner.dirty(paths),
            _ => self.scanner.stat_only(),
        };
        match scan {
            // A timer's look is for PM2 as much as for files.
            Ok(scan) => !scan.changed.is_empty() || !matches!(cause, Cause::Event | Cause::Poll),
            Err(error) => {
                let error = crate::definitions::DefinitionsError::from(error);
                self.fail(&error.into(), observer);
                false
            }
        }
    }

    fn pass(&mut self, observer: &mut dyn FnMut(EngineEvent<'_>)) {
        let grace_over = self.remove_at.is_some_and(|at| at <= Instant::now());
        match self.try_pass(grace_over, observer) {
            Ok(report) => {
                if self.failure.take().is_some() {
                    observer(EngineEvent::Recovered);
                }
                self.tell_diagnostics(&report.definitions, observer);
                observer(EngineEvent::Ended(&report));
                let leaving = report
                    .after
                    .apps
                    .iter()
                    .any(|app| app.condition == Condition::Leaving);
                self.remove_at = match self.remove_at {
                    _ if !leaving => None,
                    Some(at) if !grace_over => Some(at),
                    _ => Some(Instant::now() + REMOVAL_GRACE),
                };
                if report.applied.failed_daemons().next().is_some() {
                    self.back_off(String::new());
                } else {
                    self.retry_at = None;
                }
            }
            Err(error) => {
                self.remove_at = None;
                self.fail(&error, observer);
            }
        }
    }

    fn try_pass(
        &self,
        grace_over: bool,
        observer: &mut dyn FnMut(EngineEvent<'_>),
    ) -> Result<SyncReport, PassError> {
        let flag = self.stop.clone();
        let stop = move || flag.is_set();
        let _lock = Lock::take(
            &self.config.pm2_home,
            "pm2-sync watch",
            self.options.lock_timeout,
            &stop,
            &mut |holder| observer(EngineEvent::Pass(PassEvent::Waiting(holder))),
        )?;
        let definitions = Definitions::of_tree(self.scanner.tree().clone(), self.config)?;
        let options = PassOptions {
            defer_removal: !grace_over,
            removal_delay: Duration::ZERO,
            ..self.options.clone()
        };
        sync_locked(self.config, &options, definitions, &stop, &mut |event| {
            observer(EngineEvent::Pass(event));
        })
    }

    fn fail(&mut self, error: &PassError, observer: &mut dyn FnMut(EngineEvent<'_>)) {
        let words = crate::report::chain(error);
        let is_news = self
            .failure
            .as_ref()
            .is_none_or(|(known, _)| *known != words);
        let delay = self.back_off(words);
        if is_news {
            observer(EngineEvent::Failed(error, delay));
        }
    }

    fn back_off(&mut self, reason: String) -> Duration {
        let delay = match &self.failure {
            Some((known, delay)) if *known == reason => (*delay * 2).min(RETRY.1),
            _ => RETRY.0,
        };
        self.failure = Some((reason, delay));
        self.retry_at = Some(Instant::now() + delay);
        delay
    }

    /// Tells what is wrong with each definition once, and when it is mended.
    fn tell_diagnostics(
        &mut self,
        definitions: &Definitions,
        observer: &mut dyn FnMut(EngineEvent<'_>),
    ) {
        for (id, definition) in &definitions.daemons {
            if definition.is_broken() {
                if self.told.get(id) != Some(&definition.diagnostics) {
                    observer(EngineEvent::Broken(id, definition));
                    self.told.insert(id.clone(), definition.diagnostics.clone());
                }
            } else if self.told.remove(id).is_some() {
                observer(EngineEvent::Mended(id));
            }
        }
        self.told
            .retain(|id, _| definitions.daemons.contains_key(id));
    }
}
