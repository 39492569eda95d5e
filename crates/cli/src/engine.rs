//! The engine of `watch`: one closed [`Event`] enum, one place that waits, one pass in flight, newest request
//! wins. Events only say "look again"; every pass compares the whole truth, and timers look again even when no
//! event came: at PM2 about once a second, at all files once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use daemon_model::{Condition, DaemonId, Diagnostic};
use pm2_client::{AdapterError, Bus, ProcessAdapter};
use watcher::{Batch, Cause, Scanner, Scope, Watcher};

use crate::config::Config;
use crate::definitions::{Definition, Definitions, DefinitionsError, Stray};
use crate::error::CommandError;
use crate::lock::Lock;
use crate::pass::{self, LastLook, PassError, PassEvent, PassOptions, SyncReport, sync_locked};
use crate::schedule::Schedule;
use crate::signals::StopFlag;

/// What wakes the engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Files may have changed.
    Files(Batch),
    /// Processes of PM2 may have changed.
    Pm2,
    /// Read the settings again.
    Reload,
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
    Broken(&'a DaemonId, &'a Definition),
    /// What is broken without belonging to a daemon, when that has changed; empty when nothing is any more.
    Strays(&'a [Stray]),
    /// A definition that was broken is usable again.
    Mended(&'a DaemonId),
    /// A pass could not do its work; it is tried again after a while. Told once for each new reason.
    Failed(&'a PassError, Duration),
    /// Passes work again after failures.
    Recovered,
    /// PM2 was running and is not any more.
    Pm2Gone,
}

/// Why a run of the engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// It was told to read its settings again.
    Reload,
    /// The PM2 that ran it has died; the new one runs a watcher of its own.
    Succeeded,
}

/// Keeps PM2 equal to the definitions until it is told to stop.
pub struct Engine<'a> {
    config: &'a Config,
    options: PassOptions,
    heal: bool,
    scanner: Scanner,
    definitions: Option<Arc<Definitions>>,
    adapter: Option<Box<dyn ProcessAdapter>>,
    bus: Option<Bus>,
    sender: EventSender,
    events: &'a Receiver<Event>,
    stop: StopFlag,
    schedule: Schedule,
    /// Daemons that changed since the last pass that did its work.
    changed: BTreeSet<DaemonId>,
    /// Daemons whose removal waits for confirmation.
    held: BTreeSet<DaemonId>,
    /// How many of our processes ran at the last look.
    running: usize,
    last_look: LastLook,
    told: BTreeMap<DaemonId, Vec<Diagnostic>>,
    told_strays: Vec<Stray>,
    /// Whether the next pass looks for processes that PM2 does not know of: every minute, and after steps that failed, of
    /// which somebody else's work at the same process may be the reason.
    seek_orphans: bool,
    /// What was wrong with the tree itself at the last scan.
    problems: String,
    failure: Option<String>,
    started_pm2: bool,
}

/// The sending side of an engine's events.
pub type EventSender = Sender<Event>;

/// Where an engine's events are sent and where they arrive.
#[must_use]
pub fn events() -> (EventSender, Receiver<Event>) {
    channel()
}

type Observer<'o> = dyn FnMut(EngineEvent<'_>) + 'o;

