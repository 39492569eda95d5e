//! What PM2 runs, as described by this crate.

mod parts;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{AppSpec, Label};

pub use parts::{Attributes, Stored, Variables};
pub use state::ProcessState;

pub(crate) use state::MIN_UPTIME_MS;

/// PM2's number of a process. Unique while the process list is not empty; PM2 restarts at 0 when the list has become empty (PM2
/// 7.0.4, `lib/God/ActionMethods.js`, `deleteProcessId`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PmId(pub u32);

impl fmt::Display for PmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// PM2's status word for a process (PM2 7.0.4, `constants.js`). It proves nothing: a process that could not be spawned is listed as
/// online, and one that PM2 gave up may be listed as waiting for a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// `online`
    Online,
    /// `launching`: started, but not ready yet.
    Launching,
    /// `stopping`
    Stopping,
    /// `stopped`
    Stopped,
    /// `errored`: given up after too many unstable restarts, or could not be killed.
    Errored,
    /// `waiting restart`
    WaitingRestart,
    /// A status that this version does not know.
    Unknown,
}

impl Status {
    /// The status for PM2's word.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "online" => Self::Online,
            "launching" => Self::Launching,
            "stopping" => Self::Stopping,
            "stopped" => Self::Stopped,
            "errored" => Self::Errored,
            "waiting restart" => Self::WaitingRestart,
            _ => Self::Unknown,
        }
    }

    /// PM2's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Launching => "launching",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Errored => "errored",
            Self::WaitingRestart => "waiting restart",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One process of PM2's list.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedProcess {
    /// PM2's number of the process.
    pub pm_id: PmId,
    /// Its name.
    pub name: String,
    /// The operating system's process id, or that of the last run if PM2 is going to restart it; otherwise none.
    pub pid: Option<u32>,
    /// PM2's status word.
    pub status: Status,
    /// Its label; none if it is unmanaged.
    pub label: Option<Label>,
    /// Whether it is one of PM2's own modules.
    pub is_module: bool,
    /// The attributes that comparisons need, and values that PM2 derives from them, by PM2's names.
    pub attributes: Attributes,
    /// Its environment as the process gets it, without PM2's attributes.
    pub env: Variables,
    /// How often PM2 restarted it.
    pub restarts: u32,
    /// How many of these were unstable since it was last started or restarted on request, or given up.
    pub unstable_restarts: u32,
    /// When it was last started, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// The exit code of its last end.
    pub exit_code: Option<i64>,
}

impl ObservedProcess {
    /// Whether it was started from the current spec of `app`, according to its label. A digest of another recipe proves nothing,
    /// and counts as the same.
    #[must_use]
    pub fn is_from(&self, app: &AppSpec) -> bool {
        let label = self.label.as_ref();
        label.is_some_and(|label| !label.spec.differs_from(app.digest()))
    }

    /// An attribute that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Stored::as_str)
    }
}

/// A process that PM2 started but does not list: its PM2 was killed, or lost track of it. Starting its app again would create a
/// duplicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot; together with the pid, this identifies it.
    pub start_time_ticks: u64,
    /// Its app's name, from its environment.
    pub name: String,
    /// Its script, from its environment.
    pub script: String,
    /// Its working directory, if its environment and the operating system agree on it.
    pub cwd: Utf8PathBuf,
    /// The title that PM2 sets if it runs Node, which replaces its command line as far as there is room.
    pub title: String,
    /// The words of its command line.
    pub command_line: Vec<String>,
}

/// The resource use of a process, as last measured by PM2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Share of one CPU, in percent.
    pub cpu_percent: f64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
}

/// Processes, sorted by `pm_id`. Shared, because most stay the same from one list of PM2 to the next.
pub type Processes = Arc<[Arc<ObservedProcess>]>;

/// What PM2 runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Every process that PM2 lists.
    pub processes: Processes,
    /// Processes that PM2 started but does not list: their PM2 was killed, or lost track of them.
    pub orphans: Vec<Orphan>,
    /// Workspaces named by labels whose directory no longer exists.
    pub missing_workspaces: BTreeSet<Utf8PathBuf>,
    /// The resource use of its processes. Plans do not depend on it.
    pub usage: BTreeMap<PmId, Usage>,
    /// When this was observed, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When the scripts of processes that PM2 gave up last changed, in milliseconds since the Unix epoch.
    pub scripts_changed_ms: BTreeMap<Utf8PathBuf, u64>,
}

impl Observed {
    /// The same inputs for a plan, with other processes.
    pub(crate) fn with_processes(&self, processes: Processes) -> Self {
        Self {
            processes,
            orphans: self.orphans.clone(),
            missing_workspaces: self.missing_workspaces.clone(),
            usage: BTreeMap::new(),
            at_ms: self.at_ms,
            scripts_changed_ms: self.scripts_changed_ms.clone(),
        }
    }

    /// Whether PM2 gave the process up and its script has changed since it was last started: then it is worth another start.
    #[must_use]
    pub fn is_repaired(&self, process: &ObservedProcess) -> bool {
        let script = process.text("pm_exec_path").map(Utf8Path::new);
        let changed = script.and_then(|script| self.scripts_changed_ms.get(script));
        let is_later = |changed: &u64| {
            // A time in the future comes from another clock.
            *changed <= self.at_ms
                && process
                    .started_at_ms
                    .is_some_and(|started| *changed > started)
        };
        process.state(self.at_ms) == ProcessState::GaveUp && changed.is_some_and(is_later)
    }
}
