//! When the engine acts again: a value that is given the time, so that every path through it can be tested.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use daemon_model::{Condition, DaemonId, Reason, StepReport};
use pm2_client::StepError;

use super::PassReason;
use crate::pass::{Request, SyncReport};

/// How long a definition must have been absent before its processes are removed: an editor may be replacing it.
pub(crate) const REMOVAL_GRACE: Duration = Duration::from_secs(1);
/// How long PM2 is left alone when several processes vanished at once: it may be shutting down.
pub(crate) const SHUTDOWN_CHECK: Duration = Duration::from_millis(500);
/// The shortest and the longest time until something that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// The shortest time between two polls of PM2, and the share of PM2's time that they may take: one part in this many.
const POLL: (Duration, u32) = (Duration::from_secs(1), 100);
/// The time between two polls while PM2's events arrive and nothing is left to do. What PM2 does not report, such as the deletion of
/// a process that did not run, is noticed by then.
const IDLE_POLL: Duration = Duration::from_secs(10);
/// The same as [`POLL`] for a poll that PM2's own event asks for: in a crash loop there are many.
const HINT: (Duration, u32) = (Duration::from_millis(20), 20);
/// The same while an app has to become ready.
const GATE_POLL: (Duration, u32) = (Duration::from_millis(200), 10);
/// The shortest and the longest pause between two changes of a daemon that keeps changing.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long further edits are expected to belong to a change that was applied as soon as a file was written: an editor may format
/// and save a second time, and a tool may write several times. They are applied together, after that time: one more restart,
/// however many there are.
const MORE: Duration = Duration::from_millis(300);
/// The first pause that is reported.
const REPORTED_PAUSE: Duration = Duration::from_secs(4);

/// What is done about a daemon that failed.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    delay: Duration,
    /// How often it has failed.
    attempt: u32,
}

impl Retry {
    /// The first attempt after a failure, or one after another.
    fn after(previous: Option<&Self>, now: Instant) -> Self {
        let delay = previous.map_or(RETRY.0, |previous| (previous.delay * 2).min(RETRY.1));
        Self {
            at: now + delay,
            delay,
            attempt: previous.map_or(1, |previous| previous.attempt.saturating_add(1)),
        }
    }
}

/// How often a daemon may change.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// No change before this.
    until: Instant,
    pause: Duration,
    /// Whether an edit waits for it.
    has_edit: bool,
    /// Whether it is the first change after a time without any.
    is_first: bool,
    /// Until when further edits belong to the same change.
    more_until: Option<Instant>,
}

/// What is known about PM2's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// PM2 runs, or is known not to.
    #[default]
    Normal,
    /// Several processes vanished at once: PM2 may be shutting down. Nothing is changed until this is clear.
    SuspectShutdown { until: Instant },
}

/// What is due when.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Daemons with a step that failed.
    failed: BTreeMap<DaemonId, Retry>,
    /// After a pass that failed as a whole.
    pass: Option<Retry>,
    /// What lost its definition, and since when.
    leaving: BTreeMap<DaemonId, Instant>,
    /// Daemons that changed lately.
    paces: BTreeMap<DaemonId, Pace>,
    /// When PM2 is polled.
    poll: Option<Instant>,
    /// How long the last polls took, the latest first.
    polls: [Duration; 3],
    /// When PM2 is polled to judge what is pending.
    check: Option<Instant>,
    phase: Phase,
}

