//! Differences between processes and their definitions, in real records of PM2 5, 6 and 7 (`fixtures/records`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;

use camino::Utf8Path;
use daemon_model::attribute::{self, Cost, RecordKey, Role};
use daemon_model::{
    Action, AppSpec, Condition, DaemonId, Desired, DesiredDaemon, DocumentPath, EnvPolicy, Label,
    Observed, ObservedProcess, Orphan, PmId, Policy, SpecContext, Status, diff, env_text, plan,
};
use serde_json::{Map, Value, json};

fn spec(app: &Value) -> AppSpec {
    let context = SpecContext {
        root: Utf8Path::new("/w"),
        home: Utf8Path::new("/home/me"),
        env_name: None,
        deploy: None,
    };
    let id = DaemonId::new("d").unwrap();
    let (spec, findings) = AppSpec::read(&id, app, &DocumentPath::root(), &context);
    spec.unwrap_or_else(|| panic!("{app}: {findings:?}"))
}

fn env_policy() -> EnvPolicy {
    EnvPolicy {
        pm2_home: "/pm2".into(),
        pass_env: vec![],
    }
}

/// The commands given to PM2, and the records that it returned.
struct Case {
    about: String,
    did: String,
    app: Value,
    drift: Value,
    state: String,
    processes: Vec<ObservedProcess>,
}

fn cases() -> Vec<Case> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/records");
    let mut all = Vec::new();
    for major in [5, 6, 7] {
        let text = std::fs::read_to_string(format!("{dir}/pm2-{major}.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in cases {
            let spec = spec(&case["app"]);
            let records = case["records"].as_array().unwrap();
            let did = case["did"].as_str().unwrap().to_owned();
            all.push(Case {
                about: format!("PM2 {major}: {did}: {}", case["app"]),
                did,
                app: case["app"].clone(),
                drift: case["drift"].clone(),
                state: case["state"].as_str().unwrap().to_owned(),
                processes: records.iter().map(|it| process(it, &spec)).collect(),
            });
        }
    }
    all
}

