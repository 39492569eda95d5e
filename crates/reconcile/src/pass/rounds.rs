//! The rounds of a sync: a pass with the lock, then a wait without it until changed apps are ready or have failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use daemon_model::{ActionKind, ApplyReport, DaemonId, Outcome, Planned};
use edn_render::artifact::ArtifactStore;
use pm2_client::{AdapterError, StepError, StopFlag};

use super::{
    Observer, Pass, PassError, PassEvent, Preloading, Request, Snapshot, SyncReport, Wait,
    record_failures,
};
use crate::config::Config;
use crate::lock::Lock;
use crate::pm2::{Pm2, now_ms};
use crate::rollout::Gates;

/// How often PM2 is polled for the state of the apps, and the largest share of PM2's time that may take: one part in this many.
const POLL: (Duration, u32) = (Duration::from_millis(100), 10);

/// The longest single wait without events. It bounds the delay before a stop request is noticed.
const STEP: Duration = Duration::from_millis(100);

/// How many rounds a sync may spend on undoing outside changes while it waits.
const MOST_REPAIRS: u32 = 3;

/// State shared by the rounds of a sync.
pub(super) struct Rounds<'a> {
    config: &'a Config,
    lock_timeout: Duration,
    stop: &'a StopFlag,
    pm2: Pm2<'a>,
    gates: Gates,
    /// Daemons with a failed step, which are not retried.
    failed: BTreeSet<DaemonId>,
    /// Daemons with a step that failed once because PM2 was busy with the same process.
    raced: BTreeSet<DaemonId>,
    /// How many rounds undid outside changes so far.
    repairs: u32,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(
        config: &'a Config,
        lock_timeout: Duration,
        stop: &'a StopFlag,
        gates: Gates,
    ) -> Self {
        Self {
            config,
            lock_timeout,
            stop,
            pm2: Pm2::new(config, stop).with_prefetch(),
            gates,
            failed: BTreeSet::new(),
            raced: BTreeSet::new(),
            repairs: 0,
        }
    }

    /// One pass, with the lock.
    pub(super) fn run(
        &mut self,
        request: &Request,
        judges: bool,
        observer: &mut Observer<'_>,
    ) -> Result<SyncReport, PassError> {
        let lock = Lock::take(
            &self.config.pm2_home,
            request.command,
            self.lock_timeout,
            self.stop,
            &mut |holder| observer(PassEvent::Waiting(holder)),
        )?;
        let artifacts = ArtifactStore::new(&self.config.layout);
        let mut writer = self.pm2.write(lock);
        let pass = Pass {
            config: self.config,
            request,
            source: &mut Preloading(&artifacts),
            gates: &mut self.gates,
            judges,
            failed: &self.failed,
            stop: self.stop,
            observer: &mut |event| observer(event),
        };
        let mut report = pass.run(&artifacts, &mut writer)?;
        record_failures(self.config, &mut report, &writer);
        drop(writer);
        self.note_failures(&report.applied);
        Ok(report)
    }

    /// Notes the daemons that get no further steps. A step that failed because PM2 was starting the same process is retried once.
    fn note_failures(&mut self, applied: &ApplyReport<StepError>) {
        for step in &applied.steps {
            let Outcome::Failed(error) = &step.outcome else {
                continue;
            };
            let is_race = matches!(
                error,
                StepError::TargetChanged { .. } | StepError::Adapter(AdapterError::Refused { .. })
            );
            let daemon = &step.step.daemon;
            if !is_race || !self.raced.insert(daemon.clone()) {
                self.failed.insert(daemon.clone());
            }
        }
    }

    /// Waits until another round has work to do: an app is ready or has failed. Returns false when there is nothing left to wait
    /// for, the time is up, or the sync is stopped.
    pub(super) fn wait(
        &mut self,
        request: &Request,
        began: Instant,
        woken: &Receiver<()>,
        report: &mut SyncReport,
        observer: &mut Observer<'_>,
    ) -> Result<bool, PassError> {
        let deadline = match request.wait {
            Wait::No => return Ok(false),
            Wait::UntilReady => None,
            Wait::AtMost(time) => began.checked_add(time),
        };
        loop {
            let judgement = self.gates.judge(&report.after, &report.records, now_ms());
            if !judgement.changed.is_empty() {
                return Ok(true);
            }
            report.waiting = judgement.waiting;
            if self.has_been_disturbed(&report.after) {
                self.repairs += 1;
                return Ok(true);
            }
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if report.waiting.is_empty() || is_late || self.stop.is_set() {
                return Ok(false);
            }
            observer(PassEvent::NotReady(&report.waiting));
            // A probe result ends the wait.
            let _ = woken.recv_timeout(STEP);
            while woken.try_recv().is_ok() {}
            let asked = Instant::now();
            report.after = self.poll(request, report)?;
            std::thread::sleep((asked.elapsed() * POLL.1).saturating_sub(POLL.0));
        }
    }

    /// Whether another round has steps to take because PM2 was changed while the sync waited. Limited to [`MOST_REPAIRS`] rounds.
    fn has_been_disturbed(&self, after: &Planned) -> bool {
        let mut steps = after.plan.steps.iter();
        self.repairs < MOST_REPAIRS
            && steps.any(|step| {
                step.action.kind() != ActionKind::Blocked && !self.failed.contains(&step.daemon)
            })
    }

    /// The current state of everything, with the definitions of the last round.
    fn poll(&mut self, request: &Request, report: &mut SyncReport) -> Result<Planned, PassError> {
        self.pm2.connect()?;
        let observed = self.pm2.observe()?;
        let definitions = Arc::clone(&report.definitions);
        let snapshot = Snapshot::of(self.config, &mut self.pm2, definitions, observed, request)?;
        let planned = snapshot.plan();
        report.records = snapshot.records;
        Ok(planned)
    }
}
