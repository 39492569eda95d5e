//! `plan` and `status`: steps, and the state of every app.

use daemon_model::{HeldRemoval, ObservedProcess};
use jiff::Timestamp;
use reconcile::pass::DryRun;
use reconcile::{Failure, Failures, Obstacle, chain};
use schemars::JsonSchema;
use serde::Serialize;

use super::app::StatusWord;
use super::sync::ids;
use super::{AppOutput, DiagnosticOutput, Output, StepOutput, diagnostics};
use crate::report::{Measures, Printer};
use crate::verdict::{Problem, ProblemKind, Verdict};

/// What `plan` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlanOutput {
    /// Whether everything runs as defined: true exactly when the exit status is 0.
    pub in_sync: bool,
    /// Why it is not in sync.
    pub problems: Vec<ProblemOutput>,
    /// The steps that `sync` would take.
    pub steps: Vec<StepOutput>,
    /// The removal that waits for confirmation.
    pub held: Option<HeldOutput>,
    /// The daemons whose definition is not valid.
    pub broken: Vec<String>,
    /// Whether PM2 runs.
    pub pm2_running: bool,
    /// The state of every app.
    pub apps: Vec<AppOutput>,
    /// Steps that would fail, as far as can be seen without taking them.
    pub obstacles: Vec<ObstacleOutput>,
    /// Unresolved failures of earlier passes.
    pub failures: Vec<FailureOutput>,
    /// Findings about definitions.
    pub diagnostics: Vec<DiagnosticOutput>,
}

impl Output for PlanOutput {
    const COMMAND: &'static str = "plan";
}

impl PlanOutput {
    /// The result of a dry run, with the resource use of processes if it was measured.
    #[must_use]
    pub fn new(
        dry_run: &DryRun,
        measures: Option<&Measures>,
        verdict: &Verdict,
        printer: &Printer,
    ) -> Self {
        let show_values = printer.shows_values();
        let apps = dry_run.planned.apps.iter();
        let apps = apps.map(|app| AppOutput::new(app, measures)).collect();
        let (snapshot, planned) = (&dry_run.snapshot, &dry_run.planned);
        let steps = planned.plan.steps.iter();
        let held = planned.plan.held.as_ref();
        Self {
            in_sync: verdict.is_in_sync(),
            problems: problems(verdict),
            steps: steps.map(|one| StepOutput::new(one, show_values)).collect(),
            held: held.map(|held| HeldOutput::new(held, printer)),
            broken: ids(&planned.broken),
            pm2_running: snapshot.pm2_running,
            apps,
            obstacles: dry_run.obstacles.iter().map(ObstacleOutput::new).collect(),
            failures: failures(&snapshot.failures),
            diagnostics: diagnostics(&snapshot.definitions, printer),
        }
    }
}

/// What `status` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusOutput {
    /// The same as `plan` prints.
    #[serde(flatten)]
    pub plan: PlanOutput,
    /// The watcher of this workspace that runs under PM2.
    pub watcher: Option<WatcherOutput>,
}

impl Output for StatusOutput {
    const COMMAND: &'static str = "status";
}

impl StatusOutput {
    /// The result of a dry run, and its measurements.
    #[must_use]
    pub fn new(
        dry_run: &DryRun,
        measures: Option<&Measures>,
        verdict: &Verdict,
        printer: &Printer,
    ) -> Self {
        Self {
            plan: PlanOutput::new(dry_run, measures, verdict, printer),
            watcher: dry_run.snapshot.watcher().map(|it| WatcherOutput::new(it)),
        }
    }
}

/// A watcher that runs under PM2.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WatcherOutput {
    /// Its name in PM2.
    pub name: String,
    /// Its process ID; null when it does not run.
    pub pid: Option<u32>,
    /// Its state according to PM2.
    pub status: StatusWord,
}

impl WatcherOutput {
    /// The watcher's process.
    #[must_use]
    pub fn new(process: &ObservedProcess) -> Self {
        Self {
            name: process.name.clone(),
            pid: process.pid,
            status: process.status.into(),
        }
    }
}

/// A removal that waits for confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HeldOutput {
    /// The daemons that would be removed.
    pub daemons: Vec<String>,
    /// Those with a protected app (`:protect true`).
    pub protected: Vec<String>,
    /// Those whose definition was on a file system that is no longer mounted.
    pub unmounted: Vec<String>,
    /// The number of managed daemons.
    pub managed: usize,
    /// The number of daemons removed in the last 10 minutes; they count, too.
    pub removed_lately: usize,
    /// The code that confirms the removal.
    pub confirm: String,
    /// The command that confirms it.
    pub command: String,
}

impl HeldOutput {
    /// A removal that this command confirms.
    #[must_use]
    pub fn new(held: &HeldRemoval, printer: &Printer) -> Self {
        Self::with_command(
            held,
            printer.command(&format!("sync --confirm {}", held.code)),
        )
    }

    /// A removal that another command confirms.
    #[must_use]
    pub fn with_command(held: &HeldRemoval, command: String) -> Self {
        Self {
            daemons: ids(&held.daemons),
            protected: ids(&held.protected),
            unmounted: ids(&held.unmounted),
            managed: held.managed,
            removed_lately: held.removed_lately,
            confirm: held.code.to_string(),
            command,
        }
    }
}

