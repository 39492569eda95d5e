//! From PM2's list to the words of the model. The one place that knows how PM2's flat record mixes attributes
//! with environment variables.

use std::collections::BTreeMap;

use daemon_model::{Label, ObservedProcess, ProcessStatus, attribute, env_text};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::payload::LABEL_KEY;
use crate::record::{ProcessRecord, Status};

/// Reads one record.
#[must_use]
pub fn observe(record: &ProcessRecord) -> ObservedProcess {
    let number = |key: &str| record.pm2_env.get(key).and_then(Value::as_u64);
    let count = |key: &str| number(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    ObservedProcess {
        pm_id: record.pm_id.0,
        name: record.name.clone(),
        pid: record.pid,
        status: match record.status {
            Status::Online => ProcessStatus::Online,
            Status::Launching | Status::OneLaunch => ProcessStatus::Launching,
            Status::Stopping => ProcessStatus::Stopping,
            Status::Stopped => ProcessStatus::Stopped,
            Status::Errored => ProcessStatus::Errored,
            Status::WaitingRestart => ProcessStatus::WaitingRestart,
            Status::Other(_) => ProcessStatus::Unknown,
        },
        label: label_of(&record.pm2_env),
        is_module: record
            .pm2_env
            .get("pmx_module")
            .is_some_and(|v| *v == Value::Bool(true)),
        attributes: record
            .pm2_env
            .iter()
            .filter(|(key, _)| {
                attribute::by_own_name(key).is_some()
                    || attribute::DERIVED_KEYS.contains(&key.as_str())
            })
            .filter(|(key, _)| *key != "env")
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        env: environment(&record.pm2_env),
        restarts: count("restart_time"),
        unstable_restarts: count("unstable_restarts"),
        started_at_ms: number("pm_uptime"),
        exit_code: record.pm2_env.get("exit_code").and_then(Value::as_i64),
    }
}

/// The label in a record, if it is a whole one.
#[must_use]
pub fn label_of(pm2_env: &Map<String, Value>) -> Option<Label> {
    Label::deserialize(pm2_env.get(LABEL_KEY)?).ok()
}

/// The environment that PM2 gives the process: the record's top level, overwritten by its `env`.
///
/// Source: PM2 7.0.4, `lib/God.js` (`executeApp`) and `lib/God/ForkMode.js`.
fn environment(pm2_env: &Map<String, Value>) -> BTreeMap<String, String> {
    let nested = pm2_env.get("env").and_then(Value::as_object);
    pm2_env
        .iter()
        .chain(nested.into_iter().flatten())
        .filter(|(key, value)| {
            !attribute::is_record_key(key)
                && !value.is_object()
                && !value.is_array()
                && !value.is_null()
        })
        .map(|(key, value)| (key.clone(), env_text(value)))
        .collect()
}
