//! Findings about a definition, with positions in its text.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

use crate::{DocumentPath, Message};

/// A range of bytes in a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The span from `start` to `end`, exclusive.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self::new(range.start, range.end)
    }
}

/// A position for display: both numbers count from 1; the column counts characters, without a byte order mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The definition cannot be used.
    Error,
    /// The definition can be used, but probably does not mean what its author thinks.
    Warning,
}

/// What a finding prevents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Syntax, structure or silent data loss: nothing can be rendered. A warning at this level comes from the renderer.
    Render,
    /// pm2-sync cannot render it; another renderer may.
    Unsupported,
    /// It renders, but must not be passed to PM2.
    Definition,
}

/// A related position ("opened here").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The position.
    pub span: Span,
    /// The start of the span, for display.
    pub location: Option<Location>,
    /// The meaning of this position.
    pub message: String,
}

/// One finding about a definition. Its texts contain no values of environment variables; those of [`Self::in_full`] may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// What it prevents.
    pub level: Level,
    /// The value it is about, for example `apps[1].instances`; empty for the whole file.
    pub path: String,
    /// The problem, as a lowercase fragment.
    pub message: String,
    /// The position, if it has one.
    pub span: Option<Span>,
    /// The start of the span, for display; set together with `span`.
    pub location: Option<Location>,
    /// One past the end of the span, for display; set together with `span`.
    pub end_location: Option<Location>,
    /// Related positions.
    pub labels: Vec<Label>,
    /// How to fix it.
    pub help: Option<String>,
    /// The texts with all quotations, if these may be secrets.
    #[serde(skip)]
    unredacted: Option<Box<Unredacted>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Unredacted {
    path: String,
    message: String,
    help: Option<String>,
}

/// Whether the quotations in a finding may be secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secrecy {
    /// They are not secret.
    Open,
    /// They come from an environment.
    Env,
    /// They may come from an environment, because the text cannot be parsed; or they do not come from a definition.
    Doubtful,
}

impl Diagnostic {
    /// A finding without a position.
    #[must_use]
    pub fn new(severity: Severity, level: Level, message: impl Into<String>) -> Self {
        Self {
            severity,
            level,
            path: String::new(),
            message: message.into(),
            span: None,
            location: None,
            end_location: None,
            labels: Vec::new(),
            help: None,
            unredacted: None,
        }
    }

    /// A finding with the texts of `message` and `help` about the value at `path`, without a position.
    #[must_use]
    pub fn of_message(
        severity: Severity,
        level: Level,
        (message, help): (&Message, Option<&Message>),
        path: &DocumentPath,
        secrecy: Secrecy,
    ) -> Self {
        let is_redacted = secrecy != Secrecy::Open;
        let text = |message: &Message, redacted: bool| match redacted {
            true => message.redacted().to_owned(),
            false => message.full().to_owned(),
        };
        let mut diagnostic = Self::new(severity, level, text(message, is_redacted));
        diagnostic.help = help.map(|help| text(help, is_redacted));
        diagnostic.path = path.redacted(secrecy == Secrecy::Doubtful);
        let unredacted = Unredacted {
            path: path.to_string(),
            message: text(message, false),
            help: help.map(|help| text(help, false)),
        };
        let is_same = unredacted.path == diagnostic.path
            && unredacted.message == diagnostic.message
            && unredacted.help == diagnostic.help;
        diagnostic.unredacted = (!is_same).then(|| Box::new(unredacted));
        diagnostic
    }

    /// Whether quotations are hidden in its texts.
    #[must_use]
    pub fn is_redacted(&self) -> bool {
        self.unredacted.is_some()
    }

    /// The same finding with all quotations, for users who asked to see values.
    #[must_use]
    pub fn in_full(&self) -> Cow<'_, Self> {
        match self.unredacted.as_deref() {
            None => Cow::Borrowed(self),
            Some(full) => Cow::Owned(Self {
                path: full.path.clone(),
                message: full.message.clone(),
                help: full.help.clone(),
                unredacted: None,
                ..self.clone()
            }),
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same finding about the value at `path`.
    #[must_use]
    pub fn at_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Whether it makes the definition unusable.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
