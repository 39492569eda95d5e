//! Differences between a running process and its definition.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use serde_json::Value;

use crate::attribute::{self, Attribute, Cost, OVERWRITTEN_ENV, Role};
use crate::coerce::{canonical, env_text};
use crate::paths::with_pm_id;
use crate::spec::{self, AppSpec, is_node_like};
use crate::{ExecMode, ObservedProcess, Origin, Orphan, PmId, Stored};

/// Names of variables that every app inherits from the caller. A change of their values is not drift.
pub const BASE_ENV: &[&str] = &[
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR",
];

/// What a comparison needs to know about the environment that PM2 and its callers give to apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvPolicy {
    /// PM2's home, where default log files are.
    pub pm2_home: Utf8PathBuf,
    /// Names or globs (`NVM_*`) of variables that apps inherit in addition to [`BASE_ENV`].
    pub pass_env: Vec<String>,
}

impl EnvPolicy {
    /// Whether apps inherit the variable `name` from the caller.
    #[must_use]
    pub fn inherits(&self, name: &str) -> bool {
        BASE_ENV.iter().any(|pattern| glob(pattern, name)) || self.passes(name)
    }

    /// Whether `:pass-env` names the variable.
    #[must_use]
    pub fn passes(&self, name: &str) -> bool {
        self.pass_env.iter().any(|pattern| glob(pattern, name))
    }
}

/// Whether `name` matches `pattern`, in which `*` matches any text.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    fits(pattern.as_bytes(), name.as_bytes())
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| fits(rest, &name[at..])),
        ([wanted, rest @ ..], [first, tail @ ..]) => wanted == first && fits(rest, tail),
        _ => pattern.is_empty() && name.is_empty(),
    }
}

/// A part of an app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// An attribute, by PM2's own name.
    Attribute(&'static str),
    /// An environment variable.
    Env(String),
}

impl PartialEq<String> for Field {
    fn eq(&self, attribute: &String) -> bool {
        matches!(self, Self::Attribute(name) if name == attribute)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => f.write_str(name),
            Self::Env(name) => write!(f, "env.{name}"),
        }
    }
}

impl Serialize for Field {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The kind of a change, from the process to the definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The definition has it, the process does not.
    Added,
    /// Both have it, with different values.
    Changed,
    /// The process has it, the definition does not.
    Removed,
}

/// One difference between a process and its definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What differs.
    pub field: Field,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The process's value.
    pub from: Option<String>,
    /// The definition's value.
    pub to: Option<String>,
    /// The source of the definition's value, if it is external.
    #[serde(skip)]
    pub origin: Option<Origin>,
    /// Whether the values must not be shown: they belong to a variable, or are external.
    #[serde(skip)]
    pub is_secret: bool,
}

impl Change {
    fn between(field: Field, from: Option<String>, to: Option<String>) -> Option<Self> {
        let kind = match (&from, &to) {
            (None, None) => return None,
            (Some(from), Some(to)) if from == to => return None,
            (None, Some(_)) => ChangeKind::Added,
            (Some(_), Some(_)) => ChangeKind::Changed,
            (Some(_), None) => ChangeKind::Removed,
        };
        Some(Self {
            is_secret: matches!(field, Field::Env(_)),
            field,
            kind,
            from,
            to,
            origin: None,
        })
    }

    fn attribute(&self) -> Option<&'static Attribute> {
        match &self.field {
            Field::Attribute(name) => attribute::by_own_name(name),
            Field::Env(_) => None,
        }
    }

    /// What it takes to apply the change.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.attribute()
            .map_or(Cost::Restart, |attribute| attribute.cost)
    }

    /// Whether the change may result from a reset by PM2's command line, which has no effect on the process.
    #[must_use]
    pub fn is_reset_by_command_line(&self) -> bool {
        self.attribute()
            .is_some_and(Attribute::is_reset_by_command_line)
    }
}

