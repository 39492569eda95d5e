//! The table of a plan.

use daemon_model::Planned;

use super::{name, steps};
use crate::report::Table;
use crate::report::json::StepOutput;
use crate::report::text::{Line, Tone};

/// The steps of a plan and what is on hold, for a terminal of this width.
#[must_use]
pub fn table(
    steps: &[StepOutput],
    planned: &Planned,
    verbose: bool,
    width: Option<usize>,
) -> Table {
    let table = draw(steps, planned, verbose, false);
    match table.fits(width) {
        true => table,
        false => draw(steps, planned, verbose, true),
    }
}

fn draw(steps: &[StepOutput], planned: &Planned, verbose: bool, is_narrow: bool) -> Table {
    let mut table = match is_narrow {
        true => Table::new(&["ACTION", "APP", "WHY"]),
        false => Table::new(&["ACTION", "DAEMON", "APP", "WHY"]),
    };
    let mut row = |action: Line, daemon: &str, app: &str, why: Line, more: Vec<Line>| {
        match is_narrow {
            true if app.is_empty() => table.row([action, daemon.into(), why]),
            true => table.row([action, name(daemon, app).into(), why]),
            false => table.row([action, daemon.into(), app.into(), why]),
        }
        for line in more {
            table.continue_row(line);
        }
    };
    for step in steps {
        let starts = step.starts.as_ref().filter(|_| verbose);
        let starts = starts.map_or_else(Vec::new, steps::starts);
        let why = steps::reasons(step, verbose).into();
        row(steps::action(step), &step.daemon, &step.app, why, starts);
    }
    for held in planned.plan.held.iter() {
        for daemon in &held.daemons {
            let hold = Line::default().with(Tone::Bad, "hold");
            let why = match held.protected.contains(daemon) {
                true => "removal waits for confirmation: protected",
                false => "removal waits for confirmation: definition gone",
            };
            row(hold, daemon.as_str(), "", why.into(), Vec::new());
        }
    }
    table
}
