//! The state of an app, if it is not simply in sync.

use daemon_model::{AppState, Cause, Condition, Override, ProcessState, Unready, UnreadyReason};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{counted, listed, name};

/// How long after the deadline of an app its outcome may still be recorded, in milliseconds.
const JUDGING_MS: u64 = 2_000;

/// A sentence about an app that is not in sync.
#[must_use]
pub fn sentence(app: &AppState) -> String {
    let who = format!("`{}` of {}", app.app, app.daemon);
    match app.condition {
        Condition::Degraded => format!("{who} is {}", phrase(app)),
        Condition::Mislabelled => format!("the process `{}` {}", app.app, phrase(app)),
        Condition::Starting => match app.causes.iter().find_map(overdue) {
            Some(overdue) => format!("{who} {overdue}"),
            None => format!("{who} is starting"),
        },
        Condition::Stopping => format!("PM2 is stopping {who}"),
        _ => format!("{who}: {}", phrase(app)),
    }
}

/// The state of an app in a few words. Empty if its steps describe it.
#[must_use]
pub fn phrase(app: &AppState) -> String {
    match app.condition {
        Condition::Ended => ended(app),
        Condition::Degraded => format!("degraded: {}", degraded(app)),
        Condition::Broken => "not valid".to_owned(),
        Condition::Held => "removal on hold".to_owned(),
        Condition::Kept => "no definition, kept".to_owned(),
        Condition::Leaving => "no definition, about to be removed".to_owned(),
        Condition::Mislabelled => mislabelled(app),
        Condition::Pending | Condition::Blocked => String::new(),
        _ => {
            let causes: Vec<String> = app.causes.iter().filter_map(|it| cause(app, it)).collect();
            match causes.is_empty() {
                true => app.condition.to_string(),
                false => causes.join("; "),
            }
        }
    }
}

fn cause(app: &AppState, cause: &Cause) -> Option<String> {
    Some(match cause {
        Cause::OnHold { by, .. } => format!("on hold{}", decided(by)),
        Cause::ChangeHeld { .. } => "drifted; left alone (`:on-change :hold`)".to_owned(),
        Cause::Stopped(by) => format!("stopped{}", decided(by)),
        Cause::Pinned { number, by } => {
            format!("kept at entry {number} of the history{}", decided(by))
        }
        Cause::RolledBack {
            at_ms, failures, ..
        } => {
            let failures = failures.iter();
            let failures: Vec<String> = failures
                .map(|failure| match failure.app == app.app {
                    true => failure.reason.clone(),
                    false => format!("`{}`: {}", failure.app, failure.reason),
                })
                .collect();
            format!("rolled back at {}: {}", time(*at_ms), failures.join(", "))
        }
        Cause::Failed { at_ms, reason, .. } => {
            format!("did not become ready by {}: {reason}", time(*at_ms))
        }
        Cause::Gated { deadline_ms, .. } => overdue(cause)
            .unwrap_or_else(|| format!("starting; must be ready by {}", time(*deadline_ms))),
        Cause::Waiting { on, .. } => {
            let apps: Vec<String> = on.iter().map(awaited).collect();
            format!("waiting for {}", listed(&apps))
        }
        _ => return None,
    })
}

/// Says that the deadline of an app has passed without an outcome: the command that changed it did not wait, and no watcher runs.
fn overdue(cause: &Cause) -> Option<String> {
    let Cause::Gated { deadline_ms, .. } = cause else {
        return None;
    };
    let now_ms = u64::try_from(Timestamp::now().as_millisecond()).ok()?;
    (now_ms > deadline_ms.saturating_add(JUDGING_MS)).then(|| {
        let until = time(*deadline_ms);
        format!("was due to be ready by {until}, not checked yet: run `pm2-sync sync`")
    })
}

/// A dependency, and why it is not ready unless it just needs time.
fn awaited(one: &Unready) -> String {
    let name = format!("`{}`", name(one.daemon.as_str(), &one.app));
    let why = match one.why {
        UnreadyReason::Failed => "did not become ready",
        UnreadyReason::Stopped => "is stopped",
        UnreadyReason::NotRunning => "is not running",
        UnreadyReason::Blocked => "is not started either",
        _ => return name,
    };
    format!("{name}, which {why}")
}

/// Who decided something, until when, and why.
fn decided(by: &Override) -> String {
    let user = by.user.as_ref().map(|user| format!(" by {user}"));
    let until = by.until_ms.map(|at| format!(" until {}", time(at)));
    let reason = by.reason.as_ref().map(|reason| format!(": {reason}"));
    [user, until, reason].into_iter().flatten().collect()
}

/// A time of today as hours and minutes, any other with its date.
pub(super) fn time(ms: u64) -> String {
    let at = i64::try_from(ms).ok();
    let at = at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::system());
    let is_today = at.date() == jiff::Zoned::now().date();
    let format = match is_today {
        true => "%H:%M:%S",
        false => "%Y-%m-%d %H:%M:%S",
    };
    at.strftime(format).to_string()
}

