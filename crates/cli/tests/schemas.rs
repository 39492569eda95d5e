//! The JSON Schemas of command output, and the documentation generated from them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;

use common::contract;
use serde_json::{Map, Value};

/// A changed schema is a new promise to consumers of the output: only fields and words may be added.
#[test]
fn the_schemas_of_version_1_stay_as_they_are() {
    for name in contract::OUTPUTS {
        let schema = contract::schema(name);
        insta::assert_snapshot!(format!("schema-{name}"), format!("{schema:#}"));
    }
}

/// Everything above this line in docs/json.md is written by hand.
const MARK: &str =
    "<!-- Generated from here on: `UPDATE_DOCS=1 cargo test -p pm2-sync --test schemas`. -->\n";

#[test]
fn the_documentation_explains_every_field() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (by_hand, _) = text.split_once(MARK).unwrap();
    let expected = format!("{by_hand}{MARK}{}", reference());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    assert!(
        text == expected || std::env::var_os("UPDATE_DOCS").is_some(),
        "docs/json.md is stale: UPDATE_DOCS=1 cargo test -p pm2-sync --test schemas"
    );
}

/// All outputs, followed by the types of their fields.
fn reference() -> String {
    let mut out = "\n# Outputs\n".to_owned();
    let mut types = BTreeMap::new();
    for name in contract::OUTPUTS {
        let schema = contract::schema(name);
        let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
        types.extend(
            definitions
                .into_iter()
                .map(|(name, it)| (type_name(&name), it)),
        );
        section(&mut out, name, &schema);
    }
    out.push_str("\n# Types\n");
    // An output that is nested in another one is described already.
    types.retain(|name, _| !contract::OUTPUTS.contains(&name.as_str()));
    for (name, schema) in &types {
        section(&mut out, name, schema);
    }
    out
}

fn section(out: &mut String, name: &str, schema: &Value) {
    write!(out, "\n## {name}\n\n{}\n", description(schema)).unwrap();
    if let Some(mut fields) = schema["properties"].as_object().cloned() {
        // Described once, above.
        fields.retain(|field, _| !["version", "command", "exit_status"].contains(&field.as_str()));
        table(out, &fields);
    }
    let Some(variants) = schema["oneOf"].as_array() else {
        return;
    };
    // Plain words, or objects that are distinguished by one field.
    if variants
        .iter()
        .all(|variant| variant.get("const").is_some())
    {
        out.push_str("\n| value | meaning |\n| --- | --- |\n");
        for variant in variants {
            let word = variant["const"].as_str().unwrap();
            writeln!(out, "| `{word}` | {} |", description(variant)).unwrap();
        }
        return;
    }
    for variant in variants {
        let mut fields = variant["properties"].as_object().unwrap().clone();
        let tag = fields.iter().find(|(_, it)| it.get("const").is_some());
        let (tag, word) = tag
            .map(|(tag, it)| (tag.clone(), it["const"].clone()))
            .unwrap();
        fields.shift_remove(&tag);
        let word = word.as_str().unwrap();
        write!(out, "\n`\"{tag}\": \"{word}\"`: {}", description(variant)).unwrap();
        match variant["$ref"].as_str() {
            Some(reference) => writeln!(out, " With all fields of {}.", link(reference)).unwrap(),
            None => out.push('\n'),
        }
        if !fields.is_empty() {
            table(out, &fields);
        }
    }
}

fn table(out: &mut String, fields: &Map<String, Value>) {
    out.push_str("\n| field | type | meaning |\n| --- | --- | --- |\n");
    for (name, field) in fields {
        let kind = type_of(field);
        writeln!(out, "| `{name}` | {kind} | {} |", description(field)).unwrap();
    }
}

fn description(schema: &Value) -> String {
    let text = schema["description"].as_str();
    text.unwrap_or_else(|| panic!("no description: {schema:#}"))
        .replace('\n', " ")
}

/// A type in words, with links to types of the document.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return link(reference);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let options: Vec<String> = options.iter().map(type_of).collect();
        return options.join(" or ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", type_of(&schema["items"])),
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str().unwrap()).collect();
            names.join(" or ")
        }
        _ => "any value".to_owned(),
    }
}

fn link(reference: &str) -> String {
    let name = type_name(reference.rsplit('/').next().unwrap());
    format!("[{name}](#{name})")
}

/// The name of a type in the documentation: `FailedArtifactOutput` is `failed-artifact`.
fn type_name(name: &str) -> String {
    let mut words = String::new();
    for c in name.trim_end_matches("Output").chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.extend(c.to_lowercase());
    }
    words
}