/// A process from PM2's flat record. `spec` is what it was started from.
fn process(record: &Value, spec: &AppSpec) -> ObservedProcess {
    let record_keys = record["pm2_env"].as_object().unwrap();
    let number = |key: &str| record_keys.get(key).and_then(Value::as_u64);
    let small = |key: &str| number(key).and_then(|n| u32::try_from(n).ok());
    let mut attributes = BTreeMap::new();
    let mut env = BTreeMap::new();
    let mut add = |key: &str, value: &Value| match attribute::record_key(key) {
        Some((name, RecordKey::Attribute)) => {
            attributes.insert(name, value.clone());
        }
        Some((_, RecordKey::Runtime)) => {}
        None if value.is_object() || value.is_array() || value.is_null() => {}
        None => {
            env.insert(key.to_owned(), env_text(value));
        }
    };
    let nested = record_keys["env"].as_object().unwrap();
    for (key, value) in record_keys.iter().chain(nested) {
        add(key, value);
    }
    let mut label = record_keys.get("pm2_sync").cloned();
    if let Some(label) = &mut label {
        label["spec"] = json!(spec.digest());
    }
    let label: Option<Label> = label.map(|label| serde_json::from_value(label).unwrap());
    ObservedProcess {
        pm_id: PmId(small("pm_id").unwrap()),
        name: record_keys["name"].as_str().unwrap().to_owned(),
        pid: record["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok()),
        status: Status::from_word(record_keys["status"].as_str().unwrap()),
        label,
        is_module: false,
        attributes: attributes.into_iter().collect(),
        env: env.into_iter().collect(),
        restarts: small("restart_time").unwrap(),
        unstable_restarts: small("unstable_restarts").unwrap(),
        started_at_ms: number("pm_uptime"),
        exit_code: record_keys.get("exit_code").and_then(Value::as_i64),
    }
}

/// The plan for `app` while these processes run, long after their start.
fn planned(app: &Value, processes: &[ObservedProcess]) -> daemon_model::Planned {
    let apps = DesiredDaemon::Apps([spec(app)].into());
    let desired = Desired {
        daemons: [(DaemonId::new("d").unwrap(), apps)].into(),
        ..Desired::default()
    };
    let observed = Observed {
        processes: processes.iter().cloned().map(Into::into).collect(),
        at_ms: u64::MAX,
        ..Observed::default()
    };
    let policy = Policy::new("/w", env_policy(), 2);
    plan(&desired, &observed, &policy)
}

#[test]
fn each_record_is_drift_or_not_as_its_scenario_says() {
    let cases = cases();
    assert!(cases.len() > 150, "only {} cases", cases.len());
    for case in &cases {
        let spec = spec(&case.app);
        for process in &case.processes {
            let mut changes = diff(&spec, process, &env_policy());
            changes.retain(|change| !change.is_reset_by_command_line());
            let fields: Vec<String> = changes.iter().map(|it| it.field.to_string()).collect();
            assert_eq!(json!(fields), case.drift, "{}", case.about);
            assert_eq!(json!(process.state(u64::MAX)), case.state, "{}", case.about);
        }
    }
}

#[test]
fn the_plan_follows_from_the_manual_changes() {
    for case in cases() {
        let planned = planned(&case.app, &case.processes);
        let steps = planned.plan.steps.iter();
        let kinds: Vec<&str> = steps.map(|step| step.action.kind().as_str()).collect();
        let replaces = case.app.get("watch").is_some() || case.app.get("increment_var").is_some();
        let reloads = planned.plan.steps.iter().all(|step| {
            step.action.targets().iter().all(|target| {
                let process = case.processes.iter().find(|it| it.pm_id == target.pm_id);
                process.unwrap().text("exec_mode") == Some("cluster_mode")
            })
        });
        let expected: &[&str] = match (case.did.as_str(), case.state.as_str()) {
            // It is adopted, with the least disruptive step.
            ("pm2 start apps.json", _) if reloads => &["reload"],
            ("pm2 start apps.json", _) => &["restart"],
            ("pm2 scale app +1", _) => &["delete"],
            (_, "stopped") if !replaces => &["resume"],
            _ if case.drift == json!([]) => &[],
            _ if replaces => &["replace"],
            _ => &["restart"],
        };
        assert_eq!(kinds, expected, "{}", case.about);
        let condition = planned.apps[0].condition;
        let expected = match case.state.as_str() {
            _ if !expected.is_empty() => Condition::Pending,
            "crashing" | "gave-up" => Condition::Degraded,
            "ended" | "waiting" => Condition::Ended,
            _ => Condition::InSync,
        };
        assert_eq!(condition, expected, "{}", case.about);
    }
}

/// The processes that pm2-sync started on PM2 7 from the app with these keys in addition to the common ones.
fn started(wanted: Value) -> (Value, Vec<ObservedProcess>) {
    let is_it = |case: &Case| {
        let mut own = case.app.as_object().unwrap().clone();
        for key in ["name", "script", "kill_timeout", "listen_timeout"] {
            own.remove(key);
        }
        case.did == "pm2-sync started it"
            && case.app["script"] == "app.js"
            && Value::Object(own) == wanted
    };
    let case = cases().into_iter().rev().find(is_it).unwrap();
    (case.app, case.processes)
}

fn with(app: &Value, more: &Value) -> Value {
    let mut app = app.clone();
    for (key, value) in more.as_object().unwrap() {
        app[key] = value.clone();
    }
    app
}

/// Changes as `field: from -> to`.
fn changes(app: &Value, process: &ObservedProcess) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let changes = diff(&spec(app), process, &env_policy());
    let lines = changes.into_iter().map(|change| {
        format!(
            "{}: {} -> {}",
            change.field,
            text(change.from),
            text(change.to)
        )
    });
    lines.collect()
}

