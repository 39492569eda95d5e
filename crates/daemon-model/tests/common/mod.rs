//! Apps, and processes as PM2 would report them.

#![allow(dead_code, reason = "each test uses a part")]
#![expect(clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use camino::Utf8Path;
use daemon_model::{
    AppSpec, DaemonId, DocumentPath, EnvPolicy, ObservedProcess, PmId, Policy, SpecContext, Status,
    Values, attribute, env_text,
};
use serde_json::{Value, json};

pub const WORKSPACE: &str = "/w";

pub fn id(text: &str) -> DaemonId {
    DaemonId::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub fn spec(daemon: &str, app: &Value) -> AppSpec {
    resolved(daemon, app, &Values::default())
}

/// An app whose references are replaced by these values.
pub fn resolved(daemon: &str, app: &Value, values: &Values) -> AppSpec {
    let context = SpecContext {
        root: Utf8Path::new(WORKSPACE),
        home: Utf8Path::new("/home/me"),
        env_name: None,
        deploy: None,
    };
    let path = DocumentPath::root();
    let (spec, findings) = AppSpec::resolve(&id(daemon), app, &path, &context, values);
    spec.unwrap_or_else(|| panic!("{findings:?}"))
}

pub fn policy() -> Policy {
    let env_policy = EnvPolicy {
        pm2_home: "/pm2".into(),
        pass_env: vec![],
    };
    let mut policy = Policy::new(WORKSPACE, env_policy, 4);
    policy.home = "/home/me".into();
    policy
}

/// The process that PM2 has after starting the app.
pub fn running(spec: &AppSpec, pm_id: PmId) -> ObservedProcess {
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
    let mut env: BTreeMap<String, String> = spec
        .env()
        .iter()
        .map(|(key, value)| (key.clone(), env_text(value)))
        .collect();
    env.insert("PATH".into(), "/bin".into());
    ObservedProcess {
        pm_id,
        name: spec.name().to_owned(),
        pid: Some(1000 + pm_id.0),
        status: Status::Online,
        label: Some(spec.label(Utf8Path::new(WORKSPACE))),
        is_module: false,
        attributes: attributes.into_iter().collect(),
        env: env.into_iter().collect(),
        restarts: 0,
        unstable_restarts: 0,
        started_at_ms: Some(10_000),
        exit_code: None,
    }
}
