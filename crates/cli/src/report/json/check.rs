//! `check`, and findings about definitions.

use daemon_model::{Diagnostic, Diagnostics, Level, Location, Severity, Span};
use reconcile::{Definitions, TreeFinding};
use schemars::JsonSchema;
use serde::Serialize;

use super::Output;
use crate::report::Printer;

/// What `check` found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct CheckOutput {
    /// Whether there is no error, and with `--strict` no warning either.
    pub ok: bool,
    /// How many definitions were checked.
    pub files: usize,
    /// How many errors were found.
    pub errors: usize,
    /// How many warnings were found.
    pub warnings: usize,
    /// What was found.
    pub diagnostics: Vec<DiagnosticOutput>,
}

impl CheckOutput {
    /// Counts a definition and its findings.
    pub fn count(&mut self, found: &Diagnostics) {
        self.files += 1;
        self.errors += found.errors();
        self.warnings += found.warnings();
    }
}

impl Output for CheckOutput {
    const COMMAND: &'static str = "check";
}

/// An error or a warning about a definition.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DiagnosticOutput {
    /// Its severity.
    pub severity: SeverityOutput,
    /// What it prevents; null if it concerns no definition.
    pub level: Option<LevelOutput>,
    /// The value that it is about, for example `apps[1].instances`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The bytes that it is about.
    pub span: Option<SpanOutput>,
    /// The position of the first one.
    pub location: Option<LocationOutput>,
    /// The position after the last one.
    pub end_location: Option<LocationOutput>,
    /// Related positions.
    pub labels: Vec<LabelOutput>,
    /// What to do about it.
    pub help: Option<String>,
    /// The file, relative to the workspace or as given.
    pub file: String,
    /// The daemon's ID, if there is one.
    pub daemon: Option<String>,
}

/// A severity.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SeverityOutput {
    /// The definition cannot be used.
    Error,
    /// The definition can be used, but probably does not mean what its author thinks.
    Warning,
}

/// What a diagnostic prevents.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LevelOutput {
    /// Nothing can be rendered.
    Render,
    /// pm2-sync cannot render it; another renderer may.
    Unsupported,
    /// It renders, but is not passed to PM2.
    Definition,
}

/// A range of bytes.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct SpanOutput {
    /// The first byte, counted from 0.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A position in a text.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct LocationOutput {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

/// A related position of a diagnostic.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LabelOutput {
    /// The bytes.
    pub span: SpanOutput,
    /// Where they begin.
    pub location: Option<LocationOutput>,
    /// What is there.
    pub message: String,
}

impl From<Span> for SpanOutput {
    fn from(span: Span) -> Self {
        Self {
            start: span.start,
            end: span.end,
        }
    }
}

impl From<Location> for LocationOutput {
    fn from(location: Location) -> Self {
        Self {
            line: location.line,
            column: location.column,
        }
    }
}

impl From<Severity> for SeverityOutput {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Error,
            _ => Self::Warning,
        }
    }
}

impl DiagnosticOutput {
    fn new(found: &Diagnostic, file: &str, daemon: Option<&str>) -> Self {
        let labels = found.labels.iter().map(|label| LabelOutput {
            span: label.span.into(),
            location: label.location.map(Into::into),
            message: label.message.clone(),
        });
        Self {
            severity: found.severity.into(),
            level: Some(match found.level {
                Level::Render => LevelOutput::Render,
                Level::Unsupported => LevelOutput::Unsupported,
                _ => LevelOutput::Definition,
            }),
            path: found.path.clone(),
            message: found.message.clone(),
            span: found.span.map(Into::into),
            location: found.location.map(Into::into),
            end_location: found.end_location.map(Into::into),
            labels: labels.collect(),
            help: found.help.clone(),
            file: file.to_owned(),
            daemon: daemon.map(ToOwned::to_owned),
        }
    }

    /// A finding about a path of the tree.
    #[must_use]
    pub fn about_path(found: &TreeFinding) -> Self {
        Self {
            severity: found.severity.into(),
            level: None,
            path: String::new(),
            message: found.message.clone(),
            span: None,
            location: found.line.map(|line| LocationOutput { line, column: 1 }),
            end_location: None,
            labels: Vec::new(),
            help: found.help.map(ToOwned::to_owned),
            file: found.path.clone(),
            daemon: None,
        }
    }
}

impl DiagnosticOutput {
    /// The findings about one file.
    #[must_use]
    pub fn all(
        diagnostics: &Diagnostics,
        file: &str,
        daemon: Option<&str>,
        printer: &Printer,
    ) -> Vec<Self> {
        let rest = diagnostics.remainder();
        let all = diagnostics.iter().chain(&rest);
        all.map(|found| Self::new(&printer.readable(found), file, daemon))
            .collect()
    }
}

/// The findings about all definitions.
#[must_use]
pub fn diagnostics(definitions: &Definitions, printer: &Printer) -> Vec<DiagnosticOutput> {
    let of_daemons = definitions.daemons.iter().flat_map(|(id, definition)| {
        let (found, file) = (&definition.diagnostics, definition.name.as_str());
        DiagnosticOutput::all(found, file, Some(id.as_str()), printer)
    });
    let of_tree = definitions.of_tree.iter();
    of_daemons
        .chain(of_tree.map(DiagnosticOutput::about_path))
        .collect()
}
