//! The steps of a plan: which processes they change, how and why.

use std::fmt;

use camino::Utf8PathBuf;
use serde::Serialize;

use crate::{AppSpec, Change, DaemonId, Label, ObservedProcess, Orphan, PmId};

/// A process that a step affects, as it was when the step was chosen. The executor checks that it is still the same process before
/// changing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// PM2's number of it.
    pub pm_id: PmId,
    /// Its name.
    pub name: String,
    /// Its label.
    #[serde(skip)]
    pub label: Option<Label>,
    /// Whether it runs.
    #[serde(skip)]
    pub is_running: bool,
}

impl Target {
    /// The process as a target.
    #[must_use]
    pub fn of(process: &ObservedProcess) -> Self {
        Self {
            pm_id: process.pm_id,
            name: process.name.clone(),
            label: process.label.clone(),
            is_running: process.pid.is_some(),
        }
    }
}

/// How to make processes of an app match its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeMethod {
    /// Starts processes that are in PM2's list but do not run.
    Resume,
    /// Reloads each process in place: the old worker ends when the new one is ready.
    Reload,
    /// Restarts each process in place.
    Restart,
    /// Takes each process out of PM2 and starts a new one.
    Replace,
}

/// How to remove processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoveMethod {
    /// They stop and stay in PM2's list.
    Stop,
    /// They stop and leave PM2's list.
    Delete,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Starts this many processes.
    Start {
        /// The app.
        spec: AppSpec,
        /// How many processes to add.
        count: u32,
    },
    /// Makes processes match their definition.
    Change {
        /// The app.
        spec: AppSpec,
        /// The processes.
        targets: Vec<Target>,
        /// The method.
        how: ChangeMethod,
    },
    /// Removes processes.
    Remove {
        /// The processes.
        targets: Vec<Target>,
        /// The method.
        how: RemoveMethod,
    },
    /// Kills processes that survived their PM2.
    KillOrphans {
        /// The app they were started from.
        spec: AppSpec,
        /// The processes.
        orphans: Vec<Orphan>,
    },
    /// Cannot be done: the app's name belongs to unmanaged processes.
    Blocked {
        /// Those processes.
        by: Vec<Target>,
    },
}

impl Action {
    /// The kind of the action.
    #[must_use]
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Start { .. } => ActionKind::Start,
            // PM2 leaves an app without autostart stopped, even if it ran before.
            Self::Change { spec, targets, .. } if !spec.starts_by_itself() => {
                match targets.iter().any(|target| target.is_running) {
                    true => ActionKind::Stop,
                    false => ActionKind::Update,
                }
            }
            Self::Change { how, .. } => match how {
                ChangeMethod::Resume => ActionKind::Resume,
                ChangeMethod::Reload => ActionKind::Reload,
                ChangeMethod::Restart => ActionKind::Restart,
                ChangeMethod::Replace => ActionKind::Replace,
            },
            Self::Remove { how, .. } => match how {
                RemoveMethod::Stop => ActionKind::Stop,
                RemoveMethod::Delete => ActionKind::Delete,
            },
            Self::KillOrphans { .. } => ActionKind::End,
            Self::Blocked { .. } => ActionKind::Blocked,
        }
    }

    /// The PM2 processes it affects; empty for a start.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        match self {
            Self::Start { .. } | Self::KillOrphans { .. } => &[],
            Self::Change { targets, .. } | Self::Remove { targets, .. } => targets,
            Self::Blocked { by } => by,
        }
    }

    /// How many processes it affects.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Start { count, .. } => *count as usize,
            Self::KillOrphans { orphans, .. } => orphans.len(),
            _ => self.targets().len(),
        }
    }

    /// The app that it starts or changes.
    #[must_use]
    pub fn spec(&self) -> Option<&AppSpec> {
        match self {
            Self::Start { spec, .. }
            | Self::Change { spec, .. }
            | Self::KillOrphans { spec, .. } => Some(spec),
            Self::Remove { .. } | Self::Blocked { .. } => None,
        }
    }
}

