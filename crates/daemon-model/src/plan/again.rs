//! Replans only what changed since the last plan.
//!
//! The part of a plan for one daemon depends on that daemon, its processes, whatever shares a name with them, and their
//! dependencies. If none of these changed and the daemon was in sync, its part is unchanged. Only the rest is planned, as if
//! nothing else existed. Plans that depend on totals (the removal guard, the order of removals) are made as a whole.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashSet, FxHasher};

use super::in_force::InForce;
use super::{Action, AppState, Condition, Planned, Policy, plan};
use crate::{
    AppSpec, DaemonId, DaemonMap, Desired, DesiredDaemon, Observed, ObservedProcess, Processes,
};

/// A plan and its inputs.
#[derive(Debug, Clone)]
pub struct LastPlan {
    desired: Arc<Desired>,
    observed: Observed,
    policy: Policy,
    planned: Planned,
    /// None if this is not a partial plan: many programs make only one.
    uses: Option<Uses>,
    /// The daemons with an app that may change its state without a change of the inputs.
    unsettled: BTreeSet<DaemonId>,
}

impl LastPlan {
    /// The result of [`plan`] for these inputs.
    #[must_use]
    pub fn new(desired: &Arc<Desired>, observed: &Observed, policy: &Policy) -> Self {
        let planned = plan(desired, observed, policy);
        Self {
            desired: Arc::clone(desired),
            observed: observed.with_processes(Arc::clone(&observed.processes)),
            policy: policy.clone(),
            uses: None,
            unsettled: unsettled(&planned),
            planned,
        }
    }

    /// The plan.
    #[must_use]
    pub fn planned(&self) -> &Planned {
        &self.planned
    }

    /// The result of [`plan`] for these inputs, at the cost of their differences from the last inputs. None if a full plan is
    /// needed. Debug builds also make the full plan and check that it is the same.
    #[must_use]
    pub fn plan_changes(
        &self,
        desired: &Arc<Desired>,
        observed: &Observed,
        policy: &Policy,
    ) -> Option<Self> {
        let is_comparable = is_same_policy(&self.policy, policy)
            && self.observed.orphans == observed.orphans
            && self.observed.missing_workspaces == observed.missing_workspaces
            && self.observed.scripts_changed_ms == observed.scripts_changed_ms
            && self.desired.records.is_some() == desired.records.is_some();
        if !is_comparable {
            return None;
        }
        let mut touched = Touched::default();
        let uses = touched.add_changes(self, desired, observed);
        let excepted = (&self.policy.scope.except, &policy.scope.except);
        touched.add_daemons(excepted.0.symmetric_difference(excepted.1));
        if !touched.close(&uses, &observed.processes, [&self.desired, desired]) {
            return None;
        }
        let part = touched.of_desired(desired);
        if touched.lacks_needs(&InForce::new(&part, policy)) {
            return None;
        }
        let processes = touched.of_processes(&observed.processes);
        let part = plan(&part, &observed.with_processes(processes), policy);
        if depends_on_totals(&part) {
            return None;
        }
        let unsettled = unsettled(&part);
        let mut apps = self.planned.apps.clone();
        apps.replace(&touched.daemons, &part.apps);
        let planned = Planned { apps, ..part };
        debug_assert_eq!(planned, plan(desired, observed, policy));
        Some(Self {
            desired: Arc::clone(desired),
            observed: observed.with_processes(Arc::clone(&observed.processes)),
            policy: policy.clone(),
            planned,
            uses: Some(uses),
            unsettled,
        })
    }
}

/// The hash of a name or an ID. If two of them have the same, more is planned again than needed.
type Key = u64;

fn key(text: &str) -> Key {
    let mut hasher = FxHasher::default();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The ID of a daemon, and the names of its apps.
fn keys_of_daemon<'a>(
    id: &'a DaemonId,
    daemon: &'a DesiredDaemon,
) -> impl Iterator<Item = Key> + 'a {
    let names = daemon.apps().iter().map(AppSpec::name);
    std::iter::once(id.as_str()).chain(names).map(key)
}

/// The name of a process, and those of its label.
fn keys_of_process(process: &ObservedProcess) -> impl Iterator<Item = Key> {
    let label = process.label.iter();
    let labelled = label.flat_map(|label| [label.app.as_str(), label.daemon.as_str()]);
    std::iter::once(process.name.as_str())
        .chain(labelled)
        .map(key)
}

/// Which daemons and processes use a name. Plans share it as long as the names stay the same.
#[derive(Debug, Clone)]
struct Uses {
    daemons: Arc<[(Key, DaemonId)]>,
    /// Processes by their position in PM2's list.
    processes: Arc<[(Key, usize)]>,
}

impl Uses {
    fn new(daemons: &DaemonMap<DesiredDaemon>, processes: &[Arc<ObservedProcess>]) -> Self {
        Self {
            daemons: Self::by_daemons(daemons),
            processes: Self::by_processes(processes),
        }
    }

