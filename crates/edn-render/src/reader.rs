//! Parses text into a tree. Iterative, so that no input can overflow the stack; the tree is at most [`DEPTH`] deep.
//!
//! Findings about values (a bad number, a duplicate key) are collected and parsing continues; a structural error (a mismatched
//! bracket) ends it.

mod forms;

use std::sync::Arc;

use daemon_model::{Severity, Span, message};

use crate::findings::Findings;
use crate::leaf::{self, Fault};
use crate::same::{ValueHasher, ValueKey};
use crate::tree::{Cell, Tag, Tree, place};

/// The deepest allowed nesting.
pub(crate) const DEPTH: usize = 512;

/// The longest allowed text.
pub(crate) const MAX_LENGTH: usize = 1 << 30;

/// Parses the single form of `text`; none if there is none, or the structure is invalid.
///
/// A file that is discarded as a whole (`#_{...}`) is an empty map: unlike an empty file, that is intended.
pub(crate) fn read(text: &Arc<str>, findings: &mut Findings) -> Option<Tree> {
    if text.len() > MAX_LENGTH {
        findings.error(Span::new(0, 1), "the file is longer than a gigabyte");
        return None;
    }
    let mut reader = Reader::new(text, findings);
    reader.read_all().ok()?;
    if reader.done {
        return Some(reader.tree);
    }
    let discarded = reader.discarded;
    discarded.map(|span| Tree::empty(reader.tree.source, span))
}

/// Parses as much of `text` as possible. Its collections may be incomplete.
pub(crate) fn read_part(text: &Arc<str>, findings: &mut Findings) -> Tree {
    let mut reader = Reader::new(text, findings);
    if text.len() <= MAX_LENGTH {
        // The findings contain the error that stops it.
        let _ = reader.read_all();
    }
    reader.tree
}

/// The opening bracket of a file that starts with a list: code, not data.
pub(crate) fn code(text: &Arc<str>) -> Option<Span> {
    let mut findings = Findings::default();
    let mut reader = Reader::new(text, &mut findings);
    (reader.skip_space()? == '(').then(|| Span::new(reader.at, reader.at + 1))
}

/// The structure is invalid; a finding says why.
struct Stop;

/// An open construct that waits for further forms.
#[derive(Debug, Clone, Copy)]
enum Open {
    /// A list, vector, set or map.
    Collection(Tag),
    /// `#:name{...}`; the map itself is the next form. The name, and whether it is valid.
    Namespaced(Span, bool),
    /// `#_`
    Discard,
    /// `^`; the metadata is the next form.
    Meta,
    /// `^`; the form with that metadata is the next one.
    About,
    /// `#name`
    Tag(Span),
}

struct Frame {
    open: Open,
    start: usize,
    /// The first cell of its content; for a collection, its own cell.
    cell: usize,
}

struct Reader<'a, 'f> {
    text: &'a str,
    at: usize,
    stack: Vec<Frame>,
    tree: Tree,
    hasher: ValueHasher,
    /// Whether the single form has been parsed.
    done: bool,
    /// The last form that was discarded at top level.
    discarded: Option<Span>,
    /// Hashes of the elements of a set or the keys of a map.
    identities: Vec<ValueKey>,
    findings: &'f mut Findings,
}

/// JavaScript's whitespace, and the comma.
fn is_space(c: char) -> bool {
    matches!(
        c,
        ',' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202f}'
                | '\u{205f}'
                | '\u{3000}'
                | '\u{feff}'
    )
}

fn ends_token(c: char) -> bool {
    is_space(c)
        || matches!(
            c,
            '"' | ';' | '^' | '(' | ')' | '[' | ']' | '{' | '}' | '\\'
        )
}

pub(crate) fn ends_number(c: char) -> bool {
    ends_token(c) || matches!(c, ':' | '#')
}

/// The length of the prefix of `text` that ends at a character accepted by `ends`.
fn length_until(text: &str, ends: fn(char) -> bool) -> usize {
    let mut at = 0;
    for &byte in text.as_bytes() {
        // Most characters of a token never end it, and are skipped as bytes.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            at += 1;
        } else {
            break;
        }
    }
    let rest = &text[at..];
    at + rest.find(ends).unwrap_or(rest.len())
}

