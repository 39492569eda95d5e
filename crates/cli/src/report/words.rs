//! Plans, reasons and states in words.

use std::sync::Arc;
use std::time::Duration;

use daemon_model::{
    Action, AppState, Change, ChangeKind, Condition, Field, HeldRemoval, ObservedProcess, Plan,
    ProcessStatus, Reason, Step,
};

use super::{Printer, Table, Tone};
use crate::lock::Holder;

/// How much is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detail {
    /// Values of attributes, and every name.
    pub verbose: bool,
    /// Values of environment variables too.
    pub show_values: bool,
}

/// The colour of an action.
#[must_use]
pub fn tone(action: &Action) -> Tone {
    match action {
        Action::Start { .. } | Action::Resume { .. } => Tone::Good,
        Action::Delete { .. }
        | Action::Stop { .. }
        | Action::End { .. }
        | Action::Blocked { .. } => Tone::Bad,
        _ => Tone::Notice,
    }
}

/// The action with the number of processes, where it is more than one.
#[must_use]
pub fn action(action: &Action) -> String {
    let count = match action {
        Action::Start { count, .. } => *count as usize,
        Action::End { orphans, .. } => orphans.len(),
        other => other.targets().len(),
    };
    match count {
        0 | 1 => action.word().to_owned(),
        n => format!("{} {n}", action.word()),
    }
}

/// All reasons of a step.
#[must_use]
pub fn reasons(step: &Step, detail: Detail) -> String {
    let adopted = step.reasons.contains(&Reason::Adopted);
    step.reasons
        .iter()
        .map(|one| reason(one, adopted, detail))
        .collect::<Vec<_>>()
        .join("; ")
}

fn reason(reason: &Reason, adopted: bool, detail: Detail) -> String {
    match reason {
        Reason::New => "not running".to_owned(),
        Reason::TooFew { have, want } | Reason::TooMany { have, want } => {
            format!(
                "{have} of {want} {}",
                plural(*want as usize, "process", "processes")
            )
        }
        Reason::Edited { changes } if changes.is_empty() => "definition changed".to_owned(),
        Reason::Edited { changes } => self::changes(changes, adopted, detail),
        Reason::Drifted { changes } => {
            format!(
                "changed outside: {}",
                self::changes(changes, adopted, detail)
            )
        }
        Reason::Stopped => "was stopped".to_owned(),
        Reason::NoProcess => "PM2 says online, but no process runs".to_owned(),
        Reason::DefinitionRemoved => "definition removed".to_owned(),
        Reason::AppRemoved => "app removed from its definition".to_owned(),
        Reason::Moved { from } => format!("moved here from {from}"),
        Reason::TakenOver { from } => {
            format!("taken over from {from}, which does not exist any more")
        }
        Reason::Adopted => "taken over: started by somebody else".to_owned(),
        Reason::Orphaned { pids } => {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            format!("lived on when its PM2 was killed (pid {})", pids.join(", "))
        }
        Reason::LastGood => "definition broken, starting the last good one".to_owned(),
        Reason::Stranger => "the name is taken by a process that somebody else started".to_owned(),
        Reason::OtherWorkspace { workspace } => {
            format!("the name is taken by the workspace {workspace}")
        }
        Reason::OnHold => "on hold".to_owned(),
        other => format!("{other:?}"),
    }
}

/// How many variables that go are named; of more only the number is told.
const MOST_NAMES: usize = 6;