/// All differences between `process` and `spec`, except those that depend on PATH and the machine: the path of a command, the
/// interpreter that PM2 chooses, users by name, inherited variables.
///
/// The number of processes is not a property of any one process and is not compared here.
#[must_use]
pub fn diff(spec: &AppSpec, process: &ObservedProcess, env_policy: &EnvPolicy) -> Vec<Change> {
    // Nearly everything is equal nearly always, so text is only built for differences.
    let mut changes = Vec::new();
    let mut compare = |name: &'static str, from: Option<&str>, to: Option<&str>| {
        if from != to {
            let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
            changes.extend(Change::between(
                Field::Attribute(name),
                owned(from),
                owned(to),
            ));
        }
    };

    compare("name", Some(&process.name), Some(spec.name()));
    let exec_path = process.text("pm_exec_path").unwrap_or("");
    if !script_matches(spec, exec_path) {
        compare("script", Some(exec_path), Some(spec.script()));
    }
    compare("cwd", process.text("pm_cwd"), Some(spec.cwd().as_str()));
    if let Some(mode) = spec.exec_mode().as_pm2() {
        compare("exec_mode", process.text("exec_mode"), Some(mode));
    }
    let files = spec.files(&env_policy.pm2_home, Some(process.pm_id));
    for (name, key, extension, wanted) in [
        ("out_file", "pm_out_log_path", "log", Some(&files.out)),
        ("error_file", "pm_err_log_path", "log", Some(&files.err)),
        ("log_file", "pm_log_path", "log", files.both.as_ref()),
        ("pid_file", "pm_pid_path", "pid", Some(&files.pid)),
    ] {
        let (has, wanted) = (process.text(key), wanted.map(String::as_str));
        let differs_in_number_only = || {
            has.zip(wanted).is_some_and(|(has, wanted)| {
                differs_in_number_only(has, wanted, extension, process.pm_id)
            })
        };
        if has != wanted && !differs_in_number_only() {
            compare(name, has, wanted);
        }
    }
    for account in ["uid", "gid"] {
        let wanted = spec.attribute(account);
        let has = process.attributes.get(account).map(Stored::to_text);
        match (has, wanted) {
            (Some(has), Some(wanted)) if wanted.is_number() => {
                compare(account, Some(&has), Some(&env_text(wanted)));
            }
            (None, Some(wanted)) => compare(account, None, Some(&env_text(wanted))),
            // PM2 adds the user's own group if only a user is given.
            (Some(has), None) if account == "uid" || spec.attribute("uid").is_none() => {
                compare(account, Some(&has), None);
            }
            _ => {}
        }
    }
    // PM2 5 and 6 reverse the order of a map's keys.
    let text = |value: &Value| env_text(&spec::sorted(value));
    let mut compare_stored = |attribute: &'static Attribute, raw: Option<&Stored>| {
        let wanted = spec.attribute(attribute.name);
        if raw.is_some_and(|raw| wanted.is_some_and(|wanted| raw == wanted)) {
            // The desired value is in canonical form already.
            return;
        }
        let has = raw.and_then(|value| canonical(attribute, &value.to_value()));
        let chosen_by_pm2 = match attribute.name {
            "exec_interpreter" => interpreter_is_as_chosen(spec, has.as_ref()),
            // PM2 adds a flag of its own for TypeScript.
            "node_args" => wanted.is_none() && exec_path.ends_with(".ts"),
            _ => false,
        };
        if !chosen_by_pm2 && has.as_ref() != wanted {
            let (has, wanted) = (has.as_ref().map(text), wanted.map(text));
            compare(attribute.name, has.as_deref(), wanted.as_deref());
        }
    };
    let stored =
        |name: &str| attribute::by_own_name(name).filter(|found| found.role == Role::Stored);
    for (name, value) in process.attributes.iter() {
        if let Some(attribute) = stored(name) {
            compare_stored(attribute, Some(value));
        }
    }
    for (name, _) in spec.attributes() {
        if process.attributes.get(name).is_none()
            && let Some(attribute) = stored(name)
        {
            compare_stored(attribute, None);
        }
    }
    compare_env(spec, process, env_policy, &mut changes);
    for change in &mut changes {
        let label = process.label.as_ref();
        let was_outside = label.is_some_and(|label| {
            let mut outside = label.outside.iter();
            outside.any(|name| change.field == *name)
        });
        change.origin = spec.origin(&change.field).cloned();
        change.is_secret |= change.origin.is_some() || was_outside;
    }
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    changes
}

/// Whether a file of a process has the same name except for the number. PM2 numbers files when it first starts a process, but `pm2
/// resurrect` and `pm2 update` keep the old names if `pm2 restart` had changed the record, or if the process is stopped.
///
/// Source: PM2 7.0.4, `lib/God.js` (`prepare`, `executeApp`); measured.
fn differs_in_number_only(has: &str, wanted: &str, extension: &str, pm_id: PmId) -> bool {
    let numbered = |number| with_pm_id(wanted, extension, number);
    let stem = has
        .strip_suffix(extension)
        .and_then(|stem| stem.strip_suffix('.'));
    let number = stem.and_then(|stem| stem.rsplit('-').next()?.parse().ok());
    wanted == numbered(pm_id) && number.is_some_and(|number| has == numbered(PmId(number)))
}

fn compare_env(
    spec: &AppSpec,
    process: &ObservedProcess,
    env_policy: &EnvPolicy,
    changes: &mut Vec<Change>,
) {
    let counts_up = spec.text("increment_var");
    for (key, value) in spec.env() {
        let has = process.env.get(key);
        let same = match (has, value) {
            (Some(has), Value::String(wanted)) => has == wanted,
            _ => false,
        };
        if !same && Some(key.as_str()) != counts_up {
            let wanted = Some(env_text(value));
            changes.extend(Change::between(
                Field::Env(key.clone()),
                has.map(ToOwned::to_owned),
                wanted,
            ));
        }
    }
    let instance_var = spec.text("instance_var").unwrap_or("NODE_APP_INSTANCE");
    for (key, value) in process.env.iter() {
        let known = spec.env().contains_key(key)
            || Some(key) == counts_up
            || key == instance_var
            || key == process.name.as_str()
            || key == spec.name()
            || is_set_by_pm2(key)
            || env_policy.inherits(key);
        if !known {
            let (key, has) = (key.to_owned(), value.to_owned());
            changes.extend(Change::between(Field::Env(key), Some(has), None));
        }
    }
}

