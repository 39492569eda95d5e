//! The steps that turn what PM2 runs into what the definitions declare, chosen by one pure function.
//!
//! The flow: [`world`] assigns each process to the app that owns it; [`removal`] plans the removal of apps that lost their
//! definition, and holds it if there are too many; [`apps`] plans every defined app. The result is [`Planned`]: the [`Plan`]
//! itself, and the state of each app before it.

mod action;
mod again;
mod app_state;
mod apps;
mod attempt;
mod cause;
mod change;
mod draft;
mod in_force;
mod inherit;
mod order;
mod removal;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::diff::EnvPolicy;
use crate::{AppSpec, DaemonId, Desired, Observed, PmId, Values};

pub use action::{Action, ActionKind, ChangeMethod, Reason, RemoveMethod, Step, Target};
pub use again::LastPlan;
pub use app_state::{AppState, AppStates, Condition};
pub use attempt::Attempt;
pub use cause::{Cause, Unready, UnreadyReason};
pub use removal::{
    HeldRemoval, InvalidRemovalCode, Loss, RemovalCode, guard_removal, workspace_code,
};

/// What to do with processes that have lost their definition.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnRemove {
    /// Stop its processes and remove them from PM2.
    #[default]
    Delete,
    /// Stop its processes, but keep them in PM2's list.
    Stop,
    /// Leave its processes as they are.
    Keep,
}

/// The daemons that a pass may touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The only ones; none: all.
    pub only: Option<BTreeSet<DaemonId>>,
    /// Excluded, even if listed in `only`.
    pub except: BTreeSet<DaemonId>,
}

impl Scope {
    /// Whether the daemon is in scope.
    #[must_use]
    pub fn includes(&self, daemon: &DaemonId) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(daemon)) && !self.except.contains(daemon)
    }
}

/// A restart without a change. If a plan has no step for a request, because the app waits for others or is on hold, the request has
/// to be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartRequest {
    /// A user requested it, for an app or all apps of a daemon. Cluster apps are reloaded.
    App {
        /// The daemon.
        daemon: DaemonId,
        /// The app; none: all.
        app: Option<String>,
    },
    /// A process failed its liveness probe. It is restarted when its app is otherwise ready, so one at a time.
    Unhealthy {
        /// The process.
        pm_id: PmId,
        /// Why the last probe failed.
        why: String,
        /// How often it failed in a row.
        failures: u32,
    },
}

/// Everything a plan depends on besides the desired and the observed state.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Policy {
    /// Canonical path of the workspace's root.
    pub workspace: Utf8PathBuf,
    /// The user's home, for `~` in the log paths of older specs. Default: `/`.
    pub home: Utf8PathBuf,
    /// The environment that PM2 and the caller give to apps, as far as it is known.
    pub env_policy: EnvPolicy,
    /// Number of CPUs, for apps with one process per CPU.
    pub cpus: u32,
    /// Whether anything is removed at all. Default: yes.
    pub prune: bool,
    /// Whether to leave removals of whole definitions to a later pass: a file may be missing for only a moment. Default: no.
    pub defer_removal: bool,
    /// How to remove processes. Default: [`OnRemove::Delete`].
    pub on_remove: OnRemove,
    /// Whether to remove everything without a definition, whatever its own policy or `on_remove` says. Default: no.
    pub remove_all: bool,
    /// The removal code that the user confirmed. Default: none.
    pub confirmed: Option<RemovalCode>,
    /// How many managed daemons were removed in the last 10 minutes: the removal guard counts them as if removed now. Default: 0.
    pub removed_lately: usize,
    /// Daemons without a definition because a file system is no longer mounted: their removal is held. Default: none.
    pub unmounted: BTreeSet<DaemonId>,
    /// Whether to adopt unlabelled processes with a declared name. Default: yes.
    pub adopt: bool,
    /// The daemons to touch. Default: all.
    pub scope: Scope,
    /// The last good renders of apps that may be gone, by name, for their removal policy. Default: none.
    pub last_specs: BTreeMap<String, AppSpec>,
    /// The variables named by `:pass-env` that the caller has. Default: not known, so none counts as missing.
    pub passed: Option<BTreeSet<String>>,
    /// The current values of references in older specs. Default: none, so apps that name env files cannot be read.
    pub values: Values,
    /// Restarts without a change. Default: none.
    pub restart: Vec<RestartRequest>,
    /// Whether to start processes again that PM2 gave up. Default: no.
    pub retry: bool,
    /// PM2's number of the process that makes this plan, if PM2 runs it. Default: none.
    pub own: Option<PmId>,
}

