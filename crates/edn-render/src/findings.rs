//! Collects findings and computes their positions for display.

use daemon_model::{
    Capped, Diagnostic, Diagnostics, DocumentPath, HasSeverity, Level, Location, Message, Place,
    Secrecy, Severity, SourceLabel, Span,
};

use crate::secrets::{doubtful_from, is_odd_key};
use crate::tree::{Node, place};

#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Capped<Pending>,
    /// Whether nothing can be rendered.
    is_broken: bool,
    /// Whether there is an error that another renderer may handle.
    has_unsupported: bool,
    /// Whether there is an error that no other renderer can handle.
    has_faults: bool,
    /// The offset from which any text may belong to an environment, if the source cannot be parsed.
    doubtful_from: Option<usize>,
    /// Scratch space for the details of an omitted finding.
    scratch: Option<Pending>,
}

/// A finding whose secrecy is not decided yet.
#[derive(Debug)]
struct Pending {
    severity: Severity,
    level: Level,
    span: Span,
    message: Message,
    help: Option<Message>,
    path: DocumentPath,
    place: Place,
    labels: Vec<(Span, &'static str)>,
    /// Whether it is about a key that is probably not meant as a key.
    is_odd: bool,
}

impl HasSeverity for Pending {
    fn severity(&self) -> Severity {
        self.severity
    }
}

/// A finding that was just added, for further details.
pub(crate) struct Added<'a>(&'a mut Pending);

impl Added<'_> {
    pub(crate) fn label(self, span: Span, message: &'static str) -> Self {
        self.0.labels.push((span, message));
        self
    }

    pub(crate) fn help(self, help: impl Into<Message>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Sets the value that it is about.
    pub(crate) fn value(self, path: DocumentPath) -> Self {
        (self.0.path, self.0.place) = (path, Place::Value);
        self
    }

    /// Sets the key that it is about.
    pub(crate) fn key(self, key: Node<'_>, path: DocumentPath) -> Self {
        (self.0.path, self.0.place) = (path, Place::Key);
        self.0.is_odd = is_odd_key(key, false);
        self
    }
}

impl Findings {
    pub(crate) fn error(&mut self, span: Span, message: impl Into<Message>) -> Added<'_> {
        self.add(Severity::Error, Level::Render, span, message)
    }

    /// Adds an error that another renderer may handle.
    pub(crate) fn unsupported(&mut self, span: Span, message: impl Into<Message>) -> Added<'_> {
        self.add(Severity::Error, Level::Unsupported, span, message)
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        level: Level,
        span: Span,
        message: impl Into<Message>,
    ) -> Added<'_> {
        if severity == Severity::Error && level != Level::Definition {
            self.is_broken = true;
            match level {
                Level::Unsupported => self.has_unsupported = true,
                _ => self.has_faults = true,
            }
        }
        let found = Pending {
            severity,
            level,
            span,
            message: message.into(),
            help: None,
            path: DocumentPath::root(),
            place: Place::Value,
            labels: Vec::new(),
            is_odd: false,
        };
        Added(match self.found.keep(found) {
            Ok(kept) => kept,
            Err(left_out) => self.scratch.insert(left_out),
        })
    }

    /// Whether a further finding would be omitted. If so, it is counted, and need not be built.
    pub(crate) fn leaves_out(&mut self, severity: Severity) -> bool {
        let is_full = self.found.is_full(severity);
        if is_full {
            self.found.omit(severity);
        }
        is_full
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether another renderer may handle all errors.
    pub(crate) fn is_unsupported(&self) -> bool {
        !self.has_faults
    }

    /// Whether another renderer may handle at least one error.
    pub(crate) fn has_unsupported(&self) -> bool {
        self.has_unsupported
    }

    /// Records that the source cannot be parsed, so that any part of it may belong to an environment.
    pub(crate) fn doubt(&mut self, source: &[u8]) {
        self.doubtful_from = Some(doubtful_from(source));
    }

    /// The offset from which any text may belong to an environment.
    pub(crate) fn doubtful_from(&self) -> Option<usize> {
        self.doubtful_from
    }

    /// The findings sorted by position, each with its line and column.
    pub(crate) fn finish(self, source: &[u8]) -> Diagnostics {
        let mut diagnostics = Diagnostics::default();
        diagnostics.omit_all(self.found.omitted());
        // Usually there are none, and no positions have to be computed.
        if !self.found.is_empty() {
            let lines = Lines::new(source);
            for found in self.found {
                let doubtful_from = if found.is_odd {
                    Some(0)
                } else {
                    self.doubtful_from
                };
                let secrecy = secrecy(&found.path, found.place, found.span.end, doubtful_from);
                let mut diagnostic = Diagnostic::of_message(
                    found.severity,
                    found.level,
                    (&found.message, found.help.as_ref()),
                    &found.path,
                    secrecy,
                );
                diagnostic.span = Some(found.span);
                diagnostic.labels = found.labels.into_iter().map(label).collect();
                lines.locate(&mut diagnostic, source);
                diagnostics.push(diagnostic);
            }
            diagnostics.sort();
        }
        diagnostics
    }
}

/// A related position, whose line and column are not computed yet.
pub(crate) fn label((span, message): (Span, &'static str)) -> SourceLabel {
    SourceLabel {
        span,
        location: None,
        message: message.to_owned(),
    }
}

/// Whether the quotations of a finding may be secret: it is about the value at `path`, and quotes nothing of the source from `end`
/// on.
pub(crate) fn secrecy(
    path: &DocumentPath,
    place: Place,
    end: usize,
    doubtful_from: Option<usize>,
) -> Secrecy {
    if doubtful_from.is_some_and(|from| end > from) {
        Secrecy::Doubtful
    } else if path.is_secret(place) {
        Secrecy::Env
    } else {
        Secrecy::Open
    }
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The offsets of line starts in a source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    starts: Vec<u32>,
}

impl Lines {
    pub(crate) fn new(source: &[u8]) -> Self {
        // A lone carriage return also ends a line, as in editors.
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

    /// The offset of the start of a line.
    fn start(&self, line: usize) -> usize {
        self.starts.get(line).map_or(0, |start| *start as usize)
    }

    /// Fills in lines and columns of a finding.
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

/// The number of characters.
fn count(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().count(),
        Err(_) => String::from_utf8_lossy(bytes).chars().count(),
    }
}

/// The line around a span: its offset, and its text without the line ending. Of a long line, at most `reach` bytes before the span,
/// of the span, and after it.
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
