//! `up` and `down`

use reconcile::watcher_module::{Started, UpOutcome};
use schemars::JsonSchema;
use serde::Serialize;

use super::plan::problems;
use super::{Output, ProblemOutput, ResultOutput};
use crate::verdict::Verdict;

/// What `up` did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UpOutput {
    /// The watcher's name in PM2.
    pub watcher: String,
    /// What was done.
    pub done: UpDone,
    /// The variables of `:pass-env` whose values differed between the watcher and the caller.
    pub changed_variables: Vec<String>,
    /// What the watcher's first pass did, in words; empty if it was already running.
    pub first_pass: String,
    /// Whether everything runs as defined: true exactly when the exit status is 0.
    pub in_sync: bool,
    /// Why it is not in sync.
    pub problems: Vec<ProblemOutput>,
}

impl UpOutput {
    /// What was done, and the state of everything.
    #[must_use]
    pub fn new(watcher: &str, started: &Started, first_pass: String, verdict: &Verdict) -> Self {
        Self {
            watcher: watcher.to_owned(),
            done: started.outcome.into(),
            changed_variables: started.changed_variables.clone(),
            first_pass,
            in_sync: verdict.is_in_sync(),
            problems: problems(verdict),
        }
    }
}

impl Output for UpOutput {
    const COMMAND: &'static str = "up";
}

/// What `up` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpDone {
    /// Nothing: the watcher was already running.
    AlreadyRunning,
    /// The watcher was started.
    Started,
    /// The watcher was running from another program, with other arguments, or with other values of variables that `:pass-env`
    /// names, and was restarted.
    Restarted,
}

impl From<UpOutcome> for UpDone {
    fn from(outcome: UpOutcome) -> Self {
        match outcome {
            UpOutcome::AlreadyRunning => Self::AlreadyRunning,
            UpOutcome::Started => Self::Started,
            UpOutcome::Restarted => Self::Restarted,
        }
    }
}

/// What `down` did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DownOutput {
    /// The watcher's name in PM2.
    pub watcher: String,
    /// Whether there was a watcher to stop.
    pub was_running: bool,
    /// With `--all`, the steps that removed the managed processes; empty without it.
    pub removed: Vec<ResultOutput>,
    /// Why PM2's process list could not be saved.
    pub save_error: Option<String>,
}

impl Output for DownOutput {
    const COMMAND: &'static str = "down";
}
