//! The spec in force for each daemon: its definition, an earlier spec that was ready, or a user's decision.
//!
//! A definition that failed its gate is *rejected* and not tried again. Its daemon rolls back to the newest entry of its history
//! that was ready, as a whole or only in the apps that failed. It cannot roll back if no other spec was ever ready, and the
//! definition may ask not to (`:on-failure`). A pin puts an older entry in force until the definition changes. The planner treats
//! whatever is in force like any other definition.

use std::collections::BTreeMap;

use super::{Cause, Policy, Reason};
use crate::{
    AppSpec, DaemonId, DaemonOverrides, Desired, Entry, EntryOutcome, Gate, History, OnFailure,
    Override, Records, Revision,
};

/// The specs in force, by daemon.
pub(super) struct InForce<'a> {
    pub(super) daemons: BTreeMap<&'a DaemonId, DaemonInForce<'a>>,
    records: Option<&'a Records>,
}

/// The specs in force for one daemon.
pub(super) struct DaemonInForce<'a> {
    pub(super) is_broken: bool,
    pub(super) record: Option<DaemonRecord<'a>>,
    pub(super) apps: Vec<AppInForce>,
    /// The history entry that it rolls back to.
    pub(super) back_to: Option<u32>,
}

/// What is recorded about one daemon.
#[derive(Clone, Copy)]
pub(super) struct DaemonRecord<'a> {
    pub(super) history: &'a History,
    /// None: there are none.
    pub(super) overrides: Option<&'a DaemonOverrides>,
}

/// The spec in force for one app.
pub(super) struct AppInForce {
    pub(super) spec: AppSpec,
    pub(super) rule: Rule,
    pub(super) causes: Vec<Cause>,
}

/// What to do with the processes of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Make them match the spec.
    Run,
    /// Leave them as they are, and start missing ones.
    Leave,
    /// Stop them.
    Stop,
}

impl<'a> InForce<'a> {
    pub(super) fn new(desired: &'a Desired, policy: &Policy) -> Self {
        let daemons = desired.daemons.keys();
        let daemons = daemons.map(|id| (id, DaemonInForce::new(id, desired, policy)));
        Self {
            daemons: daemons.collect(),
            records: desired.records.as_ref(),
        }
    }

    /// The apps of a daemon that are in force.
    pub(super) fn apps(&self, daemon: &DaemonId) -> &[AppInForce] {
        let daemon = self.daemons.get(daemon);
        daemon.map_or(&[], |daemon| &daemon.apps)
    }

    /// The hold on a daemon, if there is one, with or without a definition.
    pub(super) fn hold(&self, daemon: &DaemonId) -> Option<&'a Override> {
        self.records?.overrides.get(daemon)?.hold.as_ref()
    }
}

impl<'a> DaemonRecord<'a> {
    fn of(daemon: &DaemonId, records: &'a Records) -> Self {
        Self {
            history: records.history(daemon),
            overrides: records.overrides.get(daemon),
        }
    }

    /// Whether a user holds or stops the daemon.
    pub(super) fn is_held_or_stopped(self) -> bool {
        let overrides = self.overrides;
        overrides.is_some_and(|it| it.hold.is_some() || it.stop.is_some())
    }
}

impl<'a> DaemonInForce<'a> {
    fn new(id: &'a DaemonId, desired: &'a Desired, policy: &Policy) -> Self {
        let daemon = &desired.daemons[id];
        let defined = daemon.apps();
        let record = desired.records.as_ref();
        let record = record.map(|records| DaemonRecord::of(id, records));
        let mut in_force = Self {
            is_broken: daemon.is_broken(),
            record,
            apps: Vec::new(),
            back_to: None,
        };
        let source = Source {
            id,
            desired,
            policy,
        };
        match record {
            Some(record) => in_force.decide(record, defined, &source),
            None => in_force.run(defined),
        }
        in_force
    }

    fn run(&mut self, defined: &[AppSpec]) {
        self.apps = defined.iter().cloned().map(AppInForce::run).collect();
    }

