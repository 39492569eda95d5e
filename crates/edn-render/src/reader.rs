//! From text to a tree. Iterative, so that no input can overflow the stack; the tree is at most [`DEPTH`] deep.
//!
//! Findings about values (a bad number, a key twice) are collected and reading goes on; a fault of structure
//! (a bracket that does not fit) ends it.

use std::collections::HashMap;

use daemon_model::Span;

use crate::findings::Findings;
use crate::instant::instant;
use crate::leaf::{self, Fault};
use crate::tree::{Kind, Name, Node};

/// How deep values may lie in each other.
pub(crate) const DEPTH: usize = 512;

/// Reads the one form of `text`; none when it has none, or its structure is at fault.
///
/// A file whose author discarded all of it (`#_{...}`) is an empty map: unlike an empty file, that is no accident.
pub(crate) fn read(text: &str, findings: &mut Findings) -> Option<Node> {
    Reader {
        text,
        at: 0,
        stack: Vec::new(),
        form: None,
        discarded: None,
        findings,
    }
    .run()
    .ok()
    .flatten()
}

/// The opening bracket of a file that begins with a list: code, not data.
pub(crate) fn code(text: &str) -> Option<Span> {
    let mut findings = Findings::default();
    let mut reader = Reader {
        text,
        at: 0,
        stack: Vec::new(),
        form: None,
        discarded: None,
        findings: &mut findings,
    };
    (reader.skip_space()? == '(').then(|| Span::new(reader.at, reader.at + 1))
}

/// The structure is at fault; a finding says how.
struct Stop;

/// What waits for the forms that come.
enum Open {
    Vector,
    List,
    Set,
    Map,
    /// `#:name{...}`; the map itself is the next form.
    Namespaced(Option<String>),
    /// `#_`
    Discard,
    /// `^`; the metadata, and then what it is about.
    Meta,
    /// `#name`
    Tag(Name),
}

struct Frame {
    open: Open,
    start: usize,
    items: Vec<Node>,
}

struct Reader<'a, 'f> {
    text: &'a str,
    at: usize,
    stack: Vec<Frame>,
    form: Option<Node>,
    /// The last form that was discarded outside of everything.
    discarded: Option<Span>,
    findings: &'f mut Findings,
}

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