fn ended(app: &AppState) -> String {
    let mut codes = app.processes.iter().filter_map(|it| it.exit_code);
    let mut states = app.states();
    let waits = states.any(|(_, state)| state == ProcessState::Waiting);
    match codes.next() {
        Some(0) if waits => {
            "ended (exit 0 or a signal); PM2 starts it again after its delay".to_owned()
        }
        Some(code) if waits => format!("ended (exit {code}); PM2 starts it again after its delay"),
        // PM2 records 0 also for a process that a signal ended (7.0.4, `lib/God.js`: `code || 0`).
        Some(0) => "ended as defined (exit 0 or a signal)".to_owned(),
        Some(code) => format!("ended as defined (exit {code})"),
        None => "not started, as defined".to_owned(),
    }
}

/// Why an app is degraded.
fn degraded(app: &AppState) -> String {
    let in_state = |wanted| app.states().find(|(_, state)| *state == wanted);
    if let Some((process, _)) = in_state(ProcessState::GaveUp) {
        let restarts = usize::try_from(process.max_restarts()).unwrap_or(usize::MAX);
        let restarts = counted(restarts, "unstable restart", "unstable restarts");
        format!("PM2 gave up after {restarts}")
    } else if in_state(ProcessState::Unstoppable).is_some() {
        "PM2 could not stop it".to_owned()
    } else {
        "it keeps crashing".to_owned()
    }
}

/// The problem of a process whose label names another app than its name does.
fn mislabelled(app: &AppState) -> String {
    let labels = app.processes.iter();
    let mut labels = labels.filter_map(|process| process.label.as_ref());
    let other = labels
        .next()
        .map_or("another app", |label| label.app.as_str());
    format!("carries the label of `{other}`: left alone")
}

#[cfg(test)]
mod tests {
    use daemon_model::{AppFailure, DaemonId, Unready, UnreadyReason};

    use super::*;

    /// An app in a condition, for a reason.
    fn app(condition: Condition, cause: Cause) -> AppState {
        let daemon = DaemonId::new("web").unwrap();
        let mut app = AppState::new(&daemon, "api", Some(1), [], condition, 0);
        app.causes = vec![cause];
        app
    }

    #[test]
    fn an_app_that_is_not_in_sync_has_a_reason() {
        let by = Override {
            user: Some("ann".to_owned()),
            reason: Some("migration".to_owned()),
            ..Override::default()
        };
        let at_ms = 1_000;
        let failure = AppFailure {
            app: "api".to_owned(),
            reason: "readiness probe: HTTP 500".to_owned(),
        };
        let database = Unready {
            daemon: DaemonId::new("db/pg").unwrap(),
            app: "pg".to_owned(),
            why: UnreadyReason::Starting,
        };
        let failed = Unready {
            why: UnreadyReason::Failed,
            ..database.clone()
        };
        let overdue = format!(
            "was due to be ready by {}, not checked yet: run `pm2-sync sync`",
            time(at_ms)
        );
        let steps = Vec::new;
        for (condition, cause, expected) in [
            (
                Condition::OnHold,
                Cause::OnHold {
                    by: by.clone(),
                    steps: steps(),
                },
                "on hold by ann: migration".to_owned(),
            ),
            (
                Condition::OnHold,
                Cause::ChangeHeld { steps: steps() },
                "drifted; left alone (`:on-change :hold`)".to_owned(),
            ),
            (
                Condition::Stopped,
                Cause::Stopped(by.clone()),
                "stopped by ann: migration".to_owned(),
            ),
            (
                Condition::Pinned,
                Cause::Pinned { number: 4, by },
                "kept at entry 4 of the history by ann: migration".to_owned(),
            ),
            (
                Condition::RolledBack,
                Cause::RolledBack {
                    failed: 5,
                    at_ms,
                    failures: vec![failure],
                    to: 4,
                },
                format!("rolled back at {}: readiness probe: HTTP 500", time(at_ms)),
            ),
            (
                Condition::Waiting,
                Cause::Waiting {
                    on: vec![database],
                    steps: steps(),
                },
                "waiting for `db/pg`".to_owned(),
            ),
            (
                Condition::Waiting,
                Cause::Waiting {
                    on: vec![failed],
                    steps: steps(),
                },
                "waiting for `db/pg`, which did not become ready".to_owned(),
            ),
        ] {
            let app = app(condition, cause);
            assert_eq!(phrase(&app), expected);
            assert_eq!(sentence(&app), format!("`api` of web: {expected}"));
        }
        let gated = |deadline_ms| Cause::Gated {
            deadline_ms,
            canary: false,
        };
        let late = app(Condition::Starting, gated(at_ms));
        assert_eq!(phrase(&late), overdue);
        assert_eq!(sentence(&late), format!("`api` of web {overdue}"));
        let soon = app(Condition::Starting, gated(u64::MAX / 2));
        assert!(phrase(&soon).starts_with("starting; must be ready by "));
        assert_eq!(sentence(&soon), "`api` of web is starting");
    }
}
