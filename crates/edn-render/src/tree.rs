//! What was read: values with their places, in source order.

use std::collections::BTreeMap;

use daemon_model::Span;

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

/// A double as JavaScript prints it.
///
/// Source: ECMAScript, `Number::toString`.
pub(crate) fn js_number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:e}", number.abs());
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = digits.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if number < 0.0 { "-" } else { "" };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let point = exponent + 1;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let split = |at: i32| digits.split_at(usize::try_from(at).unwrap_or(0));
    let body = if count <= point && point <= 21 {
        format!("{digits}{}", zeros(point - count))
    } else if 0 < point && point <= 21 {
        let (whole, rest) = split(point);
        format!("{whole}.{rest}")
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = split(1);
        let dot = if rest.is_empty() { "" } else { "." };
        format!(
            "{first}{dot}{rest}e{}{}",
            if exponent < 0 { "-" } else { "+" },
            exponent.abs()
        )
    };
    format!("{sign}{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_javascript() {
        for (number, text) in [
            (10.0, "10"),
            (-0.0, "0"),
            (1e21, "1e+21"),
            (123e18, "123000000000000000000"),
            (1.5e-7, "1.5e-7"),
            (0.000_001, "0.000001"),
            (-2.5, "-2.5"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(js_number(number), text);
        }
    }
}
