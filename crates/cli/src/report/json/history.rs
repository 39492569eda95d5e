//! `history`

use daemon_model::{DaemonId, Entry, EntryChange, EntryOutcome, History};
use schemars::JsonSchema;
use serde::Serialize;

use super::watch::NotReadyOutput;
use super::{ChangeOutput, Output};

/// What `history` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HistoryOutput {
    /// The daemons with a history.
    pub daemons: Vec<DaemonHistoryOutput>,
}

impl Output for HistoryOutput {
    const COMMAND: &'static str = "history";
}

/// The history of a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DaemonHistoryOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// The last entries, newest first.
    pub entries: Vec<EntryOutput>,
}

impl DaemonHistoryOutput {
    /// The history of a daemon, with the values of environment variables hidden unless `show_values`.
    #[must_use]
    pub fn new(daemon: &DaemonId, history: &History, show_values: bool) -> Self {
        let entries = history.entries();
        let older = |at: usize| at.checked_sub(1).and_then(|at| entries.get(at));
        let newest_first = entries.iter().enumerate().rev();
        Self {
            daemon: daemon.to_string(),
            entries: newest_first
                .map(|(at, entry)| EntryOutput::new(entry, older(at), show_values))
                .collect(),
        }
    }
}

/// One change of a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EntryOutput {
    /// Its number: 1 for the first entry of a daemon; numbers are never reused.
    pub number: u32,
    /// When it was applied, in milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// The command that applied it.
    pub command: String,
    /// The user who ran the command.
    pub user: Option<String>,
    /// The Git commit that was checked out in the workspace.
    pub commit: Option<String>,
    /// The older entry that it restored.
    pub back_to: Option<u32>,
    /// The names of its apps.
    pub apps: Vec<String>,
    /// The outcome.
    pub outcome: EntryOutcomeOutput,
    /// When the outcome was decided, in milliseconds since 1970-01-01 UTC; null while it is pending.
    pub decided_at_ms: Option<u64>,
    /// The apps that did not become ready.
    pub failures: Vec<NotReadyOutput>,
    /// The differences from the previous entry; empty for the oldest one.
    pub changes: Vec<AppChangesOutput>,
}

impl EntryOutput {
    fn new(entry: &Entry, older: Option<&Entry>, show_values: bool) -> Self {
        let changes = older.map(|older| entry.changes_since(older));
        let (outcome, decided_at_ms) = match &entry.outcome {
            EntryOutcome::Pending { .. } => (EntryOutcomeOutput::Pending, None),
            EntryOutcome::Ready { at_ms } => (EntryOutcomeOutput::Ready, Some(*at_ms)),
            EntryOutcome::Failed { at_ms, .. } => (EntryOutcomeOutput::Failed, Some(*at_ms)),
            EntryOutcome::Superseded { at_ms } => (EntryOutcomeOutput::Superseded, Some(*at_ms)),
            EntryOutcome::NotApplied { at_ms, .. } => {
                (EntryOutcomeOutput::NotApplied, Some(*at_ms))
            }
            _ => (EntryOutcomeOutput::Other, None),
        };
        let failures = match &entry.outcome {
            EntryOutcome::Failed { failures, .. } => {
                failures.iter().map(NotReadyOutput::from).collect()
            }
            EntryOutcome::NotApplied { apps, .. } => {
                let not_applied = |app: &String| NotReadyOutput {
                    app: app.clone(),
                    reason: "a step failed".to_owned(),
                };
                apps.iter().map(not_applied).collect()
            }
            _ => Vec::new(),
        };
        Self {
            number: entry.number,
            at_ms: entry.at_ms,
            command: entry.command.clone(),
            user: entry.user.clone(),
            commit: entry.commit.clone(),
            back_to: entry.back_to,
            apps: entry.apps.iter().map(|app| app.name.clone()).collect(),
            outcome,
            decided_at_ms,
            failures,
            changes: AppChangesOutput::all(&changes.unwrap_or_default(), show_values),
        }
    }
}

/// The outcome of an entry of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntryOutcomeOutput {
    /// Not decided yet: its apps still have time to become ready.
    Pending,
    /// All its apps became ready.
    Ready,
    /// Some of its apps did not become ready.
    Failed,
    /// Another entry was applied before a decision, or it was retried.
    Superseded,
    /// A step failed, so some of its apps were not changed. It is retried.
    NotApplied,
    /// Something else.
    Other,
}

/// The differences of an app between two entries of the history.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AppChangesOutput {
    /// The app's name.
    pub app: String,
    /// Whether the app was added, removed or changed.
    pub kind: super::ChangeKindOutput,
    /// The differences, for an app that both entries have.
    pub changes: Vec<ChangeOutput>,
}

impl AppChangesOutput {
    fn all(changes: &[EntryChange], show_values: bool) -> Vec<Self> {
        let of_one = |a: &EntryChange, b: &EntryChange| a.app == b.app;
        let apps = changes.chunk_by(of_one).filter_map(|changes| {
            let first = changes.first()?;
            let kind = match first.field {
                None => first.kind.into(),
                Some(_) => super::ChangeKindOutput::Changed,
            };
            let changes = changes.iter();
            Some(Self {
                app: first.app.clone(),
                kind,
                changes: changes
                    .filter_map(|one| ChangeOutput::of_entry(one, show_values))
                    .collect(),
            })
        });
        apps.collect()
    }
}
