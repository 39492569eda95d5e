//! Generates a Malli schema of definitions for Clojure tools, from the JSON Schema of artifacts.
//!
//! It is derived from that schema and not from the table, so that the two cannot disagree.

use std::fmt::Write;

use serde_json::{Map, Value};

const HEAD: &str = "\
;; Generated from the table in crates/daemon-model/src/attribute.rs: `UPDATE_DOCS=1 cargo test -p pm2-sync-model --test reference`.
(ns pm2-sync.definition
  \"A Malli schema of definitions (system/daemons/**/ecosystem.pm2.edn). Unknown keys are errors here; `pm2-sync check` warns of them.\"
  (:require [clojure.string :as str]
            [malli.core :as m]))

(defn- env-block?
  \"Whether a key names one of PM2's blocks of variables, such as :env_production.\"
  [key]
  (and (keyword? key) (str/starts-with? (name key) \"env_\")))
";

const TAIL: &str = "
(def definition
  \"A whole definition.\"
  [:schema {:registry registry}
   [:map {:closed true}
    [:apps [:or [:sequential ::app] [:set ::app]]]
    [:profiles {:optional true} [:map-of :any :map]]
    [:deploy {:optional true} [:maybe :map]]]])

(defn explain
  \"What is wrong with a definition; nil when nothing is. `malli.error/humanize` makes it readable.\"
  [value]
  (m/explain definition value))
";

/// The source of a namespace, `pm2-sync.definition`, with the translated `schema`.
pub(super) fn namespace(schema: &Value) -> String {
    let mut out = String::from(HEAD);
    out.push_str("\n(def registry\n  {");
    let definitions = schema["$defs"].as_object().into_iter().flatten();
    for (n, (name, value)) in definitions.enumerate() {
        let separator = if n == 0 { "" } else { "\n   " };
        // Writing to a string cannot fail.
        let _ = write!(out, "{separator}::{name}\n   {}", form(value));
    }
    out.push_str("})\n");
    out.push_str(TAIL);
    out
}

/// Translates a part of the schema to Malli.
fn form(schema: &Value) -> String {
    let mut alternatives: Vec<String> = Vec::new();
    let with_keys = schema.get("properties").is_some();
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or(name);
        alternatives.push(format!("[:ref ::{name}]"));
    }
    if let Some(value) = schema.get("const") {
        alternatives.push(literals(std::slice::from_ref(value)));
    }
    if let Some(values) = schema["enum"].as_array() {
        alternatives.push(literals(values));
    }
    // For an object, `anyOf` lists the required keys.
    let any = schema["anyOf"].as_array().filter(|_| !with_keys);
    alternatives.extend(any.into_iter().flatten().map(form));
    let types = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    alternatives.extend(types.into_iter().map(|name| of_type(name, schema)));
    alternatives.dedup();
    match &alternatives[..] {
        [] => ":any".to_owned(),
        [only] => only.clone(),
        several => format!("[:or {}]", several.join(" ")),
    }
}

fn of_type(name: &str, schema: &Value) -> String {
    match name {
        "null" => ":nil".to_owned(),
        "boolean" => ":boolean".to_owned(),
        "integer" => number(":int", schema),
        "number" => format!(
            "[:or {} {}]",
            number(":int", schema),
            number(":double", schema)
        ),
        "string" => match schema["pattern"].as_str() {
            Some(pattern) => format!("[:re {}]", text(pattern)),
            None if schema.get("minLength").is_some() => "[:string {:min 1}]".to_owned(),
            // A keyword or symbol is rendered as text.
            None => "[:or :string :keyword :symbol]".to_owned(),
        },
        "array" => {
            let item = schema.get("items").map_or(":any".to_owned(), form);
            let least = schema.get("minItems").map_or("", |_| "{:min 1} ");
            format!("[:or [:sequential {least}{item}] [:set {least}{item}]]")
        }
        _ => match schema["properties"].as_object() {
            Some(properties) => map(properties, schema),
            None => ":map".to_owned(),
        },
    }
}

fn number(name: &str, schema: &Value) -> String {
    let bound = |key: &str| schema.get(key).map(ToString::to_string);
    let least = bound("minimum").or_else(|| {
        // For integers, greater than 0 means at least 1.
        let exclusive = bound("exclusiveMinimum")?;
        Some(if name == ":int" {
            "1".to_owned()
        } else {
            exclusive
        })
    });
    // A double printed like an integer would be read as an integer.
    let shown = |number: String| match name {
        ":double" => format!("{number}.0"),
        _ => number,
    };
    let bounds: Vec<String> = [(":min", least), (":max", bound("maximum"))]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key} {}", shown(value?))))
        .collect();
    match &bounds[..] {
        [] => name.to_owned(),
        bounds => format!("[{name} {{{}}}]", bounds.join(" ")),
    }
}

/// A map without other keys, except PM2's `env_NAME` blocks if the schema allows them.
fn map(properties: &Map<String, Value>, schema: &Value) -> String {
    let mut keys: Vec<String> = properties
        .iter()
        .map(|(key, value)| format!("[:{key} {{:optional true}} {}]", form(value)))
        .collect();
    if schema.get("patternProperties").is_some() {
        keys.push(
            "[::m/default [:map-of [:fn {:error/message \"unknown key\"} env-block?] :any]]"
                .to_owned(),
        );
        return format!("[:map\n    {}]", keys.join("\n    "));
    }
    format!("[:map {{:closed true}} {}]", keys.join(" "))
}

/// The schema of a choice between these values. Strings may also be written as keywords.
fn literals(values: &[Value]) -> String {
    let mut shown = Vec::new();
    for value in values {
        match value {
            Value::String(value) => {
                shown.push(text(value));
                if !value.is_empty() {
                    shown.push(format!(":{value}"));
                }
            }
            Value::Null => shown.push("nil".to_owned()),
            value => shown.push(value.to_string()),
        }
    }
    format!("[:enum {}]", shown.join(" "))
}

fn text(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_part_of_a_schema_has_its_form() {
        for (schema, expected) in [
            (json!({}), ":any"),
            (json!({ "$ref": "#/$defs/wait" }), "[:ref ::wait]"),
            (
                json!({ "enum": ["fork", null, 0] }),
                "[:enum \"fork\" :fork nil 0]",
            ),
            (json!({ "const": "max" }), "[:enum \"max\" :max]"),
            (
                json!({ "type": ["boolean", "null"] }),
                "[:or :boolean :nil]",
            ),
            (
                json!({ "type": "integer", "exclusiveMinimum": 0 }),
                "[:int {:min 1}]",
            ),
            (
                json!({ "type": "number", "minimum": 0 }),
                "[:or [:int {:min 0}] [:double {:min 0.0}]]",
            ),
            (
                json!({ "type": "string", "pattern": "^\\s*$" }),
                "[:re \"^\\\\s*$\"]",
            ),
            (
                json!({ "type": "array", "items": { "type": "boolean" } }),
                "[:or [:sequential :boolean] [:set :boolean]]",
            ),
            (
                json!({ "type": "object", "properties": { "a": {} } }),
                "[:map {:closed true} [:a {:optional true} :any]]",
            ),
            (json!({ "type": "object" }), ":map"),
        ] {
            assert_eq!(form(&schema), expected, "{schema}");
        }
    }
}
