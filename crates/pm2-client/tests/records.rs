//! Real records of PM2 5, 6 and 7, each with what a user or PM2 did before, and whether that is drift.
//!
//! They are in `fixtures/records`, with paths, numbers and times replaced. `cargo xtask records --pm2 7` captures them again. The
//! model's own tests read them, too, without PM2.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/kinds.rs"]
mod kinds;

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use common::{World, host};
use daemon_model::{EnvPolicy, ObservedProcess, PmId, Status, diff};
use kinds::{kinds, write_scripts};
use pm2_client::{ConnectOptions, ProcessRecord, SocketAdapter, observe};
use pm2_testbed::{Testbed, pm2_bin, wait_for};
use serde_json::{Map, Value, json};

/// A scenario, and the expected result for PM2's records after it.
struct Scenario {
    did: String,
    app: Value,
    /// Whether PM2's own command line starts the app.
    is_by_hand: bool,
    /// The arguments of PM2's command line.
    verbs: &'static [&'static str],
    /// What differs from the definition afterwards, except for resets by PM2's command line without an effect.
    drift: &'static [&'static str],
    state: &'static str,
}

/// Kinds of apps whose records are stored.
const KINDS: [&str; 14] = [
    "fork",
    "fork-two",
    "cluster",
    "inferred-two",
    "unmerged",
    "logs",
    "cron",
    "watch",
    "env",
    "limits",
    "increment",
    "python",
    "bash",
    "command",
];

fn scenarios(root: &Utf8Path) -> Vec<Scenario> {
    let kinds = kinds(root);
    let kind = |name: &str| {
        kinds
            .iter()
            .find(|app| app["name"] == name)
            .unwrap()
            .clone()
    };
    let mut all = Vec::new();
    for name in KINDS {
        for (is_by_hand, did) in [
            (false, "pm2-sync started it"),
            (true, "pm2 start apps.json"),
        ] {
            all.push(Scenario {
                did: did.to_owned(),
                app: kind(name),
                is_by_hand,
                verbs: &[],
                // PM2's command line loses a 0 here.
                drift: match (name, is_by_hand) {
                    ("limits", true) => &["max_restarts"],
                    _ => &[],
                },
                state: "running",
            });
        }
    }
    let by_hand: [(
        &str,
        &'static [&'static str],
        &'static [&'static str],
        &'static str,
    ); 21] = [
        ("fork", &["restart app"], &[], "running"),
        ("cluster", &["reload app"], &[], "running"),
        ("unmerged", &["restart app"], &[], "running"),
        ("increment", &["restart app"], &[], "running"),
        ("env", &["restart app --update-env"], &[], "running"),
        ("fork", &["restart apps.json"], &[], "running"),
        ("fork", &["reset app"], &[], "running"),
        ("fork", &["monitor app", "restart app"], &[], "running"),
        ("fork", &["stop app"], &[], "stopped"),
        ("fork", &["stop app", "start app"], &[], "running"),
        ("watch", &["stop app"], &["watch"], "stopped"),
        ("watch", &["stop app", "start app"], &["watch"], "running"),
        (
            "unmerged",
            &["restart app", "save", "kill", "resurrect"],
            &[],
            "running",
        ),
        ("off", &["save", "kill", "resurrect"], &[], "ended"),
        ("cluster-two", &["scale app +1"], &[], "running"),
        ("args", &["restart app -- --y"], &["args"], "running"),
        (
            "limits",
            &["restart app --max-memory-restart 200M"],
            &["max_memory_restart"],
            "running",
        ),
        (
            "fork",
            &["restart app --name renamed"],
            &["name"],
            "running",
        ),
        (
            "cron",
            &["restart app --cron-restart 1"],
            &["cron_restart"],
            "running",
        ),
        (
            "space",
            &["restart app --namespace elsewhere"],
            &["namespace"],
            "running",
        ),
        (
            "fork",
            &["restart app --no-autorestart"],
            &["autorestart"],
            "running",
        ),
    ];
    for (name, verbs, drift, state) in by_hand {
        all.push(Scenario {
            did: verbs
                .iter()
                .map(|verb| format!("pm2 {verb}"))
                .collect::<Vec<_>>()
                .join(", "),
            app: kind(name),
            is_by_hand: false,
            verbs,
            drift,
            state,
        });
    }
    for (more, state) in [
        (json!({ "max_restarts": 2 }), "gave-up"),
        (
            json!({ "max_restarts": 2, "restart_delay": 100 }),
            "gave-up",
        ),
        (
            json!({ "max_restarts": 2, "exp_backoff_restart_delay": 100 }),
            "gave-up",
        ),
        (json!({ "restart_delay": 60_000 }), "crashing"),
        (
            json!({ "restart_delay": 60_000, "script": "end.js" }),
            "waiting",
        ),
        (json!({ "autorestart": false }), "ended"),
        (
            json!({ "autorestart": false, "restart_delay": 100 }),
            "ended",
        ),
        (
            json!({ "stop_exit_codes": [1], "restart_delay": 100 }),
            "ended",
        ),
    ] {
        let mut app = json!({ "script": "crash.js", "min_uptime": 9000 });
        for (key, value) in more.as_object().unwrap() {
            app[key] = value.clone();
        }
        all.push(Scenario {
            did: "its script ended".to_owned(),
            app,
            is_by_hand: false,
            verbs: &[],
            drift: &[],
            state,
        });
    }
    for scenario in &mut all {
        scenario.app["name"] = json!("app");
    }
    all
}

