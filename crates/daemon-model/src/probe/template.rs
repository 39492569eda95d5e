//! Text that refers to variables.

use std::fmt;

use serde::{Serialize, Serializer};

/// Text with `${NAME}` references to variables of a process. It displays as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

/// A `${` that does not start a valid reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `${{NAME}}` with a name of letters, digits and `_`, got `{written}`")]
pub struct InvalidReference {
    /// The text that was written.
    pub written: String,
}

impl Template {
    /// Parses text with references.
    ///
    /// # Errors
    /// [`InvalidReference`] at a `${` that is not followed by a name and `}`. A name consists of ASCII letters, digits and `_`, and
    /// does not start with a digit.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}').unwrap_or((after, ""));
            if !is_name(name) || after.len() == name.len() {
                let end = rest.len() - tail.len();
                return Err(InvalidReference {
                    written: rest[before.len()..end].to_owned(),
                });
            }
            push_text(&mut parts, before);
            parts.push(Part::Variable(name.to_owned()));
            rest = tail;
        }
        push_text(&mut parts, rest);
        Ok(Self(parts))
    }

    /// Literal text, without any references.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// The names of the variables that it refers to.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Replaces the references with the values of variables.
    ///
    /// # Errors
    /// The name of the first variable for which `value` returns none.
    pub fn resolve<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, &str> {
        let mut text = String::new();
        for part in &self.0 {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Variable(name) => value(name).ok_or(name.as_str())?,
            });
        }
        Ok(text)
    }

    pub(super) fn begins_with_reference(&self) -> bool {
        matches!(self.0.first(), Some(Part::Variable(_)))
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "${{{name}}}"),
        })
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_nothing_else_is() {
        for (text, resolved) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "1"),
            ("x${A}y${_b2}z", "x1y2z"),
            ("$A $$ {A} } $", "$A $$ {A} } $"),
            ("${A}}", "1}"),
        ] {
            let template = Template::parse(text).unwrap();
            let found = template.resolve(|name| match name {
                "A" => Some("1"),
                "_b2" => Some("2"),
                _ => None,
            });
            assert_eq!(found, Ok(resolved.to_owned()), "{text}");
            assert_eq!(template.to_string(), text);
        }
        let two = Template::parse("${A}${B}").unwrap();
        assert_eq!(two.resolve(|name| (name == "A").then_some("")), Err("B"));
        assert_eq!(
            Template::literal("${A").resolve(|_| None),
            Ok("${A".to_owned())
        );
    }

    #[test]
    fn a_value_is_not_searched_for_references() {
        let template = Template::parse("${A}").unwrap();
        assert_eq!(template.resolve(|_| Some("${B}")), Ok("${B}".to_owned()));
    }

    #[test]
    fn an_invalid_reference_is_quoted() {
        for (text, written) in [
            ("${", "${"),
            ("a${B", "${B"),
            ("${}", "${}"),
            ("${1A}/x", "${1A}"),
            ("${A:-3000}/x", "${A:-3000}"),
            ("${A}${B C}", "${B C}"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert_eq!(error.written, written, "{text}");
        }
        assert_eq!(
            Template::parse("${A:-1}").unwrap_err().to_string(),
            "expected `${NAME}` with a name of letters, digits and `_`, got `${A:-1}`"
        );
    }
}