#[test]
fn an_edit_shows_as_changes_of_its_fields() {
    let (fork, processes) = started(json!({}));
    let process = &processes[0];
    assert!(changes(&fork, process).is_empty());
    for (edit, expected) in [
        (
            json!({ "script": "./other.js" }),
            &["script: /w/app.js -> /w/other.js"][..],
        ),
        (
            json!({ "script": "other.js" }),
            &["script: /w/app.js -> other.js"],
        ),
        (json!({ "script": "./app.js" }), &[]),
        (json!({ "script": "/w/app.js" }), &[]),
        (json!({ "cwd": "sub" }), &["cwd: /w -> /w/sub"]),
        (json!({ "cwd": "/w" }), &[]),
        (
            json!({ "interpreter": "bash" }),
            &["exec_interpreter: node -> bash"],
        ),
        (json!({ "interpreter": "node@20" }), &[]),
        (json!({ "interpreter": "lsc" }), &[]),
        (json!({ "exec_mode": "fork" }), &[]),
        (
            json!({ "args": "a 'b c'" }),
            &["args: - -> [\"a\",\"b c\"]"],
        ),
        (json!({ "env": { "A": 1 } }), &["env.A: - -> 1"]),
        (json!({ "env": { "LANG": "C.UTF-8" } }), &[]),
        (
            json!({ "env": { "LANG": "de" } }),
            &["env.LANG: C.UTF-8 -> de"],
        ),
        (
            json!({ "port": 80 }),
            &["port: - -> 80", "env.PORT: - -> 80"],
        ),
        (
            json!({ "out_file": "o.log" }),
            &["out_file: /pm2/logs/app-out.log -> /w/o.log"],
        ),
        (
            json!({ "error_file": "NULL" }),
            &["error_file: /pm2/logs/app-error.log -> /dev/null"],
        ),
        (
            json!({ "log_file": true }),
            &["log_file: - -> /pm2/logs/app.log"],
        ),
        (
            json!({ "pid_file": "p.pid" }),
            &["pid_file: /pm2/pids/app-1.pid -> /w/p-1.pid"],
        ),
        (
            json!({ "merge_logs": false }),
            &[
                "error_file: /pm2/logs/app-error.log -> /pm2/logs/app-error-1.log",
                "merge_logs: true -> -",
                "out_file: /pm2/logs/app-out.log -> /pm2/logs/app-out-1.log",
            ],
        ),
        (
            json!({ "exec_mode": "cluster", "merge_logs": true }),
            &["exec_mode: fork_mode -> cluster_mode"],
        ),
        (json!({ "uid": 1000 }), &["uid: - -> 1000"]),
        (
            json!({ "uid": "me", "gid": "us" }),
            &["gid: - -> us", "uid: - -> me"],
        ),
        (
            json!({ "time": true }),
            &[
                "log_date_format: - -> YYYY-MM-DDTHH:mm:ss",
                "time: - -> true",
            ],
        ),
        (json!({ "namespace": "default" }), &[]),
        (
            json!({ "name": "other" }),
            &[
                "error_file: /pm2/logs/app-error.log -> /pm2/logs/other-error.log",
                "name: app -> other",
                "out_file: /pm2/logs/app-out.log -> /pm2/logs/other-out.log",
                "pid_file: /pm2/pids/app-1.pid -> /pm2/pids/other-1.pid",
            ],
        ),
    ] {
        assert_eq!(changes(&with(&fork, &edit), process), expected, "{edit}");
    }
}

#[test]
fn every_stored_attribute_is_compared() {
    let (fork, processes) = started(json!({}));
    let process = &processes[0];
    let samples = [
        json!(true),
        json!(false),
        json!("15 3 * * *"),
        json!("x y"),
        json!("10s"),
        json!(7),
        json!(["x"]),
        json!({ "cwd": "/x" }),
    ];
    for one in attribute::ATTRIBUTES
        .iter()
        .filter(|one| one.role == Role::Stored)
    {
        let context = SpecContext {
            root: Utf8Path::new("/w"),
            home: Utf8Path::new("/home/me"),
            env_name: None,
            deploy: None,
        };
        let read = |value: &Value| {
            let app = with(&fork, &json!({ one.name: value }));
            let id = DaemonId::new("d").unwrap();
            AppSpec::read(&id, &app, &DocumentPath::root(), &context).0
        };
        let found = samples.iter().filter_map(read).any(|spec| {
            let fields = diff(&spec, process, &env_policy());
            fields
                .iter()
                .any(|change| change.field.to_string() == one.name)
        });
        // Their default is the same as every sample of their kind, or the written value does not change the record.
        assert!(found || one.name == "disable_trace", "{}", one.name);
    }
}

