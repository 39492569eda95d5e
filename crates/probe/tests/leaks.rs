//! A thousand runs leave nothing behind. A separate file, because it counts for the whole process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::{Duration, Instant};

use common::{Server, children, count, exec, http, sh, tcp, wait_until};
use daemon_model::{Handler, Probe, ProbeKind, Template};
use pm2_testbed::free_port;
use probe::Prober;

#[test]
fn a_thousand_runs_leave_no_process_thread_or_descriptor() {
    let good = Server::answering("HTTP/1.1 200 OK\r\n\r\n");
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = hanging.local_addr().unwrap().port();
    let checks = [
        good.http(),
        good.tcp(),
        tcp("127.0.0.1", free_port()),
        http("no-such-host.invalid", 80),
        http("127.0.0.1", hanging),
        exec(&["true"]),
        exec(&["no-such-command-at-all"]),
        exec(&["sleep", "10"]),
        sh("sleep 10 & exit 0"),
        sh("exit 1"),
    ];
    // Resources that are opened once and kept are opened here.
    for check in &checks {
        let _ = probe::run(check, Duration::from_millis(20));
    }
    let settle = || {
        wait_until("the end of lookups and connections", || count("task") <= 4);
        (count("fd"), children().len())
    };
    let before = settle();
    for _ in 0..100 {
        for check in &checks {
            let _ = probe::run(check, Duration::from_millis(20));
        }
    }
    wait_until("as many descriptors and children as before", || {
        settle() == before
    });

    let command = vec![Template::literal("unused")];
    let probe = Probe {
        period: Duration::from_millis(5),
        timeout: Duration::from_millis(20),
        ..Probe::new(ProbeKind::Liveness, Handler::Exec { command })
    };
    for _ in 0..5 {
        let (sender, reports) = std::sync::mpsc::channel();
        let prober = Prober::start(move |_| {
            let _ = sender.send(());
        });
        let prober = prober.unwrap();
        for (n, check) in checks.iter().cycle().take(100).enumerate() {
            prober.add(n, &probe, check.clone(), Instant::now());
        }
        for _ in 0..200 {
            reports.recv_timeout(Duration::from_secs(20)).unwrap();
        }
    }
    wait_until("as many descriptors and children as before", || {
        settle() == before
    });
}
