//! The state of each app before a plan is executed.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::Cause;
use crate::{AppSpec, DaemonId, DaemonMap, ObservedProcess, ProcessState};

/// The state of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Condition {
    /// As defined, and running.
    InSync,
    /// It ended, or was never started, as its definition asks.
    Ended,
    /// As defined, but not ready yet, or about to be started again.
    Starting,
    /// It is being stopped at this moment.
    Stopping,
    /// A step is planned.
    Pending,
    /// As defined, but PM2 has given it up, keeps restarting it, or cannot stop it.
    Degraded,
    /// It has drifted, but its definition or a user asks to leave it alone.
    OnHold,
    /// It waits for a dependency to become ready.
    Waiting,
    /// The spec of its definition did not become ready, so it runs an older one.
    RolledBack,
    /// The spec of its definition did not become ready, and there is none to roll back to.
    Failed,
    /// A user stopped it.
    Stopped,
    /// A user keeps it at an older spec, which runs.
    Pinned,
    /// Its definition is broken; its processes stay as they are.
    Broken,
    /// Its name belongs to unmanaged processes.
    Blocked,
    /// Its label names another app than its name does, so it is left alone.
    Mislabelled,
    /// Its removal waits for confirmation.
    Held,
    /// It has no definition and is left alone, as the settings say.
    Kept,
    /// It has no definition; it is removed if a later pass finds none either.
    Leaving,
}

impl Condition {
    /// Whether its state is what its definition, the settings or a user ask for.
    #[must_use]
    pub fn is_in_sync(self) -> bool {
        matches!(
            self,
            Self::InSync | Self::Ended | Self::Kept | Self::Stopped | Self::Pinned
        )
    }

    /// The condition of an app whose processes match its definition.
    pub(super) fn of(states: &[ProcessState]) -> Self {
        let is_any = |wanted: &[ProcessState]| states.iter().any(|state| wanted.contains(state));
        if is_any(&[
            ProcessState::Crashing,
            ProcessState::GaveUp,
            ProcessState::Unstoppable,
        ]) {
            Self::Degraded
        } else if is_any(&[ProcessState::Stopping]) {
            Self::Stopping
        } else if is_any(&[ProcessState::Starting, ProcessState::NoProcess]) {
            Self::Starting
        } else if is_any(&[
            ProcessState::Ended,
            ProcessState::Waiting,
            ProcessState::Stopped,
        ]) {
            Self::Ended
        } else {
            Self::InSync
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InSync => "in sync",
            Self::Ended => "ended",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Pending => "pending",
            Self::Degraded => "degraded",
            Self::OnHold => "on hold",
            Self::Waiting => "waiting",
            Self::RolledBack => "rolled back",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Pinned => "pinned",
            Self::Broken => "broken",
            Self::Blocked => "blocked",
            Self::Mislabelled => "mislabelled",
            Self::Held => "held",
            Self::Kept => "kept",
            Self::Leaving => "leaving",
        })
    }
}

/// The state of one app.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AppState {
    /// The daemon.
    pub daemon: DaemonId,
    /// The app's name.
    pub app: String,
    /// The number of processes it wants; none when it has no definition.
    pub wanted: Option<u32>,
    /// Its processes.
    pub processes: Vec<Arc<ObservedProcess>>,
    /// The state of each process.
    states: Vec<ProcessState>,
    /// Its state.
    pub condition: Condition,
    /// Why it differs from its definition.
    pub causes: Vec<Cause>,
    /// The spec in force; none when it has no definition.
    pub spec: Option<AppSpec>,
}

impl AppState {
    /// The state of an app whose processes were observed at `at_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(
        daemon: &DaemonId,
        app: &str,
        wanted: Option<u32>,
        processes: impl IntoIterator<Item = Arc<ObservedProcess>>,
        condition: Condition,
        at_ms: u64,
    ) -> Self {
        let processes: Vec<_> = processes.into_iter().collect();
        Self {
            daemon: daemon.clone(),
            app: app.to_owned(),
            wanted,
            states: processes.iter().map(|it| it.state(at_ms)).collect(),
            processes,
            condition,
            causes: Vec::new(),
            spec: None,
        }
    }

    /// Its processes, each with its state.
    pub fn states(&self) -> impl Iterator<Item = (&ObservedProcess, ProcessState)> {
        let processes = self.processes.iter().map(AsRef::as_ref);
        processes.zip(self.states.iter().copied())
    }

    /// Whether one of its workers tries a spec that the others do not have yet.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        let tries = |cause: &Cause| matches!(cause, Cause::Gated { canary: true, .. });
        self.causes.iter().any(tries)
    }

    /// How many of its processes have to be ready for the app to be ready: one while a canary is tried.
    #[must_use]
    pub fn want_ready(&self) -> u32 {
        match self.is_canary() {
            true => 1,
            false => self.wanted.unwrap_or(0),
        }
    }

    /// How many of its processes run, ready or not.
    #[must_use]
    pub fn running(&self) -> usize {
        let runs = |process: &&Arc<ObservedProcess>| process.is_running();
        self.processes.iter().filter(runs).count()
    }
}

/// The states of apps, sorted by daemon and name. Copies share them, since most stay the same from plan to plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppStates(DaemonMap<Arc<Vec<AppState>>>);

impl AppStates {
    /// Iterates over the states.
    pub fn iter(&self) -> impl Iterator<Item = &AppState> {
        self.0.values().flat_map(|apps| apps.iter())
    }

    /// The daemons that have any.
    pub fn daemons(&self) -> impl Iterator<Item = &DaemonId> {
        self.0.keys()
    }

    /// The states of a daemon's apps.
    pub fn of(&self, daemon: &DaemonId) -> impl Iterator<Item = &AppState> + Clone {
        self.0.get(daemon).into_iter().flat_map(|apps| apps.iter())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(|apps| apps.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a state.
    pub(super) fn push(&mut self, state: AppState) {
        match self.0.get_mut(&state.daemon) {
            Some(apps) => {
                let apps = Arc::make_mut(apps);
                let at = apps.partition_point(|it| it.app <= state.app);
                apps.insert(at, state);
            }
            None => drop(self.0.insert(state.daemon.clone(), Arc::new(vec![state]))),
        }
    }

    /// Replaces the states of these daemons by those that `now` has.
    pub(super) fn replace<'d>(
        &mut self,
        daemons: impl IntoIterator<Item = &'d DaemonId>,
        now: &Self,
    ) {
        for daemon in daemons {
            match now.0.get(daemon) {
                Some(apps) => self.0.insert(daemon.clone(), Arc::clone(apps)),
                None => self.0.remove(daemon),
            };
        }
    }
}

impl FromIterator<AppState> for AppStates {
    fn from_iter<I: IntoIterator<Item = AppState>>(states: I) -> Self {
        let mut all = Self::default();
        states.into_iter().for_each(|state| all.push(state));
        all
    }
}

impl std::ops::Index<usize> for AppStates {
    type Output = AppState;

    /// # Panics
    /// When there are not that many.
    fn index(&self, at: usize) -> &AppState {
        #[expect(clippy::expect_used, reason = "like every index")]
        self.iter().nth(at).expect("there are not that many states")
    }
}
