//! Replans only what changed since the last plan.
//!
//! The part of a plan for one daemon depends on that daemon, its processes, whatever shares a name with them, and their
//! dependencies. If none of these changed and the daemon was in sync, its part is unchanged. Only the rest is planned, as if
//! nothing else existed. Plans that depend on totals (the removal guard, the order of removals) are made as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::in_force::InForce;
use super::{Action, AppState, Condition, Planned, Policy, plan};
use crate::{AppSpec, DaemonId, Desired, DesiredDaemon, Observed, ObservedProcess, Records};

/// A plan and its inputs.
#[derive(Debug, Clone)]
pub struct LastPlan {
    desired: Arc<Desired>,
    observed: Observed,
    policy: Policy,
    planned: Planned,
}

impl LastPlan {
    /// Stores a plan that [`plan`] made from these inputs.
    #[must_use]
    pub fn new(
        desired: Arc<Desired>,
        observed: &Observed,
        policy: Policy,
        planned: Planned,
    ) -> Self {
        Self {
            desired,
            observed: observed.with_processes(observed.processes.clone()),
            policy,
            planned,
        }
    }

    /// The result of [`plan`] for these inputs, at the cost of their differences from the last inputs. None if a full plan is
    /// needed. Debug builds also make the full plan and check that it is the same.
    #[must_use]
    pub fn plan_changes(
        &self,
        desired: &Desired,
        observed: &Observed,
        policy: &Policy,
    ) -> Option<Planned> {
        let is_comparable = is_same_policy(&self.policy, policy)
            && self.observed.orphans == observed.orphans
            && self.observed.missing_workspaces == observed.missing_workspaces
            && self.observed.scripts_changed_ms == observed.scripts_changed_ms
            && self.desired.records.is_some() == desired.records.is_some();
        if !is_comparable {
            return None;
        }
        let mut touched = Touched::default();
        touched.add_changes(self, desired, observed);
        let out_of_scope = self
            .policy
            .scope
            .except
            .symmetric_difference(&policy.scope.except);
        touched.daemons.extend(out_of_scope);
        let processes = touched.close([&*self.desired, desired], observed)?;
        let part = touched.of_desired(desired);
        if touched.lacks_needs(&InForce::new(&part, policy)) {
            return None;
        }
        let mut planned = plan(&part, &observed.with_processes(processes), policy);
        if depends_on_totals(&planned) {
            return None;
        }
        let changed = touched.daemons.iter().copied();
        planned.apps.add_unchanged(&self.planned.apps, changed);
        debug_assert_eq!(planned, plan(desired, observed, policy));
        Some(planned)
    }
}

/// The daemons and names that a partial plan covers.
#[derive(Default)]
struct Touched<'a> {
    daemons: FxHashSet<&'a DaemonId>,
    /// Names of apps and processes.
    names: FxHashSet<&'a str>,
    /// Names of apps and daemons that others depend on.
    needs: FxHashSet<&'a str>,
}

impl<'a> Touched<'a> {
    /// Adds the differences from the last inputs, and daemons that may change without one.
    fn add_changes(&mut self, last: &'a LastPlan, desired: &'a Desired, observed: &'a Observed) {
        let daemons = differing(&last.desired.daemons, &desired.daemons, is_same_daemon);
        self.daemons.extend(daemons);
        if let (Some(before), Some(now)) = (&last.desired.records, &desired.records) {
            self.add_records(before, now);
        }
        let unsettled = last.planned.apps.iter().filter(|app| !is_settled(app));
        let unsettled = unsettled.map(|app| &app.daemon);
        let attempts = last.planned.attempts.iter().map(|it| &it.daemon);
        let all = unsettled.chain(attempts).chain(&last.planned.broken);
        self.daemons.extend(all);
        let (before, now) = (&last.observed.processes, &observed.processes);
        let is_same = before.len() == now.len();
        let pairs = before.iter().zip(now);
        if is_same && pairs.clone().all(|(before, now)| before.pm_id == now.pm_id) {
            let changed = pairs.filter(|(before, now)| !Arc::ptr_eq(before, now));
            changed.for_each(|(before, now)| {
                self.add_process(before);
                self.add_process(now);
            });
            return;
        }
        let known: FxHashSet<_> = before.iter().map(Arc::as_ptr).collect();
        let left: FxHashSet<_> = now.iter().map(Arc::as_ptr).collect();
        let gone = before.iter().filter(|it| !left.contains(&Arc::as_ptr(it)));
        let new = now.iter().filter(|it| !known.contains(&Arc::as_ptr(it)));
        gone.chain(new).for_each(|it| self.add_process(it));
    }

    fn add_records(&mut self, before: &'a Records, now: &'a Records) {
        if !Arc::ptr_eq(&before.histories, &now.histories) {
            let histories = differing(&before.histories, &now.histories, Arc::ptr_eq);
            self.daemons.extend(histories);
        }
        if before.overrides != now.overrides {
            // There are few of them.
            let all = before.overrides.iter().chain(now.overrides.iter());
            self.daemons.extend(all.map(|(id, _)| id));
        }
    }

