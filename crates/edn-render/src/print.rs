//! Prints values as a definition that a user would write: the inverse of rendering.

use serde_json::{Map, Value};

use daemon_model::js_number;

use crate::reader::DEPTH;

/// The last column for a collection on one line.
const WIDTH: usize = 88;
/// The indentation of the value of a top-level key.
const INDENT: usize = 2;

/// Why a value cannot be expressed as a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unprintable {
    /// A key that JavaScript would lose.
    #[error("the key `__proto__` would be lost")]
    Proto,
    /// Collections are nested deeper than a definition may be.
    #[error("it is nested deeper than {DEPTH} levels")]
    TooDeep,
}

/// Prints a definition, with keys in the order of the map, as keywords if possible.
///
/// [Reading](crate::read) it returns the same map, with JavaScript's numbers: every number is a double. A map without `apps` comes
/// back with an empty list of them.
///
/// # Errors
/// [`Unprintable`] when no definition renders to the map.
///
/// ```
/// let config = serde_json::json!({ "apps": [{ "name": "api", "env": { "PORT": 80 } }] });
/// let text = edn_render::print(config.as_object().unwrap()).unwrap();
/// assert_eq!(text, "{:apps\n  [{:name \"api\"\n    :env {:PORT 80}}]}\n");
/// ```
pub fn print(definition: &Map<String, Value>) -> Result<String, Unprintable> {
    if definition.is_empty() {
        return Ok("{}\n".to_owned());
    }
    let mut out = Out::default();
    out.text.push('{');
    for (n, (key, value)) in definition.iter().enumerate() {
        if n > 0 {
            out.text.push_str("\n\n ");
        }
        // As a keyword, it would declare the variants of the definition.
        match key.as_str() {
            "profiles" => out.text.push_str("\"profiles\""),
            key => out.text.push_str(&key_text(key)?),
        }
        match value {
            Value::Array(_) | Value::Object(_) if !is_empty(value) => out.line(INDENT),
            _ => out.text.push(' '),
        }
        let is_apps = key == "apps";
        match value {
            Value::Array(apps) if is_apps && !apps.is_empty() => {
                out.text.push('[');
                for (n, app) in apps.iter().enumerate() {
                    if n > 0 {
                        out.text.push('\n');
                        out.line(INDENT + 1);
                    }
                    out.spread(app, 2)?;
                }
                out.text.push(']');
            }
            Value::Object(_) => out.spread(value, 1)?,
            value => out.value(value, 1)?,
        }
    }
    out.text.push_str("}\n");
    Ok(out.text)
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn column(&self) -> usize {
        let line = self.text.rsplit('\n').next().unwrap_or("");
        line.chars().count()
    }

    fn line(&mut self, column: usize) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', column));
    }

    /// Prints a value on the rest of the line if it fits, else with one element per line.
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Unprintable> {
        let short = inline(value, depth)?;
        let is_collection = matches!(value, Value::Array(_) | Value::Object(_));
        // The brackets that close after it need room, too.
        if !is_collection || self.column() + short.chars().count() + depth <= WIDTH {
            self.text.push_str(&short);
            return Ok(());
        }
        self.spread(value, depth)
    }

    /// Prints a collection with one element per line.
    fn spread(&mut self, value: &Value, depth: usize) -> Result<(), Unprintable> {
        let column = self.column() + 1;
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.text.push('{');
                for (n, (key, value)) in map.iter().enumerate() {
                    if n > 0 {
                        self.line(column);
                    }
                    self.text.push_str(&key_text(key)?);
                    self.text.push(' ');
                    self.value(value, depth + 1)?;
                }
                self.text.push('}');
            }
            Value::Array(items) if !items.is_empty() => {
                self.text.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        self.line(column);
                    }
                    self.value(item, depth + 1)?;
                }
                self.text.push(']');
            }
            value => self.text.push_str(&inline(value, depth)?),
        }
        Ok(())
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A value on one line of any length.
fn inline(value: &Value, depth: usize) -> Result<String, Unprintable> {
    if depth > DEPTH {
        return Err(Unprintable::TooDeep);
    }
    Ok(match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), js_number),
        Value::String(text) => string(text),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> =
                items.iter().map(|item| inline(item, depth + 1)).collect();
            format!("[{}]", items?.join(" "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| -> Result<String, Unprintable> {
                Ok(format!("{} {}", key_text(key)?, inline(value, depth + 1)?))
            };
            let entries: Result<Vec<_>, _> = map.iter().map(entry).collect();
            format!("{{{}}}", entries?.join(", "))
        }
    })
}