impl<'a> Engine<'a> {
    /// An engine. One that does not `heal` applies edits only.
    #[must_use]
    pub fn new(
        config: &'a Config,
        options: PassOptions,
        heal: bool,
        (sender, events): (&EventSender, &'a Receiver<Event>),
        stop: StopFlag,
    ) -> Self {
        Self {
            config,
            options,
            heal,
            scanner: Scanner::new(config.layout.clone()),
            definitions: None,
            adapter: None,
            bus: None,
            sender: sender.clone(),
            events,
            stop,
            schedule: Schedule::default(),
            changed: BTreeSet::new(),
            held: BTreeSet::new(),
            running: 0,
            last_look: LastLook::default(),
            told: BTreeMap::new(),
            told_strays: Vec::new(),
            seek_orphans: false,
            problems: String::new(),
            failure: None,
            started_pm2: false,
        }
    }

    /// Uses this connection to PM2, such as one to a PM2 in memory. Only when it fails is another made.
    #[must_use]
    pub fn with_adapter(mut self, adapter: Box<dyn ProcessAdapter>) -> Self {
        self.adapter = Some(adapter);
        self
    }

    /// Syncs, then keeps it so until it is told to stop.
    ///
    /// # Errors
    /// [`CommandError`] when watching cannot begin. Later faults are told to `observer` and tried again.
    pub fn run(&mut self, observer: &mut Observer<'_>) -> Result<Ended, CommandError> {
        let files = self.sender.clone();
        let watcher = Watcher::start(
            self.config.layout.clone(),
            watcher::Settings::default(),
            // The engine may be gone already: then nobody needs to look again.
            Box::new(move |batch| drop(files.send(Event::Files(batch)))),
        )?;
        if self.scan(&Scope::Everything, Cause::FullResync, None, observer) {
            self.pass(None, observer);
        }
        loop {
            let batches = match self.wait() {
                Ok(batches) => batches,
                Err(ended) => return Ok(ended),
            };
            let mut asked = false;
            for Batch { scope, cause } in batches {
                self.seek_orphans |= matches!(cause, Cause::Resync | Cause::FullResync);
                asked |= self.scan(&scope, cause, Some(&watcher), observer);
            }
            if self.stop.is_set() {
                return Ok(Ended::Stopped);
            }
            self.act(asked, observer);
            if self.is_succeeded() {
                return Ok(Ended::Succeeded);
            }
        }
    }

    /// Does what is due.
    fn act(&mut self, asked: bool, observer: &mut Observer<'_>) {
        let now = Instant::now();
        let edited = std::mem::take(&mut self.changed);
        self.schedule.edited(&edited);
        let due = self.schedule.take_pass(now);
        let uneasy = self.heal && self.schedule.is_uneasy();
        if uneasy {
            // An edit is no reason either to work against PM2's end.
            self.changed = edited;
        } else if !edited.is_empty() {
            self.changed = edited;
            self.pass(self.edits(), observer);
        } else if due || asked {
            self.pass(self.edits(), observer);
        }
        if self.heal && self.schedule.take_look(Instant::now()) {
            self.look(observer);
            if uneasy && !self.schedule.is_uneasy() && !self.changed.is_empty() {
                self.pass(None, observer);
            }
        }
    }

    /// The daemons that a pass is about: all of them, or with edits only those that were edited and what of them is yet
    /// to be done. The first pass that does its work is always about all.
    fn edits(&self) -> Option<BTreeSet<DaemonId>> {
        if self.heal || self.definitions.is_none() {
            return None;
        }
        let owed = self.schedule.owed();
        let all = self.changed.iter().chain(&owed).chain(&self.held);
        Some(all.cloned().collect())
    }

    /// The one place that waits. No batches is a timer.
    fn wait(&mut self) -> Result<Vec<Batch>, Ended> {
        let first = match self.schedule.next() {
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
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stopped),
        };
        while let Some(event) = next {
            match event {
                Event::Files(batch) => batches.push(batch),
                Event::Pm2 => self.schedule.look_soon(Instant::now()),
                Event::Reload => return Err(Ended::Reload),
                Event::Stop => return Err(Ended::Stopped),
            }
            next = self.events.try_recv().ok();
        }
        Ok(batches)
    }

