//! The least disruptive step that makes the processes of an app match its definition.

use std::sync::Arc;

use crate::attribute::Cost;
use crate::diff::{Change, Field};
use crate::plan::world::World;
use crate::plan::{Action, ChangeMethod, Reason, RestartRequest, Target};
use crate::{AppSpec, ExecMode, Label, ObservedProcess, OnChange, ProcessState, Status};

/// How the processes that stay have to change.
pub(super) struct AppChange {
    pub(super) targets: Vec<Target>,
    pub(super) reasons: Vec<Reason>,
    cost: Cost,
    /// Whether the owner changes, or a user requested the change; `:hold` does not apply then.
    pub(super) is_due: bool,
    /// Whether all of them are in cluster mode and stay in it.
    is_cluster: bool,
    /// Whether at least one of them runs, so that a reload avoids downtime. Stopped ones are started again.
    serves: bool,
}

impl AppChange {
    /// The least disruptive method that applies the change.
    pub(super) fn how(&self, app: &AppSpec) -> ChangeMethod {
        let cost = if !app.survives_merging() {
            Cost::Replace
        } else {
            self.cost
        };
        let cost = match app.policy().on_change {
            Some(OnChange::Replace) => Cost::Replace,
            Some(OnChange::Restart) => cost.max(Cost::HardRestart),
            _ => cost,
        };
        match cost {
            Cost::Scale | Cost::Restart if self.is_cluster && self.serves => ChangeMethod::Reload,
            Cost::Scale | Cost::Restart | Cost::HardRestart => ChangeMethod::Restart,
            Cost::Replace => ChangeMethod::Replace,
        }
    }

    pub(super) fn into_step(self, app: &AppSpec) -> (Action, Vec<Reason>) {
        let how = self.how(app);
        let (spec, targets) = (app.clone(), self.targets);
        (Action::Change { spec, targets, how }, self.reasons)
    }

    fn add(&mut self, process: &ObservedProcess) {
        self.targets.push(Target::of(process));
        self.is_cluster &= process.text("exec_mode") == Some("cluster_mode");
        self.serves |= process.status == Status::Online;
    }

    /// Adds processes to restart although they have not changed. `is_settled` says whether the app is ready and has no other step:
    /// only then is one unhealthy process restarted, while the others keep serving.
    pub(super) fn add_requests(
        &mut self,
        world: &World<'_>,
        app: &AppSpec,
        kept: &[&Arc<ObservedProcess>],
        is_settled: bool,
    ) {
        let requests = world.policy.restart.iter();
        for request in requests.filter(|_| app.starts_by_itself()) {
            match request {
                RestartRequest::App { daemon, app: name }
                    if daemon == app.daemon()
                        && name.as_ref().is_none_or(|name| name == app.name()) =>
                {
                    self.is_due = true;
                    self.restart(kept, Reason::RestartRequested);
                }
                RestartRequest::Unhealthy {
                    pm_id,
                    why,
                    failures,
                } if is_settled && self.targets.is_empty() => {
                    let at_ms = world.observed.at_ms;
                    let runs =
                        |it: &&Arc<ObservedProcess>| it.state(at_ms) == ProcessState::Running;
                    let process = kept.iter().find(|process| process.pm_id == *pm_id);
                    if kept.iter().all(runs)
                        && let Some(process) = process
                    {
                        let (why, failures) = (why.clone(), *failures);
                        self.restart(&[process], Reason::Unhealthy { why, failures });
                    }
                }
                _ => {}
            }
        }
    }

    fn restart(&mut self, processes: &[&Arc<ObservedProcess>], reason: Reason) {
        for process in processes {
            if !self.targets.iter().any(|it| it.pm_id == process.pm_id) {
                self.add(process);
            }
        }
        self.cost = self.cost.max(Cost::Restart);
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

/// The differences between an app and the processes that stay.
pub(super) fn changes_of(
    world: &World<'_>,
    app: &AppSpec,
    kept: &[&Arc<ObservedProcess>],
) -> AppChange {
    let mut change = AppChange {
        targets: Vec::new(),
        reasons: Vec::new(),
        cost: Cost::Scale,
        is_due: false,
        is_cluster: app.exec_mode() != ExecMode::Fork && app.starts_by_itself(),
        serves: false,
    };
    let mut edited: Vec<Change> = Vec::new();
    let mut drifted: Vec<Change> = Vec::new();
    let mut stale = false;
    for process in kept {
        let mut found = app.differences(process, &world.policy.env_policy);
        let owner = owner_reason(world, app, process.label.as_ref());
        // A label that names another daemon is corrected by the next restart; it is not a reason for one.
        let moved = matches!(owner, Some(Reason::Moved { .. }));
        let outdated = process.label.is_some() && !process.is_from(app);
        let label = process.label.as_ref();
        if label.is_some_and(|label| label.spec == *app.digest()) {
            found.retain(|change| !change.is_reset_by_command_line());
        }
        if found.is_empty() && (owner.is_none() || moved) && !outdated {
            continue;
        }
        change.add(process);
        change.is_due |= owner.is_some() && !moved;
        change.is_cluster &= stays_in_cluster_mode(app, &found);
        for difference in &found {
            change.cost = change.cost.max(difference.cost());
        }
        if let Some(reason) = owner
            && !change.reasons.contains(&reason)
        {
            change.reasons.push(reason);
        }
        stale |= outdated;
        let list = if outdated || process.label.is_none() {
            &mut edited
        } else {
            &mut drifted
        };
        for difference in found {
            if !list.iter().any(|known| known.field == difference.field) {
                list.push(difference);
            }
        }
    }
    if stale || !edited.is_empty() {
        change.reasons.push(Reason::Edited { changes: edited });
    }
    if !drifted.is_empty() {
        change.reasons.push(Reason::Drifted { changes: drifted });
    }
    change
}

/// Whether a process in cluster mode stays in it. Where the definition does not say, PM2 decides by the interpreter.
fn stays_in_cluster_mode(app: &AppSpec, changes: &[Change]) -> bool {
    let decides = ["script", "exec_interpreter"].map(Field::Attribute);
    app.exec_mode() == ExecMode::Cluster
        || app.script().ends_with(".js")
        || !changes.iter().any(|change| decides.contains(&change.field))
}

/// The previous owner of the process, if it was not the app.
fn owner_reason(world: &World<'_>, app: &AppSpec, has: Option<&Label>) -> Option<Reason> {
    match has {
        None => Some(Reason::Adopted),
        Some(has) if has.workspace != world.policy.workspace => Some(Reason::TakenOver {
            from: has.workspace.clone(),
        }),
        Some(has) if has.daemon != *app.daemon() => Some(Reason::Moved {
            from: has.daemon.clone(),
        }),
        _ => None,
    }
}