/// A PM2 on which scenarios run, one after the other.
struct Stage {
    bed: Testbed,
    world: World,
}

impl Stage {
    fn new() -> Self {
        let bed = Testbed::start();
        let root = bed.dir().join("w");
        std::fs::create_dir_all(&root).unwrap();
        write_scripts(&root);
        let world = World {
            root,
            pm2_home: bed.home().to_owned(),
            host: host(bed.env()),
            adapter: Box::new(
                SocketAdapter::connect(bed.home(), ConnectOptions::default()).unwrap(),
            ),
        };
        Self { bed, world }
    }

    /// Runs PM2's command line with only those variables that apps get anyway.
    fn pm2(&mut self, args: &str) {
        let args: Vec<&str> = match args {
            // One argument with spaces.
            "restart app --cron-restart 1" => vec!["restart", "app", "--cron-restart", "0 0 2 1 *"],
            args => args.split(' ').collect(),
        };
        let mut command = self.bed.command(&args);
        command.current_dir(&self.world.root).env_remove("_");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        if args != ["kill"] {
            let connected = SocketAdapter::connect(self.bed.home(), ConnectOptions::default());
            self.world.adapter = Box::new(connected.unwrap());
        }
    }

    /// The records of the app after a scenario.
    fn play(&mut self, scenario: &Scenario) -> Vec<ProcessRecord> {
        // So that the numbers change with `pm2 resurrect`.
        self.pm2("start app.sh --name first");
        if scenario.is_by_hand {
            let apps = json!({ "apps": [scenario.app] });
            std::fs::write(self.world.root.join("apps.json"), apps.to_string()).unwrap();
            self.pm2("start apps.json");
        } else {
            let apps = json!({ "apps": [scenario.app] });
            std::fs::write(self.world.root.join("apps.json"), apps.to_string()).unwrap();
            self.world
                .pass(&[("d", std::slice::from_ref(&scenario.app))]);
        }
        self.pm2("delete first");
        for verb in scenario.verbs {
            self.pm2(verb);
        }
        let world = &mut self.world;
        let mut records = Vec::new();
        wait_for(|| {
            records = world.list();
            records
                .iter()
                .all(|record| is_settled(record, scenario.state))
        });
        for record in &records {
            world.adapter.delete(record.pm_id).unwrap();
        }
        records
    }

    /// A record without values that differ between runs or machines.
    fn redact(&self, record: &ProcessRecord) -> Value {
        let mut pm2_env = record.pm2_env.clone();
        for noise in [
            "axm_actions",
            "axm_monitor",
            "axm_options",
            "axm_dynamic",
            "versioning",
            "vizion_running",
            "node_version",
            "version",
            "prev_restart_delay",
            "_tree_pids",
        ] {
            pm2_env.remove(noise);
        }
        let started = json!(1_700_000_000_000_u64);
        for time in ["pm_uptime", "created_at"] {
            if pm2_env.get(time).is_some_and(Value::is_number) {
                pm2_env.insert(time.to_owned(), started.clone());
            }
        }
        // The app's digest depends on the path of the workspace.
        if let Some(label) = pm2_env.get_mut("pm2_sync") {
            label["spec"] = json!("DIGEST");
        }
        let package = pm2_bin().canonicalize_utf8().unwrap();
        let package = package.ancestors().nth(2).unwrap().to_owned();
        let node = self.world.host.node();
        let path = std::env::var("PATH").unwrap();
        let places: [(&str, &str); 6] = [
            (self.world.root.as_str(), "/w"),
            (self.bed.home().as_str(), "/pm2"),
            (self.bed.dir().as_str(), "/home/me"),
            (package.as_str(), "/opt/pm2"),
            (node.as_str(), "/usr/bin/node"),
            (&path, "/usr/bin:/bin"),
        ];
        let mut record =
            json!({ "pid": record.pid.map(|_| 4000 + record.pm_id.0), "pm2_env": pm2_env });
        replace(&mut record, &places);
        record
    }
}