/// Changes by kind: `args, cwd changed; env.DEBUG removed`.
#[must_use]
pub fn changes(changes: &[Change], adopted: bool, detail: Detail) -> String {
    let mut parts = Vec::new();
    for (kind, word) in [
        (ChangeKind::Added, "added"),
        (ChangeKind::Removed, "removed"),
        (ChangeKind::Changed, "changed"),
    ] {
        let mut names = Vec::new();
        let mut inherited = 0;
        let lost = changes
            .iter()
            .filter(|change| change.kind == kind && matches!(change.field, Field::Env(_)))
            .count();
        for change in changes.iter().filter(|change| change.kind == kind) {
            let is_inherited = (adopted || lost > MOST_NAMES)
                && kind == ChangeKind::Removed
                && matches!(change.field, Field::Env(_));
            if is_inherited && !detail.verbose {
                inherited += 1;
            } else {
                names.push(one_change(change, detail));
            }
        }
        if !names.is_empty() {
            parts.push(format!("{} {word}", names.join(", ")));
        }
        if inherited > 0 {
            parts.push(format!(
                "loses {inherited} {}",
                plural(inherited, "variable", "variables")
            ));
        }
    }
    parts.join("; ")
}

fn one_change(change: &Change, detail: Detail) -> String {
    if !detail.verbose && !detail.show_values {
        return change.field.to_string();
    }
    let show = |value: &Option<String>| match (value, &change.field) {
        (None, _) => "nothing".to_owned(),
        (Some(_), Field::Env(_)) if !detail.show_values => "***".to_owned(),
        (Some(value), _) => format!("{value:?}"),
    };
    format!(
        "{} ({} -> {})",
        change.field,
        show(&change.from),
        show(&change.to)
    )
}

/// One or many.
#[must_use]
pub fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// A count with its noun.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", plural(count, one, many))
}

/// The table of a plan.
#[must_use]
pub fn plan_table(plan: &Plan, detail: Detail) -> Table {
    let mut table = Table::new(&["ACTION", "DAEMON", "APP", "WHY"]);
    for step in &plan.steps {
        table.row(vec![
            (action(&step.action), tone(&step.action)),
            (step.daemon.to_string(), Tone::Plain),
            (step.app.clone(), Tone::Plain),
            (reasons(step, detail), Tone::Plain),
        ]);
    }
    if let Some(held) = &plan.held {
        for daemon in &held.daemons {
            table.row(vec![
                ("hold".to_owned(), Tone::Bad),
                (daemon.to_string(), Tone::Plain),
                (String::new(), Tone::Plain),
                (
                    "definition removed; waits for confirmation".to_owned(),
                    Tone::Plain,
                ),
            ]);
        }
    }
    table
}

