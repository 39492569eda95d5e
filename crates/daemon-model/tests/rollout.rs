//! The rollout settings of an app: values in every spelling, and findings about problems.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::time::Duration;

use daemon_model::{
    AppSpec, Check, DaemonId, DocumentPath, Finding, Handler, OnFailure, Probe, ProbeKind, Rollout,
    Severity, SpecContext, Variables,
};
use serde_json::{Value, json};

fn read(mut app: Value) -> (Option<AppSpec>, Vec<Finding>) {
    app["name"] = json!("api");
    app["script"] = json!("./api.js");
    let context = SpecContext {
        root: "/w".into(),
        home: "/home/me".into(),
        env_name: None,
        deploy: None,
    };
    let id = DaemonId::new("services/api").unwrap();
    AppSpec::read(&id, &app, &DocumentPath::root(), &context)
}

/// The findings, one per line.
fn findings(app: Value) -> String {
    let (_, found) = read(app);
    let lines: Vec<String> = found
        .iter()
        .map(|finding| {
            let word = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let help = finding.help.as_ref();
            let help = help.map_or_else(String::new, |help| format!(" ({})", help.full()));
            let labels = finding.labels.iter();
            let labels: String = labels
                .map(|label| format!(" [{} {}]", label.path, label.message))
                .collect();
            format!(
                "{word}: {}: {}{help}{labels}",
                finding.path,
                finding.message.full()
            )
        })
        .collect();
    lines.join("\n")
}

/// The settings, which must have no findings.
fn rollout(app: Value) -> Rollout {
    let (spec, found) = read(app);
    assert_eq!(found, []);
    spec.unwrap().rollout().clone()
}

fn names(rollout: &Rollout) -> Vec<&str> {
    let names = rollout.depends_on.iter();
    names.map(|it| it.name.as_str()).collect()
}

fn readiness(probe: Value) -> Probe {
    rollout(json!({ "readiness_probe": probe }))
        .readiness
        .unwrap()
}

/// The check of a readiness probe in a process with PORT 3001.
fn check(probe: Value) -> Check {
    let variables: Variables = [("PORT", "3001")].into_iter().collect();
    let app = json!({ "readiness_probe": probe, "port": 3000 });
    let probe = rollout(app).readiness.unwrap();
    probe.handler.check(&variables, "/w".into()).unwrap()
}

fn http(host: &str, port: u16, target: &str) -> Check {
    Check::HttpGet {
        host: host.to_owned(),
        port,
        target: target.to_owned(),
        headers: Vec::new(),
    }
}