    fn decide(&mut self, record: DaemonRecord<'_>, defined: &[AppSpec], source: &Source<'_>) {
        let history = record.history;
        let overrides = record.overrides;
        let pin = overrides.and_then(|it| it.pin.as_ref());
        let pin = pin.filter(|pin| pin.holds_for(defined));
        let pinned = pin.and_then(|pin| Some((pin, source.old_apps(history.entry(pin.number)?)?)));
        let has_failed = |entry: &Entry| matches!(entry.outcome, EntryOutcome::Failed { .. });
        let is_any_rejected = history.entries().iter().any(has_failed);
        if let Some((pin, apps)) = pinned {
            self.back_to = Some(pin.number);
            self.apps = apps.into_iter().map(AppInForce::run).collect();
            for app in &mut self.apps {
                app.causes.push(Cause::Pinned {
                    number: pin.number,
                    by: pin.by.clone(),
                });
            }
        } else if is_any_rejected
            && let Some(rejection) = history.rejection(&revisions(defined.iter()))
        {
            let ready = history.last_ready();
            let ready = ready.filter(|ready| ready.revisions() != rejection.revisions());
            let ready = ready.and_then(|ready| Some((ready, source.old_apps(ready)?)));
            // If only external values changed, the older apps are the ones that failed, because old values are not kept.
            let is_other = |apps: &[AppSpec]| revisions(apps.iter()) != revisions(defined.iter());
            let ready = ready.filter(|(_, apps)| is_other(apps));
            let ready = ready.map(|(entry, apps)| (history.origin(entry), apps));
            self.go_back(defined, rejection, ready);
        } else {
            self.run(defined);
        }
        if self.back_to.is_some() && is_any_rejected {
            // The entry it rolled back to may have failed as well. There is no second roll-back.
            let running = self.apps.iter().filter(|app| app.rule == Rule::Run);
            let rejection = history.rejection(&revisions(running.map(|app| &app.spec)));
            if let Some(rejection) = rejection {
                let running = self.apps.iter_mut().filter(|app| app.rule == Rule::Run);
                let failed = running.filter(|app| has_app_failed(rejection, app.spec.name()));
                failed.for_each(|app| app.fail(Rule::Leave, rejection));
            }
        }
        if let Some(stop) = overrides.and_then(|it| it.stop.as_ref()) {
            for app in &mut self.apps {
                app.rule = Rule::Stop;
                app.causes.push(Cause::Stopped(stop.clone()));
            }
        }
    }

    /// Decides about each app of a rejected definition. A failed app rolls back and takes the other apps of its daemon with it. An
    /// app that was never `ready` stays if it failed, and is removed if others roll back.
    fn go_back(
        &mut self,
        defined: &[AppSpec],
        rejection: &Entry,
        ready: Option<(&Entry, Vec<AppSpec>)>,
    ) {
        let names_any = defined
            .iter()
            .any(|app| has_app_failed(rejection, app.name()));
        let has_failed = |app: &AppSpec| !names_any || has_app_failed(rejection, app.name());
        let goes_back = |app: &AppSpec| app.rollout().on_failure == OnFailure::Rollback;
        let takes_others =
            |app: &AppSpec| has_failed(app) && goes_back(app) && app.rollout().together;
        let is_whole = ready.is_some() && defined.iter().any(takes_others);
        let (to, old_apps) = match ready {
            Some((entry, apps)) => (entry.number, apps),
            None => (0, Vec::new()),
        };
        let mut old_apps: BTreeMap<String, AppSpec> = old_apps
            .into_iter()
            .map(|app| (app.name().to_owned(), app))
            .collect();
        let back = |old: AppSpec| AppInForce {
            spec: old,
            rule: Rule::Run,
            causes: vec![rolled_back(rejection, to)],
        };
        let mut is_back = false;
        for app in defined {
            let old = old_apps.remove(app.name());
            let is_new = old.is_none();
            let old = old.filter(|old| old.revision() != app.revision());
            let goes_along = is_whole && app.rollout().together;
            let on_failure = app.rollout().on_failure;
            let mut same = AppInForce::run(app.clone());
            let decided = match old {
                _ if has_failed(app) && on_failure == OnFailure::Stop => {
                    same.fail(Rule::Stop, rejection);
                    same
                }
                _ if has_failed(app) && on_failure != OnFailure::Rollback => {
                    same.fail(Rule::Leave, rejection);
                    same
                }
                Some(old) if has_failed(app) || goes_along => {
                    is_back = true;
                    back(old)
                }
                None if has_failed(app) && (is_new || !goes_along) => {
                    same.fail(Rule::Leave, rejection);
                    same
                }
                None if is_new && goes_along => {
                    is_back = true;
                    continue;
                }
                _ => same,
            };
            self.apps.push(decided);
        }
        if is_whole {
            let gone = old_apps.into_values().filter(|app| app.rollout().together);
            let before = self.apps.len();
            self.apps.extend(gone.map(back));
            is_back |= self.apps.len() > before;
        }
        self.back_to = is_back.then_some(to);
    }

