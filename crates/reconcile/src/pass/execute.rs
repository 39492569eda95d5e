//! Executes a settled plan: artifacts, steps, PM2's dump, and the work that remains afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_model::{
    AppState, ApplyReport, Attempt, Condition, DaemonId, History, Observed, Outcome, Plan, Planned,
    Records, Status, Step,
};
use edn_render::artifact::ArtifactStore;
use pm2_client::{AdapterError, DumpError, Progress, StepError, transition_timeout};

use super::request::Removal;
use super::snapshot::{Snapshot, starts_something};
use super::{Pass, PassError, PassEvent};
use crate::artifacts::{self, ArtifactReport};
use crate::config::Config;
use crate::failures::Failures;
use crate::guard::GuardMemory;
use crate::lock::Lock;
use crate::pm2::{Recorder, Writer, now_ms};
use crate::rollout::EntryMaker;
use crate::state::StateWarning;

/// How often to check whether PM2 has stopped the processes it is stopping.
const STOPPING_POLL: Duration = Duration::from_millis(50);

/// How many times a pass may plan and take steps.
const ROUNDS: u32 = 3;

/// The completed steps, and the remaining ones.
pub(super) struct Execution {
    pub(super) applied: ApplyReport<StepError>,
    /// The plan of the remaining work.
    pub(super) after: Planned,
    pub(super) artifacts: ArtifactReport,
    pub(super) pm2_started: bool,
    pub(super) save_error: Option<DumpError>,
    pub(super) failures: Failures,
    pub(super) guard: GuardMemory,
    pub(super) warnings: Vec<StateWarning>,
}

/// Executes the plan that was made from `snapshot`.
pub(super) fn execute(
    pass: &mut Pass<'_>,
    store: &ArtifactStore,
    writer: &mut Writer<'_, '_>,
    snapshot: &Snapshot,
    planned: &Planned,
) -> Result<Execution, PassError> {
    let plan = &planned.plan;
    let artifacts = write_artifacts(store, snapshot, plan);
    let pm2_started = starts_something(plan) && writer.ensure_running()?;
    if pm2_started {
        (pass.observer)(PassEvent::Pm2Started);
    }
    (pass.observer)(PassEvent::Planned(plan, &snapshot.definitions));
    let mut execution = Execution {
        applied: ApplyReport { steps: Vec::new() },
        after: planned.clone(),
        artifacts,
        pm2_started,
        save_error: None,
        failures: snapshot.failures.clone(),
        guard: snapshot.guard.clone(),
        warnings: Vec::new(),
    };
    let first = untried(pass, planned, &BTreeSet::new());
    execution.run(pass, writer, snapshot, first)?;
    for _ in 1..ROUNDS {
        match execution.next_round(pass, writer, snapshot)? {
            Some(next) => execution.run(pass, writer, snapshot, next)?,
            None => break,
        }
    }
    execution.remove_artifacts(store, snapshot, writer.lock());
    execution.failures.update(
        &execution.applied,
        &execution.artifacts.failures,
        &execution.after,
        &|id| snapshot.includes(id),
        snapshot.taken_at,
    );
    execution.guard.update(
        &snapshot.definitions,
        &execution.applied,
        planned.plan.confirmed.is_some(),
        &execution.after,
        snapshot.taken_at,
    );
    Ok(execution)
}

