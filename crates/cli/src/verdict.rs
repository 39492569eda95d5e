//! The verdict of a command.
//!
//! Exit status, summary line and `in_sync` come from one list of problems, so they cannot disagree: without problems, everything is
//! in sync and the status is 0; otherwise the most severe problem decides.

mod problem;
mod summary;

use std::collections::BTreeSet;

use daemon_model::{ActionKind, AppState, DaemonId, Outcome, Planned, Step};
use reconcile::pass::DryRun;
use reconcile::{ArtifactFailures, Definitions, Failure, SyncReport, chain};

use crate::exit::Exit;
use crate::report::json::StepOutput;
use crate::report::words;

pub use problem::{Problem, ProblemId, ProblemKind};

use problem::{Role, of_app};

/// The work of a pass, for its summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Work {
    done: usize,
    failed: usize,
    skipped: usize,
    artifacts: usize,
    took: std::time::Duration,
}

/// The overall result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    role: Role,
    problems: Vec<Problem>,
    /// The action of each pending step.
    pending: Vec<(ActionKind, &'static str)>,
    daemons: usize,
    processes: usize,
    work: Work,
}

impl Verdict {
    /// The result of `plan` and `status`.
    #[must_use]
    pub fn of_dry_run(dry_run: &DryRun) -> Self {
        let (snapshot, planned) = (&dry_run.snapshot, &dry_run.planned);
        let mut verdict = Self::new(Role::Inspects, planned, &snapshot.definitions);
        let in_scope: BTreeSet<&DaemonId> = planned
            .apps
            .iter()
            .map(|app| &app.daemon)
            .chain(&planned.broken)
            .collect();
        for failure in snapshot
            .failures
            .iter()
            .filter(|it| in_scope.contains(&it.daemon))
        {
            verdict.add_failure(failure);
        }
        verdict.add_artifacts(&snapshot.artifact_failures);
        if snapshot.is_dump_unsaved {
            let problem = Problem::new(ProblemKind::Unsaved, words::UNSAVED);
            verdict.problems.push(problem);
        }
        for obstacle in &dry_run.obstacles {
            if snapshot
                .failures
                .of(&obstacle.daemon, &obstacle.app)
                .is_none()
            {
                let message = words::obstacle(obstacle);
                let kind = ProblemKind::Obstacle;
                let problem = Problem::of(kind, &obstacle.daemon, &obstacle.app, message);
                verdict.problems.push(problem);
            }
        }
        verdict.add_steps(&planned.plan.steps);
        verdict
    }

    /// The work that a watcher has left or could not do.
    #[must_use]
    pub fn of_watched(dry_run: &DryRun) -> Self {
        Self {
            role: Role::Acts,
            ..Self::of_dry_run(dry_run)
        }
    }

    /// The result of a pass, and the state of everything afterwards.
    #[must_use]
    pub fn of_sync(report: &SyncReport, interrupted: bool) -> Self {
        let after = &report.after;
        let mut verdict = Self::new(Role::Acts, after, &report.definitions);
        if interrupted {
            let problem = Problem::new(ProblemKind::Interrupted, "the sync was interrupted");
            verdict.problems.push(problem);
        }
        for step in &report.applied.steps {
            let (kind, message) = match &step.outcome {
                Outcome::Done => {
                    verdict.work.done += 1;
                    continue;
                }
                Outcome::Failed(error) => {
                    verdict.work.failed += 1;
                    (ProblemKind::FailedStep, chain(error))
                }
                _ => {
                    verdict.work.skipped += 1;
                    (
                        ProblemKind::SkippedStep,
                        "interrupted before it started".to_owned(),
                    )
                }
            };
            let problem = Problem::of(kind, &step.step.daemon, &step.step.app, message);
            verdict.problems.push(problem);
        }
        let in_scope = |failure: &&Failure| {
            failure.is_unready && after.apps.of(&failure.daemon).next().is_some()
        };
        for failure in report.failures.iter().filter(in_scope) {
            verdict.add_failure(failure);
        }
        for app in &report.waiting {
            let of_app = |problem: &&mut Problem| {
                problem.kind == ProblemKind::Starting
                    && problem.daemon.as_ref() == Some(&app.daemon)
                    && problem.app.as_ref() == Some(&app.app)
            };
            if let Some(problem) = verdict.problems.iter_mut().find(of_app) {
                let what = &problem.message;
                problem.message = format!("{what}: {}", app.lacks);
            }
        }
        verdict.add_artifacts(&report.artifacts.failures);
        if let Some(error) = &report.save_error {
            let problem = Problem::new(ProblemKind::Unsaved, chain(error));
            verdict.problems.push(problem);
        }
        verdict.add_steps(&after.plan.steps);
        verdict.work.artifacts = report.artifacts.written.len() + report.artifacts.removed.len();
        verdict.work.took = report.took;
        verdict
    }