/// The kind of an action, as named in tables and JSON. The order is that of summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ActionKind {
    /// Kills processes that survived their PM2.
    End,
    /// Starts new processes.
    Start,
    /// Starts stopped processes again.
    Resume,
    /// Restarts without downtime.
    Reload,
    /// Restarts in place.
    Restart,
    /// Replaces the old processes with new ones.
    Replace,
    /// Updates the record of stopped processes, and leaves them stopped.
    Update,
    /// Stops processes, and keeps them in PM2's list.
    Stop,
    /// Stops processes, and removes them from PM2's list.
    Delete,
    /// Cannot be done.
    Blocked,
}

impl ActionKind {
    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Start => "start",
            Self::Resume => "resume",
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Replace => "replace",
            Self::Update => "update",
            Self::Stop => "stop",
            Self::Delete => "delete",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a step was chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
#[non_exhaustive]
pub enum Reason {
    /// The app has no process.
    New,
    /// It has fewer processes than it wants.
    TooFew {
        /// Processes it has.
        have: u32,
        /// Processes it wants.
        want: u32,
    },
    /// It has more processes than it wants.
    TooMany {
        /// Processes it has.
        have: u32,
        /// Processes it wants.
        want: u32,
    },
    /// The definition has changed since the processes were started.
    Edited {
        /// What changed, as far as PM2's record shows.
        changes: Vec<Change>,
    },
    /// The processes differ from the definition that they were started from.
    Drifted {
        /// What differs.
        changes: Vec<Change>,
    },
    /// The processes were stopped, though they should run.
    Stopped,
    /// PM2 says `online` but there is no process.
    NoProcess,
    /// The script was changed since PM2 gave the processes up.
    ScriptChanged,
    /// PM2 gave the processes up, and a user asked to try them again.
    RetryRequested,
    /// The daemon has no definition any more.
    DefinitionRemoved,
    /// A user asked for everything to be removed.
    RemovalRequested,
    /// The definition does not have the app any more.
    AppRemoved,
    /// The app was defined by another daemon before.
    Moved {
        /// Which one.
        from: DaemonId,
    },
    /// The processes have the label of a workspace that no longer exists.
    TakenOver {
        /// Which one.
        from: Utf8PathBuf,
    },
    /// The processes have the app's name but were not started by pm2-sync.
    Adopted,
    /// The processes survived their PM2.
    Orphaned {
        /// Their process ids.
        pids: Vec<u32>,
    },
    /// The definition is broken; the app is started from the last good render.
    LastGood,
    /// One more worker tries the new spec before the serving workers get it.
    Canary,
    /// The spec of the definition did not become ready.
    RolledBack {
        /// The history entry that it rolls back to.
        to: u32,
    },
    /// A user pinned an older entry of the history.
    Pinned {
        /// The entry.
        number: u32,
    },
    /// The spec of the definition did not become ready, and the definition asks to stop the app then.
    NotReady,
    /// A user asked for it to be stopped.
    StopRequested,
    /// A user asked for it to be restarted.
    RestartRequested,
    /// Its liveness probe failed.
    Unhealthy {
        /// Why: `timeout after 1 s`.
        why: String,
        /// How often in a row.
        failures: u32,
    },
    /// Processes of this name were not started by pm2-sync.
    Stranger,
    /// Processes of this name belong to another workspace.
    OtherWorkspace {
        /// Which one.
        workspace: Utf8PathBuf,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The daemon.
    pub daemon: DaemonId,
    /// The app.
    pub app: String,
    /// What to do.
    pub action: Action,
    /// Why.
    pub reasons: Vec<Reason>,
    /// When it is taken: after all steps of lower stages. Steps of one stage are independent of each other, except that steps of
    /// one daemon run in sequence.
    pub stage: u32,
}

impl Step {
    /// Whether it stops the process with this number.
    #[must_use]
    pub fn ends(&self, pm_id: Option<PmId>) -> bool {
        let is_it = |target: &Target| Some(target.pm_id) == pm_id;
        !matches!(self.action, Action::Blocked { .. }) && self.action.targets().iter().any(is_it)
    }
}