    fn by_daemons(daemons: &DaemonMap<DesiredDaemon>) -> Arc<[(Key, DaemonId)]> {
        let keys = |(id, daemon)| keys_of_daemon(id, daemon).map(move |key| (key, id.clone()));
        sorted(daemons.iter().flat_map(keys))
    }

    fn by_processes(processes: &[Arc<ObservedProcess>]) -> Arc<[(Key, usize)]> {
        let all = processes.iter().enumerate();
        sorted(all.flat_map(|(at, it)| keys_of_process(it).map(move |key| (key, at))))
    }
}

fn sorted<T: Ord>(uses: impl Iterator<Item = (Key, T)>) -> Arc<[(Key, T)]> {
    let mut uses: Vec<_> = uses.collect();
    uses.sort_unstable();
    uses.dedup();
    uses.into()
}

fn uses_of<T>(uses: &[(Key, T)], key: Key) -> impl Iterator<Item = &T> {
    let first = uses.partition_point(|(it, _)| *it < key);
    let all = uses[first..].iter().take_while(move |(it, _)| *it == key);
    all.map(|(_, user)| user)
}

/// The daemons and processes that a partial plan covers.
#[derive(Default)]
struct Touched {
    daemons: BTreeSet<DaemonId>,
    /// Of names and IDs.
    keys: FxHashSet<Key>,
    /// Positions in PM2's list.
    processes: BTreeSet<usize>,
    /// Daemons whose names are not added yet.
    new_daemons: Vec<DaemonId>,
    /// Keys whose users are not added yet.
    new_keys: Vec<Key>,
}

impl Touched {
    /// Adds the differences from the last inputs, and daemons that may change without one. Returns what uses each name now.
    fn add_changes(&mut self, last: &LastPlan, desired: &Desired, observed: &Observed) -> Uses {
        let mut uses = match &last.uses {
            Some(uses) => uses.clone(),
            None => Uses::new(&last.desired.daemons, &last.observed.processes),
        };
        let (before, now) = (&last.desired.daemons, &desired.daemons);
        let changed = before.differences(now, is_same_daemon);
        let keys = |id, daemons: &DaemonMap<DesiredDaemon>| -> Vec<Key> {
            let daemon = daemons.get_key_value(id).into_iter();
            daemon.flat_map(|(id, it)| keys_of_daemon(id, it)).collect()
        };
        if changed.iter().any(|id| keys(id, before) != keys(id, now)) {
            uses.daemons = Uses::by_daemons(now);
        }
        self.add_daemons(changed);
        if let (Some(before), Some(now)) = (&last.desired.records, &desired.records) {
            self.add_daemons(before.histories.differences(&now.histories, Arc::ptr_eq));
            if before.overrides != now.overrides {
                // There are few of them.
                let all = before.overrides.iter().chain(now.overrides.iter());
                self.add_daemons(all.map(|(id, _)| id));
            }
        }
        let attempts = last.planned.attempts.iter().map(|it| &it.daemon);
        self.add_daemons(
            last.unsettled
                .iter()
                .chain(attempts)
                .chain(&last.planned.broken),
        );
        if !self.add_processes(&last.observed.processes, &observed.processes) {
            uses.processes = Uses::by_processes(&observed.processes);
        }
        uses
    }

    /// Adds the processes that differ. Returns whether each has the same names at the same position as before.
    fn add_processes(&mut self, before: &Processes, now: &Processes) -> bool {
        if Arc::ptr_eq(before, now) {
            return true;
        }
        let is_same = |(before, now): &(&Arc<_>, &Arc<_>)| Arc::ptr_eq(before, now);
        let changed = before.iter().zip(now.iter()).filter(|pair| !is_same(pair));
        let stay = before.len() == now.len()
            && changed.clone().all(|(before, now)| {
                before.pm_id == now.pm_id && keys_of_process(before).eq(keys_of_process(now))
            });
        if stay {
            changed.for_each(|(_, now)| self.add_process(now));
            return true;
        }
        let known: FxHashSet<_> = before.iter().map(Arc::as_ptr).collect();
        let left: FxHashSet<_> = now.iter().map(Arc::as_ptr).collect();
        let gone = before.iter().filter(|it| !left.contains(&Arc::as_ptr(it)));
        let new = now.iter().filter(|it| !known.contains(&Arc::as_ptr(it)));
        gone.chain(new).for_each(|it| self.add_process(it));
        false
    }

    fn add_process(&mut self, process: &ObservedProcess) {
        keys_of_process(process).for_each(|key| self.add_key(key));
        self.add_daemons(process.label.iter().map(|label| &label.daemon));
    }

