//! Judges the pending entries of histories by the state of their apps, and runs the probes for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use daemon_model::{
    AppSpec, AppState, Condition, DaemonId, EntryOutcome, Gate, GateInput, History, NotReady,
    ObservedProcess, Planned, PmId, ProbeKind, Records,
};

use super::Undecided;
use super::probes::Probes;
use crate::failures::Unready;

/// The probes that decide whether an app is ready.
const GATING: [ProbeKind; 2] = [ProbeKind::Startup, ProbeKind::Readiness];

/// An app that has to become ready, and why it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingApp {
    /// Its daemon.
    pub daemon: DaemonId,
    /// Its name.
    pub app: String,
    /// What is missing.
    pub lacks: NotReady,
}

/// The result of a judgement.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// The histories it changed, by daemon.
    pub(crate) changed: BTreeMap<DaemonId, Arc<History>>,
    /// Daemons that need another pass at once: an entry failed, or a canary is ready.
    pub(crate) urgent: BTreeSet<DaemonId>,
    /// Apps that may still become ready by themselves.
    pub(crate) waiting: Vec<WaitingApp>,
}

/// What is known about apps that have to become ready, beyond what PM2 lists.
pub(crate) struct Gates {
    pub(crate) probes: Probes,
    /// The judgement state of each app that has to become ready.
    judged: BTreeMap<(DaemonId, String), Judged>,
    undecided: Undecided,
    /// Whether to probe all other running apps as well.
    is_watching: bool,
}

/// The judgement state of an app that has to become ready.
#[derive(Debug, Clone)]
struct Judged {
    /// When its gate began, in milliseconds since the Unix epoch.
    began_ms: u64,
    /// When judging started, in milliseconds since the Unix epoch.
    since_ms: u64,
    /// How often PM2 had restarted each of its processes by then.
    restarts: BTreeMap<PmId, u32>,
}

impl Gates {
    /// Calls `wake` from another thread when a probe has a new result.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            probes: Probes::new(wake),
            judged: BTreeMap::new(),
            undecided: Undecided::default(),
            is_watching: false,
        }
    }

    /// Also runs the readiness and liveness probes of all other running apps.
    pub(crate) fn watching(mut self) -> Self {
        self.is_watching = true;
        self
    }

    /// Probes the apps of a plan that have to become ready, and judges their history entries. Changes only its own state: the
    /// caller records the results.
    pub(crate) fn judge(&mut self, planned: &Planned, records: &Records, now_ms: u64) -> Judgement {
        let undecided = self.undecided.update(records);
        self.note_judged(&undecided, planned, records, now_ms);
        self.run_probes(planned, records, now_ms);
        let restarts = self.judged.values();
        let restarts_before = restarts.flat_map(|it| it.restarts.clone()).collect();
        let since_ms = |app: &AppSpec| {
            let key = (app.daemon().clone(), app.name().to_owned());
            self.judged.get(&key).map_or(now_ms, |it| it.since_ms)
        };
        let input = GateInput {
            probes: &|pm_id, kind| self.probes.outcome(pm_id, kind),
            restarts_before: &restarts_before,
            judged_since_ms: &since_ms,
            now_ms,
        };
        let mut judgement = Judgement::default();
        for daemon in &undecided {
            if planned.apps.of(daemon).next().is_none() {
                // Nothing is known about it.
                continue;
            }
            judge_daemon(daemon, planned, records, &input, &mut judgement);
        }
        judgement
    }

    /// The running apps that were ready and no longer are, and why. None if only apps that have to become ready are probed.
    pub(crate) fn unready(&self, planned: &Planned) -> Option<Unready> {
        let why = |app: &AppState| {
            let mut processes = app.processes.iter();
            let why = processes.find_map(|process| self.probes.unready(process.pm_id))?;
            let key = (app.daemon.clone(), app.app.clone());
            Some((key, format!("{}: {why}", ProbeKind::Readiness)))
        };
        let is_steady = |app: &&AppState| {
            matches!(
                app.condition,
                Condition::InSync | Condition::RolledBack | Condition::Pinned
            )
        };
        let apps = planned.apps.iter().filter(is_steady);
        self.is_watching.then(|| apps.filter_map(why).collect())
    }

    fn run_probes(&mut self, planned: &Planned, records: &Records, now_ms: u64) {
        let kinds = |app| match open_gate(app, records) {
            Some(_) => &GATING[..],
            None if self.is_watching => &ProbeKind::ALL,
            None => &[],
        };
        let apps = planned.apps.iter();
        let wanted: Vec<_> = apps.flat_map(|app| probed(app, kinds(app))).collect();
        self.probes.run(wanted, now_ms);
    }

    /// Notes when judging of each app started, and how often its processes had been restarted by then.
    fn note_judged(
        &mut self,
        undecided: &BTreeSet<DaemonId>,
        planned: &Planned,
        records: &Records,
        now_ms: u64,
    ) {
        let mut judged = BTreeMap::new();
        let gate = |app| Some((app, open_gate(app, records)?));
        let apps = undecided.iter().flat_map(|id| planned.apps.of(id));
        for (app, gate) in apps.filter_map(gate) {
            let key = (app.daemon.clone(), app.app.clone());
            let known = self.judged.remove(&key);
            let known = known.filter(|known| known.began_ms == gate.began_ms);
            let now = || {
                let processes = app.processes.iter();
                let restarts = processes.map(|process| (process.pm_id, process.restarts));
                Judged {
                    began_ms: gate.began_ms,
                    since_ms: now_ms,
                    restarts: restarts.collect(),
                }
            };
            judged.insert(key, known.unwrap_or_else(now));
        }
        self.judged = judged;
    }
}