fn command(probe: Value) -> Vec<String> {
    match check(probe) {
        Check::Exec { command, .. } => command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let rollout = rollout(json!({
        "depends_on": ["db", "services/cache"],
        "env": { "PORT": 3000 },
        "startup_probe": {
            "http_get": { "url": "http://127.0.0.1:${PORT}/health" },
            "period": 500,
            "failure_threshold": 60,
        },
        "readiness_probe": { "http_get": { "url": "http://127.0.0.1:${PORT}/ready", "timeout": 1000 } },
        "liveness_probe": { "tcp_socket": { "port": 3000 }, "period": 10_000, "failure_threshold": 3 },
        "pm2-sync": { "on-failure": "stop", "within": "30s", "canary": false, "together": false },
    }));
    assert_eq!(names(&rollout), ["db", "services/cache"]);
    let startup = rollout.startup.unwrap();
    assert_eq!(startup.period, Duration::from_millis(500));
    assert_eq!(startup.failure_threshold.get(), 60);
    assert_eq!(rollout.readiness.unwrap().timeout, Duration::from_secs(1));
    assert!(matches!(
        rollout.liveness.unwrap().handler,
        Handler::TcpSocket { .. }
    ));
    assert_eq!(rollout.on_failure, OnFailure::Stop);
    assert_eq!(rollout.within, Some(Duration::from_secs(30)));
    assert!(!rollout.canary && !rollout.together);
}

#[test]
fn defaults_apply_to_undeclared_settings() {
    assert_eq!(rollout(json!({})), Rollout::default());
    assert_eq!(
        rollout(json!({ "readiness_probe": null, "depends_on": null })),
        Rollout::default()
    );
    let declared = rollout(json!({
        "startup_probe": { "exec": { "command": ["true"] } },
        "liveness_probe": { "exec": { "command": ["true"] } },
    }));
    for (probe, kind, period) in [
        (declared.startup.unwrap(), ProbeKind::Startup, 1),
        (declared.liveness.unwrap(), ProbeKind::Liveness, 10),
    ] {
        assert_eq!(probe, Probe::new(kind, probe.handler.clone()));
        assert_eq!(probe.initial_delay, Duration::ZERO);
        assert_eq!(probe.period, Duration::from_secs(period));
        assert_eq!(probe.timeout, Duration::from_secs(1));
        assert_eq!(probe.success_threshold.get(), 1);
        assert_eq!(probe.failure_threshold.get(), 3);
    }
}

#[test]
fn the_spellings_of_other_tools_mean_the_same() {
    let own = readiness(json!({
        "http_get": { "url": "http://127.0.0.1:3000/ready" },
        "initial_delay": "5s", "period": 2000, "timeout": "500ms", "failure_threshold": 4,
    }));
    for other in [
        // Kubernetes
        json!({
            "httpGet": { "path": "/ready", "port": 3000, "scheme": "HTTP" },
            "initialDelaySeconds": 5, "periodSeconds": 2, "timeoutSeconds": 0.5, "failureThreshold": 4,
        }),
        // process-compose
        json!({
            "http_get": { "host": "127.0.0.1", "scheme": "http", "path": "/ready", "port": "3000" },
            "initial_delay_seconds": 5, "period_seconds": 2, "timeout_seconds": 0.5, "failure_threshold": 4,
        }),
        json!({
            "http_get": { "url": "http://127.0.0.1:3000/ready", "timeout": 500, "retries": 4 },
            "initial_delay": 5000, "period": "2s",
        }),
        json!({
            "http_get": { "path": "ready", "port": 3000 },
            "initial_delay": 5000, "period": "2s", "timeout": 500, "retries": 4,
        }),
    ] {
        assert_eq!(readiness(other.clone()), own, "{other}");
    }
    let camel =
        rollout(json!({ "livenessProbe": { "tcpSocket": { "port": 1 } }, "dependsOn": "db" }));
    assert!(camel.liveness.is_some());
    assert_eq!(names(&camel), ["db"]);
}

#[test]
fn handlers_resolve_to_complete_checks() {
    for (probe, expected) in [
        (
            json!({ "http_get": { "url": "http://localhost:${PORT}" } }),
            http("localhost", 3001, "/"),
        ),
        (
            json!({ "http_get": { "port": "${PORT}" } }),
            http("127.0.0.1", 3001, "/"),
        ),
        (
            json!({ "http_get": { "host": "::1", "port": 80, "path": "/a?b=${PORT}" } }),
            http("::1", 80, "/a?b=3001"),
        ),
        (
            json!({ "tcp_socket": { "port": "${PORT}" } }),
            Check::TcpSocket {
                host: "127.0.0.1".to_owned(),
                port: 3001,
            },
        ),
        (
            json!({ "tcp_socket": { "host": "[::1]", "port": "5432" } }),
            Check::TcpSocket {
                host: "::1".to_owned(),
                port: 5432,
            },
        ),
    ] {
        assert_eq!(check(probe.clone()), expected, "{probe}");
    }
    for headers in [
        json!({ "X-A": "b", "X-Port": "${PORT}", "X-N": 1 }),
        json!([{ "name": "X-A", "value": "b" }, { "name": "X-Port", "value": "${PORT}" }, { "name": "X-N", "value": 1 }]),
    ] {
        let Check::HttpGet { headers, .. } =
            check(json!({ "http_get": { "port": 1, "headers": headers } }))
        else {
            panic!("not a request");
        };
        let expected = [("X-A", "b"), ("X-Port", "3001"), ("X-N", "1")];
        assert_eq!(
            headers,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}

#[test]
fn a_shell_replaces_variables_itself() {
    assert_eq!(
        command(json!({ "exec": { "command": ["pg_isready", "-p", "${PORT}", 1] } })),
        ["pg_isready", "-p", "3001", "1"]
    );
    let text = "test \"${PORT:-1}\" = 3001 && echo ${undefined}";
    assert_eq!(
        command(json!({ "exec": { "command": text } })),
        ["sh", "-c", text]
    );
    assert_eq!(
        command(json!({ "exec": { "command": ["/bin/bash", "-c", text] } })),
        ["/bin/bash", "-c", text]
    );
}

#[test]
fn a_misspelt_key_gets_a_suggestion() {
    insta::assert_snapshot!(
        findings(json!({
            "readines_probe": {},
            "depends-on": [],
            "healthcheck": {},
            "readiness_probe": {
                "http_gett": {},
                "http_get": { "uri": "http://localhost/", "prot": 3000, "port": 1 },
                "timeout_secs": 1,
                "period_secons": 1,
                "grpc": {},
            },
            "liveness_probe": { "exec": { "comand": ["true"], "command": "true" } },
            "pm2-sync": { "on-fail": "keep", "witin": 3, "colour": 1 },
        })),
        @"
    warning: readines_probe: unknown attribute `readines_probe`: PM2 ignores it (did you mean `readiness_probe`?)
    warning: depends-on: unknown attribute `depends-on`: PM2 ignores it (write `depends_on`, with `_` in place of `-`)
    warning: healthcheck: unknown attribute `healthcheck`: PM2 ignores it (did you mean `readiness_probe`?)
    error: pm2-sync.on-fail: unknown key `on-fail` (did you mean `on-failure`?)
    error: pm2-sync.witin: unknown key `witin` (did you mean `within`?)
    error: pm2-sync.colour: unknown key `colour` (known keys are `canary`, `interpolate`, `on-change`, `on-failure`, `on-remove`, `protect`, `together` and `within`)
    error: readiness_probe.http_gett: unknown key `http_gett` (did you mean `http_get`?)
    error: readiness_probe.timeout_secs: unknown key `timeout_secs` (did you mean `timeout_seconds`?)
    error: readiness_probe.period_secons: unknown key `period_secons` (did you mean `period_seconds`?)
    error: readiness_probe.grpc: unknown key `grpc` (known keys are `http_get`, `tcp_socket`, `exec`, `initial_delay`, `period`, `timeout`, `success_threshold` and `failure_threshold`)
    error: readiness_probe.http_get.uri: unknown key `uri` (did you mean `url`?)
    error: readiness_probe.http_get.prot: unknown key `prot` (did you mean `port`?)
    error: liveness_probe.exec.comand: unknown key `comand` (did you mean `command`?)
    "
    );
}

#[test]
fn an_invalid_probe_is_an_error_at_its_position() {
    insta::assert_snapshot!(
        findings(json!({
            "startup_probe": "http://localhost/",
            "readiness_probe": { "period": 1000 },
            "liveness_probe": { "exec": { "command": "true" }, "tcp_socket": { "port": 1 } },
        })),
        @r#"
        error: startup_probe: expected a map, got "http://localhost/"
        error: readiness_probe: has no handler (add one of `:http_get`, `:tcp_socket` and `:exec`)
        error: liveness_probe.tcp_socket: a probe can have only one handler [liveness_probe.exec first defined here]
        "#
    );
    insta::assert_snapshot!(
        findings(json!({
            "readiness_probe": {
                "tcp_socket": { "host": "a b", "port": 0, "timeout": 10, "retries": 1 },
                "initial_delay": -1,
                "period": 0,
                "timeout_seconds": "soon",
                "success_threshold": 0,
                "failure_threshold": 2.5,
            },
            "readinessProbe": {},
        })),
        @r#"
        error: readiness_probe.tcp_socket.timeout: `timeout` and `timeout_seconds` are the same setting [readiness_probe.timeout_seconds first defined here]
        error: readiness_probe.tcp_socket.retries: `retries` and `failure_threshold` are the same setting [readiness_probe.failure_threshold first defined here]
        error: readiness_probe.tcp_socket.port: expected a port from 1 to 65535 or `${NAME}`, got 0
        error: readiness_probe.initial_delay: expected a number of milliseconds, or "500ms", "10s", "2m", got -1
        error: readiness_probe.period: must be longer than 0
        error: readiness_probe.timeout_seconds: expected a number of seconds, got "soon"
        error: readiness_probe.success_threshold: expected a whole number from 1, got 0
        error: readiness_probe.failure_threshold: expected a whole number from 1, got 2.5
        error: readinessProbe: `readinessProbe` and `readiness_probe` are the same key [readiness_probe first defined here]
        "#
    );
    insta::assert_snapshot!(
        findings(json!({
            "startup_probe": { "http_get": { "url": "https://localhost/", "port": 1 } },
            "readiness_probe": { "http_get": { "host": "localhost" } },
            "liveness_probe": { "http_get": {
                "url": "http://me:secret@localhost/",
                "headers": { "a b": "c", "Connection": "close", "X-A": [], "X-B": "a\nb" },
            } },
        })),
        @"
        error: startup_probe.http_get.port: `port` is part of `url` [startup_probe.http_get.url defined here]
        error: startup_probe.http_get.url: cannot probe `https://localhost/`: probes do not speak HTTPS (run a command that does, with `:exec`, or use `:tcp_socket`)
        error: readiness_probe.http_get: has no `port`
        error: liveness_probe.http_get.headers.a b: `a b` is not the name of a header
        error: liveness_probe.http_get.headers.Connection: a probe sets the header `Connection` itself
        error: liveness_probe.http_get.headers.X-A: expected a string, got a vector
        error: liveness_probe.http_get.url: probes do not send user names or passwords
        "
    );
    insta::assert_snapshot!(
        findings(json!({
            "startup_probe": { "http_get": { "host": "localhost/health", "port": 3000, "Path": "/" } },
            "readiness_probe": { "http_get": { "host": "localhost", "port": 3000, "path": "/a b" } },
            "StartupProbe": {},
        })),
        @"
        warning: StartupProbe: unknown attribute `StartupProbe`: PM2 ignores it (did you mean `startup_probe`?)
        error: startup_probe.http_get.Path: unknown key `Path` (did you mean `path`?)
        error: startup_probe.http_get.host: `localhost/health` is not a host name or an address
        error: readiness_probe.http_get: cannot probe `http://localhost:3000/a b`: it is not a valid URL
        "
    );
    insta::assert_snapshot!(
        findings(json!({
            "startup_probe": { "exec": {} },
            "readiness_probe": { "exec": { "command": [] } },
            "liveness_probe": { "exec": { "command": ["a", {}] } },
        })),
        @"
        error: startup_probe.exec: has no `command`
        error: readiness_probe.exec.command: expected a vector of strings, or one string for `sh -c`, got a vector
        error: liveness_probe.exec.command: expected a vector of strings, or one string for `sh -c`, got a vector
        "
    );
}

#[test]
fn references_are_checked() {
    insta::assert_snapshot!(
        findings(json!({
            "env": { "HOST": "localhost" },
            "increment_var": "PORT",
            "readiness_probe": { "http_get": { "url": "http://${HOST}:${PORT}/${NODE_APP_INSTANCE}/${LC_ALL}/${DB}" } },
            "liveness_probe": { "tcp_socket": { "host": "${HOST:-x}", "port": "${1}" } },
        })),
        @"
        warning: readiness_probe.http_get.url: the app does not set the variable `DB` (set it in `:env`, or pass it on with `:pass-env`)
        error: liveness_probe.tcp_socket.host: expected `${NAME}` with a name of letters, digits and `_`, got `${HOST:-x}`
        error: liveness_probe.tcp_socket.port: expected `${NAME}` with a name of letters, digits and `_`, got `${1}`
        "
    );
    assert_eq!(
        findings(
            json!({ "env_file": "x", "liveness_probe": { "tcp_socket": { "port": "${DB}" } } })
        )
        .lines()
        .filter(|line| !line.contains("env_file"))
        .count(),
        0
    );
}

#[test]
fn a_number_that_probably_means_seconds_gets_a_warning() {
    insta::assert_snapshot!(
        findings(json!({ "readiness_probe": { "tcp_socket": { "port": 1 }, "period": 10, "failure_threshold": 10 } })),
        @r#"warning: readiness_probe.period: a number without a unit is in milliseconds: this is 10 ms (write `"10s"` for seconds)"#
    );
}

#[test]
fn the_other_keys_are_checked() {
    insta::assert_snapshot!(
        findings(json!({
            "depends_on": ["db", "", 3, "db"],
            "pm2-sync": { "on-failure": "explode", "within": 0, "canary": "no", "together": 1 },
        })),
        @r#"
        error: depends_on[1]: expected an app name or a daemon ID, got ""
        error: depends_on[2]: expected an app name or a daemon ID, got 3
        warning: depends_on[3]: `db` is named twice
        error: pm2-sync.canary: expected true or false, got "no"
        error: pm2-sync.on-failure: expected :rollback, :keep or :stop, got "explode"
        error: pm2-sync.together: expected true or false, got 1
        error: pm2-sync.within: must be longer than 0
        "#
    );
    insta::assert_snapshot!(findings(json!({ "depends_on": { "db": { "condition": "service_healthy" } } })), @"error: depends_on: expected a vector of app names and daemon IDs, got a map");
}

#[test]
fn probes_restart_nothing() {
    let (plain, _) = read(json!({}));
    let (probed, _) =
        read(json!({ "liveness_probe": { "tcp_socket": { "port": 1 } }, "depends_on": ["db"] }));
    assert_eq!(plain.unwrap().digest(), probed.unwrap().digest());
}

#[test]
fn a_time_that_is_too_short_is_an_error() {
    for (app, expected) in [
        (
            json!({ "pm2-sync": { "within": 1000 } }),
            "error: pm2-sync.within: the app must be up for 1 s to be ready (`min_uptime`), so this must be longer",
        ),
        (json!({ "pm2-sync": { "within": 1001 } }), ""),
        (
            json!({ "min_uptime": "1m", "pm2-sync": { "within": "30s" } }),
            "error: pm2-sync.within: the app must be up for 60 s to be ready (`min_uptime`), so this must be longer",
        ),
        (
            json!({ "autorestart": false, "pm2-sync": { "within": 500 } }),
            "",
        ),
        (
            json!({
                "readiness_probe": { "tcp_socket": { "port": 1 }, "initial_delay": 1500, "success_threshold": 4, "period": 500 },
                "pm2-sync": { "within": "3s" },
            }),
            "error: pm2-sync.within: its probes take at least 3 s, so this must be longer",
        ),
        (
            json!({ "pm2-sync": { "canary": true } }),
            "warning: pm2-sync.canary: has no effect: in fork mode there is no second process to try a change",
        ),
        (
            json!({ "exec_mode": "cluster", "pm2-sync": { "canary": true } }),
            "",
        ),
    ] {
        assert_eq!(findings(app.clone()), expected, "{app}");
    }
}
