//! Converts an app to the payload for PM2's daemon, as PM2's own command line does before it calls `prepare`.
//!
//! Source: PM2 7.0.4, `lib/API.js` (`_startJson`) and `lib/Common.js`. Intended differences: a fixed base replaces the caller's
//! environment; `PWD` and `cwd` are the absolute working directory; no variable is named after the app; `env_NAME` blocks that are
//! not selected are not sent; a zero or `false` in the definition is not lost.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    AppSpec, ExecMode, attribute, default_interpreters, env_text, exec_mode_with, is_node_like,
};
use serde_json::{Map, Value, json};

use crate::host::{FileKind, Host};
use crate::message::{CurrentConf, InvalidMessage, Prepare, TREE_PIDS};
use crate::record::ProcessRecord;

/// The key of the label in PM2's record.
pub const LABEL_KEY: &str = "pm2_sync";

/// Why an app cannot be started on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The script is neither a file nor a command.
    #[error("script not found: `{script}` is neither a file in `{cwd}` nor a command in PATH")]
    CommandNotFound {
        /// The script as defined.
        script: String,
        /// The working directory.
        cwd: Utf8PathBuf,
    },
    /// The script file does not exist.
    #[error("script not found: `{0}` does not exist")]
    ScriptNotFound(String),
    /// The script is a directory that node cannot run.
    #[error("the script `{0}` is a directory without an `index.js` or `package.json`")]
    ScriptIsDirectory(String),
    /// The working directory does not exist or is not a directory.
    #[error("the working directory `{0}` does not exist")]
    NoWorkingDirectory(Utf8PathBuf),
    /// The interpreter is not in PATH.
    #[error("the interpreter `{0}` is not a command in PATH")]
    InterpreterNotFound(String),
    /// TypeScript needs a runner that is not installed.
    #[error("a `.ts` script needs `bun` in PATH, or an `interpreter` in its definition")]
    TypeScript,
    /// The version of node is not installed.
    #[error("node {0} is not installed under NVM_DIR: install it, or name another interpreter")]
    NodeVersion(String),
    /// Running as another user requires root.
    #[error("`uid`, `gid` and `user` need PM2 and pm2-sync to run as root")]
    NotRoot,
    /// The user does not exist.
    #[error("there is no user `{0}`")]
    UnknownUser(String),
    /// The group does not exist.
    #[error("there is no group `{0}`")]
    UnknownGroup(String),
    /// A directory for log files cannot be created.
    #[error("cannot create the log directory `{dir}`")]
    LogDirectory {
        /// The directory.
        dir: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The message would not be safe to send.
    #[error("this app cannot be passed to PM2")]
    Message(#[from] InvalidMessage),
}

/// An app, resolved for this machine.
#[derive(Debug, Clone)]
pub struct ResolvedApp {
    record: Map<String, Value>,
    env: Map<String, Value>,
    spec: AppSpec,
    pm2_home: Utf8PathBuf,
}

impl ResolvedApp {
    /// Resolves `spec` on this machine. Changes nothing.
    ///
    /// # Errors
    /// A [`ResolveError`] for the first thing that this machine does not have: the script, the working directory, the interpreter,
    /// the user or the group.
    pub fn resolve(
        spec: &AppSpec,
        workspace: &Utf8Path,
        pm2_home: &Utf8Path,
        host: &dyn Host,
    ) -> Result<Self, ResolveError> {
        let cwd = spec.cwd();
        if host.file_kind(cwd) != FileKind::Directory {
            return Err(ResolveError::NoWorkingDirectory(
                shown(spec, "cwd", cwd.as_str()).into(),
            ));
        }
        let script = find_script(spec, host)?;
        let interpreter = find_interpreter(spec, &script, host)?;
        let mode = exec_mode_with(spec, &interpreter);
        let files = spec.files(pm2_home, None);
        let mut record = Map::new();
        for (name, value) in spec.attributes() {
            record.insert(name.to_owned(), value.clone());
        }
        for file in ["out_file", "error_file", "log_file", "pid_file"] {
            record.remove(file);
        }
        for attribute in attribute::ATTRIBUTES {
            // PM2's command line sends these defaults, and the daemon relies on some of them.
            if let Some(default) = attribute
                .default_value()
                .filter(|value| *value != json!(false))
            {
                record.entry(attribute.name).or_insert(default);
            }
        }
        record.insert("name".into(), json!(spec.name()));
        record.insert("pm_exec_path".into(), json!(script));
        record.insert("pm_cwd".into(), json!(cwd));
        record.insert("cwd".into(), json!(cwd));
        record.insert("exec_interpreter".into(), json!(interpreter));
        record.insert(
            "exec_mode".into(),
            json!(mode.as_pm2().unwrap_or("fork_mode")),
        );
        record.entry("node_args").or_insert_with(|| json!([]));
        record.insert("pm_out_log_path".into(), json!(files.out));
        record.insert("pm_err_log_path".into(), json!(files.err));
        record.insert("pm_pid_path".into(), json!(files.pid));
        if let Some(both) = files.both {
            record.insert("pm_log_path".into(), json!(both));
        }
        record.insert("username".into(), json!(host.user_name()));
        record.insert("km_link".into(), json!(false));
        record.insert(LABEL_KEY.into(), json!(spec.label(workspace)));

        let mut env = inherited(spec, host);
        for (name, value) in spec.kept() {
            env.insert(name.to_owned(), json!(value));
        }
        env.insert("PWD".into(), json!(cwd));
        if let Some(home) = account(spec, host, &mut record)? {
            env.insert("HOME".into(), json!(home));
        }
        for (key, value) in spec.env() {
            env.insert(key.clone(), value.clone());
        }
        if interpreter.contains("python") {
            env.insert("PYTHONUNBUFFERED".into(), json!("1"));
        }
        env.insert("PM2_HOME".into(), json!(pm2_home));
        if let Some(io) = spec.attribute("io") {
            env.insert("io".into(), json!(env_text(io)));
        }
        Ok(Self {
            record,
            env,
            spec: spec.clone(),
            pm2_home: pm2_home.to_owned(),
        })
    }

    /// Creates the directories of its log files and pid file, if they do not exist.
    ///
    /// # Errors
    /// [`ResolveError::LogDirectory`] when one cannot be created.
    pub fn make_log_dirs(&self, host: &dyn Host) -> Result<(), ResolveError> {
        let files = self.spec.files(&self.pm2_home, None);
        let mut all = [&files.out, &files.err, &files.pid]
            .into_iter()
            .chain(&files.both);
        all.try_for_each(|file| make_parent(file, host))
    }

    /// The message that starts `count` processes.
    ///
    /// # Errors
    /// [`ResolveError::Message`] when it would crash PM2.
    pub fn prepare(&self, count: u32) -> Result<Prepare, ResolveError> {
        let mut payload = self.record.clone();
        payload.insert("instances".into(), json!(count));
        payload.insert("env".into(), Value::Object(self.env.clone()));
        Ok(Prepare::new(payload)?)
    }

    /// The message that starts one process which counts as started only once it is ready: it reports that, or PM2's time limit
    /// passes. Its record is correct only after a reload with [`current_conf_as`](Self::current_conf_as).
    ///
    /// # Errors
    /// [`ResolveError::Message`] when it would crash PM2.
    pub fn prepare_ready(&self) -> Result<Prepare, ResolveError> {
        let mut payload = self.prepare(1)?.as_map().clone();
        payload.insert("wait_ready".into(), json!(true));
        Ok(Prepare::new(payload)?)
    }

    /// The message that turns `current` into this app. Keys that only the process has are removed.
    ///
    /// # Errors
    /// [`ResolveError::Message`] when it would crash PM2.
    pub fn current_conf(&self, current: &ProcessRecord) -> Result<CurrentConf, ResolveError> {
        self.conf(current, None)
    }

    /// As [`current_conf`](Self::current_conf), and the process gets this instance number.
    ///
    /// # Errors
    /// [`ResolveError::Message`] when it would crash PM2.
    pub fn current_conf_as(
        &self,
        current: &ProcessRecord,
        instance: u32,
    ) -> Result<CurrentConf, ResolveError> {
        self.conf(current, Some(instance))
    }

    fn conf(
        &self,
        current: &ProcessRecord,
        instance: Option<u32>,
    ) -> Result<CurrentConf, ResolveError> {
        let mut conf = self.record.clone();
        let mut env = self.env.clone();
        let files = self.spec.files(&self.pm2_home, Some(current.pm_id));
        conf.insert("pm_out_log_path".into(), json!(files.out));
        conf.insert("pm_err_log_path".into(), json!(files.err));
        conf.insert("pm_pid_path".into(), json!(files.pid));
        if let Some(both) = files.both {
            conf.insert("pm_log_path".into(), json!(both));
        }
        let recorded = current.pm2_env.get("env");
        for (name, _) in self.spec.kept() {
            // Each process keeps its own value.
            if let Some(value) = recorded.and_then(|env| env.get(name)) {
                env.insert(name.to_owned(), value.clone());
            }
        }
        let nested = recorded.and_then(|env| env.get("unique_id"));
        if let Some(id) = nested.or_else(|| current.pm2_env.get("unique_id")) {
            env.insert("unique_id".into(), id.clone());
        }
        let instance_var = self
            .spec
            .text("instance_var")
            .unwrap_or("NODE_APP_INSTANCE");
        if let Some(counter) = self.spec.text("increment_var") {
            // PM2 counts up from the app's own value of the variable (lib/God.js, `injectVariables`).
            let value = match instance {
                Some(instance) => {
                    let first = env
                        .get(counter)
                        .map(env_text)
                        .and_then(|text| text.parse::<f64>().ok());
                    Some(json!(first.unwrap_or(0.0) + f64::from(instance)))
                }
                None => current.pm2_env.get(counter).cloned(),
            };
            if let Some(value) = value {
                conf.insert(counter.to_owned(), value.clone());
                env.insert(counter.to_owned(), value);
            }
        }
        if let Some(instance) = instance {
            conf.insert(instance_var.to_owned(), json!(instance));
        }
        for key in current.pm2_env.keys() {
            let stays = conf.contains_key(key)
                || env.contains_key(key)
                || attribute::RUNTIME_KEYS.contains(&key.as_str())
                || key == instance_var;
            if !stays {
                conf.insert(key.clone(), json!("null"));
            }
        }
        // The pids that PM2 found below the process when it last stopped it. If PM2 does not search again (`treekill` off), it
        // would wait for these instead of the process, and kill other processes that have those pids by then.
        //
        // Source: PM2 7.0.4, `lib/God/Methods.js` (`killProcess`, `processIsDead`); measured.
        if current.pm2_env.contains_key(TREE_PIDS) {
            conf.insert(TREE_PIDS.into(), json!("null"));
        }
        conf.insert("env".into(), Value::Object(env));
        Ok(CurrentConf::new(conf)?)
    }

    /// The app.
    #[must_use]
    pub fn spec(&self) -> &AppSpec {
        &self.spec
    }

    /// The program that runs its script: a path, a command or `none`.
    #[must_use]
    pub fn interpreter(&self) -> &str {
        let interpreter = self.record.get("exec_interpreter");
        interpreter.and_then(Value::as_str).unwrap_or("")
    }

    /// Whether PM2 will run it in cluster mode.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.record.get("exec_mode") == ExecMode::Cluster.as_pm2().map(|mode| json!(mode)).as_ref()
    }
}

