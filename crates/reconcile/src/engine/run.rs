//! One run of the engine: wait, scan, poll and run passes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use daemon_model::{DaemonId, Planned, Records, RestartRequest};
use edn_render::artifact::ArtifactStore;
use pm2_client::{AdapterError, StopFlag};
use watcher::{Batch, Cause, Scanner, Scope, Watcher};

use super::announce::Announcer;
use super::early::{Early, are_early};
use super::passes::is_gone;
use super::schedule::Schedule;
use super::{Ended, Engine, EngineHandle, EngineOptions, Event, PassReason};
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsError};
use crate::failures::Unready;
use crate::pass::{self, PassError, PollCache, Removal, Request, Unsettled};
use crate::pm2::{Pm2, own_pm2_is_gone};
use crate::rollout::{Gates, Liveness};

/// One run of an engine.
pub(super) struct Run<'e, 'o> {
    pub(super) config: &'e Config,
    pub(super) options: &'e EngineOptions,
    pub(super) stop: &'e StopFlag,
    pub(super) handle: &'e EngineHandle,
    pub(super) events: &'e Receiver<Event>,
    pub(super) scanner: Scanner,
    pub(super) definitions: Option<Arc<Definitions>>,
    pub(super) artifacts: ArtifactStore,
    pub(super) pm2: Pm2<'e>,
    pub(super) schedule: Schedule,
    pub(super) announcer: Announcer<'o>,
    /// Daemons whose edit is not applied yet.
    pub(super) changed: BTreeSet<DaemonId>,
    /// Files that were read as soon as they were written and are not acted on yet.
    pub(super) early: Option<Early>,
    /// The definitions, if they were read just now: the next pass need not read them again.
    pub(super) loaded: Option<Arc<Definitions>>,
    pub(super) gates: Gates,
    pub(super) liveness: Liveness,
    /// The state at the last pass or poll, with its records.
    pub(super) latest: Option<(Planned, Records)>,
    /// Daemons whose next pass ignores flapping pauses: their change failed, or their canary is ready.
    pub(super) urgent: BTreeSet<DaemonId>,
    /// The apps that were no longer ready at the last pass.
    pub(super) unready: Unready,
    /// What the next pass restarts.
    pub(super) restart: Vec<RestartRequest>,
    /// The apps that the last pass left unsettled.
    pub(super) unsettled: Unsettled,
    /// How many of our processes ran at the last poll.
    pub(super) running: usize,
    pub(super) poll_cache: PollCache,
    /// Whether the next pass searches for processes that PM2 does not list. This happens every minute, and after steps that failed:
    /// another program may have changed the same process.
    pub(super) search_orphans: bool,
    pub(super) started_pm2: bool,
    /// The env files that the definitions name. They are watched in addition to the tree.
    env_files: BTreeSet<Utf8PathBuf>,
}

/// What changed before a wake-up.
#[derive(Default)]
pub(super) struct Scanned {
    /// Daemons whose definition has changed.
    pub(super) edited: BTreeSet<DaemonId>,
    /// Whether a pass is due for another reason: all files were read again, or the problems of the tree itself changed.
    resynced: bool,
}

impl Scanned {
    pub(super) fn add(&mut self, other: Self) {
        self.edited.extend(other.edited);
        self.resynced |= other.resynced;
    }
}

impl<'e, 'o> Run<'e, 'o> {
    pub(super) fn new(
        engine: &'e Engine,
        pm2: Pm2<'e>,
        gates: Gates,
        announcer: Announcer<'o>,
    ) -> Self {
        let layout = &engine.config.layout;
        Self {
            config: &engine.config,
            options: &engine.options,
            stop: &engine.stop,
            handle: &engine.handle,
            events: &engine.events,
            scanner: Scanner::new(layout.clone()),
            definitions: None,
            artifacts: ArtifactStore::new(layout),
            pm2,
            schedule: Schedule::default(),
            announcer,
            changed: BTreeSet::new(),
            early: None,
            loaded: None,
            gates,
            liveness: Liveness::default(),
            latest: None,
            urgent: BTreeSet::new(),
            unready: Unready::new(),
            restart: Vec::new(),
            unsettled: Unsettled::new(),
            running: 0,
            poll_cache: PollCache::default(),
            search_orphans: false,
            started_pm2: false,
            env_files: BTreeSet::new(),
        }
    }

    pub(super) fn run(&mut self, watcher: &Watcher) -> Ended {
        let mut scanned = Scanned::default();
        if self.scan(&Scope::Everything, Cause::FullResync, None, &mut scanned) {
            self.changed.append(&mut scanned.edited);
            self.pass(PassReason::Start);
        }
        self.watch_env_files(watcher);
        loop {
            let batches = match self.wait() {
                Ok(batches) => batches,
                Err(ended) => return ended,
            };
            self.announcer.watch_mode(&watcher.mode());
            let mut scanned = Scanned::default();
            for Batch { scope, cause } in &batches {
                self.search_orphans |= matches!(cause, Cause::Resync | Cause::FullResync);
                self.scan(scope, *cause, Some(watcher), &mut scanned);
            }
            if self.stop.is_set() {
                return Ended::Stopped;
            }
            if self.puts_off(&batches, &mut scanned) {
                continue;
            }
            let edited = are_early(&batches).then(|| scanned.edited.clone());
            let began = Instant::now();
            self.act(scanned);
            if let Some(edited) = edited {
                self.schedule.expect_more(&edited, began, Instant::now());
            }
            self.loaded = None;
            self.watch_env_files(watcher);
            if self.is_replaced() {
                return Ended::Replaced;
            }
        }
    }