/// Variables that PM2, or a client that starts a process, adds by itself.
///
/// Source: PM2 7.0.4, `lib/Common.js` and `lib/API.js` (`_startJson`, `actionFromJson`).
fn is_set_by_pm2(key: &str) -> bool {
    OVERWRITTEN_ENV.contains(&key)
        || matches!(
            key,
            "PWD"
                | "PYTHONUNBUFFERED"
                | "unique_id"
                | "PM2_USAGE"
                | "PM2_JSON_PROCESSING"
                | "updateEnv"
        )
}

fn script_matches(spec: &AppSpec, exec_path: &str) -> bool {
    if spec.script().starts_with('/') {
        return exec_path == spec.script();
    }
    let name = Utf8Path::new(exec_path).file_name();
    // PM2 uses `sh` instead of a missing `bash`; see `AppSpec::script`.
    name == Some(spec.script()) || (spec.script() == "bash" && name == Some("sh"))
}

/// Whether the interpreter of a process is one that PM2 chooses by itself for a script whose definition names none, or one that PM2
/// replaces with a path.
///
/// Source: PM2 7.0.4, `lib/API/interpreter.json` and `lib/Common.js`, `resolveInterpreter`.
fn interpreter_is_as_chosen(spec: &AppSpec, has: Option<&Value>) -> bool {
    let has = has.map(env_text).unwrap_or_default();
    if let Some(wanted) = spec.text("exec_interpreter") {
        return wanted.contains("node@") || matches!(wanted, "lsc" | "coffee");
    }
    let extension = Utf8Path::new(spec.script()).extension().unwrap_or("");
    if matches!(extension, "coffee" | "ls") {
        // PM2 uses a path inside its own package here.
        return true;
    }
    default_interpreters(extension).map_or_else(
        || has == "none" || is_node_like(&has),
        |known| known.contains(&has.as_str()) || (known.contains(&"node") && is_node_like(&has)),
    )
}

/// The interpreters that PM2 may choose for a script with this extension.
#[must_use]
pub fn default_interpreters(extension: &str) -> Option<&'static [&'static str]> {
    DEFAULT_INTERPRETERS
        .iter()
        .find(|(known, _)| *known == extension)
        .map(|(_, interpreters)| *interpreters)
}

const DEFAULT_INTERPRETERS: &[(&str, &[&str])] = &[
    ("sh", &["bash"]),
    ("py", &["python", "python3"]),
    ("rb", &["ruby"]),
    ("php", &["php"]),
    ("pl", &["perl"]),
    ("js", &["node"]),
    ("ts", &["bun", "node"]),
    ("tsx", &["bun"]),
];

/// Whether an orphan is a process of `spec`, judged by properties that no edit changes: name, script and working directory. Its
/// arguments come from the definition it was started with, which may have been edited since.
#[must_use]
pub fn is_orphan_of(spec: &AppSpec, orphan: &Orphan) -> bool {
    orphan.name == spec.name()
        && script_matches(spec, &orphan.script)
        && orphan.cwd == spec.cwd()
        && (shows_title(orphan)
            || orphan
                .command_line
                .iter()
                .any(|word| *word == orphan.script || is_container(word)))
}

/// Whether the command line is the title that PM2 sets, which is truncated to the length of the original command line.
fn shows_title(orphan: &Orphan) -> bool {
    let mut words = orphan.command_line.iter().filter(|word| !word.is_empty());
    let (Some(word), None) = (words.next(), words.next()) else {
        return false;
    };
    *word == orphan.title || (orphan.title.starts_with(word) && word.contains(' '))
}

/// Whether a word of a command line is the PM2 script that loads an app in Node and then sets the title.
///
/// Source: PM2 7.0.4, `lib/God/ForkMode.js`.
fn is_container(word: &str) -> bool {
    ["ProcessContainerFork.js", "ProcessContainerForkBun.js"]
        .iter()
        .any(|name| word.ends_with(&format!("/pm2/lib/{name}")))
}

/// The exec mode of a process of `spec`, once its interpreter is known.
#[must_use]
pub fn exec_mode_with(spec: &AppSpec, interpreter: &str) -> ExecMode {
    match spec.exec_mode() {
        ExecMode::ByInterpreter if is_node_like(interpreter) => ExecMode::Cluster,
        ExecMode::ByInterpreter => ExecMode::Fork,
        decided => decided,
    }
}

#[cfg(test)]
mod tests;
