//! The results of applying a plan.

use std::time::Duration;

use crate::{DaemonId, Step};

/// The outcome of one step. `E` is the error of the code that applied it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<E> {
    /// The step was taken, and the live processes were verified.
    Done,
    /// The step failed, or the live processes do not match.
    Failed(E),
    /// Not tried, because the pass was stopped.
    Skipped,
}

impl<E> Outcome<E> {
    /// Whether the step succeeded.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// One step and its outcome.
#[derive(Debug)]
pub struct StepReport<E> {
    /// The step as it was planned.
    pub step: Step,
    /// Its outcome.
    pub outcome: Outcome<E>,
    /// How long it took.
    pub took: Duration,
}

/// Every step of a plan and its outcome, in the order in which they ended.
#[derive(Debug)]
pub struct ApplyReport<E> {
    /// One entry for each step of the plan.
    pub steps: Vec<StepReport<E>>,
}

impl<E> ApplyReport<E> {
    /// Whether every step succeeded.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.steps.iter().all(|step| step.outcome.is_done())
    }

    /// Whether any step changed something.
    #[must_use]
    pub fn changed_anything(&self) -> bool {
        self.steps.iter().any(|step| step.outcome.is_done())
    }

    /// Daemons with a step that failed.
    pub fn failed_daemons(&self) -> impl Iterator<Item = &DaemonId> {
        self.steps
            .iter()
            .filter(|step| matches!(step.outcome, Outcome::Failed(_)))
            .map(|step| &step.step.daemon)
    }
}
