//! The plan for one app, before its dependencies are considered.

use std::sync::Arc;

use crate::plan::apps::{Steps, blocked, count, kill_orphans, resume, start_missing, targets};
use crate::plan::change::changes_of;
use crate::plan::in_force::{AppInForce, DaemonInForce, Rule};
use crate::plan::world::World;
use crate::plan::{Action, AppState, Cause, ChangeMethod, Condition, Reason, RemoveMethod, Step};
use crate::{
    AppSpec, DaemonId, ExecMode, ObservedProcess, OnChange, OnFailure, ProcessState, Status,
};

type Process<'a> = &'a Arc<ObservedProcess>;

/// The plan for one app.
pub(super) struct Draft<'a> {
    pub(super) id: &'a DaemonId,
    pub(super) daemon: &'a DaemonInForce<'a>,
    pub(super) app: &'a AppInForce,
    pub(super) steps: Steps,
    /// Its state if it has no steps.
    condition: Condition,
    causes: Vec<Cause>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        world: &World<'a>,
        id: &'a DaemonId,
        daemon: &'a DaemonInForce<'a>,
        app: &'a AppInForce,
    ) -> Self {
        let mut draft = Self {
            id,
            daemon,
            app,
            steps: Vec::new(),
            condition: Condition::InSync,
            causes: app.causes.clone(),
        };
        kill_orphans(world, &app.spec, &mut draft.steps);
        draft.condition = match app.rule {
            Rule::Stop => draft.stop(world),
            _ if daemon.is_broken => {
                draft.keep_last_good(world);
                Condition::Broken
            }
            Rule::Run => draft.run(world),
            Rule::Leave => draft.leave(world),
        };
        if let Some(reason) = app.reason() {
            let changes =
                |action: &Action| matches!(action, Action::Start { .. } | Action::Change { .. });
            // An older spec in force does not restart processes that already run it.
            let is_asked = |reason: &Reason| {
                matches!(reason, Reason::RestartRequested | Reason::Unhealthy { .. })
            };
            let changing = draft.steps.iter_mut();
            let changing = changing.filter(|(it, why)| changes(it) && !why.iter().all(is_asked));
            changing.for_each(|(_, reasons)| reasons.insert(0, reason.clone()));
        }
        if let Some(by) = world.in_force.hold(id) {
            let steps = draft.take_steps();
            if !steps.is_empty() && !daemon.is_broken {
                draft.condition = Condition::OnHold;
            }
            let by = by.clone();
            draft.causes.push(Cause::OnHold { by, steps });
        }
        draft
    }

    fn spec(&self) -> &'a AppSpec {
        &self.app.spec
    }

    /// Its state.
    pub(super) fn condition(&self) -> Condition {
        match self.condition {
            decided @ (Condition::Blocked | Condition::Broken) => decided,
            _ if !self.steps.is_empty() => Condition::Pending,
            settled => settled,
        }
    }

    /// Leaves steps out until other apps are ready.
    pub(super) fn wait(&mut self, cause: Cause) {
        self.causes.push(cause);
        if self.condition != Condition::Broken {
            self.condition = Condition::Waiting;
        }
    }

    /// Its state, and its steps.
    pub(super) fn finish(mut self, world: &World<'_>) -> (AppState, Vec<Step>) {
        let condition = self.condition();
        let steps = self.take_steps();
        let processes = world.processes(self.spec().name()).iter();
        let mut state = AppState::new(
            self.id,
            self.spec().name(),
            Some(world.want(self.spec())),
            processes.map(|it| Arc::clone(it)),
            condition,
            world.observed.at_ms,
        );
        state.spec = Some(self.spec().clone());
        state.causes = self.causes;
        (state, steps)
    }

    pub(super) fn take_steps(&mut self) -> Vec<Step> {
        let steps = std::mem::take(&mut self.steps);
        steps.into_iter().map(|step| self.step(step)).collect()
    }

    pub(super) fn step(&self, (action, reasons): (Action, Vec<Reason>)) -> Step {
        Step {
            daemon: self.id.clone(),
            app: self.spec().name().to_owned(),
            action,
            reasons,
            stage: 0,
        }
    }

    /// A broken definition changes nothing, but lost processes are started again.
    fn keep_last_good(&mut self, world: &World<'_>) {
        let app = self.spec();
        let have = count(world.processes(app.name()));
        if world.strangers(app.name()).is_empty()
            && let Some((action, reason)) = start_missing(app, have, world.want(app))
        {
            self.steps.push((action, vec![Reason::LastGood, reason]));
        }
    }

    fn stop(&mut self, world: &World<'_>) -> Condition {
        let processes = world.processes(self.spec().name());
        let at_ms = world.observed.at_ms;
        let runs = |process: &&Process<'_>| {
            process.status != Status::Stopped && process.state(at_ms) != ProcessState::Stopping
        };
        let running: Vec<Process<'_>> = processes.iter().filter(runs).copied().collect();
        let has_failed = |cause: &Cause| matches!(cause, Cause::Failed { .. });
        let is_asked = self.causes.iter().any(|it| matches!(it, Cause::Stopped(_)));
        let (stopped, reason) = match self.causes.iter().any(has_failed) && !is_asked {
            true => (Condition::Failed, Reason::NotReady),
            false => (Condition::Stopped, Reason::StopRequested),
        };
        if !running.is_empty() {
            let (targets, how) = (targets(&running), RemoveMethod::Stop);
            self.steps
                .push((Action::Remove { targets, how }, vec![reason]));
        }
        match processes.iter().any(|process| process.pid.is_some()) {
            true => Condition::Stopping,
            false => stopped,
        }
    }

    /// Leaves the processes of a failed app as they are, except that a canary beside serving workers is removed.
    fn leave(&mut self, world: &World<'_>) -> Condition {
        let app = self.spec();
        if !world.strangers(app.name()).is_empty() {
            return Condition::Failed;
        }
        let mut kept = world.processes(app.name()).to_vec();
        let (want, have) = (world.want(app), count(&kept));
        let serves = kept.iter().any(|process| !process.is_from(app));
        kept.sort_by_key(|process| (process.is_from(app), !process.is_running(), process.pm_id));
        self.remove_surplus(&mut kept, have.saturating_sub(want), (have, want));
        let mut change = changes_of(world, app, &[]);
        change.add_requests(world, app, &kept, false);
        if !change.targets.is_empty() {
            self.steps.push(change.into_step(app));
        }
        if !serves && let Some((action, reason)) = start_missing(app, have, want) {
            self.steps.push((action, vec![reason]));
        }
        Condition::Failed
    }

    /// Removes the surplus processes, and leaves the others in the order of their numbers.
    fn remove_surplus(
        &mut self,
        kept: &mut Vec<Process<'_>>,
        surplus: u32,
        (have, want): (u32, u32),
    ) {
        let surplus = usize::try_from(surplus).unwrap_or(usize::MAX);
        let gone = kept.split_off(kept.len().saturating_sub(surplus));
        kept.sort_by_key(|process| process.pm_id);
        if !gone.is_empty() {
            let (targets, how) = (targets(&gone), RemoveMethod::Delete);
            let reason = Reason::TooMany { have, want };
            self.steps
                .push((Action::Remove { targets, how }, vec![reason]));
        }
    }

    fn run(&mut self, world: &World<'_>) -> Condition {
        let app = self.spec();
        let strangers = world.strangers(app.name());
        if let Some(blocked) = blocked(world, strangers) {
            self.steps.push(blocked);
            return Condition::Blocked;
        }
        let processes = world.processes(app.name());
        let mut kept: Vec<Process<'_>> = processes.iter().chain(strangers).copied().collect();
        let (want, have) = (world.want(app), count(&kept));
        let gate = self.daemon.gate(app);
        let outdated: Vec<Process<'_>> = kept
            .iter()
            .copied()
            .filter(|process| !process.is_from(app))
            .collect();
        let is_trial = self.is_trial(world, &outdated);
        let is_promotion = gate.is_some_and(|gate| gate.canary_ready) && !outdated.is_empty();
        // A canary is not surplus while the other workers have yet to follow it.
        let counted = match is_trial || is_promotion {
            true => count(&outdated),
            false => have,
        };
        // Remove processes of another spec first, then the newest: users know an app by its lowest numbers.
        kept.sort_by_key(|process| (!process.is_from(app), !process.is_running(), process.pm_id));
        self.remove_surplus(&mut kept, counted.saturating_sub(want), (have, want));

        let canary = kept.iter().copied().find(|process| process.is_from(app));
        if is_trial && (canary.is_none() || gate.is_none()) {
            let mut reasons = changes_of(world, app, &outdated).reasons;
            reasons.insert(0, Reason::Canary);
            let spec = app.clone();
            let action = match canary {
                // The same spec was tried before, as part of another definition.
                Some(canary) => Action::Change {
                    spec,
                    targets: targets(&[canary]),
                    how: ChangeMethod::Restart,
                },
                None => Action::Start { spec, count: 1 },
            };
            self.steps.push((action, reasons));
            return Condition::Pending;
        }
        if is_trial && let Some(gate) = gate {
            self.causes.push(Cause::Gated {
                deadline_ms: gate.deadline_ms,
                canary: true,
            });
            return Condition::Starting;
        }
        let gate = gate.filter(|gate| !gate.ready);
        let mut change = changes_of(world, app, &kept);
        change.add_requests(world, app, &kept, gate.is_none() && self.steps.is_empty());
        let is_held = self.holds_changes() && !change.is_due && !change.targets.is_empty();
        if is_held {
            let step = self.step(change.into_step(app));
            self.causes.push(Cause::ChangeHeld { steps: vec![step] });
        } else if !change.targets.is_empty() {
            self.steps.push(change.into_step(app));
        }
        if let Some(resume) = resume(world, app, &kept, &self.steps) {
            self.steps.push(resume);
        }
        if let Some((action, reason)) = start_missing(app, have, want) {
            self.steps.push((action, vec![reason]));
        }
        if is_held {
            return Condition::OnHold;
        }
        if let Some(gate) = gate {
            self.causes.push(Cause::Gated {
                deadline_ms: gate.deadline_ms,
                canary: false,
            });
        }
        self.settled(world, &kept, gate.is_some())
    }

    /// The state of the app if it has no steps.
    fn settled(&self, world: &World<'_>, kept: &[Process<'_>], is_gated: bool) -> Condition {
        let at_ms = world.observed.at_ms;
        let states: Vec<_> = kept.iter().map(|process| process.state(at_ms)).collect();
        let has = |wanted: fn(&Cause) -> bool| self.causes.iter().any(wanted);
        match Condition::of(&states) {
            Condition::InSync | Condition::Ended if is_gated => Condition::Starting,
            Condition::InSync | Condition::Ended
                if has(|cause| matches!(cause, Cause::RolledBack { .. })) =>
            {
                Condition::RolledBack
            }
            Condition::InSync if has(|cause| matches!(cause, Cause::Pinned { .. })) => {
                Condition::Pinned
            }
            condition => condition,
        }
    }

    fn holds_changes(&self) -> bool {
        self.spec().policy().on_change == Some(OnChange::Hold)
    }

    /// Whether one worker tries the spec before the serving workers get it.
    fn is_trial(&self, world: &World<'_>, outdated: &[Process<'_>]) -> bool {
        let app = self.spec();
        let rollout = app.rollout();
        let may = app.exec_mode() != ExecMode::Fork
            && rollout.canary
            && rollout.on_failure == OnFailure::Rollback
            && !self.holds_changes()
            && outdated.iter().any(|process| process.is_running())
            && self.daemon.is_unproven(app);
        may && changes_of(world, app, outdated).how(app) == ChangeMethod::Reload
    }
}
