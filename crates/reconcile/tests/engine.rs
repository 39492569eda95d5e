//! The engine of `watch` as an embedder runs it, on an in-memory PM2.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use pm2_client::{Fault, MemoryAdapter, Method, ProcessAdapter, Progress};
use pm2_testbed::wait_for;
use reconcile::{
    Config, Engine, EngineEvent, EngineHandle, EngineOptions, Environment, PassEvent, StopFlag,
};
use watcher::{Batch, Cause, Scope};

fn define(root: &Utf8Path, name: &str, seconds: u32) {
    define_as(root, name, name, seconds);
}

/// A daemon whose app has another name.
fn define_as(root: &Utf8Path, id: &str, name: &str, seconds: u32) {
    let dir = root.join("system/daemons").join(id);
    std::fs::create_dir_all(&dir).unwrap();
    let text =
        format!("{{:apps [{{:name \"{name}\" :script \"/bin/sleep\" :args [\"{seconds}\"]}}]}}\n");
    // Replaced atomically, so that no scan finds it half-written.
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("ecosystem.pm2.edn")).unwrap();
}

/// What the engine reported.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reported {
    Done(String),
    Failed(String, Instant),
    Broken(String),
    Mended(String),
}

impl Reported {
    /// `started`: when the last pass started.
    fn of(event: &EngineEvent<'_>, started: Instant) -> Option<Self> {
        match event {
            EngineEvent::Pass(PassEvent::Step(Progress::Ended(ended))) => {
                let daemon = ended.step.daemon.to_string();
                ended.outcome.is_done().then_some(Self::Done(daemon))
            }
            EngineEvent::Retrying { daemon, .. } => Some(Self::Failed(daemon.to_string(), started)),
            EngineEvent::Broken(id, _) => Some(Self::Broken(id.to_string())),
            EngineEvent::Mended(id) => Some(Self::Mended(id.to_string())),
            _ => None,
        }
    }
}

/// A watch that runs.
struct Watch<'a> {
    root: &'a Utf8Path,
    pm2: &'a MemoryAdapter,
    engine: &'a EngineHandle,
    passes: &'a mpsc::Receiver<usize>,
    reported: &'a Mutex<Vec<Reported>>,
}

impl Watch<'_> {
    /// Waits for the end of the next pass; returns how many steps it took.
    fn next(&self) -> usize {
        self.passes.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn reported(&self) -> Vec<Reported> {
        self.reported.lock().unwrap().clone()
    }

    /// When steps of a daemon failed.
    fn failures(&self, daemon: &str) -> Vec<Instant> {
        let of_daemon = |reported| match reported {
            Reported::Failed(id, at) if id == daemon => Some(at),
            _ => None,
        };
        self.reported().into_iter().filter_map(of_daemon).collect()
    }

    /// The changing calls that PM2 has executed, all of them or those of one name.
    fn calls(&self, name: Option<&str>) -> Vec<(Method, String)> {
        let calls = self.pm2.calls().into_iter();
        calls
            .filter(|call| name.is_none_or(|name| call.name == name))
            .map(|call| (call.method, call.name))
            .collect()
    }

    /// The names of all processes, and for how many seconds each sleeps.
    fn sleeping(&self) -> Vec<(String, u32)> {
        let list = self.pm2.clone().list().unwrap();
        let seconds = list.iter().map(|record| &record.pm2_env["args"][0]);
        let seconds = seconds.map(|text| text.as_str().unwrap().parse().unwrap());
        let names = list.iter().map(|record| record.name.clone());
        let mut sleeping: Vec<_> = names.zip(seconds).collect();
        sleeping.sort();
        sleeping
    }

    /// Edits a daemon and waits until its process matches.
    #[track_caller]
    fn apply(&self, name: &str, seconds: u32) {
        define(self.root, name, seconds);
        wait_for(|| self.sleeping().contains(&(name.to_owned(), seconds)));
    }

    /// Triggers polls of PM2 and both kinds of scans.
    fn look_at_everything(&self) {
        self.engine.pm2_changed();
        for cause in [Cause::Resync, Cause::FullResync] {
            let scope = Scope::Everything;
            self.engine.files_changed(Batch { scope, cause });
        }
    }

    /// Triggers a scan of all files; returns how many steps the following pass takes.
    fn resync(&self, cause: Cause) -> usize {
        let scope = Scope::Everything;
        self.engine.files_changed(Batch { scope, cause });
        self.next()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // Also after a failed test: otherwise the engine would run forever.
        self.engine.stop();
    }
}

