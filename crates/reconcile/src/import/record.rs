//! Derives one app from PM2's records of its processes.
//!
//! The comparison that detects drift decides: the definition contains an attribute only if the comparison finds a difference
//! without it.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    AppSpec, ChangeKind, DaemonId, DocumentPath, EnvPolicy, Field, ObservedProcess, PmId,
    SpecContext, attribute, diff, paths,
};
use pm2_client::{FileKind, Host, LocalHost, ProcessRecord, ResolvedApp};
use serde_json::{Map, Value, json};

use super::Note;
use super::config_file::below;
use super::inherited::Shells;
use crate::config::Config;

type Process = (ProcessRecord, ObservedProcess);
type App = Map<String, Value>;

/// The order of the first keys; the others follow in PM2's order, with `env` last.
const FIRST: &[&str] = &[
    "name",
    "namespace",
    "script",
    "args",
    "interpreter",
    "node_args",
    "cwd",
    "exec_mode",
    "instances",
];

/// How many rounds add the attributes that the comparison reports. Adding one may reveal another, but not many.
const ROUNDS: usize = 4;

/// Derives apps from records.
pub(super) struct Reader<'a> {
    config: &'a Config,
    host: LocalHost,
    env_policy: EnvPolicy,
    shells: Shells<'a>,
}

impl<'a> Reader<'a> {
    /// Creates a reader. `daemon` is the environment of PM2's daemon.
    pub(super) fn new(config: &'a Config, daemon: &'a BTreeMap<String, String>) -> Self {
        Self {
            config,
            host: config.local_host(),
            env_policy: config.env_policy(),
            shells: Shells {
                caller: config.environment.vars(),
                daemon,
            },
        }
    }

    /// The app of these processes, of which there is at least one. If they differ, the first counts.
    pub(super) fn app(&self, processes: &[Process], notes: &mut Vec<Note>) -> App {
        let Some(((record, process), rest)) = processes.split_first() else {
            return App::new();
        };
        let mut app = self.identity(record, process, rest.len() + 1);
        self.add_attributes(&mut app, record, process);
        self.choose_interpreter(&mut app, record, process);
        let inherited = self.add_env(&mut app, process);
        notes.extend(inherited);
        sort(&mut app);
        notes.extend(filled_in(&app, record, process));
        let parts = self.unlike(&app, processes);
        if !parts.is_empty() {
            let app = process.name.clone();
            notes.push(Note::Unlike { app, parts });
        }
        app
    }

    fn spec(&self, app: &App) -> Option<AppSpec> {
        let context = SpecContext {
            root: self.config.root(),
            home: &self.config.home,
            env_name: None,
            deploy: None,
        };
        let app = Value::Object(app.clone());
        let path = DocumentPath::root();
        AppSpec::read(&DaemonId::of_file(), &app, &path, &context).0
    }

    /// What every app declares: its name and script, and where, how and how often it runs.
    fn identity(&self, record: &ProcessRecord, process: &ObservedProcess, count: usize) -> App {
        let text = |key: &str| record.pm2_env.get(key).and_then(Value::as_str);
        let cwd = Utf8PathBuf::from(text("pm_cwd").unwrap_or(self.config.root().as_str()));
        let mut app = App::new();
        app.insert("name".into(), json!(process.name));
        let script = self.script(Utf8Path::new(text("pm_exec_path").unwrap_or("")), &cwd);
        app.insert("script".into(), json!(script));
        if cwd != self.config.root() {
            app.insert("cwd".into(), json!(below(self.config.root(), &cwd)));
        }
        let is_cluster = text("exec_mode") == Some("cluster_mode");
        if is_cluster {
            app.insert("exec_mode".into(), json!("cluster"));
        } else if count > 1 {
            // Without `exec_mode`, PM2 would use cluster mode for more than one instance.
            app.insert("exec_mode".into(), json!("fork"));
        }
        if count > 1 {
            app.insert("instances".into(), json!(count));
        }
        app
    }

    /// A script as a user would write it: relative to its directory, a command by its name, else unchanged.
    fn script(&self, path: &Utf8Path, cwd: &Utf8Path) -> String {
        // PM2 passes a script with a space to a shell.
        let has_no_blank = |text: &str| !text.contains(' ');
        if let Ok(inside) = path.strip_prefix(cwd)
            && has_no_blank(inside.as_str())
            && !inside.as_str().is_empty()
        {
            return format!("./{inside}");
        }
        if let Some(name) = path.file_name().filter(|name| has_no_blank(name))
            && self.host.file_kind(&cwd.join(name)) == FileKind::Missing
            && self
                .host
                .find_command(name)
                .is_some_and(|found| found == path)
        {
            return name.to_owned();
        }
        path.to_string()
    }

