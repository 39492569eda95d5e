//! What nobody defines any more, and the guard against removing too much of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::Utf8Path;
use sha2::{Digest, Sha256};

use crate::plan::apps::{World, targets};
use crate::plan::{Action, AppState, Condition, HeldRemoval, OnRemove, Plan, Reason, Step};
use crate::spec::hex;
use crate::{DaemonId, Label, ObservedProcess, ProcessStatus};

/// The code that confirms the removal of `daemons` from the workspace at `workspace`: 8 hex digits. It depends
/// on nothing else, so other edits do not change it.
#[must_use]
pub fn removal_code<'a>(
    workspace: &Utf8Path,
    daemons: impl IntoIterator<Item = &'a DaemonId>,
) -> String {
    let sorted: BTreeSet<&DaemonId> = daemons.into_iter().collect();
    let mut hasher = Sha256::new();
    hasher.update(workspace.as_str());
    for daemon in sorted {
        hasher.update([0]);
        hasher.update(daemon.as_str());
    }
    hex(&hasher.finalize()[..4])
}

/// A code for a workspace: 8 hex digits of its path's digest.
#[must_use]
pub fn workspace_code(workspace: &Utf8Path) -> String {
    removal_code(workspace, [])
}

/// Processes of one app that nobody wants any more, and what their removal would do.
struct Unwanted<'a> {
    daemon: &'a DaemonId,
    app: &'a str,
    processes: Vec<&'a Arc<ObservedProcess>>,
    /// Nothing, where they are to be kept or are stopped already.
    action: Option<Action>,
    protected: bool,
}

/// Plans the removal of what lost its definition, or holds it.
pub(super) fn plan_removals(world: &World<'_>, plan: &mut Plan) {
    let unwanted = unwanted(world);
    // Counted are daemons without a definition, or one that now wants no apps at all.
    let losing: BTreeSet<&DaemonId> = unwanted
        .iter()
        .filter(|one| one.action.is_some())
        .map(|one| one.daemon)
        .filter(|daemon| {
            world
                .desired
                .daemons
                .get(*daemon)
                .is_none_or(|desired| desired.apps().is_empty())
        })
        .collect();
    let mut held: BTreeSet<&DaemonId> = unwanted
        .iter()
        .filter(|one| one.protected && one.action.is_some())
        .map(|one| one.daemon)
        .collect();
    let defined = world.desired.daemons.len();
    if is_mass_removal(losing.len(), world.managed.len(), defined) {
        held.extend(losing);
    }
    let code = removal_code(&world.policy.workspace, held.iter().copied());
    if world.policy.confirmed.as_ref() == Some(&code) {
        held.clear();
    }
    if !held.is_empty() {
        plan.held = Some(HeldRemoval {
            daemons: held.iter().map(|id| (*id).clone()).collect(),
            managed: world.managed.len(),
            code,
        });
    }
    for one in unwanted {
        let lost = !world.desired.daemons.contains_key(one.daemon);
        let condition = match one.action {
            None => Condition::Kept,
            Some(_) if held.contains(one.daemon) => Condition::Held,
            Some(_) if lost && world.policy.defer_removal => Condition::Leaving,
            Some(action) => {
                plan.steps.push(Step {
                    daemon: one.daemon.clone(),
                    app: one.app.to_owned(),
                    action,
                    reasons: vec![if lost {
                        Reason::DefinitionRemoved
                    } else {
                        Reason::AppRemoved
                    }],
                });
                Condition::Pending
            }
        };
        plan.apps.push(AppState {
            daemon: one.daemon.clone(),
            app: one.app.to_owned(),
            wanted: None,
            processes: one.processes.into_iter().cloned().collect(),
            condition,
        });
    }
}

fn unwanted<'a>(world: &World<'a>) -> Vec<Unwanted<'a>> {
    type Processes<'p> = Vec<&'p Arc<ObservedProcess>>;
    let mut apps: BTreeMap<(&DaemonId, &str), (Processes<'_>, &Label)> = BTreeMap::new();
    for (label, process) in &world.unwanted {
        if world.policy.includes(&label.daemon) {
            apps.entry((&label.daemon, &label.app))
                .or_insert_with(|| (Vec::new(), label))
                .0
                .push(process);
        }
    }
    apps.into_iter()
        .map(|((daemon, app), (processes, label))| {
            // The last good render is newer than the label, which is as old as the process.
            let wishes = world
                .policy
                .last_wishes
                .get(&(daemon.clone(), app.to_owned()));
            let on_remove = wishes.map_or(label.on_remove, |wishes| wishes.on_remove);
            let on_remove = on_remove.unwrap_or(world.policy.on_remove);
            Unwanted {
                daemon,
                app,
                action: removal(world, on_remove, &processes),
                protected: wishes.map_or(label.protect, |wishes| wishes.protect),
                processes,
            }
        })
        .collect()
}

/// Whether the removal of `losing` out of `managed` daemons is too much at once, where `defined` have a definition:
/// more than max(1, 25 %) of them, or anything when there is no definition at all.
#[must_use]
pub fn is_mass_removal(losing: usize, managed: usize, defined: usize) -> bool {
    (losing > 1 && losing * 4 > managed) || (losing > 0 && defined == 0)
}

fn removal(
    world: &World<'_>,
    on_remove: OnRemove,
    processes: &[&Arc<ObservedProcess>],
) -> Option<Action> {
    if !world.policy.prune {
        return None;
    }
    match on_remove {
        OnRemove::Delete => Some(Action::Delete {
            targets: targets(processes),
        }),
        OnRemove::Stop => {
            let running: Vec<&Arc<ObservedProcess>> = processes
                .iter()
                .copied()
                .filter(|process| process.status != ProcessStatus::Stopped)
                .collect();
            (!running.is_empty()).then(|| Action::Stop {
                targets: targets(&running),
            })
        }
        OnRemove::Keep => None,
    }
}
