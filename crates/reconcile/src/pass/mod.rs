//! One pass: a straight line of values.
//!
//! ```text
//! Request ──> Snapshot::take ──> settle ──────────> execute ──────────────> SyncReport
//!     ▲       definitions,       judge what is      history, artifacts,         │
//!     │       PM2's list,        pending; take      steps, verification,     waiting
//!     │       artifacts,         another snapshot   PM2's dump, then the     without the
//!     │       histories          while PM2 is busy  plan of what is left     lock, until
//!     │          │               or a removal is                             an app is
//!     │       Snapshot::plan     not confirmed                               ready or
//!     │          │    (pure)                                                 has failed
//!     │          └────> what `plan` and `status` print                          │
//!     └───────────────────────── another round ─────────────────────────────────┘
//! ```
//!
//! A spec that fails is recorded. The next round plans from a snapshot that rejects it, so rolling back is just planning again.
//!
//! [`plan`] and [`sync`] take the same snapshot and make the same plan from it, so a dry run cannot differ from the real run. All
//! input happens in [`Snapshot::take`]; planning reads neither disk nor clock. Only `execute` changes anything, and only through a
//! [`Writer`], which requires the lock.

mod execute;
mod leftovers;
mod poll;
mod preflight;
mod quiesce;
mod request;
mod rescan;
mod rounds;
mod selection;
mod settle;
mod snapshot;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use daemon_model::{
    ApplyReport, DaemonId, EntryOutcome, Plan, Planned, Records, RemovalCode, SelectError,
};
use edn_render::artifact::ArtifactStore;
use pm2_client::{AdapterError, DumpError, Progress, StepError, StopFlag};

use crate::artifacts::{self, ArtifactReport};
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsError};
use crate::error::FailureKind;
use crate::failures::Failures;
use crate::lock::{Holder, LockError};
use crate::pm2::{Pm2, StartError, Writer};
use crate::rollout::{Gates, WaitingApp};
use crate::state::{StateDir, StateWarning};

pub use preflight::Obstacle;
pub use request::{Removal, Request, Wait};
pub use rescan::Rescan;
pub use selection::select;
pub use snapshot::{DefinitionSource, Disk, Snapshot};

use rounds::Rounds;

pub(crate) use leftovers::{Labels, NoLeftovers};
pub(crate) use poll::{PollCache, Unsettled, is_steady, poll, running, unsettled};
pub(crate) use snapshot::PlanMemory;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// The definitions cannot be loaded.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// PM2 cannot be reached, does not answer, or is not supported.
    #[error(transparent)]
    Pm2(#[from] AdapterError),
    /// PM2 ended during the sync.
    #[error("PM2 ended during the sync")]
    Pm2Ended {
        /// PM2's log, which may say why.
        log: Utf8PathBuf,
        /// The request that failed.
        source: AdapterError,
    },
    /// PM2 is not running and cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Another pm2-sync holds the lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// PM2's dump cannot be written.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// An ID is unknown or ambiguous.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The confirmation code is not that of the held removal.
    #[error("`--confirm {given}` does not confirm this removal")]
    WrongConfirmation {
        /// The code that was given.
        given: RemovalCode,
        /// The code that confirms the held removal; none if no removal is held.
        code: Option<RemovalCode>,
    },
}

impl PassError {
    /// The kind of the failure, from which the caller chooses an exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Definitions(error) => error.kind(),
            Self::Pm2(error) | Self::Pm2Ended { source: error, .. } => FailureKind::of_call(error),
            Self::Start(error) => error.kind(),
            Self::Lock(error) => error.kind(),
            Self::Select(_) | Self::WrongConfirmation { .. } => FailureKind::Usage,
            Self::Dump(_) => FailureKind::Other,
        }
    }
}

