//! What PM2 runs, in the words of this crate.

mod parts;

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::Label;

pub use parts::{Attributes, Stored, Variables};

/// What PM2 says a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProcessStatus {
    /// Running.
    Online,
    /// Being started.
    Launching,
    /// Being stopped.
    Stopping,
    /// Stopped by hand, or ended and not started again.
    Stopped,
    /// Given up after too many unstable restarts.
    Errored,
    /// Ended, and will be started again after a delay.
    WaitingRestart,
    /// A word that this crate does not know.
    Unknown,
}

/// One process of PM2's list.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedProcess {
    /// PM2's number of it.
    pub pm_id: u32,
    /// Its name.
    pub name: String,
    /// The operating system's id of it; none when it does not run.
    pub pid: Option<u32>,
    /// What PM2 says it does.
    pub status: ProcessStatus,
    /// Its label; none on a stranger.
    pub label: Option<Label>,
    /// Whether it is one of PM2's own modules.
    pub is_module: bool,
    /// Its attributes and what PM2 derived from them, by PM2's names: those that a comparison needs.
    pub attributes: Attributes,
    /// Its environment as the process gets it, without PM2's attributes.
    pub env: Variables,
    /// How often PM2 started it again.
    pub restarts: u32,
    /// How many of these were unstable since it was last stable.
    pub unstable_restarts: u32,
    /// When it was last started, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// How it ended last.
    pub exit_code: Option<i64>,
}

impl ObservedProcess {
    /// Whether it runs, is being started, or PM2 will start it again by itself.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.status {
            ProcessStatus::Online => self.pid.is_some(),
            ProcessStatus::Launching | ProcessStatus::WaitingRestart => true,
            _ => false,
        }
    }

    /// An attribute that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Stored::as_str)
    }
}

/// A process that PM2 started once and that lives on without it, for PM2 was killed. The next start of its app would
/// make a duplicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The operating system's id of it.
    pub pid: u32,
    /// When it started, in clock ticks since boot: with the id, an identity.
    pub start_time_ticks: u64,
    /// Its app's name, as its environment says.
    pub name: String,
    /// Its script, as its environment says.
    pub script: String,
    /// Its working directory, where its environment and the operating system agree on it.
    pub cwd: Utf8PathBuf,
    /// The last words of its command line.
    pub command_line: Vec<String>,
}

/// What PM2 runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Every process PM2 knows, by `pm_id`. Shared, for a plan holds them too, and most of them are the same at the next
    /// look.
    pub processes: Vec<Arc<ObservedProcess>>,
    /// Processes that lived on when their PM2 was killed.
    pub orphans: Vec<Orphan>,
    /// Workspaces named by labels whose directory does not exist any more.
    pub missing_workspaces: BTreeSet<Utf8PathBuf>,
}
