//! Steps: what to do, why, and the outcome.

use daemon_model::{
    Action, ActionKind, AppSpec, Change, ChangeKind, EntryChange, ExecMode, Field, Outcome, Reason,
    Step, StepReport,
};
use pm2_client::StepError;
use reconcile::chain;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::milliseconds;

/// What stands for a value that is not shown.
const HIDDEN: &str = "***";

/// A step to take.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// The app's name.
    pub app: String,
    /// What is done.
    pub action: ActionOutput,
    /// The number of affected processes.
    pub processes: usize,
    /// The processes' numbers in PM2; empty for a start.
    pub pm_ids: Vec<u32>,
    /// Why.
    pub reasons: Vec<ReasonOutput>,
    /// What will be started; only for `start`.
    pub starts: Option<StartsOutput>,
    /// Variables of `:pass-env` that are not set here: the processes keep the values that PM2 has recorded.
    pub keeps: Vec<String>,
    /// Variables of `:pass-env` that are not set here: new processes start without them.
    pub lacks: Vec<String>,
}

/// What is done to processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionOutput {
    /// Processes that survived their PM2, or that PM2 lost track of, are ended.
    End,
    /// New processes are started.
    Start,
    /// Stopped processes in PM2's list are started again.
    Resume,
    /// Processes are restarted without downtime.
    Reload,
    /// Processes are restarted in place.
    Restart,
    /// New processes replace the old ones.
    Replace,
    /// PM2's record of a stopped process is updated.
    Update,
    /// Processes are stopped and stay in PM2's list.
    Stop,
    /// Processes are stopped and leave PM2's list.
    Delete,
    /// Nothing is done: the app's name belongs to unmanaged processes.
    Blocked,
    /// Something else.
    Other,
}

impl From<ActionKind> for ActionOutput {
    fn from(kind: ActionKind) -> Self {
        match kind {
            ActionKind::End => Self::End,
            ActionKind::Start => Self::Start,
            ActionKind::Resume => Self::Resume,
            ActionKind::Reload => Self::Reload,
            ActionKind::Restart => Self::Restart,
            ActionKind::Replace => Self::Replace,
            ActionKind::Update => Self::Update,
            ActionKind::Stop => Self::Stop,
            ActionKind::Delete => Self::Delete,
            ActionKind::Blocked => Self::Blocked,
            _ => Self::Other,
        }
    }
}

/// Why a step is taken.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum ReasonOutput {
    /// The app has no process.
    New,
    /// It has fewer processes than its definition says.
    TooFew {
        /// Processes it has.
        have: u32,
        /// Processes it should have.
        want: u32,
    },
    /// It has more processes than its definition says.
    TooMany {
        /// Processes it has.
        have: u32,
        /// Processes it should have.
        want: u32,
    },
    /// The definition changed after the processes were started.
    Edited {
        /// The differences, as far as PM2's record shows them.
        changes: Vec<ChangeOutput>,
    },
    /// The processes differ from the definition that they were started from.
    Drifted {
        /// The differences.
        changes: Vec<ChangeOutput>,
    },
    /// The processes were stopped, but should run.
    Stopped,
    /// PM2 says `online`, but there is no process.
    NoProcess,
    /// PM2 gave the processes up, and their script changed afterwards.
    ScriptChanged,
    /// PM2 gave the processes up, and a user asked to try them again.
    RetryRequested,
    /// The daemon has no definition any more.
    DefinitionRemoved,
    /// A user asked to remove everything.
    RemovalRequested,
    /// The app is no longer in the definition.
    AppRemoved,
    /// The app moved here from another daemon.
    Moved {
        /// That daemon's ID.
        from: String,
    },
    /// The processes belong to a workspace that no longer exists.
    TakenOver {
        /// That workspace's path.
        from: String,
    },
    /// The processes were not started by pm2-sync, but have the app's name.
    Adopted,
    /// The processes survived their PM2.
    Orphaned {
        /// Their process IDs.
        pids: Vec<u32>,
    },
    /// The definition is not valid; the last valid one is started.
    LastGood,
    /// One extra process tries the new definition first.
    Canary,
    /// The definition did not become ready.
    RolledBack {
        /// The entry of the history that is restored.
        to: u32,
    },
    /// A user rolled back to an older entry of the history.
    Pinned {
        /// The entry.
        number: u32,
    },
    /// The definition did not become ready, and asks to be stopped then.
    NotReady,
    /// A user stopped it.
    StopRequested,
    /// A user restarted it.
    RestartRequested,
    /// Its liveness probe failed.
    Unhealthy {
        /// Why.
        why: String,
        /// How often in a row.
        failures: u32,
    },
    /// Unmanaged processes have this name, and adopting is off.
    Unmanaged,
    /// Processes of this name belong to another workspace.
    OtherWorkspace {
        /// That workspace's path.
        workspace: String,
    },
    /// Something else.
    Other,
}

