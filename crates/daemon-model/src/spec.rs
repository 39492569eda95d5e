//! An app in canonical form: every spelling of the same wish is the same value.

mod digest;
mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value, json};

use digest::digest;
use read::{
    Findings, check_env_keys, check_name, read_attributes, read_policy, warn_interpreter_of_cluster,
};

use crate::attribute::{self, Role};
use crate::coerce::{drop_default, env_text, env_value, show};
use crate::finding::{DocumentPath, Finding, Place};
use crate::names;
use crate::paths::{expand_home, file_stem, resolve, with_pm_id};
use crate::{DaemonId, Label, OnRemove, Severity, SpecDigest};

/// The key of an app under which an author asks pm2-sync for something; PM2 never sees it.
pub const POLICY_KEY: &str = "pm2-sync";

/// What turns the text of an app into absolute paths and one environment.
#[derive(Debug, Clone, Copy)]
pub struct SpecContext<'a> {
    /// The workspace's root: what relative paths are relative to.
    pub root: &'a Utf8Path,
    /// The user's home, for `~` in log paths.
    pub home: &'a Utf8Path,
    /// Which `env_NAME` block is merged over `env`.
    pub env_name: Option<&'a str>,
    /// The document's `deploy` section, whose `NAME.env` is merged over `env` and below `env_NAME`.
    pub deploy: Option<&'a Map<String, Value>>,
}

/// How PM2 runs an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecMode {
    /// As a child process.
    Fork,
    /// As a worker of Node's cluster module.
    Cluster,
    /// Cluster if the script turns out to be run by node or bun, else fork: PM2's rule where `instances` is
    /// given and `exec_mode` is not.
    ByInterpreter,
}

impl ExecMode {
    /// PM2's word, where it is decided.
    #[must_use]
    pub fn as_pm2(self) -> Option<&'static str> {
        match self {
            Self::Fork => Some("fork_mode"),
            Self::Cluster => Some("cluster_mode"),
            Self::ByInterpreter => None,
        }
    }
}

/// How many processes an app wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// This many.
    Count(u32),
    /// One for each CPU, less this many, but at least one.
    PerCpu {
        /// How many CPUs to leave out.
        less: u32,
    },
}

impl Instances {
    /// The number of processes on a machine with `cpus` CPUs.
    #[must_use]
    pub fn on(self, cpus: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::PerCpu { less } => cpus.saturating_sub(less).max(1),
        }
    }
}

/// What the author asks for when the app has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnChange {
    /// Reload a cluster app (the default where a reload converges).
    Reload,
    /// Restart it even where a reload would do.
    Restart,
    /// Start it anew even where a restart would do.
    Replace,
    /// Leave it as it is and say so.
    Hold,
}

/// What an author asks of pm2-sync for one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppPolicy {
    /// What to do when the app has changed; none: the gentlest that converges.
    pub on_change: Option<OnChange>,
    /// Whether removal of its definition needs to be confirmed.
    pub protect: bool,
    /// What removal of its definition does; none: as the settings say.
    pub on_remove: Option<OnRemove>,
}

/// The log and pid files of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFiles {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Both, where the app asks for it.
    pub both: Option<String>,
    /// The process id.
    pub pid: String,
}

/// One app in canonical form. Copies share it.
#[derive(Clone, PartialEq)]
pub struct AppSpec(Arc<Content>);

