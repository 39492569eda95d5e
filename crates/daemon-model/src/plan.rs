//! The steps from what PM2 runs to what the definitions want, chosen by one pure function.

mod apps;
mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::diff::{Change, Surroundings};
use crate::{AppPolicy, AppSpec, DaemonId, Desired, Label, Observed, ObservedProcess, Orphan};

pub use removal::{is_mass_removal, removal_code, workspace_code};

/// What to do with what has lost its definition.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum OnRemove {
    /// Stop its processes and take them out of PM2.
    #[default]
    Delete,
    /// Stop its processes, keep them in PM2's list.
    Stop,
    /// Leave its processes as they are.
    Keep,
}

/// All that a plan depends on besides what is wanted and what runs.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Canonical path of the workspace's root.
    pub workspace: Utf8PathBuf,
    /// PM2's surroundings.
    pub around: Surroundings,
    /// Number of CPUs, for apps that want one process for each.
    pub cpus: u32,
    /// Whether anything is removed at all.
    pub prune: bool,
    /// Whether what lost its whole definition is left for a later look: a file may be away for a moment only.
    pub defer_removal: bool,
    /// What removal does.
    pub on_remove: OnRemove,
    /// The removal code that the user confirmed, if any.
    pub confirmed: Option<String>,
    /// Whether processes that someone else started under a declared name are taken over.
    pub adopt: bool,
    /// The only daemons to touch; none: all.
    pub only: Option<BTreeSet<DaemonId>>,
    /// Daemons not to touch, whatever `only` says.
    pub except: BTreeSet<DaemonId>,
    /// What the last good renders of apps that may be gone said about their removal, by daemon and app.
    pub last_wishes: BTreeMap<(DaemonId, String), AppPolicy>,
    /// PM2's number of the process that this plan is made in, if PM2 runs it.
    pub own: Option<u32>,
}

impl Policy {
    /// Whether the daemon is within what this pass may touch.
    #[must_use]
    pub fn includes(&self, daemon: &DaemonId) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(daemon)) && !self.except.contains(daemon)
    }
}

/// A process that a step is about, as it was when the step was chosen. Before anything is done to it, it must
/// still be this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// PM2's number of it.
    pub pm_id: u32,
    /// Its name.
    pub name: String,
    /// Its label.
    #[serde(skip)]
    pub label: Option<Label>,
}

impl Target {
    /// The process as a target.
    #[must_use]
    pub fn of(process: &ObservedProcess) -> Self {
        Self {
            pm_id: process.pm_id,
            name: process.name.clone(),
            label: process.label.clone(),
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Starts this many processes.
    Start {
        /// The app.
        spec: Box<AppSpec>,
        /// How many processes to add.
        count: u32,
    },
    /// Starts processes again that stand in PM2's list but do not run.
    Resume {
        /// The app.
        spec: Box<AppSpec>,
        /// The processes.
        targets: Vec<Target>,
    },
    /// Restarts each process in place as a reload: the old worker ends when the new one is ready.
    Reload {
        /// The app.
        spec: Box<AppSpec>,
        /// The processes.
        targets: Vec<Target>,
    },
    /// Restarts each process in place.
    Restart {
        /// The app.
        spec: Box<AppSpec>,
        /// The processes.
        targets: Vec<Target>,
    },
    /// Takes each process out of PM2 and starts a new one.
    Replace {
        /// The app.
        spec: Box<AppSpec>,
        /// The processes.
        targets: Vec<Target>,
    },
    /// Stops processes and takes them out of PM2.
    Delete {
        /// The processes.
        targets: Vec<Target>,
    },
    /// Stops processes and keeps them in PM2's list.
    Stop {
        /// The processes.
        targets: Vec<Target>,
    },
    /// Ends processes that lived on when their PM2 was killed.
    End {
        /// The app they were started from.
        spec: Box<AppSpec>,
        /// The processes.
        orphans: Vec<Orphan>,
    },
    /// Cannot be done: processes of the app's name belong to somebody else.
    Blocked {
        /// Who.
        by: Vec<Target>,
    },
}

impl Action {
    /// The action's name, as tables and JSON show it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Resume { .. } => "resume",
            Self::Reload { .. } => "reload",
            Self::Restart { .. } => "restart",
            Self::Replace { .. } => "replace",
            Self::Delete { .. } => "delete",
            Self::Stop { .. } => "stop",
            Self::End { .. } => "end",
            Self::Blocked { .. } => "blocked",
        }
    }

    /// The processes it is about; none yet for a start.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        match self {
            Self::Start { .. } | Self::End { .. } => &[],
            Self::Resume { targets, .. }
            | Self::Reload { targets, .. }
            | Self::Restart { targets, .. }
            | Self::Replace { targets, .. }
            | Self::Delete { targets }
            | Self::Stop { targets } => targets,
            Self::Blocked { by } => by,
        }
    }

    /// The app that it starts or changes.
    #[must_use]
    pub fn spec(&self) -> Option<&AppSpec> {
        match self {
            Self::Start { spec, .. }
            | Self::Resume { spec, .. }
            | Self::Reload { spec, .. }
            | Self::Restart { spec, .. }
            | Self::Replace { spec, .. }
            | Self::End { spec, .. } => Some(spec),
            Self::Delete { .. } | Self::Stop { .. } | Self::Blocked { .. } => None,
        }
    }

    /// Whether it takes processes away without putting others in their place.
    #[must_use]
    pub fn removes(&self) -> bool {
        matches!(self, Self::Delete { .. } | Self::Stop { .. })
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
        /// In what, as far as PM2's record shows.
        changes: Vec<Change>,
    },
    /// The processes differ from the definition that they were started from.
    Drifted {
        /// In what.
        changes: Vec<Change>,
    },
    /// The processes were stopped, though they should run.
    Stopped,
    /// PM2 says `online` but there is no process.
    NoProcess,
    /// Nothing defines the daemon any more.
    DefinitionRemoved,
    /// The definition does not have the app any more.
    AppRemoved,
    /// The app was defined by another daemon before.
    Moved {
        /// Which one.
        from: DaemonId,
    },
    /// The processes carry the label of a workspace that does not exist any more.
    TakenOver {
        /// Which one.
        from: Utf8PathBuf,
    },
    /// The processes were started by somebody else under the app's name.
    Adopted,
    /// The processes lived on when their PM2 was killed.
    Orphaned {
        /// Which ones, as the operating system numbers them.
        pids: Vec<u32>,
    },
    /// The definition is broken; the app is started from the last good render.
    LastGood,
    /// Processes of this name were started by somebody else.
    Stranger,
    /// Processes of this name belong to another workspace.
    OtherWorkspace {
        /// Which one.
        workspace: Utf8PathBuf,
    },
    /// The app asks not to be changed while it runs (`:on-change :hold`).
    OnHold,
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
}