/// Starts a watch of three daemons, and runs `test` after its first pass has taken three steps.
fn watching(test: impl FnOnce(&Watch<'_>)) {
    watching_from(MemoryAdapter::new(), |watch| {
        assert_eq!(watch.next(), 3);
        watch.pm2.forget_calls();
        test(watch);
    });
}

/// Starts a watch of three daemons on this PM2, and runs `test` from the beginning.
fn watching_from(pm2: MemoryAdapter, test: impl FnOnce(&Watch<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
    for name in ["a", "b", "c"] {
        define(&root, name, 1000);
        let definition = root.join(format!("system/daemons/{name}/ecosystem.pm2.edn"));
        std::fs::hard_link(definition, other_name(&root, name)).unwrap();
    }
    let vars = [("HOME", dir.path().join("home"))]
        .map(|(key, path)| (key.to_owned(), path.to_str().unwrap().to_owned()));
    let environment = Environment::new(BTreeMap::from(vars), Some(root.clone()));
    let config = Config::for_workspace(&root, environment).unwrap();
    let mut engine = Engine::new(config, EngineOptions::default(), StopFlag::default())
        .with_adapter(Box::new(pm2.clone()));
    let handle = engine.handle();
    let (ended, passes) = mpsc::channel();
    let reported = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let for_observer = &reported;
        let run = scope.spawn(move || {
            let mut started = Instant::now();
            engine.run(&mut |event| {
                if let EngineEvent::Started(_) = event {
                    started = Instant::now();
                }
                let reported = Reported::of(&event, started);
                for_observer.lock().unwrap().extend(reported);
                if let EngineEvent::Ended(report) = event {
                    // A failed test no longer receives.
                    let _ = ended.send(report.applied.steps.len());
                }
            })
        });
        let watch = Watch {
            root: &root,
            pm2: &pm2,
            engine: &handle,
            passes: &passes,
            reported: &reported,
        };
        test(&watch);
        drop(watch);
        run.join().unwrap().unwrap();
    });
}

#[test]
fn an_edit_restarts_its_own_process_and_no_other() {
    watching(|watch| {
        define(watch.root, "b", 2000);
        while watch.next() == 0 {}
        assert_eq!(watch.calls(None), [(Method::Restart, "b".to_owned())]);
    });
}

/// Everything that its timers do in more than ten minutes.
#[test]
fn repeated_scans_of_all_files_send_nothing_to_pm2() {
    watching(|watch| {
        let generated = watch.root.join(".generated/pm2/b.json");
        let written = || generated.metadata().unwrap().modified().unwrap();
        let before = written();
        for minute in 1..=20 {
            let cause = if minute % 10 == 0 {
                Cause::FullResync
            } else {
                Cause::Resync
            };
            assert_eq!(watch.resync(cause), 0, "minute {minute}");
        }
        assert_eq!(watch.pm2.calls(), []);
        assert_eq!(written(), before, "the generated config was left alone");
    });
}

/// Checks that each wait is at least as long as required: an attempt may be late, never early.
#[track_caller]
fn assert_waits(failures: &[Instant], seconds: &[f64]) {
    let waits: Vec<_> = failures
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    assert_eq!(waits.len(), seconds.len(), "{waits:?}");
    let long_enough = |(wait, least): (&f64, &f64)| wait >= least;
    assert!(waits.iter().zip(seconds).all(long_enough), "{waits:?}");
}

#[test]
fn a_refused_step_is_retried_with_back_off_and_delays_no_other() {
    watching(|watch| {
        watch.pm2.inject_for("b", Fault::Refuse);
        define(watch.root, "b", 2000);
        wait_for(|| watch.failures("b").len() == 4);
        assert_waits(&watch.failures("b"), &[0.5, 1.0, 2.0]);
        // The next attempt is due in four seconds: neither edits of others nor polls and scans bring it forward.
        watch.apply("a", 2000);
        watch.apply("c", 2000);
        watch.look_at_everything();
        watch.apply("a", 2001);
        assert_eq!(watch.failures("b").len(), 4);
        // An edit of its own triggers a retry at once, and again soon.
        define(watch.root, "b", 3000);
        wait_for(|| watch.failures("b").len() == 5);
        assert_eq!(watch.calls(Some("b")), []);
        watch.pm2.forget_faults();
        wait_for(|| watch.sleeping().contains(&("b".to_owned(), 3000)));
        let failures = watch.failures("b");
        let since = failures[3].elapsed();
        assert!(since < Duration::from_secs(4), "{since:?}");
        watch.apply("b", 4000);
        let restarts = [(); 2].map(|()| (Method::Restart, "b".to_owned()));
        assert_eq!(watch.calls(Some("b")), restarts);
        assert_eq!(watch.failures("a"), []);
        assert_eq!(watch.failures("c"), []);
    });
}

