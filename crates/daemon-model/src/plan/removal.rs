//! What nobody defines any more, and the guard against removing too much of it at once.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use sha2::{Digest, Sha256};

use crate::plan::apps::{World, targets};
use crate::plan::{Action, AppState, Condition, HeldRemoval, OnRemove, Plan, Reason, Step};
use crate::spec::hex;
use crate::{DaemonId, ObservedProcess, ProcessStatus};

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

/// Plans the removal of what lost its definition, or holds it.
pub(super) fn plan_removals(world: &World<'_>, plan: &mut Plan) {
    let mut unwanted: BTreeMap<(&DaemonId, &str), Vec<&ObservedProcess>> = BTreeMap::new();
    for (label, process) in &world.unwanted {
        if world.policy.includes(&label.daemon) {
            unwanted
                .entry((&label.daemon, &label.app))
                .or_default()
                .push(process);
        }
    }
    // Counted are daemons without a definition, or one that now wants no apps at all.
    let losing: BTreeSet<&DaemonId> = unwanted
        .keys()
        .map(|(daemon, _)| *daemon)
        .filter(|daemon| {
            world
                .desired
                .daemons
                .get(*daemon)
                .is_none_or(|desired| desired.apps().is_empty())
        })
        .collect();
    let held = is_too_much(losing.len(), world) && world.policy.prune;
    if held {
        let code = removal_code(&world.policy.workspace, losing.iter().copied());
        if world.policy.confirmed.as_ref() != Some(&code) {
            plan.held = Some(HeldRemoval {
                daemons: losing.iter().map(|id| (*id).clone()).collect(),
                managed: world.managed.len(),
                code,
            });
        }
    }
    for ((daemon, app), processes) in unwanted {
        let lost = !world.desired.daemons.contains_key(daemon);
        let condition = if plan.held.is_some() && losing.contains(daemon) {
            Condition::Held
        } else if lost && world.policy.defer_removal && world.policy.prune {
            Condition::Leaving
        } else {
            match removal(world, &processes) {
                Some(action) => {
                    plan.steps.push(Step {
                        daemon: daemon.clone(),
                        app: app.to_owned(),
                        action,
                        reasons: vec![if lost {
                            Reason::DefinitionRemoved
                        } else {
                            Reason::AppRemoved
                        }],
                    });
                    Condition::Pending
                }
                None => Condition::Kept,
            }
        };
        plan.apps.push(AppState {
            daemon: daemon.clone(),
            app: app.to_owned(),
            wanted: None,
            processes: processes.iter().map(|process| (*process).clone()).collect(),
            condition,
        });
    }
}

/// More than max(1, 25 %) of the managed daemons, or anything when there is no definition at all.
fn is_too_much(losing: usize, world: &World<'_>) -> bool {
    let many = losing > 1 && losing * 4 > world.managed.len();
    many || (losing > 0 && world.desired.daemons.is_empty())
}

fn removal(world: &World<'_>, processes: &[&ObservedProcess]) -> Option<Action> {
    if !world.policy.prune {
        return None;
    }
    match world.policy.on_remove {
        OnRemove::Delete => Some(Action::Delete {
            targets: targets(processes),
        }),
        OnRemove::Stop => {
            let running: Vec<&ObservedProcess> = processes
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
