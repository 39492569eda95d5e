//! The parsed values with their positions, in source order.
//!
//! A tree is one array of small cells, each collection followed by its content; texts stay in the source until needed. So a
//! definition of megabytes is neither copied nor scattered over the heap.

use std::borrow::Cow;
use std::sync::Arc;

use daemon_model::{Span, js_number};

use crate::leaf;

/// The kind of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Nil,
    True,
    False,
    Number,
    Text,
    Instant,
    Keyword,
    Symbol,
    List,
    Vector,
    Set,
    Map,
    /// `#uuid`: it can be read, but builds of the reference disagree about its JSON form.
    Uuid,
    /// `#js` with content that the reference does not convert.
    Js,
    /// Could not be read; a finding says why.
    Broken,
}

impl Tag {
    pub(crate) fn is_collection(self) -> bool {
        matches!(self, Self::List | Self::Vector | Self::Set | Self::Map)
    }
}

/// A value and its position. Values without text of their own (`--set`) have an empty span at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// For a collection: the cell after its content. Otherwise: the number of its text among the tree's own texts, from 1; 0 for
    /// text of the source.
    pub(crate) data: u32,
    pub(crate) tag: Tag,
}

impl Cell {
    pub(crate) fn new(tag: Tag, span: Span) -> Self {
        Self {
            start: place(span.start),
            end: place(span.end),
            data: 0,
            tag,
        }
    }
}

/// An offset in a source, which is never longer than [`crate::reader::MAX_LENGTH`].
pub(crate) fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// All values of a definition.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) source: Arc<str>,
    pub(crate) cells: Vec<Cell>,
    /// Texts that the source does not contain literally.
    pub(crate) texts: Vec<Box<str>>,
}

impl Tree {
    /// An empty map over a part of the source.
    pub(crate) fn empty(source: Arc<str>, span: Span) -> Self {
        let mut root = Cell::new(Tag::Map, span);
        root.data = 1;
        Self {
            source,
            cells: vec![root],
            texts: Vec::new(),
        }
    }

    pub(crate) fn node(&self, at: usize) -> Node<'_> {
        Node { tree: self, at }
    }

    pub(crate) fn root(&self) -> Node<'_> {
        self.node(0)
    }
}

/// A reference to one value of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'t> {
    pub(crate) tree: &'t Tree,
    pub(crate) at: usize,
}

/// An EDN value as the reference reads it.
#[derive(Debug, Clone)]
pub(crate) enum Kind<'t> {
    Nil,
    Bool(bool),
    /// Every number is a double, as in JavaScript. One that JSON cannot express is not finite.
    Number(f64),
    /// Strings and characters.
    Text(Cow<'t, str>),
    /// An instant, as JavaScript prints it.
    Instant(&'t str),
    Keyword(Name<'t>),
    Symbol(Name<'t>),
    /// Lists, vectors and sets.
    Items(Values<'t>),
    Map(Entries<'t>),
    Uuid,
    Js,
    Broken,
}

/// A keyword's or symbol's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'t> {
    pub(crate) full: &'t str,
}

impl<'t> Name<'t> {
    fn split(self) -> (Option<&'t str>, &'t str) {
        if self.is_plain() {
            return (None, self.full);
        }
        match self.full.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                (Some(namespace), name)
            }
            _ => (None, self.full),
        }
    }

    /// Whether it certainly has no namespace.
    pub(crate) fn is_plain(self) -> bool {
        !self.full.as_bytes().contains(&b'/')
    }

    pub(crate) fn namespace(self) -> Option<&'t str> {
        self.split().0
    }

    pub(crate) fn name(self) -> &'t str {
        self.split().1
    }
}

impl<'t> Node<'t> {
    pub(crate) fn cell(self) -> Cell {
        self.tree.cells[self.at]
    }

    pub(crate) fn tag(self) -> Tag {
        self.cell().tag
    }

    pub(crate) fn span(self) -> Span {
        let cell = self.cell();
        Span::new(cell.start as usize, cell.end as usize)
    }

    /// The cell after this value.
    pub(crate) fn next(self) -> usize {
        let cell = self.cell();
        if cell.tag.is_collection() {
            cell.data as usize
        } else {
            self.at + 1
        }
    }

    /// The text of the value, and whether it is part of the source.
    fn text(self) -> (&'t str, bool) {
        let cell = self.cell();
        let own = (cell.data as usize)
            .checked_sub(1)
            .and_then(|at| self.tree.texts.get(at));
        match own {
            Some(text) => (text, false),
            None => {
                let text = self
                    .tree
                    .source
                    .get(cell.start as usize..cell.end as usize)
                    .unwrap_or("");
                (text, true)
            }
        }
    }