fn is_settled(record: &ProcessRecord, state: &str) -> bool {
    // Long after its start, so that only recorded values count.
    json!(observe(record).state(u64::MAX)) == state
}

/// Replaces paths and machine-specific texts in every string.
fn replace(value: &mut Value, places: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            for (from, to) in places {
                *text = text.replace(from, to);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, places)),
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "unique_id" => *value = json!("00000000-0000-4000-8000-000000000000"),
                    "username" => *value = json!("me"),
                    _ => replace(value, places),
                }
            }
        }
        _ => {}
    }
}

fn fixtures() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/records")
}

#[test]
#[ignore = "writes fixtures/records for the PM2 that the testbed runs: `cargo xtask records --pm2 7`"]
fn capture() {
    let mut stage = Stage::new();
    let version = stage.world.adapter.daemon_version().unwrap();
    let mut text = String::from("[\n");
    for (n, scenario) in scenarios(&stage.world.root.clone()).iter().enumerate() {
        let mut app = scenario.app.clone();
        let records: Vec<Value> = {
            let records = stage.play(scenario);
            records.iter().map(|record| stage.redact(record)).collect()
        };
        replace(&mut app, &[(stage.world.root.as_str(), "/w")]);
        let case = json!({
            "did": scenario.did, "app": app, "drift": scenario.drift, "state": scenario.state, "records": records,
        });
        let comma = if n == 0 { "" } else { ",\n" };
        write!(text, "{comma}{case}").unwrap();
    }
    text.push_str("\n]\n");
    let major = version.split('.').next().unwrap();
    std::fs::create_dir_all(fixtures()).unwrap();
    std::fs::write(fixtures().join(format!("pm2-{major}.json")), text).unwrap();
}

/// A record of a fixture, as PM2 lists it.
fn record(value: &Value) -> ProcessRecord {
    let pm2_env: Map<String, Value> = value["pm2_env"].as_object().unwrap().clone();
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    ProcessRecord {
        pm_id: PmId(number(&pm2_env["pm_id"]).unwrap()),
        name: pm2_env["name"].as_str().unwrap().to_owned(),
        pid: number(&value["pid"]),
        status: Status::from_word(pm2_env["status"].as_str().unwrap()),
        pm2_env,
        memory_bytes: 0,
        cpu_percent: 0.0,
    }
}

#[test]
fn every_record_is_observed_as_it_was() {
    let memory = pm2_client::MemoryAdapter::new();
    let world = World {
        root: "/w".into(),
        pm2_home: "/pm2".into(),
        host: common::memory_host(&memory),
        adapter: Box::new(memory),
    };
    let env_policy = EnvPolicy {
        pm2_home: "/pm2".into(),
        pass_env: vec![],
    };
    let (mut count, mut wrong) = (0, Vec::new());
    for file in std::fs::read_dir(fixtures()).unwrap() {
        let path = file.unwrap().path();
        let cases: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let spec = world.spec("d", &case["app"]);
            for found in case["records"].as_array().unwrap() {
                let process: ObservedProcess = observe(&record(found));
                let mut changes = diff(&spec, &process, &env_policy);
                changes.retain(|change| !change.is_reset_by_command_line());
                let fields: Vec<String> = changes.iter().map(|it| it.field.to_string()).collect();
                let state = json!(process.state(u64::MAX));
                if json!(fields) != case["drift"] || state != case["state"] {
                    let about = format!("{path:?}: {} {}", case["did"], case["app"]);
                    wrong.push(format!("{about}: {fields:?}, {state}"));
                }
                count += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 150, "only {count} records");
}
