//! The passes of a run: the request of each, and the consequences of its result.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_model::{Condition, DaemonId, Reason, RestartRequest};
use pm2_client::AdapterError;
use watcher::Tree;

use super::run::Run;
use super::{EngineEvent, PassReason};
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsError};
use crate::lock::Lock;
use crate::pass::{
    self, DefinitionSource, Pass, PassError, PassEvent, Removal, Request, SyncReport, Wait,
};
use crate::pm2::now_ms;

/// The command recorded in the lock and the history.
const COMMAND: &str = "pm2-sync watch";

/// Which daemons a pass covers, and why it runs.
#[derive(Debug, Clone)]
struct PassRequest {
    /// None: all.
    only: Option<BTreeSet<DaemonId>>,
    reason: PassReason,
}

impl Run<'_, '_> {
    /// The daemons that a pass covers. Without healing, only those that were edited and those with unfinished work; until a pass
    /// succeeds, all daemons.
    fn request(&self, reason: PassReason) -> PassRequest {
        let only = (!self.options.heal && self.definitions.is_some()).then(|| {
            let pending = self.schedule.pending_daemons();
            let held = self.unsettled.iter();
            let held = held.filter(|(_, _, condition)| *condition == Condition::Held);
            let held = held.map(|(daemon, ..)| daemon);
            let rollout = match &reason {
                PassReason::Rollout(daemons) => Some(daemons),
                _ => None,
            };
            let all = self.changed.iter().chain(&pending).chain(held);
            let all = all.chain(rollout.into_iter().flatten());
            let restarted = self.restart.iter().filter_map(|it| self.daemon_of(it));
            all.chain(restarted).cloned().collect()
        });
        PassRequest { only, reason }
    }

    pub(super) fn pass(&mut self, reason: PassReason) {
        let request = self.request(reason);
        self.announcer.started(&request.reason);
        let began = Instant::now();
        let mut except = self.schedule.waiting(began);
        let urgent = std::mem::take(&mut self.urgent);
        except.retain(|id| !urgent.contains(id));
        let removes = self.schedule.removal_is_due(began);
        match self.try_pass(&request, &except, removes, &urgent) {
            Ok((report, flapping)) => self.passed(report, &flapping, &except),
            Err(error) => self.fail(&error),
        }
    }

    fn try_pass(
        &mut self,
        request: &PassRequest,
        except: &BTreeSet<DaemonId>,
        removes: bool,
        urgent: &BTreeSet<DaemonId>,
    ) -> Result<(SyncReport, Vec<(DaemonId, Duration)>), PassError> {
        let mut has_waited = false;
        let lock = Lock::take(
            &self.config.pm2_home,
            COMMAND,
            self.options.lock_timeout,
            self.stop,
            &mut |holder| {
                has_waited = true;
                self.announcer.pass(PassEvent::Waiting(holder));
            },
        )?;
        if has_waited {
            // Another pm2-sync may have applied an edit that this one has not seen yet.
            let scan = self.scanner.stat_only().map_err(DefinitionsError::from)?;
            self.changed.extend(scan.changed);
        }
        let loaded = self.loaded.take();
        let loaded = loaded.filter(|it| !has_waited && it.are_of(self.scanner.tree()));
        let known = self.definitions.as_deref();
        let reason = &request.reason;
        let request = Request {
            only: request.only.clone(),
            except: except.clone(),
            search_orphans: self.search_orphans,
            removal: match self.options.request.removal {
                Removal::Never => Removal::Never,
                _ if removes => Removal::Now,
                _ => Removal::Defer,
            },
            // The next poll sees the result.
            settle: false,
            wait: Wait::No,
            restart: std::mem::take(&mut self.restart),
            command: COMMAND,
            ..self.options.request.clone()
        };
        // Continuing a rollout is not another change.
        let continued = urgent.difference(&self.changed).cloned().collect();
        let mut source = Tracked {
            tree: Some(Arc::clone(self.scanner.tree())),
            known,
            loaded,
        };
        let announcer = &mut self.announcer;
        let mut writer = self.pm2.write(lock);
        let pass = Pass {
            config: self.config,
            request: &request,
            source: &mut source,
            gates: &mut self.gates,
            judges: matches!(reason, PassReason::Rollout(_)),
            failed: &BTreeSet::new(),
            stop: self.stop,
            observer: &mut |event| announcer.pass(event),
        };
        let done = pass.run(&self.artifacts, &mut writer);
        let done = done.map(|mut report| {
            let flapping =
                self.schedule
                    .ended(&report, &request, removes, &continued, Instant::now());
            for daemon in report.applied.failed_daemons().collect::<BTreeSet<_>>() {
                if let Some((_, delay)) = self.schedule.retry(daemon) {
                    report.failures.set_retry(daemon, delay);
                }
            }
            pass::record_failures(self.config, &mut report, &writer);
            (report, flapping)
        });
        drop(writer);
        match &done {
            // After any error, the next pass uses a new connection.
            Err(_) => self.pm2.disconnect(),
            Ok(_) => self.connect()?,
        }
        done
    }

