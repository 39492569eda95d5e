//! When the engine of `watch` looks again: a value that is told the time, so that every path through it can be tested.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use daemon_model::DaemonId;

/// How long what lost its definition stays, in case the file is only away for a moment.
pub(crate) const REMOVAL_GRACE: Duration = Duration::from_secs(1);
/// How long PM2 is left alone when several processes went at once: it may be about to end.
pub(crate) const CALM: Duration = Duration::from_millis(500);
/// The shortest and the longest time until something that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// The shortest time between two looks at PM2, and how much of PM2's time they may take: one part in so many.
const LOOK: (Duration, u32) = (Duration::from_secs(1), 100);
/// The same for a look that PM2's own event asks for: in a crash loop there are many.
const HINT: (Duration, u32) = (Duration::from_millis(20), 20);

#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    delay: Duration,
}

impl Retry {
    /// The first attempt after a failure, or one after another.
    fn after(previous: Option<&Self>, now: Instant) -> Self {
        let delay = previous.map_or(RETRY.0, |previous| (previous.delay * 2).min(RETRY.1));
        Self {
            at: now + delay,
            delay,
        }
    }
}

/// What is due when.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Daemons with a step that failed.
    failed: BTreeMap<DaemonId, Retry>,
    /// After a pass that could not do its work at all.
    pass: Option<Retry>,
    /// What lost its definition, and since when.
    leaving: BTreeMap<DaemonId, Instant>,
    /// When PM2 is looked at.
    look: Option<Instant>,
    /// How long the last look took.
    took: Duration,
    /// When it is known whether PM2 was only about to end.
    calm: Option<Instant>,
}

