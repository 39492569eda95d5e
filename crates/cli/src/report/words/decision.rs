//! Decisions of users as text.

use crate::report::json::{DecidedOutput, Verb};

/// The decision about a daemon.
#[must_use]
pub fn decided(verb: Verb, decided: &DecidedOutput) -> String {
    let daemon = &decided.daemon;
    let entry = decided.entry.unwrap_or_default();
    match (verb, decided.changed) {
        (Verb::Hold, true) => {
            format!("{daemon} is on hold: edits and drift are reported, not applied")
        }
        (Verb::Hold, false) => format!("{daemon} was already on hold"),
        (Verb::Release, true) => format!("{daemon} follows its definition again"),
        (Verb::Release, false) => {
            format!("{daemon} was neither on hold nor kept at an older entry")
        }
        (Verb::Stop, true) => format!("{daemon} stays stopped until `pm2-sync start {daemon}`"),
        (Verb::Stop, false) => format!("{daemon} was already stopped"),
        (Verb::Start, true) => format!("{daemon} runs as defined again"),
        (Verb::Start, false) => format!("{daemon} was not stopped with `pm2-sync stop`"),
        (Verb::Rollback, true) => format!(
            "{daemon} goes back to entry {entry} of its history, until `pm2-sync release {daemon}` or an edit"
        ),
        (Verb::Rollback, false) => format!("{daemon} was already kept at entry {entry}"),
        (Verb::Restart, _) => format!("{daemon} is restarted"),
    }
}
