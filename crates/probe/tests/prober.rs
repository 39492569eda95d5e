//! Many probes side by side on one thread.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{Server, exec, http, processes, sh, tcp, threads, wait_until};
use daemon_model::{Check, Handler, Probe, ProbeKind, Template};
use pm2_testbed::free_port;
use probe::{Health, ProbeResult, Prober, Report};

const PATIENCE: Duration = Duration::from_secs(20);

fn probe(period: u64, timeout: u64) -> Probe {
    let command = vec![Template::literal("unused")];
    Probe {
        period: Duration::from_millis(period),
        timeout: Duration::from_millis(timeout),
        ..Probe::new(ProbeKind::Liveness, Handler::Exec { command })
    }
}

fn start<K: Ord + Clone + Send + 'static>() -> (Prober<K>, Receiver<Report<K>>) {
    let (sender, reports) = channel();
    let prober = Prober::start(move |report| {
        let _ = sender.send(report);
    });
    (prober.unwrap(), reports)
}

/// The next report of this probe.
fn next<K: PartialEq>(reports: &Receiver<Report<K>>, key: &K) -> Report<K> {
    loop {
        let report = reports.recv_timeout(PATIENCE).unwrap();
        if report.key == *key {
            return report;
        }
    }
}

#[test]
fn failures_and_changes_are_reported_and_steady_success_is_not() {
    let server = Server::answering("HTTP/1.1 200 OK\r\n\r\n");
    let port = server.port();
    let (prober, reports) = start();
    prober.add("api", &probe(20, 1000), server.http(), Instant::now());
    let first = next(&reports, &"api");
    assert_eq!(
        (first.result, first.health),
        (ProbeResult::Ready, Health::Ready)
    );
    assert!(reports.recv_timeout(Duration::from_millis(300)).is_err());
    drop(server);
    for failures in 1..=4 {
        let report = next(&reports, &"api");
        assert!(matches!(report.result, ProbeResult::Failed { .. }));
        assert_eq!(report.failures, failures);
        let expected = match failures {
            1 | 2 => Health::Ready,
            _ => Health::Failed,
        };
        assert_eq!(report.health, expected);
    }
    let _server = Server::at(&format!("127.0.0.1:{port}"), |mut stream, _| {
        common::read_request(&mut stream);
        let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n");
    });
    let back = loop {
        let report = next(&reports, &"api");
        if report.result.is_ready() {
            break report;
        }
    };
    assert_eq!((back.health, back.failures), (Health::Ready, 0));
}

#[test]
fn the_initial_delay_is_kept() {
    let (prober, reports) = start();
    let mut delayed = probe(1000, 1000);
    delayed.initial_delay = Duration::from_millis(300);
    let started = Instant::now();
    prober.add("api", &delayed, exec(&["true"]), started);
    next(&reports, &"api");
    assert!(started.elapsed() >= delayed.initial_delay);
}

/// Hundreds of hanging probes use no thread, and other probes run on time.
#[test]
fn probes_that_hang_delay_no_other() {
    let server = Server::start(|_, stopped| stopped.wait());
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (prober, reports) = start();
    for n in 0..200 {
        prober.add(
            n,
            &probe(100, 5000),
            http("127.0.0.1", full.local_addr().unwrap().port()),
            Instant::now(),
        );
    }
    for n in 200..220 {
        prober.add(n, &probe(100, 5000), exec(&["sleep", "60"]), Instant::now());
    }
    wait_until("commands", || processes("sleep\u{0}60").len() >= 20);
    // Every failure is reported, so the times are visible.
    let refused = free_port();
    prober.add(
        1000,
        &probe(50, 1000),
        tcp("127.0.0.1", refused),
        Instant::now(),
    );
    next(&reports, &1000);
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(
            next(&reports, &1000).result.to_string(),
            "connection refused"
        );
    }
    // 20 periods of 50 ms; the others have not reached their deadlines yet.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    // One for each test that runs at the same time, and those for name lookups.
    let threads = threads("prob");
    assert!(threads < 20, "{threads} threads");
    let begin = Instant::now();
    drop(prober);
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(processes("sleep\u{0}60"), Vec::<u32>::new());
    drop(server);
}

/// More than may run at a time: each gets its turn.
#[test]
fn with_too_many_due_probes_the_longest_overdue_goes_first() {
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = full.local_addr().unwrap().port();
    let (prober, reports) = start();
    let now = Instant::now();
    for n in 0..600 {
        prober.add(n, &probe(10, 200), http("127.0.0.1", port), now);
    }
    let mut runs = [0_u32; 600];
    while runs.contains(&0) {
        let report = reports.recv_timeout(PATIENCE).unwrap();
        // The listener's queue may be full: in either case it reaches its deadline.
        assert_eq!(report.result.to_string(), "timeout after 200 ms");
        runs[report.key] += 1;
        assert!(runs[report.key] <= 3, "{} goes before others", report.key);
    }
    // 256 run at a time, so that there are three rounds.
    assert!(
        now.elapsed() >= Duration::from_millis(600),
        "{:?}",
        now.elapsed()
    );
}

#[test]
fn a_probe_that_is_removed_or_replaced_runs_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let note = |word: &str| -> Check { sh(&format!("echo {word} >> {}; exit 1", log.display())) };
    let count = |word: &str| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter(|line| *line == word).count()
    };
    let (prober, reports) = start();
    prober.add("a", &probe(10, 1000), note("first"), Instant::now());
    next(&reports, &"a");
    prober.add("a", &probe(10, 1000), note("second"), Instant::now());
    wait_until("the second", || count("second") > 0);
    let first = count("first");
    wait_until("more of the second", || count("second") > 5);
    assert_eq!(count("first"), first);
    prober.remove("a");
    prober.add("b", &probe(10, 1000), note("third"), Instant::now());
    wait_until("the third", || count("third") > 0);
    let second = count("second");
    wait_until("more of the third", || count("third") > 5);
    assert_eq!(count("second"), second);
    // Removing an unknown probe is allowed, too.
    prober.remove("c");
    prober.stop();
    let third = count("third");
    assert_eq!(processes(&log.display().to_string()), Vec::<u32>::new());
    assert_eq!(count("third"), third);
}

#[test]
fn to_remove_a_probe_kills_its_command() {
    let (prober, reports) = start();
    prober.add(
        "a",
        &probe(10, 60_000),
        exec(&["sleep", "61"]),
        Instant::now(),
    );
    wait_until("the command", || !processes("sleep\u{0}61").is_empty());
    prober.remove("a");
    wait_until("its end", || processes("sleep\u{0}61").is_empty());
    prober.stop();
    assert!(reports.recv().is_err(), "nothing is reported of it");
}

#[test]
fn a_prober_may_be_used_and_dropped_by_its_own_callback() {
    use std::sync::{Arc, Mutex};
    let (sender, done) = channel();
    let own: Arc<Mutex<Option<Prober<u32>>>> = Arc::default();
    let slot = Arc::clone(&own);
    let prober = Prober::start(move |report: Report<u32>| {
        let mut slot = slot.lock().unwrap();
        if let (1, Some(prober)) = (report.key, slot.as_ref()) {
            prober.add(2, &probe(10, 1000), exec(&["false"]), Instant::now());
        } else if report.key == 2 {
            *slot = None;
            let _ = sender.send(());
        }
    });
    let prober = prober.unwrap();
    prober.add(1, &probe(10, 1000), exec(&["false"]), Instant::now());
    *own.lock().unwrap() = Some(prober);
    done.recv_timeout(PATIENCE).unwrap();
}
