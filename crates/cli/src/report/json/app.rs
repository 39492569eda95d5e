//! Apps and their processes.

use daemon_model::{AppState, Condition, ObservedProcess, ProcessState, Status};
use reconcile::LogExcerpt;
use schemars::JsonSchema;
use serde::Serialize;

use crate::report::Measures;

/// The state of an app.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AppOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// The app's name.
    pub app: String,
    /// The number of processes in its definition; null without one.
    pub wanted: Option<u32>,
    /// The number of running processes.
    pub running: usize,
    /// Its state.
    pub condition: ConditionOutput,
    /// Its processes.
    pub processes: Vec<ProcessOutput>,
    /// The last lines of its log, if it is degraded, did not become ready or was rolled back.
    pub log: Option<LogOutput>,
}

/// The state of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionOutput {
    /// As defined.
    InSync,
    /// It ended, or was never started, as its definition says.
    Ended,
    /// PM2 is starting it; it is not ready yet.
    Starting,
    /// PM2 is stopping it.
    Stopping,
    /// A step is pending.
    Pending,
    /// PM2 gave it up, or keeps restarting it.
    Degraded,
    /// It differs from its definition, and is on hold by that definition or by a user.
    OnHold,
    /// It waits until the apps that it depends on are ready.
    Waiting,
    /// Its definition did not become ready; it runs the previous one.
    RolledBack,
    /// Its definition did not become ready, and there is no previous one.
    Failed,
    /// A user stopped it.
    Stopped,
    /// A user rolled it back to an older definition.
    Pinned,
    /// Its definition is not valid; its processes stay as they are.
    Broken,
    /// Its name belongs to unmanaged processes.
    Blocked,
    /// Its label names another app than its name does; it is left alone.
    Mislabelled,
    /// Its removal waits for confirmation.
    Held,
    /// It has no definition, and the settings keep it.
    Kept,
    /// It has no definition, and will be removed.
    Leaving,
    /// Something else.
    Other,
}

impl From<Condition> for ConditionOutput {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::InSync => Self::InSync,
            Condition::Ended => Self::Ended,
            Condition::Starting => Self::Starting,
            Condition::Stopping => Self::Stopping,
            Condition::Pending => Self::Pending,
            Condition::Degraded => Self::Degraded,
            Condition::OnHold => Self::OnHold,
            Condition::Waiting => Self::Waiting,
            Condition::RolledBack => Self::RolledBack,
            Condition::Failed => Self::Failed,
            Condition::Stopped => Self::Stopped,
            Condition::Pinned => Self::Pinned,
            Condition::Broken => Self::Broken,
            Condition::Blocked => Self::Blocked,
            Condition::Mislabelled => Self::Mislabelled,
            Condition::Held => Self::Held,
            Condition::Kept => Self::Kept,
            Condition::Leaving => Self::Leaving,
            _ => Self::Other,
        }
    }
}

impl AppOutput {
    /// The state of an app, with the resource use of its processes if it was measured.
    #[must_use]
    pub fn new(app: &AppState, measures: Option<&Measures>) -> Self {
        let has_failed = matches!(
            app.condition,
            Condition::Degraded | Condition::Failed | Condition::RolledBack
        );
        Self {
            daemon: app.daemon.to_string(),
            app: app.app.clone(),
            wanted: app.wanted,
            running: app.running(),
            condition: app.condition.into(),
            processes: app
                .states()
                .map(|(one, state)| ProcessOutput::new(one, state, measures))
                .collect(),
            log: has_failed
                .then(|| LogExcerpt::of(app.processes.iter().map(AsRef::as_ref)))
                .flatten()
                .map(LogOutput::from),
        }
    }
}

