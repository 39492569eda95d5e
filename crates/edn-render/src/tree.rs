//! What was read: values with their places, in source order.

use std::collections::BTreeMap;

use daemon_model::{Span, js_number};

/// A value and where it stands. Values that no text stands for (`--set`) have an empty span at the start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// An EDN value as the reference reads it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Nil,
    Bool(bool),
    /// Every number is a double, as in JavaScript.
    Number(f64),
    /// Strings and characters.
    Text(String),
    /// An instant, as JavaScript prints it.
    Instant(String),
    Keyword(Name),
    Symbol(Name),
    List(Vec<Node>),
    Vector(Vec<Node>),
    Set(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// Could not be read; a finding says why.
    Broken,
}

/// A keyword's or symbol's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Name {
    pub(crate) fn plain(name: &str) -> Self {
        Self {
            namespace: None,
            name: name.to_owned(),
        }
    }

    pub(crate) fn full(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Node {
    pub(crate) fn new(kind: Kind, span: Span) -> Self {
        Self { kind, span }
    }

    /// The text of this value as a key of a JSON object; none for a collection.
    pub(crate) fn key_text(&self) -> Option<String> {
        Some(match &self.kind {
            Kind::Nil => "nil".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Number(number) => js_number(*number),
            Kind::Text(text) => text.clone(),
            // The reference has no text for it as a key, and prints it as Clojure would.
            Kind::Instant(text) => {
                format!("#inst \"{}-00:00\"", text.trim_end_matches('Z'))
            }
            Kind::Keyword(name) => name.name.clone(),
            Kind::Symbol(name) => name.full(),
            _ => return None,
        })
    }

    /// The element of a map under a plain keyword.
    pub(crate) fn get(&self, keyword: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.is_keyword(keyword))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn is_keyword(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::Keyword(name) if name.namespace.is_none() && name.name == wanted)
    }

    /// Elements of a list, vector or set.
    pub(crate) fn items(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::List(items) | Kind::Vector(items) | Kind::Set(items) => Some(items),
            _ => None,
        }
    }

    /// A text that is the same for values that Clojure takes for equal: `1` and `1.0`, `\a` and `"a"`, a list and
    /// a vector of the same elements.
    pub(crate) fn identity(&self) -> String {
        let mut out = String::new();
        self.write_identity(&mut out);
        out
    }

    // The tree is at most as deep as the reader lets it be.
    fn write_identity(&self, out: &mut String) {
        match &self.kind {
            Kind::Nil | Kind::Broken => out.push('~'),
            Kind::Bool(value) => out.push(if *value { 't' } else { 'f' }),
            Kind::Number(number) => out.push_str(&js_number(*number)),
            Kind::Text(text) => out.push_str(&format!("{text:?}")),
            Kind::Instant(text) => out.push_str(&format!("#{text}")),
            Kind::Keyword(name) => out.push_str(&format!(":{}", name.full())),
            Kind::Symbol(name) => out.push_str(&format!("'{}", name.full())),
            Kind::List(items) | Kind::Vector(items) => {
                out.push('[');
                for item in items {
                    item.write_identity(out);
                    out.push(' ');
                }
                out.push(']');
            }
            Kind::Set(items) => {
                let mut parts: Vec<String> = items.iter().map(Self::identity).collect();
                parts.sort();
                out.push_str(&format!("#{{{}}}", parts.join(" ")));
            }
            Kind::Map(entries) => {
                let parts: BTreeMap<String, String> = entries
                    .iter()
                    .map(|(key, value)| (key.identity(), value.identity()))
                    .collect();
                out.push('{');
                for (key, value) in parts {
                    out.push_str(&format!("{key} {value} "));
                }
                out.push('}');
            }
        }
    }
}
