//! State of the guard against mass removal: `guard.json` of the state directory.
//!
//! Many small removals add up to a large one, and an unmounted file system hides definitions without deleting them. So the guard
//! remembers what was removed in the last 10 minutes, and where file systems were mounted below the tree of definitions.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use daemon_model::{Action, ApplyReport, DaemonId, Planned, RemoveMethod, StepReport};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::definitions::Definitions;
use crate::lock::Lock;
use crate::pass::Labels;
use crate::state::{StateDir, StateWarning};

/// The name of the file.
const FILE: &str = "guard.json";

/// How long a removal counts.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// What the guard remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardMemory {
    version: u32,
    /// Daemons that were removed automatically.
    removed: Vec<Removed>,
    /// Directories below the tree of definitions on which file systems were mounted.
    mounts: BTreeSet<Utf8PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Removed {
    daemon: DaemonId,
    at: Timestamp,
}

impl Default for GuardMemory {
    fn default() -> Self {
        Self {
            version: 1,
            removed: Vec::new(),
            mounts: BTreeSet::new(),
        }
    }
}

impl GuardMemory {
    /// Reads the state. Changes nothing.
    pub(crate) fn read(state: &StateDir) -> (Self, Option<StateWarning>) {
        state.read(FILE)
    }

    /// Writes the state.
    pub(crate) fn write(&self, state: &StateDir, lock: &Lock) -> Result<(), StateWarning> {
        state.write(FILE, self, lock)
    }

    /// How many daemons were removed in the last 10 minutes and are still gone.
    pub(crate) fn removed_lately(
        &self,
        definitions: &Definitions,
        labels: Labels<'_>,
        now: Timestamp,
    ) -> usize {
        let is_gone = |id: &DaemonId| {
            !definitions.daemons.contains_key(id) && !labels.iter().any(|label| label.daemon == *id)
        };
        let recent = self.removed.iter().filter(|one| is_recent(one, now));
        let daemons: BTreeSet<&DaemonId> = recent.map(|one| &one.daemon).collect();
        daemons.into_iter().filter(|id| is_gone(id)).count()
    }

    /// Daemons with processes whose definition is absent because a file system is no longer mounted.
    pub(crate) fn unmounted(
        &self,
        definitions: &Definitions,
        labels: Labels<'_>,
    ) -> BTreeSet<DaemonId> {
        let gone: Vec<&Utf8PathBuf> = self.mounts.difference(definitions.mounts()).collect();
        if gone.is_empty() {
            return BTreeSet::new();
        }
        labels
            .iter()
            .map(|label| &label.daemon)
            .filter(|id| !definitions.daemons.contains_key(id))
            .filter(|id| gone.iter().any(|mount| is_below(id, mount)))
            .cloned()
            .collect()
    }

    /// Updates the state with the results of a pass and the work that was left afterwards.
    pub(crate) fn update<E>(
        &mut self,
        definitions: &Definitions,
        applied: &ApplyReport<E>,
        was_confirmed: bool,
        after: &Planned,
        now: Timestamp,
    ) {
        self.removed.retain(|one| is_recent(one, now));
        if !was_confirmed {
            let left: BTreeSet<&DaemonId> = after
                .apps
                .iter()
                .filter(|app| !app.processes.is_empty())
                .map(|app| &app.daemon)
                .collect();
            let removed = applied.steps.iter().filter(|step| is_removal(step));
            let removed: BTreeSet<&DaemonId> = removed.map(|step| &step.step.daemon).collect();
            let wants_nothing = |id: &DaemonId| {
                let definition = definitions.daemons.get(id);
                definition.is_none_or(|definition| definition.apps().is_empty())
            };
            for id in removed {
                if !left.contains(id) && wants_nothing(id) {
                    self.removed.push(Removed {
                        daemon: id.clone(),
                        at: now,
                    });
                }
            }
        }
        // Remember a mount that is gone for as long as it holds a removal.
        let held = after.plan.held.iter().flat_map(|held| &held.unmounted);
        let held: Vec<&DaemonId> = held.collect();
        self.mounts
            .retain(|mount| held.iter().any(|id| is_below(id, mount)));
        self.mounts.extend(definitions.mounts().iter().cloned());
    }
}

fn is_recent(removed: &Removed, now: Timestamp) -> bool {
    let age = now.duration_since(removed.at);
    // If the clock is set back, an entry must not last forever.
    age.abs() < WINDOW
}

fn is_below(id: &DaemonId, mount: &Utf8PathBuf) -> bool {
    camino::Utf8Path::new(id.as_str()).starts_with(mount)
}

fn is_removal<E>(step: &StepReport<E>) -> bool {
    let is_delete = matches!(
        step.step.action,
        Action::Remove {
            how: RemoveMethod::Delete,
            ..
        }
    );
    is_delete && step.outcome.is_done()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> DaemonId {
        DaemonId::new(name).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_removal_counts_for_ten_minutes_even_if_the_clock_is_set() {
        let removed = Removed {
            daemon: id("a"),
            at: at(10_000),
        };
        for (second, counts) in [
            (10_000, true),
            (10_599, true),
            (10_600, false),
            // The clock was set back.
            (9_500, true),
            (9_000, false),
        ] {
            assert_eq!(is_recent(&removed, at(second)), counts, "{second}");
        }
    }

    #[test]
    fn a_mount_covers_paths_below_it_by_whole_components() {
        let mount = Utf8PathBuf::from("jobs/nightly");
        for (daemon, below) in [
            ("jobs/nightly", true),
            ("jobs/nightly/a/b", true),
            ("jobs/nightly2", false),
            ("jobs", false),
        ] {
            assert_eq!(is_below(&id(daemon), &mount), below, "{daemon}");
        }
    }
}