impl Schedule {
    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let failed = self.failed.values().map(|retry| retry.at);
        let edits = self.paces.values().filter(|pace| pace.has_edit);
        let others = [
            self.pass.map(|retry| retry.at),
            self.removal(),
            self.poll,
            match self.phase {
                Phase::Normal => self.check,
                Phase::SuspectShutdown { until } => Some(until),
            },
        ];
        failed
            .chain(edits.map(|pace| pace.until))
            .chain(others.into_iter().flatten())
            .min()
    }

    /// The reason for a pass that is due. It stays due until a pass has run.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<PassReason> {
        if self.suspects_shutdown() {
            return None;
        }
        let edited: BTreeSet<DaemonId> = self
            .paces
            .iter()
            .filter(|(_, pace)| pace.has_edit && pace.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        if !edited.is_empty() {
            return Some(PassReason::Edited(edited));
        }
        if self.removal_is_due(now) {
            return Some(PassReason::RemovalDue);
        }
        let mut retries = self.failed.values().chain(&self.pass);
        retries
            .any(|retry| retry.at <= now)
            .then_some(PassReason::Retry)
    }

    /// Whether PM2 is to be polled.
    pub(crate) fn take_poll(&mut self, now: Instant) -> bool {
        let is_clear = matches!(self.phase, Phase::SuspectShutdown { until } if until <= now);
        if is_clear {
            self.phase = Phase::Normal;
        }
        let is_due = self.poll.take_if(|at| *at <= now).is_some();
        is_clear || is_due
    }

    /// What is pending is judged then, or before.
    pub(crate) fn check_at(&mut self, at: Instant) {
        if self.pass.is_some() {
            // Passes fail: until the next one succeeds, nothing follows from a judgement.
            return;
        }
        self.check = Some(self.check.map_or(at, |known| known.min(at)));
    }

    /// Whether what is pending is to be judged.
    pub(crate) fn take_check(&mut self, now: Instant) -> bool {
        !self.suspects_shutdown() && self.check.take_if(|at| *at <= now).is_some()
    }

    /// A poll of PM2 took this long.
    pub(crate) fn polled(&mut self, took: Duration, now: Instant) {
        self.polls.rotate_right(1);
        self.polls[0] = took;
        self.poll = Some(now + POLL.0.max(self.cost() * POLL.1));
    }

    /// Something has changed, or PM2 has ended: it is polled as soon as that is allowed.
    pub(crate) fn poll_again(&mut self, now: Instant) {
        self.poll = Some(now + POLL.0);
    }

    /// What a poll costs PM2: the shortest of the last ones, because a busy machine makes some of them slow.
    fn cost(&self) -> Duration {
        self.polls.into_iter().min().unwrap_or_default()
    }

    /// Everything is as defined, and an event of PM2 would ask for a poll: without one, the next may wait.
    pub(crate) fn idle(&mut self, now: Instant) {
        self.poll = Some(now + IDLE_POLL.max(self.cost() * POLL.1));
    }

    /// When PM2 is polled again because an app has to become ready.
    pub(crate) fn gate_poll(&self, now: Instant) -> Instant {
        now + GATE_POLL.0.max(self.cost() * GATE_POLL.1)
    }

    /// PM2 reports a change: poll it sooner, but let it finish what it does.
    pub(crate) fn poll_soon(&mut self, now: Instant) {
        let soon = now + HINT.0.max(self.cost() * HINT.1);
        self.poll = self.poll.map(|at| at.min(soon));
    }

    /// Several processes vanished at once, or PM2 did.
    pub(crate) fn suspect_shutdown(&mut self, now: Instant) {
        let until = now + SHUTDOWN_CHECK;
        self.phase = Phase::SuspectShutdown { until };
    }

    /// Whether PM2 may be shutting down.
    pub(crate) fn suspects_shutdown(&self) -> bool {
        self.phase != Phase::Normal
    }

    /// When processes without a definition are removed: all at once, so that the guard against mass removal sees all of
    /// them, and not before the last definition has been absent for long enough.
    fn removal(&self) -> Option<Instant> {
        self.leaving
            .values()
            .max()
            .map(|since| *since + REMOVAL_GRACE)
    }

    /// Whether absent definitions have been absent for long enough.
    pub(crate) fn removal_is_due(&self, now: Instant) -> bool {
        self.removal().is_some_and(|at| at <= now)
    }

    /// A removal that was due was carried out: what is absent now gets the whole grace period.
    pub(crate) fn removed(&mut self) {
        self.leaving.clear();
    }

    /// A pass found that these have lost their definition, among the daemons that it was about; none: all.
    pub(crate) fn found_leaving(
        &mut self,
        leaving: &BTreeSet<DaemonId>,
        only: Option<&BTreeSet<DaemonId>>,
        now: Instant,
    ) {
        self.leaving
            .retain(|id, _| leaving.contains(id) || only.is_some_and(|only| !only.contains(id)));
        for id in leaving {
            self.leaving.entry(id.clone()).or_insert(now);
        }
    }

    /// The daemons with something left to do.
    pub(crate) fn pending_daemons(&self) -> BTreeSet<DaemonId> {
        self.failed
            .keys()
            .chain(self.leaving.keys())
            .cloned()
            .collect()
    }

    /// A pass succeeded as a whole; these daemons failed in it, those were left out of it. What is leaving is known already.
    pub(crate) fn passed(
        &mut self,
        failed: &BTreeSet<DaemonId>,
        except: &BTreeSet<DaemonId>,
        now: Instant,
    ) {
        self.pass = None;
        // A delayed edit that changed nothing is no longer delayed.
        for (id, pace) in &mut self.paces {
            pace.has_edit &= except.contains(id);
        }
        // A pending removal keeps its retry state.
        self.failed.retain(|id, _| {
            failed.contains(id) || except.contains(id) || self.leaving.contains_key(id)
        });
        for (id, retry) in &mut self.failed {
            if let Some(since) = self.leaving.get(id) {
                retry.at = retry.at.max(*since + REMOVAL_GRACE);
            }
        }
        for id in failed {
            let retry = Retry::after(self.failed.get(id), now);
            self.failed.insert(id.clone(), retry);
        }
    }

    /// A pass took steps for these daemons. The next change of each waits: at first for a moment, and twice as long each time
    /// that another one follows soon. Returns those of which this is now reported, with the pause.
    pub(crate) fn changed<'d>(
        &mut self,
        daemons: impl IntoIterator<Item = &'d DaemonId>,
        now: Instant,
    ) -> Vec<(DaemonId, Duration)> {
        self.paces
            .retain(|_, pace| pace.has_edit || now < pace.until + pace.pause);
        let mut reported = Vec::new();
        for id in daemons.into_iter().collect::<BTreeSet<_>>() {
            let pause = match self.paces.get(id) {
                Some(pace) => (pace.pause * 2).min(PAUSE.1),
                None => PAUSE.0,
            };
            if pause == REPORTED_PAUSE {
                reported.push((id.clone(), pause));
            }
            let pace = Pace {
                until: now + pause,
                pause,
                has_edit: false,
                is_first: !self.paces.contains_key(id),
                more_until: None,
            };
            self.paces.insert(id.clone(), pace);
        }
        reported
    }

    /// A pass with this request has ended. For the `continued` daemons it went on with what an earlier one had begun. Returns the daemons that are now known to keep changing, with their pause.
    pub(crate) fn ended(
        &mut self,
        report: &SyncReport,
        request: &Request,
        removes: bool,
        continued: &BTreeSet<DaemonId>,
        now: Instant,
    ) -> Vec<(DaemonId, Duration)> {
        if removes {
            self.removed();
        }
        // A daemon without processes, or one that moved, leaves no more than an artifact.
        let leaving = report
            .after
            .apps
            .iter()
            .filter(|app| app.condition == Condition::Leaving)
            .map(|app| &app.daemon)
            .chain(&report.artifacts.leaving)
            .cloned()
            .collect();
        self.found_leaving(&leaving, request.only.as_ref(), now);
        let failed = report.applied.failed_daemons().cloned().collect();
        self.passed(&failed, &request.except, now);
        let is_change = |step: &&StepReport<StepError>| {
            let mut reasons = step.step.reasons.iter();
            step.outcome.is_done()
                && !continued.contains(&step.step.daemon)
                && !reasons.any(|reason| matches!(reason, Reason::New | Reason::Unhealthy { .. }))
        };
        let changed = report.applied.steps.iter().filter(is_change);
        self.changed(changed.map(|step| &step.step.daemon), now)
    }

    /// How often a daemon has failed, and how long until it is tried again.
    pub(crate) fn retry(&self, daemon: &DaemonId) -> Option<(u32, Duration)> {
        let retry = self.failed.get(daemon)?;
        Some((retry.attempt, retry.delay))
    }

    /// A pass failed as a whole. Returns how long until the next.
    pub(crate) fn pass_failed(&mut self, now: Instant) -> Duration {
        let retry = Retry::after(self.pass.as_ref(), now);
        self.pass = Some(retry);
        // Until then nothing else is worth an attempt.
        self.poll = None;
        self.check = None;
        self.leaving.clear();
        retry.delay
    }

    /// Definitions were edited: what failed before may succeed now.
    pub(crate) fn edited(&mut self, ids: &BTreeSet<DaemonId>, now: Instant) {
        if ids.is_empty() {
            return;
        }
        self.failed.retain(|id, _| !ids.contains(id));
        self.pass = None;
        for id in ids {
            let Some(pace) = self.paces.get_mut(id).filter(|pace| pace.until > now) else {
                continue;
            };
            pace.has_edit = true;
            if let Some(until) = pace.more_until.take().filter(|until| now <= *until) {
                // What follows within this time is one change, and the pause after it is as long as after the first.
                pace.until = until;
                pace.pause /= 2;
            }
        }
    }

    /// The edits of these daemons were applied as soon as their files were written, not before `since`. If one was the first change
    /// of a daemon, the edits that follow soon belong to it, and wait only until no more of them are expected.
    pub(crate) fn expect_more(&mut self, ids: &BTreeSet<DaemonId>, since: Instant, now: Instant) {
        for id in ids {
            if let Some(pace) = self.paces.get_mut(id)
                && pace.is_first
                && pace.until >= since + pace.pause
            {
                pace.more_until = Some(now + MORE);
            }
        }
    }

    /// Daemons that have to wait: after a failure, or because they keep changing.
    pub(crate) fn waiting(&self, now: Instant) -> BTreeSet<DaemonId> {
        let failed = self.failed.iter().map(|(id, retry)| (id, retry.at));
        let paced = self.paces.iter().map(|(id, pace)| (id, pace.until));
        failed
            .chain(paced)
            .filter(|(_, at)| *at > now)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
