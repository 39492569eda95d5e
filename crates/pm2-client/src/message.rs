//! Messages that cannot crash PM2. The daemon does not check messages: a value of the wrong type throws in its only thread, and
//! ends all apps on the machine. So the constructors of the two messages with free-form data check every value that the daemon
//! relies on.
//!
//! Source: PM2 7.0.4, `lib/God.js`, `lib/God/ForkMode.js`, `lib/God/Methods.js`, `lib/Utility.js`, `lib/Worker.js`,
//! `lib/Watcher.js`; measured if `lib` leaves it open.

use daemon_model::attribute::FATAL_KEYS;
use daemon_model::survival;
use serde_json::{Map, Value};

/// The most instances that one message may request.
pub const MAX_INSTANCES: u64 = 4096;

/// Why a message must not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// A required key is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// PM2 cannot handle the type of a value.
    #[error("`{key}` must be {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// The expected type.
        expected: &'static str,
    },
    /// A text contains U+0000, which makes the spawn fail.
    #[error("`{0}` contains U+0000")]
    Nul(String),
    /// The key crashes the daemon when it compares or copies the map.
    #[error("a key is named `{0}`")]
    FatalKey(String),
    /// A reload with `autostart: false` crashes PM2.
    #[error("a reload needs `autostart: true`")]
    ReloadWithoutAutostart,
}

/// The argument of `prepare`: a whole app.
#[derive(Clone, PartialEq)]
pub struct Prepare(Map<String, Value>);

/// The data that a restart or reload merges into PM2's record: a whole app, and the text `null` for each key to remove.
#[derive(Clone, PartialEq)]
pub struct CurrentConf(Map<String, Value>);

/// A conf that is also safe for a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct ReloadConf(CurrentConf);

impl ReloadConf {
    /// The conf.
    #[must_use]
    pub fn conf(&self) -> &CurrentConf {
        &self.0
    }
}

#[derive(Clone, Copy)]
enum Rule {
    Text,
    FullText,
    Absolute,
    Bool,
    Number,
    /// Not negative, and finite like all JSON numbers.
    Count,
    Interner,
    TextOrTexts,
    Mode,
    Codes,
    Map,
    BoolOrText,
    BoolTextOrTexts,
    Cron,
    Variable,
    Watched,
    Patterns,
    WatchOptions,
}

impl Rule {
    fn expects(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::FullText => "a string that is not empty",
            Self::Absolute => "an absolute path",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Count => "a number that is not negative",
            Self::Interner => "an array of strings",
            Self::TextOrTexts => "a string or an array of strings",
            Self::Mode => "`fork_mode` or `cluster_mode`",
            Self::Codes => "an integer or an array of integers",
            Self::Map => "an object",
            Self::BoolOrText => "true, false or a string",
            Self::BoolTextOrTexts => "true, false, a string or an array of strings",
            Self::Cron => {
                "a cron pattern of five or six fields, each a list of plain values or one range"
            }
            Self::Variable => survival::FREE_VARIABLE,
            Self::Watched | Self::Patterns => survival::WATCH_PATTERNS,
            Self::WatchOptions => survival::WATCH_OPTIONS,
        }
    }

    fn fits(self, value: &Value) -> bool {
        let texts = |value: &Value| {
            value
                .as_array()
                .is_some_and(|items| items.iter().all(Value::is_string))
        };
        match self {
            Self::Text => value.is_string(),
            Self::FullText => value.as_str().is_some_and(|text| !text.is_empty()),
            Self::Absolute => value.as_str().is_some_and(|text| text.starts_with('/')),
            Self::Bool => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Count => value.as_f64().is_some_and(|n| n >= 0.0),
            Self::Interner => texts(value),
            Self::TextOrTexts => value.is_string() || texts(value),
            Self::Mode => matches!(value.as_str(), Some("fork_mode" | "cluster_mode")),
            Self::Codes => {
                value.is_i64()
                    || value
                        .as_array()
                        .is_some_and(|items| items.iter().all(Value::is_i64))
            }
            Self::Map => value.is_object(),
            Self::BoolOrText => value.is_boolean() || value.is_string(),
            Self::BoolTextOrTexts => value.is_boolean() || value.is_string() || texts(value),
            Self::Cron => value.as_str().is_some_and(daemon_model::is_cron_pattern),
            Self::Variable => value.as_str().is_some_and(survival::is_free_variable),
            Self::Watched => value.is_boolean() || survival::are_watch_patterns(value),
            Self::Patterns => survival::are_watch_patterns(value),
            Self::WatchOptions => value
                .as_object()
                .is_some_and(survival::watch_options_survive),
        }
    }
}

