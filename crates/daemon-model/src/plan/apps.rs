//! The least disruptive steps that reconcile each app.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diff::is_orphan_of;
use crate::plan::draft::Draft;
use crate::plan::world::World;
use crate::plan::{
    Action, AppState, ChangeMethod, Condition, Planned, Reason, Target, attempt, inherit, order,
};
use crate::{AppSpec, DaemonId, Label, ObservedProcess, Orphan, ProcessState};

/// Plans every app that is in force, and reports the state of all other processes.
pub(super) fn plan_apps(world: &World<'_>, planned: &mut Planned) {
    let mut drafts = Vec::new();
    for (id, daemon) in &world.in_force.daemons {
        for app in daemon.apps.iter().filter(|app| world.is_owner(&app.spec)) {
            drafts.push(Draft::new(world, id, daemon, app));
        }
    }
    order::hold_back(&mut drafts, world);
    drafts.retain(|draft| world.policy.scope.includes(draft.id));
    planned.attempts = attempt::attempts(&drafts);
    for draft in drafts {
        let (state, mut steps) = draft.finish(world);
        steps.iter_mut().for_each(|step| inherit::keep(step, world));
        planned.plan.steps.extend(steps);
        planned.apps.push(state);
    }
    let undecided = world.undecided.iter();
    let undecided = undecided.map(|(label, it)| (*label, label.app.as_str(), *it));
    leave(world, undecided, Condition::Broken, planned);
    let mislabelled = world.mislabelled.iter();
    let mislabelled = mislabelled.map(|(label, it)| (*label, it.name.as_str(), *it));
    leave(world, mislabelled, Condition::Mislabelled, planned);
}

/// Adds processes that are left as they are.
fn leave<'a>(
    world: &World<'_>,
    processes: impl Iterator<Item = (&'a Label, &'a str, &'a Arc<ObservedProcess>)>,
    condition: Condition,
    planned: &mut Planned,
) {
    let mut apps: BTreeMap<(&DaemonId, &str), Vec<Arc<ObservedProcess>>> = BTreeMap::new();
    for (label, app, process) in processes {
        if world.policy.scope.includes(&label.daemon) {
            let of_app = apps.entry((&label.daemon, app)).or_default();
            of_app.push(Arc::clone(process));
        }
    }
    let at_ms = world.observed.at_ms;
    let states = apps.into_iter().map(|((daemon, app), processes)| {
        AppState::new(daemon, app, None, processes, condition, at_ms)
    });
    states.for_each(|state| planned.apps.push(state));
}

/// Processes that survived their PM2 must end before the app starts again.
pub(super) fn kill_orphans(world: &World<'_>, app: &AppSpec, steps: &mut Steps) {
    let orphans: Vec<Orphan> = world
        .observed
        .orphans
        .iter()
        .filter(|orphan| is_orphan_of(app, orphan))
        .cloned()
        .collect();
    if !orphans.is_empty() {
        let pids = orphans.iter().map(|orphan| orphan.pid).collect();
        let spec = app.clone();
        steps.push((
            Action::KillOrphans { spec, orphans },
            vec![Reason::Orphaned { pids }],
        ));
    }
}

/// Steps of one app.
pub(super) type Steps = Vec<(Action, Vec<Reason>)>;

/// The start of the processes that an app lacks.
pub(super) fn start_missing(app: &AppSpec, have: u32, want: u32) -> Option<(Action, Reason)> {
    let count = want.checked_sub(have).filter(|count| *count > 0)?;
    let reason = if have == 0 {
        Reason::New
    } else {
        Reason::TooFew { have, want }
    };
    let spec = app.clone();
    Some((Action::Start { spec, count }, reason))
}

/// Unmanaged processes with the app's name that may not be adopted.
pub(super) fn blocked(
    world: &World<'_>,
    strangers: &[&Arc<ObservedProcess>],
) -> Option<(Action, Vec<Reason>)> {
    let foreign: Vec<_> = strangers
        .iter()
        .filter_map(|process| process.label.as_ref())
        .map(|label| Reason::OtherWorkspace {
            workspace: label.workspace.clone(),
        })
        .collect();
    let reasons = if !foreign.is_empty() {
        foreign
    } else if !strangers.is_empty() && !world.policy.adopt {
        vec![Reason::Stranger]
    } else {
        return None;
    };
    let by = targets(strangers);
    Some((Action::Blocked { by }, reasons))
}

/// The step that restarts processes which should run but do not, unless another step changes them.
pub(super) fn resume(
    world: &World<'_>,
    app: &AppSpec,
    kept: &[&Arc<ObservedProcess>],
    steps: &Steps,
) -> Option<(Action, Vec<Reason>)> {
    let changing = |process: &ObservedProcess| {
        let mut targets = steps.iter().flat_map(|(action, _)| action.targets());
        targets.any(|target| target.pm_id == process.pm_id)
    };
    let mut resumed = Vec::new();
    let mut reasons = Vec::new();
    for process in kept.iter().copied().filter(|process| !changing(process)) {
        let reason = match process.state(world.observed.at_ms) {
            ProcessState::NoProcess => Reason::NoProcess,
            ProcessState::Stopped => Reason::Stopped,
            ProcessState::GaveUp if world.observed.is_repaired(process) => Reason::ScriptChanged,
            ProcessState::GaveUp if world.policy.retry => Reason::RetryRequested,
            _ => continue,
        };
        resumed.push(process);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let action = Action::Change {
        spec: app.clone(),
        targets: targets(&resumed),
        how: ChangeMethod::Resume,
    };
    (!resumed.is_empty()).then_some((action, reasons))
}

pub(super) fn targets(processes: &[&Arc<ObservedProcess>]) -> Vec<Target> {
    processes
        .iter()
        .map(|process| Target::of(process))
        .collect()
}

pub(super) fn count(processes: &[&Arc<ObservedProcess>]) -> u32 {
    u32::try_from(processes.len()).unwrap_or(u32::MAX)
}
