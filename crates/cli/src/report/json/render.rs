//! `render`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::sync::{directory_error, failed, ids};
use super::{DiagnosticOutput, FailedArtifactOutput, HeldOutput, Output, diagnostics};
use crate::report::Printer;
use reconcile::{ArtifactCheck, ArtifactReport, Definitions};

/// What `render` wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RenderOutput {
    /// The daemons whose config was written.
    pub written: Vec<String>,
    /// The daemons whose config was up to date.
    pub unchanged: Vec<String>,
    /// The daemons whose config was removed, because they have no definition.
    pub removed: Vec<String>,
    /// What could not be written, read or removed.
    pub failed: Vec<FailedArtifactOutput>,
    /// Why none of them was written, if so.
    pub error: Option<String>,
    /// The removal that waits for confirmation.
    pub held: Option<HeldOutput>,
    /// Findings about definitions.
    pub diagnostics: Vec<DiagnosticOutput>,
}

/// What `render --check` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RenderCheckOutput {
    /// Whether every config is up to date, and has a definition.
    pub fresh: bool,
    /// The daemons without a config.
    pub missing: Vec<String>,
    /// The daemons whose config is out of date.
    pub stale: Vec<String>,
    /// The daemons that have a config and no definition.
    pub orphaned: Vec<String>,
    /// What could not be read.
    pub failed: Vec<FailedArtifactOutput>,
    /// Why none of them could be read, if so.
    pub error: Option<String>,
    /// Findings about definitions.
    pub diagnostics: Vec<DiagnosticOutput>,
}

/// What `render --stdout` printed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RenderStdoutOutput {
    /// The generated configs by the daemons' IDs.
    pub configs: BTreeMap<String, Value>,
    /// Findings about definitions.
    pub diagnostics: Vec<DiagnosticOutput>,
}

impl Output for RenderOutput {
    const COMMAND: &'static str = "render";
}

impl Output for RenderCheckOutput {
    const COMMAND: &'static str = "render";
}

impl Output for RenderStdoutOutput {
    const COMMAND: &'static str = "render";
}

impl RenderOutput {
    /// The result of writing.
    #[must_use]
    pub fn new(report: &ArtifactReport, definitions: &Definitions, printer: &Printer) -> Self {
        Self {
            written: ids(&report.written),
            unchanged: ids(&report.unchanged),
            removed: ids(&report.removed),
            failed: failed(&report.failures),
            error: directory_error(&report.failures),
            held: report.held.as_ref().map(|held| {
                let command = printer.command(&format!("render --confirm {}", held.code));
                HeldOutput::with_command(held, command)
            }),
            diagnostics: diagnostics(definitions, printer),
        }
    }
}

impl RenderCheckOutput {
    /// The result of the comparison.
    #[must_use]
    pub fn new(found: &ArtifactCheck, definitions: &Definitions, printer: &Printer) -> Self {
        Self {
            fresh: found.is_fresh(),
            missing: ids(&found.missing),
            stale: ids(&found.stale),
            orphaned: ids(&found.orphaned),
            failed: failed(&found.failures),
            error: directory_error(&found.failures),
            diagnostics: diagnostics(definitions, printer),
        }
    }
}