impl Execution {
    /// Takes the steps of the plan, saves PM2's dump, and plans again.
    fn run(
        &mut self,
        pass: &mut Pass<'_>,
        writer: &mut Writer<'_, '_>,
        snapshot: &Snapshot,
        planned: Planned,
    ) -> Result<(), PassError> {
        let plan = &planned.plan;
        if !writer.pm2().is_connected() {
            return Ok(());
        }
        let mut attempts = Attempts::new(
            pass.config,
            pass.request.command,
            writer,
            snapshot,
            &planned.attempts,
        );
        let changed: BTreeSet<&DaemonId> = plan.steps.iter().map(|step| &step.daemon).collect();
        attempts.begin_all(&mut writer.recorder(), |id| !changed.contains(id));
        if plan.steps.is_empty() {
            self.warnings.append(&mut attempts.warnings);
            self.after = match planned.attempts.is_empty() {
                true => planned,
                // Apps that already run must be recorded as ready.
                false => plan_again(pass, writer, snapshot, snapshot.observed.clone())?,
            };
            if writer.is_unsaved() && pass.request.save {
                // The writer that made the last changes was killed before it saved them.
                let (_, dump) = writer.observe_with_dump()?;
                self.save_error = writer.save(&snapshot.definitions, dump).err();
            }
            return Ok(());
        }
        // Steps that stop this process run last, once everything else is done and saved.
        let own = pass.config.own_pm_id();
        let (last, first): (Vec<Step>, Vec<Step>) =
            plan.steps.iter().cloned().partition(|step| step.ends(own));
        let jobs = pass.request.jobs;
        let mut apply = |steps: Vec<Step>, writer: &mut Writer<'_, '_>| {
            let part = Plan {
                steps,
                ..Plan::default()
            };
            let observer = &mut pass.observer;
            writer.apply(&part, jobs, &mut |progress, recorder| {
                match &progress {
                    Progress::Started(step) => attempts.begin(&step.daemon, recorder),
                    Progress::Ended(step) => attempts.end(&step.step.daemon),
                    _ => {}
                }
                observer(PassEvent::Step(progress));
            })
        };
        let was_unsaved = writer.is_unsaved();
        writer.begin_work(pass.request.save);
        let applied = apply(first, writer);
        let ended = |error| ended(pass.config, error);
        let (mut observed, dump) = writer.observe_with_dump().map_err(ended)?;
        if pass.request.save {
            if applied.changed_anything() || was_unsaved {
                self.save_error = writer.save(&snapshot.definitions, dump).err();
            } else {
                writer.note_saved();
            }
        }
        self.applied.steps.extend(applied.steps);
        if !last.is_empty() {
            self.applied.steps.extend(apply(last, writer).steps);
            observed = writer.pm2().observe().map_err(ended)?;
        }
        writer.end_work();
        self.warnings.append(&mut attempts.warnings);
        self.note_applied(writer, &planned.attempts, &attempts.ended);
        self.after = plan_again(pass, writer, snapshot, observed)?;
        if self.note_unapplied(writer, &planned.attempts) {
            let observed = writer.pm2().observe().map_err(ended)?;
            self.after = plan_again(pass, writer, snapshot, observed)?;
        }
        Ok(())
    }

    /// Records in the histories which steps failed, so that nothing waits for them. Returns whether anything was recorded.
    fn note_unapplied(&mut self, writer: &mut Writer<'_, '_>, attempts: &[Attempt]) -> bool {
        let steps = self.applied.steps.iter();
        let failed = steps.filter(|step| matches!(step.outcome, Outcome::Failed(_)));
        let mut unapplied: BTreeMap<&DaemonId, BTreeSet<&str>> = BTreeMap::new();
        for step in failed.map(|step| &step.step) {
            // If the steps were taken anyway, the state of the apps decides.
            let mut apps = self.after.apps.of(&step.daemon);
            let is_left =
                apps.any(|app| app.app == step.app && app.condition == Condition::Pending);
            if is_left {
                let apps = unapplied.entry(&step.daemon).or_default();
                apps.insert(&step.app);
            }
        }
        if unapplied.is_empty() {
            return false;
        }
        let (records, _) = writer.pm2().records().read();
        let mut is_changed = false;
        for attempt in attempts {
            let Some(apps) = unapplied.get(&attempt.daemon) else {
                continue;
            };
            let mut history = History::clone(records.history(&attempt.daemon));
            if history.unapplied(apps, now_ms()) {
                let written = writer.record(&attempt.daemon, &Arc::new(history));
                self.warnings.extend(written.err());
                is_changed = true;
            }
        }
        is_changed
    }