    /// The gate of an app, if the spec in force was changed for the pending entry.
    pub(super) fn gate(&self, app: &AppSpec) -> Option<&'a Gate> {
        let pending = self.record?.history.pending()?;
        let gate = pending.gate(app.name())?;
        let mut apps = pending.apps.iter();
        let is_same = apps.any(|it| it.name == app.name() && it.revision == *app.revision());
        is_same.then_some(gate)
    }

    /// Whether a history is kept and shows that the spec in force was never ready.
    pub(super) fn is_unproven(&self, app: &AppSpec) -> bool {
        self.record
            .is_some_and(|record| !record.history.is_proven(app.name(), app.revision()))
    }
}

impl AppInForce {
    fn run(spec: AppSpec) -> Self {
        Self {
            spec,
            rule: Rule::Run,
            causes: Vec::new(),
        }
    }

    fn fail(&mut self, rule: Rule, rejection: &Entry) {
        self.rule = rule;
        let (at_ms, failures) = failure_of(rejection);
        let failure = failures.iter().find(|it| it.app == self.spec.name());
        self.causes.push(Cause::Failed {
            failed: rejection.number,
            at_ms,
            reason: failure.map_or_else(String::new, |failure| failure.reason.clone()),
        });
    }

    /// Why the app changes, if not because of its definition.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.causes.iter().rev().find_map(|cause| match cause {
            Cause::RolledBack { to, .. } => Some(Reason::RolledBack { to: *to }),
            Cause::Pinned { number, .. } => Some(Reason::Pinned { number: *number }),
            _ => None,
        })
    }
}

/// Where the apps of older entries come from.
struct Source<'a> {
    id: &'a DaemonId,
    desired: &'a Desired,
    policy: &'a Policy,
}

impl Source<'_> {
    /// The apps of an older entry, except those whose names other definitions declare by now.
    fn old_apps(&self, entry: &Entry) -> Option<Vec<AppSpec>> {
        let policy = self.policy;
        let mut apps = entry.specs(self.id, &policy.workspace, &policy.home, &policy.values)?;
        let others = || {
            let usable = |(id, daemon): &(&DaemonId, &crate::DesiredDaemon)| {
                *id != self.id && !daemon.is_broken()
            };
            let daemons = self.desired.daemons.iter().filter(usable);
            daemons.flat_map(|(_, daemon)| daemon.apps())
        };
        apps.retain(|app| others().all(|other| other.name() != app.name()));
        Some(apps)
    }
}

fn revisions<'r>(apps: impl Iterator<Item = &'r AppSpec>) -> BTreeMap<&'r str, &'r Revision> {
    apps.map(|app| (app.name(), app.revision())).collect()
}

fn failure_of(entry: &Entry) -> (u64, &[crate::AppFailure]) {
    match &entry.outcome {
        EntryOutcome::Failed { at_ms, failures } => (*at_ms, failures),
        _ => (entry.at_ms, &[]),
    }
}

fn has_app_failed(entry: &Entry, app: &str) -> bool {
    failure_of(entry).1.iter().any(|failure| failure.app == app)
}

fn rolled_back(rejection: &Entry, to: u32) -> Cause {
    let (at_ms, failures) = failure_of(rejection);
    Cause::RolledBack {
        failed: rejection.number,
        at_ms,
        failures: failures.to_vec(),
        to,
    }
}
