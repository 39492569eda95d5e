//! When the engine acts next. The schedule receives the time as an argument, so tests can cover every path.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use daemon_model::{Condition, DaemonId, Reason, StepReport};
use pm2_client::StepError;

use super::PassReason;
use crate::pass::{Request, SyncReport};

/// How long a definition must have been absent before its processes are removed: an editor may be replacing it.
pub(crate) const REMOVAL_GRACE: Duration = Duration::from_secs(1);
/// How long to leave PM2 alone when several processes vanish at once: it may be shutting down.
pub(crate) const SHUTDOWN_CHECK: Duration = Duration::from_millis(500);
/// The shortest and the longest delay before a retry.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// The shortest time between two polls of PM2, and the largest share of PM2's time they may take: one part in this many.
const POLL: (Duration, u32) = (Duration::from_secs(1), 100);
/// The shortest time between two polls while PM2's events arrive and no work is left, and the share of PM2's time that such polls
/// should take. The time bounds how late the watcher notices changes without an event, such as the deletion of a stopped process.
const IDLE_POLL: (Duration, u32) = (Duration::from_secs(10), 1000);
/// The longest delay that is accepted for that share.
const LONGEST_IDLE_POLL: Duration = Duration::from_secs(60);
/// The delay from an event of PM2 to the poll it triggers, because PM2 may not have finished, and the largest share of PM2's time
/// that such polls may take: events are frequent in a crash loop.
const HINT: (Duration, u32) = (Duration::from_millis(20), 20);
/// As [`POLL`], while an app has to become ready.
const GATE_POLL: (Duration, u32) = (Duration::from_millis(200), 10);
/// The shortest and the longest pause between two changes of a daemon that keeps changing.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long to collect further edits after a change that was applied as soon as its file was written: an editor may format and save
/// again, and a tool may write several times. All of them are then applied together, with a single further restart.
const MORE: Duration = Duration::from_millis(300);
/// The first pause that is reported.
const REPORTED_PAUSE: Duration = Duration::from_secs(4);

/// The retry state of a daemon that failed.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    delay: Duration,
    /// How often it has failed.
    attempt: u32,
}

impl Retry {
    /// The next attempt after a failure, given the previous attempt if there was one.
    fn after(previous: Option<&Self>, now: Instant) -> Self {
        let delay = previous.map_or(RETRY.0, |previous| (previous.delay * 2).min(RETRY.1));
        Self {
            at: now + delay,
            delay,
            attempt: previous.map_or(1, |previous| previous.attempt.saturating_add(1)),
        }
    }
}

/// Limits how often a daemon may change.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The daemon does not change before this time.
    until: Instant,
    pause: Duration,
    /// Whether an edit is waiting.
    has_edit: bool,
    /// Whether this is the first change after a quiet period.
    is_first: bool,
    /// Until when further edits count as part of the same change.
    more_until: Option<Instant>,
}

/// Whether PM2 may be shutting down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// PM2 runs, or is known not to.
    #[default]
    Normal,
    /// Several processes vanished at once: PM2 may be shutting down. Change nothing until this is clear.
    SuspectShutdown { until: Instant },
}

/// The times at which work is due.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Daemons with a step that failed.
    failed: BTreeMap<DaemonId, Retry>,
    /// The retry after a pass that failed as a whole.
    pass: Option<Retry>,
    /// Daemons that lost their definition, and since when.
    leaving: BTreeMap<DaemonId, Instant>,
    /// Daemons that changed recently.
    paces: BTreeMap<DaemonId, Pace>,
    /// When to poll PM2.
    poll: Option<Instant>,
    /// How long the last polls took, latest first.
    polls: [Duration; 3],
    /// When PM2 was last asked for its list.
    polled: Option<Instant>,
    /// When to poll PM2 to judge pending entries.
    check: Option<Instant>,
    phase: Phase,
}

impl Schedule {
    /// When the next work is due.
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

    /// Whether to poll PM2 now.
    pub(crate) fn take_poll(&mut self, now: Instant) -> bool {
        let is_clear = matches!(self.phase, Phase::SuspectShutdown { until } if until <= now);
        if is_clear {
            self.phase = Phase::Normal;
        }
        let is_due = self.poll.take_if(|at| *at <= now).is_some();
        is_clear || is_due
    }

    /// Schedules a judgement of pending entries at this time, or earlier.
    pub(crate) fn check_at(&mut self, at: Instant) {
        if self.pass.is_some() {
            // Passes are failing: until one succeeds, nothing can act on a judgement.
            return;
        }
        self.check = Some(self.check.map_or(at, |known| known.min(at)));
    }

    /// Whether to judge pending entries now.
    pub(crate) fn take_check(&mut self, now: Instant) -> bool {
        !self.suspects_shutdown() && self.check.take_if(|at| *at <= now).is_some()
    }

