//! Compares the attribute table with PM2's own validation schema.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use daemon_model::attribute::{ATTRIBUTES, Kind, find};
use serde_json::{Map, Value};

fn schema() -> Map<String, Value> {
    let pm2 = pm2_testbed::pm2_bin();
    // The real path of `bin/pm2` in the package, behind any links.
    let pm2 = pm2.canonicalize_utf8().unwrap();
    let path = pm2
        .parent()
        .and_then(|bin| bin.parent())
        .unwrap()
        .join("lib/API/schema.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn texts(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => BTreeSet::from([text.clone()]),
        Value::Array(items) => items
            .iter()
            .filter_map(|item| item.as_str().map(ToOwned::to_owned))
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// PM2's types for a kind. If there are several, PM2's schema is inconsistent.
fn types(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Bool => &["boolean"],
        Kind::BoolOrText => &["boolean string"],
        Kind::Number | Kind::Instances => &["number"],
        Kind::Text | Kind::ExecMode => &["string"],
        Kind::Words => &["array string"],
        Kind::BoolTextOrList => &["array boolean string"],
        Kind::List => &["array", "array string"],
        Kind::Memory | Kind::Duration | Kind::Account => &["number string"],
        // PM2 5.0 and 5.1 do not accept 0.
        Kind::Cron => &["number string", "string"],
        Kind::ExitCodes => &["array number"],
        Kind::Env => &["object string"],
        Kind::Map => &["object"],
        _ => &[],
    }
}

#[test]
fn the_table_is_that_of_pm2() {
    let schema = schema();
    let version = |attribute: &daemon_model::attribute::Attribute| attribute.since().is_some();
    for attribute in ATTRIBUTES {
        let Some(known) = schema.get(attribute.name) else {
            assert!(version(attribute), "PM2 has no `{}`", attribute.name);
            continue;
        };
        let expected = texts(&known["type"])
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(
            types(attribute.kind).contains(&expected.as_str()),
            "{}: PM2 takes {expected}, the table says {:?}",
            attribute.name,
            attribute.kind
        );
        for alias in texts(&known["alias"]) {
            let found = find(&alias).map(|found| found.name);
            assert_eq!(found, Some(attribute.name), "{alias}");
        }
        if let Some(default) = known.get("default") {
            assert_eq!(
                attribute.default_value().as_ref(),
                Some(default),
                "{}",
                attribute.name
            );
        }
    }
    for name in schema.keys().filter(|name| !name.starts_with('^')) {
        let found = find(name).map(|found| found.name);
        assert_eq!(found, Some(name.as_str()), "the table has no `{name}`");
    }
}
