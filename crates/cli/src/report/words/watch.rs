//! Events of a watch as text.

use std::collections::BTreeSet;
use std::time::Duration;

use reconcile::pass::PassEvent;
use reconcile::{EngineEvent, chain};
use watcher::Mode;

use super::{rollout, took, waiting};
use crate::report::Printer;
use crate::verdict::{ProblemId, ProblemKind};

/// A line about an event.
pub enum Note {
    /// Informational.
    Plain(String),
    /// Needs attention.
    Warning(String),
}

impl Note {
    /// Prints it.
    pub fn print(&self, printer: &Printer) {
        match self {
            Self::Plain(text) => printer.note(text),
            Self::Warning(text) => printer.warn(text),
        }
    }
}

/// Says when something is retried.
#[must_use]
pub fn trying_again(delay: Duration) -> String {
    format!("retrying in {}", took(delay))
}

/// Problems that were resolved, if worth a line.
#[must_use]
pub fn mended(before: &BTreeSet<ProblemId>, now: &BTreeSet<ProblemId>) -> Vec<String> {
    let has = |problems: &BTreeSet<ProblemId>, kind| problems.iter().any(|it| it.kind == kind);
    let is_over = |kind| has(before, kind) && !has(now, kind);
    let mut notes = Vec::new();
    if is_over(ProblemKind::HeldRemoval) {
        notes.push("no removal is on hold any more".to_owned());
    }
    if is_over(ProblemKind::FailedArtifact) {
        notes.push("all generated configs can be written again".to_owned());
    }
    for problem in before.difference(now) {
        let what = match problem.kind {
            ProblemKind::Degraded => "is not degraded any more",
            ProblemKind::NotReady => "is ready again",
            _ => continue,
        };
        if let (Some(daemon), Some(app)) = (&problem.daemon, &problem.app) {
            notes.push(format!("`{app}` of {daemon} {what}"));
        }
    }
    notes
}

/// An event in one line; none if it is not printed.
#[must_use]
pub fn event(event: &EngineEvent<'_>) -> Option<Note> {
    Some(match event {
        EngineEvent::Pass(PassEvent::Pm2Started) => {
            Note::Plain("PM2 was not running: started it".to_owned())
        }
        EngineEvent::Pass(PassEvent::Waiting(holder)) => Note::Plain(waiting(*holder)),
        EngineEvent::Pass(PassEvent::Judged(daemon, outcome)) => {
            Note::Warning(rollout::judged(daemon, outcome)?)
        }
        EngineEvent::Mended(id) => Note::Plain(format!("{id}: the definition is valid again")),
        EngineEvent::Retrying {
            daemon,
            attempt,
            delay,
        } => {
            let (time, next) = (took(*delay), attempt + 1);
            Note::Plain(format!("{daemon}: retrying in {time} (attempt {next})"))
        }
        EngineEvent::Flapping { daemon, pause } => {
            let time = took(*pause);
            Note::Warning(format!(
                "{daemon} keeps changing: its next change is applied in {time} at the earliest"
            ))
        }
        EngineEvent::WatchMode(mode) => return mode_changed(mode),
        EngineEvent::Recovered => Note::Plain("working again".to_owned()),
        EngineEvent::Pm2Gone => Note::Plain("PM2 is not running any more".to_owned()),
        _ => return None,
    })
}

fn mode_changed(mode: &Mode) -> Option<Note> {
    match mode {
        Mode::Polling(Some(why)) => {
            let why = chain(why.as_ref());
            Some(Note::Warning(format!(
                "files cannot be watched ({why}): polling them instead"
            )))
        }
        Mode::Polling(None) => Some(Note::Plain("polling files".to_owned())),
        Mode::RootMissing => Some(Note::Warning(
            "the directory of definitions is missing".to_owned(),
        )),
        _ => None,
    }
}