    /// Notes how long a poll of PM2 took.
    pub(crate) fn polled(&mut self, took: Duration, now: Instant) {
        self.polls.rotate_right(1);
        self.polls[0] = took;
        self.polled = Some(now);
        self.poll = Some(now + POLL.0.max(self.cost() * POLL.1));
    }

    /// Something has changed, or PM2 has ended: poll as soon as the limits allow it.
    pub(crate) fn poll_again(&mut self, now: Instant) {
        self.polled = Some(now);
        self.poll = Some(now + POLL.0);
    }

    /// The cost of a poll to PM2: the shortest of the last ones, because a busy machine makes some of them slow.
    fn cost(&self) -> Duration {
        self.polls.into_iter().min().unwrap_or_default()
    }

    /// Everything is in sync and PM2's events would trigger a poll, so the next timed poll may wait.
    pub(crate) fn idle(&mut self, now: Instant) {
        let rare = (self.cost() * IDLE_POLL.1).clamp(IDLE_POLL.0, LONGEST_IDLE_POLL);
        self.poll = Some(now + rare.max(self.cost() * POLL.1));
    }

    /// When to poll PM2 again while an app has to become ready.
    pub(crate) fn gate_poll(&self, now: Instant) -> Instant {
        now + GATE_POLL.0.max(self.cost() * GATE_POLL.1)
    }

    /// PM2 reports a change: poll it soon, but let it finish its work first.
    pub(crate) fn poll_soon(&mut self, now: Instant) {
        let earliest = self.polled.map(|at| at + self.cost() * HINT.1);
        let soon = earliest.unwrap_or(now).max(now + HINT.0);
        self.poll = self.poll.map(|at| at.min(soon));
    }

    /// Several processes vanished at once, or PM2 itself did.
    pub(crate) fn suspect_shutdown(&mut self, now: Instant) {
        let until = now + SHUTDOWN_CHECK;
        self.phase = Phase::SuspectShutdown { until };
    }

    /// Whether PM2 may be shutting down.
    pub(crate) fn suspects_shutdown(&self) -> bool {
        self.phase != Phase::Normal
    }

    /// When to remove processes without a definition: all at once, so that the guard against mass removal sees all of them, and
    /// only after the last definition has been absent for long enough.
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

    /// A removal that was due has run: definitions that are absent now get the full grace period.
    pub(crate) fn removed(&mut self) {
        self.leaving.clear();
    }

    /// Notes the daemons that a pass found without a definition. `only` holds the daemons that it covered; none: all.
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

    /// The daemons with unfinished work.
    pub(crate) fn pending_daemons(&self) -> BTreeSet<DaemonId> {
        self.failed
            .keys()
            .chain(self.leaving.keys())
            .cloned()
            .collect()
    }

    /// A pass succeeded as a whole. `failed` daemons failed in it, and `except` were excluded. Leaving daemons are recorded
    /// already.
    pub(crate) fn passed(
        &mut self,
        failed: &BTreeSet<DaemonId>,
        except: &BTreeSet<DaemonId>,
        now: Instant,
    ) {
        self.pass = None;
        // A delayed edit that turned out to change nothing is no longer delayed.
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

    /// A pass took steps for these daemons. The next change of each is delayed: briefly at first, then twice as long for each
    /// change that follows soon. Returns the daemons whose pause is now to be reported.
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

    /// A pass with this request has ended. For the `continued` daemons it resumed an earlier change. Returns the daemons that are
    /// now known to flap, with their pause.
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
        // A daemon without processes, or one that moved, leaves only an artifact behind.
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

    /// How often a daemon has failed, and how long until its retry.
    pub(crate) fn retry(&self, daemon: &DaemonId) -> Option<(u32, Duration)> {
        let retry = self.failed.get(daemon)?;
        Some((retry.attempt, retry.delay))
    }

    /// A pass failed as a whole. Returns how long until the next one.
    pub(crate) fn pass_failed(&mut self, now: Instant) -> Duration {
        let retry = Retry::after(self.pass.as_ref(), now);
        self.pass = Some(retry);
        // Until then no other work can succeed.
        self.poll = None;
        self.check = None;
        self.leaving.clear();
        retry.delay
    }

    /// Definitions were edited: a retry may succeed now.
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
                // Edits within this time count as one change, with the same pause as the first.
                pace.until = until;
                pace.pause /= 2;
            }
        }
    }

    /// The edits of these daemons were applied as soon as their files were written, not before `since`. If one was the first change
    /// of its daemon, edits that follow soon belong to it and only wait until no more are expected.
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

    /// Daemons that must wait, after a failure or because they keep changing.
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
