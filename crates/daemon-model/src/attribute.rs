//! PM2's attributes of an app as one table: the single source for validation, canonical form, diffing,
//! payloads and documentation.
//!
//! Source of names, aliases, types and defaults: PM2 7.0.4, `lib/API/schema.json` and
//! `lib/tools/Config.js`; of the costs: measurements against PM2 7.0.4.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde_json::Value;

mod nearest;

pub use nearest::{nearest, nearest_beside_apps};

/// What a value may be, and what it is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// `true`, `false` or text.
    BoolOrText,
    /// A number, or text that is one.
    Number,
    /// Text.
    Text,
    /// A list of words; text is split at white space outside quotes.
    Words,
    /// `true`, `false`, text, or a list of texts; never split.
    BoolTextOrList,
    /// A list of texts, or one text that is split like [`Kind::Words`].
    List,
    /// Bytes: a number, or digits with `K`, `M` or `G`.
    Memory,
    /// Milliseconds: a number, or digits with `s`, `m` or `h`.
    Duration,
    /// An integer or `"max"`; 0 means one for each CPU, negative means that many fewer.
    Instances,
    /// `fork` or `cluster`, with or without `_mode`.
    ExecMode,
    /// A cron pattern; `0` switches it off.
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
    /// What a value of this kind is, for messages.
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
    /// PM2's own command line derives other keys from it (a path, the mode, a number of processes).
    Derived,
    /// Has no effect from a config file.
    Inert,
}

/// What has to be done to the processes of an app for a change of the attribute to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cost {
    /// Processes are started or deleted, the others stay.
    Scale,
    /// Each process is restarted; a cluster app can be reloaded without downtime.
    Restart,
    /// Each process is restarted; a reload would not do.
    HardRestart,
    /// New processes take the place of the old ones.
    Replace,
}

/// What PM2 assumes of an attribute.
enum Default {
    Bool(bool),
    Number(u64),
    Text(&'static str),
}

/// One attribute of an app.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// PM2's own name of it.
    pub name: &'static str,
    /// Other names, besides the camel case form of `name`.
    pub aliases: &'static [&'static str],
    /// What its value may be.
    pub kind: Kind,
    /// How PM2's record shows it.
    pub role: Role,
    /// What a change of it costs.
    pub cost: Cost,
    /// One line of what it does.
    pub summary: &'static str,
}

impl Attribute {
    /// The value PM2 assumes when none is given, where there is a definite one.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        Some(match self.default()? {
            Default::Bool(value) => value.into(),
            Default::Number(value) => value.into(),
            Default::Text(value) => value.into(),
        })
    }

    /// Whether PM2 assumes `value` when none is given.
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
            // A switch that is off and a path list that is empty are as good as absent.
            "watch" | "filter_env" | "log_file" => Default::Bool(false),
            _ if self.kind == Kind::Bool => Default::Bool(false),
            _ => return None,
        })
    }

    /// The default in words, for documentation.
    #[must_use]
    pub fn default_text(&self) -> Option<String> {
        // Source: PM2 7.0.4, `lib/Common.js`, `lib/God.js`, `constants.js`.
        let text = match self.name {
            "name" => "the script's base name without its extension",
            "cwd" => "the workspace's root",
            "exec_interpreter" => "by the script's extension, else node",
            "out_file" => "`$PM2_HOME/logs/<name>-out-<pm_id>.log`",
            "error_file" => "`$PM2_HOME/logs/<name>-error-<pm_id>.log`",
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

    /// What a value of it is, for messages.
    #[must_use]
    pub fn expects(&self) -> &'static str {
        match self.kind {
            Kind::Number if self.is_timer() => "a number of milliseconds",
            kind => kind.expects(),
        }
    }

    /// The PM2 that it came with, where that is later than 5.0, the first that is supported.
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

    /// What becomes of a 0 that the definition gives, where it is not what its author means.
    ///
    /// Source: PM2 7.0.4, `lib/tools/Config.js`, `validateJSON` (a falsy value of a key of several words is read as
    /// absent, which changes nothing where absent means the same); `lib/God/Methods.js`, `lib/God.js` (`0 || default`).
    #[must_use]
    pub fn zero_note(&self) -> Option<&'static str> {
        Some(match self.name {
            "max_restarts" => {
                "PM2's own command line would lose this 0 and take 16; pm2-sync honours it"
            }
            "kill_timeout" => "PM2 takes a 0 here for its default of 1600",
            "listen_timeout" => "PM2 takes a 0 here for its default of 3000",
            "kill_retry_time" => "PM2 takes a 0 here for its default of 100",
            _ => return None,
        })
    }

    /// Whether its value becomes a timer of Node (PM2 7.0.4, `lib/God.js`, `lib/God/*.js`, `lib/Watcher.js`).
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

    /// All names it goes by, its own first.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let camel = camel_case(self.name);
        std::iter::once(self.name.to_owned())
            .chain(self.aliases.iter().map(|&alias| alias.to_owned()))
            .chain((camel != self.name).then_some(camel))
    }
}