fn find_script(spec: &AppSpec, host: &dyn Host) -> Result<Utf8PathBuf, ResolveError> {
    let script = spec.script();
    if script == "serve"
        && let Some(package) = host.pm2_package()
    {
        return Ok(package.join("lib/API/Serve.js"));
    }
    let path = spec.cwd().join(script);
    match host.file_kind(&path) {
        FileKind::Text | FileKind::Binary => return Ok(path),
        // PM2 passes the directory itself to node, which looks for these files in it.
        FileKind::Directory if is_node_package(spec, &path, host) => return Ok(path),
        FileKind::Directory => {
            let path = shown(spec, "script", path.as_str());
            return Err(ResolveError::ScriptIsDirectory(path));
        }
        FileKind::Missing if script.starts_with('/') => {
            return Err(ResolveError::ScriptNotFound(shown(spec, "script", script)));
        }
        _ => {}
    }
    let found = host.find_command(script);
    // A script that is a shell command works with any shell.
    let found = if script == "bash" {
        found.or_else(|| host.find_command("sh"))
    } else {
        found
    };
    found.ok_or_else(|| ResolveError::CommandNotFound {
        script: shown(spec, "script", script),
        cwd: shown(spec, "cwd", spec.cwd().as_str()).into(),
    })
}

/// A part of an app for an error message: as written in the definition, if its value is external.
fn shown(spec: &AppSpec, attribute: &str, own: &str) -> String {
    let written = spec.written(attribute).and_then(Value::as_str);
    // A relative script is in the working directory, whose value may be external.
    let written = written.or_else(|| {
        let cwd = spec.written("cwd").and_then(Value::as_str)?;
        let rest = own.strip_prefix(spec.cwd().as_str())?;
        Some(if rest.is_empty() {
            cwd
        } else {
            rest.trim_start_matches('/')
        })
    });
    written.unwrap_or(own).to_owned()
}