/// A process of PM2's list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProcessOutput {
    /// Its number in PM2.
    pub pm_id: u32,
    /// Its process ID; null when it does not run.
    pub pid: Option<u32>,
    /// Its state according to PM2, which may be wrong; see `state`.
    pub status: StatusWord,
    /// Its actual state, from everything that PM2 records.
    pub state: StateOutput,
    /// How often PM2 restarted it.
    pub restarts: u32,
    /// The number of consecutive unstable restarts.
    pub unstable_restarts: u32,
    /// Restarts within the last hour, as far back as PM2's own log goes; null except in `status`.
    pub restarts_last_hour: Option<u32>,
    /// CPU use in percent of one CPU; null except in `status`.
    pub cpu_percent: Option<f64>,
    /// Its resident memory in bytes; null except in `status`.
    pub memory_bytes: Option<u64>,
    /// When it was last started, in milliseconds since 1970-01-01 UTC.
    pub started_at_ms: Option<u64>,
    /// The exit code of its last end.
    pub exit_code: Option<i64>,
    /// Its output log.
    pub out_log: Option<String>,
    /// Its error log.
    pub error_log: Option<String>,
}

/// The state of a process according to PM2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StatusWord {
    /// Running.
    Online,
    /// Being started.
    Launching,
    /// Being stopped.
    Stopping,
    /// Stopped, or ended and not started again.
    Stopped,
    /// Given up after too many unstable restarts.
    Errored,
    /// Ended, and to be started again after a delay.
    WaitingRestart,
    /// Another state.
    Unknown,
}

impl From<Status> for StatusWord {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Launching => Self::Launching,
            Status::Stopping => Self::Stopping,
            Status::Stopped => Self::Stopped,
            Status::Errored => Self::Errored,
            Status::WaitingRestart => Self::WaitingRestart,
            _ => Self::Unknown,
        }
    }
}

/// The actual state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StateOutput {
    /// It runs.
    Running,
    /// It was started and is not ready yet, or PM2 is about to start it again.
    Starting,
    /// It ended with an error, and PM2 keeps restarting it.
    Crashing,
    /// It ended without an error, and PM2 starts it again after its `restart_delay`.
    Waiting,
    /// It is being stopped.
    Stopping,
    /// It was stopped, but should run.
    Stopped,
    /// It ended, or was never started, as defined.
    Ended,
    /// PM2 gave it up after too many unstable restarts.
    GaveUp,
    /// PM2 could not stop it.
    Unstoppable,
    /// PM2 says `online`, but there is no process.
    NoProcess,
    /// Something else.
    Other,
}

impl From<ProcessState> for StateOutput {
    fn from(state: ProcessState) -> Self {
        match state {
            ProcessState::Running => Self::Running,
            ProcessState::Starting => Self::Starting,
            ProcessState::Crashing => Self::Crashing,
            ProcessState::Waiting => Self::Waiting,
            ProcessState::Stopping => Self::Stopping,
            ProcessState::Stopped => Self::Stopped,
            ProcessState::Ended => Self::Ended,
            ProcessState::GaveUp => Self::GaveUp,
            ProcessState::Unstoppable => Self::Unstoppable,
            ProcessState::NoProcess => Self::NoProcess,
            _ => Self::Other,
        }
    }
}

impl ProcessOutput {
    fn new(process: &ObservedProcess, state: ProcessState, measures: Option<&Measures>) -> Self {
        let usage = measures.and_then(|measures| measures.usage(process));
        let text = |key: &str| process.text(key).map(ToOwned::to_owned);
        Self {
            pm_id: process.pm_id.0,
            pid: process.pid,
            status: process.status.into(),
            state: state.into(),
            restarts: process.restarts,
            unstable_restarts: process.unstable_restarts,
            restarts_last_hour: measures.map(|measures| measures.restarts(process)),
            cpu_percent: usage.map(|usage| usage.cpu_percent),
            memory_bytes: usage.map(|usage| usage.memory_bytes),
            started_at_ms: process.started_at_ms,
            exit_code: process.exit_code,
            out_log: text("pm_out_log_path"),
            error_log: text("pm_err_log_path"),
        }
    }
}

/// Log lines that say why an app ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogOutput {
    /// The log.
    pub path: String,
    /// The lines; stack frames are left out.
    pub lines: Vec<String>,
}

impl From<LogExcerpt> for LogOutput {
    fn from(log: LogExcerpt) -> Self {
        Self {
            path: log.path.into(),
            lines: log.lines,
        }
    }
}
