//! Messages that PM2 survives. The daemon runs what it is told without checking it: a value of the wrong type
//! throws in its only thread, and with it go all apps of the machine. So the two messages that carry free data
//! can only be made by constructors that check every value the daemon relies on.
//!
//! Source: PM2 7.0.4, `lib/God.js`, `lib/God/ForkMode.js`, `lib/God/Methods.js`, `lib/Utility.js`,
//! `lib/Worker.js`, `lib/Watcher.js`; measured where `lib` leaves it open.

use daemon_model::attribute::FATAL_KEYS;
use daemon_model::survival;
use serde_json::{Map, Value};

/// The most instances that one message may ask for.
pub const MAX_INSTANCES: u64 = 4096;

/// Why a message is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// A key that has to be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A value that PM2 cannot handle.
    #[error("`{key}` must be {expected}")]
    Unfit {
        /// Its key.
        key: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// U+0000 in a text, which ends the spawn.
    #[error("`{0}` contains U+0000")]
    Nul(String),
    /// A key that ends the daemon when it compares or copies the map.
    #[error("a key is named `{0}`")]
    FatalKey(String),
    /// A conf that would end a reload: PM2 dies of `autostart: false` there.
    #[error("a reload needs `autostart: true`")]
    ReloadWithoutAutostart,
}

/// What `prepare` is called with: a whole app.
#[derive(Clone, PartialEq)]
pub struct Prepare(Map<String, Value>);

/// What a restart or reload merges into PM2's record: a whole app, and the text `null` for each key that goes.
#[derive(Clone, PartialEq)]
pub struct CurrentConf(Map<String, Value>);

#[derive(Clone, Copy)]
enum Rule {
    Text,
    FullText,
    Absolute,
    Bool,
    Number,
    /// Not negative, and finite as all JSON numbers are.
    Count,
    Texts,
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
            Self::Texts => "an array of strings",
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
            Self::Texts => texts(value),
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

/// Keys without which the daemon throws, or does something else than meant.
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
    ("node_args", Rule::Texts),
    ("env", Rule::Map),
];

/// What other keys must be where they are present.
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
    // What apps report through PM2's agent: it dies at the next report if they are anything else than it expects
    // (PM2 7.0.4, lib/Daemon.js, `axm:action`).
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
];

/// Pids that PM2 kills, whatever they are by now. Only that it forgets them may be asked for.
pub(crate) const TREE_PIDS: &str = "_tree_pids";

