//! Processes that no definition declares any more, and the guard against removing too many of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use camino::Utf8Path;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::plan::apps::targets;
use crate::plan::world::World;
use crate::plan::{
    Action, AppState, Cause, Condition, OnRemove, Planned, Reason, RemoveMethod, Step,
};
use crate::spec::hex;
use crate::{AppSpec, DaemonId, Label, ObservedProcess, Status};

/// Confirms one specific removal: 8 hex digits of a digest of the workspace and the daemons. It depends on nothing else, so other
/// edits do not change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RemovalCode(String);

/// The text is not a removal code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the 8 hex digits that `plan` prints for a removal")]
#[non_exhaustive]
pub struct InvalidRemovalCode;

impl RemovalCode {
    /// The code for the removal of `daemons` from the workspace at `workspace`.
    #[must_use]
    pub fn of<'a>(workspace: &Utf8Path, daemons: impl IntoIterator<Item = &'a DaemonId>) -> Self {
        let sorted: BTreeSet<&DaemonId> = daemons.into_iter().collect();
        let mut hasher = Sha256::new();
        hasher.update(workspace.as_str());
        for daemon in sorted {
            hasher.update([0]);
            hasher.update(daemon.as_str());
        }
        Self(hex(&hasher.finalize()[..4]))
    }
}

impl fmt::Display for RemovalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RemovalCode {
    type Err = InvalidRemovalCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        let is_code = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_code.then_some(Self(text)).ok_or(InvalidRemovalCode)
    }
}

/// A code for a workspace: 8 hex digits of its path's digest.
#[must_use]
pub fn workspace_code(workspace: &Utf8Path) -> String {
    RemovalCode::of(workspace, []).0
}

/// A removal that waits for confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeldRemoval {
    /// The daemons that would be removed.
    pub daemons: Vec<DaemonId>,
    /// Those of them that require confirmation themselves (`:protect true`).
    pub protected: Vec<DaemonId>,
    /// Those of them whose definition was on a file system that is no longer mounted.
    pub unmounted: Vec<DaemonId>,
    /// How many managed daemons there are.
    pub managed: usize,
    /// How many daemons were removed in the last 10 minutes; they count as well.
    pub removed_lately: usize,
    /// The code that confirms it.
    pub code: RemovalCode,
}

/// What a pass would remove, and out of how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// The daemons that would lose all their processes.
    pub losing: BTreeSet<DaemonId>,
    /// Daemons with protected apps that would be removed.
    pub protected: BTreeSet<DaemonId>,
    /// Of the daemons that would lose all their processes, those whose definition was on a file system that is no longer mounted.
    pub unmounted: BTreeSet<DaemonId>,
    /// How many managed daemons there are.
    pub managed: usize,
    /// How many daemons have a definition.
    pub defined: usize,
    /// How many managed daemons were removed in the last 10 minutes: they count as if removed now.
    pub removed_lately: usize,
}

/// The guard against removing too much at once: more than max(1, 25 %) of the managed daemons, or anything when there is no
/// definition at all. It also holds protected daemons and those on a file system that is no longer mounted. None if nothing has to
/// be confirmed.
#[must_use]
pub fn guard_removal(workspace: &Utf8Path, loss: &Loss) -> Option<HeldRemoval> {
    let going = loss.losing.len() + loss.removed_lately;
    let out_of = loss.managed + loss.removed_lately;
    let is_too_much =
        !loss.losing.is_empty() && (loss.defined == 0 || (going > 1 && going * 4 > out_of));
    let mut held = &loss.protected | &loss.unmounted;
    if is_too_much {
        held.extend(loss.losing.iter().cloned());
    }
    let code = RemovalCode::of(workspace, &held);
    (!held.is_empty()).then(|| HeldRemoval {
        daemons: held.into_iter().collect(),
        protected: loss.protected.iter().cloned().collect(),
        unmounted: loss.unmounted.iter().cloned().collect(),
        managed: loss.managed,
        removed_lately: loss.removed_lately,
        code,
    })
}

/// Processes of one app that no definition declares any more, and the effect of their removal.
struct Unwanted<'a> {
    daemon: &'a DaemonId,
    app: &'a str,
    processes: Vec<&'a Arc<ObservedProcess>>,
    /// None if they are to be kept or are stopped already.
    action: Option<Action>,
    protected: bool,
}

