//! Converts PM2's list to the model. No other file knows how PM2's flat record mixes attributes with environment variables.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use daemon_model::attribute::RecordKey;
use daemon_model::{Label, ObservedProcess, PmId, Status, Variables, attribute, env_text};
use rustc_hash::FxHashSet;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::payload::LABEL_KEY;
use crate::record::ProcessRecord;

/// Whether a bookkeeping key of PM2 is needed.
fn is_runtime(key: &str) -> bool {
    matches!(
        key,
        "pm_id" | "status" | "restart_time" | "unstable_restarts" | "pm_uptime" | "exit_code"
    )
}

/// Whether no comparison needs a key: PM2 sets it by itself, or keeps the derived value elsewhere.
fn is_unread(key: &str) -> bool {
    matches!(
        key,
        "cwd"
            | "username"
            | "km_link"
            | "instances"
            | "script"
            | "out_file"
            | "error_file"
            | "log_file"
            | "pid_file"
            | "execute_command"
            | "disable_trace"
    )
}

/// Reads one record.
#[must_use]
pub fn observe(record: &ProcessRecord) -> ObservedProcess {
    let mut reading = RecordReader {
        attributes: Vec::with_capacity(record.pm2_env.len()),
        ..RecordReader::default()
    };
    let mut env: Vec<(&String, &Value)> = Vec::with_capacity(record.pm2_env.len());
    for (key, value) in &record.pm2_env {
        match Kind::of(key) {
            Some(Kind::Variable) => env.push((key, value)),
            // These are read below, without copying all of them.
            Some(_) if key == "env" || key == LABEL_KEY => {}
            Some(kind) => reading.add_as(kind, key, value.clone()),
            None => {}
        }
    }
    let nested = record.pm2_env.get("env").and_then(Value::as_object);
    let nested = nested.into_iter().flatten();
    env.extend(nested.filter(|(key, _)| !attribute::is_record_key(key)));
    let env = env.into_iter();
    let env = env.filter_map(|(key, value)| Some((key.as_str(), text_of(value)?)));
    reading.label = label_of(&record.pm2_env);
    reading.name.clone_from(&record.name);
    reading.status = Some(record.status);
    reading.with_env(record.pm_id, record.pid, env.collect())
}

/// Stores texts that many processes share, such as inherited variables, only once.
#[derive(Debug, Default)]
pub(crate) struct Interner(FxHashSet<Arc<str>>);

impl Interner {
    fn share(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.0.get(text.as_str()) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }

    /// Drops the texts that are no longer in use.
    pub(crate) fn sweep(&mut self) {
        self.0.retain(|text| Arc::strong_count(text) > 1);
    }
}

/// What to do with one key of a record.
enum Kind {
    Variable,
    Attribute(&'static str),
    Runtime,
}

impl Kind {
    /// None if the key is ignored.
    fn of(key: &str) -> Option<Self> {
        match attribute::record_key(key) {
            None => Some(Self::Variable),
            Some((name, RecordKey::Attribute)) => {
                (!is_unread(name)).then_some(Self::Attribute(name))
            }
            Some((name, RecordKey::Runtime)) => is_runtime(name).then_some(Self::Runtime),
        }
    }
}

/// PM2's record of a process, read key by key.
#[derive(Default)]
pub(crate) struct RecordReader {
    name: String,
    status: Option<Status>,
    label: Option<Label>,
    is_module: bool,
    attributes: Vec<(&'static str, Value)>,
    env: Vec<(String, String)>,
    nested: Option<Map<String, Value>>,
    restarts: u32,
    unstable_restarts: u32,
    started_at_ms: Option<u64>,
    exit_code: Option<i64>,
    /// PM2's number, if the entry has one: a leftover of a reload has a text instead.
    pub(crate) pm_id: Option<PmId>,
}

impl RecordReader {
    fn add_as(&mut self, kind: Kind, key: &str, value: Value) {
        let count = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        match (kind, key, value) {
            (Kind::Variable, key, value) => self.env.extend(variable(key.to_owned(), value)),
            (_, "pm_id", value) => self.pm_id = count(&value).map(PmId),
            (_, "status", value) => self.status = value.as_str().map(Status::from_word),
            (_, "restart_time", value) => self.restarts = count(&value).unwrap_or(0),
            (_, "unstable_restarts", value) => {
                self.unstable_restarts = count(&value).unwrap_or(0);
            }
            (_, "pm_uptime", value) => self.started_at_ms = value.as_u64(),
            (_, "exit_code", value) => self.exit_code = value.as_i64(),
            (_, "env", Value::Object(nested)) => self.nested = Some(nested),
            (_, "env", _) => {}
            (_, LABEL_KEY, value) => self.label = Label::deserialize(value).ok(),
            (_, "name", Value::String(name)) => self.name = name,
            (_, "name", _) => {}
            (_, "pmx_module", value) => self.is_module = value == Value::Bool(true),
            (Kind::Attribute(name), _, value) => self.attributes.push((name, value)),
            (Kind::Runtime, ..) => {}
        }
    }

    /// PM2's rule for a process's environment: the record's top level, overwritten by the record's `env`.
    ///
    /// Source: PM2 7.0.4, `lib/God.js` (`executeApp`) and `lib/God/ForkMode.js`.
    pub(crate) fn process(
        mut self,
        pm_id: PmId,
        pid: Option<u32>,
        texts: &mut Interner,
    ) -> ObservedProcess {
        let nested = self.nested.take().into_iter().flatten();
        let nested = nested
            .filter(|(key, _)| !attribute::is_record_key(key))
            .filter_map(|(key, value)| variable(key, value));
        let env = std::mem::take(&mut self.env).into_iter().chain(nested);
        let env = env.map(|(key, value)| (texts.share(key), texts.share(value)));
        self.with_env(pm_id, pid, env.collect())
    }

    fn with_env(self, pm_id: PmId, pid: Option<u32>, env: Variables) -> ObservedProcess {
        ObservedProcess {
            pm_id,
            name: self.name,
            pid,
            status: self.status.unwrap_or(Status::Unknown),
            label: self.label,
            is_module: self.is_module,
            attributes: self.attributes.into_iter().collect(),
            env,
            restarts: self.restarts,
            unstable_restarts: self.unstable_restarts,
            started_at_ms: self.started_at_ms,
            exit_code: self.exit_code,
        }
    }
}

/// Reads a record directly from PM2's list, without building a map first.
impl<'de> Deserialize<'de> for RecordReader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = RecordReader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a process's record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecordReader, A::Error> {
                let mut reading = RecordReader::default();
                while let Some(Key(key)) = map.next_key()? {
                    match Kind::of(&key) {
                        Some(kind) => reading.add_as(kind, &key, map.next_value()?),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(reading)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A variable of the environment; none unless it is a scalar.
fn variable(key: String, value: Value) -> Option<(String, String)> {
    match value {
        Value::String(text) => Some((key, text)),
        other => Some((key, text_of(&other)?.into_owned())),
    }
}

/// A scalar as the text that a process sees in a variable.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Object(_) | Value::Array(_) | Value::Null => None,
        Value::String(text) => Some(text.into()),
        other => Some(env_text(other).into()),
    }
}

/// The label in a record, if it is complete.
#[must_use]
pub fn label_of(pm2_env: &Map<String, Value>) -> Option<Label> {
    Label::deserialize(pm2_env.get(LABEL_KEY)?).ok()
}