#[test]
fn a_hanging_call_delays_no_other_and_is_retried_with_back_off() {
    let pm2 = MemoryAdapter::new();
    pm2.set_deadline(Duration::from_secs(1));
    pm2.inject_for("b", Fault::Timeout);
    watching_from(pm2, |watch| {
        // The other two are started while the first one's call hangs; an edit at that moment is not lost.
        wait_for(|| watch.calls(None).len() == 2);
        define(watch.root, "a", 2000);
        assert_eq!(watch.next(), 3);
        let reported = watch.reported();
        assert!(
            matches!(&reported[2], Reported::Failed(id, _) if id == "b"),
            "{reported:?}"
        );
        watch.apply("a", 2000);
        wait_for(|| watch.failures("b").len() == 4);
        watch.apply("c", 2000);
        watch.apply("a", 2001);
        assert_eq!(watch.failures("b").len(), 4);
        // Each attempt takes another second.
        assert_waits(&watch.failures("b"), &[1.5, 2.0, 3.0]);
        assert_eq!(watch.calls(Some("b")), []);
        watch.pm2.forget_faults();
        watch.apply("b", 3000);
        // It would have waited for four seconds.
        let since = watch.failures("b")[3].elapsed();
        assert!(since < Duration::from_secs(4), "{since:?}");
        assert_eq!(watch.calls(Some("b")), [(Method::Prepare, "b".to_owned())]);
        assert_eq!(watch.failures("a"), []);
        assert_eq!(watch.failures("c"), []);
    });
}

#[test]
fn a_step_whose_answer_was_lost_is_not_repeated() {
    watching(|watch| {
        watch.pm2.set_deadline(Duration::from_millis(200));
        watch.pm2.inject_for("d", Fault::LoseAnswer);
        define(watch.root, "d", 1000);
        wait_for(|| watch.failures("d").len() == 1);
        // The next attempt succeeds, and so do all later ones.
        while watch.next() != 1 {}
        while watch.next() != 0 {}
        assert_eq!(watch.resync(Cause::FullResync), 0);
        assert_eq!(watch.failures("d").len(), 1);
        assert_eq!(watch.calls(None), [(Method::Prepare, "d".to_owned())]);
    });
}

#[test]
fn two_definitions_that_declare_one_name_stop_and_start_nothing_until_one_gives_it_up() {
    watching(|watch| {
        let reported = |expected: Reported| {
            watch
                .reported()
                .into_iter()
                .filter(|reported| *reported == expected)
                .count()
        };
        let [b, c] = ["b", "c"].map(ToOwned::to_owned);
        let pids = || {
            let mut list = watch.pm2.clone().list().unwrap();
            list.retain(|record| record.name != "a");
            let pids = list.iter().map(|record| (record.pm_id, record.pid));
            pids.collect::<Vec<_>>()
        };
        let before = pids();
        define_as(watch.root, "c", "b", 3000);
        wait_for(|| {
            reported(Reported::Broken(b.clone())) == 1 && reported(Reported::Broken(c.clone())) == 1
        });
        // Polls of PM2, which happen once a second anyway, and scans of all files.
        let began = Instant::now();
        let mut seconds = 2000;
        while began.elapsed() < Duration::from_millis(2500) {
            watch.look_at_everything();
            // Another edit of one of the two, or of a third daemon, does not decide it either.
            define(watch.root, "b", seconds);
            watch.apply("a", seconds);
            seconds += 1;
        }
        assert!(seconds > 2002);
        assert_eq!(watch.calls(Some("b")), []);
        assert_eq!(watch.calls(Some("c")), []);
        assert_eq!(pids(), before);
        assert_eq!(reported(Reported::Broken(b.clone())), 1);
        assert_eq!(reported(Reported::Broken(c.clone())), 1);
        assert_eq!(
            reported(Reported::Mended(b.clone())) + reported(Reported::Mended(c.clone())),
            0
        );

        // One gives it up: its own process is unchanged, and the other's last edit is applied, once.
        define(watch.root, "c", 1000);
        wait_for(|| watch.sleeping().contains(&(b.clone(), seconds - 1)));
        wait_for(|| {
            reported(Reported::Mended(b.clone())) == 1 && reported(Reported::Mended(c.clone())) == 1
        });
        assert_eq!(watch.calls(Some("b")), [(Method::Restart, b.clone())]);
        assert_eq!(watch.calls(Some("c")), []);

        // The other way round: the one that had it first gives it up.
        define_as(watch.root, "c", "b", 3000);
        wait_for(|| {
            reported(Reported::Broken(b.clone())) == 2 && reported(Reported::Broken(c.clone())) == 2
        });
        define_as(watch.root, "b", "x", 4000);
        let names = [("a", seconds - 1), ("b", 3000), ("x", 4000)];
        let names = names.map(|(name, seconds)| (name.to_owned(), seconds));
        wait_for(|| watch.sleeping() == names);
        let restarts = [(); 2].map(|()| (Method::Restart, b.clone()));
        assert_eq!(watch.calls(Some("b")), restarts);
        let starts = [(Method::Prepare, "x".to_owned())];
        assert_eq!(watch.calls(Some("x")), starts);
        watch.pm2.forget_calls();
        watch.look_at_everything();
        watch.apply("a", 5000);
        assert_eq!(watch.calls(None), [(Method::Restart, "a".to_owned())]);
    });
}