impl Policy {
    /// The policy of a pass over everything that confirms no removal.
    #[must_use]
    pub fn new(workspace: impl Into<Utf8PathBuf>, env_policy: EnvPolicy, cpus: u32) -> Self {
        Self {
            workspace: workspace.into(),
            home: "/".into(),
            env_policy,
            cpus,
            prune: true,
            defer_removal: false,
            on_remove: OnRemove::Delete,
            remove_all: false,
            confirmed: None,
            removed_lately: 0,
            unmounted: BTreeSet::new(),
            adopt: true,
            scope: Scope::default(),
            last_specs: BTreeMap::new(),
            passed: None,
            values: Values::default(),
            restart: Vec::new(),
            retry: false,
            own: None,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The steps, in execution order.
    pub steps: Vec<Step>,
    /// A removal that waits for confirmation.
    pub held: Option<HeldRemoval>,
    /// The code of a removal that would be held without its confirmation.
    pub confirmed: Option<RemovalCode>,
}

/// A plan, and the state of everything before it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Planned {
    /// What to do.
    pub plan: Plan,
    /// Every app that is defined or has managed processes, by daemon and name.
    pub apps: AppStates,
    /// Daemons whose definition is broken.
    pub broken: Vec<DaemonId>,
    /// The entries to record before the steps are taken; they have to become ready afterwards.
    pub attempts: Vec<Attempt>,
}

impl Planned {
    /// Whether everything in scope is as defined and stays so by itself.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        let mut apps = self.apps.iter();
        self.has_nothing_to_do()
            && self.broken.is_empty()
            && apps.all(|app| app.condition.is_in_sync())
    }

    /// Whether there is nothing to do, to wait for, or under way. An app may still be degraded.
    #[must_use]
    pub fn has_nothing_to_do(&self) -> bool {
        self.plan.steps.is_empty() && self.plan.held.is_none() && !self.has_stopping()
    }

    /// Whether every app of the daemon was started and changed, so that none waits for another app or for a step.
    #[must_use]
    pub fn is_complete(&self, daemon: &DaemonId) -> bool {
        let mut apps = self.apps.of(daemon);
        let waits = |condition| {
            matches!(
                condition,
                Condition::Waiting | Condition::Pending | Condition::Stopping
            )
        };
        !apps.any(|app| waits(app.condition))
    }

    /// The app that a process belongs to.
    #[must_use]
    pub fn owner(&self, pm_id: PmId) -> Option<&AppState> {
        let mut apps = self.apps.iter();
        apps.find(|app| app.processes.iter().any(|it| it.pm_id == pm_id))
    }

    /// Whether an app has no step because it is being stopped right now.
    #[must_use]
    pub fn has_stopping(&self) -> bool {
        let stopping = |app: &AppState| app.condition == Condition::Stopping;
        self.apps.iter().any(stopping)
    }
}

/// Plans the steps from `observed` to `desired`.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, policy: &Policy) -> Planned {
    let in_force = in_force::InForce::new(desired, policy);
    let world = world::World::new(desired, &in_force, observed, policy);
    let is_broken = |id: &DaemonId| desired.daemons.get(id).is_some_and(|it| it.is_broken());
    let in_scope = desired
        .daemons
        .keys()
        .filter(|id| policy.scope.includes(id));
    let mut planned = Planned {
        broken: in_scope.filter(|id| is_broken(id)).cloned().collect(),
        ..Planned::default()
    };
    // Remove first: new processes may need the freed ports.
    removal::plan_removals(&world, &mut planned);
    apps::plan_apps(&world, &mut planned);
    order::set_stages(&mut planned.plan, &world);
    put_own_last(&mut planned.plan, policy.own);
    #[cfg(debug_assertions)]
    if let Err(violation) = crate::check_plan(&planned, desired, observed, policy) {
        #[expect(
            clippy::panic,
            reason = "a plan that breaks a rule must never leave a debug build"
        )]
        {
            panic!("the plan breaks a rule: {violation}");
        }
    }
    planned
}

/// Steps that end the process which makes the plan go last, and must be a single message to PM2: afterwards no process is left to
/// send another.
fn put_own_last(plan: &mut Plan, own: Option<PmId>) {
    for step in &mut plan.steps {
        if step.ends(own)
            && let Action::Change { how, .. } = &mut step.action
            && *how == ChangeMethod::Replace
        {
            *how = ChangeMethod::Restart;
        }
    }
    plan.steps.sort_by_key(|step| step.ends(own));
    if let Some(last) = plan.steps.iter().map(|step| step.stage).max() {
        let ending = plan.steps.iter_mut().filter(|step| step.ends(own));
        ending.for_each(|step| step.stage = last + 1);
    }
}
