//! Findings about definitions, as text.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use daemon_model::{Diagnostic, Diagnostics, Level, Plan};
use edn_render::{DrawStyle, Excerpts};
use reconcile::definitions::{Definitions, TreeFinding};

use super::Printer;
use super::json::StepOutput;
use super::text::{Line, Tone};

/// Which findings to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Errors, and messages of another renderer.
    Errors,
}

impl Which {
    fn includes(self, found: &Diagnostic) -> bool {
        self == Self::All || found.is_error() || found.level == Level::Render
    }
}

/// Where to show values of environment variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// Nowhere.
    Hidden,
    /// In source excerpts on a terminal, whose user can read the file as well.
    InExcerpts,
    /// Everywhere, because of `--show-values`.
    Shown,
}

impl Printer {
    /// Draws the findings of one definition.
    pub fn findings(&self, diagnostics: &Diagnostics, file: &str, source: &[u8], which: Which) {
        let rest = diagnostics.remainder();
        let all = diagnostics.iter().chain(&rest);
        let mut shown = all.filter(|found| which.includes(found)).peekable();
        if shown.peek().is_none() {
            return;
        }
        let excerpts = match self.values {
            Values::Hidden => Excerpts::redacted(source),
            Values::InExcerpts | Values::Shown => Excerpts::in_full(source),
        };
        for found in shown {
            self.finding(found, file, &excerpts);
        }
    }

    /// Draws problems of the settings, which contain no values of variables.
    pub fn settings_findings(&self, diagnostics: &Diagnostics, file: &str, source: &[u8]) {
        let excerpts = Excerpts::in_full(source);
        for found in diagnostics {
            self.finding(found, file, &excerpts);
        }
    }

    fn finding(&self, found: &Diagnostic, file: &str, excerpts: &Excerpts<'_>) {
        let found = self.readable(found);
        let style = DrawStyle {
            color: self.err.has_color,
            width: self.err_width().map(source_width),
        };
        let drawn = edn_render::draw(&found, file, excerpts, style);
        let is_hidden = found.is_redacted() || drawn.contains(edn_render::NOT_SHOWN);
        let time = self.clock(self.err).paint(self.err.has_color);
        self.write_err(&format!("{time}{}\n", drawn.trim_end()));
        if is_hidden && !self.shared.said_hidden.swap(true, Ordering::Relaxed) {
            self.hint("`--show-values` shows hidden values");
        }
    }

    /// The diagnostic with only the values that may be shown.
    #[must_use]
    pub fn readable<'d>(&self, found: &'d Diagnostic) -> Cow<'d, Diagnostic> {
        match self.shows_values() {
            true => found.in_full(),
            false => Cow::Borrowed(found),
        }
    }

    /// Draws the findings of all definitions.
    pub fn diagnostics(&self, definitions: &Definitions, which: Which) {
        for definition in definitions.daemons.values() {
            let source = definition.source.as_deref().unwrap_or(b"");
            let file = definition.name.as_str();
            self.findings(&definition.diagnostics, file, source, which);
        }
        self.tree(&definitions.of_tree);
    }

    /// Prints findings about paths of the tree.
    pub fn tree(&self, findings: &[TreeFinding]) {
        for found in findings {
            let text = format!(" {}: {}", found.place(), found.message);
            let (tone, word) = match found.is_error() {
                true => (Tone::Bad, "error:"),
                false => (Tone::Notice, "warning:"),
            };
            self.say(&Line::default().with(tone, word).plain(text));
            if let Some(help) = found.help {
                self.hint(help);
            }
        }
    }

    /// Warns about unset variables that `:pass-env` names.
    pub fn not_set_here(&self, plan: &Plan) {
        let steps: Vec<StepOutput> = plan
            .steps
            .iter()
            .map(|step| StepOutput::new(step, false))
            .collect();
        for warning in super::words::steps::not_set_here(steps.iter()) {
            self.warn(warning);
        }
    }

    /// Prints how many warnings there are, if they are not shown.
    pub fn warnings(&self, definitions: &Definitions) {
        let all = definitions.daemons.values();
        let counts = all.map(|definition| definition.diagnostics.warnings());
        let counts: Vec<usize> = counts.filter(|count| *count > 0).collect();
        if !counts.is_empty() {
            let warnings = super::words::counted(counts.iter().sum(), "warning", "warnings");
            let definitions = super::words::counted(counts.len(), "definition", "definitions");
            self.note(format!("{warnings} in {definitions}; see `pm2-sync check`"));
        }
    }
}

/// How many columns of source fit into a terminal. If the terminal wrapped a line, its marker would be misplaced.
fn source_width(columns: usize) -> usize {
    /// The most columns that the line number and the ellipses take, except in enormous files.
    const FRAME: usize = 14;
    columns.saturating_sub(FRAME)
}

#[cfg(test)]
mod tests {
    use daemon_model::Severity;
    use daemon_model::Span;

    use super::*;

    #[test]
    fn no_line_of_source_is_wider_than_the_terminal() {
        let source = format!(
            "{}{} 08 {}",
            "\n".repeat(9_999),
            "x".repeat(70),
            "y".repeat(70)
        );
        let mut found = Diagnostic::new(Severity::Error, Level::Render, "no");
        let at = source.find("08").unwrap();
        found.span = Some(Span::new(at, at + 2));
        let draw = |width| {
            let style = DrawStyle {
                width,
                ..DrawStyle::default()
            };
            let excerpts = Excerpts::in_full(source.as_bytes());
            edn_render::draw(&found, "x", &excerpts, style)
        };
        let drawn = draw(Some(source_width(60)));
        let widest = drawn.lines().map(|line| line.chars().count()).max();
        assert_eq!(widest, Some(60), "{drawn}");
        let drawn = draw(None);
        assert!(drawn.lines().any(|line| line.len() > 100), "{drawn}");
    }
}
