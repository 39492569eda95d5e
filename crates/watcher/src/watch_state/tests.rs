use std::io;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use super::*;

/// What the test controls, and what the watch did.
#[derive(Default)]
struct Script {
    hints: Vec<Hint>,
    fail_opening: bool,
    beats_answered: bool,
    opened: usize,
    alive: usize,
    most_alive: usize,
    root: Option<Ident>,
    /// The files that the source was last asked to watch.
    files: Vec<String>,
    /// The result of the next check of their directories.
    moved: Vec<Hint>,
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
    fn watch_files(&mut self, files: &BTreeSet<Utf8PathBuf>) {
        self.0.lock().unwrap().files = files.iter().map(ToString::to_string).collect();
    }
    fn check_files(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.0.lock().unwrap().moved)
    }
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

/// A watch and a clock that advances from one deadline to the next.
struct Bench {
    watch: WatchState,
    script: Shared,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(script: Script, settings: Settings) -> Self {
        let start = Instant::now();
        let script = Arc::new(Mutex::new(script));
        let probe = Arc::clone(&script);
        let watch = WatchState::new(
            Layout::new("/w"),
            settings,
            Box::new(FakeOpener(Arc::clone(&script))),
            Box::new(move || probe.lock().unwrap().root),
            Waker(sync_channel(1).0),
            start,
        );
        Self {
            watch,
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

    /// Advances the time; returns the batches with the milliseconds since the start.
    fn run_until(&mut self, millis: u64) -> Vec<(u64, Cause)> {
        let end = self.start + Duration::from_millis(millis);
        let mut causes = Vec::new();
        loop {
            for batch in self.watch.step(self.now) {
                let at = (self.now - self.start).as_millis();
                causes.push((u64::try_from(at).unwrap(), batch.cause));
            }
            let next = self.watch.next_at();
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
fn an_idle_watch_only_scans_on_its_timers() {
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
fn a_file_that_was_written_is_reported_at_once_unless_something_else_is_pending() {
    let mut bench = Bench::running();
    let written = || {
        Hint::Written(vec![Utf8PathBuf::from(
            "/w/system/daemons/a/ecosystem.pm2.edn",
        )])
    };
    bench.run_until(1_000);
    bench.hint(written());
    let causes = bench.run_until(1_100);
    assert_eq!(causes, [(1_000, Cause::Written), (1_030, Cause::Event)]);
    // A second save belongs to the first.
    bench.hint(written());
    assert_eq!(bench.run_until(2_000), [(1_130, Cause::Event)]);
    bench.hint(Hint::Lost(LostReason::Overflow));
    bench.hint(written());
    let causes = bench.run_until(2_030);
    assert!(!causes.iter().any(|(_, cause)| *cause == Cause::Written));
}

#[test]
fn writes_below_a_removed_root_are_not_reported() {
    let mut bench = Bench::running();
    bench.run_until(1_999);
    // The next check of the root comes in the same step as the hint.
    bench.now += Duration::from_millis(1);
    bench.script.lock().unwrap().root = None;
    bench.hint(Hint::Written(vec![
        "/w/system/daemons/a/ecosystem.pm2.edn".into(),
    ]));
    assert_eq!(bench.run_until(5_000), [(2_000, Cause::RootGone)]);
}

fn files(names: &[&str]) -> BTreeSet<Utf8PathBuf> {
    names.iter().map(Utf8PathBuf::from).collect()
}

#[test]
fn files_besides_the_tree_are_watched_by_every_source_and_scanned_once() {
    let mut bench = Bench::running();
    let named = files(&["/conf/a.env", "/conf/b.env"]);
    let set = |bench: &mut Bench| {
        bench
            .watch
            .set_files(named.clone(), BTreeSet::new(), bench.now)
    };
    set(&mut bench);
    assert_eq!(bench.run_until(70), [(60, Cause::Event)]);
    set(&mut bench);
    assert_eq!(bench.run_until(900), []);
    bench.script.lock().unwrap().files.clear();
    bench.hint(Hint::Lost(LostReason::Overflow));
    bench.run_until(2_500);
    assert_eq!(
        bench.script.lock().unwrap().files,
        ["/conf/a.env", "/conf/b.env"]
    );
    // A directory that was moved is found within a second.
    bench.script.lock().unwrap().moved = vec![Hint::Dirty(vec!["/conf/a.env".into()])];
    assert_eq!(bench.run_until(4_000), [(3_030, Cause::Event)]);
}

#[test]
fn files_on_remote_file_systems_are_polled_and_nothing_else_is() {
    let mut bench = Bench::running();
    let remote = files(&["/nfs/a.env"]);
    bench.watch.set_files(remote.clone(), remote, bench.now);
    let causes = bench.run_until(5_000);
    let polls = [(2_030, Cause::Poll), (4_030, Cause::Poll)];
    assert_eq!(causes, [(60, Cause::Event), polls[0], polls[1]]);
    bench
        .watch
        .set_files(BTreeSet::new(), BTreeSet::new(), bench.now);
    assert_eq!(bench.run_until(20_000), []);
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
fn a_source_that_keeps_losing_events_is_reopened_with_back_off() {
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
    // It dies, another is opened at the same time, and one batch reports both.
    assert_eq!(causes, [(12_030, Cause::Dead(DeadReason::Silent))]);
    assert_eq!(bench.script.lock().unwrap().opened, 2);
    assert!(matches!(bench.watch.mode(), Mode::Watching));
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
    let Mode::Polling(Some(error)) = bench.watch.mode() else {
        panic!("{:?}", bench.watch.mode());
    };
    assert!(matches!(*error, OpenError::Limit(_)));
    assert_eq!(bench.script.lock().unwrap().opened, 4, "at 0, 1, 3 and 7 s");
    bench.script.lock().unwrap().fail_opening = false;
    let causes = bench.run_until(20_000);
    assert_eq!(causes.last(), Some(&(15_030, Cause::Started)));
    assert!(matches!(bench.watch.mode(), Mode::Watching));
}

#[test]
fn a_missing_root_is_reported_once_and_waited_for() {
    let mut bench = Bench::running();
    bench.script.lock().unwrap().root = None;
    assert_eq!(bench.run_until(10_000), [(1_000, Cause::RootGone)]);
    assert!(matches!(bench.watch.mode(), Mode::RootMissing));
    assert_eq!(bench.script.lock().unwrap().alive, 0);
    bench.script.lock().unwrap().root = Some((1, 2));
    assert_eq!(bench.run_until(11_500), [(11_030, Cause::RootChanged)]);
    assert_eq!(bench.script.lock().unwrap().opened, 2);
}

#[test]
fn a_root_recreated_with_the_same_inode_is_watched_again() {
    let mut bench = Bench::running();
    bench.hint(Hint::Dead(DeadReason::RootGone));
    let causes = bench.run_until(1_500);
    assert_eq!(causes[0], (60, Cause::Dead(DeadReason::RootGone)));
    assert_eq!(bench.script.lock().unwrap().opened, 2);
    assert!(matches!(bench.watch.mode(), Mode::Watching));
}
