//! PM2's app attributes as one table, which validation, the canonical form, diffing, payloads and documentation all use.
//!
//! Source of names, aliases, types and defaults: PM2 7.0.4, `lib/API/schema.json` and
//! `lib/tools/Config.js`; of the costs: measurements against PM2 7.0.4.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde_json::Value;

mod nearest;
mod table;

pub use nearest::{nearest, nearest_beside_apps};
pub use table::ATTRIBUTES;

/// The accepted types of a value, and how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// `true`, `false` or text.
    BoolOrText,
    /// A number, or text with a number.
    Number,
    /// Text.
    Text,
    /// A list of words; text is split at whitespace outside of quotes.
    Words,
    /// `true`, `false`, text, or a list of texts; never split.
    BoolTextOrList,
    /// A list of texts, or text that is split like [`Kind::Words`].
    List,
    /// Bytes: a number, or digits with `K`, `M` or `G`.
    Memory,
    /// Milliseconds: a number, or digits with `s`, `m` or `h`.
    Duration,
    /// An integer or `"max"`; 0 means one per CPU, a negative number that many fewer.
    Instances,
    /// `fork` or `cluster`, with or without the suffix `_mode`.
    ExecMode,
    /// A cron pattern; `0` turns it off.
    Cron,
    /// A list of process exit codes, or one.
    ExitCodes,
    /// A user or group: a number or a name.
    Account,
    /// A map of environment variables.
    Env,
    /// A map.
    Map,
}

impl Kind {
    /// Describes the accepted values, for messages.
    #[must_use]
    pub fn expects(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::BoolOrText => "true, false or a string",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Words => "a vector of strings, or one string",
            Self::BoolTextOrList => "true, false, a string or a vector of strings",
            Self::List => "a vector of strings, or one string",
            Self::Memory => "a number of bytes, or a string such as \"300M\" (K, M or G)",
            Self::Duration => {
                "a number of milliseconds of at least 100, or a string such as \"10s\" (s, m or h)"
            }
            Self::Instances => "an integer or \"max\"",
            Self::ExecMode => "\"fork\" or \"cluster\"",
            Self::Cron => "a cron pattern as a string (in each field, values or one range), or 0",
            Self::ExitCodes => "an exit code or a vector of exit codes",
            Self::Account => "a name or a numeric id",
            Self::Env => "a map of environment variables",
            Self::Map => "a map",
        }
    }
}

/// How an attribute reaches PM2's record of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Stored under its own name.
    Stored,
    /// PM2's command line derives other keys from it (a path, the mode, a number of processes).
    Derived,
    /// Has no effect from a config file.
    Inert,
}

/// What it takes for a change of the attribute to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cost {
    /// Processes are started or deleted; the others stay.
    Scale,
    /// Each process is restarted; a cluster app can be reloaded without downtime.
    Restart,
    /// Each process is restarted; a reload is not enough.
    HardRestart,
    /// New processes replace the old ones.
    Replace,
}

/// PM2's default for an attribute.
enum Default {
    Bool(bool),
    Number(u64),
    Text(&'static str),
}

/// One attribute of an app.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// PM2's name for it.
    pub name: &'static str,
    /// Other names, in addition to the camel case form of `name`.
    pub aliases: &'static [&'static str],
    /// The accepted values.
    pub kind: Kind,
    /// How PM2's record stores it.
    pub role: Role,
    /// The cost of a change.
    pub cost: Cost,
    /// One line about its effect.
    pub summary: &'static str,
}