/// What a pass reports while it runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum PassEvent<'a> {
    /// The pass waits for another pm2-sync.
    Waiting(Option<&'a Holder>),
    /// PM2 was started.
    Pm2Started,
    /// The plan is made and is about to be executed.
    Planned(&'a Plan, &'a Definitions),
    /// A step begins or ends.
    Step(Progress<'a>),
    /// All steps are done; the pass waits for processes that PM2 is still stopping.
    Settling(&'a Planned),
    /// These apps are not ready yet. Reported several times a second during the wait.
    NotReady(&'a [WaitingApp]),
    /// An entry was judged: these apps of a daemon failed to become ready, or all became ready.
    Judged(&'a DaemonId, &'a EntryOutcome),
}

/// What a sync did.
#[derive(Debug)]
pub struct SyncReport {
    /// The definitions.
    pub definitions: Arc<Definitions>,
    /// The plan as it was executed.
    pub plan: Plan,
    /// The result of each step.
    pub applied: ApplyReport<StepError>,
    /// The state of every app after the sync.
    pub after: Planned,
    /// The changes to artifacts.
    pub artifacts: ArtifactReport,
    /// Whether PM2 had to be started.
    pub pm2_started: bool,
    /// Why PM2's dump could not be written, if it could not.
    pub save_error: Option<DumpError>,
    /// Unresolved failures. They are recorded in the state directory.
    pub failures: Failures,
    pub(crate) failures_changed: bool,
    /// What is now recorded about the daemons.
    pub records: Records,
    /// The daemons that the request names; none: all.
    pub(crate) chosen: Option<BTreeSet<DaemonId>>,
    /// The apps that had not become ready when the sync stopped waiting.
    pub waiting: Vec<WaitingApp>,
    /// State files that cannot be read.
    pub warnings: Vec<StateWarning>,
    /// How long the sync took.
    pub took: Duration,
}

/// The result of a dry run.
#[derive(Debug)]
pub struct DryRun {
    /// Everything the plan depends on.
    pub snapshot: Snapshot,
    /// What [`sync`] would do, and the state of every app.
    pub planned: Planned,
    /// Steps that are sure to fail, as far as a dry run can tell.
    pub obstacles: Vec<Obstacle>,
}

/// Takes a snapshot and plans. Changes nothing.
///
/// # Errors
/// [`PassError::Definitions`] when the definitions cannot be read; [`PassError::Pm2`] when PM2 does not answer;
/// [`PassError::Select`] and [`PassError::WrongConfirmation`] when the request is invalid.
pub fn plan(
    config: &Config,
    request: &Request,
    source: &mut dyn DefinitionSource,
    pm2: &mut Pm2<'_>,
) -> Result<DryRun, PassError> {
    let mut pass = Pass {
        config,
        request,
        source,
        gates: &mut Gates::new(|| {}),
        judges: false,
        failed: &BTreeSet::new(),
        stop: &StopFlag::default(),
        observer: &mut |_| {},
    };
    let snapshot = pass.snapshot(pm2)?;
    let planned = pass.plan(&snapshot)?;
    let obstacles = preflight::obstacles(config, &planned.plan);
    Ok(DryRun {
        snapshot,
        planned,
        obstacles,
    })
}

/// Reconciles PM2 with the definitions on disk: waits for the lock, takes the steps, then releases the lock and waits until changed
/// apps are ready or have failed, as [`Request::wait`] says. Further rounds act on the outcome.
///
/// # Errors
/// As [`plan`]; [`PassError::Lock`] when another process holds the lock for too long; [`PassError::Start`] when PM2 cannot be
/// started, [`PassError::Pm2Ended`] when it ends during the sync. Failures of single steps are in the report.
pub fn sync(
    config: &Config,
    request: &Request,
    lock_timeout: Duration,
    stop: &StopFlag,
    observer: &mut Observer<'_>,
) -> Result<SyncReport, PassError> {
    let began = Instant::now();
    let (wake, woken) = channel();
    // The receiver is gone after the wait.
    let gates = Gates::new(move || {
        let _ = wake.send(());
    });
    let mut rounds = Rounds::new(config, lock_timeout, stop, gates);
    let mut report = rounds.run(request, false, observer)?;
    let next = Request {
        // Keep the same daemons: an ID may no longer match anything.
        ids: Vec::new(),
        only: report.chosen.clone(),
        retry: false,
        restart: Vec::new(),
        confirm: None,
        ..request.clone()
    };
    while rounds.wait(&next, began, &woken, &mut report, observer)? {
        report.add(rounds.run(&next, true, observer)?);
    }
    report.took = began.elapsed();
    Ok(report)
}

impl SyncReport {
    /// Adds the results of a further round.
    fn add(&mut self, round: Self) {
        self.applied.steps.extend(round.applied.steps);
        self.artifacts.add(round.artifacts);
        self.plan.steps.extend(round.plan.steps);
        self.plan.held = round.plan.held;
        self.definitions = round.definitions;
        self.after = round.after;
        self.pm2_started |= round.pm2_started;
        self.save_error = round.save_error;
        self.failures = round.failures;
        self.records = round.records;
        self.waiting = round.waiting;
        self.warnings.extend(round.warnings);
    }
}

/// Reads the whole tree each time, and compares its artifacts with the files on disk, while PM2 prepares its list.
struct Preloading<'a>(&'a ArtifactStore);

impl DefinitionSource for Preloading<'_> {
    fn load(&mut self, config: &Config) -> Result<Arc<Definitions>, DefinitionsError> {
        let definitions = Disk.load(config)?;
        artifacts::preload(self.0, &definitions);
        Ok(definitions)
    }
}

/// Records the failures of a pass in the state directory.
pub(crate) fn record_failures(config: &Config, report: &mut SyncReport, writer: &Writer<'_, '_>) {
    if report.failures_changed {
        let written = report.failures.write(&config.state(), writer.lock());
        report.warnings.extend(written.err());
    }
}

/// Runs one pass for a caller that has the lock, with definitions from `source`. `artifacts` persists from pass to pass. Does not
/// wait for apps to become ready. Does not record the failures of the pass.
///
/// # Errors
/// As [`sync`], [`PassError::Lock`] excepted.
pub fn reconcile(
    config: &Config,
    request: &Request,
    source: &mut dyn DefinitionSource,
    artifacts: &ArtifactStore,
    writer: &mut Writer<'_, '_>,
    stop: &StopFlag,
    observer: &mut Observer<'_>,
) -> Result<SyncReport, PassError> {
    let pass = Pass {
        config,
        request,
        source,
        gates: &mut Gates::new(|| {}),
        judges: false,
        failed: &BTreeSet::new(),
        stop,
        observer: &mut |event| observer(event),
    };
    pass.run(artifacts, writer)
}

/// Receives the events of a pass.
pub type Observer<'o> = dyn FnMut(PassEvent<'_>) + 'o;

