//! The texts of command output.

pub mod condition;
pub mod decision;
pub mod history;
pub mod plan;
pub mod rollout;
pub mod status;
pub mod steps;
pub mod watch;

use std::time::Duration;

use daemon_model::RemovalCode;
use daemon_model::{AppState, Condition, HeldRemoval, Planned, Step};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reconcile::{Failure, Holder, Obstacle, chain};

use super::Printer;
use super::json::StepOutput;
use super::text::quoted;
use crate::verdict::{Problem, ProblemKind};

pub use super::text::{counted, listed};

/// Says that PM2's dump is out of date.
pub const UNSAVED: &str = "PM2's process list could not be saved: `pm2 resurrect` and a reboot would start the previously saved processes";

/// The short name of an app: the daemon's ID alone if its last part is the app's name.
#[must_use]
pub fn name(daemon: &str, app: &str) -> String {
    match daemon.rsplit('/').next() == Some(app) {
        true => daemon.to_owned(),
        false => format!("{daemon} {app}"),
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

/// Describes the command that holds the lock.
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

/// A removal that waits for confirmation.
#[must_use]
pub fn held(held: &HeldRemoval) -> String {
    let names = |ids: &[daemon_model::DaemonId]| {
        let names: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
        names.join(", ")
    };
    let daemons = names(&held.daemons);
    if held.protected == held.daemons {
        let they_have = match held.daemons.len() {
            1 => "it has a protected app",
            _ => "they have protected apps",
        };
        return format!("removal of {daemons} is on hold: {they_have} (`:protect true`)");
    }
    let mut text = format!(
        "removal of {} of {} is on hold: their definitions are gone ({daemons})",
        held.daemons.len(),
        counted(held.managed, "daemon", "daemons"),
    );
    if !held.unmounted.is_empty() {
        let unmounted = names(&held.unmounted);
        text.push_str(&format!(
            "; on a file system that is not mounted: {unmounted}"
        ));
    }
    if held.removed_lately > 0 {
        let lately = counted(held.removed_lately, "other was", "others were");
        text.push_str(&format!("; {lately} removed in the last 10 minutes"));
    }
    if !held.protected.is_empty() {
        text.push_str(&format!("; protected: {}", names(&held.protected)));
    }
    text
}

/// Says which stopping processes the command waits for.
#[must_use]
pub fn settling(planned: &Planned) -> String {
    let is_stopping = |app: &&AppState| app.condition == Condition::Stopping;
    let stopping = planned.apps.iter().filter(is_stopping);
    let names: Vec<String> = stopping.map(|app| format!("`{}`", app.app)).collect();
    format!(
        "waiting for processes that PM2 is stopping: {}",
        listed(&names)
    )
}

/// An unresolved failure.
#[must_use]
pub fn failure(failure: &Failure) -> String {
    let what = match &failure.app {
        Some(app) => format!("`{app}` of {}", failure.daemon),
        None => format!("the generated config of {}", failure.daemon),
    };
    let local = |at: Timestamp| {
        at.to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
    };
    if failure.is_unready {
        let since = local(failure.since);
        return format!("{what} has not been ready since {since}: {}", failure.error);
    }
    let times = match failure.attempts {
        1 => String::new(),
        n => format!(" {n} times since {}, last", local(failure.since)),
    };
    let retry = match failure.next_attempt(Timestamp::now()) {
        Some(at) => format!("; next attempt {}", local(at)),
        None => String::new(),
    };
    format!(
        "{what} failed{times} at {}: {}{retry}",
        local(failure.last),
        failure.error
    )
}

/// A step that would fail.
#[must_use]
pub fn obstacle(obstacle: &Obstacle) -> String {
    format!(
        "`{}` of {} would fail: {}",
        obstacle.app,
        obstacle.daemon,
        chain(&obstacle.error)
    )
}

/// A pending step.
#[must_use]
pub fn pending(step: &Step) -> String {
    let step = StepOutput::new(step, false);
    format!(
        "{} {}: {}",
        step.verb(),
        name(&step.daemon, &step.app),
        steps::reasons(&step, false)
    )
}

/// How to fix a problem.
#[must_use]
pub fn advice(problem: &Problem, printer: &Printer) -> Option<String> {
    let command = |verb: &str| {
        let id = quoted(problem.daemon.as_ref()?.as_str());
        Some(printer.command_for(&format!("{verb} {id}")))
    };
    match problem.kind {
        ProblemKind::Degraded => {
            let restart = command("restart")?;
            Some(format!(
                "changing its definition or script starts it again; after any other fix, run `{restart}`"
            ))
        }
        _ if problem.is_rejected => {
            let retry = command("sync --retry")?;
            Some(format!(
                "changing its definition or script starts it again; after any other fix, run `{retry}`"
            ))
        }
        _ if problem.is_user_hold => Some(format!("`{}` ends the hold", command("release")?)),
        // The prompt replaces this advice.
        ProblemKind::HeldRemoval if printer.asks() => None,
        ProblemKind::HeldRemoval => Some(confirm(problem.confirm.as_ref()?, printer)),
        _ => None,
    }
}

/// How to confirm a removal.
#[must_use]
pub fn confirm(code: &RemovalCode, printer: &Printer) -> String {
    let command = printer.command(&format!("sync --confirm {code}"));
    format!("restore the definitions, or confirm the removal with `{command}`")
}

/// How to see more of a log.
#[must_use]
pub fn log(problem: &Problem, printer: &Printer) -> Vec<String> {
    let Some(log) = &problem.log else {
        return Vec::new();
    };
    let mut lines: Vec<String> = log.lines.iter().map(|line| format!("  | {line}")).collect();
    let app = problem.app.as_deref().unwrap_or_default();
    let more = printer.logs_command(app);
    lines.push(format!("  log: {} (more with `{more}`)", log.path));
    lines
}