    /// Brings the tree up to date; whether a pass is asked for.
    fn scan(
        &mut self,
        scope: &Scope,
        cause: Cause,
        watcher: Option<&Watcher>,
        observer: &mut Observer<'_>,
    ) -> bool {
        let scan = match (scope, cause) {
            (_, Cause::FullResync) => self.scanner.full(),
            (Scope::Dirty(paths), _) => self.scanner.dirty(paths),
            _ => self.scanner.stat_only(),
        };
        match scan {
            Ok(scan) => {
                if cause == Cause::Resync
                    && !scan.changed.is_empty()
                    && let Some(watcher) = watcher
                {
                    // No event had told of it: what else is missed?
                    watcher.distrust();
                }
                self.changed.extend(scan.changed);
                // What belongs to no daemon changes none, but has to be told.
                let problems = format!("{:?}", scan.tree.problems);
                let news = problems != self.problems;
                self.problems = problems;
                news || !matches!(cause, Cause::Event | Cause::Poll)
            }
            Err(error) => {
                self.fail(&DefinitionsError::from(error).into(), observer);
                false
            }
        }
    }

    /// Looks at PM2, and mends what is not as defined.
    fn look(&mut self, observer: &mut Observer<'_>) {
        let Some(definitions) = self.definitions.clone() else {
            return;
        };
        let began = Instant::now();
        let options = PassOptions {
            except: self.schedule.waiting(began),
            defer_removal: true,
            ..self.options.clone()
        };
        let looked = self.connect().map_err(PassError::from).and_then(|()| {
            pass::look(
                self.config,
                &options,
                &definitions,
                pass::borrow(&mut self.adapter),
                &mut self.last_look,
            )
        });
        let now = Instant::now();
        match looked {
            Ok(looked) => {
                self.schedule.looked(now - began, now);
                let lost = self.running.saturating_sub(looked.running);
                self.running = looked.running;
                if self.adapter.is_some() && lost >= 2 {
                    // Whoever starts something now may start what nobody will stop: PM2 may be about to end.
                    self.schedule.wait_for_calm(now);
                } else if (looked.has_steps || looked.held != self.held)
                    && !self.schedule.is_uneasy()
                {
                    self.pass(None, observer);
                }
            }
            Err(error) => {
                self.adapter = None;
                if is_gone(&error) {
                    observer(EngineEvent::Pm2Gone);
                    self.running = 0;
                    self.schedule.looked(Duration::ZERO, now);
                    self.schedule.wait_for_calm(now);
                } else {
                    self.fail(&error, observer);
                }
            }
        }
    }

    /// Makes sure of a connection and of PM2's events, if PM2 runs.
    fn connect(&mut self) -> Result<(), AdapterError> {
        if self.adapter.is_none() {
            self.adapter = pass::connect_until(self.config, &self.stop)?;
        }
        if self.heal && self.adapter.is_some() && !self.bus.as_ref().is_some_and(Bus::is_alive) {
            let sender = self.sender.clone();
            let hint = move || drop(sender.send(Event::Pm2));
            // Without it, looks on the timer have to do.
            self.bus = Bus::subscribe(&self.config.pm2_home, hint).ok();
        }
        Ok(())
    }

    fn pass(&mut self, only: Option<BTreeSet<DaemonId>>, observer: &mut Observer<'_>) {
        let began = Instant::now();
        let except = self.schedule.waiting(began);
        let removes = self.schedule.removal_is_due(began);
        match self.try_pass(only.clone(), &except, removes, observer) {
            Ok(report) => {
                let now = Instant::now();
                if self.failure.take().is_some() {
                    observer(EngineEvent::Recovered);
                }
                self.changed.clear();
                self.definitions = Some(Arc::clone(&report.definitions));
                self.running = pass::running(&report.after);
                self.tell_diagnostics(&report.definitions, observer);
                observer(EngineEvent::Ended(&report));
                self.started_pm2 |= report.pm2_started;
                if removes {
                    self.schedule.removed();
                }
                let leaving = report.after.apps.iter();
                let leaving = leaving.filter(|app| app.condition == Condition::Leaving);
                // A daemon without processes, or one that moved, leaves no more than a generated config.
                let leaving = leaving
                    .map(|app| &app.daemon)
                    .chain(&report.artifacts.leaving);
                let leaving = leaving.cloned().collect();
                self.schedule.found_leaving(&leaving, only.as_ref(), now);
                self.held = pass::held(&report.after);
                let failed: BTreeSet<DaemonId> = report.applied.failed_daemons().cloned().collect();
                self.seek_orphans = !failed.is_empty();
                self.schedule.passed(&failed, &except, now);
                if self.heal {
                    self.schedule.looked(Duration::ZERO, now);
                }
            }
            Err(error) => self.fail(&error, observer),
        }
    }

