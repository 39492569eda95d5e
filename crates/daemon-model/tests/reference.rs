//! The committed reference matches the attribute table, and the schema agrees with the reader.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use daemon_model::attribute::{ATTRIBUTES, Kind};
use daemon_model::{AppSpec, DaemonId, DocumentPath, Severity, SpecContext, reference};
use serde_json::{Value, json};

/// Compares a committed file with the generated text; `UPDATE_DOCS` writes it.
fn assert_committed(file: &str, generated: &str) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{file} is stale: UPDATE_DOCS=1 cargo test -p pm2-sync-model --test reference"
    );
}

#[test]
fn the_committed_reference_is_up_to_date() {
    assert_committed("docs/definition-reference.md", &reference::markdown());
}

#[test]
fn the_committed_schema_for_clojure_is_up_to_date() {
    assert_committed("editors/pm2_sync/definition.cljc", &reference::malli());
}

/// Whether the app can be passed to PM2.
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
fn the_schema_agrees_with_the_reader() {
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
                // A field pattern cannot distinguish `0` from other words.
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
        (json!({ "script": "s", "env_variable": "x" }), true),
        (json!({ "script": "s", "env_file": "x" }), true),
        (
            json!({ "script": "s", "env_file": ["x", { "path": "y", "required": false }] }),
            true,
        ),
        (json!({ "script": "s", "env_file": "" }), false),
        (json!({ "script": "s", "env_file": { "file": "y" } }), false),
        (json!({ "script": "s", "env_file": [["x"]] }), false),
        (
            json!({ "script": "s", "pm2-sync": { "interpolate": "yes" } }),
            false,
        ),
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
        (
            json!({ "script": "s", "pm2-sync": { "on-failure": "keep", "within": "30s", "canary": false } }),
            true,
        ),
        (
            json!({ "script": "s", "pm2-sync": { "on-failure": "explode" } }),
            false,
        ),
        (json!({ "script": "s", "pm2-sync": { "within": 0 } }), false),
        (json!({ "script": "s", "depends_on": ["a", "b/c"] }), true),
        (json!({ "script": "s", "dependsOn": [""] }), false),
        (json!({ "script": "s", "depends_on": { "a": {} } }), false),
        (json!("s"), false),
    ] {
        assert_eq!(accepts(&app), fits, "{app}");
        assert_eq!(is_read(&app), fits, "{app}");
    }
}

#[test]
fn the_schema_of_a_probe_accepts_everything_that_can_be_read() {
    let schema = reference::json_schema();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", schema).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    let tcp = json!({ "port": 1 });
    for (probe, fits) in [
        (json!(null), true),
        (
            json!({ "http_get": { "url": "http://localhost:${PORT}/", "timeout": 5, "retries": 3 } }),
            true,
        ),
        (
            json!({ "httpGet": { "port": "3000", "path": "/", "httpHeaders": [{ "name": "A", "value": "b" }] } }),
            true,
        ),
        (
            json!({ "http_get": { "port": 1, "headers": { "A": "b" }, "timeout_seconds": 0.5 } }),
            true,
        ),
        (json!({ "http_get": { "uri": "http://localhost/" } }), false),
        (json!({ "tcp_socket": { "port": 0 } }), false),
        (json!({ "tcp_socket": { "port": "x" } }), false),
        (json!({ "tcp_socket": { "host": "", "port": 1 } }), false),
        (
            json!({ "exec": { "command": "true" }, "http_get": null }),
            true,
        ),
        (json!({ "exec": { "command": [] } }), false),
        (
            json!({ "tcp_socket": tcp, "initial_delay": 0, "period": "2m", "timeout": "500ms" }),
            true,
        ),
        (
            json!({ "tcpSocket": tcp, "initialDelaySeconds": 0, "periodSeconds": 2, "timeoutSeconds": 0.5 }),
            true,
        ),
        (json!({ "tcp_socket": tcp, "period": 0 }), false),
        (json!({ "tcp_socket": tcp, "period_seconds": 0 }), false),
        (json!({ "tcp_socket": tcp, "timeout": -1 }), false),
        (json!({ "tcp_socket": tcp, "timeout": "1 s" }), false),
        (json!({ "tcp_socket": tcp, "timeout": 86_400_001 }), false),
        (
            json!({ "tcp_socket": tcp, "failureThreshold": 60, "successThreshold": 2 }),
            true,
        ),
        (json!({ "tcp_socket": tcp, "retries": 0 }), false),
        (json!({ "tcp_socket": tcp, "retries": 1.5 }), false),
        (json!({ "tcp_socket": tcp, "colour": "red" }), false),
        (json!("http://localhost/"), false),
    ] {
        for key in ["startup_probe", "readinessProbe", "liveness_probe"] {
            let app = json!({ "name": "x", "script": "s", key: probe });
            assert_eq!(is_read(&app), fits, "{app}");
            let document = json!({ "//": "header", "apps": [app] });
            let accepted = schemas.validate(&document, index).is_ok();
            assert_eq!(accepted, fits, "{document}");
        }
    }
}
