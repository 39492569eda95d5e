//! An app in canonical form: all spellings of a setting have the same value.

mod build;
mod compared;
mod digest;
mod duration;
mod env;
mod ignored;
mod outside;
mod probe;
mod read;
mod rollout;
mod traps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use serde_json::{Map, Value};

use build::{AppAt, build};
use compared::Compared;
use digest::{digest, revision};
use ignored::{Ignored, Late};
use outside::{Outside, Sources};
use read::{Findings, check_env_keys, check_name, read_attributes, read_policy};

pub use build::is_node_like;
pub(crate) use digest::{hex, sorted};
pub use outside::{Origin, env_file_problems};

use crate::attribute;
use crate::coerce::Shown;
use crate::finding::{DocumentPath, Finding, Place};
use crate::paths::{file_stem, with_pm_id};
use crate::process::MIN_UPTIME_MS;
use crate::rollout::NOTHING_DECLARED;
use crate::survival;
use crate::values::Values;
use crate::{DaemonId, Label, OnRemove, PmId, Revision, Rollout, Severity, SpecDigest, message};

/// The key of an app with settings for pm2-sync; PM2 never sees it.
pub const POLICY_KEY: &str = "pm2-sync";

/// The context in which an app's paths and environment are resolved.
#[derive(Debug, Clone, Copy)]
pub struct SpecContext<'a> {
    /// The workspace's root, from which relative paths start.
    pub root: &'a Utf8Path,
    /// The user's home, for `~` in log paths.
    pub home: &'a Utf8Path,
    /// The `env_NAME` block that is merged over `env`.
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
    /// Cluster if the script is run by node or bun, else fork: PM2's rule if `instances` is given and `exec_mode` is not.
    ByInterpreter,
}

impl ExecMode {
    /// PM2's name for the mode, if it is decided.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Instances {
    /// This many.
    Count(u32),
    /// One per CPU, less this many, but at least one.
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

/// The author's choice of how to apply changes of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum OnChange {
    /// Reload a cluster app (the default if a reload suffices).
    Reload,
    /// Restart it even if a reload would suffice.
    Restart,
    /// Replace it even if a restart would suffice.
    Replace,
    /// Report changes but do not apply them.
    Hold,
}

/// The pm2-sync settings of one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct AppPolicy {
    /// How to apply changes; none: the least disruptive method that suffices.
    pub on_change: Option<OnChange>,
    /// Whether removal of its definition needs to be confirmed.
    pub protect: bool,
    /// How to remove it once its definition is gone; none: as the settings say.
    pub on_remove: Option<OnRemove>,
}

/// The log and pid files of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFiles {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Both in one file, if the app asks for it.
    pub both: Option<String>,
    /// The pid file.
    pub pid: String,
}