#[test]
fn removals_show_as_changes() {
    let (app, processes) = started(json!({ "env": { "A": "1", "B": { "c": 1 }, "N": null } }));
    let mut without = app.clone();
    without["env"] = json!({ "N": null });
    assert_eq!(
        changes(&without, &processes[0]),
        ["env.A: 1 -> -", "env.B: {\"c\":1} -> -"]
    );

    let (app, processes) = started(json!({
        "max_memory_restart": "500M", "max_restarts": 0, "restart_delay": 100, "min_uptime": "5s", "stop_exit_codes": [5],
    }));
    let bare = json!({ "name": "app", "script": "app.js", "kill_timeout": app["kill_timeout"], "listen_timeout": 2000 });
    assert_eq!(
        changes(&bare, &processes[0]),
        [
            "max_memory_restart: 524288000 -> -",
            "max_restarts: 0 -> -",
            "min_uptime: 5000 -> -",
            "restart_delay: 100 -> -",
            "stop_exit_codes: 5 -> -",
        ]
    );
}

#[test]
fn additions_by_pm2_and_the_machine_are_no_difference() {
    let (app, processes) = started(json!({}));
    let process = &processes[0];
    let with_env = |name: &str| {
        let mut process = process.clone();
        let own = process
            .env
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let all: Vec<(String, String)> = own.chain([(name.to_owned(), "x".to_owned())]).collect();
        process.env = all.into_iter().collect();
        process
    };
    for name in [
        "PATH",
        "HOME",
        "LC_TIME",
        "TZ",
        "PWD",
        "PM2_HOME",
        "unique_id",
        "PM2_USAGE",
        "PM2_JSON_PROCESSING",
        "updateEnv",
        "PYTHONUNBUFFERED",
        "NODE_CHANNEL_FD",
        "NODE_APP_INSTANCE",
        "app",
    ] {
        assert!(changes(&app, &with_env(name)).is_empty(), "{name}");
    }
    for name in ["OTHER", "PATHS", "PM2", "NODE_APP", "TOKEN"] {
        assert_eq!(
            changes(&app, &with_env(name)),
            [format!("env.{name}: x -> -")]
        );
    }
    // The instance number is in the variable that the app names.
    let other = with(&app, &json!({ "instance_var": "N" }));
    let found = changes(&other, &with_env("N"));
    assert!(
        !found.iter().any(|line| line.starts_with("env.N:")),
        "{found:?}"
    );
    assert!(
        found.contains(&"env.NODE_APP_INSTANCE: 0 -> -".to_owned()),
        "{found:?}"
    );
    // A counting variable has a different value in each process.
    let counting = with(&app, &json!({ "increment_var": "C", "env": { "C": 5 } }));
    let found = changes(&counting, &with_env("C"));
    assert_eq!(found, ["increment_var: - -> C"]);
}

fn set(process: &ObservedProcess, values: &Value) -> ObservedProcess {
    let mut process = process.clone();
    let kept = process
        .attributes
        .iter()
        .map(|(key, value)| (key, value.to_value()));
    let mut all: BTreeMap<&'static str, Value> = kept.collect();
    for (key, value) in values.as_object().unwrap_or(&Map::new()) {
        all.insert(attribute::record_key(key).unwrap().0, value.clone());
    }
    process.attributes = all.into_iter().collect();
    process
}