/// Whether node, or the interpreter that the app names, can run the content of this directory.
fn is_node_package(spec: &AppSpec, dir: &Utf8Path, host: &dyn Host) -> bool {
    let named = spec.text("exec_interpreter");
    let is_node = named.is_none_or(is_node_like);
    let starts = ["package.json", "index.js", "index.json", "index.node"];
    let exists = |name: &&str| host.file_kind(&dir.join(name)) != FileKind::Missing;
    !is_node || starts.iter().any(exists)
}

fn find_interpreter(
    spec: &AppSpec,
    script: &Utf8Path,
    host: &dyn Host,
) -> Result<String, ResolveError> {
    // A name with a slash is a path, which the process resolves in its own directory.
    let installed = |name: &str| {
        if name.contains('/') {
            matches!(
                host.file_kind(&spec.cwd().join(name)),
                FileKind::Text | FileKind::Binary
            )
        } else {
            host.find_command(name).is_some()
        }
    };
    if let Some(wanted) = spec.text("exec_interpreter") {
        if let Some((_, version)) = wanted.split_once("node@") {
            let node = host
                .base_env()
                .get("NVM_DIR")
                .map(|dir| format!("{dir}/versions/node/v{version}/bin/node"))
                .filter(|path| host.file_kind(Utf8Path::new(path)) == FileKind::Binary);
            return node.ok_or_else(|| ResolveError::NodeVersion(version.to_owned()));
        }
        if wanted != "none" && !installed(wanted) {
            if wanted == "node" {
                return Ok(host.node().into_string());
            }
            return Err(ResolveError::InterpreterNotFound(wanted.to_owned()));
        }
        return Ok(wanted.to_owned());
    }
    match default_interpreters(script.extension().unwrap_or("")) {
        None => Ok(match host.file_kind(script) {
            FileKind::Binary => "none".to_owned(),
            _ => host.node().into_string(),
        }),
        Some(choices) => {
            let typescript = choices.contains(&"bun");
            match choices.iter().find(|name| installed(name)) {
                // Only a newer node runs TypeScript, and only PM2 knows which node it uses.
                Some(&"node") if typescript => Err(ResolveError::TypeScript),
                Some(name) => Ok((*name).to_owned()),
                None if typescript => Err(ResolveError::TypeScript),
                None if choices.contains(&"node") => Ok(host.node().into_string()),
                None => Err(ResolveError::InterpreterNotFound(
                    choices
                        .first()
                        .map_or_else(String::new, |name| (*name).to_owned()),
                )),
            }
        }
    }
}

