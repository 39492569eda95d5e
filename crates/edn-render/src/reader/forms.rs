//! Parses composite forms: sets and maps, metadata, tags, namespaced maps, discards.

use daemon_model::{Message, Quoted, Severity, Span, attribute, message};

use super::{Frame, Open, Reader, Stop, ends_token, is_space};
use crate::findings::Findings;
use crate::instant::instant;
use crate::leaf::{self, crop};
use crate::same::repeated;
use crate::tree::{Cell, Kind, Node, Tag, place};

impl Reader<'_, '_> {
    pub(super) fn check_set(&mut self, at: usize) {
        // A value that could not be read equals no other.
        self.identities.clear();
        for item in self.tree.node(at).values() {
            self.identities.push(self.hasher.identity(item));
        }
        repeated(&self.identities, |first, later| {
            let items = || self.tree.node(at).values();
            say_twice(self.findings, items(), first, later, |_| {
                ("the set has this element twice".into(), "first here")
            });
        });
    }

    pub(super) fn check_map(&mut self, at: usize) {
        let map = self.tree.node(at);
        if are_few_different_keywords(map) {
            return;
        }
        let mut values = map.values();
        self.identities.clear();
        while let Some(key) = values.next() {
            if values.next().is_none() {
                // In a map with an odd number of forms, the keys are unknown.
                let start = map.span().start;
                self.findings
                    .error(key.span(), "the map has a key without a value")
                    .label(Span::new(start, start + 1), "opened here");
                return;
            }
            self.identities.push(self.hasher.identity(key));
        }
        repeated(&self.identities, |first, later| {
            let keys = || self.tree.node(at).values().step_by(2);
            say_twice(self.findings, keys(), first, later, |key| {
                let message = match known_key(key) {
                    Some(known) => message!("duplicate key `:{}`", known),
                    None => message!("duplicate key `{}`", Quoted(crop(key.written()))),
                };
                (message, "first defined here")
            });
        });
    }

    pub(super) fn deliver_leaf(&mut self, tag: Tag, span: Span) {
        let at = self.tree.cells.len();
        self.tree.cells.push(Cell::new(tag, span));
        self.deliver(at);
    }

    /// Removes the cells from `at` on.
    fn take_back(&mut self, at: usize) {
        self.tree.cells.truncate(at);
        self.hasher.forget(at);
    }

    /// Replaces all cells from `at` on with one.
    fn replace(&mut self, at: usize, tag: Tag, span: Span) {
        self.take_back(at);
        self.tree.cells.push(Cell::new(tag, span));
    }

    /// Adds a finished form, whose cells are the last ones, to its enclosing collection.
    pub(super) fn deliver(&mut self, at: usize) {
        loop {
            let Some(frame) = self.stack.last_mut() else {
                self.done = true;
                return;
            };
            let node = self.tree.node(at);
            match frame.open {
                Open::Collection(_) => return,
                Open::Meta => {
                    let fits = matches!(
                        node.tag(),
                        Tag::Keyword
                            | Tag::Symbol
                            | Tag::Text
                            | Tag::Vector
                            | Tag::Map
                            | Tag::Broken
                    );
                    if !fits {
                        self.findings.error(
                            node.span(),
                            "metadata must be a keyword, a symbol, a string, a vector or a map",
                        );
                    }
                    frame.open = Open::About;
                    self.take_back(at);
                    return;
                }
                _ => {}
            }
            let Some(Frame { open, start, .. }) = self.stack.pop() else {
                return;
            };
            let span = Span::new(start, node.span().end);
            match open {
                Open::Discard => {
                    if self.stack.is_empty() {
                        self.discarded = Some(span);
                    }
                    self.take_back(at);
                    return;
                }
                Open::About => self.about(at, span),
                Open::Tag(name) => self.tagged(name, at, span),
                Open::Namespaced(name, is_name) => {
                    self.namespaced(is_name.then_some(name), at, span);
                }
                Open::Collection(_) | Open::Meta => {}
            }
        }
    }

    fn about(&mut self, at: usize, span: Span) {
        let cell = &mut self.tree.cells[at];
        if cell.tag.is_collection() {
            cell.start = place(span.start);
        } else if !matches!(cell.tag, Tag::Symbol | Tag::Broken) {
            let span = self.tree.node(at).span();
            self.findings
                .error(span, "metadata can only apply to a collection or a symbol");
        }
    }