/// A step that would fail.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ObstacleOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// The app's name.
    pub app: String,
    /// Why it would fail.
    pub error: String,
}

impl ObstacleOutput {
    fn new(obstacle: &Obstacle) -> Self {
        Self {
            daemon: obstacle.daemon.to_string(),
            app: obstacle.app.clone(),
            error: chain(&obstacle.error),
        }
    }
}

/// An unresolved failure.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FailureOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// The app's name; null when the daemon's generated config failed.
    pub app: Option<String>,
    /// Why it failed.
    pub error: String,
    /// When it first failed (RFC 3339).
    pub since: String,
    /// When it last failed (RFC 3339).
    pub last: String,
    /// How often it has failed since.
    pub attempts: u32,
    /// Whether no step failed: the app runs, but its readiness probe fails.
    pub unready: bool,
    /// When the watcher tries again (RFC 3339); null without a watcher.
    pub retry_at: Option<String>,
}

impl FailureOutput {
    fn new(failure: &Failure) -> Self {
        let text = |at: Timestamp| at.to_string();
        Self {
            daemon: failure.daemon.to_string(),
            app: failure.app.clone(),
            error: failure.error.clone(),
            since: text(failure.since),
            last: text(failure.last),
            attempts: failure.attempts,
            unready: failure.is_unready,
            retry_at: failure.next_attempt(Timestamp::now()).map(text),
        }
    }
}

/// All unresolved failures.
#[must_use]
pub fn failures(failures: &Failures) -> Vec<FailureOutput> {
    failures.iter().map(FailureOutput::new).collect()
}

/// Why it is not in sync.
#[must_use]
pub fn problems(verdict: &Verdict) -> Vec<ProblemOutput> {
    verdict.problems().iter().map(ProblemOutput::new).collect()
}

/// One reason why it is not in sync.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProblemOutput {
    /// What kind of reason it is.
    pub kind: ProblemKindOutput,
    /// The daemon's ID, if it concerns one.
    pub daemon: Option<String>,
    /// The app's name, if it concerns one.
    pub app: Option<String>,
    /// The reason in words.
    pub message: String,
}

/// A kind of reason why it is not in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKindOutput {
    /// The command was interrupted.
    Interrupted,
    /// A definition, or a path below `system/daemons`, is not valid.
    InvalidDefinition,
    /// A step failed.
    FailedStep,
    /// A step would fail, or failed in an earlier pass.
    Obstacle,
    /// A step was not tried.
    SkippedStep,
    /// A generated config could not be written, read or removed.
    FailedArtifact,
    /// PM2's process list could not be saved.
    Unsaved,
    /// PM2 gave an app up, or keeps restarting it.
    Degraded,
    /// An app's label names another app than its name does.
    Mislabelled,
    /// An app is not ready yet.
    Starting,
    /// An app is being stopped.
    Stopping,
    /// An app differs from its definition, and is on hold by that definition or by a user.
    OnHold,
    /// An app waits for apps that it depends on.
    Waiting,
    /// An app's definition did not become ready; it runs the previous one.
    RolledBack,
    /// An app's definition did not become ready, and there is no previous one.
    NotReady,
    /// A removal waits for confirmation.
    HeldRemoval,
    /// An app's name belongs to unmanaged processes.
    Blocked,
    /// A step is pending.
    Pending,
    /// Something else.
    Other,
}

impl ProblemOutput {
    fn new(problem: &Problem) -> Self {
        Self {
            kind: match problem.kind {
                ProblemKind::Interrupted => ProblemKindOutput::Interrupted,
                ProblemKind::InvalidDefinition => ProblemKindOutput::InvalidDefinition,
                ProblemKind::FailedStep => ProblemKindOutput::FailedStep,
                ProblemKind::Obstacle => ProblemKindOutput::Obstacle,
                ProblemKind::SkippedStep => ProblemKindOutput::SkippedStep,
                ProblemKind::FailedArtifact => ProblemKindOutput::FailedArtifact,
                ProblemKind::Unsaved => ProblemKindOutput::Unsaved,
                ProblemKind::Degraded => ProblemKindOutput::Degraded,
                ProblemKind::Mislabelled => ProblemKindOutput::Mislabelled,
                ProblemKind::Starting => ProblemKindOutput::Starting,
                ProblemKind::Stopping => ProblemKindOutput::Stopping,
                ProblemKind::OnHold => ProblemKindOutput::OnHold,
                ProblemKind::Waiting => ProblemKindOutput::Waiting,
                ProblemKind::RolledBack => ProblemKindOutput::RolledBack,
                ProblemKind::NotReady => ProblemKindOutput::NotReady,
                ProblemKind::HeldRemoval => ProblemKindOutput::HeldRemoval,
                ProblemKind::Blocked => ProblemKindOutput::Blocked,
                ProblemKind::Pending => ProblemKindOutput::Pending,
                ProblemKind::Other => ProblemKindOutput::Other,
            },
            daemon: problem.daemon.as_ref().map(ToString::to_string),
            app: problem.app.clone(),
            message: problem.message.clone(),
        }
    }
}