/// The counts of a plan: `2 to start, 1 to restart`.
#[must_use]
pub fn plan_counts(plan: &Plan) -> String {
    let words = [
        "end", "start", "resume", "reload", "restart", "replace", "stop", "delete", "blocked",
    ];
    words
        .iter()
        .filter_map(|word| {
            let count = plan
                .steps
                .iter()
                .filter(|step| step.action.word() == *word)
                .count();
            match (*word, count) {
                (_, 0) => None,
                ("blocked", n) => Some(format!("{n} blocked")),
                (word, n) => Some(format!("{n} to {word}")),
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// The apps that somebody is stopping at this moment.
#[must_use]
pub fn stopping(plan: &Plan) -> String {
    let stopping = |app: &&AppState| app.condition == Condition::Stopping;
    let names: Vec<String> = plan
        .apps
        .iter()
        .filter(stopping)
        .map(|app| format!("`{}`", app.app))
        .collect();
    match names.as_slice() {
        [first, second, third, _, rest @ ..] => {
            format!("{first}, {second}, {third} and {} more", rest.len() + 1)
        }
        names => names.join(", "),
    }
}

/// Whom a pass waits for.
#[must_use]
pub fn waiting(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "waiting for `{}` (pid {}) since {}",
            holder.command, holder.pid, holder.since
        ),
        None => "waiting for another pm2-sync".to_owned(),
    }
}

/// What a held removal is and how to confirm it.
pub fn say_held(printer: &Printer, held: &HeldRemoval) {
    let names: Vec<String> = held.daemons.iter().map(|id| format!("`{id}`")).collect();
    printer.warn(&format!(
        "{} of {} managed daemons have processes that nothing defines any more ({}): this is held, nothing of them was removed",
        held.daemons.len(),
        held.managed,
        names.join(", ")
    ));
    printer.hint(&format!(
        "bring the definitions back, or confirm the removal with `{}`",
        printer.command(&format!("sync --confirm {}", held.code))
    ));
}

/// The table of all apps.
#[must_use]
pub fn status_table(plan: &Plan, now_ms: u64, detail: Detail) -> Table {
    let mut table = Table::new(&["DAEMON", "APP", "RUN", "UPTIME", "RESTARTS", "STATE"]);
    for app in &plan.apps {
        let restarts: u32 = app.processes.iter().map(|process| process.restarts).sum();
        let uptime = app
            .processes
            .iter()
            .filter(|process| process.pid.is_some())
            .filter_map(|process| process.started_at_ms)
            .max()
            .map(|started| short_duration(Duration::from_millis(now_ms.saturating_sub(started))));
        let (state, tone) = state(app, plan, detail);
        table.row(vec![
            (app.daemon.to_string(), Tone::Plain),
            (app.app.clone(), Tone::Plain),
            (
                match app.wanted {
                    Some(wanted) => format!("{}/{wanted}", app.running()),
                    None => format!("{}/-", app.running()),
                },
                Tone::Plain,
            ),
            (uptime.unwrap_or_else(|| "-".to_owned()), Tone::Plain),
            (restarts.to_string(), Tone::Plain),
            (state, tone),
        ]);
    }
    for broken in &plan.broken {
        if !plan.apps.iter().any(|app| app.daemon == *broken) {
            let dash = || ("-".to_owned(), Tone::Plain);
            table.row(vec![
                (broken.to_string(), Tone::Plain),
                dash(),
                dash(),
                dash(),
                dash(),
                ("broken".to_owned(), Tone::Bad),
            ]);
        }
    }
    table.sort();
    table
}

/// How an app stands, and why.
#[must_use]
pub fn state(app: &AppState, plan: &Plan, detail: Detail) -> (String, Tone) {
    let steps: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| step.daemon == app.daemon && step.app == app.app)
        .map(|step| reasons(step, detail))
        .collect();
    let (word, tone) = match app.condition {
        Condition::InSync => ("in sync".to_owned(), Tone::Good),
        Condition::Ended => (ended(&app.processes), Tone::Faint),
        Condition::Degraded => (degraded(&app.processes), Tone::Bad),
        Condition::OnHold => (
            "on hold: differs, but asks to be left".to_owned(),
            Tone::Notice,
        ),
        Condition::Broken => ("broken".to_owned(), Tone::Bad),
        Condition::Held => ("removal held".to_owned(), Tone::Bad),
        Condition::Kept => ("no definition, kept".to_owned(), Tone::Notice),
        Condition::Leaving => (
            "no definition, about to be removed".to_owned(),
            Tone::Notice,
        ),
        Condition::Pending | Condition::Blocked => (String::new(), Tone::Notice),
        other => (other.to_string(), Tone::Notice),
    };
    let parts: Vec<String> = Some(word)
        .filter(|word| !word.is_empty())
        .into_iter()
        .chain(steps)
        .collect();
    (parts.join("; "), tone)
}

fn ended(processes: &[Arc<ObservedProcess>]) -> String {
    match processes.iter().find_map(|process| process.exit_code) {
        Some(code) => format!("ended as defined (exit {code})"),
        None => "not started, as defined".to_owned(),
    }
}

/// Why an app is degraded.
#[must_use]
pub fn degraded(processes: &[Arc<ObservedProcess>]) -> String {
    let errored = processes
        .iter()
        .find(|process| process.status == ProcessStatus::Errored);
    match errored {
        Some(process) => format!(
            "degraded: PM2 gave up after {}",
            counted(process.restarts as usize, "restart", "restarts")
        ),
        None => "degraded: keeps crashing".to_owned(),
    }
}

/// A duration in one or two units.
#[must_use]
pub fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// How long something took.
#[must_use]
pub fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