    fn add_daemons<'d>(&mut self, daemons: impl IntoIterator<Item = &'d DaemonId>) {
        for id in daemons {
            if !self.daemons.contains(id) {
                self.daemons.insert(id.clone());
                self.new_daemons.push(id.clone());
            }
        }
    }

    fn add_key(&mut self, key: Key) {
        if self.keys.insert(key) {
            self.new_keys.push(key);
        }
    }

    /// Adds everything that shares a name with what was added, or that it depends on. Returns false if that is nearly everything.
    /// Only the current users are searched: daemons and processes that are gone were added as differences.
    fn close(
        &mut self,
        uses: &Uses,
        processes: &[Arc<ObservedProcess>],
        desired: [&Desired; 2],
    ) -> bool {
        let most = desired[1].daemons.len() / 2;
        while self.daemons.len() <= most {
            if let Some(id) = self.new_daemons.pop() {
                self.add_names(&id, desired);
            } else if let Some(key) = self.new_keys.pop() {
                self.add_daemons(uses_of(&uses.daemons, key));
                for at in uses_of(&uses.processes, key) {
                    if self.processes.insert(*at) {
                        self.add_process(&processes[*at]);
                    }
                }
            } else {
                return true;
            }
        }
        false
    }

    /// Adds the names of a daemon, and of what it depends on.
    fn add_names(&mut self, id: &DaemonId, desired: [&Desired; 2]) {
        self.add_key(key(id.as_str()));
        for desired in desired {
            let daemon = desired.daemons.get(id).into_iter();
            for app in daemon.flat_map(DesiredDaemon::apps) {
                self.add_key(key(app.name()));
                let needs = app.rollout().depends_on.iter();
                needs.for_each(|it| self.add_key(key(&it.name)));
            }
            // It may still run its earlier spec.
            let records = desired.records.as_ref();
            let history = records.and_then(|records| records.histories.get(id));
            let entries = history.into_iter().flat_map(|history| history.entries());
            let apps = entries.flat_map(|entry| &entry.apps);
            apps.for_each(|app| self.add_key(key(&app.name)));
        }
    }

    /// Whether an older spec in force has a dependency that is not covered.
    fn lacks_needs(&self, in_force: &InForce<'_>) -> bool {
        let apps = in_force.daemons.values().flat_map(|it| &it.apps);
        let mut needs = apps.flat_map(|app| &app.spec.rollout().depends_on);
        needs.any(|need| !self.keys.contains(&key(&need.name)))
    }

    fn of_desired(&self, desired: &Desired) -> Desired {
        let daemons = self.daemons.iter();
        let daemons = daemons.filter_map(|id| desired.daemons.get_key_value(id));
        Desired {
            daemons: daemons
                .map(|(id, daemon)| (id.clone(), daemon.clone()))
                .collect(),
            records: desired.records.clone(),
        }
    }

    fn of_processes(&self, all: &[Arc<ObservedProcess>]) -> Processes {
        let touched = self.processes.iter().map(|at| Arc::clone(&all[*at]));
        touched.collect()
    }
}

/// Whether both policies agree on which apps are in sync. Settings for removal, adoption and retries do not matter for that.
fn is_same_policy(before: &Policy, now: &Policy) -> bool {
    before.workspace == now.workspace
        && before.home == now.home
        && before.env_policy == now.env_policy
        && before.cpus == now.cpus
        && before.scope.only == now.scope.only
        && before.passed == now.passed
        && before.restart == now.restart
        && before.values == now.values
}

fn is_same_daemon(before: &DesiredDaemon, now: &DesiredDaemon) -> bool {
    let (DesiredDaemon::Apps(before), DesiredDaemon::Apps(now)) = (before, now) else {
        return false;
    };
    let mut pairs = before.iter().zip(now.iter());
    Arc::ptr_eq(before, now)
        || (before.len() == now.len() && pairs.all(|(before, now)| before.is_shared_with(now)))
}

/// The daemons with an app that is not in sync, or may not stay so.
fn unsettled(planned: &Planned) -> BTreeSet<DaemonId> {
    let apps = planned.apps.iter().filter(|app| !is_settled(app));
    apps.map(|app| app.daemon.clone()).collect()
}

/// Whether an app is in sync and stays so: its state depends on neither the time nor an older spec.
fn is_settled(app: &AppState) -> bool {
    matches!(app.condition, Condition::InSync | Condition::Ended) && app.causes.is_empty()
}

/// Whether a plan removes anything: how much may be removed, and in which order, depends on everything else.
fn depends_on_totals(planned: &Planned) -> bool {
    let mut steps = planned.plan.steps.iter();
    let is_leaving = |app: &AppState| {
        let stays = [Condition::Kept, Condition::Broken, Condition::Mislabelled];
        app.wanted.is_none() && !stays.contains(&app.condition)
    };
    planned.plan.held.is_some()
        || planned.plan.confirmed.is_some()
        || steps.any(|step| matches!(step.action, Action::Remove { .. }))
        || planned.apps.iter().any(is_leaving)
}
