//! Properties that hold for every input.

use daemon_model::{Diagnostic, Level};
use edn_render::{Excerpts, Options, read, read_map};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A value as EDN text.
fn edn(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{} {}", edn(&json!(key)), edn(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(edn).collect::<Vec<_>>().join(" ")),
        Value::String(text) => {
            let mut out = String::from("\"");
            for c in text.chars() {
                match c {
                    '"' | '\\' => out.extend(['\\', c]),
                    '\n' => out.push_str("\\n"),
                    c => out.push(c),
                }
            }
            out + "\""
        }
        other => other.to_string(),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(Value::from),
        (-1e9..1e9_f64)
            .prop_filter("not whole", |n| n.fract() != 0.0)
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_ é漢]{1,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether edn-format 3.3.0 reads whole files correctly; there are known exceptions, for which its answer means nothing.
fn edn_format_is_reliable(text: &str) -> bool {
    // It rejects comments and discards before a closing bracket, metadata, and other tags; it ignores what follows the first form;
    // and it panics on `\u` before a character outside of ASCII.
    !text.contains([';', '#', '^', '\\', '\u{feff}'])
        && text.is_ascii()
        // It reads `1.` and `.5`, signs and octal numbers differently.
        && !text.contains(['.', '+', '/', '\'', '@', '~', '`'])
        && !text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.starts_with('0') && word.len() > 1)
}

fn from_edn_format(value: &edn_format::Value) -> Option<Value> {
    use edn_format::Value as Edn;
    Some(match value {
        Edn::Nil => Value::Null,
        Edn::Boolean(value) => json!(value),
        Edn::Integer(number) => json!(number),
        Edn::String(text) => json!(text),
        Edn::Keyword(keyword) => json!(keyword.name()),
        Edn::Symbol(symbol) => json!(symbol.to_string()),
        Edn::Vector(items) | Edn::List(items) => {
            Value::Array(items.iter().map(from_edn_format).collect::<Option<_>>()?)
        }
        Edn::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = match key {
                    Edn::Keyword(keyword) => keyword.name().to_owned(),
                    Edn::String(text) => text.clone(),
                    _ => return None,
                };
                map.insert(key, from_edn_format(value)?);
            }
            Value::Object(map)
        }
        _ => return None,
    })
}

/// Converts numbers to those of JavaScript.
fn doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => number
            .as_f64()
            .map_or(Value::Null, daemon_model::json_number),
        Value::Array(items) => items.into_iter().map(doubles).collect(),
        Value::Object(map) => {
            let entries = map.into_iter().map(|(key, value)| (key, doubles(value)));
            Value::Object(entries.collect())
        }
        other => other,
    }
}

/// A PM2 config with arbitrary content.
fn config() -> impl Strategy<Value = Map<String, Value>> {
    let number = any::<f64>().prop_filter("JSON", |n| n.is_finite());
    let leaf = prop_oneof![
        4 => value(),
        1 => any::<i64>().prop_map(Value::from),
        1 => number.prop_map(Value::from),
        1 => prop::collection::vec(any::<char>(), 0..40)
            .prop_map(|chars| Value::from(String::from_iter(chars))),
    ];
    let key = prop_oneof![
        Just("env".to_owned()),
        Just("profiles".to_owned()),
        Just("pm2-clj/remove".to_owned()),
        "[A-Z_]{1,12}",
        ".{0,8}",
    ];
    let app = prop::collection::hash_map(key.clone(), leaf.clone(), 0..6);
    let apps = prop::collection::vec(app, 0..4);
    let beside = prop::collection::hash_map(key, leaf, 0..3);
    (apps, beside).prop_map(|(apps, beside)| {
        let apps = apps
            .into_iter()
            .map(|app| Value::Object(app.into_iter().collect()));
        let mut config: Map<String, Value> = beside.into_iter().collect();
        config.insert("apps".to_owned(), apps.collect());
        config
            .into_iter()
            .map(|(key, value)| (key, doubles(value)))
            .collect()
    })
}

proptest! {
    #[test]
    fn a_printed_config_renders_to_itself(config in config()) {
        let text = edn_render::print(&config).unwrap();
        let rendered = read(text.as_bytes(), &Options::default());
        let document = rendered.document.ok_or_else(|| TestCaseError::fail(format!("{text}: {:?}", rendered.diagnostics)))?;
        prop_assert_eq!(document.value(), &config, "{}", text);
        let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(keys(document.value()), keys(&config));
    }

    #[test]
    fn a_printed_definition_reads_back_the_same(value in value()) {
        let text = format!("{{:v {}}}", edn(&value));
        let document = read_map(text.as_bytes()).map_err(|found| TestCaseError::fail(format!("{text}: {found:?}")))?;
        prop_assert_eq!(&document.value()["v"], &value);
        // An artifact reads back as the rendered document.
        let printed = edn_render::to_json(document.value(), Some("header"));
        let parsed = edn_render::artifact::parse(printed.as_bytes()).unwrap();
        prop_assert_eq!(&parsed, document.value());
        // The parsed tree prints the same as its value.
        let text = format!("{{:profiles {{}} :v {0} {0} 1}}", edn(&value));
        for text in [text, format!("{{:v {}, \"//\" 1, :apps \"\"}}", edn(&value))] {
            if let Some(document) = read(text.as_bytes(), &Options::default()).document {
                for header in [None, Some("header")] {
                    prop_assert_eq!(document.to_json(header), edn_render::to_json(document.value(), header));
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let rendered = read(&bytes, &Options::default());
        for found in &rendered.diagnostics {
            let style = edn_render::DrawStyle { color: true, width: Some(40) };
            let _ = edn_render::draw(found, "x.edn", &Excerpts::redacted(&bytes), style);
        }
    }

    #[test]
    fn no_edn_like_text_makes_it_panic(text in r#"[\[\](){}#_^:"\\;,'/@~`a-c0-9.\-+ \n\té😀]{0,80}"#) {
        let rendered = read(text.as_bytes(), &Options::default());
        for found in &rendered.diagnostics {
            let span = found.span.unwrap();
            prop_assert!(span.start <= span.end && span.end <= text.len(), "{:?}", found);
            for excerpts in [Excerpts::in_full(text.as_bytes()), Excerpts::redacted(text.as_bytes())] {
                let _ = edn_render::draw(found, "x.edn", &excerpts, edn_render::DrawStyle::default());
            }
        }
        let stops = |found: &Diagnostic| found.is_error() && found.level != Level::Definition;
        prop_assert_eq!(rendered.document.is_none(), rendered.diagnostics.iter().any(stops));
    }

    #[test]
    fn files_that_edn_format_can_read_read_the_same(text in r#"\{:v [\[\](){}:"a-c0-9 ,]{0,40}\}"#) {
        prop_assume!(edn_format_is_reliable(&text));
        if let (Ok(theirs), Ok(ours)) = (edn_format::parse_str(&text), read_map(text.as_bytes()))
            && let Some(theirs) = from_edn_format(&theirs)
        {
            prop_assert_eq!(Value::Object(ours.value().clone()), theirs, "{}", text);
        }
    }

    #[test]
    fn rendering_is_a_function_of_its_input(text in r#"\{:apps \[\{:name "[a-c]" :env \{:[a-c] [1-9][0-9]{0,2}\}\}\]\}"#) {
        let once = read(text.as_bytes(), &Options::default()).document.unwrap();
        let again = read(text.as_bytes(), &Options::default()).document.unwrap();
        prop_assert_eq!(edn_render::to_json(once.value(), None), edn_render::to_json(again.value(), None));
    }
}
