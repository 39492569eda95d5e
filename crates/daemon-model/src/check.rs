//! An independent look at a plan: does it keep the rules, whatever the planner thought?

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Action, Plan, Policy};
use crate::{DaemonId, Desired, Observed};

/// A rule that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanViolation {
    /// A step is about a process that PM2 does not have.
    #[error("a step of `{app}` is about process {pm_id}, which is not there")]
    UnknownProcess {
        /// The step's app.
        app: String,
        /// The process.
        pm_id: u32,
    },
    /// Two steps are about one process.
    #[error("two steps are about process {0}")]
    TouchedTwice(u32),
    /// A step takes away or stops a process without our label.
    #[error("a step of `{app}` removes process {pm_id}, which is not ours")]
    RemovesStranger {
        /// The step's app.
        app: String,
        /// The process.
        pm_id: u32,
    },
    /// A step changes a process that is neither ours nor of a declared name.
    #[error("a step of `{app}` changes process {pm_id}, which is not ours")]
    ChangesStranger {
        /// The step's app.
        app: String,
        /// The process.
        pm_id: u32,
    },
    /// A step stops or changes processes of a daemon whose definition is broken.
    #[error("a step changes processes of `{0}`, whose definition is broken")]
    TouchesBroken(DaemonId),
    /// More is removed at once than the guard lets through.
    #[error("removes {removed} of {managed} daemons at once")]
    MassRemoval {
        /// Daemons removed.
        removed: usize,
        /// Managed daemons.
        managed: usize,
    },
    /// A step is outside of what the pass was limited to.
    #[error("touches `{0}`, which was not asked for")]
    OutOfScope(DaemonId),
    /// A module of PM2's is touched.
    #[error("touches process {0}, a module of PM2")]
    TouchesModule(u32),
}

/// Checks a plan against the rules that nothing may break.
///
/// # Errors
/// The first rule that is broken.
pub fn check_plan(
    plan: &Plan,
    desired: &Desired,
    observed: &Observed,
    policy: &Policy,
) -> Result<(), PlanViolation> {
    let processes: BTreeMap<u32, _> = observed
        .processes
        .iter()
        .map(|process| (process.pm_id, process))
        .collect();
    let names: BTreeSet<&str> = desired
        .daemons
        .values()
        .flat_map(|daemon| daemon.apps())
        .map(crate::AppSpec::name)
        .collect();
    let mut touched = BTreeSet::new();
    let mut removed: BTreeSet<&DaemonId> = BTreeSet::new();
    for step in &plan.steps {
        if !policy.includes(&step.daemon) {
            return Err(PlanViolation::OutOfScope(step.daemon.clone()));
        }
        if matches!(step.action, Action::Blocked { .. }) {
            continue;
        }
        let broken = desired
            .daemons
            .get(&step.daemon)
            .is_some_and(crate::DesiredDaemon::is_broken);
        if broken && !matches!(step.action, Action::Start { .. } | Action::End { .. }) {
            return Err(PlanViolation::TouchesBroken(step.daemon.clone()));
        }
        if step.action.removes()
            && desired
                .daemons
                .get(&step.daemon)
                .is_none_or(|daemon| daemon.apps().is_empty())
        {
            removed.insert(&step.daemon);
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
            let ours = process.label.as_ref().is_some_and(|label| {
                label.workspace == policy.workspace
                    || (observed.missing_workspaces.contains(&label.workspace)
                        && names.contains(label.app.as_str()))
            });
            let adoptable =
                policy.adopt && process.label.is_none() && names.contains(process.name.as_str());
            if !ours && !adoptable {
                return Err(if step.action.removes() {
                    PlanViolation::RemovesStranger { app, pm_id }
                } else {
                    PlanViolation::ChangesStranger { app, pm_id }
                });
            }
        }
    }
    let managed: BTreeSet<&DaemonId> = observed
        .processes
        .iter()
        .filter_map(|process| process.label.as_ref())
        .filter(|label| label.workspace == policy.workspace)
        .map(|label| &label.daemon)
        .collect();
    // The planner has compared it with what is held; without any there is no excuse.
    let confirmed = policy.confirmed.is_some();
    let too_many = removed.len() > 1 && removed.len() * 4 > managed.len()
        || (!removed.is_empty() && desired.daemons.is_empty());
    if too_many && !confirmed {
        return Err(PlanViolation::MassRemoval {
            removed: removed.len(),
            managed: managed.len(),
        });
    }
    Ok(())
}