    /// Records in the histories that the steps were taken: the time to stop old processes does not count towards readiness.
    fn note_applied(
        &mut self,
        writer: &mut Writer<'_, '_>,
        attempts: &[Attempt],
        ended: &BTreeMap<DaemonId, u64>,
    ) {
        let (records, _) = writer.pm2().records().read();
        for attempt in attempts {
            let Some(ended_ms) = ended.get(&attempt.daemon) else {
                continue;
            };
            let window = |name: &str| {
                let mut gated = attempt.gated.iter();
                gated.find(|app| app.name() == name).map(|app| app.window())
            };
            let mut history = History::clone(records.history(&attempt.daemon));
            if history.applied(*ended_ms, window) {
                let written = writer.record(&attempt.daemon, &Arc::new(history));
                self.warnings.extend(written.err());
            }
        }
    }

    /// The work that remains for this pass: processes that PM2 was stopping had no step yet, and another program may have made
    /// changes meanwhile. Failed steps are not retried.
    fn next_round(
        &mut self,
        pass: &mut Pass<'_>,
        writer: &mut Writer<'_, '_>,
        snapshot: &Snapshot,
    ) -> Result<Option<Planned>, PassError> {
        if !pass.request.settle || pass.stop.is_set() {
            return Ok(None);
        }
        if self.after.has_stopping() {
            (pass.observer)(PassEvent::Settling(&self.after));
            self.wait_until_stopped(pass, writer, snapshot)?;
        }
        let failed = self.applied.failed_daemons().collect();
        let next = untried(pass, &self.after, &failed);
        Ok((!next.plan.steps.is_empty()).then_some(next))
    }

    /// Waits until PM2 has stopped the processes it is stopping, within their kill timeouts, and plans again.
    fn wait_until_stopped(
        &mut self,
        pass: &mut Pass<'_>,
        writer: &mut Writer<'_, '_>,
        snapshot: &Snapshot,
    ) -> Result<(), PassError> {
        let deadline = Instant::now() + longest_stop(&self.after);
        while self.after.has_stopping() && Instant::now() < deadline && !pass.stop.is_set() {
            std::thread::sleep(STOPPING_POLL);
            let observed = writer.pm2().observe()?;
            self.after = plan_again(pass, writer, snapshot, observed)?;
        }
        Ok(())
    }

    /// Removes artifacts of daemons that have neither a definition nor processes.
    fn remove_artifacts(&mut self, store: &ArtifactStore, snapshot: &Snapshot, lock: &Lock) {
        let definitions = &snapshot.definitions;
        let includes = |id: &DaemonId| snapshot.includes(id);
        let orphaned = artifacts::orphaned(store, definitions, &includes, Some(lock));
        let mut gone = match orphaned {
            Ok(orphaned) => orphaned,
            Err(error) => {
                self.artifacts.failures.directory = Some(error.into());
                return;
            }
        };
        // While a removal is held, delete no artifact.
        if !snapshot.removes() || self.after.plan.held.is_some() || definitions.daemons.is_empty() {
            return;
        }
        let left: BTreeSet<&DaemonId> = self.after.apps.iter().map(|app| &app.daemon).collect();
        gone.retain(|id| !left.contains(id));
        if snapshot.defers_removals() {
            self.artifacts.leaving = gone;
        } else {
            artifacts::remove(store, gone, &mut self.artifacts);
        }
    }
}

/// The attempts of a plan. Each is recorded as pending in the history of its daemon before the first step of that daemon.
struct Attempts<'a> {
    maker: EntryMaker<'a>,
    /// What was recorded when the snapshot was taken. A retry is not written yet.
    before: Records,
    /// What is recorded now.
    now: Records,
    due: BTreeMap<&'a DaemonId, &'a Attempt>,
    /// When the last step of each daemon ended, in milliseconds since the Unix epoch.
    ended: BTreeMap<DaemonId, u64>,
    warnings: Vec<StateWarning>,
}