    fn add_process(&mut self, process: &'a ObservedProcess) {
        self.names.insert(&process.name);
        if let Some(label) = &process.label {
            self.names.insert(&label.app);
            self.daemons.insert(&label.daemon);
        }
    }

    fn has_process(&self, process: &ObservedProcess) -> bool {
        let label = process.label.as_ref();
        self.names.contains(process.name.as_str())
            || label.is_some_and(|label| {
                self.names.contains(label.app.as_str()) || self.daemons.contains(&label.daemon)
            })
    }

    /// Adds everything that shares a name with the collected daemons, or that they depend on, and returns the processes that belong
    /// to them. None if that is nearly everything. Only the current state is searched: daemons and processes that are gone were
    /// collected as differences.
    fn close(
        &mut self,
        desired: [&'a Desired; 2],
        observed: &'a Observed,
    ) -> Option<Vec<Arc<ObservedProcess>>> {
        let mut named = FxHashSet::default();
        loop {
            self.add_names(desired, &mut named);
            let before = self.size();
            let daemons = desired[1].daemons.iter();
            let touched = daemons.filter(|(id, daemon)| self.has_daemon(id, daemon));
            let touched: Vec<&DaemonId> = touched.map(|(id, _)| id).collect();
            self.daemons.extend(touched);
            let mut processes = Vec::new();
            for process in &observed.processes {
                if self.has_process(process) {
                    self.add_process(process);
                    processes.push(Arc::clone(process));
                }
            }
            if self.daemons.len() > desired[1].daemons.len() / 2 {
                return None;
            }
            if self.size() == before {
                return Some(processes);
            }
        }
    }

    fn size(&self) -> [usize; 3] {
        [self.daemons.len(), self.names.len(), self.needs.len()]
    }

    fn has_daemon(&self, id: &DaemonId, daemon: &DesiredDaemon) -> bool {
        let has =
            |app: &AppSpec| self.names.contains(app.name()) || self.needs.contains(app.name());
        self.daemons.contains(id)
            || self.needs.contains(id.as_str())
            || daemon.apps().iter().any(has)
    }

    /// Adds the names of the collected daemons, except those that are already `named`, and of what they depend on.
    fn add_names(&mut self, desired: [&'a Desired; 2], named: &mut FxHashSet<&'a DaemonId>) {
        for id in self.daemons.iter().filter(|id| named.insert(*id)) {
            for desired in desired {
                let daemon = desired.daemons.get(*id).into_iter();
                for app in daemon.flat_map(DesiredDaemon::apps) {
                    self.names.insert(app.name());
                    let needs = app.rollout().depends_on.iter();
                    self.needs.extend(needs.map(|it| it.name.as_str()));
                }
                // It may still run its earlier spec.
                let records = desired.records.as_ref();
                let history = records.and_then(|records| records.histories.get(*id));
                let entries = history.into_iter().flat_map(|history| history.entries());
                let apps = entries.flat_map(|entry| &entry.apps);
                self.names.extend(apps.map(|app| app.name.as_str()));
            }
        }
    }

    /// Whether an older spec in force has a dependency that is not covered.
    fn lacks_needs(&self, in_force: &InForce<'_>) -> bool {
        let apps = in_force.daemons.values().flat_map(|it| &it.apps);
        let mut needs = apps.flat_map(|app| &app.spec.rollout().depends_on);
        needs.any(|need| !self.needs.contains(need.name.as_str()))
    }

    fn of_desired(&self, desired: &Desired) -> Desired {
        let daemons = self.daemons.iter();
        let daemons = daemons.filter_map(|id| desired.daemons.get_key_value(*id));
        Desired {
            daemons: daemons
                .map(|(id, daemon)| (id.clone(), daemon.clone()))
                .collect(),
            records: desired.records.clone(),
        }
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

/// The keys that are in only one map, or whose values differ.
fn differing<'a, V>(
    before: &'a BTreeMap<DaemonId, V>,
    now: &'a BTreeMap<DaemonId, V>,
    is_same: impl Fn(&V, &V) -> bool + 'a,
) -> impl Iterator<Item = &'a DaemonId> {
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (before.peek(), now.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((before, _)), Some((now, _))) => before.cmp(now),
            };
            let (old, new) = (
                order.is_le().then(|| before.next()).flatten(),
                order.is_ge().then(|| now.next()).flatten(),
            );
            match (old, new) {
                (Some((_, old)), Some((_, new))) if is_same(old, new) => {}
                (old, new) => return new.or(old).map(|(id, _)| id),
            }
        }
    })
}

fn is_same_daemon(before: &DesiredDaemon, now: &DesiredDaemon) -> bool {
    let (DesiredDaemon::Apps(before), DesiredDaemon::Apps(now)) = (before, now) else {
        return false;
    };
    let mut pairs = before.iter().zip(now.iter());
    Arc::ptr_eq(before, now)
        || (before.len() == now.len() && pairs.all(|(before, now)| before.is_shared_with(now)))
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
