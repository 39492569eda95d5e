//! Decides which parts of a source may be shown outside of terminals, such as in logs and CI, where secrets must not appear.
//!
//! This is an allow list: what was parsed outside of every environment. Of a source that cannot be parsed, only what precedes the
//! first letters that could name an environment.

use std::sync::Arc;

use daemon_model::{Span, is_env_like, is_known_key, is_variable_name};

use crate::findings::Findings;
use crate::reader;
use crate::tree::{Node, Tag, Tree};

/// The offset from which any part of a source that cannot be parsed may belong to an environment. A value follows its key, and the
/// key contains the letters `env`, unless an escape replaces one of them.
pub(crate) fn doubtful_from(source: &[u8]) -> usize {
    if std::str::from_utf8(source).is_err() {
        // The letters may be encoded in several bytes.
        return 0;
    }
    let env = source
        .windows(3)
        .position(|letters| letters.eq_ignore_ascii_case(b"env"));
    let escape = source.iter().position(|byte| *byte == b'\\');
    let end = source.len();
    env.unwrap_or(end).min(escape.unwrap_or(end))
}

/// Whether a key is probably not meant as a key: values end up between keys if a quote is missing, or if an environment is not a
/// map. Keys are keywords, separated from their neighbours; variables may also have quoted names.
pub(crate) fn is_odd_key(key: Node<'_>, is_variable: bool) -> bool {
    let text = key.key_text().unwrap_or_default();
    let is_name = match key.tag() {
        Tag::Keyword => true,
        Tag::Text => is_variable && is_variable_name(&text),
        _ => false,
    };
    !is_known_key(&text) && (!is_name || touches_quotes(key))
}

/// Whether a value is directly before or after a string.
pub(crate) fn touches_quotes(node: Node<'_>) -> bool {
    let (span, source) = (node.span(), node.tree.source.as_bytes());
    let before = span.start.checked_sub(1).and_then(|at| source.get(at));
    before == Some(&b'"') || source.get(span.end) == Some(&b'"')
}

/// Whether the environment in a map is not a map itself, so that the following text may belong to it.
pub(crate) fn has_odd_env(map: Node<'_>) -> bool {
    map.entries().into_iter().flatten().any(|(key, value)| {
        let is_env = key.key_text().is_some_and(|key| is_env_like(&key));
        is_env && !matches!(value.tag(), Tag::Map | Tag::Nil)
    })
}

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    All,
    /// Only the quotes of a string, unless a message is about exactly this value, because the message quotes it anyway.
    Quoted,
    Nothing,
}

#[derive(Debug)]
struct Leaf {
    span: Span,
    shown: Shown,
}

/// A source with the decision of what may be shown.
#[derive(Debug)]
pub(crate) struct Redacted {
    /// The values that are not collections, in source order.
    leaves: Vec<Leaf>,
    /// The offset from which nothing is shown at all.
    doubtful_from: Option<usize>,
}

impl Redacted {
    pub(crate) fn new(source: &[u8]) -> Self {
        let mut findings = Findings::default();
        let text: Option<Arc<str>> = std::str::from_utf8(source).ok().map(Into::into);
        let tree = text
            .as_ref()
            .map(|text| reader::read_part(text, &mut findings));
        let is_readable = tree.is_some() && !findings.is_broken();
        let mut redacted = Self {
            leaves: Vec::new(),
            doubtful_from: (!is_readable).then(|| doubtful_from(source)),
        };
        match &tree {
            Some(tree) if is_readable && !tree.cells.is_empty() => {
                redacted.definition(tree.root());
            }
            Some(tree) => redacted.part(tree),
            None => {}
        }
        redacted
    }

    /// Whether nothing of the source is shown from this byte on.
    pub(crate) fn is_doubtful(&self, at: usize) -> bool {
        self.doubtful_from.is_some_and(|from| at >= from)
    }

    /// A source that cannot be parsed, as far as it could be.
    fn part(&mut self, tree: &Tree) {
        for at in 0..tree.cells.len() {
            self.leaf(tree.node(at), true);
        }
    }

    fn definition(&mut self, root: Node<'_>) {
        let Some(entries) = root.entries() else {
            return self.hidden(root);
        };
        for (key, value) in entries {
            self.name(key);
            match value.items().filter(|_| key.is_keyword("apps")) {
                Some(apps) => apps.for_each(|app| self.app(app)),
                None if key.key_text().is_some_and(|key| is_env_like(&key)) => self.env(value),
                None => self.hidden(value),
            }
        }
    }

    /// An app: values of known attributes are shown, except for variables.
    fn app(&mut self, app: Node<'_>) {
        let Some(entries) = app.entries() else {
            return self.hidden(app);
        };
        let is_odd = has_odd_env(app);
        for (key, value) in entries {
            let text = key.key_text().unwrap_or_default();
            let is_known = is_known_key(&text);
            match is_odd && !is_known {
                true => self.secret(key),
                false => self.name(key),
            }
            match is_env_like(&text) {
                true => self.env(value),
                false if text == "env_file" => self.paths(value),
                false if is_known => self.open(value),
                false => self.hidden(value),
            }
        }
    }

    /// A value that is shown completely, except for the content of strings.
    fn open(&mut self, value: Node<'_>) {
        self.leaf(value, true);
        value.values().for_each(|value| self.open(value));
    }