impl Attribute {
    /// The default value, if it is a fixed one.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        Some(match self.default()? {
            Default::Bool(value) => value.into(),
            Default::Number(value) => value.into(),
            Default::Text(value) => value.into(),
        })
    }

    /// Whether `value` is PM2's default.
    #[must_use]
    pub fn is_default(&self, value: &Value) -> bool {
        match (self.default(), value) {
            (Some(Default::Bool(default)), Value::Bool(value)) => default == *value,
            (Some(Default::Number(default)), Value::Number(value)) => {
                value.as_u64() == Some(default)
            }
            (Some(Default::Text(default)), Value::String(value)) => default == value,
            _ => false,
        }
    }

    fn default(&self) -> Option<Default> {
        Some(match self.name {
            "vizion" | "autostart" | "autorestart" | "pmx" | "automation" | "treekill"
            | "windowsHide" => Default::Bool(true),
            "instance_var" => Default::Text("NODE_APP_INSTANCE"),
            "kill_retry_time" => Default::Number(100),
            "namespace" => Default::Text("default"),
            // A disabled switch and an empty path list count as absent.
            "watch" | "filter_env" | "log_file" => Default::Bool(false),
            _ if self.kind == Kind::Bool => Default::Bool(false),
            _ => return None,
        })
    }

    /// The default as text, for documentation.
    #[must_use]
    pub fn default_text(&self) -> Option<String> {
        // Source: PM2 7.0.4, `lib/Common.js`, `lib/God.js`, `constants.js`.
        let text = match self.name {
            "name" => "the script's base name without its extension",
            "cwd" => "the workspace's root",
            "exec_interpreter" => "by the script's extension, else node",
            "out_file" => {
                "`$PM2_HOME/logs/<name>-out.log`; `<name>-out-<pm_id>.log` without `:merge_logs`"
            }
            "error_file" => {
                "`$PM2_HOME/logs/<name>-error.log`; `<name>-error-<pm_id>.log` without `:merge_logs`"
            }
            "pid_file" => "`$PM2_HOME/pids/<name>-<pm_id>.pid`",
            "merge_logs" => "`true` for fork mode without `instances`, else `false`",
            "instances" => "`1`",
            "exec_mode" => "`cluster` for node or bun with `instances`, else `fork`",
            "kill_timeout" => "`1600`",
            "listen_timeout" => "`3000`",
            "min_uptime" => "`1000`",
            "max_restarts" => "`16`",
            "restart_delay" | "watch_delay" => "`0`",
            _ => return self.default_value().map(|value| format!("`{value}`")),
        };
        Some(text.to_owned())
    }

    /// Describes the accepted values, for messages.
    #[must_use]
    pub fn expects(&self) -> &'static str {
        match self.kind {
            Kind::Number if self.is_timer() => "a number of milliseconds",
            kind => kind.expects(),
        }
    }

    /// The PM2 version that introduced it, if later than 5.0, the first supported one.
    ///
    /// Source: `lib/API/schema.json` of PM2 5.0.0, 5.1.0, 5.2.0, 5.3.0, 5.3.1, 5.4.0, 5.4.3, 6.0.5, 6.0.14 and 7.0.4.
    #[must_use]
    pub fn since(&self) -> Option<&'static str> {
        Some(match self.name {
            "autostart" => "5.4",
            "stop_exit_codes" => "5.3.1",
            _ => return None,
        })
    }

    /// How PM2 misreads a 0 in a definition, if it does.
    ///
    /// Source: PM2 7.0.4, `lib/tools/Config.js`, `validateJSON` (a falsy value of a key of several words is read as
    /// absent, which changes nothing where absent means the same); `lib/God/Methods.js`, `lib/God.js` (`0 || default`).
    #[must_use]
    pub fn zero_note(&self) -> Option<&'static str> {
        Some(match self.name {
            "max_restarts" => "PM2's own command line ignores 0 and uses 16; pm2-sync honours it",
            "kill_timeout" => "PM2 treats 0 as its default of 1600",
            "listen_timeout" => "PM2 treats 0 as its default of 3000",
            "kill_retry_time" => "PM2 treats 0 as its default of 100",
            "min_uptime" => "PM2 treats 0 as its default of 1000",
            _ => return None,
        })
    }

    /// Whether PM2's command line resets it to its default with every `pm2 restart`, `pm2 reload` and `pm2 start` of an existing
    /// process. None of these attributes affects a running process: PM2 names log files, numbers instances and filters the
    /// environment when it first starts a process, and the other two concern Windows and how often PM2 checks a stopping process.
    ///
    /// Source: PM2 5.4.3, 6.0.14 and 7.0.4, `lib/API.js` (`_handleAttributeUpdate`) and `lib/API/schema.json`; measured.
    #[must_use]
    pub fn is_reset_by_command_line(&self) -> bool {
        matches!(
            self.name,
            "merge_logs" | "instance_var" | "filter_env" | "windowsHide" | "kill_retry_time"
        )
    }

    /// Whether PM2 treats `false`, `""` and 0 under this name as unset, because they are not among its values.
    ///
    /// Source: PM2 7.0.4, `lib/tools/Config.js` (`validateJSON`: `conf[key] || (conf[key] = json[alias])`, with the camel case form
    /// last, so only a falsy value under that survives); `lib/Common.js` (`verifyConfs`, for `env` and `name`).
    #[must_use]
    pub fn is_unset_by_falsy(&self, name: &str) -> bool {
        matches!(self.name, "env" | "name") || name != camel_case(self.name)
    }

    /// Whether its value is used for a Node timer (PM2 7.0.4, `lib/God.js`, `lib/God/*.js`, `lib/Watcher.js`).
    pub(crate) fn is_timer(&self) -> bool {
        matches!(
            self.name,
            "restart_delay"
                | "exp_backoff_restart_delay"
                | "kill_timeout"
                | "listen_timeout"
                | "kill_retry_time"
                | "watch_delay"
        )
    }

    /// All its names, its own first.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let camel = camel_case(self.name);
        std::iter::once(self.name.to_owned())
            .chain(self.aliases.iter().map(|&alias| alias.to_owned()))
            .chain((camel != self.name).then_some(camel))
    }
}

