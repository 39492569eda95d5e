//! A definition as a JSON value: `cargo run --package edn-render --example to_value`.

use edn_render::{DrawStyle, Excerpts, Options, draw, read};

fn main() {
    let source = br#"{:apps [{:name "api" :script "api.js" :env {:PORT 8080}}]}"#;
    let rendered = read(source, &Options::default());
    let mut out = String::new();
    for found in &rendered.diagnostics {
        out += &draw(
            found,
            "ecosystem.edn",
            &Excerpts::in_full(source),
            DrawStyle::default(),
        );
    }
    if let Some(document) = rendered.document {
        out += &serde_json::Value::Object(document.value().clone()).to_string();
    }
    assert_eq!(
        out,
        r#"{"apps":[{"name":"api","script":"api.js","env":{"PORT":8080}}]}"#
    );
}