    /// Paths of env files, unless they could be the content of one.
    fn paths(&mut self, value: Node<'_>) {
        if let Some(entries) = value.entries() {
            return entries.for_each(|(key, value)| {
                self.name(key);
                match key.key_text().as_deref() {
                    Some("path") => self.paths(value),
                    _ => self.secret(value),
                }
            });
        }
        let span = value.span();
        let text = value.tree.source.as_bytes().get(span.start..span.end);
        let is_content = |byte: &u8| matches!(byte, b'=' | b'\n' | b'\\');
        match value.tag() {
            Tag::List | Tag::Vector => value.values().for_each(|value| self.paths(value)),
            Tag::Text => self.leaf(value, !text.unwrap_or(b"").iter().any(is_content)),
            _ => self.secret(value),
        }
    }

    /// A value of which only the names in its maps are shown.
    fn hidden(&mut self, value: Node<'_>) {
        match value.entries() {
            Some(entries) => entries.for_each(|(key, value)| {
                self.name(key);
                match key.key_text() {
                    Some(key) if is_env_like(&key) => self.env(value),
                    _ => self.hidden(value),
                }
            }),
            None => {
                self.leaf(value, false);
                value.values().for_each(|value| self.hidden(value));
            }
        }
    }

    /// An environment, of which only the names of variables are shown.
    fn env(&mut self, value: Node<'_>) {
        match value.entries() {
            Some(entries) => entries.for_each(|(key, value)| {
                self.name(key);
                self.secret(value);
            }),
            None => self.secret(value),
        }
    }

    fn secret(&mut self, value: Node<'_>) {
        self.leaf(value, false);
        value.values().for_each(|value| self.secret(value));
    }

    /// A key of a map.
    fn name(&mut self, key: Node<'_>) {
        let is_name = key.key_text().is_some_and(|text| is_variable_name(&text));
        match is_name && !is_odd_key(key, false) {
            true => self.leaf(key, true),
            false => self.secret(key),
        }
    }

    fn leaf(&mut self, value: Node<'_>, is_public: bool) {
        let shown = match value.tag() {
            tag if tag.is_collection() => return,
            _ if !is_public => Shown::Nothing,
            Tag::Text | Tag::Instant | Tag::Broken => Shown::Quoted,
            Tag::Uuid | Tag::Js => Shown::Nothing,
            _ => Shown::All,
        };
        let span = value.span();
        self.leaves.push(Leaf { span, shown });
    }

    /// The line that starts at `start`, with a `*` for each hidden byte, so that columns are preserved. `about` is the span of the
    /// message.
    pub(crate) fn line(&self, source: &[u8], start: usize, line: &[u8], about: Span) -> Vec<u8> {
        let mut out = Masked {
            hidden: vec![b'*'; line.len()],
            line,
            start,
            end: (start + line.len()).min(self.doubtful_from.unwrap_or(usize::MAX)),
        };
        let first = self.leaves.partition_point(|leaf| leaf.span.end <= start);
        let before = first.checked_sub(1).and_then(|at| self.leaves.get(at));
        let mut gap = before.map_or(0, |leaf| leaf.span.end);
        for leaf in self.leaves.iter().skip(first) {
            if gap >= out.end {
                break;
            }
            out.show_gap(source, gap, leaf.span.start);
            let Span { start, end } = leaf.span;
            match leaf.shown {
                Shown::All => out.show(start, end),
                Shown::Quoted if leaf.span == about => out.show(start, end),
                Shown::Quoted if source.get(start) == Some(&b'"') => {
                    out.show(start, start + 1);
                    out.show(end - 1, end);
                }
                Shown::Quoted | Shown::Nothing => {}
            }
            gap = end;
        }
        out.show_gap(source, gap, source.len());
        out.hidden
    }
}

/// A line that is only partly shown.
struct Masked<'l> {
    hidden: Vec<u8>,
    line: &'l [u8],
    /// The offset of the line in the source, and where the part that may be shown ends.
    start: usize,
    end: usize,
}

impl Masked<'_> {
    fn show(&mut self, from: usize, to: usize) {
        let from = from.max(self.start) - self.start;
        let to = to.min(self.end).saturating_sub(self.start);
        if let (Some(hidden), Some(line)) = (self.hidden.get_mut(from..to), self.line.get(from..to))
        {
            hidden.copy_from_slice(line);
        }
    }

    /// Shows brackets and whitespace between two values; comments are hidden. Anything else is hidden as a whole: a tag, metadata,
    /// a discarded form.
    fn show_gap(&mut self, source: &[u8], from: usize, to: usize) {
        let gap = source.get(from..to).unwrap_or(b"");
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        let mut at = 0;
        while let Some(byte) = gap.get(at) {
            let is_set = *byte == b'#' && gap.get(at + 1) == Some(&b'{');
            if is_space(byte) || b"[](){}".contains(byte) || is_set {
                self.show(from + at, from + at + 1);
                at += 1;
            } else if *byte == b';' {
                let comment = gap[at..].iter().take_while(|byte| **byte != b'\n');
                at += comment.count();
            } else {
                break;
            }
        }
        let rest = gap.get(at..).unwrap_or(b"");
        let blank = rest.iter().rev().take_while(|byte| is_space(byte));
        self.show(to - blank.count(), to);
    }
}