#[derive(Debug, Clone, PartialEq)]
struct Content {
    daemon: DaemonId,
    name: String,
    script: String,
    cwd: Utf8PathBuf,
    exec_mode: ExecMode,
    instances: Instances,
    /// Sorted by name. There are few, and a tree of few takes a kilobyte.
    attributes: Box<[(&'static str, Value)]>,
    env: BTreeMap<String, Value>,
    policy: AppPolicy,
    digest: LateDigest,
}

/// Worked out when it is first asked for: it takes about as long as all the rest. It says nothing that the rest does not.
#[derive(Debug, Clone, Default)]
struct LateDigest(OnceLock<SpecDigest>);

impl PartialEq for LateDigest {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl AppSpec {
    /// Reads one app of a rendered document. No spec is given when a finding is an error.
    #[must_use]
    pub fn read(
        daemon: &DaemonId,
        app: &Value,
        path: &DocumentPath,
        context: &SpecContext<'_>,
    ) -> (Option<Self>, Vec<Finding>) {
        let mut findings = Findings::default();
        let Some(app) = app.as_object() else {
            findings.error(
                path,
                Place::Value,
                format!("expected a map, got {}", show(app)),
            );
            return (None, findings.list);
        };
        let values = read_attributes(app, path, &mut findings);
        let policy = read_policy(app, path, &mut findings);
        let spec = build(daemon, app, path, context, values, policy, &mut findings);
        let broken = findings
            .list
            .iter()
            .any(|finding| finding.severity == Severity::Error);
        let spec = spec.filter(|_| !broken);
        (spec.map(|content| Self(Arc::new(content))), findings.list)
    }

    /// What is found about an app of which some values could not be read, and are left out: what each of the others says
    /// by itself, and nothing that those which are missing could change.
    #[must_use]
    pub fn look_at_part(
        app: &Value,
        path: &DocumentPath,
        context: &SpecContext<'_>,
    ) -> Vec<Finding> {
        let mut findings = Findings::default();
        let Some(app) = app.as_object() else {
            return findings.list;
        };
        let values = read_attributes(app, path, &mut findings);
        read_policy(app, path, &mut findings);
        if let Some(Value::Object(env)) = values.get("env") {
            check_env_keys(env, &path.key("env"), &mut findings);
        }
        // Whether the environment's name is appended to it may be what could not be read.
        if let Some(Value::String(name)) = values.get("name")
            && context.env_name.is_none()
        {
            check_name(name, app, path, &mut findings);
        }
        findings.list
    }

    /// The daemon it belongs to.
    #[must_use]
    pub fn daemon(&self) -> &DaemonId {
        &self.0.daemon
    }

    /// Its name in PM2.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The script: an absolute path, or a bare name that is looked for in the working directory and in PATH.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.0.script
    }

    /// The working directory, absolute.
    #[must_use]
    pub fn cwd(&self) -> &Utf8Path {
        &self.0.cwd
    }

    /// How PM2 runs it.
    #[must_use]
    pub fn exec_mode(&self) -> ExecMode {
        self.0.exec_mode
    }

    /// How many processes it wants.
    #[must_use]
    pub fn instances(&self) -> Instances {
        self.0.instances
    }

    /// An attribute in canonical form, by PM2's own name; none when it is absent or PM2's default.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        let all = &self.0.attributes;
        let found = all.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        all.get(found).map(|(_, value)| value)
    }

    /// An attribute that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(Value::as_str)
    }

    /// An attribute that is a switch, PM2's default where absent.
    #[must_use]
    pub fn switch(&self, name: &str) -> bool {
        match self.attribute(name) {
            Some(value) => value.as_bool().unwrap_or(false),
            None => attribute::by_own_name(name)
                .is_some_and(|attribute| attribute.is_default(&Value::Bool(true))),
        }
    }