#[test]
fn choices_of_pm2_are_no_difference() {
    let (app, processes) = started(json!({}));
    let interpreter = |script: &str, has: &str| {
        let path = format!("/w/{script}");
        let process = set(
            &processes[0],
            &json!({ "exec_interpreter": has, "pm_exec_path": path }),
        );
        changes(
            &with(&app, &json!({ "script": format!("./{script}") })),
            &process,
        )
    };
    for (script, has) in [
        ("a.js", "node"),
        ("a.js", "/usr/bin/node"),
        ("a.js", "/opt/bun"),
        ("a.py", "python"),
        ("a.py", "python3"),
        ("a.sh", "bash"),
        ("a.rb", "ruby"),
        ("a.php", "php"),
        ("a.pl", "perl"),
        ("a.ts", "bun"),
        ("a.ts", "/usr/bin/node"),
        ("a.tsx", "bun"),
        ("a.coffee", "/opt/pm2/node_modules/.bin/coffee"),
        ("a.ls", "/x/lsc"),
        ("a", "none"),
        ("a", "/usr/bin/node"),
        ("a.bin", "none"),
    ] {
        assert!(interpreter(script, has).is_empty(), "{script} {has}");
    }
    for (script, has) in [
        ("a.js", "bash"),
        ("a.py", "node"),
        ("a.sh", "sh"),
        ("a", "python"),
        ("a.tsx", "node"),
    ] {
        let expected = [format!("exec_interpreter: {has} -> -")];
        assert_eq!(interpreter(script, has), expected, "{script}");
    }
    // A flag for TypeScript, which PM2 adds by itself.
    let typescript = set(
        &processes[0],
        &json!({ "pm_exec_path": "/w/a.ts", "node_args": ["--experimental-strip-types"] }),
    );
    let app_ts = with(&app, &json!({ "script": "./a.ts" }));
    assert!(changes(&app_ts, &typescript).is_empty());
    let javascript = set(&processes[0], &json!({ "node_args": ["--x"] }));
    assert_eq!(changes(&app, &javascript), ["node_args: [\"--x\"] -> -"]);
    // Any shell works for a command.
    let (command, processes) = started_command();
    for (shell, same) in [("/bin/bash", true), ("/bin/sh", true), ("/bin/zsh", false)] {
        let process = set(&processes[0], &json!({ "pm_exec_path": shell }));
        assert_eq!(changes(&command, &process).is_empty(), same, "{shell}");
    }
    // A group that PM2 adds for a user; users and groups by name are only looked up at the next start.
    let owned = set(
        &javascript,
        &json!({ "uid": 1000, "gid": 1000, "node_args": [] }),
    );
    for (account, expected) in [
        (json!({ "uid": 1000 }), &[][..]),
        (json!({ "uid": "me" }), &[]),
        (json!({ "uid": 1000, "gid": "us" }), &[]),
        (json!({ "uid": 1001 }), &["uid: 1000 -> 1001"]),
        (json!({ "uid": 1000, "gid": 7 }), &["gid: 1000 -> 7"]),
        (json!({}), &["gid: 1000 -> -", "uid: 1000 -> -"]),
    ] {
        assert_eq!(
            changes(&with(&app, &account), &owned),
            expected,
            "{account}"
        );
    }
}

fn started_command() -> (Value, Vec<ObservedProcess>) {
    let is_it =
        |case: &Case| case.app["script"] == "sleep 1000" && case.did == "pm2-sync started it";
    let case = cases().into_iter().rev().find(is_it).unwrap();
    (case.app, case.processes)
}

#[test]
fn the_number_in_the_name_of_a_file_is_no_difference() {
    let (app, processes) = started(json!({ "exec_mode": "cluster" }));
    let process = &processes[0];
    assert!(changes(&app, process).is_empty());
    for (path, same) in [
        ("/pm2/logs/app-out-1.log", true),
        ("/pm2/logs/app-out-27.log", true),
        ("/pm2/logs/app-out.log", false),
        ("/pm2/logs/app-out-x.log", false),
        ("/pm2/logs/app-out-1.txt", false),
        ("/pm2/logs/other-out-27.log", false),
        ("/x/app-out-27.log", false),
    ] {
        let process = set(process, &json!({ "pm_out_log_path": path }));
        assert_eq!(changes(&app, &process).is_empty(), same, "{path}");
    }
    // A shared log has no number.
    let (app, processes) = started(json!({}));
    let process = set(
        &processes[0],
        &json!({ "pm_out_log_path": "/pm2/logs/app-out-1.log" }),
    );
    assert!(!changes(&app, &process).is_empty());
}

