//! Checks independently of the planner that a plan follows the rules. It shares no code with the planner.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Action, Plan, Planned, Policy};
use crate::{
    DaemonId, DaemonOverrides, Desired, DesiredDaemon, Label, Observed, ObservedProcess, PmId,
};

/// A rule that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanViolation {
    /// A step refers to a process that PM2 does not have.
    #[error("a step of `{app}` refers to process {pm_id}, which does not exist")]
    UnknownProcess {
        /// The step's app.
        app: String,
        /// The process.
        pm_id: PmId,
    },
    /// Two steps refer to one process.
    #[error("two steps refer to process {0}")]
    TouchedTwice(PmId),
    /// A step removes or stops a process without our label.
    #[error("a step of `{app}` removes process {pm_id}, which is not ours")]
    RemovesStranger {
        /// The step's app.
        app: String,
        /// The process.
        pm_id: PmId,
    },
    /// A step removes or stops a process whose label names another app than its name, and no user stopped the app.
    #[error("a step of `{app}` removes process {pm_id}, whose label and name name different apps")]
    RemovesMislabelled {
        /// The step's app.
        app: String,
        /// The process.
        pm_id: PmId,
    },
    /// A step changes a process that is neither ours nor has a declared name.
    #[error("a step of `{app}` changes process {pm_id}, which is not ours")]
    ChangesStranger {
        /// The step's app.
        app: String,
        /// The process.
        pm_id: PmId,
    },
    /// A step stops or changes processes of a daemon whose definition is broken.
    #[error("a step changes processes of `{0}`, whose definition is broken")]
    TouchesBroken(DaemonId),
    /// More is removed at once than the guard allows.
    #[error("removes {removed} of {managed} daemons at once")]
    MassRemoval {
        /// Daemons removed.
        removed: usize,
        /// Managed daemons.
        managed: usize,
    },
    /// A step is outside of the scope of the pass.
    #[error("touches `{0}`, which is out of scope")]
    OutOfScope(DaemonId),
    /// A step changes a module of PM2.
    #[error("touches process {0}, a module of PM2")]
    TouchesModule(PmId),
    /// A managed process within the scope belongs to no app of the plan, or to several.
    #[error("process {pm_id} belongs to {count} apps of the plan")]
    NotInOneApp {
        /// The process.
        pm_id: PmId,
        /// How many apps contain it.
        count: usize,
    },
}

/// Checks a plan against the safety rules.
///
/// # Errors
/// The first rule that the plan breaks.
pub fn check_plan(
    planned: &Planned,
    desired: &Desired,
    observed: &Observed,
    policy: &Policy,
) -> Result<(), PlanViolation> {
    let world = World::new(desired, observed, policy);
    check_steps(&planned.plan, &world)?;
    check_amount(&planned.plan, &world)?;
    check_apps(planned, &world)
}

struct World<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    policy: &'a Policy,
    /// The daemons that declare an app of this name.
    declared: BTreeMap<&'a str, BTreeSet<&'a DaemonId>>,
}

impl<'a> World<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed, policy: &'a Policy) -> Self {
        let mut declared: BTreeMap<&str, BTreeSet<&DaemonId>> = BTreeMap::new();
        for app in desired.daemons.values().flat_map(DesiredDaemon::apps) {
            declared.entry(app.name()).or_default().insert(app.daemon());
        }
        Self {
            desired,
            observed,
            policy,
            declared,
        }
    }

    fn declaring(&self, name: &str) -> impl Iterator<Item = &'a DaemonId> {
        self.declared.get(name).into_iter().flatten().copied()
    }

    /// The label, if it is one of this workspace.
    fn own_label<'p>(&self, process: &'p ObservedProcess) -> Option<&'p Label> {
        let label = process.label.as_ref()?;
        (label.workspace == self.policy.workspace && !process.is_module).then_some(label)
    }

    fn overrides(&self, daemon: &DaemonId) -> Option<&'a DaemonOverrides> {
        self.desired.records.as_ref()?.overrides.get(daemon)
    }

    fn wants_nothing(&self, daemon: &DaemonId) -> bool {
        let daemon = self.desired.daemons.get(daemon);
        daemon.is_none_or(|daemon| daemon.apps().is_empty())
    }
}