    fn namespaced(&mut self, name: Option<Span>, at: usize, span: Span) {
        let node = self.tree.node(at);
        if node.tag() != Tag::Map {
            if node.tag() != Tag::Broken {
                self.findings
                    .error(node.span(), "a namespace can only precede a map");
            }
            self.replace(at, Tag::Broken, span);
            return;
        }
        let text = self.text;
        let namespace = name.and_then(|name| text.get(name.start..name.end));
        let mut renamed = Vec::new();
        for (key, _) in node.values().zip(0_usize..).step_by(2) {
            let (Kind::Keyword(known) | Kind::Symbol(known)) = key.kind() else {
                continue;
            };
            let full = match (known.namespace(), namespace) {
                (None, Some(namespace)) => format!("{namespace}/{}", known.full),
                (Some("_"), _) => known.name().to_owned(),
                _ => continue,
            };
            renamed.push((key.at, full));
        }
        self.hasher.forget(at);
        for (key, full) in renamed {
            self.tree.texts.push(full.into());
            self.tree.cells[key].data = place(self.tree.texts.len());
        }
        self.tree.cells[at].start = place(span.start);
        // `:_/a` and `:b/a` may have become equal.
        if !self.findings.is_broken() {
            self.check_map(at);
        }
    }

    fn tagged(&mut self, name: Span, at: usize, span: Span) {
        let text = self.text;
        let name = text.get(name.start..name.end).unwrap_or_default();
        let node = self.tree.node(at);
        let (tag, value) = (node.tag(), node.span());
        let new = match (name, tag) {
            (_, Tag::Broken) | ("", _) => Tag::Broken,
            ("inst", Tag::Text) => {
                let read = match node.kind() {
                    Kind::Text(text) => instant(&text),
                    _ => None,
                };
                match read {
                    Some(text) => {
                        self.replace(at, Tag::Instant, span);
                        self.tree.texts.push(text.into());
                        self.tree.cells[at].data = place(self.tree.texts.len());
                        return;
                    }
                    None => {
                        // It may be a misplaced secret, so the value is not shown.
                        self.findings
                            .error(value, "this is not a date or time")
                            .help("write it like #inst \"2020-01-31T12:00:00Z\"; everything after the year may be left out");
                        Tag::Broken
                    }
                }
            }
            ("inst", _) => {
                self.findings.error(value, "`#inst` needs a string");
                Tag::Broken
            }
            ("queue", Tag::Vector) => {
                self.tree.cells[at].start = place(span.start);
                return;
            }
            ("queue", _) => {
                self.findings.error(value, "`#queue` needs a vector");
                Tag::Broken
            }
            ("js", Tag::Map | Tag::Vector) => {
                if !holds_data(node) {
                    self.tree.cells[at].start = place(span.start);
                    return;
                }
                Tag::Js
            }
            ("js", _) => {
                self.findings.error(value, "`#js` needs a map or a vector");
                Tag::Broken
            }
            ("uuid", _) => Tag::Uuid,
            _ => {
                let end = self.tag_end(span.start);
                self.findings
                    .error(
                        Span::new(span.start, end),
                        message!("unknown tag `#{}`", Quoted(crop(name))),
                    )
                    .help("a definition is plain data: write the value itself");
                Tag::Broken
            }
        };
        self.replace(at, new, span);
    }

    /// The end of the tag that starts at `start`.
    fn tag_end(&self, start: usize) -> usize {
        let rest = &self.text[start + 1..];
        let name = rest.trim_start_matches(is_space);
        start + 1 + rest.len() - name.len() + name.find(ends_token).unwrap_or(name.len())
    }