#[test]
fn each_change_has_the_cost_in_the_table() {
    let (app, processes) = started(json!({}));
    for (edit, cost) in [
        (json!({ "args": "x" }), Cost::Restart),
        (json!({ "env": { "A": "1" } }), Cost::Restart),
        (json!({ "cron_restart": "0 0 * * *" }), Cost::HardRestart),
        (json!({ "watch": true }), Cost::Replace),
    ] {
        let found = diff(&spec(&with(&app, &edit)), &processes[0], &env_policy());
        assert_eq!(found[0].cost(), cost, "{edit}");
        let planned = planned(&with(&app, &edit), &processes);
        let kind = planned.plan.steps[0].action.kind().as_str();
        assert_eq!(kind == "replace", cost == Cost::Replace, "{edit}");
    }
    let reset = |edit: Value| {
        let found = diff(&spec(&with(&app, &edit)), &processes[0], &env_policy());
        found
            .iter()
            .any(daemon_model::Change::is_reset_by_command_line)
    };
    assert!(
        reset(json!({ "kill_retry_time": 5 }))
            && !reset(json!({ "args": "x", "env": { "merge_logs_": 1 } }))
    );
}

fn orphan() -> Orphan {
    Orphan {
        pid: 7,
        start_time_ticks: 1,
        name: "app".into(),
        script: "/w/app.sh".into(),
        cwd: "/w".into(),
        title: "node /w/app.sh".into(),
        command_line: vec!["/w/app.sh".into(), "old".into()],
    }
}

/// The steps for `app` with this orphan, while PM2 runs nothing.
fn steps_beside(app: &Value, orphan: Orphan) -> Vec<Action> {
    let apps = DesiredDaemon::Apps([spec(app)].into());
    let desired = Desired {
        daemons: [(DaemonId::new("d").unwrap(), apps)].into(),
        ..Desired::default()
    };
    let observed = Observed {
        orphans: vec![orphan],
        ..Observed::default()
    };
    let planned = plan(&desired, &observed, &Policy::new("/w", env_policy(), 2));
    planned
        .plan
        .steps
        .into_iter()
        .map(|step| step.action)
        .collect()
}

#[test]
fn an_orphan_is_recognised_after_edits_and_ends_before_its_app_starts() {
    let ends = |app: &Value, orphan: Orphan| {
        let steps = steps_beside(app, orphan);
        assert!(
            matches!(steps.last(), Some(Action::Start { count: 1, .. })),
            "{steps:?}"
        );
        matches!(&steps[..], [Action::KillOrphans { orphans, .. }, _] if orphans.len() == 1)
    };
    let app = json!({ "name": "app", "script": "./app.sh", "args": ["new"] });
    assert!(ends(&app, orphan()));
    // A Node process: with its full title, a truncated title, a title of its own, and before any title is set.
    let node_app = with(&app, &json!({ "script": "app.js" }));
    for (title, command_line) in [
        ("node /w/app.js", &["node /w/app.js", ""][..]),
        ("node /w/app.js", &["node /w/a"]),
        ("worker", &["worker"]),
        (
            "node /w/app.js",
            &["/usr/bin/node", "/lib/pm2/lib/ProcessContainerFork.js"],
        ),
    ] {
        let node = Orphan {
            script: "/w/app.js".into(),
            title: title.into(),
            command_line: command_line.iter().map(|&word| word.into()).collect(),
            ..orphan()
        };
        assert!(ends(&node_app, node.clone()), "{node:?}");
    }
    for command_line in [&["node"][..], &["node", "/w/b.js"], &["node /w/b.js"]] {
        let other = Orphan {
            script: "/w/app.js".into(),
            title: "node /w/app.js".into(),
            command_line: command_line.iter().map(|&word| word.into()).collect(),
            ..orphan()
        };
        assert!(!ends(&node_app, other.clone()), "{other:?}");
    }
    for other in [
        Orphan {
            name: "other".into(),
            ..orphan()
        },
        Orphan {
            script: "/w/other.sh".into(),
            ..orphan()
        },
        Orphan {
            cwd: "/x".into(),
            ..orphan()
        },
        Orphan {
            command_line: vec!["sleep".into(), "1".into()],
            ..orphan()
        },
        Orphan {
            command_line: vec![],
            ..orphan()
        },
    ] {
        assert!(!ends(&app, other.clone()), "{other:?}");
    }
}
