//! Checks the parts of a definition that cannot be rendered. Only parts that stay the same when the rest is fixed are checked, so
//! that every finding remains true then.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::lower::lower;
use crate::tree::{Kind, Node};

/// The readable part of an app in a definition that cannot be rendered.
#[derive(Debug, Clone)]
pub struct PartialApp {
    /// Its map, without the values that could not be read. For a duplicate key it has the first value.
    pub value: Value,
    /// Whether it has all values of the app, so that a missing key is absent.
    pub is_whole: bool,
}

/// Whether the first key that reads as `apps` is the one that counts, so that positions in it are found.
pub(crate) fn has_apps(root: Node<'_>) -> bool {
    let mut keys = root.entries().into_iter().flatten().map(|(key, _)| key);
    keys.find(|key| key.key_text().as_deref() == Some("apps"))
        .is_some_and(|key| key.is_keyword("apps"))
}

/// An app; none if it is not a map, or its keys are unknown.
pub(crate) fn of_app(node: Node<'_>) -> Option<PartialApp> {
    node.entries()?;
    let (map, is_whole) = map(node)?;
    Some(PartialApp {
        value: Value::Object(map),
        is_whole,
    })
}

// The reader bounds the depth of the tree.
fn value(node: Node<'_>) -> Option<Value> {
    match node.kind() {
        Kind::Broken | Kind::Uuid | Kind::Js => None,
        Kind::Number(number) if !number.is_finite() => None,
        Kind::Items(items) => items.map(value).collect(),
        Kind::Map(_) => map(node).map(|(map, _)| Value::Object(map)),
        _ => Some(lower(node)),
    }
}

/// The readable entries of a map, and whether these are all.
fn map(node: Node<'_>) -> Option<(Map<String, Value>, bool)> {
    let mut read = Map::new();
    let mut lost: BTreeSet<Cow<'_, str>> = BTreeSet::new();
    let mut is_whole = true;
    let mut values = node.values();
    while let Some(key) = values.next() {
        // If a key or its value is missing, what follows may be either a key or a value.
        let (entry, text) = (values.next()?, key.key_text()?);
        let is_lost = text == "__proto__"
            || matches!(key.kind(), Kind::Number(number) if !number.is_finite());
        match value(entry) {
            Some(entry) if !is_lost && !lost.contains(&text) && !read.contains_key(&*text) => {
                read.insert(text.into_owned(), entry);
            }
            found => {
                is_whole = false;
                if found.is_none() && !read.contains_key(&*text) {
                    lost.insert(text);
                }
            }
        }
    }
    Some((read, is_whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Options, read};

    /// The parts of a definition without a document: index, value, whether it is complete.
    fn parts(source: &str) -> Option<Vec<(usize, serde_json::Value, bool)>> {
        let rendered = read(source.as_bytes(), &Options::default());
        assert!(rendered.document.is_none(), "{source}");
        let partial = rendered.partial?;
        let all = partial.partial_apps(1000);
        Some(
            all.map(|(index, part)| (index, part.value, part.is_whole))
                .collect(),
        )
    }

    /// The readable part of `app`, next to a value that cannot be read.
    fn part(app: &str) -> Option<(serde_json::Value, bool)> {
        let all = parts(&format!("{{:apps [{app}] :x 08}}")).unwrap();
        assert!(all.len() <= 1);
        all.into_iter()
            .next()
            .map(|(_, value, whole)| (value, whole))
    }

    #[test]
    fn readable_parts_are_included_and_unreadable_ones_omitted() {
        assert_eq!(
            parts("{:apps [{:name \"a\" :b 08} 1 a@b {:name \"c\" :d {:e 1}}]}"),
            Some(vec![
                (0, json!({ "name": "a" }), false),
                (3, json!({ "name": "c", "d": { "e": 1 } }), true),
            ])
        );
        for lost in ["08", "1e400", "#foo {}", "[1 [08]]", "[{:y}]", "{08 1}"] {
            let app = format!("{{:a 1 :lost {lost}}}");
            assert_eq!(part(&app), Some((json!({ "a": 1 }), false)), "{lost}");
        }
        // The other entries of a nested map are still valid.
        assert_eq!(
            part("{:env {:A 08 :B 1}}"),
            Some((json!({ "env": { "B": 1 } }), true))
        );
    }

    #[test]
    fn the_first_of_duplicate_keys_counts() {
        for app in ["{:a 1 :a 2}", "{:a 1 \"a\" 2}", "{:a 1 :a 08}"] {
            assert_eq!(part(app), Some((json!({ "a": 1 }), false)), "{app}");
        }
        // The entry that cannot be read takes its place.
        assert_eq!(part("{:a 08 :a 1}"), Some((json!({}), false)));
    }

    #[test]
    fn a_map_with_unknown_keys_is_not_checked() {
        for app in ["{:a :b 1}", "{08 1 :a 2}", "{a@b \"x\"}"] {
            assert_eq!(part(app), None, "{app}");
        }
    }

    #[test]
    fn there_is_no_partial_document_if_nothing_can_be_checked() {
        for source in [
            "{:apps [{:a 1}",
            "[{:a 08}]",
            "{:a 08}",
            "{\"apps\" [{:a 1}] :apps [{:a 08}]}",
            "{:apps [{:a 08 :b #uuid \"x\"}]}",
            "{:apps [{:a 08} (f)]}",
            "(f 08)",
        ] {
            assert_eq!(parts(source), None, "{source}");
        }
        let source = b"{:apps [{:a 08}] :profiles {:x {}}}";
        for options in [
            Options {
                mode: Some("x".to_owned()),
                ..Options::default()
            },
            Options {
                set: vec!["apps.0.a=1".to_owned()],
                ..Options::default()
            },
        ] {
            assert!(read(source, &options).partial.is_none());
        }
        assert!(read(b"{:apps []}", &Options::default()).partial.is_none());
    }

    #[test]
    fn an_app_above_the_size_limit_is_omitted() {
        let app = format!("{{:a \"{}\"}}", "x".repeat(2000));
        assert_eq!(part(&app), None);
    }
}