    pub(super) fn dispatch(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let rest = &self.text[self.at..];
        match rest[1..].chars().next() {
            Some('{') => self.open(Open::Collection(Tag::Set), 2),
            Some('_') => self.open(Open::Discard, 2),
            Some('^') => self.open(Open::Meta, 2),
            Some('#') => {
                let token = self.take_token(2);
                let span = Span::new(start, self.at);
                let tag = match token {
                    "NaN" | "Inf" | "-Inf" => Tag::Number,
                    _ => {
                        self.findings.error(
                            span,
                            message!("`##{}` is not a number", Quoted(crop(token))),
                        );
                        Tag::Broken
                    }
                };
                self.deliver_leaf(tag, span);
                Ok(())
            }
            Some(':') => self.namespace(),
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
                // Whitespace may be between the sign and its name.
                let name = rest[1..].trim_start_matches(is_space);
                let skip = rest.len() - name.len();
                let token = self.take_token(skip);
                let span = Span::new(start, self.at);
                let is_tag = !leaf::starts_number(token)
                    && !token.is_empty()
                    && leaf::name(token, "tag").is_ok();
                if !is_tag {
                    self.findings.error(
                        span,
                        message!("`#{}` is not a tag: a tag is a symbol", Quoted(crop(token))),
                    );
                }
                // If it is not a tag, there is already an error.
                let name = Span::new(if is_tag { start + skip } else { self.at }, self.at);
                let length = self.at - start;
                self.at = start;
                self.open(Open::Tag(name), length)
            }
        }
    }

    fn namespace(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let token = self.take_token(2);
        let span = Span::new(start, self.at);
        let is_name =
            !token.is_empty() && !token.contains('/') && leaf::name(token, "namespace").is_ok();
        if !is_name {
            self.findings.error(
                span,
                message!("`#:{}` is not a namespace for a map", Quoted(crop(token))),
            );
        }
        // Only whitespace may be between the two.
        if !self.text[self.at..]
            .trim_start_matches(is_space)
            .starts_with('{')
        {
            self.findings
                .error(span, "a namespace can only precede a map");
        }
        self.at = start;
        self.open(
            Open::Namespaced(Span::new(start + 2, span.end), is_name),
            span.end - start,
        )
    }
}

/// Reports a duplicate value. Positions are only computed for findings that are kept.
fn say_twice<'t>(
    findings: &mut Findings,
    mut values: impl Iterator<Item = Node<'t>>,
    first: usize,
    later: usize,
    words: impl Fn(Node<'t>) -> (Message, &'static str),
) {
    if findings.leaves_out(Severity::Error) {
        return;
    }
    let one = values.nth(first);
    if let (Some(one), Some(other)) = (one, values.nth(later - first - 1)) {
        let (message, label) = words(other);
        findings
            .error(other.span(), message)
            .label(one.span(), label);
    }
}

/// A key known to PM2 or pm2-sync, which therefore is not a secret.
fn known_key(key: Node<'_>) -> Option<&'static str> {
    let Kind::Keyword(name) = key.kind() else {
        return None;
    };
    let beside = ["apps", "deploy", "profiles"];
    let found = beside.into_iter().find(|known| *known == name.full);
    found.or_else(|| {
        let attribute = attribute::find(name.full)?;
        (attribute.name == name.full).then_some(attribute.name)
    })
}

/// Whether the reference leaves something in a `#js` form as Clojure data: it converts neither keywords and symbols nor
/// collections.
fn holds_data(node: Node<'_>) -> bool {
    let is_data = |value: Node<'_>| {
        value.tag().is_collection()
            || matches!(
                value.tag(),
                Tag::Keyword | Tag::Symbol | Tag::Uuid | Tag::Js
            )
    };
    match node.entries() {
        // It uses the names of keys.
        Some(mut entries) => {
            entries.any(|(key, value)| key.tag().is_collection() || is_data(value))
        }
        None => node.values().any(is_data),
    }
}

/// Up to this many keys are compared pairwise, rather than by hash.
const FEW_KEYS: usize = 32;

/// Whether a map has only a few keywords as keys, all different and each with a value, as nearly all maps do.
fn are_few_different_keywords(map: Node<'_>) -> bool {
    let mut names = [""; FEW_KEYS];
    let mut count = 0;
    let mut values = map.values();
    while let Some(key) = values.next() {
        let Kind::Keyword(name) = key.kind() else {
            return false;
        };
        let (known, rest) = names.split_at_mut(count);
        let Some(free) = rest.first_mut() else {
            return false;
        };
        if known.contains(&name.full) || values.next().is_none() {
            return false;
        }
        *free = name.full;
        count += 1;
    }
    true
}
