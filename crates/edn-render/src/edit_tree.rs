//! A tree that can be edited. Values that no edit reaches stay in the parsed tree.

use daemon_model::Span;

use crate::tree::{Cell, Node, Tag, Tree, place};

/// A value of an edited tree.
#[derive(Debug, Clone)]
pub(crate) enum EditTree<'t> {
    /// Unchanged, as parsed.
    Read(Node<'t>),
    /// An edited map.
    Map(Box<(Span, Vec<(EditTree<'t>, EditTree<'t>)>)>),
    /// An edited list, vector or set.
    Items(Box<(Tag, Span, Vec<EditTree<'t>>)>),
    /// A new value, with its text.
    Own(Box<(Tag, String)>),
}

const NOWHERE: Span = Span { start: 0, end: 0 };

impl<'t> EditTree<'t> {
    pub(crate) fn own(tag: Tag, text: &str) -> Self {
        Self::Own(Box::new((tag, text.to_owned())))
    }

    pub(crate) fn map(span: Span, entries: Vec<(Self, Self)>) -> Self {
        Self::Map(Box::new((span, entries)))
    }

    pub(crate) fn items(tag: Tag, span: Span, items: Vec<Self>) -> Self {
        Self::Items(Box::new((tag, span, items)))
    }

    pub(crate) fn nil() -> Self {
        Self::own(Tag::Nil, "")
    }

    pub(crate) fn keyword(name: &str) -> Self {
        Self::own(Tag::Keyword, name)
    }

    pub(crate) fn tag(&self) -> Tag {
        match self {
            Self::Read(node) => node.tag(),
            Self::Map(_) => Tag::Map,
            Self::Items(items) => items.0,
            Self::Own(own) => own.0,
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Read(node) => node.span(),
            Self::Map(map) => map.0,
            Self::Items(items) => items.1,
            Self::Own(_) => NOWHERE,
        }
    }

    /// The entries of a map, for editing.
    pub(crate) fn entries_mut(&mut self) -> Option<&mut Vec<(Self, Self)>> {
        if let Self::Read(node) = self
            && let Some(entries) = node.entries()
        {
            let entries = entries.map(|(key, value)| (Self::Read(key), Self::Read(value)));
            *self = Self::map(node.span(), entries.collect());
        }
        match self {
            Self::Map(map) => Some(&mut map.1),
            _ => None,
        }
    }

    /// The elements of a list, vector or set, for editing.
    pub(crate) fn items_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Read(node) = self
            && let Some(items) = node.items()
        {
            *self = Self::items(node.tag(), node.span(), items.map(Self::Read).collect());
        }
        match self {
            Self::Items(items) => Some(&mut items.2),
            _ => None,
        }
    }

    /// The value as a key of a JSON object.
    pub(crate) fn key_text(&self) -> Option<String> {
        match self {
            Self::Read(node) => node.key_text().map(Into::into),
            Self::Map(_) | Self::Items(_) => None,
            Self::Own(_) => {
                let mut tree = Tree::empty("".into(), NOWHERE);
                let at = tree.cells.len();
                self.write(&mut tree);
                tree.node(at).key_text().map(Into::into)
            }
        }
    }

    pub(crate) fn is_keyword(&self, keyword: &str) -> bool {
        match self {
            Self::Read(node) => node.is_keyword(keyword),
            Self::Own(own) => own.0 == Tag::Keyword && own.1 == keyword,
            _ => false,
        }
    }

    /// The element of a map under a plain keyword.
    pub(crate) fn get(&self, keyword: &str) -> Option<Self> {
        match self {
            Self::Read(node) => node.get(keyword).map(Self::Read),
            Self::Map(map) => map
                .1
                .iter()
                .find(|(key, _)| key.is_keyword(keyword))
                .map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// Converts it back to a tree over the same source.
    pub(crate) fn finish(&self, read: &Tree) -> Tree {
        let mut tree = Tree {
            source: read.source.clone(),
            cells: Vec::new(),
            // Copied cells refer to their texts by index.
            texts: read.texts.clone(),
        };
        self.write(&mut tree);
        tree
    }

    // The depth is bounded by the reader and the paths of edits.
    fn write(&self, tree: &mut Tree) {
        match self {
            Self::Read(node) => {
                let (from, to) = (node.at, tree.cells.len());
                for cell in &node.tree.cells[from..node.next()] {
                    let mut cell = *cell;
                    if cell.tag.is_collection() {
                        cell.data = place(cell.data as usize - from + to);
                    }
                    tree.cells.push(cell);
                }
            }
            Self::Map(map) => {
                let at = open(tree, Tag::Map, map.0);
                for (key, value) in &map.1 {
                    key.write(tree);
                    value.write(tree);
                }
                tree.cells[at].data = place(tree.cells.len());
            }
            Self::Items(items) => {
                let at = open(tree, items.0, items.1);
                for item in &items.2 {
                    item.write(tree);
                }
                tree.cells[at].data = place(tree.cells.len());
            }
            Self::Own(own) => {
                let at = open(tree, own.0, NOWHERE);
                tree.texts.push(own.1.as_str().into());
                tree.cells[at].data = place(tree.texts.len());
            }
        }
    }
}

fn open(tree: &mut Tree, tag: Tag, span: Span) -> usize {
    tree.cells.push(Cell::new(tag, span));
    tree.cells.len() - 1
}
