//! Decides what a watch does next: when to open a source, when to distrust it, when to look again without a hint.
//! Free of threads and of the clock, so that every path through it can be tested.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_model::Layout;

use crate::debounce::Debounce;
use crate::read::Ident;
use crate::settings::Settings;
use crate::source::{
    DeadReason, Hint, HintSource, LostReason, OpenError, OpenSource, Scope, Waker,
};

/// A reason to look again, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where.
    pub scope: Scope,
    /// Why.
    pub cause: Cause,
}

/// Why a batch was made. Where several reasons meet, the last of this list is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// Files changed.
    Event,
    /// Files cannot be watched and are looked at on a timer.
    Poll,
    /// A timer; what `stat` says has not changed need not be read.
    Resync,
    /// Watching began: what changed before that was not seen.
    Started,
    /// Whoever scans found a change that no hint had announced.
    Distrusted,
    /// Hints went missing.
    Lost(LostReason),
    /// The source of hints ended.
    Dead(DeadReason),
    /// A slow timer; everything is to be read.
    FullResync,
    /// Another directory lies at the root's path, or the root is back.
    RootChanged,
    /// The root is gone. That says nothing about any daemon.
    RootGone,
}

/// How files are watched at the moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Mode {
    /// Not yet: the first attempt is under way.
    Starting,
    /// By events.
    Watching,
    /// On a timer, because of this; by the settings when there is nothing.
    Polling(Option<Arc<OpenError>>),
    /// Not at all, until the root is back.
    RootMissing,
}

/// What tells which directory the root is; None when there is none.
pub(crate) type ProbeRoot = Box<dyn FnMut() -> Option<Ident> + Send>;