fn check_steps(plan: &Plan, world: &World<'_>) -> Result<(), PlanViolation> {
    let processes = world.observed.processes.iter();
    let processes: BTreeMap<PmId, _> = processes.map(|it| (it.pm_id, it)).collect();
    let mut touched = BTreeSet::new();
    for step in &plan.steps {
        if !world.policy.scope.includes(&step.daemon) {
            return Err(PlanViolation::OutOfScope(step.daemon.clone()));
        }
        if matches!(step.action, Action::Blocked { .. }) {
            continue;
        }
        let removes = matches!(step.action, Action::Remove { .. });
        let changes = removes || matches!(step.action, Action::Change { .. });
        let daemon = world.desired.daemons.get(&step.daemon);
        let is_stopped = world
            .overrides(&step.daemon)
            .is_some_and(|it| it.stop.is_some());
        if changes && !is_stopped && daemon.is_some_and(DesiredDaemon::is_broken) {
            return Err(PlanViolation::TouchesBroken(step.daemon.clone()));
        }
        for target in step.action.targets() {
            let (app, pm_id) = (step.app.clone(), target.pm_id);
            let Some(process) = processes.get(&pm_id) else {
                return Err(PlanViolation::UnknownProcess { app, pm_id });
            };
            if !touched.insert(pm_id) {
                return Err(PlanViolation::TouchedTwice(pm_id));
            }
            if process.is_module {
                return Err(PlanViolation::TouchesModule(pm_id));
            }
            let is_declared = |name: &str| world.declared.contains_key(name);
            let is_ours = match &process.label {
                Some(label) => {
                    let is_gone = world.observed.missing_workspaces.contains(&label.workspace);
                    label.workspace == world.policy.workspace
                        || (is_gone && is_declared(&label.app))
                }
                None => world.policy.adopt && is_declared(&process.name),
            };
            let label = process.label.as_ref();
            match removes {
                true if !is_ours => return Err(PlanViolation::RemovesStranger { app, pm_id }),
                // A stop by a user also covers a process that was renamed by hand.
                true if !is_stopped && label.is_some_and(|it| it.app != process.name) => {
                    return Err(PlanViolation::RemovesMislabelled { app, pm_id });
                }
                false if !is_ours => return Err(PlanViolation::ChangesStranger { app, pm_id }),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The guard against removing too much at once. The planner has verified the confirmation code; here it only matters that there is
/// one.
fn check_amount(plan: &Plan, world: &World<'_>) -> Result<(), PlanViolation> {
    let removes = |step: &&crate::Step| matches!(step.action, Action::Remove { .. });
    let removed = plan.steps.iter().filter(removes).map(|step| &step.daemon);
    let removed: BTreeSet<&DaemonId> = removed.filter(|id| world.wants_nothing(id)).collect();
    let processes = world.observed.processes.iter();
    let managed: BTreeSet<&DaemonId> = processes
        .filter_map(|process| Some((process, world.own_label(process)?)))
        .map(|(process, label)| {
            let declaring = world.declaring(&process.name).next();
            declaring.unwrap_or(&label.daemon)
        })
        .collect();
    let lately = world.policy.removed_lately;
    let (going, out_of) = (removed.len() + lately, managed.len() + lately);
    let is_too_much = (going > 1 && going * 4 > out_of) || world.desired.daemons.is_empty();
    if !removed.is_empty() && is_too_much && world.policy.confirmed.is_none() {
        return Err(PlanViolation::MassRemoval {
            removed: removed.len(),
            managed: managed.len(),
        });
    }
    Ok(())
}

/// Every managed process must belong to exactly one app of the plan, or to at most one if it may belong to a daemon outside of the
/// scope.
fn check_apps(planned: &Planned, world: &World<'_>) -> Result<(), PlanViolation> {
    let mut counts: BTreeMap<PmId, usize> = BTreeMap::new();
    for process in planned.apps.iter().flat_map(|app| &app.processes) {
        *counts.entry(process.pm_id).or_default() += 1;
    }
    for process in world.observed.processes.iter() {
        let Some(label) = world.own_label(process) else {
            continue;
        };
        let by_name = world.declaring(&process.name);
        let mut owners = by_name.chain(world.declaring(&label.app));
        let includes = |daemon: &DaemonId| world.policy.scope.includes(daemon);
        let in_scope = includes(&label.daemon) && owners.all(includes);
        let pm_id = process.pm_id;
        let count = counts.get(&pm_id).copied().unwrap_or(0);
        if count > 1 || (in_scope && count == 0) {
            return Err(PlanViolation::NotInOneApp { pm_id, count });
        }
    }
    Ok(())
}