/// A hard link to a daemon's file, outside of the tree: writing to it causes no event there.
fn other_name(root: &Utf8Path, daemon: &str) -> Utf8PathBuf {
    root.join(format!("{daemon}-by-another-name"))
}

/// Edits the definition of `b` unnoticed, and then reports that it was just written; returns when.
fn write_unnoticed(watch: &Watch<'_>, text: &str) -> Instant {
    // After this edit, the watcher has no more initial batches, which would also cover `b`.
    watch.apply("a", 1500);
    std::fs::write(other_name(watch.root, "b"), text).unwrap();
    let definition = watch.root.join("system/daemons/b/ecosystem.pm2.edn");
    let scope = Scope::Dirty(vec![definition]);
    let cause = Cause::Written;
    let now = Instant::now();
    watch.engine.files_changed(Batch { scope, cause });
    now
}

#[test]
fn a_file_that_was_just_written_is_applied_without_another_report() {
    watching(|watch| {
        write_unnoticed(
            watch,
            "{:apps [{:name \"b\" :script \"/bin/sleep\" :args [\"2000\"]}]}",
        );
        wait_for(|| watch.sleeping().contains(&("b".to_owned(), 2000)));
        assert_eq!(watch.calls(Some("b")), [(Method::Restart, "b".to_owned())]);
    });
}

/// An editor may not have written all of it yet, or the other half of the edit is in another file.
#[test]
fn a_file_that_was_just_written_and_is_broken_counts_later() {
    let conflict = "{:apps [{:name \"a\" :script \"/bin/sleep\" :args [\"1000\"]}]}";
    for broken in ["{:apps [", "", "{:apps 7}", conflict] {
        watching(|watch| {
            let is_broken =
                |watch: &Watch<'_>| watch.reported().contains(&Reported::Broken("b".to_owned()));
            let began = write_unnoticed(watch, broken);
            // Whatever else wakes the engine meanwhile.
            while !is_broken(watch) {
                watch.engine.pm2_changed();
                std::thread::sleep(Duration::from_millis(1));
                assert!(began.elapsed() < Duration::from_secs(20));
            }
            let waited = began.elapsed();
            assert!(waited >= Duration::from_millis(240), "{waited:?}");
            assert_eq!(watch.calls(Some("b")), []);
        });
    }
}

#[test]
fn a_superseded_edit_causes_no_third_restart() {
    watching(|watch| {
        for seconds in [2000, 2001, 2002, 2003] {
            define(watch.root, "b", seconds);
        }
        wait_for(|| watch.sleeping().contains(&("b".to_owned(), 2003)));
        let restarts = watch.calls(None);
        assert!(restarts.len() <= 2, "{restarts:?}");
        watch.apply("c", 2000);
        assert_eq!(watch.calls(Some("b")), restarts);
    });
}
