//! `sync`

use daemon_model::DaemonId;
use reconcile::{ArtifactFailures, ArtifactReport, SyncReport, chain};
use schemars::JsonSchema;
use serde::Serialize;

use super::plan::{failures, problems};
use super::{
    AppOutput, DiagnosticOutput, FailureOutput, HeldOutput, Output, ProblemOutput, ResultOutput,
    diagnostics, milliseconds,
};
use crate::report::Printer;
use crate::verdict::Verdict;

/// What `sync` did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SyncOutput {
    /// Whether everything runs as defined afterwards: true exactly when the exit status is 0.
    pub in_sync: bool,
    /// Why it is not in sync.
    pub problems: Vec<ProblemOutput>,
    /// The steps that were taken or tried, in the order in which they ended.
    pub steps: Vec<ResultOutput>,
    /// The removal that waits for confirmation.
    pub held: Option<HeldOutput>,
    /// The daemons whose definition is not valid.
    pub broken: Vec<String>,
    /// The state of every app afterwards.
    pub apps: Vec<AppOutput>,
    /// Whether PM2 had to be started.
    pub pm2_started: bool,
    /// What happened to the generated configs.
    pub artifacts: ArtifactsOutput,
    /// Unresolved failures, of this pass or earlier ones.
    pub failures: Vec<FailureOutput>,
    /// Why PM2's process list could not be saved.
    pub save_error: Option<String>,
    /// Findings about definitions.
    pub diagnostics: Vec<DiagnosticOutput>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl Output for SyncOutput {
    const COMMAND: &'static str = "sync";
}

/// What happened to the generated configs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ArtifactsOutput {
    /// The daemons whose config was written.
    pub written: Vec<String>,
    /// The daemons whose config was removed.
    pub removed: Vec<String>,
    /// What could not be written, read or removed.
    pub failed: Vec<FailedArtifactOutput>,
    /// Why none of them was written, if so.
    pub error: Option<String>,
}

/// A generated config that could not be written, read or removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FailedArtifactOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// Why.
    pub error: String,
}

/// IDs as text.
pub(super) fn ids(ids: &[DaemonId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

pub(super) fn failed(failures: &ArtifactFailures) -> Vec<FailedArtifactOutput> {
    let failed = failures.daemons.iter();
    failed
        .map(|(id, error)| FailedArtifactOutput {
            daemon: id.to_string(),
            error: chain(error),
        })
        .collect()
}

pub(super) fn directory_error(failures: &ArtifactFailures) -> Option<String> {
    failures.directory.as_ref().map(|error| chain(error))
}

impl ArtifactsOutput {
    fn new(report: &ArtifactReport) -> Self {
        Self {
            written: ids(&report.written),
            removed: ids(&report.removed),
            failed: failed(&report.failures),
            error: directory_error(&report.failures),
        }
    }
}

impl SyncOutput {
    /// The result of a pass.
    #[must_use]
    pub fn new(report: &SyncReport, verdict: &Verdict, printer: &Printer) -> Self {
        let show_values = printer.shows_values();
        let after = &report.after;
        let steps = report.applied.steps.iter();
        let held = after.plan.held.as_ref();
        Self {
            in_sync: verdict.is_in_sync(),
            problems: problems(verdict),
            steps: steps
                .map(|one| ResultOutput::new(one, show_values))
                .collect(),
            held: held.map(|held| HeldOutput::new(held, printer)),
            broken: ids(&after.broken),
            apps: after
                .apps
                .iter()
                .map(|app| AppOutput::new(app, None))
                .collect(),
            pm2_started: report.pm2_started,
            artifacts: ArtifactsOutput::new(&report.artifacts),
            failures: failures(&report.failures),
            save_error: report.save_error.as_ref().map(|error| chain(error)),
            diagnostics: diagnostics(&report.definitions, printer),
            milliseconds: milliseconds(report.took),
        }
    }
}
