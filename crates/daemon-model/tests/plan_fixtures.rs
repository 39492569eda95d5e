//! One rule of the planner in each file of `fixtures/plan`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use camino::Utf8Path;
use daemon_model::{
    AppSpec, DaemonId, Desired, DesiredDaemon, DocumentPath, Label, Observed, ObservedProcess,
    OnRemove, Policy, ProcessStatus, SpecContext, Surroundings, attribute, check_plan, env_text,
    plan, removal_code,
};
use serde_json::{Value, json};

const WORKSPACE: &str = "/w";

fn spec(daemon: &str, app: &Value) -> AppSpec {
    let context = SpecContext {
        root: Utf8Path::new(WORKSPACE),
        home: Utf8Path::new("/home/me"),
        env_name: None,
        deploy: None,
    };
    let id = DaemonId::new(daemon).unwrap();
    let (spec, findings) = AppSpec::read(&id, app, &DocumentPath::root(), &context);
    spec.unwrap_or_else(|| panic!("{findings:?}"))
}

/// The process that PM2 would have after starting `app`.
fn process(case: &Value) -> ObservedProcess {
    let daemon = case["daemon"].as_str();
    let spec = spec(daemon.unwrap_or("nobody"), &case["app"]);
    let pm_id = u32::try_from(case["pm_id"].as_u64().unwrap()).unwrap();
    let mut attributes: BTreeMap<&'static str, Value> = BTreeMap::new();
    for (name, value) in spec.attributes() {
        attributes.insert(name, value.clone());
    }
    for file in ["out_file", "error_file", "log_file", "pid_file"] {
        attributes.remove(file);
    }
    for one in attribute::ATTRIBUTES {
        if let Some(default) = one.default_value() {
            attributes.entry(one.name).or_insert(default);
        }
    }
    let files = spec.files(Utf8Path::new("/pm2"), Some(pm_id));
    attributes.insert("pm_exec_path", json!(spec.script()));
    attributes.insert("pm_cwd", json!(spec.cwd()));
    attributes.insert("pm_out_log_path", json!(files.out));
    attributes.insert("pm_err_log_path", json!(files.err));
    attributes.insert("pm_pid_path", json!(files.pid));
    attributes.insert("exec_interpreter", json!("node"));
    attributes.insert(
        "exec_mode",
        json!(spec.exec_mode().as_pm2().unwrap_or("cluster_mode")),
    );
    for (key, value) in case["attributes"].as_object().into_iter().flatten() {
        let (key, _) = attribute::record_key(key).unwrap();
        attributes.insert(key, value.clone());
    }
    let mut env: BTreeMap<String, String> = spec
        .env()
        .iter()
        .map(|(key, value)| (key.clone(), env_text(value)))
        .collect();
    for (key, value) in case["env"].as_object().into_iter().flatten() {
        env.insert(key.clone(), env_text(value));
    }
    env.insert("PATH".into(), "/bin".into());
    let status: &str = case["status"].as_str().unwrap_or("online");
    ObservedProcess {
        pm_id,
        name: spec.name().to_owned(),
        pid: (status == "online" && case.get("pid") != Some(&Value::Null)).then_some(1000 + pm_id),
        status: match status {
            "online" => ProcessStatus::Online,
            "stopped" => ProcessStatus::Stopped,
            "errored" => ProcessStatus::Errored,
            other => panic!("status {other}"),
        },
        label: daemon.map(|_| Label {
            workspace: case["workspace"].as_str().unwrap_or(WORKSPACE).into(),
            ..spec.label(Utf8Path::new(WORKSPACE))
        }),
        is_module: false,
        attributes: attributes.into_iter().collect(),
        env: env.into_iter().collect(),
        restarts: 0,
        unstable_restarts: 0,
        started_at_ms: None,
        exit_code: case["exit_code"].as_i64(),
    }
}

fn world(case: &Value) -> (Desired, Observed, Policy) {
    let apps = |id: &str, list: &Value| -> Vec<AppSpec> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|app| spec(id, app))
            .collect()
    };
    let daemons = case["definitions"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, wanted)| {
            let daemon = match wanted {
                Value::String(_) => DesiredDaemon::Broken { last_good: vec![] },
                Value::Object(broken) => DesiredDaemon::Broken {
                    last_good: apps(id, &broken["last_good"]),
                },
                list => DesiredDaemon::Apps(apps(id, list)),
            };
            (DaemonId::new(id).unwrap(), daemon)
        })
        .collect();
    let observed = Observed {
        processes: case["processes"]
            .as_array()
            .unwrap()
            .iter()
            .map(process)
            .map(std::sync::Arc::new)
            .collect(),
        missing_workspaces: ["/gone".into()].into(),
        orphans: vec![],
    };
    let given = &case["policy"];
    let ids = |text: &str| {
        text.split(' ')
            .map(|id| DaemonId::new(id).unwrap())
            .collect::<Vec<_>>()
    };
    let policy = Policy {
        workspace: WORKSPACE.into(),
        around: Surroundings {
            pm2_home: "/pm2".into(),
            pass_env: vec![],
        },
        cpus: 4,
        prune: given["prune"].as_bool().unwrap_or(true),
        defer_removal: given["defer_removal"].as_bool().unwrap_or(false),
        on_remove: match given["on_remove"].as_str() {
            Some("keep") => OnRemove::Keep,
            Some("stop") => OnRemove::Stop,
            _ => OnRemove::Delete,
        },
        confirmed: given["confirmed"]
            .as_str()
            .and_then(|text| text.strip_prefix("of "))
            .map(|text| removal_code(Utf8Path::new(WORKSPACE), &ids(text))),
        adopt: given["adopt"].as_bool().unwrap_or(true),
        except: std::collections::BTreeSet::new(),
        last_wishes: BTreeMap::new(),
        own: given["own"]
            .as_u64()
            .and_then(|own| u32::try_from(own).ok()),
        only: given["only"].as_array().map(|only| {
            only.iter()
                .map(|id| DaemonId::new(id.as_str().unwrap()).unwrap())
                .collect()
        }),
    };
    (Desired { daemons }, observed, policy)
}

#[test]
fn every_rule_of_the_planner() {
    insta::glob!("../../../fixtures/plan", "*.json", |path| {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (desired, observed, policy) = world(&case);
        let plan = plan(&desired, &observed, &policy);
        check_plan(&plan, &desired, &observed, &policy).unwrap();
        let mut text = format!("{}\n\n", case["about"].as_str().unwrap());
        for step in &plan.steps {
            let ids: Vec<u32> = step
                .action
                .targets()
                .iter()
                .map(|target| target.pm_id)
                .collect();
            let count = match &step.action {
                daemon_model::Action::Start { count, .. } => format!(" x{count}"),
                _ => format!(" {ids:?}"),
            };
            let reasons = serde_json::to_string(&step.reasons).unwrap();
            writeln!(
                text,
                "{}{count} {} {}: {reasons}",
                step.action.word(),
                step.daemon,
                step.app
            )
            .unwrap();
        }
        if let Some(held) = &plan.held {
            writeln!(text, "held: {} of {}", held.daemons.len(), held.managed).unwrap();
        }
        for app in &plan.apps {
            writeln!(text, "= {} {}: {}", app.daemon, app.app, app.condition).unwrap();
        }
        insta::assert_snapshot!(text);
    });
}
