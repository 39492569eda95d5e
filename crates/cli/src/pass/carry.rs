//! The part of a pass that changes PM2: the steps, its dump, and the wait for what it is stopping at this moment.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use daemon_model::{AppState, ApplyReport, Condition, DaemonId, Plan, ProcessStatus, Step};
use pm2_client::{ApplyContext, Dump, DumpError, ProcessAdapter, StepError, apply, patience_of};

use super::pm2::{observe_all, observe_with_dump, save_dump};
use super::{PassError, PassEvent, PassOptions, make_plan, make_plan_with_orphans};
use crate::config::Config;
use crate::definitions::Definitions;
use crate::environment::Machine;
use crate::lock::Lock;

/// How often PM2 is asked whether what it is stopping has stopped.
const SETTLE_STEP: Duration = Duration::from_millis(50);

type Observer<'o> = dyn FnMut(PassEvent<'_>) + 'o;

/// What a plan is carried out with.
pub(super) struct Carrier<'a> {
    pub(super) config: &'a Config,
    pub(super) options: &'a PassOptions,
    pub(super) definitions: &'a Definitions,
    pub(super) only: Option<&'a BTreeSet<DaemonId>>,
    pub(super) should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// What came of it.
pub(super) struct Carried {
    pub(super) applied: ApplyReport<StepError>,
    /// How every app stands afterwards.
    pub(super) after: Plan,
    pub(super) save_error: Option<DumpError>,
}

impl Carried {
    /// Nothing was done.
    pub(super) fn nothing(plan: &Plan) -> Self {
        Self {
            applied: ApplyReport { steps: Vec::new() },
            after: plan.clone(),
            save_error: None,
        }
    }
}

impl Carrier<'_> {
    /// Takes the steps of `plan`. What PM2 is stopping at this moment has no step: when all others are taken it is waited
    /// for, and then gets the steps it needs.
    pub(super) fn carry_out(
        &self,
        plan: &Plan,
        adapter: &mut dyn ProcessAdapter,
        lock: &mut Lock,
        observer: &mut Observer<'_>,
    ) -> Result<Carried, PassError> {
        let mut carried = Carried::nothing(plan);
        self.take_steps(plan, adapter, lock, observer, &mut carried)?;
        if self.options.settle && carried.after.has_stopping() {
            observer(PassEvent::Settling(&carried.after));
            let next = self.wait_until_stopped(&carried.after, adapter)?;
            carried.after = next.clone();
            self.take_steps(&next, adapter, lock, observer, &mut carried)?;
        }
        Ok(carried)
    }

    fn take_steps(
        &self,
        plan: &Plan,
        adapter: &mut dyn ProcessAdapter,
        lock: &mut Lock,
        observer: &mut Observer<'_>,
        carried: &mut Carried,
    ) -> Result<(), PassError> {
        if plan.steps.is_empty() {
            if lock.is_unsaved() && self.options.save {
                // Whoever made the last changes was killed before it wrote them down.
                let (_, dump) = observe_with_dump(self.config, adapter)?;
                carried.save_error = self.save(dump, lock);
            }
            return Ok(());
        }
        let around = self.config.surroundings();
        let machine = Machine::new(
            self.config.environment.base_env(&around),
            self.config.pm2.as_deref(),
        );
        let context = ApplyContext {
            workspace: self.config.root(),
            around: &around,
            host: &machine,
            jobs: self.options.jobs,
            should_stop: self.should_stop,
        };
        // What ends this very process comes when all else is done and saved.
        let own = self.config.own_pm_id();
        let (last, first): (Vec<Step>, Vec<Step>) =
            plan.steps.iter().cloned().partition(|step| step.ends(own));
        let mut run = |steps: Vec<Step>, adapter: &mut dyn ProcessAdapter| {
            let part = Plan {
                steps,
                ..Plan::default()
            };
            apply(&part, adapter, &context, &mut |progress| {
                observer(PassEvent::Step(progress));
            })
        };
        let was_unsaved = lock.is_unsaved();
        lock.begin_work(self.options.save);
        let applied = run(first, adapter);
        let (mut observed, dump) = observe_with_dump(self.config, adapter)?;
        if self.options.save {
            if applied.changed_anything() || was_unsaved {
                carried.save_error = self.save(dump, lock);
            } else {
                lock.note_saved();
            }
        }
        carried.applied.steps.extend(applied.steps);
        if !last.is_empty() {
            carried.applied.steps.extend(run(last, adapter).steps);
            observed = observe_all(Some(adapter))?;
        }
        lock.end_work();
        // The removal was confirmed for this pass only; the second look needs no confirmation.
        carried.after = make_plan(
            self.config,
            &self.unconfirmed(),
            self.definitions,
            &observed,
            self.only.cloned(),
        )?;
        Ok(())
    }

    /// Waits for as long as PM2 may take to stop what it is stopping, and looks again.
    fn wait_until_stopped(
        &self,
        plan: &Plan,
        adapter: &mut dyn ProcessAdapter,
    ) -> Result<Plan, PassError> {
        let deadline = Instant::now() + patience(plan);
        loop {
            std::thread::sleep(SETTLE_STEP);
            let plan = make_plan_with_orphans(
                self.config,
                &self.unconfirmed(),
                self.definitions,
                &mut observe_all(Some(&mut *adapter))?,
                self.only,
            )?;
            if !plan.has_stopping() || Instant::now() >= deadline || (self.should_stop)() {
                return Ok(plan);
            }
        }
    }

    fn unconfirmed(&self) -> PassOptions {
        PassOptions {
            confirm: None,
            ..self.options.clone()
        }
    }

    fn save(&self, dump: Dump, lock: &mut Lock) -> Option<DumpError> {
        let error = save_dump(self.config, self.definitions, dump).err();
        if error.is_none() {
            lock.note_saved();
        }
        error
    }
}

/// How long the slowest of what is being stopped may take.
fn patience(plan: &Plan) -> Duration {
    let stopping = |app: &&AppState| app.condition == Condition::Stopping;
    plan.apps
        .iter()
        .filter(stopping)
        .flat_map(|app| &app.processes)
        .filter(|process| process.status == ProcessStatus::Stopping)
        .map(|process| patience_of(process))
        .max()
        .unwrap_or_default()
}
