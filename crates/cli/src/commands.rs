//! The commands. Each turns its arguments into a pass, prints what came of it and gives its exit status.

pub mod check;
pub mod plan;
pub mod render;
pub mod status;
pub mod sync;
pub mod watch;

use daemon_model::Plan;

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
            .any(|app| app.condition == daemon_model::Condition::Degraded)
}

/// The status of `plan` and `status`.
fn pending_status(definitions: &Definitions, plan: &Plan) -> u8 {
    if !plan.broken.is_empty() || !definitions.strays.is_empty() {
        exit::PARTIAL
    } else if !plan.is_in_sync() {
        exit::PENDING
    } else if partial(definitions, plan) {
        exit::PARTIAL
    } else {
        exit::OK
    }
}

/// Says what is held, and what is degraded.
fn say_conditions(printer: &Printer, plan: &Plan) {
    if let Some(held) = &plan.held {
        words::say_held(printer, held);
    }
    for app in &plan.apps {
        if app.condition == daemon_model::Condition::Degraded {
            printer.warn(&format!(
                "`{}` of {} is {}",
                app.app,
                app.daemon,
                words::degraded(&app.processes)
            ));
        }
    }
}