impl<'a> Attempts<'a> {
    fn new(
        config: &'a Config,
        command: &'a str,
        writer: &mut Writer<'_, '_>,
        snapshot: &'a Snapshot,
        attempts: &'a [Attempt],
    ) -> Self {
        let now = match attempts {
            [] => Records::default(),
            _ => writer.pm2().records().read().0,
        };
        Self {
            maker: EntryMaker::new(config, command, &snapshot.definitions),
            before: snapshot.records.clone(),
            now,
            due: attempts.iter().map(|it| (&it.daemon, it)).collect(),
            ended: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Records the attempts of these daemons.
    fn begin_all(&mut self, recorder: &mut Recorder<'_>, includes: impl Fn(&DaemonId) -> bool) {
        let daemons: Vec<&DaemonId> = self.due.keys().copied().collect();
        for daemon in daemons.into_iter().filter(|id| includes(id)) {
            self.begin(daemon, recorder);
        }
    }

    /// Records the attempt of this daemon, once.
    fn begin(&mut self, daemon: &DaemonId, recorder: &mut Recorder<'_>) {
        let Some(attempt) = self.due.remove(daemon) else {
            return;
        };
        let before = self.before.history(daemon);
        let now = self.now.history(daemon);
        let is_same = now.last().map(|it| it.number) == before.last().map(|it| it.number);
        let mut history = History::clone(if is_same { before } else { now });
        if let Some(entry) = self.maker.entry(&history, attempt, now_ms()) {
            history.begin(entry);
            let written = recorder.record(daemon, &Arc::new(history));
            self.warnings.extend(written.err());
        }
    }

    /// A step of this daemon has ended, or was skipped before the attempt began.
    fn end(&mut self, daemon: &DaemonId) {
        if !self.due.contains_key(daemon) {
            self.ended.insert(daemon.clone(), now_ms());
        }
    }
}

/// The plan without the steps of daemons that have a failed step.
fn untried(pass: &Pass<'_>, planned: &Planned, failed: &BTreeSet<&DaemonId>) -> Planned {
    let has_failed = |id: &DaemonId| failed.contains(id) || pass.failed.contains(id);
    let mut planned = planned.clone();
    planned.plan.steps.retain(|step| !has_failed(&step.daemon));
    let attempts = &mut planned.attempts;
    attempts.retain(|attempt| !has_failed(&attempt.daemon));
    planned
}

/// Writes the artifacts that are missing or out of date.
fn write_artifacts(store: &ArtifactStore, snapshot: &Snapshot, plan: &Plan) -> ArtifactReport {
    // Keep the artifact of a held daemon: only it remembers a `protect` that was added after its processes started.
    let is_held = |id: &DaemonId| plan.held.iter().any(|held| held.daemons.contains(id));
    let mut report = artifacts::write(store, &snapshot.definitions, &|id| {
        snapshot.includes(id) && !is_held(id)
    });
    // Artifacts of broken definitions are read, not written.
    let unreadable = snapshot.artifact_failures.daemons.clone();
    report.failures.daemons.extend(unreadable);
    report
}

/// The error for a request that failed although PM2 answered earlier in the pass: PM2 has ended.
fn ended(config: &Config, error: AdapterError) -> PassError {
    match error {
        AdapterError::NotRunning { .. } | AdapterError::Closed { .. } => PassError::Pm2Ended {
            log: config.pm2_home.join("pm2.log"),
            source: error,
        },
        other => other.into(),
    }
}

/// Plans from the same definitions and what PM2 runs now.
fn plan_again(
    pass: &Pass<'_>,
    writer: &mut Writer<'_, '_>,
    snapshot: &Snapshot,
    observed: Observed,
) -> Result<Planned, PassError> {
    let definitions = Arc::clone(&snapshot.definitions);
    let pm2 = writer.pm2();
    // Keep the same daemons: an ID may no longer match anything.
    let mut request = pass.request.clone();
    request.ids.clear();
    request.only = snapshot.chosen().cloned();
    if snapshot.defers_removals() {
        request.removal = Removal::Defer;
    }
    let next = Snapshot::of(pass.config, pm2, definitions, observed, &request)?;
    Ok(next.plan())
}

/// The longest time that any process being stopped may take.
fn longest_stop(planned: &Planned) -> Duration {
    let is_stopping = |app: &&AppState| app.condition == Condition::Stopping;
    planned
        .apps
        .iter()
        .filter(is_stopping)
        .flat_map(|app| &app.processes)
        .filter(|process| process.status == Status::Stopping)
        .map(|process| transition_timeout(process))
        .max()
        .unwrap_or_default()
}