/// A key: a keyword, or a string if no keyword has this name.
fn key_text(key: &str) -> Result<String, Unprintable> {
    if key == "__proto__" {
        return Err(Unprintable::Proto);
    }
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '?');
    Ok(
        match key.starts_with(is_first) && key.chars().all(is_plain) {
            true => format!(":{key}"),
            false => string(key),
        },
    )
}

/// A string. Invisible characters and direction marks are escaped.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unseen(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Control characters, direction marks, other line ends and the byte order mark.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Options, read};

    fn printed(value: &Value) -> String {
        print(value.as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_definition_looks_as_a_person_would_write_it() {
        let value = json!({
            "apps": [
                {
                    "name": "api",
                    "script": "./server.js",
                    "args": ["--host", "127.0.0.1"],
                    "watch": false,
                    "env": { "NODE_ENV": "production", "GREETING": "a long text that makes the map long", "PORT": 8080 },
                    "env_production": {},
                    "node_args": ["--max-old-space-size=4096", "--enable-source-maps", "--trace-warnings", "--inspect"]
                },
                { "name": "worker", "script": "./worker.js", "2": 1, "a b": null, "x/y": "\u{1b}[1m" }
            ],
            "deploy": { "production": { "user": "deploy", "host": ["a", "b"] } },
            "profiles": "none"
        });
        insta::assert_snapshot!(printed(&value), @r#"
        {:apps
          [{:name "api"
            :script "./server.js"
            :args ["--host" "127.0.0.1"]
            :watch false
            :env {:NODE_ENV "production"
                  :GREETING "a long text that makes the map long"
                  :PORT 8080}
            :env_production {}
            :node_args ["--max-old-space-size=4096"
                        "--enable-source-maps"
                        "--trace-warnings"
                        "--inspect"]}

           {:name "worker"
            :script "./worker.js"
            "2" 1
            "a b" nil
            "x/y" "\u001b[1m"}]

         :deploy
          {:production {:user "deploy", :host ["a" "b"]}}

         "profiles" "none"}
        "#);
        let document = read(printed(&value).as_bytes(), &Options::default()).document;
        assert_eq!(Value::from(document.unwrap().value().clone()), value);
    }

    #[test]
    fn values_that_no_definition_renders_to_are_refused() {
        let proto = serde_json::from_str(r#"{"apps": [{"__proto__": 1}]}"#).unwrap();
        assert_eq!(print(&proto), Err(Unprintable::Proto));
        let mut value = json!(1);
        for _ in 0..600 {
            value = json!([value]);
        }
        let deep = json!({ "a": value });
        assert_eq!(print(deep.as_object().unwrap()), Err(Unprintable::TooDeep));
        assert_eq!(printed(&json!({})), "{}\n");
    }

    #[test]
    fn a_definition_may_be_as_deep_as_it_can_be_read() {
        let mut value = json!(1);
        for depth in 1.. {
            value = json!([value]);
            let Ok(text) = print(json!({ "a": value }).as_object().unwrap()) else {
                assert!(depth > 400, "{depth}");
                return;
            };
            assert!(
                read(text.as_bytes(), &Options::default())
                    .document
                    .is_some(),
                "{depth}"
            );
        }
    }
}