    /// All attributes in canonical form, without name, script, cwd, mode, instances and env.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.attributes.iter().map(|(name, value)| (*name, value))
    }

    /// The app's own environment.
    #[must_use]
    pub fn env(&self) -> &BTreeMap<String, Value> {
        &self.0.env
    }

    /// The label of its processes, started for this workspace.
    #[must_use]
    pub fn label(&self, workspace: &Utf8Path) -> Label {
        Label {
            workspace: workspace.to_owned(),
            daemon: self.0.daemon.clone(),
            app: self.0.name.clone(),
            spec: self.digest().clone(),
            protect: self.0.policy.protect,
            on_remove: self.0.policy.on_remove,
        }
    }

    /// What its author asks of pm2-sync.
    #[must_use]
    pub fn policy(&self) -> AppPolicy {
        self.0.policy
    }

    /// The digest of all that PM2 is told about it.
    #[must_use]
    pub fn digest(&self) -> &SpecDigest {
        self.0.digest.0.get_or_init(|| digest(&self.0))
    }

    /// Whether PM2 can merge the app into the record of a process. It takes a value that reads as `null` for "remove
    /// this key".
    ///
    /// Source: PM2 7.0.4, `lib/Utility.js`, `extendMix` (a loose comparison, so a list of one such text counts too).
    #[must_use]
    pub fn survives_merging(&self) -> bool {
        let is_null_text = |value: &Value| match value {
            Value::String(text) => text == "null",
            Value::Array(items) => items.len() == 1 && items[0].as_str() == Some("null"),
            _ => false,
        };
        self.0.name != "null" && !self.attributes().any(|(_, value)| is_null_text(value))
    }

    /// Whether the processes are expected to be running: not so for `:autostart false`.
    #[must_use]
    pub fn starts_by_itself(&self) -> bool {
        self.switch("autostart")
    }

    /// Log and pid files: of one process where `pm_id` is given, else as they are before PM2 numbers them.
    ///
    /// Source: PM2 7.0.4, `lib/Common.js` (`prepareAppConf`) and `lib/God.js` (`executeApp`).
    #[must_use]
    pub fn files(&self, pm2_home: &Utf8Path, pm_id: Option<u32>) -> ProcessFiles {
        let stem = file_stem(&self.0.name);
        let of_stem = |directory: &str, end: &str| {
            let mut path = pm2_home.join(directory).into_string();
            for part in ["/", &stem, end] {
                path.push_str(part);
            }
            path
        };
        let own_number = pm_id.filter(|_| !self.switch("merge_logs"));
        let numbered = |path: String| match own_number {
            Some(id) => with_pm_id(&path, "log", id),
            None => path,
        };
        let log = |attribute: &str, end: &str| {
            let given = self.text(attribute).map(ToOwned::to_owned);
            numbered(given.unwrap_or_else(|| of_stem("logs", end)))
        };
        let both = match self.attribute("log_file") {
            Some(Value::String(path)) => Some(numbered(path.clone())),
            Some(Value::Bool(true)) => Some(numbered(of_stem("logs", ".log"))),
            _ => None,
        };
        let pid = self.text("pid_file").map(ToOwned::to_owned);
        let pid = pid.unwrap_or_else(|| of_stem("pids", ".pid"));
        ProcessFiles {
            out: log("out_file", "-out.log"),
            err: log("error_file", "-error.log"),
            both,
            pid: match pm_id {
                Some(id) => with_pm_id(&pid, "pid", id),
                None => pid,
            },
        }
    }
}

