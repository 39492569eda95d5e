//! The cost of an idle prober. A separate file, because it counts for the whole process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::{Duration, Instant};

use common::{exec, wait_until};
use daemon_model::{Handler, Probe, ProbeKind, Template};
use probe::Prober;

/// How often the threads of this process have waited so far.
fn waits() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let status =
        tasks.map(|task| std::fs::read_to_string(task.path().join("status")).unwrap_or_default());
    let counts = status.filter_map(|status| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line?.trim().parse::<u64>().ok()
    });
    counts.sum()
}

#[test]
fn a_prober_sleeps_until_something_is_due() {
    let (sender, reports) = std::sync::mpsc::channel();
    let prober = Prober::start(move |_| {
        let _ = sender.send(());
    });
    let prober = prober.unwrap();
    let command = vec![Template::literal("unused")];
    let mut rare = Probe::new(ProbeKind::Liveness, Handler::Exec { command });
    rare.period = Duration::from_secs(3600);
    for n in 0..1000 {
        rare.initial_delay = match n {
            0 => Duration::ZERO,
            _ => Duration::from_secs(3600),
        };
        prober.add(n, &rare, exec(&["true"]), Instant::now());
    }
    reports.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut quiet = false;
    wait_until("a second without work", || {
        let before = waits();
        std::thread::sleep(Duration::from_secs(1));
        // This thread's own waits, and what a debugger or a profiler may add.
        quiet = waits() - before <= 3;
        quiet
    });
    assert!(quiet);
}