/// The processes of an app that were started from the spec in force, each with the probes to run.
fn probed<'a>(
    app: &'a AppState,
    kinds: &'a [ProbeKind],
) -> impl Iterator<Item = (&'a AppSpec, &'a ObservedProcess, &'a [ProbeKind])> {
    let processes = app.processes.iter();
    let all = processes.filter_map(move |it| Some((app.spec.as_ref()?, it.as_ref(), kinds)));
    all.filter(|(spec, process, _)| process.is_from(spec))
}

/// The gate of an app that has to become ready.
fn open_gate<'r>(app: &AppState, records: &'r Records) -> Option<&'r Gate> {
    let pending = records.histories.get(&app.daemon)?.pending()?;
    pending.gate(&app.app).filter(|gate| !gate.ready)
}

/// Judges the newest entry of a daemon, if it is pending or failed.
fn judge_daemon(
    daemon: &DaemonId,
    planned: &Planned,
    records: &Records,
    input: &GateInput<'_>,
    judgement: &mut Judgement,
) {
    let Some(before) = records.histories.get(daemon) else {
        return;
    };
    let Some(last) = before.last() else {
        return;
    };
    if !last.outcome.is_pending() && !last.outcome.is_failed() {
        return;
    }
    let mut history = History::clone(before);
    if last.outcome.is_failed() {
        if history.recover(daemon, planned, input) {
            judgement.changed.insert(daemon.clone(), Arc::new(history));
        }
        return;
    }
    let report = history.judge(daemon, planned, input);
    let waiting = report.waiting.into_iter();
    let waiting = waiting.filter(|(_, lacks)| *lacks != NotReady::NotApplied);
    judgement
        .waiting
        .extend(waiting.map(|(app, lacks)| WaitingApp {
            daemon: daemon.clone(),
            app,
            lacks,
        }));
    let is_failed = matches!(report.outcome, Some(EntryOutcome::Failed { .. }));
    let number = last.number;
    let is_decided = report
        .outcome
        .is_some_and(|outcome| history.decide(number, outcome));
    if report.is_changed || is_decided {
        let mut apps = planned.apps.of(daemon);
        if is_failed || (report.is_changed && apps.any(AppState::is_canary)) {
            judgement.urgent.insert(daemon.clone());
        }
        judgement.changed.insert(daemon.clone(), Arc::new(history));
    }
}