/// PM2's camel case alias of a snake case name: `max_memory_restart` → `maxMemoryRestart`; words of one letter stay lowercase.
pub(crate) fn camel_case(name: &str) -> String {
    let mut out = String::new();
    for (n, word) in name.split('_').enumerate() {
        let mut chars = word.chars();
        match chars.next() {
            Some(first) if n > 0 && word.len() > 1 => {
                out.push(first.to_ascii_uppercase());
                out.push_str(chars.as_str());
            }
            _ => out.push_str(word),
        }
    }
    out
}

/// The attribute with this name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Attribute> {
    BY_NAME.get(name).copied()
}

/// All names of all attributes, for lookups of every key of every definition and record. No alias is also the name or alias of
/// another attribute.
static BY_NAME: LazyLock<FxHashMap<String, &'static Attribute>> = LazyLock::new(|| {
    let names =
        |attribute: &'static Attribute| attribute.names().map(move |name| (name, attribute));
    ATTRIBUTES.iter().flat_map(names).collect()
});

/// The attribute with exactly this name of PM2.
#[must_use]
pub fn by_own_name(name: &str) -> Option<&'static Attribute> {
    find(name).filter(|attribute| attribute.name == name)
}

/// Keys of PM2's record that change by themselves or are internal to PM2: never compared, never removed.
///
/// Source: PM2 7.0.4, `lib/God.js` (`executeApp`, `handleExit`), `lib/God/*.js`.
pub const RUNTIME_KEYS: &[&str] = &[
    "status",
    "pm_uptime",
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
    "created_at",
    "pm_id",
    "restart_time",
    "unstable_restarts",
    "version",
    "node_version",
    "_pm2_version",
    "vizion_running",
    "unique_id",
    "exit_code",
    "prev_restart_delay",
    "_tree_pids",
    "versioning",
    "restart_task",
    "env",
    "instances",
    "command",
    "_km_monitored",
];

/// Keys of PM2's record that its command line derives from attributes or adds.
pub const DERIVED_KEYS: &[&str] = &[
    "pm_exec_path",
    "pm_cwd",
    "pm_out_log_path",
    "pm_err_log_path",
    "pm_log_path",
    "pm_pid_path",
    "km_link",
    "pmx_module",
    "pm2_sync",
];

/// The kind of a key in PM2's flat record of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKey {
    /// An attribute's name, or a key that PM2's command line derives from attributes.
    Attribute,
    /// One of [`RUNTIME_KEYS`].
    Runtime,
}

/// The kind of PM2's own `key` in the flat record of a process, and a static copy of the key; none for an environment variable.
#[must_use]
pub fn record_key(key: &str) -> Option<(&'static str, RecordKey)> {
    let (key, kind) = RECORD_KEYS.get_key_value(key)?;
    Some((*key, *kind))
}

/// Every key of every process is looked up here each time PM2 is observed.
static RECORD_KEYS: LazyLock<FxHashMap<&str, RecordKey>> = LazyLock::new(|| {
    let own_names = ATTRIBUTES.iter().map(|attribute| attribute.name);
    let attributes = own_names.chain(DERIVED_KEYS.iter().copied());
    let runtime = RUNTIME_KEYS.iter().copied();
    let runtime = runtime.map(|key| (key, RecordKey::Runtime));
    // A name that is both counts as an attribute, because an author can write it.
    runtime
        .chain(attributes.map(|key| (key, RecordKey::Attribute)))
        .collect()
});

/// Whether `key` is PM2's own in the flat record of a process, so that an environment variable with that name would overwrite it.
#[must_use]
pub fn is_record_key(key: &str) -> bool {
    record_key(key).is_some()
}

/// Variables that PM2, or the node that runs it, sets for every process, whatever the app declares: its home, and the channel to a
/// forked process.
///
/// Source: PM2 7.0.4, `lib/Common.js` (`mergeEnvironmentVariables`); Node 20, `child_process.fork`; 90 names were tested on each
/// kind of app; the only other one is `PYTHONUNBUFFERED` for Python.
pub const OVERWRITTEN_ENV: [&str; 3] = [
    "PM2_HOME",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
];

/// Keys that no map for PM2 may contain. PM2's daemon compares maps with text and copies them key by key: JavaScript calls the
/// first key in the comparison, and the second replaces the map's prototype. The daemon crashes, and every app with it.
///
/// Source: PM2 7.0.4, `lib/Utility.js` (`extend`, `extendMix`); measured.
pub const FATAL_KEYS: [&str; 2] = ["toString", "__proto__"];

#[cfg(test)]
mod tests;