impl Schedule {
    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let failed = self.failed.values().map(|retry| retry.at);
        let others = [
            self.pass.map(|retry| retry.at),
            self.removal(),
            self.look,
            self.calm,
        ];
        failed.chain(others.into_iter().flatten()).min()
    }

    /// Whether a pass is due. What is due is not due again until it is put down anew.
    pub(crate) fn take_pass(&mut self, now: Instant) -> bool {
        if self.is_uneasy() {
            return false;
        }
        let retry = self.failed.values().any(|retry| retry.at <= now);
        let pass = self.pass.is_some_and(|retry| retry.at <= now);
        retry || pass || self.removal_is_due(now)
    }

    /// Whether PM2 is to be looked at.
    pub(crate) fn take_look(&mut self, now: Instant) -> bool {
        let calm = self.calm.take_if(|at| *at <= now).is_some();
        let look = self.look.take_if(|at| *at <= now).is_some();
        calm || look
    }

    /// A look at PM2 took this long.
    pub(crate) fn looked(&mut self, took: Duration, now: Instant) {
        self.look = Some(now + LOOK.0.max(took * LOOK.1));
        self.took = took;
    }

    /// PM2 says that something has changed: do not wait for the time, but let it finish what it does.
    pub(crate) fn look_soon(&mut self, now: Instant) {
        let soon = now + HINT.0.max(self.took * HINT.1);
        self.look = self.look.map(|at| at.min(soon));
    }

    /// Several processes went at once: wait whether PM2 goes, too.
    pub(crate) fn wait_for_calm(&mut self, now: Instant) {
        self.calm = Some(now + CALM);
    }

    /// Whether it is not known yet if PM2 is about to end.
    pub(crate) fn is_uneasy(&self) -> bool {
        self.calm.is_some()
    }

    /// When what lost its definition is removed: all of it at once, so that the guard against removing too much sees all of
    /// it, and not before the last of it has been gone for long enough.
    fn removal(&self) -> Option<Instant> {
        self.leaving
            .values()
            .max()
            .map(|since| *since + REMOVAL_GRACE)
    }

    /// Whether what lost its definition has been gone for long enough.
    pub(crate) fn removal_is_due(&self, now: Instant) -> bool {
        self.removal().is_some_and(|at| at <= now)
    }

    /// Whatever was due has had its turn: what is still there is given its time again.
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

    /// The daemons with which something is yet to be done.
    pub(crate) fn owed(&self) -> BTreeSet<DaemonId> {
        self.failed
            .keys()
            .chain(self.leaving.keys())
            .cloned()
            .collect()
    }

    /// A pass did its work; these daemons failed in it, those were left out of it. What is leaving is known already.
    pub(crate) fn passed(
        &mut self,
        failed: &BTreeSet<DaemonId>,
        except: &BTreeSet<DaemonId>,
        now: Instant,
    ) {
        self.pass = None;
        // What is about to be removed was not tried, however it went before.
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

    /// A pass could not do its work; how long until the next.
    pub(crate) fn pass_failed(&mut self, now: Instant) -> Duration {
        let retry = Retry::after(self.pass.as_ref(), now);
        self.pass = Some(retry);
        // Until then nothing else is worth an attempt.
        self.look = None;
        self.leaving.clear();
        retry.delay
    }

    /// Definitions were edited: what failed before may succeed now.
    pub(crate) fn edited(&mut self, ids: &BTreeSet<DaemonId>) {
        self.failed.retain(|id, _| !ids.contains(id));
        self.pass = None;
    }

    /// Daemons whose time has not come yet.
    pub(crate) fn waiting(&self, now: Instant) -> BTreeSet<DaemonId> {
        self.failed
            .iter()
            .filter(|(_, retry)| retry.at > now)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> BTreeSet<DaemonId> {
        names
            .iter()
            .map(|name| DaemonId::new(name).unwrap())
            .collect()
    }

    #[test]
    fn a_daemon_that_fails_waits_twice_as_long_each_time_and_delays_no_other() {
        let mut schedule = Schedule::default();
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..12 {
            schedule.passed(&ids(&["bad"]), &BTreeSet::new(), now);
            assert_eq!(schedule.waiting(now), ids(&["bad"]));
            let next = schedule.next().unwrap();
            delays.push((next - now).as_millis());
            assert!(!schedule.take_pass(next - Duration::from_millis(1)));
            assert!(schedule.take_pass(next));
            now = next;
            assert_eq!(schedule.waiting(now), BTreeSet::new());
        }
        assert_eq!(&delays[..4], [500, 1000, 2000, 4000]);
        assert_eq!(delays.last(), Some(&300_000));
        // An edit begins anew; a pass that leaves it out forgets nothing.
        schedule.passed(&BTreeSet::new(), &ids(&["bad"]), now);
        schedule.passed(&ids(&["bad"]), &BTreeSet::new(), now);
        assert_eq!(schedule.next(), Some(now + RETRY.1));
        schedule.edited(&ids(&["bad"]));
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn a_removal_waits_for_its_grace_and_is_forgotten_when_the_file_is_back() {
        let mut schedule = Schedule::default();
        let now = Instant::now();
        let found = |schedule: &mut Schedule, names: &[&str], now| {
            schedule.found_leaving(&ids(names), None, now);
        };
        found(&mut schedule, &["a"], now);
        // Another edit in between does not put it off.
        found(&mut schedule, &["a"], now + Duration::from_millis(300));
        assert_eq!(schedule.next(), Some(now + REMOVAL_GRACE));
        assert!(!schedule.take_pass(now + Duration::from_millis(999)));
        assert!(schedule.take_pass(now + REMOVAL_GRACE));
        found(&mut schedule, &[], now + REMOVAL_GRACE);
        assert!(!schedule.take_pass(now + REMOVAL_GRACE * 5));
    }

    #[test]
    fn each_removal_has_its_own_grace_and_all_of_them_go_together() {
        let mut schedule = Schedule::default();
        let now = Instant::now();
        let later = now + Duration::from_millis(900);
        schedule.found_leaving(&ids(&["a"]), None, now);
        // A pass about others knows nothing of it.
        schedule.found_leaving(&ids(&["b"]), Some(&ids(&["b", "c"])), later);
        assert_eq!(schedule.owed(), ids(&["a", "b"]));
        assert!(!schedule.removal_is_due(now + REMOVAL_GRACE));
        assert_eq!(schedule.next(), Some(later + REMOVAL_GRACE));
        assert!(schedule.removal_is_due(later + REMOVAL_GRACE));
        // The file of one is back: the other has been gone for long enough.
        schedule.found_leaving(&BTreeSet::new(), Some(&ids(&["b"])), later);
        assert_eq!(schedule.next(), Some(now + REMOVAL_GRACE));
    }

    #[test]
    fn a_removal_that_fails_is_tried_less_and_less_often() {
        let mut schedule = Schedule::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..4 {
            // A pass sees it go, and a second one after its grace fails to remove it.
            let before = now;
            schedule.found_leaving(&ids(&["bad"]), None, now);
            schedule.passed(&BTreeSet::new(), &BTreeSet::new(), now);
            now = schedule.next().unwrap();
            assert!(now >= before + REMOVAL_GRACE && schedule.removal_is_due(now));
            schedule.removed();
            schedule.passed(&ids(&["bad"]), &BTreeSet::new(), now);
            let next = schedule.next().unwrap();
            waits.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(waits, [500, 1000, 2000, 4000]);
    }

    #[test]
    fn looks_at_pm2_cost_it_at_most_a_hundredth() {
        let mut schedule = Schedule::default();
        let now = Instant::now();
        schedule.looked(Duration::from_millis(1), now);
        assert_eq!(schedule.next(), Some(now + Duration::from_secs(1)));
        schedule.looked(Duration::from_millis(50), now);
        assert_eq!(schedule.next(), Some(now + Duration::from_secs(5)));
        assert!(!schedule.take_look(now));
        // PM2's own events bring it forward, but not to more than a twentieth.
        schedule.look_soon(now);
        assert!(!schedule.take_look(now + Duration::from_millis(999)));
        assert!(schedule.take_look(now + Duration::from_secs(1)));
        assert!(
            !schedule.take_look(now + Duration::from_secs(60)),
            "a look is due once"
        );
    }

    #[test]
    fn nothing_is_done_while_pm2_may_be_about_to_end() {
        let mut schedule = Schedule::default();
        let now = Instant::now();
        schedule.found_leaving(&ids(&["a"]), None, now);
        schedule.wait_for_calm(now + REMOVAL_GRACE);
        assert!(!schedule.take_pass(now + REMOVAL_GRACE));
        assert!(!schedule.take_look(now + REMOVAL_GRACE));
        // Then PM2 is looked at before anything is done.
        assert!(!schedule.take_pass(now + REMOVAL_GRACE + CALM));
        assert!(schedule.take_look(now + REMOVAL_GRACE + CALM));
        assert!(schedule.take_pass(now + REMOVAL_GRACE + CALM));
    }
}
