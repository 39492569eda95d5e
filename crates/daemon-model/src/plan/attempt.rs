//! What has to be recorded in the history before a plan is carried out.

use std::collections::BTreeMap;

use crate::plan::draft::Draft;
use crate::plan::in_force::Rule;
use crate::plan::{Action, ActionKind, Condition};
use crate::{AppSpec, DaemonId, EntryOutcome, Gate};

/// A spec that is about to be applied to a daemon: the history entry to write before the first step and to judge after the last.
/// There may be no steps at all: then the apps already run and only have to be recorded as ready.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// The daemon.
    pub daemon: DaemonId,
    /// All of the daemon's apps that are in force.
    pub apps: Vec<AppSpec>,
    /// Those of them that have to become ready.
    pub gated: Vec<AppSpec>,
    /// The earlier entry that it rolls back to.
    pub back_to: Option<u32>,
}

impl Attempt {
    /// The gates of an attempt that begins at `now_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn gates(&self, now_ms: u64) -> BTreeMap<String, Gate> {
        let gate = |app: &AppSpec| (app.name().to_owned(), Gate::new(now_ms, app.window()));
        self.gated.iter().map(gate).collect()
    }
}

/// The attempts that a plan makes. The drafts of one daemon are adjacent.
pub(super) fn attempts(drafts: &[Draft<'_>]) -> Vec<Attempt> {
    let of_one = |a: &Draft<'_>, b: &Draft<'_>| a.id == b.id;
    drafts.chunk_by(of_one).filter_map(attempt).collect()
}

fn attempt(drafts: &[Draft<'_>]) -> Option<Attempt> {
    let first = drafts.first()?;
    let record = first.daemon.record?;
    if first.daemon.is_broken || record.is_held_or_stopped() {
        return None;
    }
    let history = record.history;
    let is_known = |app: &AppSpec| {
        history.entries().iter().any(|entry| {
            let mut apps = entry.apps.iter();
            let is_known = match &entry.outcome {
                EntryOutcome::Ready { .. } | EntryOutcome::Pending { .. } => true,
                EntryOutcome::NotApplied { apps, .. } => !apps.contains(app.name()),
                _ => false,
            };
            is_known && apps.any(|it| it.name == app.name() && it.revision == *app.revision())
        })
    };
    let (mut apps, mut gated) = (Vec::new(), Vec::new());
    let (mut has_steps, mut is_held) = (false, false);
    for draft in drafts {
        let app = &draft.app.spec;
        let changes = draft.steps.iter().any(|(action, _)| changes(action));
        let runs = draft.app.rule == Rule::Run && draft.condition() != Condition::Blocked;
        if runs || changes {
            apps.push(app.clone());
        }
        // A held definition was not applied.
        let is_app_held = draft.condition() == Condition::OnHold;
        let is_started = !is_app_held && draft.condition() != Condition::Waiting;
        if changes || (runs && is_started && !is_known(app)) {
            gated.push(app.clone());
        }
        has_steps |= changes;
        is_held |= is_app_held;
    }
    // An undecided entry has to be applied again.
    let last = history.last().filter(|last| {
        use EntryOutcome::{NotApplied, Superseded};
        !matches!(last.outcome, Superseded { .. } | NotApplied { .. })
    });
    let is_same = last.is_some_and(|last| {
        let revisions = last.revisions();
        let mut apps = apps.iter();
        revisions.len() == apps.len()
            && apps.all(|app| revisions.get(app.name()) == Some(&app.revision()))
    });
    let is_new = has_steps || (!is_same && !is_held && !apps.is_empty());
    is_new.then(|| Attempt {
        daemon: first.id.clone(),
        apps,
        gated,
        back_to: first.daemon.back_to,
    })
}

/// Whether a step starts or changes processes that have to become ready.
fn changes(action: &Action) -> bool {
    matches!(action, Action::Start { .. } | Action::Change { .. })
        && !matches!(action.kind(), ActionKind::Stop | ActionKind::Update)
}