/// One app in canonical form. Clones share it.
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
    /// Sorted by name. There are few, and even a small tree map takes a kilobyte.
    attributes: Box<[(&'static str, Value)]>,
    env: BTreeMap<String, Value>,
    policy: AppPolicy,
    /// Few apps have rollout settings.
    rollout: Option<Box<Rollout>>,
    /// The external values; none for most apps.
    outside: Option<Box<Outside>>,
    /// The variables that the processes have and the caller lacks. These belong to a step, not to the app.
    inherited: Ignored<Option<Box<Inherited>>>,
    digest: Late<SpecDigest>,
    revision: Late<Revision>,
    compared: Ignored<Compared>,
}

impl Content {
    /// How long a process must be up to count as stable.
    fn min_uptime(&self) -> Duration {
        let min_uptime = self.attribute("min_uptime").and_then(Value::as_u64);
        Duration::from_millis(min_uptime.unwrap_or(MIN_UPTIME_MS))
    }

    fn attribute(&self, name: &str) -> Option<&Value> {
        let all = &self.attributes;
        let found = all.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        all.get(found).map(|(_, value)| value)
    }
}

/// Variables that `:pass-env` names and that the caller does not have.
#[derive(Debug, Clone, Default)]
struct Inherited {
    kept: BTreeMap<String, String>,
    lacking: BTreeSet<String>,
}

impl AppSpec {
    /// Reads one app of a rendered document. Returns no spec if any finding is an error. References to external values count as
    /// present, and stay as written.
    #[must_use]
    pub fn read(
        daemon: &DaemonId,
        app: &Value,
        path: &DocumentPath,
        context: &SpecContext<'_>,
    ) -> (Option<Self>, Vec<Finding>) {
        Self::resolve(daemon, app, path, context, &Values::assumed())
    }

    /// Reads one app of a rendered document, with its references replaced by `values`. Returns no spec if any finding is an error.
    #[must_use]
    pub fn resolve(
        daemon: &DaemonId,
        app: &Value,
        path: &DocumentPath,
        context: &SpecContext<'_>,
        values: &Values,
    ) -> (Option<Self>, Vec<Finding>) {
        let mut findings = Findings::default();
        let Some(app) = app.as_object() else {
            findings.error(
                path,
                Place::Value,
                message!("expected a map, got {}", Shown(app)),
            );
            return (None, findings.list);
        };
        let mut sources = Sources::new(app, path, (context.root, values), &mut findings);
        let interpolates = sources.interpolates;
        let values = read_attributes(app, path, context.env_name, interpolates, &mut findings);
        let policy = read_policy(app, path, &mut findings);
        let read = (values, policy);
        let mut spec = build(
            daemon,
            AppAt { app, path },
            context,
            read,
            &mut sources,
            &mut findings,
        );
        if let Some(spec) = &mut spec {
            let outside = sources.outside;
            spec.outside = (!outside.is_empty()).then(|| Box::new(outside));
        }
        let rollout = rollout::read(app, path, spec.as_ref(), &mut findings);
        if let Some(spec) = &mut spec {
            spec.rollout = (rollout != NOTHING_DECLARED).then(|| Box::new(rollout));
        }
        let broken = findings
            .list
            .iter()
            .any(|finding| finding.severity == Severity::Error);
        let spec = spec.filter(|_| !broken);
        (spec.map(|content| Self(Arc::new(content))), findings.list)
    }

    /// Findings about an app without the values that could not be read: only findings about single other values, and none that the
    /// missing values could change.
    #[must_use]
    pub fn look_at_part(
        app: &Value,
        path: &DocumentPath,
        context: &SpecContext<'_>,
        values: &Values,
    ) -> Vec<Finding> {
        let mut findings = Findings::default();
        let Some(app) = app.as_object() else {
            return findings.list;
        };
        let interpolates = outside::interpolates(app).unwrap_or(values.interpolates());
        let values = read_attributes(app, path, context.env_name, interpolates, &mut findings);
        read_policy(app, path, &mut findings);
        rollout::read(app, path, None, &mut findings);
        if let Some(Value::Object(env)) = values.get("env") {
            check_env_keys(env, &path.key("env"), interpolates, &mut findings);
        }
        // The setting that appends the environment's name may be missing.
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

    /// The script: an absolute path, or a bare name that is looked up in the working directory and in PATH.
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

    /// How many processes it declares.
    #[must_use]
    pub fn instances(&self) -> Instances {
        self.0.instances
    }

    /// An attribute in canonical form, by PM2's name; none if it is absent or PM2's default.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.0.attribute(name)
    }

    /// An attribute that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(Value::as_str)
    }

    /// A boolean attribute, with PM2's default if it is absent.
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

    /// The label for its processes in this workspace.
    #[must_use]
    pub fn label(&self, workspace: &Utf8Path) -> Label {
        Label {
            workspace: workspace.to_owned(),
            daemon: self.0.daemon.clone(),
            app: self.0.name.clone(),
            spec: self.digest().clone(),
            protect: self.0.policy.protect,
            on_remove: self.0.policy.on_remove,
            outside: self.outside().map(ToOwned::to_owned).collect(),
        }
    }

    /// Its pm2-sync settings.
    #[must_use]
    pub fn policy(&self) -> AppPolicy {
        self.0.policy
    }

    /// Its rollout settings. PM2 does not get them, so they are not part of the digest.
    #[must_use]
    pub fn rollout(&self) -> &Rollout {
        self.0.rollout.as_deref().unwrap_or(&NOTHING_DECLARED)
    }

    /// How long it may take to become ready after a change: the declared time; else what its probes need, but at least twice its
    /// minimum uptime.
    #[must_use]
    pub fn window(&self) -> Duration {
        let rollout = self.rollout();
        let least = self.0.min_uptime().saturating_mul(2);
        rollout
            .within
            .unwrap_or_else(|| rollout.window().max(least))
    }

    /// How long it takes to recognise that it is ready.
    #[must_use]
    pub fn judging_time(&self) -> Duration {
        self.0
            .min_uptime()
            .saturating_add(self.rollout().probing_time())
    }

    /// Whether both share the same content.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The digest of everything that PM2 gets.
    #[must_use]
    pub fn digest(&self) -> &SpecDigest {
        self.0.digest.0.get_or_init(|| digest(&self.0))
    }

    /// The digest of everything that the app declares. A corrected probe changes the revision, but not the [digest](Self::digest).
    #[must_use]
    pub fn revision(&self) -> &Revision {
        let revision_of = || revision(&self.0, self.digest());
        self.0.revision.0.get_or_init(revision_of)
    }

    /// Whether PM2 can merge the app into the record of a process. PM2 reads a value that looks like `null` as "remove this key".
    ///
    /// Source: PM2 7.0.4, `lib/Utility.js`, `extendMix` (a loose comparison, so a list of one such text counts too).
    #[must_use]
    pub fn survives_merging(&self) -> bool {
        let mut values = self.attributes().map(|(_, value)| value);
        self.0.name != "null" && !values.any(survival::is_null_text)
    }

    /// Whether PM2 starts it by itself: false for `:autostart false`.
    #[must_use]
    pub fn starts_by_itself(&self) -> bool {
        self.switch("autostart")
    }

    /// Log and pid files: those of one process if `pm_id` is given, else without a number.
    ///
    /// Source: PM2 7.0.4, `lib/Common.js` (`prepareAppConf`) and `lib/God.js` (`executeApp`).
    #[must_use]
    pub fn files(&self, pm2_home: &Utf8Path, pm_id: Option<PmId>) -> ProcessFiles {
        let stem = file_stem(&self.0.name);
        let of_stem = |directory: &str, end: &str| {
            let home = pm2_home.as_str();
            let is_separated = home.is_empty() || home.ends_with('/');
            let separator = if is_separated { "" } else { "/" };
            [home, separator, directory, "/", &stem, end].concat()
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

/// Whether a key of an app is a rollout setting.
pub(crate) fn is_rollout_key(key: &str) -> bool {
    rollout::key(key).is_some()
}
