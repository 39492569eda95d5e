//! Validates the JSON output of the command line against the schemas that it prints.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// The schemas that `pm2-sync schema --output NAME` knows.
pub const OUTPUTS: [&str; 17] = [
    "plan",
    "sync",
    "status",
    "watch",
    "logs",
    "check",
    "render",
    "render-check",
    "render-stdout",
    "doctor",
    "up",
    "down",
    "import",
    "init",
    "history",
    "hold",
    "error",
];

/// The schema of an output.
pub fn schema(name: &str) -> Value {
    let done = Command::new(assert_cmd::cargo::cargo_bin!("pm2-sync"))
        .args(["schema", "--output", name])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Checks that a document matches its schema, has no fields unknown to the schema, and is consistent.
#[track_caller]
pub fn check(document: &Value) {
    static SCHEMAS: Mutex<BTreeMap<&str, (boon::Schemas, boon::SchemaIndex)>> =
        Mutex::new(BTreeMap::new());
    let name = name_of(document);
    let mut known = SCHEMAS.lock().unwrap_or_else(PoisonError::into_inner);
    let (schemas, index) = known.entry(name).or_insert_with(|| {
        let mut schema = schema(name);
        schema["unevaluatedProperties"] = false.into();
        let mut compiler = boon::Compiler::new();
        compiler.add_resource(name, schema).unwrap();
        let mut schemas = boon::Schemas::new();
        let index = compiler.compile(name, &mut schemas).unwrap();
        (schemas, index)
    });
    if let Err(error) = schemas.validate(document, *index) {
        panic!("not what the schema `{name}` says: {error:#}\n{document:#}");
    }
    if let (Some(in_sync), Some(exit)) = (document.get("in_sync"), document.get("exit_status")) {
        assert_eq!(in_sync, &Value::Bool(*exit == 0), "{document:#}");
    }
    if let (Some(in_sync), Some(problems)) = (document.get("in_sync"), document.get("problems")) {
        let has_none = problems.as_array().unwrap().is_empty();
        assert_eq!(in_sync, &Value::Bool(has_none), "{document:#}");
    }
}

/// The schema of a document, by the command and by the fields that only one of its outputs has.
fn name_of(document: &Value) -> &'static str {
    let has = |key: &str| document.get(key).is_some();
    match document["command"].as_str() {
        Some("watch") if has("event") => "watch",
        _ if has("hint") => "error",
        Some("render") if has("fresh") => "render-check",
        Some("render") if has("configs") => "render-stdout",
        Some("release" | "stop" | "start" | "restart" | "rollback") => "hold",
        Some(command) => OUTPUTS
            .into_iter()
            .find(|name| *name == command)
            .unwrap_or_else(|| panic!("no schema: {document:#}")),
        None => panic!("no command: {document:#}"),
    }
}
