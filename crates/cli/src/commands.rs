//! The commands. Each turns its arguments into a pass, prints what came of it and gives its exit status.

pub mod check;
pub mod doctor;
pub mod parity;
pub mod plan;
pub mod render;
pub mod schema;
pub mod status;
pub mod sync;
pub mod up;
pub mod watch;

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use daemon_model::{AppState, Condition, ObservedProcess, Plan};

use crate::definitions::Definitions;
use crate::exit;
use crate::report::{Printer, words};

/// The status of something done in part, if it was only done in part: a broken definition, a removal that is
/// held, an app that PM2 has given up on.
fn partial(definitions: &Definitions, plan: &Plan) -> bool {
    !plan.broken.is_empty()
        || !definitions.strays.is_empty()
        || plan.held.is_some()
        || plan
            .apps
            .iter()
            .any(|app| app.condition == Condition::Degraded)
}

/// The status of `plan` and `status`.
fn pending_status(definitions: &Definitions, plan: &Plan) -> u8 {
    let without_removal = Plan {
        held: None,
        ..plan.clone()
    };
    if partial(definitions, &without_removal) {
        exit::PARTIAL
    } else if plan.is_in_sync() {
        exit::OK
    } else {
        exit::PENDING
    }
}

/// Says what is held, and what is degraded.
fn say_conditions(printer: &Printer, plan: &Plan) {
    if let Some(held) = &plan.held {
        words::say_held(printer, held);
    }
    for app in &plan.apps {
        say_condition(printer, app);
    }
}

/// Whether there is something to say of an app that is no step.
fn is_remarkable(app: &AppState) -> bool {
    matches!(app.condition, Condition::OnHold | Condition::Degraded)
}

/// Says what an app waits for, or what is wrong with it.
fn say_condition(printer: &Printer, app: &AppState) {
    match app.condition {
        Condition::OnHold => printer.warn(&format!(
            "`{}` of {} differs from its definition, which asks to leave it as it is (`:on-change :hold`)",
            app.app, app.daemon
        )),
        Condition::Degraded => {
            let what = words::degraded(&app.processes);
            let lines = last_words(&app.processes);
            let lines: String = lines.iter().map(|line| format!("\n  | {line}")).collect();
            printer.warn(&format!(
                "`{}` of {} is {what}{lines}",
                app.app, app.daemon
            ));
        }
        _ => {}
    }
}

/// How many lines of an error log are shown, and how much of the file is read for them.
const LAST_LINES: usize = 5;
const LAST_BYTES: u64 = 4096;

/// The last lines that a process wrote to its error log.
fn last_words(processes: &[Arc<ObservedProcess>]) -> Vec<String> {
    let Some(path) = processes
        .iter()
        .rev()
        .find_map(|process| process.text("pm_err_log_path"))
    else {
        return Vec::new();
    };
    // A log that cannot be read says nothing; it is no fault of the command.
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).take(200).collect())
        .collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}
