//! What PM2 runs, from the processes of its list.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon_model::{Observed, ObservedProcess, ProcessState, Processes};

use super::{changed_ms, now_ms};

/// Observes the current state of these processes.
pub(super) fn observed(processes: Processes) -> Observed {
    let labels = processes.iter().filter_map(|it| it.label.as_ref());
    // Text is much quicker to compare than paths.
    let workspaces: BTreeSet<&str> = labels.map(|label| label.workspace.as_str()).collect();
    let missing_workspaces = workspaces
        .into_iter()
        .filter(|workspace| {
            // Only "not found" counts: a path that cannot be read may well exist.
            std::fs::symlink_metadata(workspace)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        })
        .map(Into::into)
        .collect();
    let at_ms = now_ms();
    let is_given_up =
        |process: &&Arc<ObservedProcess>| process.state(at_ms) == ProcessState::GaveUp;
    let given_up = processes.iter().filter(is_given_up);
    let scripts = given_up.filter_map(|process| process.text("pm_exec_path"));
    let scripts_changed_ms = scripts
        .filter_map(|script| Some((script.into(), changed_ms(script)?)))
        .collect();
    Observed {
        processes,
        missing_workspaces,
        at_ms,
        scripts_changed_ms,
        ..Observed::default()
    }
}

/// Returns the known process if it is equal, so that a pointer comparison shows changes.
pub(super) fn share(
    known: &[Arc<ObservedProcess>],
    process: Arc<ObservedProcess>,
) -> Arc<ObservedProcess> {
    let at = known.binary_search_by_key(&process.pm_id, |known| known.pm_id);
    let known = at.ok().map(|at| &known[at]);
    let same = known.filter(|known| Arc::ptr_eq(known, &process) || **known == process);
    same.map_or_else(|| Arc::clone(&process), Arc::clone)
}
