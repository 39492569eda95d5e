//! Findings about a definition, tied to places in its text.

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
    /// The span from `start` up to, not including, `end`.
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

/// A place for people: both numbers count from 1; the column counts characters, a byte order mark not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The definition cannot be used.
    Error,
    /// It can, but probably does not mean what its author thinks.
    Warning,
}

/// What a finding stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Syntax, structure, silent data loss: nothing can be rendered. A warning of this level is the renderer's own.
    Render,
    /// Nothing can be rendered by pm2-sync itself; another renderer may be able to.
    Unsupported,
    /// It renders, but PM2 must not be given it.
    Definition,
}

/// A second place that belongs to a finding ("opened here").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// The span's start for people.
    pub location: Option<Location>,
    /// What is there.
    pub message: String,
}

/// One finding about a definition. Its texts show no value of an environment variable; [`Self::in_full`] may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it stops.
    pub level: Level,
    /// The value it is about, for example `apps[1].instances`; empty for the whole file.
    pub path: String,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// Where, if it is about a place.
    pub span: Option<Span>,
    /// The span's start for people; set together with `span`.
    pub location: Option<Location>,
    /// One past the span's end for people; set together with `span`.
    pub end_location: Option<Location>,
    /// Further places.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// The texts with all that they quote, where that may be a secret.
    #[serde(skip)]
    unredacted: Option<Box<Unredacted>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Unredacted {
    path: String,
    message: String,
    help: Option<String>,
}

/// Why the quotations in a finding may be secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secrecy {
    /// They are not.
    Open,
    /// They are from an environment.
    Env,
    /// The text cannot be read, so that they may be from an environment, or they are not from a definition.
    Doubtful,
}

impl Diagnostic {
    /// A finding with no place yet.
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

    /// A finding in the words of `message` and `help` about the value at `path`, with no place yet.
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

    /// Whether something that its texts would quote is hidden.
    #[must_use]
    pub fn is_redacted(&self) -> bool {
        self.unredacted.is_some()
    }

    /// The same finding with all that its texts quote: for who asked to see values.
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

    /// Whether it makes the definition unusable for PM2.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