/// Plans or holds the removal of apps that lost their definition.
pub(super) fn plan_removals(world: &World<'_>, planned: &mut Planned) {
    let unwanted = unwanted(world);
    let is_on_hold = |one: &Unwanted<'_>| world.in_force.hold(one.daemon).is_some();
    let going = || {
        let going = unwanted.iter().filter(|one| one.action.is_some());
        going.filter(|one| !is_on_hold(one))
    };
    // Count daemons without a definition, and those that now declare no apps at all.
    let wants_nothing = |daemon: &DaemonId| world.in_force.apps(daemon).is_empty();
    let losing = going().map(|one| one.daemon);
    let protected = going().filter(|one| one.protected).map(|one| one.daemon);
    let losing: BTreeSet<DaemonId> = losing.filter(|id| wants_nothing(id)).cloned().collect();
    let loss = Loss {
        unmounted: &losing & &world.policy.unmounted,
        losing,
        protected: protected.cloned().collect(),
        managed: world.managed.len(),
        defined: world.desired.daemons.len(),
        removed_lately: world.policy.removed_lately,
    };
    let mut held = guard_removal(&world.policy.workspace, &loss);
    let code = held.as_ref().map(|held| &held.code);
    if code.is_some() && code == world.policy.confirmed.as_ref() {
        planned.plan.confirmed = held.take().map(|held| held.code);
    }
    let is_held = |daemon: &DaemonId| {
        let held = held.iter().flat_map(|held| &held.daemons);
        held.into_iter().any(|held| held == daemon)
    };
    for one in unwanted {
        let lost = !world.desired.daemons.contains_key(one.daemon);
        let back_to = world.in_force.daemons.get(one.daemon);
        let reason = match back_to.and_then(|daemon| daemon.back_to) {
            _ if world.policy.remove_all => Reason::RemovalRequested,
            _ if lost => Reason::DefinitionRemoved,
            Some(to) => Reason::RolledBack { to },
            None => Reason::AppRemoved,
        };
        let step = one.action.map(|action| Step {
            daemon: one.daemon.clone(),
            app: one.app.to_owned(),
            action,
            reasons: vec![reason],
            stage: 0,
        });
        let mut causes = Vec::new();
        let condition = match (step, world.in_force.hold(one.daemon)) {
            (None, _) => Condition::Kept,
            (Some(step), Some(by)) => {
                let (by, steps) = (by.clone(), vec![step]);
                causes.push(Cause::OnHold { by, steps });
                Condition::OnHold
            }
            _ if is_held(one.daemon) => Condition::Held,
            _ if lost && world.policy.defer_removal => Condition::Leaving,
            (Some(step), None) => {
                planned.plan.steps.push(step);
                Condition::Pending
            }
        };
        let mut state = AppState::new(
            one.daemon,
            one.app,
            None,
            one.processes.into_iter().cloned(),
            condition,
            world.observed.at_ms,
        );
        state.causes = causes;
        planned.apps.push(state);
    }
    planned.plan.held = held;
}