    /// Attributes in which the process differs from the app as derived so far.
    fn changed(&self, app: &App, process: &ObservedProcess) -> Vec<&'static str> {
        let Some(spec) = self.spec(app) else {
            return Vec::new();
        };
        let changes = diff(&spec, process, &self.env_policy).into_iter();
        let attributes = changes.filter_map(|change| match change.field {
            Field::Attribute(name) => Some(name),
            _ => None,
        });
        attributes.collect()
    }

    fn add_attributes(&self, app: &mut App, record: &ProcessRecord, process: &ObservedProcess) {
        let mut added: Vec<&'static str> = Vec::new();
        for _ in 0..ROUNDS {
            let changed = self.changed(app, process);
            for name in &changed {
                if let Some(value) = value_of(name, record) {
                    let before = app.insert((*name).to_owned(), value);
                    if self.spec(app).is_some() {
                        added.push(name);
                    } else if before.is_none() {
                        // PM2 writes a variable with the app's name into its record. If the app is named like an attribute, that
                        // attribute is lost.
                        app.shift_remove(*name);
                    }
                }
            }
            if changed.is_empty() {
                break;
            }
        }
        // Some attributes follow from others, such as the time format from `time`.
        let left = self.changed(app, process);
        for name in added.iter().rev() {
            let mut without = app.clone();
            without.shift_remove(*name);
            if self.spec(&without).is_some() && self.changed(&without, process) == left {
                *app = without;
            }
        }
    }

    /// Names the interpreter, unless it is the default. The comparison accepts any that PM2 may have chosen; the next restart must
    /// not choose another.
    fn choose_interpreter(&self, app: &mut App, record: &ProcessRecord, process: &ObservedProcess) {
        let has = record
            .pm2_env
            .get("exec_interpreter")
            .and_then(Value::as_str);
        let Some(has) = has else { return };
        app.shift_remove("exec_interpreter");
        let root = self.config.root();
        let home = &self.config.pm2_home;
        // Cluster workers run in PM2's own node.
        let is_cluster = process.text("exec_mode") == Some("cluster_mode");
        let chosen = self
            .spec(app)
            .and_then(|spec| ResolvedApp::resolve(&spec, root, home, &self.host).ok());
        let is_chosen = chosen.is_some_and(|it| it.interpreter() == has)
            || (is_cluster && daemon_model::is_node_like(has));
        if !is_chosen {
            app.insert("interpreter".into(), json!(has));
        }
    }

    /// Adds the app's own variables. Returns notes about the others.
    fn add_env(&self, app: &mut App, process: &ObservedProcess) -> Option<Note> {
        let spec = self.spec(app)?;
        let differing = diff(&spec, process, &self.env_policy).into_iter();
        let mut differing: Vec<String> = differing
            .filter_map(|change| match (change.field, change.kind) {
                (Field::Env(name), ChangeKind::Removed) => Some(name),
                _ => None,
            })
            .collect();
        differing.extend(self.shells.overridden(process, &spec));
        let (mut same, mut session) = (Vec::new(), Vec::new());
        let mut env = Map::new();
        for name in differing {
            let Some(value) = process.env.get(&name) else {
                continue;
            };
            if self.shells.have(&name, value) {
                match Shells::is_of_session(&name) {
                    true => session.push(name),
                    false => same.push(name),
                }
            } else if Shells::is_of_session(&name) {
                session.push(name);
            } else {
                env.insert(name, json!(value));
            }
        }
        // PM2 counts up from the app's own value, which the first process has.
        if let Some(counter) = spec.text("increment_var")
            && let Some(first) = process.env.get(counter)
        {
            env.insert(counter.to_owned(), json!(first));
        }
        if !env.is_empty() {
            app.insert("env".into(), Value::Object(env));
        }
        let app = process.name.clone();
        let is_any = !same.is_empty() || !session.is_empty();
        is_any.then_some(Note::Inherited { app, same, session })
    }

    /// Parts in which one of the processes differs from the app, except for what it inherited.
    fn unlike(&self, app: &App, processes: &[Process]) -> Vec<String> {
        let Some(spec) = self.spec(app) else {
            // Errors of the app are found when its definition is checked.
            return Vec::new();
        };
        let mut parts: Vec<String> = Vec::new();
        for (_, process) in processes {
            for change in diff(&spec, process, &self.env_policy) {
                let is_inherited = match &change.field {
                    Field::Env(name) => {
                        let value = process.env.get(name).unwrap_or("");
                        change.kind == ChangeKind::Removed
                            && (Shells::is_of_session(name) || self.shells.have(name, value))
                    }
                    _ => false,
                };
                let part = change.field.to_string();
                if !is_inherited && !parts.contains(&part) {
                    parts.push(part);
                }
            }
        }
        parts
    }
}