    fn string(self) -> Cow<'t, str> {
        let (text, is_source) = self.text();
        if !is_source {
            return Cow::Borrowed(text);
        }
        // It was parsed before, so there are no further findings.
        let read = match text.strip_prefix('\\') {
            Some(token) => leaf::character(token),
            None => leaf::string(text.get(1..text.len() - 1).unwrap_or("")),
        };
        read.unwrap_or_default()
    }

    fn name(self) -> Name<'t> {
        let (text, is_source) = self.text();
        let full = match self.tag() {
            Tag::Keyword if is_source => text.strip_prefix(':').unwrap_or(text),
            _ => text,
        };
        Name { full }
    }

    pub(crate) fn kind(self) -> Kind<'t> {
        match self.tag() {
            Tag::Nil => Kind::Nil,
            Tag::True => Kind::Bool(true),
            Tag::False => Kind::Bool(false),
            Tag::Number => Kind::Number(leaf::number(self.text().0).unwrap_or(f64::NAN)),
            Tag::Text => Kind::Text(self.string()),
            Tag::Instant => Kind::Instant(self.text().0),
            Tag::Keyword => Kind::Keyword(self.name()),
            Tag::Symbol => Kind::Symbol(self.name()),
            Tag::List | Tag::Vector | Tag::Set => Kind::Items(self.values()),
            Tag::Map => Kind::Map(Entries(self.values())),
            Tag::Uuid => Kind::Uuid,
            Tag::Js => Kind::Js,
            Tag::Broken => Kind::Broken,
        }
    }

    /// The content of a collection; for a map, keys and values alternate.
    pub(crate) fn values(self) -> Values<'t> {
        Values {
            tree: self.tree,
            at: self.at + 1,
            end: self.next(),
        }
    }

    /// The elements of a list, vector or set.
    pub(crate) fn items(self) -> Option<Values<'t>> {
        match self.tag() {
            Tag::List | Tag::Vector | Tag::Set => Some(self.values()),
            _ => None,
        }
    }

    pub(crate) fn entries(self) -> Option<Entries<'t>> {
        (self.tag() == Tag::Map).then(|| Entries(self.values()))
    }

    /// This value as a key of a JSON object; none for a collection.
    pub(crate) fn key_text(self) -> Option<Cow<'t, str>> {
        Some(match self.kind() {
            Kind::Nil => Cow::Borrowed("nil"),
            Kind::Bool(true) => Cow::Borrowed("true"),
            Kind::Bool(false) => Cow::Borrowed("false"),
            Kind::Number(number) => Cow::Owned(js_number(number)),
            Kind::Text(text) => text,
            // The reference has no text for it as a key, and prints it as Clojure would.
            Kind::Instant(text) => {
                Cow::Owned(format!("#inst \"{}-00:00\"", text.trim_end_matches('Z')))
            }
            Kind::Keyword(name) => Cow::Borrowed(name.name()),
            Kind::Symbol(name) => Cow::Borrowed(name.full),
            _ => return None,
        })
    }

    /// Whether it is this keyword, without a namespace.
    pub(crate) fn is_keyword(self, keyword: &str) -> bool {
        self.tag() == Tag::Keyword && self.name().full == keyword
    }

    /// The element of a map under a plain keyword.
    pub(crate) fn get(self, keyword: &str) -> Option<Self> {
        self.entries()?
            .find(|(key, _)| key.is_keyword(keyword))
            .map(|(_, value)| value)
    }

    /// How many bytes a process gets for all of its content: the texts, and for each pair an equals sign, a terminator and a
    /// pointer.
    pub(crate) fn size(self) -> usize {
        let cells = self.tree.cells.get(self.at..self.next());
        cells
            .into_iter()
            .flatten()
            .filter(|cell| !cell.tag.is_collection())
            .map(|cell| (cell.end - cell.start) as usize + 5)
            .sum()
    }

    /// The text in the source.
    pub(crate) fn written(self) -> &'t str {
        let span = self.span();
        self.tree.source.get(span.start..span.end).unwrap_or("")
    }
}

/// Adjacent values.
#[derive(Debug, Clone)]
pub(crate) struct Values<'t> {
    tree: &'t Tree,
    at: usize,
    end: usize,
}

impl<'t> Iterator for Values<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Node<'t>> {
        if self.at >= self.end {
            return None;
        }
        let node = self.tree.node(self.at);
        self.at = node.next();
        Some(node)
    }
}

/// The entries of a map. A key without a value, which is an error, is skipped.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'t>(Values<'t>);

impl<'t> Iterator for Entries<'t> {
    type Item = (Node<'t>, Node<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}
