//! Findings as they are collected, and their places for people.

use daemon_model::{Diagnostic, Level, Location, Severity, SourceLabel, Span};

use crate::tree::place;

/// How many errors, and how many warnings, about one file are told. Who has more begins with the first.
pub const MAX_FINDINGS: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Diagnostic>,
    /// How many of the list are warnings.
    warnings: usize,
    left_out: usize,
    warnings_left_out: usize,
    /// Takes what is said of a finding that is left out.
    spare: Option<Diagnostic>,
}

/// A finding that was just added, for what else there is to say of it.
pub(crate) struct Added<'a>(&'a mut Diagnostic);

impl Added<'_> {
    pub(crate) fn label(self, span: Span, message: &str) -> Self {
        self.0.labels.push(SourceLabel {
            span,
            location: None,
            message: message.to_owned(),
        });
        self
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    pub(crate) fn path(self, path: impl Into<String>) -> Self {
        self.0.path = path.into();
        self
    }
}

impl Findings {
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) -> Added<'_> {
        self.add(Severity::Error, Level::Render, span, message)
    }

    /// Something that another renderer may be able to do.
    pub(crate) fn unsupported(&mut self, span: Span, message: impl Into<String>) -> Added<'_> {
        self.add(Severity::Error, Level::Unsupported, span, message)
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        level: Level,
        span: Span,
        message: impl Into<String>,
    ) -> Added<'_> {
        let mut diagnostic = Diagnostic::new(severity, level, message);
        diagnostic.span = Some(span);
        let is_warning = severity == Severity::Warning;
        let is_left_out = if is_warning {
            self.is_full_of_warnings()
        } else {
            self.left_out += usize::from(self.is_full());
            self.is_full()
        };
        if is_left_out {
            return Added(self.spare.insert(diagnostic));
        }
        self.warnings += usize::from(is_warning);
        let at = self.list.len();
        self.list.push(diagnostic);
        Added(&mut self.list[at])
    }

    /// Whether a further finding would not be told, so that nothing needs to be looked up for it.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() - self.warnings >= MAX_FINDINGS && self.is_broken()
    }

    /// Whether a further warning would not be told; it is counted here.
    pub(crate) fn is_full_of_warnings(&mut self) -> bool {
        let (is_full, has_all) = (self.is_full(), self.has_all_warnings());
        self.left_out += usize::from(is_full);
        self.warnings_left_out += usize::from(has_all && !is_full);
        is_full || has_all
    }

    fn has_all_warnings(&self) -> bool {
        self.warnings >= MAX_FINDINGS
    }

    /// Counts an error that is not told.
    pub(crate) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.list
            .iter()
            .any(|found| found.is_error() && found.level != Level::Definition)
    }

    /// Whether nothing is wrong but what another renderer may be able to do.
    pub(crate) fn is_unsupported(&self) -> bool {
        self.list
            .iter()
            .all(|found| !found.is_error() || found.level != Level::Render)
    }

    /// Whether another renderer may be able to do something of what is wrong.
    pub(crate) fn has_unsupported(&self) -> bool {
        let mut levels = self.list.iter().map(|found| found.level);
        levels.any(|level| level == Level::Unsupported)
    }

    /// The findings sorted by place, each with its line and column.
    pub(crate) fn finish(mut self, source: &[u8]) -> Vec<Diagnostic> {
        if self.list.is_empty() && self.left_out == 0 {
            // Nearly always: no place has to be looked up.
            return self.list;
        }
        let lines = Lines::new(source);
        for found in &mut self.list {
            lines.locate(found, source);
        }
        self.list
            .sort_by_key(|found| found.span.map_or((0, 0), |span| (span.start, span.end)));
        let count = self.left_out + self.warnings_left_out;
        if count > 0 {
            let (severity, level) = match self.left_out {
                0 => (Severity::Warning, Level::Definition),
                _ => (Severity::Error, Level::Render),
            };
            let message = format!("{count} more findings are not shown");
            self.list.push(Diagnostic::new(severity, level, message));
        }
        self.list
    }
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Where the lines of a source begin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    starts: Vec<u32>,
}

impl Lines {
    pub(crate) fn new(source: &[u8]) -> Self {
        // A carriage return alone ends a line too, as in editors.
        let breaks = source
            .iter()
            .enumerate()
            .filter(|(at, byte)| match byte {
                b'\n' => true,
                b'\r' => source.get(at + 1) != Some(&b'\n'),
                _ => false,
            })
            .map(|(at, _)| place(at + 1));
        Self {
            starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// The line of a byte, from 0.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start as usize <= offset)
            .saturating_sub(1)
    }

    /// First byte of a line.
    fn start(&self, line: usize) -> usize {
        self.starts.get(line).map_or(0, |start| *start as usize)
    }

    /// Puts the places of a finding in the words of people.
    pub(crate) fn locate(&self, found: &mut Diagnostic, source: &[u8]) {
        found.location = found.span.map(|span| self.location(source, span.start));
        found.end_location = found.span.map(|span| self.location(source, span.end));
        for label in &mut found.labels {
            label.location = Some(self.location(source, label.span.start));
        }
    }

    pub(crate) fn location(&self, source: &[u8], offset: usize) -> Location {
        let line = self.line_of(offset.min(source.len()));
        let before = source
            .get(self.start(line)..offset.min(source.len()))
            .unwrap_or(b"");
        let before = before.strip_prefix(BYTE_ORDER_MARK).unwrap_or(before);
        Location {
            line: line + 1,
            column: count(before) + 1,
        }
    }
}

/// How many characters there are.
fn count(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().count(),
        Err(_) => String::from_utf8_lossy(bytes).chars().count(),
    }
}

/// The line around a span: where it begins, and the line without its end; of a long line no more than `reach` bytes
/// before the span, of the span and after it.
pub(crate) fn line_around(source: &[u8], span: Span, reach: usize) -> (usize, &[u8]) {
    let is_break = |at: &usize| match source.get(*at) {
        Some(b'\n') => true,
        Some(b'\r') => source.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    let at = span.start.min(source.len());
    let from = at.saturating_sub(reach);
    let to = span.end.min(at.saturating_add(reach)).max(at);
    let to = to.saturating_add(reach).min(source.len());
    let start = (from..at).rev().find(is_break).map_or(from, |at| at + 1);
    let end = (at..to).find(is_break).unwrap_or(to);
    let text = source.get(start..end).unwrap_or(b"");
    (start, text.strip_suffix(b"\r").unwrap_or(text))
}
