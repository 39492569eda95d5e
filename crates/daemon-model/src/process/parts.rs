//! Compact attributes and variables of a process: a watch keeps those of every process for months.

use std::sync::Arc;

use serde_json::{Number, Value};

use crate::attribute;
use crate::coerce::env_text;

/// Attributes of a process and values that PM2 derives from them, by PM2's names. Values that are null, PM2's default, or an empty
/// list count as absent and are omitted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(Box<[(&'static str, Stored)]>);

/// The value of an attribute of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored(Kept);

/// Nearly all values are scalars, for which a [`Value`] is three times as large.
#[derive(Debug, Clone, PartialEq)]
enum Kept {
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    Other(Box<Value>),
}

impl Stored {
    fn new(value: Value) -> Self {
        Self(match value {
            Value::Bool(value) => Kept::Bool(value),
            Value::Number(number) => Kept::Number(number),
            Value::String(text) => Kept::Text(text.into()),
            other => Kept::Other(Box::new(other)),
        })
    }

    /// The value, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Kept::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value, if it is a non-negative integer.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match &self.0 {
            Kept::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// Whether it is `false`, or the text that PM2 reads as such.
    pub(crate) fn is_false(&self) -> bool {
        matches!(self.0, Kept::Bool(false)) || self.as_str() == Some("false")
    }

    /// The value as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.0 {
            Kept::Bool(value) => Value::Bool(*value),
            Kept::Number(number) => Value::Number(number.clone()),
            Kept::Text(text) => Value::String(text.to_string()),
            Kept::Other(value) => (**value).clone(),
        }
    }

    /// The value as text, as a process would see it in a variable.
    #[must_use]
    pub fn to_text(&self) -> String {
        env_text(&self.to_value())
    }
}

impl PartialEq<Value> for Stored {
    fn eq(&self, other: &Value) -> bool {
        match (&self.0, other) {
            (Kept::Bool(own), Value::Bool(other)) => own == other,
            (Kept::Number(own), Value::Number(other)) => own == other,
            (Kept::Text(own), Value::String(other)) => **own == **other,
            (Kept::Other(own), other) => **own == *other,
            _ => false,
        }
    }
}

impl Attributes {
    /// One attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Stored> {
        let found = self.0.binary_search_by_key(&name, |(name, _)| name).ok()?;
        self.0.get(found).map(|(_, value)| value)
    }

    /// All attributes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Stored)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

impl FromIterator<(&'static str, Value)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (&'static str, Value)>>(all: T) -> Self {
        let matters = |(name, value): &(&'static str, Value)| {
            let is_default = || attribute::by_own_name(name).is_some_and(|it| it.is_default(value));
            let is_empty = value.as_array().is_some_and(Vec::is_empty);
            !value.is_null() && !is_empty && !is_default()
        };
        let kept = all.into_iter().filter(matters);
        let mut kept: Vec<_> = kept
            .map(|(name, value)| (name, Stored::new(value)))
            .collect();
        kept.sort_by_key(|(name, _)| *name);
        Self(kept.into())
    }
}

/// Environment variables. Many processes can share their texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(Box<[(Arc<str>, Arc<str>)]>);

impl Variables {
    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(known, _)| (**known).cmp(name));
        self.0.get(found.ok()?).map(|(_, value)| &**value)
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// If a name occurs twice, the last one counts.
impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Variables {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(all: T) -> Self {
        let all = all.into_iter();
        let mut all: Vec<(Arc<str>, Arc<str>)> = all
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        // The sort is stable, so after reversing, the last of each name comes first.
        all.reverse();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.dedup_by(|(later, _), (kept, _)| later == kept);
        Self(all.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_nulls_are_left_out() {
        let all = [
            ("vizion", json!(true)),
            ("treekill", json!(false)),
            ("namespace", json!("default")),
            ("kill_retry_time", json!(100)),
            ("pm_cwd", json!("/w")),
            ("args", json!(["a"])),
            ("node_args", json!([])),
            ("uid", Value::Null),
        ];
        let attributes: Attributes = all.into_iter().collect();
        let names: Vec<&str> = attributes.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["args", "pm_cwd", "treekill"]);
        assert_eq!(attributes.get("args").unwrap(), &json!(["a"]));
        assert_eq!(attributes.get("pm_cwd").unwrap().as_str(), Some("/w"));
        assert_eq!(attributes.get("treekill").unwrap(), &json!(false));
        assert_ne!(attributes.get("treekill").unwrap(), &json!("false"));
        assert_eq!(attributes.get("vizion"), None);
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        for value in [
            json!(true),
            json!(1.5),
            json!(-3),
            json!("x"),
            json!(["x", 1]),
            json!({ "b": 1, "a": null }),
        ] {
            let stored = Stored::new(value.clone());
            assert_eq!(stored.to_value(), value);
            assert_eq!(stored, value);
        }
    }

    #[test]
    fn the_last_variable_of_a_name_counts() {
        let variables: Variables = [("B", "1"), ("A", "2"), ("B", "3"), ("AB", "4"), ("B", "5")]
            .into_iter()
            .collect();
        let all: Vec<_> = variables.iter().collect();
        assert_eq!(all, [("A", "2"), ("AB", "4"), ("B", "5")]);
        assert_eq!(variables.get("B"), Some("5"));
        assert_eq!(variables.get("C"), None);
    }
}