    fn passed(
        &mut self,
        report: SyncReport,
        flapping: &[(DaemonId, Duration)],
        except: &BTreeSet<DaemonId>,
    ) {
        let now = Instant::now();
        for step in &report.applied.steps {
            let is_unhealthy = |reason: &Reason| matches!(reason, Reason::Unhealthy { .. });
            if step.step.reasons.iter().any(is_unhealthy) {
                self.liveness
                    .restarted(&step.step.daemon, &step.step.app, now);
            }
        }
        self.changed.retain(|id| except.contains(id));
        self.definitions = Some(Arc::clone(&report.definitions));
        self.running = pass::running(&report.after);
        self.started_pm2 |= report.pm2_started;
        self.unsettled = pass::unsettled(&report.after);
        if self.options.heal {
            self.schedule.poll_again(now);
            let is_steady = report.applied.steps.is_empty()
                && except.is_empty()
                && self.unsettled.is_empty()
                && pass::is_steady(&report.definitions, &report.after);
            if is_steady && self.pm2.hears_events() {
                // The pass has seen what a poll would see.
                self.schedule.idle(now);
            }
        }
        let failed: BTreeSet<&DaemonId> = report.applied.failed_daemons().collect();
        self.search_orphans = !failed.is_empty();
        for daemon in failed {
            if let Some((attempt, delay)) = self.schedule.retry(daemon) {
                self.announcer.emit(EngineEvent::Retrying {
                    daemon,
                    attempt,
                    delay,
                });
            }
        }
        for (daemon, pause) in flapping {
            let pause = *pause;
            self.announcer.emit(EngineEvent::Flapping { daemon, pause });
        }
        self.announcer.passed(&report);
        self.unready = self.gates.unready(&report.after).unwrap_or_default();
        self.latest = Some((report.after, report.records));
        if self.judge(now_ms()).is_some() {
            self.schedule.check_at(now);
        }
    }

    /// The daemon of the process to restart.
    fn daemon_of(&self, restart: &RestartRequest) -> Option<&DaemonId> {
        let RestartRequest::Unhealthy { pm_id, .. } = restart else {
            return None;
        };
        let (planned, _) = self.latest.as_ref()?;
        planned.owner(*pm_id).map(|app| &app.daemon)
    }

    pub(super) fn fail(&mut self, error: &PassError) {
        if self.stop.is_set() {
            // Shutting down: errors no longer matter.
            return;
        }
        let delay = self.schedule.pass_failed(Instant::now());
        if is_gone(error) {
            self.announcer.pm2_gone();
        } else {
            self.announcer.failed(error, delay);
        }
    }
}

/// Definitions from a tree that events keep up to date; a second load reads the whole tree.
struct Tracked<'d> {
    tree: Option<Arc<Tree>>,
    known: Option<&'d Definitions>,
    /// The definitions of the tree, if they are loaded already.
    loaded: Option<Arc<Definitions>>,
}

impl DefinitionSource for Tracked<'_> {
    fn load(&mut self, config: &Config) -> Result<Arc<Definitions>, DefinitionsError> {
        if let Some(loaded) = self.loaded.take() {
            self.tree = None;
            return Ok(loaded);
        }
        let tree = match self.tree.take() {
            Some(tree) => tree,
            None => Arc::new(watcher::scan(&config.layout)?),
        };
        Definitions::of_tree(tree, config, self.known).map(Arc::new)
    }
}

/// Whether the error means that PM2 is gone.
pub(super) fn is_gone(error: &PassError) -> bool {
    matches!(
        error,
        PassError::Pm2Ended { .. }
            | PassError::Pm2(AdapterError::Closed { .. } | AdapterError::NotRunning { .. })
    )
}