/// One difference between a process and its definition, or between two entries of the history.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChangeOutput {
    /// The attribute, by PM2's name, or `env.NAME`; in the history any key, with a dot between the keys of maps.
    pub field: String,
    /// What happens to it.
    pub kind: ChangeKindOutput,
    /// The old value, of the process; `***` for variables and external values, unless values are shown.
    pub from: Option<Value>,
    /// The new value, of the definition; `***` for variables and external values, unless values are shown.
    pub to: Option<Value>,
    /// The env files, or `:pass-env`, that the new value comes from; null if it is in the definition itself.
    pub origin: Option<String>,
}

/// What happens to an attribute or a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKindOutput {
    /// It is new.
    Added,
    /// It has a new value.
    Changed,
    /// It has no value any more.
    Removed,
}

impl From<ChangeKind> for ChangeKindOutput {
    fn from(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Added => Self::Added,
            ChangeKind::Removed => Self::Removed,
            ChangeKind::Changed => Self::Changed,
        }
    }
}

impl ChangeOutput {
    fn new(change: &Change, show_values: bool) -> Self {
        let is_env = matches!(change.field, Field::Env(_));
        let value = |text: &Option<String>| {
            text.as_ref().map(|text| match change.is_secret {
                true if !show_values => Value::from(HIDDEN),
                _ if is_env => Value::from(text.as_str()),
                _ => attribute_value(text),
            })
        };
        Self {
            field: change.field.to_string(),
            kind: change.kind.into(),
            from: value(&change.from),
            to: value(&change.to),
            origin: change.origin.as_ref().map(ToString::to_string),
        }
    }

    /// A difference between two entries of the history; none for one that is about a whole app.
    pub(super) fn of_entry(change: &EntryChange, show_values: bool) -> Option<Self> {
        let value = |value: &Option<Value>| match value {
            Some(_) if change.is_variable && !show_values => Some(Value::from(HIDDEN)),
            value => value.clone(),
        };
        Some(Self {
            field: change.field.clone()?,
            kind: change.kind.into(),
            from: value(&change.from),
            to: value(&change.to),
            origin: None,
        })
    }

    /// Whether it is about an environment variable.
    #[must_use]
    pub fn is_env(&self) -> bool {
        self.field.starts_with("env.")
    }
}

/// An attribute's value out of the text that stands for it in a comparison.
fn attribute_value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Array(_) | Value::Object(_) | Value::Number(_) | Value::Bool(_))) => {
            value
        }
        _ => Value::from(text),
    }
}

impl ReasonOutput {
    fn new(reason: &Reason, show_values: bool) -> Self {
        let changes = |changes: &[Change]| {
            let changes = changes.iter();
            changes
                .map(|one| ChangeOutput::new(one, show_values))
                .collect()
        };
        match reason {
            Reason::New => Self::New,
            Reason::TooFew { have, want } => Self::TooFew {
                have: *have,
                want: *want,
            },
            Reason::TooMany { have, want } => Self::TooMany {
                have: *have,
                want: *want,
            },
            Reason::Edited { changes: found } => Self::Edited {
                changes: changes(found),
            },
            Reason::Drifted { changes: found } => Self::Drifted {
                changes: changes(found),
            },
            Reason::Stopped => Self::Stopped,
            Reason::NoProcess => Self::NoProcess,
            Reason::ScriptChanged => Self::ScriptChanged,
            Reason::RetryRequested => Self::RetryRequested,
            Reason::DefinitionRemoved => Self::DefinitionRemoved,
            Reason::RemovalRequested => Self::RemovalRequested,
            Reason::AppRemoved => Self::AppRemoved,
            Reason::Moved { from } => Self::Moved {
                from: from.to_string(),
            },
            Reason::TakenOver { from } => Self::TakenOver {
                from: from.to_string(),
            },
            Reason::Adopted => Self::Adopted,
            Reason::Orphaned { pids } => Self::Orphaned { pids: pids.clone() },
            Reason::LastGood => Self::LastGood,
            Reason::Canary => Self::Canary,
            Reason::RolledBack { to } => Self::RolledBack { to: *to },
            Reason::Pinned { number } => Self::Pinned { number: *number },
            Reason::NotReady => Self::NotReady,
            Reason::StopRequested => Self::StopRequested,
            Reason::RestartRequested => Self::RestartRequested,
            Reason::Unhealthy { why, failures } => Self::Unhealthy {
                why: why.clone(),
                failures: *failures,
            },
            Reason::Stranger => Self::Unmanaged,
            Reason::OtherWorkspace { workspace } => Self::OtherWorkspace {
                workspace: workspace.to_string(),
            },
            _ => Self::Other,
        }
    }
}