impl fmt::Debug for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn build(
    daemon: &DaemonId,
    app: &Map<String, Value>,
    path: &DocumentPath,
    context: &SpecContext<'_>,
    mut values: BTreeMap<&'static str, Value>,
    policy: AppPolicy,
    findings: &mut Findings,
) -> Option<Content> {
    let script = take_text(&mut values, "script").filter(|script| !script.is_empty());
    if script.is_none() && !findings.refused(app, path, "script") {
        findings.error(
            path,
            Place::Value,
            "has no `script`, so PM2 has nothing to run",
        );
    }
    let mut name = take_text(&mut values, "name").filter(|name| !name.is_empty());
    if name.is_none() && findings.refused(app, path, "name") {
        // What is wrong with it is said; all else is looked at under any name.
        name = Some("name".to_owned());
    }
    if name.is_none()
        && let Some(script) = &script
    {
        let default = names::default_for(script);
        findings.warning(
            path,
            Place::Value,
            format!("has no `name`: PM2 calls it `{default}`"),
            Some(format!("write `:name \"{default}\"`")),
        );
        name = Some(default);
    }
    let mut name = name.unwrap_or_default();
    if values.get("append_env_to_name") == Some(&json!(true))
        && let Some(env_name) = context.env_name
    {
        name = format!("{name}-{env_name}");
    }
    check_name(&name, app, path, findings);

    let Some(raw_script) = script else {
        // Nothing can be made of it, but what else is wrong is said along.
        read_env(&mut values, app, path, context, findings);
        return None;
    };

    let cwd = take_text(&mut values, "cwd").filter(|cwd| !cwd.is_empty());
    let cwd = resolve(context.root, cwd.as_deref().unwrap_or(""));
    let script = if raw_script.contains(' ') {
        // PM2 hands a script with a space to a shell, whatever its arguments.
        values.insert("args", json!(["-c", raw_script]));
        "bash".to_owned()
    } else if raw_script.contains('/') {
        resolve(&cwd, &raw_script).into_string()
    } else {
        raw_script
    };

    let instances = values.remove("instances").and_then(|value| value.as_i64());
    let explicit_mode = values.remove("exec_mode");
    let forced_fork = values.remove("execute_command") == Some(json!(true));
    let cluster_asked = !forced_fork && explicit_mode == Some(json!("cluster_mode"));
    let exec_mode = match (forced_fork, explicit_mode.as_ref().and_then(Value::as_str)) {
        (true, _) | (_, Some("fork_mode")) => ExecMode::Fork,
        (_, Some(_)) => ExecMode::Cluster,
        // `instances` alone means cluster for node: PM2 7.0.4, `lib/Common.js`, `determineExecMode`.
        (_, None) if instances.is_some_and(|n| n >= -1) => match values.get("exec_interpreter") {
            Some(interpreter) if is_node_like(&env_text(interpreter)) => ExecMode::Cluster,
            Some(_) => ExecMode::Fork,
            None => ExecMode::ByInterpreter,
        },
        _ => ExecMode::Fork,
    };
    if cluster_asked {
        warn_interpreter_of_cluster(app, &values, path, findings);
    }
    if !values.contains_key("merge_logs") && !cluster_asked && instances.unwrap_or(0) == 0 {
        values.insert("merge_logs", json!(true));
    }

    if values.get("time") == Some(&json!(true)) {
        values.insert("log_date_format", json!("YYYY-MM-DDTHH:mm:ss"));
    }
    if values.get("automation") == Some(&json!(false)) {
        values.insert("pmx", json!(false));
    }
    if values.remove("disable_trace") == Some(json!(true)) {
        values.remove("trace");
    }
    values.remove("username");
    for file in ["out_file", "error_file", "log_file", "pid_file"] {
        if let Some(Value::String(path)) = values.get(file) {
            let canonical = match path.as_str() {
                "NULL" | "/dev/null" => "/dev/null".to_owned(),
                "" => String::new(),
                path => resolve(&cwd, &expand_home(path, context.home)).into_string(),
            };
            values.insert(file, json!(canonical));
        }
    }

    let env = read_env(&mut values, app, path, context, findings);
    let attributes = values
        .into_iter()
        .filter_map(|(name, value)| {
            let attribute = attribute::by_own_name(name)?;
            debug_assert_ne!(attribute.role, Role::Inert);
            Some((attribute.name, drop_default(attribute, value)?))
        })
        .collect();
    Some(Content {
        daemon: daemon.clone(),
        name,
        script,
        cwd,
        exec_mode,
        instances: match instances {
            None => Instances::Count(1),
            Some(n) => match u32::try_from(n) {
                Ok(0) => Instances::PerCpu { less: 0 },
                Ok(n) => Instances::Count(n),
                Err(_) => Instances::PerCpu {
                    less: u32::try_from(n.unsigned_abs()).unwrap_or(u32::MAX),
                },
            },
        },
        attributes,
        env,
        policy,
        digest: LateDigest::default(),
    })
}

fn take_text(values: &mut BTreeMap<&'static str, Value>, name: &str) -> Option<String> {
    match values.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Whether PM2 takes an interpreter for node or bun, which it can run in cluster mode.
#[must_use]
pub fn is_node_like(interpreter: &str) -> bool {
    let base = interpreter.rsplit('/').next().unwrap_or(interpreter);
    base.ends_with("node") || base.ends_with("bun")
}

fn read_env(
    values: &mut BTreeMap<&'static str, Value>,
    app: &Map<String, Value>,
    path: &DocumentPath,
    context: &SpecContext<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, Value> {
    let mut env = BTreeMap::new();
    let merge = |env: &mut BTreeMap<String, Value>, block: &Map<String, Value>| {
        for (key, value) in block {
            env.insert(key.clone(), env_value(value));
        }
    };
    if let Some(Value::Object(block)) = values.remove("env") {
        check_env_keys(&block, &path.key("env"), findings);
        env = block
            .into_iter()
            .map(|(key, value)| (key, env_value(&value)))
            .collect();
    }
    // PM2 lets `port` win over a PORT of `env`, `deploy` over both (its comment says otherwise, but it merges into the
    // same object), and a chosen `env_NAME` over all.
    if let Some(port) = values.get("port").filter(|port| port.as_f64() != Some(0.0)) {
        env.insert("PORT".to_owned(), port.clone());
    }
    if let Some(name) = context.env_name {
        let deploy = context.deploy.and_then(|deploy| deploy.get(name));
        let blocks = [
            deploy.and_then(|target| target.get("env")),
            app.get(&format!("env_{name}")),
        ];
        for block in blocks.into_iter().flatten().filter_map(Value::as_object) {
            merge(&mut env, block);
        }
    }
    env
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The same value with the keys of every map in order, so that the order of writing does not count.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), sorted(value)))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(sorted).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}