/// Required keys: without one, the daemon throws or does something unintended.
const REQUIRED: &[(&str, Rule)] = &[
    ("name", Rule::FullText),
    ("namespace", Rule::FullText),
    ("pm_exec_path", Rule::Absolute),
    ("pm_cwd", Rule::Absolute),
    ("pm_out_log_path", Rule::Absolute),
    ("pm_err_log_path", Rule::Absolute),
    ("pm_pid_path", Rule::Absolute),
    ("exec_mode", Rule::Mode),
    ("exec_interpreter", Rule::FullText),
    ("instance_var", Rule::Variable),
    ("autostart", Rule::Bool),
    ("autorestart", Rule::Bool),
    ("treekill", Rule::Bool),
    ("kill_retry_time", Rule::Count),
    ("node_args", Rule::Interner),
    ("env", Rule::Map),
];

/// The types of optional keys.
const OPTIONAL: &[(&str, Rule)] = &[
    ("pm_log_path", Rule::Absolute),
    ("args", Rule::TextOrTexts),
    ("uid", Rule::Count),
    ("gid", Rule::Count),
    ("max_memory_restart", Rule::Count),
    ("restart_delay", Rule::Count),
    ("exp_backoff_restart_delay", Rule::Count),
    ("kill_timeout", Rule::Count),
    ("listen_timeout", Rule::Count),
    ("watch_delay", Rule::Count),
    ("min_uptime", Rule::Count),
    ("max_restarts", Rule::Count),
    ("port", Rule::Number),
    ("stop_exit_codes", Rule::Codes),
    ("cron_restart", Rule::Cron),
    ("watch", Rule::Watched),
    ("filter_env", Rule::BoolTextOrTexts),
    ("ignore_watch", Rule::Patterns),
    ("watch_options", Rule::WatchOptions),
    ("io", Rule::Map),
    ("pmx", Rule::BoolOrText),
    ("increment_var", Rule::Variable),
    ("log_type", Rule::Text),
    ("log_date_format", Rule::Text),
    ("merge_logs", Rule::Bool),
    ("wait_ready", Rule::Bool),
    ("shutdown_with_message", Rule::Bool),
    ("vizion", Rule::Bool),
    ("disable_logs", Rule::Bool),
    ("windowsHide", Rule::Bool),
    ("pm2_sync", Rule::Map),
];

/// Keys that only PM2 itself may set.
const FORBIDDEN: &[&str] = &[
    "pm_id",
    "status",
    "pm_uptime",
    "restart_time",
    "unstable_restarts",
    // Data that apps report through PM2's agent: it crashes at the next report if the type is unexpected (PM2 7.0.4, lib/Daemon.js,
    // `axm:action`).
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
];

/// Pids that PM2 kills, whichever processes they belong to by now. A message may only clear them.
pub(crate) const TREE_PIDS: &str = "_tree_pids";

impl Prepare {
    /// Checks a whole app.
    ///
    /// # Errors
    /// [`InvalidMessage`] when it would crash PM2.
    pub fn new(map: Map<String, Value>) -> Result<Self, InvalidMessage> {
        check(&map, false)?;
        match map.get("instances") {
            None => return Err(InvalidMessage::Missing("instances")),
            Some(value)
                if value
                    .as_u64()
                    .is_some_and(|n| (1..=MAX_INSTANCES).contains(&n)) => {}
            Some(_) => {
                return Err(InvalidMessage::WrongType {
                    key: "instances".into(),
                    expected: "an integer from 1 to 4096",
                });
            }
        }
        Ok(Self(map))
    }

    /// The app.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// How many processes it requests.
    #[must_use]
    pub fn instances(&self) -> u64 {
        self.0.get("instances").and_then(Value::as_u64).unwrap_or(1)
    }
}

impl CurrentConf {
    /// Checks a whole app; the text `null` as a value removes its key.
    ///
    /// # Errors
    /// [`InvalidMessage`] when it would crash PM2.
    pub fn new(map: Map<String, Value>) -> Result<Self, InvalidMessage> {
        check(&map, true)?;
        // PM2 ignores an environment without variables, and would keep the old one.
        if map
            .get("env")
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
        {
            return Err(InvalidMessage::WrongType {
                key: "env".into(),
                expected: "an object that is not empty",
            });
        }
        Ok(Self(map))
    }