/// PM2's camel case alias of a snake case name: `max_memory_restart` → `maxMemoryRestart`; words of one
/// letter keep it small.
fn camel_case(name: &str) -> String {
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

const fn attribute(
    name: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    role: Role,
    cost: Cost,
    summary: &'static str,
) -> Attribute {
    Attribute {
        name,
        aliases,
        kind,
        role,
        cost,
        summary,
    }
}

use Cost::{HardRestart, Replace, Restart, Scale};
use Role::{Derived, Inert, Stored};

/// Every attribute, in the order of PM2's schema.
#[rustfmt::skip]
pub const ATTRIBUTES: &[Attribute] = &[
    attribute("script", &["exec", "command", "cmd"], Kind::Text, Derived, Restart, "the program: a path, or a command found in PATH"),
    attribute("name", &[], Kind::Text, Derived, Restart, "the name in PM2"),
    attribute("name_prefix", &[], Kind::Text, Stored, Restart, "stored by PM2; does nothing from a config file"),
    attribute("filter_env", &[], Kind::BoolTextOrList, Stored, Restart, "inherited variables that the app does not get"),
    attribute("namespace", &[], Kind::Text, Stored, Restart, "groups apps for the pm2 command line"),
    attribute("install_url", &[], Kind::Text, Stored, Restart, "where a module came from"),
    attribute("cwd", &[], Kind::Text, Derived, Restart, "working directory; relative to the workspace's root"),
    attribute("args", &[], Kind::Words, Stored, Restart, "arguments of the script"),
    attribute("exec_interpreter", &["interpreter"], Kind::Text, Stored, Restart, "what runs the script; `none` runs it directly"),
    attribute("node_args", &["interpreterArgs", "interpreter_args"], Kind::Words, Stored, Restart, "arguments of the interpreter"),
    attribute("out_file", &["out", "output", "out_log"], Kind::Text, Derived, Restart, "file for standard output"),
    attribute("error_file", &["error", "err", "err_file", "err_log"], Kind::Text, Derived, Restart, "file for standard error"),
    attribute("log_file", &["log"], Kind::BoolOrText, Derived, Restart, "file for both; `true` for the default place"),
    attribute("disable_logs", &[], Kind::Bool, Stored, Restart, "writes no logs"),
    attribute("log_type", &[], Kind::Text, Stored, Restart, "`json` writes log lines as JSON"),
    attribute("log_date_format", &[], Kind::Text, Stored, Restart, "puts a time before each log line"),
    attribute("time", &[], Kind::Bool, Stored, Restart, "short for `log_date_format` \"YYYY-MM-DDTHH:mm:ss\""),
    attribute("env", &[], Kind::Env, Derived, Restart, "environment variables"),
    attribute("max_memory_restart", &[], Kind::Memory, Stored, Restart, "restarts the app above this much memory (bytes, or K, M, G)"),
    attribute("pid_file", &["pid"], Kind::Text, Derived, Restart, "file for the process id"),
    attribute("restart_delay", &[], Kind::Number, Stored, Restart, "milliseconds to wait before a restart after an exit"),
    attribute("exp_backoff_restart_delay", &[], Kind::Number, Stored, Restart, "first delay in milliseconds, growing with each exit"),
    attribute("source_map_support", &[], Kind::Bool, Stored, Restart, "loads source maps for stack traces"),
    attribute("disable_source_map_support", &[], Kind::Bool, Stored, Restart, "never loads source maps"),
    attribute("wait_ready", &[], Kind::Bool, Stored, Restart, "the app is online once it sends `ready`"),
    attribute("instances", &[], Kind::Instances, Derived, Scale, "number of processes; `max` or 0 is one for each CPU"),
    attribute("kill_timeout", &[], Kind::Number, Stored, Restart, "milliseconds between SIGINT and SIGKILL"),
    attribute("shutdown_with_message", &[], Kind::Bool, Stored, Restart, "sends the message `shutdown` in place of a signal"),
    attribute("listen_timeout", &[], Kind::Number, Stored, Restart, "milliseconds to wait for the app to listen or be ready"),
    attribute("cron_restart", &["cron"], Kind::Cron, Stored, HardRestart, "restarts the app at these times"),
    attribute("merge_logs", &["combine_logs"], Kind::Bool, Stored, Restart, "log files are shared by all instances"),
    attribute("vizion", &[], Kind::Bool, Stored, Restart, "reads version control metadata"),
    attribute("autostart", &[], Kind::Bool, Stored, HardRestart, "starts the app when it is added"),
    attribute("autorestart", &[], Kind::Bool, Stored, Restart, "starts the app again when it exits"),
    attribute("stop_exit_codes", &[], Kind::ExitCodes, Stored, Restart, "exit codes after which the app is not started again"),
    attribute("watch_delay", &[], Kind::Number, Stored, Replace, "milliseconds to wait after a change of a watched file"),
    attribute("watch", &[], Kind::BoolTextOrList, Stored, Replace, "restarts the app when files change"),
    attribute("ignore_watch", &[], Kind::List, Stored, Replace, "paths that `watch` passes over"),
    attribute("watch_options", &[], Kind::Map, Stored, Replace, "options of PM2's file watcher"),
    attribute("min_uptime", &[], Kind::Duration, Stored, Restart, "an app that ends sooner counts as unstable (milliseconds, or s, m, h)"),
    attribute("max_restarts", &[], Kind::Number, Stored, Restart, "unstable restarts until the app is given up"),
    attribute("execute_command", &[], Kind::Bool, Derived, Restart, "runs the app in fork mode"),
    attribute("exec_mode", &[], Kind::ExecMode, Derived, HardRestart, "`fork` or `cluster`"),
    attribute("force", &[], Kind::Bool, Stored, Restart, "stored by PM2; lets its command line start a script twice"),
    attribute("append_env_to_name", &[], Kind::Bool, Stored, Restart, "adds the environment's name to the app's"),
    attribute("post_update", &[], Kind::List, Stored, Restart, "commands after `pm2 pull`"),
    attribute("trace", &[], Kind::Bool, Stored, Restart, "PM2's tracing"),
    attribute("disable_trace", &[], Kind::Bool, Derived, Restart, "switches `trace` off"),
    attribute("v8", &[], Kind::Bool, Stored, Restart, "V8 metrics"),
    attribute("event_loop_inspector", &[], Kind::Bool, Stored, Restart, "event loop metrics"),
    attribute("deep_monitoring", &[], Kind::Bool, Stored, Restart, "PM2's deep monitoring"),
    attribute("increment_var", &[], Kind::Text, Stored, Replace, "a variable that grows by one with each instance"),
    attribute("instance_var", &[], Kind::Text, Stored, Replace, "the variable that holds the instance's number"),
    attribute("pmx", &[], Kind::BoolOrText, Stored, Restart, "loads PM2's agent into node apps"),
    attribute("automation", &[], Kind::Bool, Stored, Restart, "`false` switches `pmx` off"),
    attribute("treekill", &[], Kind::Bool, Stored, Restart, "ends the processes that the app started, too"),
    attribute("port", &[], Kind::Number, Stored, Restart, "sets the variable `PORT`"),
    attribute("username", &[], Kind::Text, Inert, Restart, "overwritten by PM2 with the user's name"),
    attribute("uid", &["user"], Kind::Account, Derived, Restart, "the user to run as (PM2 must run as root)"),
    attribute("gid", &[], Kind::Account, Derived, Restart, "the group to run as (PM2 must run as root)"),
    attribute("windowsHide", &[], Kind::Bool, Stored, Restart, "hides the console window on Windows"),
    attribute("kill_retry_time", &[], Kind::Number, Stored, Restart, "milliseconds between looks whether a process has ended"),
    attribute("write", &[], Kind::Bool, Stored, Restart, "stored by PM2"),
    attribute("io", &[], Kind::Map, Stored, Restart, "settings of PM2's agent"),
];

/// The attribute that goes by `name`, which may be an alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Attribute> {
    BY_NAME.get(name).copied()
}

