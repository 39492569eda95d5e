//! The committed reference is the one that the table of attributes gives, and the schema agrees with what is read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use daemon_model::attribute::{ATTRIBUTES, Kind};
use daemon_model::{AppSpec, DaemonId, DocumentPath, Severity, SpecContext, reference};
use serde_json::{Value, json};

#[test]
fn the_committed_reference_is_up_to_date() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/definition-reference.md");
    let generated = reference::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/definition-reference.md is stale: UPDATE_DOCS=1 cargo test -p daemon-model --test reference"
    );
}

/// Whether the app can be given to PM2.
fn is_read(app: &Value) -> bool {
    let context = SpecContext {
        root: "/w".into(),
        home: "/home/me".into(),
        env_name: None,
        deploy: None,
    };
    let id = DaemonId::new("a").unwrap();
    let (_, findings) = AppSpec::read(&id, app, &DocumentPath::root(), &context);
    findings
        .iter()
        .all(|finding| finding.severity != Severity::Error)
}

#[test]
fn the_schema_accepts_what_is_read_and_rejects_what_is_not() {
    let schema = reference::json_schema();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", schema).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    let accepts = |app: &Value| {
        schemas
            .validate(&json!({ "//": "header", "apps": [app] }), index)
            .is_ok()
    };

    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(99),
        json!(100),
        json!(-1),
        json!(-5000),
        json!(2.5),
        json!(5_000_000_000_u64),
        json!(""),
        json!("0"),
        json!("max"),
        json!("50"),
        json!("100"),
        json!("-1"),
        json!("1.5"),
        json!("10s"),
        json!("300M"),
        json!("300MB"),
        json!("fork"),
        json!("cluster_mode"),
        json!("yes"),
        json!("*/5 * * * *"),
        json!("* * * *"),
        json!([]),
        json!(["a", "b"]),
        json!([0, 130]),
        json!([1.5]),
        json!([true]),
        json!([{}]),
        json!([null]),
        json!({}),
        json!({ "A": 1 }),
    ];
    let mut wrong = Vec::new();
    for attribute in ATTRIBUTES {
        for name in attribute.names() {
            for value in &values {
                // The schema does not know which names PM2 misreads, nor when a script is needed.
                let text = value.as_str();
                let about_names = attribute.name == "name" && text.is_some();
                let no_script = attribute.name == "script" && text.is_none_or(str::is_empty);
                // `0` is more than a pattern of fields can tell apart from other words.
                let odd_cron =
                    attribute.kind == Kind::Cron && text.is_some_and(|text| text.contains(' '));
                if about_names || no_script || odd_cron {
                    continue;
                }
                let mut app = json!({ "name": "x" });
                if attribute.name != "script" {
                    app["script"] = json!("s.js");
                }
                app[&name] = value.clone();
                if accepts(&app) != is_read(&app) {
                    wrong.push(format!("{app}: read {}", is_read(&app)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for (app, fits) in [
        (json!({ "name": "x" }), false),
        (json!({ "cmd": "s" }), true),
        (json!({ "script": "s", "env_production": 3 }), false),
        (json!({ "script": "s", "env_file": "x" }), true),
        (json!({ "script": "s", "unknown": 3 }), true),
        (
            json!({ "script": "s", "pm2-sync": { "on-change": "hold" } }),
            true,
        ),
        (
            json!({ "script": "s", "pm2-sync": { "on-chance": "hold" } }),
            false,
        ),
        (
            json!({ "script": "s", "pm2-sync": { "on-remove": "stop", "protect": true } }),
            true,
        ),
        (json!("s"), false),
    ] {
        assert_eq!(accepts(&app), fits, "{app}");
        assert_eq!(is_read(&app), fits, "{app}");
    }
}
