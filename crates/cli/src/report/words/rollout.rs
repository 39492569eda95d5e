//! Rollouts as text.

use daemon_model::{DaemonId, EntryOutcome};
use reconcile::rollout::WaitingApp;

use super::name;

/// Why an app is not ready yet.
#[must_use]
pub fn waiting(app: &WaitingApp) -> String {
    let name = name(app.daemon.as_str(), &app.app);
    format!("waiting for {name}: {}", app.lacks)
}

/// Says that an app was not ready when the sync stopped waiting.
#[must_use]
pub fn still_waiting(app: &WaitingApp) -> String {
    let name = name(app.daemon.as_str(), &app.app);
    format!("{name} is not ready yet: {}", app.lacks)
}

/// Why a new version of a daemon did not become ready; none if it did.
#[must_use]
pub fn judged(daemon: &DaemonId, outcome: &EntryOutcome) -> Option<String> {
    let EntryOutcome::Failed { failures, .. } = outcome else {
        return None;
    };
    let failures = failures.iter();
    let failures: Vec<String> = failures
        .map(|it| format!("{}: {}", name(daemon.as_str(), &it.app), it.reason))
        .collect();
    Some(format!("did not become ready: {}", failures.join("; ")))
}