impl Prepare {
    /// Checks a whole app.
    ///
    /// # Errors
    /// [`InvalidMessage`] when PM2 would not survive it.
    pub fn new(map: Map<String, Value>) -> Result<Self, InvalidMessage> {
        check(&map, false)?;
        match map.get("instances") {
            None => return Err(InvalidMessage::Missing("instances")),
            Some(value)
                if value
                    .as_u64()
                    .is_some_and(|n| (1..=MAX_INSTANCES).contains(&n)) => {}
            Some(_) => {
                return Err(InvalidMessage::Unfit {
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

    /// How many processes it asks for.
    #[must_use]
    pub fn instances(&self) -> u64 {
        self.0.get("instances").and_then(Value::as_u64).unwrap_or(1)
    }
}

impl CurrentConf {
    /// Checks a whole app; the text `null` as a value removes its key.
    ///
    /// # Errors
    /// [`InvalidMessage`] when PM2 would not survive it.
    pub fn new(map: Map<String, Value>) -> Result<Self, InvalidMessage> {
        check(&map, true)?;
        // PM2 ignores an environment without any variable, and would keep the old one.
        if map
            .get("env")
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
        {
            return Err(InvalidMessage::Unfit {
                key: "env".into(),
                expected: "an object that is not empty",
            });
        }
        Ok(Self(map))
    }

    /// The conf.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Checks that a reload survives it.
    pub(crate) fn check_reload(&self) -> Result<(), InvalidMessage> {
        if self.0.get("autostart") == Some(&Value::Bool(true)) {
            Ok(())
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
        // An app may well be named `null`, but a merge would take its name away.
        if removes && means_null(value) {
            return Err(InvalidMessage::Unfit {
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
            return Err(InvalidMessage::Unfit {
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
            return Err(InvalidMessage::Unfit {
                key: format!("env.{key}"),
                expected: "a string, a number, true or false",
            });
        }
        // Variables land on the same level as attributes and would overwrite them.
        if daemon_model::attribute::is_record_key(key)
            && !matches!(key.as_str(), "unique_id" | "io")
        {
            return Err(InvalidMessage::Unfit {
                key: format!("env.{key}"),
                expected: "named otherwise than an attribute",
            });
        }
    }
    Ok(())
}

/// What PM2 takes for the text `null` when it merges: it compares loosely, and a list of one such text equals it.
fn means_null(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.len() == 1 && means_null(&items[0]),
        value => value == "null",
    }
}

fn check_value(key: &str, value: &Value, rule: Rule) -> Result<(), InvalidMessage> {
    if rule.fits(value) {
        return Ok(());
    }
    Err(InvalidMessage::Unfit {
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
mod tests {
    use serde_json::json;

    use super::*;

    fn app() -> Map<String, Value> {
        let app = json!({
            "name": "a", "namespace": "default", "pm_exec_path": "/bin/sleep", "pm_cwd": "/",
            "pm_out_log_path": "/tmp/o.log", "pm_err_log_path": "/tmp/e.log", "pm_pid_path": "/tmp/p.pid",
            "exec_mode": "fork_mode", "exec_interpreter": "none", "instance_var": "NODE_APP_INSTANCE",
            "autostart": true, "autorestart": true, "treekill": true, "kill_retry_time": 100,
            "node_args": [], "instances": 1, "env": { "A": "1" },
        });
        app.as_object().unwrap().clone()
    }

    fn with(key: &str, value: Value) -> Map<String, Value> {
        let mut map = app();
        map.insert(key.into(), value);
        map
    }

    #[test]
    fn a_whole_app_passes() {
        assert!(Prepare::new(app()).is_ok());
        assert!(CurrentConf::new(with("cron_restart", json!("null"))).is_ok());
    }

    #[test]
    fn what_ends_the_daemon_cannot_be_made() {
        for (key, _) in REQUIRED {
            let mut map = app();
            map.remove(*key);
            assert_eq!(Prepare::new(map), Err(InvalidMessage::Missing(key)));
        }
        for (key, value) in [
            ("instances", json!("max")),
            ("instances", json!(0)),
            ("instances", json!(-1)),
            ("instances", json!(1.5)),
            ("env", json!("A=1")),
            ("env", json!({ "A": { "b": 1 } })),
            ("env", json!({ "pm_cwd": "/evil" })),
            ("env", json!({ "A": "x\0y" })),
            ("env", json!({ "toString": "x" })),
            ("io", json!({ "a": [{ "toString": 1 }] })),
            ("__proto__", json!([])),
            ("pm_pid_path", json!(1)),
            ("pm_cwd", json!("relative")),
            ("node_args", json!("--x")),
            ("args", json!([1])),
            ("cron_restart", json!("nonsense")),
            ("cron_restart", json!("99 99 99 99 99")),
            ("cron_restart", json!(0)),
            ("kill_timeout", json!("soon")),
            ("max_restarts", json!(-1)),
            ("uid", json!("root")),
            ("cron_restart", json!("0 9,12-15 * * *")),
            ("watch_options", json!("x")),
            ("watch_options", json!({ "cwd": 5 })),
            ("watch_options", json!({ "ignored": "" })),
            ("watch_options", json!({ "awaitWriteFinish": 5 })),
            ("ignore_watch", json!(["x".repeat(4097)])),
            ("instance_var", json!("pm_pid_path")),
            ("increment_var", json!("pm_pid_path")),
            ("pm_id", json!(0)),
            ("axm_actions", json!({})),
            ("name", json!("")),
        ] {
            assert!(
                Prepare::new(with(key, value.clone())).is_err(),
                "{key}: {value}"
            );
        }
        for (key, value) in [
            ("env", json!({})),
            ("name", json!("null")),
            ("node_args", json!(["null"])),
            (TREE_PIDS, json!([1])),
        ] {
            assert!(CurrentConf::new(with(key, value)).is_err(), "{key}");
        }
        assert!(CurrentConf::new(with(TREE_PIDS, json!("null"))).is_ok());
        assert!(Prepare::new(with(TREE_PIDS, json!("null"))).is_err());
        let stays = CurrentConf::new(with("autostart", json!(false))).unwrap();
        assert_eq!(
            stays.check_reload(),
            Err(InvalidMessage::ReloadWithoutAutostart)
        );
    }
}
