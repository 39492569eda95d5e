//! Variables that `:pass-env` names and this caller does not have.
//!
//! When an app is changed from a shell without one of these variables, it keeps the value that PM2 has recorded, because the
//! absence is not a decision to remove it. New processes that start without one are reported.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use super::{Action, Step};

/// Makes the app of a step keep the variables that its processes have and the caller does not.
pub(super) fn keep(step: &mut Step, world: &World<'_>) {
    let policy = &world.policy.env_policy;
    let Some(passed) = world
        .policy
        .passed
        .as_ref()
        .filter(|_| !policy.pass_env.is_empty())
    else {
        return;
    };
    let (spec, starts) = match &mut step.action {
        Action::Start { spec, .. } => (spec, true),
        Action::Change { spec, .. } => (spec, false),
        _ => return,
    };
    let is_lacking = |name: &str| {
        policy.passes(name) && !passed.contains(name) && !spec.env().contains_key(name)
    };
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    for process in world.processes(spec.name()) {
        for (name, value) in process.env.iter().filter(|(name, _)| is_lacking(name)) {
            let entry = kept.entry(name.to_owned());
            entry.or_insert_with(|| value.to_owned());
        }
    }
    let named = policy.pass_env.iter().filter(|name| !name.contains('*'));
    let lacking: BTreeSet<String> = named
        .filter(|name| starts && is_lacking(name) && !kept.contains_key(*name))
        .cloned()
        .collect();
    if !kept.is_empty() || !lacking.is_empty() {
        *spec = spec.with_inherited(kept, lacking);
    }
}