fn unwanted<'a>(world: &World<'a>) -> Vec<Unwanted<'a>> {
    type Processes<'p> = Vec<&'p Arc<ObservedProcess>>;
    let mut apps: BTreeMap<(&DaemonId, &str), (Processes<'_>, &Label)> = BTreeMap::new();
    for (label, process) in &world.unwanted {
        if world.policy.scope.includes(&label.daemon) {
            apps.entry((&label.daemon, &label.app))
                .or_insert_with(|| (Vec::new(), label))
                .0
                .push(process);
        }
    }
    apps.into_iter()
        .map(|((daemon, app), (processes, label))| {
            // The last good render is newer than the label, which is as old as the process.
            let last = world.policy.last_specs.get(app).map(AppSpec::policy);
            let on_remove = last.map_or(label.on_remove, |last| last.on_remove);
            let on_remove = match world.policy.remove_all {
                true => OnRemove::Delete,
                false => on_remove.unwrap_or(world.policy.on_remove),
            };
            Unwanted {
                daemon,
                app,
                action: removal(world, on_remove, &processes),
                protected: last.map_or(label.protect, |last| last.protect),
                processes,
            }
        })
        .collect()
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
        OnRemove::Delete => Some(Action::Remove {
            targets: targets(processes),
            how: RemoveMethod::Delete,
        }),
        OnRemove::Stop => {
            let running: Vec<&Arc<ObservedProcess>> = processes
                .iter()
                .copied()
                .filter(|process| process.status != Status::Stopped)
                .collect();
            (!running.is_empty()).then(|| Action::Remove {
                targets: targets(&running),
                how: RemoveMethod::Stop,
            })
        }
        OnRemove::Keep => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> BTreeSet<DaemonId> {
        let ids = names.iter().map(DaemonId::new);
        ids.collect::<Result<_, _>>().unwrap()
    }

    /// How many of `losing` are held out of `managed`, after `lately`.
    fn held(losing: &[&str], managed: usize, lately: usize, defined: usize) -> Option<usize> {
        let loss = Loss {
            losing: ids(losing),
            managed,
            defined,
            removed_lately: lately,
            ..Loss::default()
        };
        guard_removal(Utf8Path::new("/w"), &loss).map(|held| held.daemons.len())
    }

    #[test]
    fn more_than_one_and_more_than_a_quarter_is_held() {
        for (losing, managed, lately, expected) in [
            (&["a"][..], 1, 0, None),
            (&["a", "b"], 8, 0, None),
            (&["a", "b"], 7, 0, Some(2)),
            (&["a", "b", "c"], 12, 0, None),
            (&["a", "b", "c", "d"], 12, 0, Some(4)),
            // One is removed now, and others were removed recently.
            (&["a"], 11, 1, None),
            (&["a"], 6, 1, Some(1)),
            (&["a"], 9, 2, Some(1)),
            (&["a"], 10, 2, None),
            // Nothing is removed now.
            (&[], 3, 9, None),
        ] {
            let found = held(losing, managed, lately, 5);
            assert_eq!(found, expected, "{losing:?} of {managed} after {lately}");
        }
        assert_eq!(held(&["a"], 1, 0, 0), Some(1), "no definition at all");
        assert_eq!(held(&[], 1, 0, 0), None);
    }

    #[test]
    fn only_protected_daemons_are_held() {
        let workspace = Utf8Path::new("/w");
        let loss = Loss {
            losing: ids(&["a", "b"]),
            protected: ids(&["b"]),
            managed: 20,
            defined: 18,
            ..Loss::default()
        };
        let held = guard_removal(workspace, &loss).unwrap();
        assert_eq!(held.daemons, held.protected);
        assert_eq!(held.code, RemovalCode::of(workspace, &ids(&["b"])));
    }

    #[test]
    fn unmounted_and_protected_daemons_are_held() {
        let loss = Loss {
            losing: ids(&["a", "b"]),
            protected: ids(&["c"]),
            unmounted: ids(&["b"]),
            managed: 20,
            defined: 18,
            ..Loss::default()
        };
        let held = guard_removal(Utf8Path::new("/w"), &loss).unwrap();
        let names: Vec<&str> = held.daemons.iter().map(DaemonId::as_str).collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn a_code_is_eight_hex_digits() {
        let code: RemovalCode = "3F9A01c7".parse().unwrap();
        assert_eq!(code.to_string(), "3f9a01c7");
        for text in ["yes", "", "3f9a01c", "3f9a01c70", "3f9a01cg"] {
            assert_eq!(text.parse::<RemovalCode>(), Err(InvalidRemovalCode));
        }
        let of = |workspace: &str, names: &[&str]| {
            RemovalCode::of(Utf8Path::new(workspace), &ids(names)).to_string()
        };
        // `printf "/w\0a\0b" | sha256sum`
        assert_eq!(of("/w", &["a", "b"]), "94026cd3");
        assert_ne!(of("/w", &["a", "b"]), of("/x", &["a", "b"]));
        assert_ne!(of("/w", &["a", "b"]), of("/w", &["ab"]));
        assert_eq!(workspace_code(Utf8Path::new("/w")), of("/w", &[]));
    }
}
