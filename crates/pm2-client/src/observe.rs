//! From PM2's list to the words of the model. The one place that knows how PM2's flat record mixes attributes
//! with environment variables.

use std::collections::BTreeMap;
use std::fmt;

use daemon_model::attribute::RecordKey;
use daemon_model::{Label, ObservedProcess, ProcessStatus, attribute, env_text};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::payload::LABEL_KEY;
use crate::record::{ProcessRecord, Status};

/// Reads one record.
#[must_use]
pub fn observe(record: ProcessRecord) -> ObservedProcess {
    let mut reading = Reading::default();
    for (key, value) in record.pm2_env {
        reading.add(key, value);
    }
    reading.name = record.name;
    reading.status = Some(record.status);
    reading.process(record.pm_id.0, record.pid)
}

/// PM2's record of a process, read key by key.
#[derive(Default)]
pub(crate) struct Reading {
    name: String,
    status: Option<Status>,
    label: Option<Label>,
    is_module: bool,
    attributes: Vec<(String, Value)>,
    env: BTreeMap<String, String>,
    nested: Option<Map<String, Value>>,
    restarts: u32,
    unstable_restarts: u32,
    started_at_ms: Option<u64>,
    exit_code: Option<i64>,
    /// PM2's number of it, where it is one: what a reload leaves behind has a text.
    pub(crate) pm_id: Option<u32>,
}

impl Reading {
    pub(crate) fn add(&mut self, key: String, value: Value) {
        let count = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        match attribute::record_key(&key) {
            None => self.env.extend(variable(key, value)),
            Some(RecordKey::Runtime) => match key.as_str() {
                "pm_id" => self.pm_id = count(&value),
                "status" => self.status = value.as_str().map(Status::from_word),
                "restart_time" => self.restarts = count(&value).unwrap_or(0),
                "unstable_restarts" => self.unstable_restarts = count(&value).unwrap_or(0),
                "pm_uptime" => self.started_at_ms = value.as_u64(),
                "exit_code" => self.exit_code = value.as_i64(),
                _ => {}
            },
            Some(RecordKey::Attribute) => match (key.as_str(), value) {
                ("env", Value::Object(nested)) => self.nested = Some(nested),
                ("env", _) => {}
                (LABEL_KEY, value) => self.label = Label::deserialize(&value).ok(),
                ("name", Value::String(name)) => self.name = name,
                ("pmx_module", value) => self.is_module = value == Value::Bool(true),
                // No comparison needs these: PM2 sets them by itself, or keeps what it made of them elsewhere.
                ("name" | "cwd" | "username" | "km_link", _) => {}
                (_, value) => self.attributes.push((key, value)),
            },
        }
    }

    /// PM2 gives a process the record's top level as its environment, overwritten by the record's `env`.
    ///
    /// Source: PM2 7.0.4, `lib/God.js` (`executeApp`) and `lib/God/ForkMode.js`.
    pub(crate) fn process(mut self, pm_id: u32, pid: Option<u32>) -> ObservedProcess {
        let nested = self.nested.into_iter().flatten();
        let nested = nested.filter(|(key, _)| !attribute::is_record_key(key));
        self.env
            .extend(nested.filter_map(|(key, value)| variable(key, value)));
        // As large as it has to be: a watch holds many of them for a long time.
        let mut attributes = Map::with_capacity(self.attributes.len());
        attributes.extend(self.attributes);
        ObservedProcess {
            pm_id,
            name: self.name,
            pid,
            status: match self.status {
                Some(Status::Online) => ProcessStatus::Online,
                Some(Status::Launching | Status::OneLaunch) => ProcessStatus::Launching,
                Some(Status::Stopping) => ProcessStatus::Stopping,
                Some(Status::Stopped) => ProcessStatus::Stopped,
                Some(Status::Errored) => ProcessStatus::Errored,
                Some(Status::WaitingRestart) => ProcessStatus::WaitingRestart,
                Some(Status::Other(_)) | None => ProcessStatus::Unknown,
            },
            label: self.label,
            is_module: self.is_module,
            attributes,
            env: self.env,
            restarts: self.restarts,
            unstable_restarts: self.unstable_restarts,
            started_at_ms: self.started_at_ms,
            exit_code: self.exit_code,
        }
    }
}

/// Reads the record as it stands in PM2's list, without making a map of it first.
impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Reading;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a process's record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reading, A::Error> {
                let mut reading = Reading::default();
                while let Some((key, value)) = map.next_entry()? {
                    reading.add(key, value);
                }
                Ok(reading)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A variable of the environment; what is no scalar is none.
fn variable(key: String, value: Value) -> Option<(String, String)> {
    match value {
        Value::Object(_) | Value::Array(_) | Value::Null => None,
        Value::String(text) => Some((key, text)),
        other => Some((key, env_text(&other))),
    }
}

/// The label in a record, if it is a whole one.
#[must_use]
pub fn label_of(pm2_env: &Map<String, Value>) -> Option<Label> {
    Label::deserialize(pm2_env.get(LABEL_KEY)?).ok()
}
