//! Each file of `fixtures/plan` tests one rule of the planner.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;

use camino::Utf8Path;
use common::{WORKSPACE, running, spec};
use daemon_model::{
    Action, AppSpec, DaemonId, Desired, DesiredDaemon, Label, Observed, ObservedProcess, OnRemove,
    PmId, Policy, RemovalCode, Status, attribute, check_plan, env_text, plan,
};
use serde_json::Value;

/// The process that PM2 would have after starting `app`, with the changes of a case.
fn process(case: &Value) -> ObservedProcess {
    let daemon = case["daemon"].as_str();
    let spec = spec(daemon.unwrap_or("nobody"), &case["app"]);
    let number = u32::try_from(case["pm_id"].as_u64().unwrap()).unwrap();
    let process = running(&spec, PmId(number));
    let mut attributes: Vec<(&'static str, Value)> = process
        .attributes
        .iter()
        .map(|(name, value)| (attribute::record_key(name).unwrap().0, value.to_value()))
        .collect();
    for (key, value) in case["attributes"].as_object().into_iter().flatten() {
        let (key, _) = attribute::record_key(key).unwrap();
        attributes.retain(|(known, _)| *known != key);
        attributes.push((key, value.clone()));
    }
    let env = process.env.iter();
    let mut env: Vec<(String, String)> = env
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for (key, value) in case["env"].as_object().into_iter().flatten() {
        env.retain(|(known, _)| known != key);
        env.push((key.clone(), env_text(value)));
    }
    let status: &str = case["status"].as_str().unwrap_or("online");
    ObservedProcess {
        pid: match case.get("pid") {
            Some(pid) => pid.as_bool().map(|_| 1000 + number),
            None => matches!(status, "online" | "launching").then_some(1000 + number),
        },
        status: Status::from_word(status),
        label: daemon.map(|_| Label {
            workspace: case["workspace"].as_str().unwrap_or(WORKSPACE).into(),
            app: case["labelled"].as_str().unwrap_or(spec.name()).to_owned(),
            ..spec.label(Utf8Path::new(WORKSPACE))
        }),
        attributes: attributes.into_iter().collect(),
        env: env.into_iter().collect(),
        unstable_restarts: u32::try_from(case["unstable_restarts"].as_u64().unwrap_or(0)).unwrap(),
        started_at_ms: Some(case["started_at_ms"].as_u64().unwrap_or(10_000)),
        exit_code: case["exit_code"].as_i64(),
        ..process
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
                list => DesiredDaemon::Apps(apps(id, list).into()),
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
        at_ms: 100_000,
        scripts_changed_ms: case["scripts_changed_ms"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(path, at)| (path.into(), at.as_u64().unwrap()))
            .collect(),
        usage: [].into(),
    };
    let given = &case["policy"];
    let ids = |text: &str| {
        text.split(' ')
            .map(|id| DaemonId::new(id).unwrap())
            .collect::<Vec<_>>()
    };
    let mut policy = common::policy();
    let is = |key: &str, default: bool| given[key].as_bool().unwrap_or(default);
    policy.prune = is("prune", true);
    policy.adopt = is("adopt", true);
    policy.defer_removal = is("defer_removal", false);
    policy.on_remove = match given["on_remove"].as_str() {
        Some("keep") => OnRemove::Keep,
        Some("stop") => OnRemove::Stop,
        _ => OnRemove::Delete,
    };
    policy.confirmed = given["confirmed"]
        .as_str()
        .and_then(|text| text.strip_prefix("of "))
        .map(|text| RemovalCode::of(Utf8Path::new(WORKSPACE), &ids(text)));
    policy.removed_lately = usize::try_from(given["removed_lately"].as_u64().unwrap_or(0)).unwrap();
    let number = |value: &Value| value.as_u64().and_then(|own| u32::try_from(own).ok());
    policy.own = number(&given["own"]).map(PmId);
    policy.scope.only = given["only"].as_array().map(|only| {
        let ids = only.iter().map(|id| id.as_str().unwrap());
        ids.map(|id| DaemonId::new(id).unwrap()).collect()
    });
    let desired = Desired {
        daemons,
        ..Desired::default()
    };
    (desired, observed, policy)
}

#[test]
fn every_rule_of_the_planner() {
    insta::glob!("../../../fixtures/plan", "*.json", |path| {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (desired, observed, policy) = world(&case);
        let planned = plan(&desired, &observed, &policy);
        check_plan(&planned, &desired, &observed, &policy).unwrap();
        let mut text = format!("{}\n\n", case["about"].as_str().unwrap());
        for step in &planned.plan.steps {
            let targets = step.action.targets().iter();
            let ids: Vec<u32> = targets.map(|target| target.pm_id.0).collect();
            let count = match &step.action {
                Action::Start { count, .. } => format!(" x{count}"),
                _ => format!(" {ids:?}"),
            };
            let reasons = serde_json::to_string(&step.reasons).unwrap();
            writeln!(
                text,
                "{}{count} {} {}: {reasons}",
                step.action.kind(),
                step.daemon,
                step.app
            )
            .unwrap();
        }
        if let Some(held) = &planned.plan.held {
            writeln!(text, "held: {} of {}", held.daemons.len(), held.managed).unwrap();
        }
        for app in planned.apps.iter() {
            writeln!(text, "= {} {}: {}", app.daemon, app.app, app.condition).unwrap();
        }
        insta::assert_snapshot!(text);
    });
}
