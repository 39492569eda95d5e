//! The environment of an app: its blocks merged as PM2 merges them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::SpecContext;
use super::build::AppAt;
use super::outside::Sources;
use super::read::{Findings, check_env_keys};
use crate::attribute::OVERWRITTEN_ENV;
use crate::coerce::{env_text, env_value};
use crate::finding::{DocumentPath, Place};

pub(super) fn read_env(
    values: &mut BTreeMap<&'static str, Value>,
    at: AppAt<'_>,
    context: &SpecContext<'_>,
    sources: &mut Sources<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, Value> {
    let AppAt { app, path } = at;
    let interpolates = sources.interpolates;
    let mut env = sources.environment();
    let mut merge = |block: &Map<String, Value>, place: &DocumentPath, findings: &mut Findings| {
        for (key, value) in block {
            let place = || place.key(key);
            let value = sources.variable(key, env_value(value), place, findings);
            env.insert(key.clone(), value);
        }
    };
    if let Some(Value::Object(block)) = values.remove("env") {
        let place = path.key("env");
        check_env_keys(&block, &place, interpolates, findings);
        merge(&block, &place, findings);
    }
    // In PM2, `port` overrides a PORT of `env`, `deploy` overrides both (its comment says otherwise, but it merges into the same
    // object), and a selected `env_NAME` overrides all.
    if let Some(port) = values.get("port").filter(|port| port.as_f64() != Some(0.0)) {
        let port = Map::from_iter([("PORT".to_owned(), port.clone())]);
        merge(&port, path, findings);
    }
    if let Some(name) = context.env_name {
        let deploy = context.deploy.and_then(|deploy| deploy.get(name));
        let block = format!("env_{name}");
        let of_deploy = DocumentPath::root().key("deploy").key(name).key("env");
        let blocks = [
            (deploy.and_then(|target| target.get("env")), of_deploy),
            (app.get(&block), path.key(&block)),
        ];
        for (block, place) in blocks {
            if let Some(block) = block.and_then(Value::as_object) {
                merge(block, &place, findings);
            }
        }
    }
    // An overwritten variable can never be as defined.
    env.retain(|key, _| !OVERWRITTEN_ENV.contains(&key.as_str()));
    env
}

/// PM2 sets this variable for Python, whatever an app declares.
///
/// Source: PM2 7.0.4, `lib/Common.js`, `resolveInterpreter`.
const UNBUFFERED: &str = "PYTHONUNBUFFERED";

/// Removes the variable that PM2 sets for Python.
pub(super) fn drop_unbuffered(
    env: &mut BTreeMap<String, Value>,
    script: &str,
    interpreter: Option<&Value>,
    app: &Map<String, Value>,
    path: &DocumentPath,
    findings: &mut Findings,
) {
    let is_python = match interpreter.and_then(Value::as_str) {
        Some(interpreter) if !interpreter.is_empty() => interpreter.contains("python"),
        _ => script.ends_with(".py"),
    };
    if !is_python {
        return;
    }
    let has = |block: &&String| app[block.as_str()].get(UNBUFFERED).is_some();
    if env
        .remove(UNBUFFERED)
        .is_some_and(|value| env_text(&value) != "1")
    {
        let mut blocks = app
            .keys()
            .filter(|key| *key == "env" || key.starts_with("env_"));
        let block = blocks.find(has).map_or("env", String::as_str);
        findings.warning(
            &path.key(block).key(UNBUFFERED),
            Place::Key,
            "has no effect: PM2 sets it to 1 for Python",
            None,
        );
    }
}