    fn new(role: Role, planned: &Planned, definitions: &Definitions) -> Self {
        let defined = planned.apps.iter().filter(|app| app.wanted.is_some());
        let daemons: BTreeSet<&DaemonId> = defined.map(|app| &app.daemon).collect();
        let mut verdict = Self {
            role,
            problems: Vec::new(),
            pending: Vec::new(),
            daemons: daemons.len(),
            processes: planned.apps.iter().map(AppState::running).sum(),
            work: Work::default(),
        };
        let invalid = ProblemKind::InvalidDefinition;
        for id in &planned.broken {
            verdict.problems.push(Problem {
                daemon: Some(id.clone()),
                ..Problem::new(invalid, format!("the definition of {id} is not valid"))
            });
        }
        for found in definitions.tree_errors() {
            let message = format!("{}: {}", found.path, found.message);
            verdict.problems.push(Problem::new(invalid, message));
        }
        if let Some(held) = &planned.plan.held {
            verdict.problems.push(Problem {
                confirm: Some(held.code.clone()),
                ..Problem::new(ProblemKind::HeldRemoval, words::held(held))
            });
        }
        verdict
            .problems
            .extend(planned.apps.iter().filter_map(of_app));
        verdict
    }

    fn add_failure(&mut self, failure: &Failure) {
        let kind = match failure.is_unready {
            true => ProblemKind::NotReady,
            false => ProblemKind::Obstacle,
        };
        self.problems.push(Problem {
            daemon: Some(failure.daemon.clone()),
            app: failure.app.clone(),
            ..Problem::new(kind, words::failure(failure))
        });
    }

    fn add_artifacts(&mut self, failures: &ArtifactFailures) {
        let kind = ProblemKind::FailedArtifact;
        for (id, error) in &failures.daemons {
            self.problems.push(Problem {
                daemon: Some(id.clone()),
                ..Problem::new(
                    kind,
                    format!("the generated config of {id}: {}", chain(error)),
                )
            });
        }
        if let Some(error) = &failures.directory {
            let message = format!(
                "the generated configs were left as they are: {}",
                chain(error)
            );
            self.problems.push(Problem::new(kind, message));
        }
    }

    /// Adds the pending steps, unless their failure is a problem already.
    fn add_steps(&mut self, steps: &[Step]) {
        let failed: BTreeSet<(DaemonId, String)> = self
            .problems
            .iter()
            .filter(|problem| {
                use ProblemKind::{FailedStep, Obstacle, SkippedStep};
                matches!(problem.kind, FailedStep | SkippedStep | Obstacle)
            })
            .filter_map(|problem| Some((problem.daemon.clone()?, problem.app.clone()?)))
            .collect();
        for step in steps {
            let action = step.action.kind();
            let kind = match action {
                ActionKind::Blocked => ProblemKind::Blocked,
                _ => ProblemKind::Pending,
            };
            if kind == ProblemKind::Pending && self.role == Role::Inspects {
                let verb = StepOutput::new(step, false).verb();
                self.pending.push((action, verb));
            }
            if !failed.contains(&(step.daemon.clone(), step.app.clone())) {
                let message = words::pending(step);
                let problem = Problem::of(kind, &step.daemon, &step.app, message);
                self.problems.push(problem);
            }
        }
    }

    /// Why it is not in sync; empty when it is.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether everything runs as defined.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        self.exit() == Exit::Ok
    }

    /// The exit status.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let exits = self
            .problems
            .iter()
            .map(|problem| problem.kind.exit(self.role));
        exits.max().unwrap_or(Exit::Ok)
    }

    /// The names of the apps that PM2 gave up or keeps restarting.
    pub fn degraded(&self) -> impl Iterator<Item = &str> {
        let problems = self.problems.iter();
        problems
            .filter(|problem| problem.kind == ProblemKind::Degraded)
            .filter_map(|problem| problem.app.as_deref())
    }
}