pub(crate) struct Keeper {
    layout: Layout,
    settings: Settings,
    opener: Box<dyn OpenSource>,
    probe: ProbeRoot,
    waker: Waker,
    source: Option<Box<dyn HintSource>>,
    debounce: Debounce,
    /// Of the batch that is being gathered.
    cause: Option<Cause>,
    root: Option<Ident>,
    polling: Option<Option<Arc<OpenError>>>,
    backoff: Duration,
    opened_at: Option<Instant>,
    reopen_at: Option<Instant>,
    root_check_at: Instant,
    resync_at: Instant,
    full_resync_at: Instant,
    poll_at: Instant,
    beat_at: Instant,
    /// When the last beat must have been noticed.
    beat_limit_at: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(
        layout: Layout,
        settings: Settings,
        opener: Box<dyn OpenSource>,
        mut probe: ProbeRoot,
        waker: Waker,
        now: Instant,
    ) -> Self {
        let root = probe();
        Self {
            debounce: Debounce::new(settings.quiet, settings.max_wait),
            source: None,
            cause: None,
            root,
            polling: settings.force_poll.then_some(None),
            backoff: settings.retry,
            opened_at: None,
            reopen_at: root.map(|_| now).filter(|_| !settings.force_poll),
            root_check_at: now + settings.root_check,
            resync_at: now + settings.resync,
            full_resync_at: now + settings.full_resync,
            poll_at: now + settings.poll,
            beat_at: now + settings.heartbeat,
            beat_limit_at: None,
            layout,
            settings,
            opener,
            probe,
            waker,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        match (&self.root, &self.source, &self.polling) {
            (None, ..) => Mode::RootMissing,
            (_, Some(_), _) => Mode::Watching,
            (_, None, Some(trouble)) => Mode::Polling(trouble.clone()),
            (_, None, None) => Mode::Starting,
        }
    }

    /// When to call [`Keeper::step`] again at the latest.
    pub(crate) fn next_at(&self) -> Instant {
        let polling = self.is_polling().then_some(self.poll_at);
        let beat = self.source.is_some().then_some(self.beat_at);
        [
            self.debounce.due_at(),
            self.reopen_at,
            self.beat_limit_at,
            beat,
            polling,
            Some(self.resync_at),
            Some(self.full_resync_at),
        ]
        .into_iter()
        .flatten()
        .fold(self.root_check_at, Instant::min)
    }

    /// Takes in what happened until `now`, and returns the batches that are due.
    pub(crate) fn step(&mut self, now: Instant) -> Vec<Batch> {
        let mut batches = Vec::new();
        self.drain(now);
        self.heartbeat(now);
        if now >= self.root_check_at {
            self.check_root(now, &mut batches);
        }
        self.reopen(now);
        self.timers(now, &mut batches);
        if let Some(scope) = self.debounce.take(now) {
            let cause = self.cause.take().unwrap_or(Cause::Event);
            batches.push(Batch { scope, cause });
        }
        batches
    }

    /// Opens a new source as soon as that may be done: someone found that this one missed something.
    pub(crate) fn distrust(&mut self, now: Instant) {
        if self.source.is_some() {
            self.everything(Cause::Distrusted, now);
            self.want_reopen(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        let hints = self.source.as_mut().map(|source| source.drain());
        for hint in hints.unwrap_or_default() {
            match hint {
                Hint::Dirty(paths) => {
                    self.debounce.push(Scope::Dirty(paths), now);
                    self.cause = self.cause.max(Some(Cause::Event));
                }
                // It is kept until another has taken its place: some hints are better than none.
                Hint::Lost(reason) => {
                    self.everything(Cause::Lost(reason), now);
                    self.want_reopen(now);
                }
                Hint::Dead(reason) => self.bury(reason, now),
            }
        }
    }

    fn bury(&mut self, reason: DeadReason, now: Instant) {
        self.source = None;
        self.beat_limit_at = None;
        self.everything(Cause::Dead(reason), now);
        self.want_reopen(now);
        // Do not wait for its time to learn whether the root is what died.
        self.root_check_at = now;
    }

    fn everything(&mut self, cause: Cause, now: Instant) {
        self.debounce.push(Scope::Everything, now);
        self.cause = self.cause.max(Some(cause));
    }

    fn heartbeat(&mut self, now: Instant) {
        let Some(source) = &mut self.source else {
            return;
        };
        if source.beat_seen() {
            self.beat_limit_at = None;
        } else if self.beat_limit_at.is_some_and(|limit| now >= limit) {
            return self.bury(DeadReason::Silent, now);
        }
        if now >= self.beat_at {
            self.beat_at = now + self.settings.heartbeat;
            if self.beat_limit_at.is_none() && source.beat() {
                self.beat_limit_at = Some(now + self.settings.heartbeat_limit);
            }
        }
    }

    fn check_root(&mut self, now: Instant, batches: &mut Vec<Batch>) {
        self.root_check_at = now + self.settings.root_check;
        let found = (self.probe)();
        if found == self.root {
            return;
        }
        self.root = found;
        self.source = None;
        self.beat_limit_at = None;
        // What was gathered is about a root that is no more.
        let gathered = self.debounce.due_at().is_some();
        if gathered {
            self.debounce = Debounce::new(self.settings.quiet, self.settings.max_wait);
            self.cause = None;
        }
        if found.is_some() {
            self.everything(Cause::RootChanged, now);
            self.backoff = self.settings.retry;
            self.reopen_at = Some(now).filter(|_| !self.settings.force_poll);
        } else {
            self.reopen_at = None;
            batches.push(Batch {
                scope: Scope::Everything,
                cause: Cause::RootGone,
            });
        }
    }

    fn want_reopen(&mut self, now: Instant) {
        if self.settings.force_poll || self.root.is_none() {
            return;
        }
        // A source that served long enough was not the trouble itself.
        let served = self
            .opened_at
            .map(|opened| now.saturating_duration_since(opened));
        if served.is_some_and(|served| served >= 2 * self.settings.max_retry) {
            self.backoff = self.settings.retry;
        }
        let earliest = self.opened_at.map_or(now, |opened| opened + self.backoff);
        let at = earliest.max(now);
        self.reopen_at = Some(self.reopen_at.map_or(at, |planned| planned.min(at)));
    }

    fn reopen(&mut self, now: Instant) {
        if self.reopen_at.is_none_or(|at| now < at) {
            return;
        }
        let again = self.opened_at.is_some() || self.polling.is_some();
        if again {
            self.backoff = (self.backoff * 2).min(self.settings.max_retry);
        }
        self.opened_at = Some(now);
        match self.opener.open(&self.layout, self.waker.clone()) {
            Ok(source) => {
                // The old one is dropped only now, with the new one running.
                self.source = Some(source);
                self.polling = None;
                self.reopen_at = None;
                self.beat_limit_at = None;
                self.beat_at = now + self.settings.heartbeat;
                self.everything(Cause::Started, now);
            }
            Err(error) => {
                self.source = None;
                self.beat_limit_at = None;
                if self.polling.is_none() {
                    self.poll_at = now + self.settings.poll;
                }
                self.polling = Some(Some(Arc::new(error)));
                self.reopen_at = Some(now + self.backoff);
            }
        }
    }

    fn is_polling(&self) -> bool {
        self.polling.is_some() && self.root.is_some() && self.source.is_none()
    }

    fn timers(&mut self, now: Instant, batches: &mut Vec<Batch>) {
        let cause = if now >= self.full_resync_at {
            self.full_resync_at = now + self.settings.full_resync;
            self.resync_at = now + self.settings.resync;
            Cause::FullResync
        } else if now >= self.resync_at {
            self.resync_at = now + self.settings.resync;
            Cause::Resync
        } else if self.is_polling() && now >= self.poll_at {
            Cause::Poll
        } else {
            return;
        };
        if now >= self.poll_at {
            self.poll_at = now + self.settings.poll;
        }
        batches.push(Batch {
            scope: Scope::Everything,
            cause,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;

    use camino::Utf8PathBuf;

    use super::*;

    /// What the test scripts, and what the keeper did.
    #[derive(Default)]
    struct Script {
        hints: Vec<Hint>,
        fail_opening: bool,
        beats_answered: bool,
        opened: usize,
        alive: usize,
        most_alive: usize,
        root: Option<Ident>,
    }

    type Shared = Arc<Mutex<Script>>;

    struct FakeOpener(Shared);
    struct FakeSource(Shared, bool);

    impl OpenSource for FakeOpener {
        fn open(&mut self, _: &Layout, _: Waker) -> Result<Box<dyn HintSource>, OpenError> {
            let mut script = self.0.lock().unwrap();
            script.opened += 1;
            if script.fail_opening {
                return Err(OpenError::Limit(io::ErrorKind::StorageFull.into()));
            }
            script.alive += 1;
            script.most_alive = script.most_alive.max(script.alive);
            Ok(Box::new(FakeSource(Arc::clone(&self.0), true)))
        }
    }

    impl HintSource for FakeSource {
        fn drain(&mut self) -> Vec<Hint> {
            std::mem::take(&mut self.0.lock().unwrap().hints)
        }
        fn beat(&mut self) -> bool {
            self.1 = self.0.lock().unwrap().beats_answered;
            true
        }
        fn beat_seen(&self) -> bool {
            self.1
        }
    }

    impl Drop for FakeSource {
        fn drop(&mut self) {
            self.0.lock().unwrap().alive -= 1;
        }
    }

    /// A keeper and a clock that moves from one deadline to the next.
    struct Bench {
        keeper: Keeper,
        script: Shared,
        start: Instant,
        now: Instant,
    }

    impl Bench {
        fn new(script: Script, settings: Settings) -> Self {
            let start = Instant::now();
            let script = Arc::new(Mutex::new(script));
            let probe = Arc::clone(&script);
            let keeper = Keeper::new(
                Layout::new("/w"),
                settings,
                Box::new(FakeOpener(Arc::clone(&script))),
                Box::new(move || probe.lock().unwrap().root),
                Waker(sync_channel(1).0),
                start,
            );
            Self {
                keeper,
                script,
                start,
                now: start,
            }
        }

        fn running() -> Self {
            let script = Script {
                root: Some((1, 1)),
                beats_answered: true,
                ..Script::default()
            };
            let mut bench = Self::new(script, Settings::default());
            let causes = bench.run_until(30);
            assert_eq!(causes, [(30, Cause::Started)]);
            bench
        }

        fn hint(&mut self, hint: Hint) {
            self.script.lock().unwrap().hints.push(hint);
        }

        /// Lets time pass; the batches with the milliseconds since the start.
        fn run_until(&mut self, millis: u64) -> Vec<(u64, Cause)> {
            let end = self.start + Duration::from_millis(millis);
            let mut causes = Vec::new();
            loop {
                for batch in self.keeper.step(self.now) {
                    let at = (self.now - self.start).as_millis();
                    causes.push((u64::try_from(at).unwrap(), batch.cause));
                }
                let next = self.keeper.next_at();
                if next > end {
                    self.now = end;
                    return causes;
                }
                assert!(next > self.now, "it would spin");
                self.now = next;
            }
        }
    }

    #[test]
    fn an_idle_watch_looks_again_on_its_timers_only() {
        let mut bench = Bench::running();
        let causes = bench.run_until(600_000);
        let resyncs = (1..10).map(|n| (n * 60_000, Cause::Resync));
        let expected: Vec<_> = resyncs.chain([(600_000, Cause::FullResync)]).collect();
        assert_eq!(causes, expected);
        assert_eq!(bench.script.lock().unwrap().opened, 1);
    }

    #[test]
    fn hints_are_gathered_into_one_batch() {
        let mut bench = Bench::running();
        bench.hint(Hint::Dirty(vec![Utf8PathBuf::from("/w/system/daemons/a")]));
        assert_eq!(bench.run_until(200), [(60, Cause::Event)]);
    }

    #[test]
    fn lost_hints_make_it_look_at_everything_and_open_anew_within_a_second() {
        let mut bench = Bench::running();
        bench.hint(Hint::Lost(LostReason::Overflow));
        let causes = bench.run_until(900);
        assert_eq!(causes, [(60, Cause::Lost(LostReason::Overflow))]);
        assert_eq!(bench.script.lock().unwrap().opened, 1, "one per second");
        assert_eq!(bench.run_until(2_000), [(1_030, Cause::Started)]);
        let script = bench.script.lock().unwrap();
        assert_eq!((script.opened, script.alive, script.most_alive), (2, 1, 2));
    }

    #[test]
    fn a_source_that_loses_all_the_time_is_opened_less_and_less_often() {
        let mut bench = Bench::running();
        for millis in (100..120_000).step_by(100) {
            bench.hint(Hint::Lost(LostReason::Overflow));
            bench.run_until(millis);
        }
        let opened = bench.script.lock().unwrap().opened;
        assert!((5..=10).contains(&opened), "{opened}");
    }

    #[test]
    fn a_heartbeat_that_does_not_come_back_ends_the_source() {
        let mut bench = Bench::running();
        bench.script.lock().unwrap().beats_answered = false;
        let causes = bench.run_until(12_500);
        // It dies, another is opened in the same instant, and one batch tells of both.
        assert_eq!(causes, [(12_030, Cause::Dead(DeadReason::Silent))]);
        assert_eq!(bench.script.lock().unwrap().opened, 2);
        assert!(matches!(bench.keeper.mode(), Mode::Watching));
    }

    #[test]
    fn without_watches_it_polls_and_tries_again() {
        let script = Script {
            root: Some((1, 1)),
            fail_opening: true,
            beats_answered: true,
            ..Script::default()
        };
        let mut bench = Bench::new(script, Settings::default());
        let causes = bench.run_until(10_000);
        let polls: Vec<_> = (1..=5).map(|n| (n * 2_000, Cause::Poll)).collect();
        assert_eq!(causes, polls);
        let Mode::Polling(Some(error)) = bench.keeper.mode() else {
            panic!("{:?}", bench.keeper.mode());
        };
        assert!(matches!(*error, OpenError::Limit(_)));
        assert_eq!(bench.script.lock().unwrap().opened, 4, "at 0, 1, 3 and 7 s");
        bench.script.lock().unwrap().fail_opening = false;
        let causes = bench.run_until(20_000);
        assert_eq!(causes.last(), Some(&(15_030, Cause::Started)));
        assert!(matches!(bench.keeper.mode(), Mode::Watching));
    }

    #[test]
    fn a_root_that_is_gone_is_told_once_and_waited_for() {
        let mut bench = Bench::running();
        bench.script.lock().unwrap().root = None;
        assert_eq!(bench.run_until(10_000), [(1_000, Cause::RootGone)]);
        assert!(matches!(bench.keeper.mode(), Mode::RootMissing));
        assert_eq!(bench.script.lock().unwrap().alive, 0);
        bench.script.lock().unwrap().root = Some((1, 2));
        assert_eq!(bench.run_until(11_500), [(11_030, Cause::RootChanged)]);
        assert_eq!(bench.script.lock().unwrap().opened, 2);
    }

    #[test]
    fn a_root_that_died_and_is_back_with_the_same_number_is_watched_anew() {
        let mut bench = Bench::running();
        bench.hint(Hint::Dead(DeadReason::RootGone));
        let causes = bench.run_until(1_500);
        assert_eq!(causes[0], (60, Cause::Dead(DeadReason::RootGone)));
        assert_eq!(bench.script.lock().unwrap().opened, 2);
        assert!(matches!(bench.keeper.mode(), Mode::Watching));
    }
}