/// What every part of a pass needs.
pub(crate) struct Pass<'p> {
    pub(crate) config: &'p Config,
    pub(crate) request: &'p Request,
    pub(crate) source: &'p mut dyn DefinitionSource,
    /// Persists from pass to pass: it caches probe results.
    pub(crate) gates: &'p mut Gates,
    /// Whether to judge pending entries before planning. Without it, a pass takes exactly the steps of a dry run.
    pub(crate) judges: bool,
    /// Daemons that get no steps because one failed a moment ago.
    pub(crate) failed: &'p BTreeSet<DaemonId>,
    pub(crate) stop: &'p StopFlag,
    pub(crate) observer: &'p mut Observer<'p>,
}

impl Pass<'_> {
    /// Runs the whole pass, with the lock.
    pub(crate) fn run(
        mut self,
        artifacts: &ArtifactStore,
        writer: &mut Writer<'_, '_>,
    ) -> Result<SyncReport, PassError> {
        let began = Instant::now();
        let (snapshot, planned) = settle::settle(&mut self, writer)?;
        // Report unreadable files before they are overwritten.
        for warning in &snapshot.warnings {
            StateDir::set_aside(warning, writer.lock());
        }
        let key_warning = snapshot.definitions.values().keep_key(writer.lock());
        let mut done = execute::execute(&mut self, artifacts, writer, &snapshot, &planned)?;
        if let Some(unready) = self.gates.unready(&done.after) {
            done.failures.set_unready(&unready, snapshot.taken_at);
        }
        let chosen = snapshot.chosen().cloned();
        let mut warnings = snapshot.warnings;
        warnings.extend(key_warning.err());
        warnings.extend(done.warnings);
        if done.guard != snapshot.guard {
            let written = done.guard.write(&self.config.state(), writer.lock());
            warnings.extend(written.err());
        }
        Ok(SyncReport {
            failures_changed: done.failures != snapshot.failures,
            failures: done.failures,
            warnings,
            definitions: snapshot.definitions,
            plan: planned.plan,
            applied: done.applied,
            after: done.after,
            artifacts: done.artifacts,
            pm2_started: done.pm2_started,
            save_error: done.save_error,
            records: writer.pm2().records().read().0,
            chosen,
            waiting: Vec::new(),
            took: began.elapsed(),
        })
    }

    fn snapshot(&mut self, pm2: &mut Pm2<'_>) -> Result<Snapshot, PassError> {
        Snapshot::take(self.config, pm2, self.source, self.request)
    }

    /// The plan of a snapshot after its pending entries are judged and the results recorded.
    fn judged(
        &mut self,
        writer: &mut Writer<'_, '_>,
        snapshot: &mut Snapshot,
    ) -> Result<Planned, PassError> {
        loop {
            let planned = self.plan(snapshot)?;
            if !self.judges || !writer.pm2().is_connected() {
                // If PM2 does not run, nothing can be concluded about the apps.
                return Ok(planned);
            }
            let now_ms = snapshot.observed.at_ms;
            let changed = self
                .gates
                .judge(&planned, &snapshot.records, now_ms)
                .changed;
            if changed.is_empty() {
                return Ok(planned);
            }
            for (daemon, history) in &changed {
                let written = writer.record(daemon, history);
                snapshot.warnings.extend(written.err());
                let last = history.last().filter(|last| !last.outcome.is_pending());
                if let Some(last) = last {
                    (self.observer)(PassEvent::Judged(daemon, &last.outcome));
                }
            }
            snapshot.set_histories(changed);
        }
    }

    /// The plan of a snapshot, or an error if the request confirms a removal other than the held one.
    fn plan(&self, snapshot: &Snapshot) -> Result<Planned, PassError> {
        let planned = snapshot.plan();
        match &self.request.confirm {
            Some(given) if planned.plan.confirmed.as_ref() != Some(given) => {
                Err(PassError::WrongConfirmation {
                    given: given.clone(),
                    code: planned.plan.held.map(|held| held.code),
                })
            }
            _ => Ok(planned),
        }
    }
}