/// A removal that is not done until somebody confirms it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldRemoval {
    /// The daemons that would be removed.
    pub daemons: Vec<DaemonId>,
    /// How many managed daemons there are.
    pub managed: usize,
    /// What confirms it: 8 hex digits.
    pub code: String,
}

/// How an app stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Condition {
    /// As defined.
    InSync,
    /// It ended, or was never started, as its definition says.
    Ended,
    /// Somebody is stopping it at this moment.
    Stopping,
    /// A step is planned.
    Pending,
    /// As defined, but PM2 has given up on it or keeps restarting it.
    Degraded,
    /// It differs, but its author asked to leave it.
    OnHold,
    /// Its definition is broken; its processes stay as they are.
    Broken,
    /// Its name belongs to somebody else.
    Blocked,
    /// Its removal waits for confirmation.
    Held,
    /// It has no definition and is left alone, as the settings say.
    Kept,
    /// It has no definition; it is removed if a later look finds none either.
    Leaving,
}

/// How one app stands.
#[derive(Debug, Clone, PartialEq)]
pub struct AppState {
    /// The daemon.
    pub daemon: DaemonId,
    /// The app's name.
    pub app: String,
    /// How many processes it wants; none when it has no definition.
    pub wanted: Option<u32>,
    /// Its processes.
    pub processes: Vec<Arc<ObservedProcess>>,
    /// How it stands.
    pub condition: Condition,
}

impl AppState {
    /// How many of its processes run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.processes
            .iter()
            .filter(|process| process.is_alive())
            .count()
    }
}

/// Steps in the order in which they are to be taken, and how each app stands before them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// A removal that waits for confirmation.
    pub held: Option<HeldRemoval>,
    /// Every app that is defined or has managed processes, by daemon and name.
    pub apps: Vec<AppState>,
    /// Daemons whose definition is broken.
    pub broken: Vec<DaemonId>,
}

impl Plan {
    /// Whether there is nothing to do, and nothing that waits or is under way.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        self.steps.is_empty() && self.held.is_none() && !self.has_stopping()
    }

    /// Whether an app has no step because somebody is stopping it at this moment.
    #[must_use]
    pub fn has_stopping(&self) -> bool {
        let stopping = |app: &AppState| app.condition == Condition::Stopping;
        self.apps.iter().any(stopping)
    }
}

/// Works out the steps from `observed` to `desired`.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, policy: &Policy) -> Plan {
    let world = apps::World::new(desired, observed, policy);
    let mut plan = Plan {
        broken: desired
            .daemons
            .iter()
            .filter(|(id, daemon)| daemon.is_broken() && policy.includes(id))
            .map(|(id, _)| id.clone())
            .collect(),
        ..Plan::default()
    };
    // What goes away goes first: what comes may want its port.
    removal::plan_removals(&world, &mut plan);
    apps::plan_apps(&world, &mut plan);
    put_own_last(&mut plan, policy.own);
    plan.apps
        .sort_by(|a, b| (&a.daemon, &a.app).cmp(&(&b.daemon, &b.app)));
    #[cfg(debug_assertions)]
    if let Err(violation) = crate::check_plan(&plan, desired, observed, policy) {
        #[expect(
            clippy::panic,
            reason = "a plan that breaks a rule must never leave a debug build"
        )]
        {
            panic!("the plan breaks a rule: {violation}");
        }
    }
    plan
}

impl Step {
    /// Whether it ends the process of this number.
    #[must_use]
    pub fn ends(&self, pm_id: Option<u32>) -> bool {
        let is_it = |target: &Target| Some(target.pm_id) == pm_id;
        !matches!(self.action, Action::Blocked { .. }) && self.action.targets().iter().any(is_it)
    }
}

/// What ends the process that makes the plan comes last, and is one message to PM2: there is nobody left to send a
/// second one.
fn put_own_last(plan: &mut Plan, own: Option<u32>) {
    for step in &mut plan.steps {
        if step.ends(own)
            && let Action::Replace { spec, targets } = &step.action
        {
            step.action = Action::Restart {
                spec: spec.clone(),
                targets: targets.clone(),
            };
        }
    }
    plan.steps.sort_by_key(|step| step.ends(own));
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InSync => "in sync",
            Self::Ended => "ended",
            Self::Stopping => "stopping",
            Self::Pending => "pending",
            Self::Degraded => "degraded",
            Self::OnHold => "on hold",
            Self::Broken => "broken",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::Kept => "kept",
            Self::Leaving => "leaving",
        })
    }
}
