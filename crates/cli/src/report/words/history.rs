//! The table of the history.

use super::condition::time;
use super::steps;
use crate::report::Table;
use crate::report::json::{
    AppChangesOutput, ChangeKindOutput, EntryOutcomeOutput, EntryOutput, HistoryOutput,
};
use crate::report::text::{Line, Tone};

/// How many digits of a commit ID are shown.
const COMMIT: usize = 8;

/// Columns that are dropped if not all fit, the least important first.
const SPARE: [&str; 3] = ["BY", "COMMIT", "COMMAND"];

/// The table of all entries, for a terminal of this width; verbose adds the differences from the previous entry.
#[must_use]
pub fn table(history: &HistoryOutput, verbose: bool, width: Option<usize>) -> Table {
    let tables = (0..SPARE.len()).map(|spared| draw(history, verbose, &SPARE[..spared]));
    let fitting = tables.into_iter().find(|table| table.fits(width));
    fitting.unwrap_or_else(|| draw(history, verbose, &SPARE))
}

fn draw(history: &HistoryOutput, verbose: bool, spared: &[&str]) -> Table {
    let mut daemons = history.daemons.iter();
    let has_commits = daemons.any(|it| it.entries.iter().any(|entry| entry.commit.is_some()));
    let is_shown = |column: &str| match column {
        "COMMIT" if !has_commits => false,
        _ => !spared.contains(&column),
    };
    let mut header = vec![
        "DAEMON", "ENTRY", "WHEN", "BY", "COMMIT", "COMMAND", "OUTCOME",
    ];
    header.retain(|column| is_shown(column));
    let mut table = Table::new(&header);
    for daemon in &history.daemons {
        for entry in &daemon.entries {
            let commit = entry.commit.as_deref().unwrap_or_default();
            let cells = [
                ("DAEMON", Line::from(&daemon.daemon)),
                ("ENTRY", Line::from(entry.number.to_string())),
                ("WHEN", Line::from(time(entry.at_ms))),
                ("BY", Line::from(entry.user.as_deref().unwrap_or_default())),
                ("COMMIT", Line::from(commit.get(..COMMIT).unwrap_or(commit))),
                ("COMMAND", Line::from(&entry.command)),
                ("OUTCOME", outcome(entry)),
            ];
            let shown = cells.into_iter().filter(|(column, _)| is_shown(column));
            table.row(shown.map(|(_, cell)| cell));
            for app in entry.changes.iter().filter(|_| verbose) {
                table.continue_row(Line::default().with(Tone::Faint, changes(app)));
            }
        }
    }
    table
}

fn outcome(entry: &EntryOutput) -> Line {
    let line = match entry.back_to {
        Some(number) => Line::from(format!("back to entry {number}: ")),
        None => Line::default(),
    };
    match entry.outcome {
        EntryOutcomeOutput::Ready => line.with(Tone::Good, "ready"),
        EntryOutcomeOutput::Pending => line.with(Tone::Notice, "pending"),
        EntryOutcomeOutput::Superseded => line.with(Tone::Faint, "superseded"),
        EntryOutcomeOutput::Other => line,
        EntryOutcomeOutput::NotApplied => with_failures(line, "not applied", entry),
        EntryOutcomeOutput::Failed => with_failures(line, "failed", entry),
    }
}

fn with_failures(line: Line, word: &str, entry: &EntryOutput) -> Line {
    let failures = entry.failures.iter();
    let failures: Vec<String> = failures
        .map(|failure| format!("`{}`: {}", failure.app, failure.reason))
        .collect();
    let line = line.with(Tone::Bad, word);
    match failures.is_empty() {
        true => line,
        false => line.plain(format!(": {}", failures.join(", "))),
    }
}

/// The differences in one app: `api: args: "a" -> "b"`.
fn changes(app: &AppChangesOutput) -> String {
    match (app.kind, app.changes.is_empty()) {
        (ChangeKindOutput::Added, _) => format!("{}: added", app.app),
        (ChangeKindOutput::Removed, _) => format!("{}: removed", app.app),
        (ChangeKindOutput::Changed, _) => {
            format!("{}: {}", app.app, steps::with_all_values(&app.changes))
        }
    }
}