/// All names of all attributes: every key of every definition and of every record of PM2 is looked up here. No alias
/// is an attribute's name or another's alias.
static BY_NAME: LazyLock<FxHashMap<String, &'static Attribute>> = LazyLock::new(|| {
    let names =
        |attribute: &'static Attribute| attribute.names().map(move |name| (name, attribute));
    ATTRIBUTES.iter().flat_map(names).collect()
});

/// The attribute with exactly PM2's own `name`.
#[must_use]
pub fn by_own_name(name: &str) -> Option<&'static Attribute> {
    find(name).filter(|attribute| attribute.name == name)
}

/// Keys of PM2's record that change by themselves or are PM2's own business: never compared, never removed.
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

/// What a key of PM2's flat record of a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKey {
    /// An attribute's own name, or what PM2's command line derives from attributes.
    Attribute,
    /// One of [`RUNTIME_KEYS`].
    Runtime,
}

/// What PM2's own `key` in the flat record of a process is, and the key itself for keeping; none of an environment
/// variable.
#[must_use]
pub fn record_key(key: &str) -> Option<(&'static str, RecordKey)> {
    let (key, kind) = RECORD_KEYS.get_key_value(key)?;
    Some((*key, *kind))
}

/// Every key of every process is looked up here at each look at PM2.
static RECORD_KEYS: LazyLock<FxHashMap<&str, RecordKey>> = LazyLock::new(|| {
    let own_names = ATTRIBUTES.iter().map(|attribute| attribute.name);
    let attributes = own_names.chain(DERIVED_KEYS.iter().copied());
    let runtime = RUNTIME_KEYS.iter().copied();
    let runtime = runtime.map(|key| (key, RecordKey::Runtime));
    // Where a name is both, it is what an author can write.
    runtime
        .chain(attributes.map(|key| (key, RecordKey::Attribute)))
        .collect()
});

/// Whether `key` is PM2's own in the flat record of a process, so that an environment variable of that name
/// would overwrite it.
#[must_use]
pub fn is_record_key(key: &str) -> bool {
    record_key(key).is_some()
}

/// Names that no map which PM2 is given may have: PM2's daemon compares maps with text and copies them key by key, and
/// JavaScript calls the first for that and makes the second the map's prototype. It ends with every app.
///
/// Source: PM2 7.0.4, `lib/Utility.js` (`extend`, `extendMix`); measured.
pub const FATAL_KEYS: [&str; 2] = ["toString", "__proto__"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_over_the_whole_table() {
        let mut seen = std::collections::BTreeMap::new();
        for attribute in ATTRIBUTES {
            for name in attribute.names() {
                assert_eq!(seen.insert(name.clone(), attribute.name), None, "{name}");
            }
        }
    }

    #[test]
    fn aliases_are_found() {
        assert_eq!(find("interpreter").unwrap().name, "exec_interpreter");
        assert_eq!(find("maxMemoryRestart").unwrap().name, "max_memory_restart");
    }
}