/// The offset of the first string that spans several lines.
fn string_over_lines(bytes: &[u8]) -> Option<usize> {
    let mut opened: Option<usize> = None;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, opened) {
            (b'\n', Some(_)) => return opened,
            (b'"', None) => opened = Some(at),
            (b'"', Some(_)) => opened = None,
            // The next character belongs to an escape, or to a character literal outside of strings.
            (b'\\', _) => at += 1,
            (b';', None) => {
                let rest = &bytes[at..];
                at += rest.iter().position(|byte| *byte == b'\n')?;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

impl<'a, 'f> Reader<'a, 'f> {
    fn new(text: &'a Arc<str>, findings: &'f mut Findings) -> Self {
        Self {
            text,
            at: 0,
            stack: Vec::new(),
            tree: Tree {
                source: Arc::clone(text),
                cells: Vec::with_capacity(text.len() / 16),
                texts: Vec::new(),
            },
            hasher: ValueHasher::default(),
            done: false,
            discarded: None,
            identities: Vec::new(),
            findings,
        }
    }

    /// Parses the whole text.
    fn read_all(&mut self) -> Result<(), Stop> {
        while let Some(c) = self.skip_space() {
            let start = self.at;
            // A discarded form may still follow.
            if self.done && self.stack.is_empty() && !self.text[self.at..].starts_with("#_") {
                self.findings.error(
                    Span::new(start, start + c.len_utf8()),
                    "text after the first form: everything from here on would be lost",
                );
                return Err(Stop);
            }
            match c {
                '[' => self.open(Open::Collection(Tag::Vector), 1)?,
                '(' => self.open(Open::Collection(Tag::List), 1)?,
                '{' => self.open(Open::Collection(Tag::Map), 1)?,
                '^' => self.open(Open::Meta, 1)?,
                ']' | ')' | '}' => self.close(c)?,
                '#' => self.dispatch()?,
                '"' => self.string()?,
                '\\' => self.character()?,
                _ => self.token(),
            }
        }
        let Some(frame) = self.stack.last() else {
            return Ok(());
        };
        // What is missing is reported after the last text, not after trailing blank lines.
        let end = self.text.trim_end_matches(is_space).len();
        let (what, label) = match frame.open {
            Open::Collection(Tag::Vector) => ("`[` is never closed", "opened here"),
            Open::Collection(Tag::List) => ("`(` is never closed", "opened here"),
            Open::Collection(Tag::Set) => ("`#{` is never closed", "opened here"),
            Open::Collection(_) => ("`{` is never closed", "opened here"),
            _ => ("the file ends where a value should follow", "after this"),
        };
        let start = frame.start;
        self.findings
            .error(
                Span::new(end, end),
                message!("unexpected end of file: {}", what),
            )
            .label(Span::new(start, start + 1), label);
        Err(Stop)
    }

    /// Skips whitespace and comments; returns the next character.
    fn skip_space(&mut self) -> Option<char> {
        let bytes = self.text.as_bytes();
        loop {
            while matches!(
                bytes.get(self.at),
                Some(b' ' | b'\n' | b',' | b'\t' | b'\r')
            ) {
                self.at += 1;
            }
            let rest = &self.text[self.at..];
            let c = rest.chars().next()?;
            if is_space(c) {
                self.at += c.len_utf8();
            } else if c == ';' || rest.starts_with("#!") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else {
                return Some(c);
            }
        }
    }

    fn open(&mut self, open: Open, length: usize) -> Result<(), Stop> {
        let start = self.at;
        if self.stack.len() >= DEPTH {
            self.findings.error(
                Span::new(start, start + length),
                message!("nested deeper than {} levels", DEPTH),
            );
            return Err(Stop);
        }
        self.at += length;
        let cell = self.tree.cells.len();
        if let Open::Collection(tag) = open {
            self.tree
                .cells
                .push(Cell::new(tag, Span::new(start, self.at)));
        }
        self.stack.push(Frame { open, start, cell });
        Ok(())
    }

    fn close(&mut self, close: char) -> Result<(), Stop> {
        let span = Span::new(self.at, self.at + 1);
        let Some(frame) = self.stack.pop() else {
            self.findings
                .error(span, message!("`{}` closes nothing", close));
            return Err(Stop);
        };
        let wanted = match frame.open {
            Open::Collection(Tag::Vector) => ']',
            Open::Collection(Tag::List) => ')',
            Open::Collection(_) => '}',
            _ => {
                let what = match frame.open {
                    Open::Discard => "there is nothing here for `#_` to discard",
                    Open::Meta | Open::About => "there is nothing here for `^` to apply to",
                    _ => "there is nothing here for the tag to apply to",
                };
                let finding = self.findings.error(span, what);
                finding.label(Span::new(frame.start, frame.start + 1), "after this");
                return Err(Stop);
            }
        };
        if close != wanted {
            let finding = self.findings.error(
                span,
                message!("`{}` does not close this: expected `{}`", close, wanted),
            );
            finding.label(Span::new(frame.start, frame.start + 1), "opened here");
            return Err(Stop);
        }
        self.at += 1;
        let after = place(self.tree.cells.len());
        let cell = &mut self.tree.cells[frame.cell];
        cell.end = place(self.at);
        cell.data = after;
        match cell.tag {
            Tag::Set => self.check_set(frame.cell),
            Tag::Map => self.check_map(frame.cell),
            _ => {}
        }
        self.deliver(frame.cell);
        Ok(())
    }

    /// Takes the token that starts `skip` bytes further on.
    fn take_token(&mut self, skip: usize) -> &'a str {
        let text = self.text;
        let from = self.at + skip;
        let rest = &text[from..];
        let length = length_until(rest, ends_token);
        self.at = from + length;
        &text[from..self.at]
    }

    fn string(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        loop {
            match bytes.get(end) {
                None => {
                    let at = Span::new(bytes.len(), bytes.len());
                    let found = self
                        .findings
                        .error(at, "unexpected end of file: the string is never closed")
                        .label(Span::new(start, start + 1), "opened here");
                    // If a quote is missing, every later string starts where it should end.
                    if let Some(first) = string_over_lines(&bytes[..start]) {
                        let message = "or is the quote missing that ends this one on its line?";
                        found.label(Span::new(first, first + 1), message);
                    }
                    return Err(Stop);
                }
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        let read = leaf::string(&self.text[start + 1..end]).map(|_| Tag::Text);
        self.leaf(read, start, start + 1);
        Ok(())
    }

    fn character(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let rest = &self.text[start + 1..];
        let Some(first) = rest.chars().next() else {
            self.findings.error(
                Span::new(start, start + 1),
                "unexpected end of file after `\\`",
            );
            return Err(Stop);
        };
        let after = &rest[first.len_utf8()..];
        // A delimiter is a token by itself.
        let alone = ends_token(first) || matches!(first, '@' | '~' | '`');
        let rest_of_it = if alone {
            0
        } else {
            length_until(after, ends_token)
        };
        let length = first.len_utf8() + rest_of_it;
        self.at = start + 1 + length;
        let read = leaf::character(&rest[..length]).map(|_| Tag::Text);
        self.leaf(read, start, start + 1);
        Ok(())
    }

    fn token(&mut self) {
        let start = self.at;
        let rest = &self.text[start..];
        let is_number = leaf::starts_number(rest);
        let ends = if is_number { ends_number } else { ends_token };
        // The colon of a keyword does not end it.
        let colon = usize::from(rest.starts_with(':'));
        let length = colon + length_until(&rest[colon..], ends);
        // Every character that ends a token has been handled before.
        let length = length.max(rest.chars().next().map_or(1, char::len_utf8));
        self.at = start + length;
        let token = &rest[..length];
        let (read, from) = if is_number {
            (leaf::number(token).map(|_| Tag::Number), start)
        } else if let Some(name) = token.strip_prefix(':') {
            (leaf::keyword(name), start + 1)
        } else {
            (leaf::symbol(token), start)
        };
        self.leaf(read, start, from);
    }

    /// Delivers a leaf, or reports its problem. Positions inside of it count from `from`.
    fn leaf(&mut self, read: Result<Tag, Fault>, start: usize, from: usize) {
        let span = Span::new(start, self.at);
        let tag = match read {
            Ok(tag) => tag,
            Err((message, part)) => {
                let place = part.map_or(span, |(a, b)| Span::new(from + a, from + b));
                let token = &self.text[start..self.at];
                if !self.findings.leaves_out(Severity::Error) {
                    let found = self.findings.error(place, message);
                    if let Some(help) = leaf::advice(token) {
                        found.help(help);
                    }
                }
                if token == ":" && self.text[..start].ends_with('"') {
                    // As in JSON. The forms on both sides still belong together.
                    return;
                }
                Tag::Broken
            }
        };
        self.deliver_leaf(tag, span);
    }
}