impl<'a> Reader<'a, '_> {
    fn run(mut self) -> Result<Option<Node>, Stop> {
        while let Some(c) = self.skip_space() {
            let start = self.at;
            if self.form.is_some() && self.stack.is_empty() {
                // A discarded form may still follow.
                if !self.text[self.at..].starts_with("#_") {
                    self.findings.error(
                        Span::new(start, start + c.len_utf8()),
                        "text after the first form: everything from here on would be lost",
                    );
                    return Err(Stop);
                }
            }
            match c {
                '[' => self.open(Open::Vector, 1)?,
                '(' => self.open(Open::List, 1)?,
                '{' => self.open(Open::Map, 1)?,
                '^' => self.open(Open::Meta, 1)?,
                ']' | ')' | '}' => self.close(c)?,
                '#' => self.dispatch()?,
                '"' => self.string()?,
                '\\' => self.character()?,
                _ => self.token()?,
            }
        }
        let Some(frame) = self.stack.last() else {
            let discarded = self.discarded;
            return Ok(self
                .form
                .or_else(|| discarded.map(|span| Node::new(Kind::Map(Vec::new()), span))));
        };
        // What is missing is missing after the last text, not after the blank lines behind it.
        let end = self.text.trim_end_matches(is_space).len();
        let (what, opened) = match frame.open {
            Open::Vector => ("`[` is never closed", true),
            Open::List => ("`(` is never closed", true),
            Open::Map => ("`{` is never closed", true),
            Open::Set => ("`#{` is never closed", true),
            _ => ("the file ends where a value should follow", false),
        };
        let start = frame.start;
        let at = Span::new(end, end);
        let finding = self
            .findings
            .error(at, format!("unexpected end of file: {what}"));
        finding.label(
            Span::new(start, start + 1),
            if opened { "opened here" } else { "after this" },
        );
        Err(Stop)
    }

    /// Skips white space and comments; the next character.
    fn skip_space(&mut self) -> Option<char> {
        loop {
            let rest = &self.text[self.at..];
            let c = rest.chars().next()?;
            if is_space(c) {
                self.at += c.len_utf8();
            } else if c == ';' || rest.starts_with("#!") {
                self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
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
                format!("nested deeper than {DEPTH} levels"),
            );
            return Err(Stop);
        }
        self.at += length;
        self.stack.push(Frame {
            open,
            start,
            items: Vec::new(),
        });
        Ok(())
    }

    fn close(&mut self, close: char) -> Result<(), Stop> {
        let span = Span::new(self.at, self.at + 1);
        let Some(frame) = self.stack.pop() else {
            self.findings
                .error(span, format!("`{close}` closes nothing"));
            return Err(Stop);
        };
        let wanted = match frame.open {
            Open::Vector => ']',
            Open::List => ')',
            Open::Map | Open::Set => '}',
            _ => {
                let what = match frame.open {
                    Open::Discard => "there is nothing here for `#_` to discard",
                    Open::Meta => "there is nothing here for `^` to be about",
                    _ => "there is nothing here for the tag to be about",
                };
                let finding = self.findings.error(span, what);
                finding.label(Span::new(frame.start, frame.start + 1), "after this");
                return Err(Stop);
            }
        };
        if close != wanted {
            let finding = self.findings.error(
                span,
                format!("`{close}` does not close this: expected `{wanted}`"),
            );
            finding.label(Span::new(frame.start, frame.start + 1), "opened here");
            return Err(Stop);
        }
        self.at += 1;
        let span = Span::new(frame.start, self.at);
        let kind = match frame.open {
            Open::Vector => Kind::Vector(frame.items),
            Open::List => Kind::List(frame.items),
            Open::Set => self.set(frame.items),
            _ => self.map(frame.items, span),
        };
        self.deliver(Node::new(kind, span));
        Ok(())
    }

    fn set(&mut self, items: Vec<Node>) -> Kind {
        let mut seen: HashMap<String, Span> = HashMap::new();
        for item in &items {
            // What could not be read is equal to nothing.
            if item.kind != Kind::Broken
                && let Some(first) = seen.insert(item.identity(), item.span)
            {
                self.findings
                    .error(item.span, "the set has this element twice")
                    .label(first, "first here");
            }
        }
        Kind::Set(items)
    }

    fn map(&mut self, items: Vec<Node>, span: Span) -> Kind {
        let odd = items.len() % 2 == 1;
        let mut entries = Vec::with_capacity(items.len() / 2);
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            let Some(value) = items.next() else {
                self.findings
                    .error(key.span, "the map has a key without a value")
                    .label(Span::new(span.start, span.start + 1), "opened here");
                break;
            };
            if key.kind == Kind::Broken {
                continue;
            }
            // In a map of an odd count nobody can say which are the keys.
            if !odd && let Some(first) = seen.insert(key.identity(), key.span) {
                let shown = &self.text[key.span.start..key.span.end];
                let finding = self.findings.error(
                    key.span,
                    format!("the key `{}` is there twice", crop(shown)),
                );
                finding.label(first, "first defined here");
                continue;
            }
            entries.push((key, value));
        }
        Kind::Map(entries)
    }

    /// Hands a finished form to whoever waits for it.
    fn deliver(&mut self, node: Node) {
        let mut node = node;
        loop {
            let Some(frame) = self.stack.last_mut() else {
                self.form = Some(node);
                return;
            };
            match &frame.open {
                Open::Meta if frame.items.is_empty() => {
                    let fits = matches!(
                        node.kind,
                        Kind::Keyword(_)
                            | Kind::Symbol(_)
                            | Kind::Text(_)
                            | Kind::Vector(_)
                            | Kind::Map(_)
                            | Kind::Broken
                    );
                    if !fits {
                        self.findings.error(
                            node.span,
                            "metadata must be a keyword, a symbol, a string, a vector or a map",
                        );
                    }
                    frame.items.push(node);
                    return;
                }
                Open::Vector | Open::List | Open::Set | Open::Map => {
                    frame.items.push(node);
                    return;
                }
                _ => {}
            }
            let Some(frame) = self.stack.pop() else {
                return;
            };
            let span = Span::new(frame.start, node.span.end);
            match frame.open {
                Open::Discard => {
                    if self.stack.is_empty() {
                        self.discarded = Some(span);
                    }
                    return;
                }
                Open::Meta => {
                    let takes_it = matches!(
                        node.kind,
                        Kind::Symbol(_)
                            | Kind::List(_)
                            | Kind::Vector(_)
                            | Kind::Set(_)
                            | Kind::Map(_)
                            | Kind::Broken
                    );
                    if !takes_it {
                        self.findings.error(
                            node.span,
                            "metadata can only be about a collection or a symbol",
                        );
                    }
                    node.span = span;
                }
                Open::Tag(name) => node = self.tagged(&name, node, span),
                Open::Namespaced(namespace) => node = self.namespaced(namespace, node, span),
                _ => {}
            }
        }
    }

    fn namespaced(&mut self, namespace: Option<String>, node: Node, span: Span) -> Node {
        let Kind::Map(entries) = node.kind else {
            if node.kind != Kind::Broken {
                self.findings
                    .error(node.span, "a namespace can only be put before a map");
            }
            return Node::new(Kind::Broken, span);
        };
        let put = |name: &mut Name| match name.namespace.as_deref() {
            None => name.namespace.clone_from(&namespace),
            Some("_") => name.namespace = None,
            Some(_) => {}
        };
        let mut renamed = Vec::with_capacity(entries.len());
        let mut seen: HashMap<String, Span> = HashMap::new();
        for (mut key, value) in entries {
            if let Kind::Keyword(name) | Kind::Symbol(name) = &mut key.kind {
                put(name);
            }
            if let Some(first) = seen.insert(key.identity(), key.span) {
                self.findings
                    .error(key.span, "the key is there twice")
                    .label(first, "first defined here");
                continue;
            }
            renamed.push((key, value));
        }
        Node::new(Kind::Map(renamed), span)
    }

    fn tagged(&mut self, name: &Name, node: Node, span: Span) -> Node {
        let full = name.full();
        let kind = match (full.as_str(), node.kind) {
            (_, Kind::Broken) => Kind::Broken,
            ("inst", Kind::Text(text)) => match instant(&text) {
                Some(instant) => Kind::Instant(instant),
                None => {
                    self.findings
                        .error(node.span, format!("`{}` is no date or time", crop(&text)))
                        .help("write it like #inst \"2020-01-31T12:00:00Z\"; everything after the year may be left out");
                    Kind::Broken
                }
            },
            ("inst", _) => {
                self.findings.error(node.span, "`#inst` needs a string");
                Kind::Broken
            }
            ("queue", Kind::Vector(items)) => Kind::Vector(items),
            ("queue", _) => {
                self.findings.error(node.span, "`#queue` needs a vector");
                Kind::Broken
            }
            ("js", kind @ (Kind::Map(_) | Kind::Vector(_))) => {
                if holds_collection(&kind) {
                    self.findings
                        .unsupported(
                            node.span,
                            "`#js` with a collection inside cannot be rendered reliably",
                        )
                        .help("write it without `#js`");
                    Kind::Broken
                } else {
                    kind
                }
            }
            ("js", _) => {
                self.findings
                    .error(node.span, "`#js` needs a map or a vector");
                Kind::Broken
            }
            ("uuid", _) => {
                self.findings
                    .unsupported(span, "`#uuid` cannot be rendered reliably")
                    .help("write the plain string");
                Kind::Broken
            }
            _ => {
                self.findings.error(
                    Span::new(span.start, span.start + 1 + full.len()),
                    format!("nothing reads the tag `#{full}`"),
                );
                Kind::Broken
            }
        };
        Node::new(kind, span)
    }

    fn dispatch(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let rest = &self.text[self.at..];
        match rest[1..].chars().next() {
            Some('{') => self.open(Open::Set, 2),
            Some('_') => self.open(Open::Discard, 2),
            Some('^') => self.open(Open::Meta, 2),
            Some('#') => {
                let token = self.take_token(2);
                let span = Span::new(start, self.at);
                match token {
                    "NaN" | "Inf" | "-Inf" => self.findings.error(
                        span,
                        format!("`##{token}` has no form in JSON and would become null"),
                    ),
                    _ => self
                        .findings
                        .error(span, format!("`##{token}` is no number")),
                };
                self.deliver(Node::new(Kind::Broken, span));
                Ok(())
            }
            Some(':') => {
                let token = self.take_token(2);
                let name = match leaf::name(token, "namespace") {
                    Ok(name) if name.namespace.is_none() && !token.is_empty() => Some(name.name),
                    _ => {
                        let span = Span::new(start, self.at);
                        self.findings
                            .error(span, format!("`#:{token}` is no namespace for a map"));
                        None
                    }
                };
                // Nothing but white space may stand between the two.
                if !self.text[self.at..]
                    .trim_start_matches(is_space)
                    .starts_with('{')
                {
                    self.findings.error(
                        Span::new(start, self.at),
                        "a namespace can only be put before a map",
                    );
                }
                let length = self.at - start;
                self.at = start;
                self.open(Open::Namespaced(name), length)
            }
            Some('<') => {
                self.findings
                    .error(Span::new(start, start + 2), "an object that cannot be read");
                Err(Stop)
            }
            Some(
                '"' | '(' | '\'' | '?' | '=' | '@' | '~' | '`' | '[' | ')' | ']' | '}' | ';' | '\\',
            )
            | None => {
                self.findings.error(
                    Span::new(start, (start + 2).min(self.text.len())),
                    "this is Clojure code, not EDN data",
                );
                Err(Stop)
            }
            Some(_) => {
                let token = self.take_token(1);
                let span = Span::new(start, self.at);
                let length = self.at - start;
                let name = if leaf::starts_number(token) || token.is_empty() {
                    Err((String::new(), None))
                } else {
                    leaf::name(token, "tag")
                };
                let name = name.unwrap_or_else(|_| {
                    self.findings
                        .error(span, format!("`#{token}` is no tag: a tag is a symbol"));
                    Name::plain("js")
                });
                self.at = start;
                self.open(Open::Tag(name), length)
            }
        }
    }

    /// Takes the token that begins `skip` bytes further on.
    fn take_token(&mut self, skip: usize) -> &'a str {
        let text = self.text;
        let from = self.at + skip;
        let rest = &text[from..];
        let length = rest.find(ends_token).unwrap_or(rest.len());
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
                    self.findings
                        .error(at, "unexpected end of file: the string is never closed")
                        .label(Span::new(start, start + 1), "opened here");
                    return Err(Stop);
                }
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        let read = leaf::string(&self.text[start + 1..end]).map(Kind::Text);
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
        // A delimiter stands for itself, whatever follows.
        let alone = ends_token(first) || matches!(first, '@' | '~' | '`');
        let rest_of_it = if alone {
            0
        } else {
            after.find(ends_token).unwrap_or(after.len())
        };
        let length = first.len_utf8() + rest_of_it;
        self.at = start + 1 + length;
        let read = leaf::character(&rest[..length]).map(Kind::Text);
        self.leaf(read, start, start + 1);
        Ok(())
    }

    fn token(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let rest = &self.text[start..];
        let is_number = leaf::starts_number(rest);
        let ends = if is_number { ends_number } else { ends_token };
        let length = rest.find(ends).unwrap_or(rest.len());
        // Every character that ends a token has been dealt with before.
        let length = length.max(rest.chars().next().map_or(1, char::len_utf8));
        self.at = start + length;
        let token = &rest[..length];
        let (read, from) = if is_number {
            (leaf::number(token), start)
        } else if let Some(name) = token.strip_prefix(':') {
            (leaf::keyword(name).map(Kind::Keyword), start + 1)
        } else {
            (leaf::symbol(token), start)
        };
        self.leaf(read, start, from);
        Ok(())
    }

    /// Delivers a leaf, or says what is wrong with it. Places inside it count from `from`.
    fn leaf(&mut self, read: Result<Kind, Fault>, start: usize, from: usize) {
        let span = Span::new(start, self.at);
        let kind = read.unwrap_or_else(|(message, part)| {
            let place = part.map_or(span, |(a, b)| Span::new(from + a, from + b));
            self.findings.error(place, message);
            Kind::Broken
        });
        self.deliver(Node::new(kind, span));
    }
}

fn holds_collection(kind: &Kind) -> bool {
    let is_collection = |node: &Node| {
        matches!(
            node.kind,
            Kind::List(_) | Kind::Vector(_) | Kind::Set(_) | Kind::Map(_)
        )
    };
    match kind {
        Kind::Map(entries) => entries
            .iter()
            .any(|(key, value)| is_collection(key) || is_collection(value)),
        Kind::Vector(items) => items.iter().any(is_collection),
        _ => false,
    }
}

/// A text short enough for a message.
pub(crate) fn crop(text: &str) -> String {
    if text.chars().count() <= 60 {
        return text.to_owned();
    }
    text.chars().take(57).chain("...".chars()).collect()
}
