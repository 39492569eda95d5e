//! A command that failed.

use schemars::JsonSchema;
use serde::Serialize;

use super::DiagnosticOutput;
use crate::error::CommandError;
use crate::report::Printer;

/// Why a command failed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorOutput {
    /// What went wrong, with its causes.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What is wrong with the settings file, if that is the reason.
    pub diagnostics: Vec<DiagnosticOutput>,
}

impl ErrorOutput {
    /// Why a command failed.
    #[must_use]
    pub fn new(error: &CommandError, printer: &Printer) -> Self {
        let settings = error.settings();
        Self {
            error: reconcile::chain(error),
            hint: error.hint(),
            diagnostics: settings.map_or_else(Vec::new, |(file, _, found)| {
                DiagnosticOutput::all(found, file, None, printer)
            }),
        }
    }

    /// Arguments that cannot be used.
    #[must_use]
    pub fn usage(message: String, hint: String) -> Self {
        Self {
            error: message,
            hint: Some(hint),
            diagnostics: Vec::new(),
        }
    }
}