/// The value of an attribute in the form used by definitions.
fn value_of(name: &'static str, record: &ProcessRecord) -> Option<Value> {
    let env = &record.pm2_env;
    let stored = env.get(name).filter(|value| !value.is_null());
    let path = |key: &str, extension: &str| {
        let path = env.get(key)?.as_str()?;
        let cwd = Utf8Path::new(env.get("pm_cwd")?.as_str()?);
        let path = without_number(path, extension, record.pm_id);
        Some(match Utf8Path::new(&path).strip_prefix(cwd) {
            Ok(inside) => json!(format!("./{inside}")),
            Err(_) => json!(path),
        })
    };
    match name {
        // Already declared.
        "name" | "script" | "cwd" | "exec_mode" => None,
        "out_file" => path("pm_out_log_path", "log"),
        "error_file" => path("pm_err_log_path", "log"),
        "log_file" => path("pm_log_path", "log"),
        "pid_file" => path("pm_pid_path", "pid"),
        "max_memory_restart" => stored.map(memory),
        _ => stored.cloned().or_else(|| {
            // The process lacks an attribute that an app has by default.
            let attribute = attribute::by_own_name(name)?;
            (attribute.kind == attribute::Kind::Bool).then_some(json!(false))
        }),
    }
}

/// A number of bytes in the usual notation.
fn memory(value: &Value) -> Value {
    let units = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let bytes = value.as_u64().filter(|bytes| *bytes > 0);
    let short = bytes.and_then(|bytes| {
        let (size, unit) = units.into_iter().find(|(size, _)| bytes % size == 0)?;
        Some(json!(format!("{}{unit}", bytes / size)))
    });
    short.unwrap_or_else(|| value.clone())
}

/// A file name of a process without the number that PM2 added to it.
fn without_number(path: &str, extension: &str, pm_id: PmId) -> String {
    let bare = path
        .strip_suffix(&format!("-{pm_id}.{extension}"))
        .map(|stem| format!("{stem}.{extension}"));
    match bare {
        Some(bare) if paths::with_pm_id(&bare, extension, pm_id) == path => bare,
        _ => path.to_owned(),
    }
}

/// The attributes of the record that the app does not name.
fn filled_in(app: &App, record: &ProcessRecord, process: &ObservedProcess) -> Option<Note> {
    let is_said = |name: &str| {
        let same = |key: &String| attribute::find(key).is_some_and(|it| it.name == name);
        app.keys().any(same)
    };
    let attributes: Vec<String> = record
        .pm2_env
        .iter()
        .filter(|(key, value)| {
            let is_attribute = attribute::by_own_name(key).is_some() && *key != "env";
            is_attribute && !value.is_null() && !is_said(key)
        })
        .map(|(key, _)| key.clone())
        .collect();
    let app = process.name.clone();
    (!attributes.is_empty()).then_some(Note::FilledIn { app, attributes })
}

fn sort(app: &mut App) {
    let place = |key: &str| {
        let first = FIRST.iter().position(|known| *known == key);
        let listed = || {
            let mut all = attribute::ATTRIBUTES.iter();
            all.position(|it| it.name == key).unwrap_or(usize::MAX - 1)
        };
        match key {
            "env" => usize::MAX,
            _ => first.unwrap_or_else(|| FIRST.len() + listed().min(usize::MAX / 2)),
        }
    };
    let mut entries: Vec<(String, Value)> = std::mem::take(app).into_iter().collect();
    entries.sort_by_key(|(key, _)| place(key));
    *app = entries.into_iter().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_out_of_file_names() {
        let bare = |path: &str| without_number(path, "log", PmId(3));
        assert_eq!(bare("/l/a-out-3.log"), "/l/a-out.log");
        assert_eq!(bare("/l/a-out.log"), "/l/a-out.log");
        assert_eq!(bare("/l/a-out-4.log"), "/l/a-out-4.log");
        assert_eq!(bare("/dev/null"), "/dev/null");
    }

    #[test]
    fn bytes_are_written_as_people_do() {
        for (bytes, text) in [
            (json!(314_572_800), json!("300M")),
            (json!(2_147_483_648_u64), json!("2G")),
            (json!(1024), json!("1K")),
            (json!(1_000_000), json!(1_000_000)),
        ] {
            assert_eq!(memory(&bytes), text);
        }
    }

    #[test]
    fn keys_have_an_order() {
        let app =
            json!({ "env": {}, "watch": true, "cwd": "x", "args": [], "name": "a", "script": "s" });
        let mut app = app.as_object().unwrap().clone();
        sort(&mut app);
        let keys: Vec<&String> = app.keys().collect();
        assert_eq!(keys, ["name", "script", "args", "cwd", "watch", "env"]);
    }
}
