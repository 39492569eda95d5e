//! Daemons whose history is not settled.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon_model::{DaemonId, DaemonMap, DaemonOverrides, History, Records};

/// The daemons with a pending or failed entry, brought up to date from one reading of the histories to the next.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    histories: DaemonMap<Arc<History>>,
    daemons: BTreeSet<DaemonId>,
}

impl Undecided {
    /// The daemons of these records that may go back to an earlier spec: one failed, or may fail when it is judged, or a user chose
    /// one.
    pub(crate) fn update(&mut self, records: &Records) -> BTreeSet<DaemonId> {
        let changed = self.histories.differences(&records.histories, Arc::ptr_eq);
        for id in changed {
            match records.histories.get(id).is_some_and(|it| is_undecided(it)) {
                true => self.daemons.insert(id.clone()),
                false => self.daemons.remove(id),
            };
        }
        self.histories = records.histories.clone();
        let has_pin = |it: &(&DaemonId, &DaemonOverrides)| it.1.pin.is_some();
        let pinned = records.overrides.iter().filter(has_pin);
        let pinned = pinned.map(|(id, _)| id);
        self.daemons.iter().chain(pinned).cloned().collect()
    }
}

fn is_undecided(history: &History) -> bool {
    let mut outcomes = history.entries().iter().map(|entry| &entry.outcome);
    outcomes.any(|outcome| outcome.is_failed() || outcome.is_pending())
}