    /// The only place that waits. Returns no batches when a timer fired.
    fn wait(&mut self) -> Result<Vec<Batch>, Ended> {
        let next = match &self.early {
            Some(early) => Some(early.until),
            None => self.schedule.next(),
        };
        let first = match next {
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
                Event::Pm2 => self.schedule.poll_soon(Instant::now()),
                Event::Probe => self.schedule.check_at(Instant::now()),
                Event::Reload => return Err(Ended::Reload),
                Event::Stop => return Err(Ended::Stopped),
            }
            next = self.events.try_recv().ok();
        }
        Ok(batches)
    }

    /// Brings the tree up to date. Returns whether it could be read.
    fn scan(
        &mut self,
        scope: &Scope,
        cause: Cause,
        watcher: Option<&Watcher>,
        scanned: &mut Scanned,
    ) -> bool {
        let edited = self.edited_env_files(scope);
        let scan = match (scope, cause) {
            (_, Cause::FullResync) => {
                // Other programs may have changed or removed artifacts, too.
                self.artifacts.forget();
                self.scanner.full()
            }
            (Scope::Dirty(paths), _) => match self.in_tree(paths) {
                paths if paths.is_empty() => {
                    scanned.edited.extend(edited);
                    return true;
                }
                paths => self.scanner.dirty(&paths),
            },
            _ => self.scanner.stat_only(),
        };
        match scan {
            Ok(mut scan) => {
                scan.changed.extend(edited);
                if cause == Cause::Resync
                    && !scan.changed.is_empty()
                    && let Some(watcher) = watcher
                {
                    // No event announced this change, so other events may be missing, too.
                    watcher.resubscribe();
                }
                // Tree problems change no daemon but must be reported.
                let has_news = self.announcer.tree_changed(&scan.tree);
                scanned.edited.extend(scan.changed);
                let is_of_files = matches!(cause, Cause::Written | Cause::Event | Cause::Poll);
                scanned.resynced |= has_news || !is_of_files;
                true
            }
            Err(error) => {
                self.fail(&DefinitionsError::from(error).into());
                false
            }
        }
    }

    /// The paths without env files outside of the tree.
    fn in_tree(&self, paths: &[Utf8PathBuf]) -> Vec<Utf8PathBuf> {
        let root = self.config.layout.daemons_dir();
        let is_in_tree =
            |path: &&Utf8PathBuf| path.starts_with(root) || !self.env_files.contains(*path);
        paths.iter().filter(is_in_tree).cloned().collect()
    }

    /// The daemons that name an env file which has changed since the last pass.
    fn edited_env_files(&self, scope: &Scope) -> BTreeSet<DaemonId> {
        let is_about_any = match scope {
            Scope::Everything => !self.env_files.is_empty(),
            Scope::Dirty(paths) => paths.iter().any(|path| self.env_files.contains(path)),
        };
        match &self.definitions {
            Some(definitions) if is_about_any => definitions.with_edited_env_files(self.config),
            _ => BTreeSet::new(),
        }
    }

    /// Watches the env files that the definitions name now.
    fn watch_env_files(&mut self, watcher: &Watcher) {
        let Some(definitions) = &self.definitions else {
            return;
        };
        let named: BTreeSet<Utf8PathBuf> = definitions.env_files().cloned().collect();
        if named != self.env_files {
            watcher.watch_files(named.clone());
            self.env_files = named;
        }
    }

    /// Does the work that is due.
    fn act(&mut self, scanned: Scanned) {
        let now = Instant::now();
        let has_edits = !scanned.edited.is_empty();
        self.schedule.edited(&scanned.edited, now);
        self.changed.extend(scanned.edited);
        // Do not work against a PM2 that may be shutting down, not even to apply edits.
        let may_shut_down = self.options.heal && self.schedule.suspects_shutdown();
        if !may_shut_down {
            let reason = match self.schedule.take_due(now) {
                _ if has_edits => Some(PassReason::Edited(self.changed.clone())),
                Some(reason) => Some(reason),
                None => scanned.resynced.then_some(PassReason::Resync),
            };
            if let Some(reason) = reason {
                self.pass(reason);
            }
        }
        let now = Instant::now();
        let is_check_due = self.schedule.take_check(now);
        if (self.options.heal && self.schedule.take_poll(now)) || is_check_due {
            self.poll();
            if may_shut_down && !self.schedule.suspects_shutdown() && !self.changed.is_empty() {
                self.pass(PassReason::Edited(self.changed.clone()));
            }
        }
    }

    /// Polls PM2, reconciles drift, and judges pending entries.
    fn poll(&mut self) {
        let Some(definitions) = self.definitions.clone() else {
            return;
        };
        let began = Instant::now();
        let request = Request {
            except: self.schedule.waiting(began),
            removal: match self.options.request.removal {
                Removal::Never => Removal::Never,
                _ => Removal::Defer,
            },
            ..self.options.request.clone()
        };
        let polled = self.connect().map_err(PassError::from).and_then(|()| {
            pass::poll(
                self.config,
                &mut self.pm2,
                &definitions,
                &request,
                &mut self.poll_cache,
            )
        });
        let now = Instant::now();
        match polled {
            Ok(polled) => {
                self.schedule.polled(now - began, now);
                if polled.is_steady && polled.unsettled.is_empty() && self.pm2.hears_events() {
                    self.schedule.idle(now);
                }
                if polled.planned.is_some() {
                    self.latest = polled.planned;
                }
                let lost = self.running.saturating_sub(polled.running);
                self.running = polled.running;
                if self.options.heal && self.pm2.is_connected() && lost >= 2 {
                    // PM2 may be shutting down; starting now could orphan processes.
                    self.schedule.suspect_shutdown(now);
                } else if self.schedule.suspects_shutdown() {
                    // Change and judge nothing until it is clear whether PM2 is shutting down.
                } else if self.options.heal
                    && (!polled.steps.is_empty() || polled.unsettled != self.unsettled)
                {
                    let reason = self.why_pm2_changed(&polled.steps);
                    self.pass(reason);
                } else if let Some(reason) = self.judge(polled.at_ms) {
                    self.pass(reason);
                }
            }
            Err(error) => {
                self.pm2.disconnect();
                if is_gone(&error) {
                    self.announcer.pm2_gone();
                    self.running = 0;
                    self.schedule.poll_again(now);
                    self.schedule.suspect_shutdown(now);
                } else {
                    self.fail(&error);
                }
            }
        }
    }

    /// Why PM2 may differ from these definitions: one of them may have been edited a moment ago and applied by another pm2-sync.
    fn why_pm2_changed(&mut self, daemons: &BTreeSet<DaemonId>) -> PassReason {
        let layout = &self.config.layout;
        let paths: Vec<_> = daemons
            .iter()
            .map(|id| layout.definition_path(id))
            .collect();
        if !paths.is_empty()
            && let Ok(scan) = self.scanner.dirty(&paths)
            && !scan.changed.is_empty()
        {
            self.changed.extend(scan.changed);
            return PassReason::Edited(self.changed.clone());
        }
        PassReason::Pm2Changed
    }

    /// Judges pending entries by the last known state, and runs their probes. Returns why a pass is due, if one is.
    pub(super) fn judge(&mut self, at_ms: u64) -> Option<PassReason> {
        let (planned, records) = self.latest.as_ref()?;
        let now = Instant::now();
        let judgement = self.gates.judge(planned, records, at_ms);
        let dead = self.gates.probes.dead();
        let (restart, next_restart) = self.liveness.due(&dead, planned, now);
        let until_end = records.overrides.next_end(at_ms);
        let next_end = until_end.map(|end| now + Duration::from_millis(end - at_ms));
        let next_poll = (!judgement.waiting.is_empty()).then(|| self.schedule.gate_poll(now));
        for at in [next_restart, next_end, next_poll].into_iter().flatten() {
            self.schedule.check_at(at);
        }
        // A daemon that keeps changing must wait, unless it has to roll back.
        let waiting = self.schedule.waiting(now);
        let is_due = |id: &&DaemonId| judgement.urgent.contains(id) || !waiting.contains(id);
        let decided: BTreeSet<DaemonId> =
            judgement.changed.keys().filter(is_due).cloned().collect();
        self.urgent = judgement.urgent;
        self.restart = restart;
        let mut unready = self.gates.unready(planned).unwrap_or_default();
        unready.retain(|(daemon, _), _| !waiting.contains(daemon));
        let has_news = unready != self.unready;
        if !decided.is_empty() {
            Some(PassReason::Rollout(decided))
        } else {
            (has_news || !self.restart.is_empty()).then_some(PassReason::ProbeFailed)
        }
    }

    /// Connects to PM2 and subscribes to its events, if PM2 runs.
    pub(super) fn connect(&mut self) -> Result<(), AdapterError> {
        self.pm2.connect()?;
        if self.options.heal {
            let handle = self.handle.clone();
            self.pm2.subscribe(move || handle.pm2_changed());
        }
        Ok(())
    }

    /// Whether the PM2 that ran this watcher is gone and its successor runs another watcher, either as a module or as an app that a
    /// pass has started. Until then this watcher still has work to do.
    fn is_replaced(&mut self) -> bool {
        if self.config.own_pm_id().is_none() {
            return false;
        }
        match own_pm2_is_gone(self.config) {
            Some(false) => false,
            // The next poll replaces a connection that failed.
            Some(true) => self.pm2.replacement_runs().unwrap_or(false),
            None => self.started_pm2,
        }
    }
}
