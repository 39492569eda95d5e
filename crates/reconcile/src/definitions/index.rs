//! What a pass needs of all definitions. It is brought up to date from one load to the next, at the cost of what changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon_model::{DaemonId, DaemonMap, DesiredDaemon};

use super::Definition;

/// An index of all definitions.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// The daemons whose definition is broken, names env files, or has conflicts. The last two may change although their bytes do
    /// not.
    pub(super) special: BTreeSet<DaemonId>,
    /// What the definitions declare; nothing for broken ones.
    pub(super) desired: DaemonMap<DesiredDaemon>,
    /// The texts of the artifacts.
    pub(super) artifacts: DaemonMap<Arc<str>>,
}

impl Index {
    /// Brings it up to date with these definitions, of which only those of `changed` daemons differ.
    pub(super) fn update(
        &mut self,
        definitions: &DaemonMap<Arc<Definition>>,
        changed: &BTreeSet<DaemonId>,
    ) {
        let (mut desired, mut artifacts) = (Vec::new(), Vec::new());
        for id in changed {
            let definition = definitions.get(id);
            match definition.is_some_and(|definition| definition.is_special()) {
                true => self.special.insert(id.clone()),
                false => self.special.remove(id),
            };
            match definition {
                Some(definition) => desired.push((id.clone(), definition.desired())),
                None => drop(self.desired.remove(id)),
            }
            match definition.and_then(|definition| definition.artifact()) {
                Some(artifact) => artifacts.push((id.clone(), Arc::clone(artifact))),
                None => drop(self.artifacts.remove(id)),
            }
        }
        self.desired.extend(desired);
        self.artifacts.extend(artifacts);
    }
}

impl Definition {
    /// Whether it is broken, names env files, or has conflicts.
    fn is_special(&self) -> bool {
        self.is_broken() || !self.is_independent || self.has_conflicts
    }

    fn desired(&self) -> DesiredDaemon {
        match self.is_broken() {
            true => DesiredDaemon::Broken {
                last_good: Vec::new(),
            },
            false => DesiredDaemon::Apps(Arc::clone(self.specs())),
        }
    }
}