    fn try_pass(
        &mut self,
        only: Option<BTreeSet<DaemonId>>,
        except: &BTreeSet<DaemonId>,
        removes: bool,
        observer: &mut Observer<'_>,
    ) -> Result<SyncReport, PassError> {
        let stop = self.stop.clone();
        let mut lock = Lock::take(
            &self.config.pm2_home,
            "pm2-sync watch",
            self.options.lock_timeout,
            &|| stop.is_set(),
            &mut |holder| observer(EngineEvent::Pass(PassEvent::Waiting(holder))),
        )?;
        let tree = Arc::clone(self.scanner.tree());
        let known = self.definitions.as_deref();
        let definitions = Arc::new(Definitions::of_tree(tree, self.config, known)?);
        let options = PassOptions {
            only,
            except: except.clone(),
            // What has not changed was written by an earlier pass of this run, or is written by the first; unless it was
            // broken then, which another definition can mend as well: one that gives up a name.
            stale: known.map(|known| {
                let broken = known.daemons.iter().filter(|(_, it)| it.is_broken());
                let broken = broken.map(|(id, _)| id.clone());
                self.changed.iter().cloned().chain(broken).collect()
            }),
            seek_orphans: self.seek_orphans,
            defer_removal: !removes,
            removal_delay: Duration::ZERO,
            // It looks again all the time.
            settle: false,
            ..self.options.clone()
        };
        self.connect()?;
        let done = sync_locked(
            self.config,
            &options,
            definitions,
            &mut lock,
            &mut self.adapter,
            &stop,
            &mut |event| observer(EngineEvent::Pass(event)),
        );
        if done.is_err() {
            // Whatever is wrong with it: the next pass begins with a new one.
            self.adapter = None;
        }
        done
    }

    /// Whether the PM2 that ran this watcher is gone and the one that runs now runs another watcher: as one of its modules,
    /// whoever started it, or as an app that a pass has started. Until then there is work to do.
    fn is_succeeded(&mut self) -> bool {
        if self.config.own_pm_id().is_none() {
            return false;
        }
        match pass::is_left_over(self.config) {
            Some(false) => false,
            Some(true) => {
                // A connection that fails is made anew by the next look.
                let adapter = pass::borrow(&mut self.adapter);
                adapter.is_some_and(|adapter| {
                    pass::has_successor(self.config, adapter).unwrap_or(false)
                })
            }
            None => self.started_pm2,
        }
    }

    fn fail(&mut self, error: &PassError, observer: &mut Observer<'_>) {
        if self.stop.is_set() {
            // Nothing is tried again, and whatever it was waiting for is nobody's fault.
            return;
        }
        let delay = self.schedule.pass_failed(Instant::now());
        let words = crate::report::chain(error);
        if self.failure.as_ref() != Some(&words) {
            observer(match is_gone(error) {
                true => EngineEvent::Pm2Gone,
                false => EngineEvent::Failed(error, delay),
            });
            self.failure = Some(words);
        }
    }

    /// Tells what is wrong with each definition once, and when it is mended.
    fn tell_diagnostics(&mut self, definitions: &Definitions, observer: &mut Observer<'_>) {
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
        if self.told_strays != definitions.strays {
            observer(EngineEvent::Strays(&definitions.strays));
            self.told_strays.clone_from(&definitions.strays);
        }
        self.told
            .retain(|id, _| definitions.daemons.contains_key(id));
    }
}

/// Whether PM2 went away.
fn is_gone(error: &PassError) -> bool {
    matches!(
        error,
        PassError::Pm2(AdapterError::Closed { .. } | AdapterError::NotRunning { .. })
    )
}