    /// A conf after which PM2 neither starts the process again nor restarts it. `pm2_env` is PM2's record of the process; the rest
    /// of it is unchanged.
    #[must_use]
    pub fn retired(pm2_env: &Map<String, Value>) -> Self {
        let mut conf = Map::new();
        conf.insert("autostart".into(), Value::Bool(false));
        conf.insert("autorestart".into(), Value::Bool(false));
        // PM2 would store the conf as a variable in the existing environment (PM2 7.0.4, lib/God/ActionMethods.js,
        // `restartProcessId`); an environment in the message is used unchanged.
        if let Some(env) = pm2_env.get("env") {
            conf.insert("env".into(), env.clone());
        }
        Self(conf)
    }

    /// The conf.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The conf for a reload.
    ///
    /// # Errors
    /// [`InvalidMessage::ReloadWithoutAutostart`] when it does not contain `autostart: true`.
    pub fn for_reload(self) -> Result<ReloadConf, InvalidMessage> {
        if self.0.get("autostart") == Some(&Value::Bool(true)) {
            Ok(ReloadConf(self))
        } else {
            Err(InvalidMessage::ReloadWithoutAutostart)
        }
    }
}

impl std::fmt::Debug for Prepare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl std::fmt::Debug for CurrentConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn check(map: &Map<String, Value>, removes: bool) -> Result<(), InvalidMessage> {
    for (key, rule) in REQUIRED {
        let value = map.get(*key).ok_or(InvalidMessage::Missing(key))?;
        check_value(key, value, *rule)?;
        // An app may legitimately be named `null`, but a merge would remove its name.
        if removes && survival::is_null_text(value) {
            return Err(InvalidMessage::WrongType {
                key: (*key).to_owned(),
                expected: "something else than the text `null`, which removes it",
            });
        }
    }
    for (key, rule) in OPTIONAL {
        match map.get(*key) {
            None => {}
            Some(Value::String(text)) if removes && text == "null" => {}
            Some(value) => check_value(key, value, *rule)?,
        }
    }
    for (key, value) in map {
        let is_removal = removes && value == "null";
        if FORBIDDEN.contains(&key.as_str()) || key == TREE_PIDS && !is_removal {
            return Err(InvalidMessage::WrongType {
                key: key.clone(),
                expected: "left to PM2",
            });
        }
        check_nul(key, value)?;
    }
    check_keys(map)?;
    for (key, value) in map
        .get("env")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if value.is_null() || value.is_array() || value.is_object() {
            return Err(InvalidMessage::WrongType {
                key: format!("env.{key}"),
                expected: "a string, a number, true or false",
            });
        }
        // PM2 stores variables beside attributes, so such a variable would overwrite an attribute.
        if daemon_model::attribute::is_record_key(key)
            && !matches!(key.as_str(), "unique_id" | "io")
        {
            return Err(InvalidMessage::WrongType {
                key: format!("env.{key}"),
                expected: "named otherwise than an attribute",
            });
        }
    }
    Ok(())
}

fn check_value(key: &str, value: &Value, rule: Rule) -> Result<(), InvalidMessage> {
    if rule.fits(value) {
        return Ok(());
    }
    Err(InvalidMessage::WrongType {
        key: key.to_owned(),
        expected: rule.expects(),
    })
}

fn check_keys(map: &Map<String, Value>) -> Result<(), InvalidMessage> {
    map.iter().try_for_each(|(key, value)| {
        if FATAL_KEYS.contains(&key.as_str()) {
            return Err(InvalidMessage::FatalKey(key.clone()));
        }
        check_keys_in(value)
    })
}

fn check_keys_in(value: &Value) -> Result<(), InvalidMessage> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check_keys_in),
        Value::Object(map) => check_keys(map),
        _ => Ok(()),
    }
}

fn check_nul(key: &str, value: &Value) -> Result<(), InvalidMessage> {
    let has_nul = key.contains('\0') || value.as_str().is_some_and(|text| text.contains('\0'));
    if has_nul {
        return Err(InvalidMessage::Nul(key.replace('\0', "\u{fffd}")));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_nul(key, item)),
        Value::Object(map) => map
            .iter()
            .try_for_each(|(key, value)| check_nul(key, value)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
