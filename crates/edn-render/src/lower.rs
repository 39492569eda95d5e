//! Lowers a tree to the document for PM2, as the reference does.

mod structure;
mod values;

use daemon_model::{Message, Quoted, json_number, message};
use serde_json::{Map, Value};

use crate::leaf::crop;
use crate::tree::{Kind, Node, Tag};

pub(crate) use structure::{NO_APPS, check_apps_are_said, check_structure};
pub(crate) use values::check_values;

/// Whether it is a list that starts with the name of a function.
fn is_code(node: Node<'_>) -> bool {
    node.tag() == Tag::List
        && node
            .values()
            .next()
            .is_some_and(|first| first.tag() == Tag::Symbol)
}

/// A value in a message.
pub(crate) fn describe(node: Node<'_>) -> Message {
    match node.kind() {
        Kind::Nil => "nil".into(),
        Kind::Bool(value) => message!("{}", Quoted(value)),
        Kind::Number(_) => "a number".into(),
        Kind::Text(text) => message!("the string {}", Quoted(format!("{:?}", crop(&text)))),
        Kind::Instant(_) => "an instant".into(),
        Kind::Keyword(name) => message!("the keyword `:{}`", Quoted(crop(name.full))),
        Kind::Symbol(name) => message!("the symbol `{}`", Quoted(crop(name.full))),
        Kind::Items(_) => match node.tag() {
            Tag::List => "a list",
            Tag::Vector => "a vector",
            _ => "a set",
        }
        .into(),
        Kind::Map(_) => "a map".into(),
        Kind::Uuid => "a UUID".into(),
        Kind::Js => "a value of JavaScript".into(),
        Kind::Broken => "something unreadable".into(),
    }
}

/// The entries of a definition's map that are rendered: all except its profiles.
pub(crate) fn entries<'t>(
    form: Node<'t>,
    with_profiles: bool,
) -> impl Iterator<Item = (Node<'t>, Node<'t>)> + Clone {
    form.entries()
        .into_iter()
        .flatten()
        .filter(move |(key, _)| with_profiles || !key.is_keyword("profiles"))
}

/// Converts the map of a checked form to JSON.
pub(crate) fn lower_map(form: Node<'_>, with_profiles: bool) -> Map<String, Value> {
    let entries = entries(form, with_profiles);
    let mut map = Map::with_capacity(entries.clone().count());
    for (key, value) in entries {
        if let Some(text) = key.key_text() {
            map.insert(text.into_owned(), lower(value));
        }
    }
    map
}

// The reader bounds the depth of the tree.
pub(crate) fn lower(node: Node<'_>) -> Value {
    match node.kind() {
        Kind::Nil | Kind::Uuid | Kind::Js | Kind::Broken => Value::Null,
        Kind::Bool(value) => Value::Bool(value),
        Kind::Number(number) => json_number(number),
        Kind::Text(text) => Value::String(text.into_owned()),
        Kind::Instant(text) => Value::String(text.to_owned()),
        Kind::Keyword(name) => Value::String(name.name().to_owned()),
        Kind::Symbol(name) => Value::String(name.full.to_owned()),
        Kind::Items(items) => items.map(lower).collect(),
        Kind::Map(_) => Value::Object(lower_map(node, true)),
    }
}