/// What will be started.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StartsOutput {
    /// The script or program.
    pub script: String,
    /// The working directory.
    pub cwd: String,
    /// PM2's execution mode, if the definition sets it.
    pub exec_mode: Option<String>,
    /// All other settings, by PM2's names.
    pub settings: Map<String, Value>,
    /// The environment variables of the definition; the values as `***`, unless they are shown.
    pub env: Map<String, Value>,
}

impl StartsOutput {
    fn new(spec: &AppSpec, show_values: bool) -> Self {
        let hidden = |value: &Value| match show_values {
            true => value.clone(),
            false => Value::from(HIDDEN),
        };
        let written = |name: &str| spec.written(name).filter(|_| !show_values).cloned();
        let text = |name: &str, own: &str| match written(name) {
            Some(Value::String(written)) => written,
            _ => own.to_owned(),
        };
        let settings = spec.attributes();
        let env = spec.env().iter();
        Self {
            script: text("script", spec.script()),
            cwd: text("cwd", spec.cwd().as_str()),
            exec_mode: match spec.exec_mode() {
                ExecMode::Fork => Some("fork".to_owned()),
                ExecMode::Cluster => Some("cluster".to_owned()),
                _ => None,
            },
            settings: settings
                .map(|(name, value)| {
                    (
                        name.to_owned(),
                        written(name).unwrap_or_else(|| value.clone()),
                    )
                })
                .collect(),
            env: env
                .map(|(name, value)| (name.clone(), hidden(value)))
                .collect(),
        }
    }
}

impl StepOutput {
    /// A step, with the values of environment variables hidden unless `show_values`.
    #[must_use]
    pub fn new(step: &Step, show_values: bool) -> Self {
        let reasons = step.reasons.iter();
        let spec = step.action.spec();
        let kept = spec.into_iter().flat_map(AppSpec::kept);
        let lacking = spec.into_iter().flat_map(AppSpec::lacking);
        Self {
            daemon: step.daemon.to_string(),
            app: step.app.clone(),
            action: step.action.kind().into(),
            processes: step.action.count(),
            pm_ids: step
                .action
                .targets()
                .iter()
                .map(|target| target.pm_id.0)
                .collect(),
            reasons: reasons
                .map(|one| ReasonOutput::new(one, show_values))
                .collect(),
            keeps: kept.map(|(name, _)| name.to_owned()).collect(),
            lacks: lacking.map(ToOwned::to_owned).collect(),
            starts: match &step.action {
                Action::Start { spec, .. } => Some(StartsOutput::new(spec, show_values)),
                _ => None,
            },
        }
    }
}

/// A step and its outcome.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ResultOutput {
    /// The step.
    #[serde(flatten)]
    pub step: StepOutput,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// The outcome.
    pub outcome: OutcomeOutput,
    /// Why it failed.
    pub error: Option<String>,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeOutput {
    /// Done, and verified on the live processes.
    Done,
    /// Failed, or not as defined afterwards.
    Failed,
    /// Not tried, because the command was interrupted.
    Skipped,
}

impl ResultOutput {
    /// The outcome of a step.
    #[must_use]
    pub fn new(report: &StepReport<StepError>, show_values: bool) -> Self {
        let (outcome, error) = match &report.outcome {
            Outcome::Done => (OutcomeOutput::Done, None),
            Outcome::Failed(error) => (OutcomeOutput::Failed, Some(chain(error))),
            _ => (OutcomeOutput::Skipped, None),
        };
        Self {
            step: StepOutput::new(&report.step, show_values),
            milliseconds: milliseconds(report.took),
            outcome,
            error,
        }
    }
}
