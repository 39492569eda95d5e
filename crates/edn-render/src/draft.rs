//! A tree while it is changed: what no change reaches stays as it was read.

use daemon_model::Span;

use crate::tree::{Cell, Node, Tag, Tree, place};

/// A value of a variant.
#[derive(Debug, Clone)]
pub(crate) enum Draft<'t> {
    /// As it was read.
    Read(Node<'t>),
    /// A map that was changed.
    Map(Span, Vec<(Draft<'t>, Draft<'t>)>),
    /// A list, vector or set that was changed.
    Items(Tag, Span, Vec<Draft<'t>>),
    /// A value of its own, with its text.
    Own(Tag, String),
}

const NOWHERE: Span = Span { start: 0, end: 0 };

impl<'t> Draft<'t> {
    pub(crate) fn nil() -> Self {
        Self::Own(Tag::Nil, String::new())
    }

    pub(crate) fn keyword(name: &str) -> Self {
        Self::Own(Tag::Keyword, name.to_owned())
    }

    pub(crate) fn tag(&self) -> Tag {
        match self {
            Self::Read(node) => node.tag(),
            Self::Map(..) => Tag::Map,
            Self::Items(tag, ..) | Self::Own(tag, _) => *tag,
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Read(node) => node.span(),
            Self::Map(span, _) | Self::Items(_, span, _) => *span,
            Self::Own(..) => NOWHERE,
        }
    }

    /// The entries of a map, to change them.
    pub(crate) fn entries_mut(&mut self) -> Option<&mut Vec<(Self, Self)>> {
        if let Self::Read(node) = self
            && let Some(entries) = node.entries()
        {
            let entries = entries.map(|(key, value)| (Self::Read(key), Self::Read(value)));
            *self = Self::Map(node.span(), entries.collect());
        }
        match self {
            Self::Map(_, entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements of a list, vector or set, to change them.
    pub(crate) fn items_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Read(node) = self
            && let Some(items) = node.items()
        {
            *self = Self::Items(node.tag(), node.span(), items.map(Self::Read).collect());
        }
        match self {
            Self::Items(_, _, items) => Some(items),
            _ => None,
        }
    }

    /// The text of it as a key of a JSON object.
    pub(crate) fn key_text(&self) -> Option<String> {
        match self {
            Self::Read(node) => node.key_text().map(Into::into),
            Self::Map(..) | Self::Items(..) => None,
            Self::Own(..) => {
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
            Self::Own(Tag::Keyword, name) => name == keyword,
            _ => false,
        }
    }

    /// The element of a map under a plain keyword.
    pub(crate) fn get(&self, keyword: &str) -> Option<Self> {
        match self {
            Self::Read(node) => node.get(keyword).map(Self::Read),
            Self::Map(_, entries) => entries
                .iter()
                .find(|(key, _)| key.is_keyword(keyword))
                .map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// The whole of it as a tree over the same source.
    pub(crate) fn finish(&self, read: &Tree) -> Tree {
        let mut tree = Tree {
            source: read.source.clone(),
            cells: Vec::new(),
            // Cells that are copied point to their texts by number.
            texts: read.texts.clone(),
        };
        self.write(&mut tree);
        tree
    }

    // The tree is at most as deep as the reader and the paths of changes let it be.
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
            Self::Map(span, entries) => {
                let at = open(tree, Tag::Map, *span);
                for (key, value) in entries {
                    key.write(tree);
                    value.write(tree);
                }
                tree.cells[at].data = place(tree.cells.len());
            }
            Self::Items(tag, span, items) => {
                let at = open(tree, *tag, *span);
                for item in items {
                    item.write(tree);
                }
                tree.cells[at].data = place(tree.cells.len());
            }
            Self::Own(tag, text) => {
                let at = open(tree, *tag, NOWHERE);
                tree.texts.push(text.as_str().into());
                tree.cells[at].data = place(tree.texts.len());
            }
        }
    }
}

fn open(tree: &mut Tree, tag: Tag, span: Span) -> usize {
    tree.cells.push(Cell::new(tag, span));
    tree.cells.len() - 1
}