fn make_parent(file: &str, host: &dyn Host) -> Result<(), ResolveError> {
    let Some(dir) = Utf8Path::new(file).parent().filter(|_| file != "/dev/null") else {
        return Ok(());
    };
    host.make_log_dir(dir)
        .map_err(|source| ResolveError::LogDirectory {
            dir: dir.to_owned(),
            source,
        })
}

/// The inherited variables without those that `filter_env` names.
///
/// Source: PM2 7.0.4, `lib/Common.js`, `filterEnv`: a text drops one variable, a list drops each that contains
/// one of its texts, `true` drops none.
fn inherited(spec: &AppSpec, host: &dyn Host) -> Map<String, Value> {
    let base: &BTreeMap<String, String> = host.base_env();
    let dropped = |key: &str| match spec.attribute("filter_env") {
        Some(Value::String(name)) => name == key,
        Some(Value::Array(parts)) => parts.iter().any(|part| key.contains(&env_text(part))),
        _ => false,
    };
    base.iter()
        .filter(|(key, _)| !dropped(key))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect()
}

/// Resolves user and group to numbers; also returns the user's home if another user is requested.
fn account(
    spec: &AppSpec,
    host: &dyn Host,
    record: &mut Map<String, Value>,
) -> Result<Option<String>, ResolveError> {
    let asked = |name: &str| spec.attribute(name).map(env_text);
    let (uid, gid) = (asked("uid"), asked("gid"));
    if uid.is_none() && gid.is_none() {
        return Ok(None);
    }
    if !host.is_root() {
        return Err(ResolveError::NotRoot);
    }
    let name = uid.unwrap_or_else(|| "undefined".to_owned());
    let user = host.user(&name).ok_or(ResolveError::UnknownUser(name))?;
    let gid = match gid {
        Some(name) => host.group(&name).ok_or(ResolveError::UnknownGroup(name))?,
        None => user.gid,
    };
    record.insert("uid".into(), json!(user.uid));
    record.insert("gid".into(), json!(gid));
    Ok(Some(user.home))
}
