//! When an app is ready, when it waits, and when it has failed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use daemon_model::{
    AppSpec, Gate, GateInput, ObservedProcess, PmId, ProbeKind, ProbeOutcome, Readiness, Status,
    readiness,
};
use serde_json::{Value, json};

/// When the gate began.
const BEGAN: u64 = 1_000_000;

fn spec(mut app: Value) -> AppSpec {
    for (key, value) in [("name", "api"), ("script", "./api.js")] {
        let map = app.as_object_mut().unwrap();
        map.entry(key).or_insert_with(|| json!(value));
    }
    common::spec("api", &app)
}

/// A running process of the app that was started when the gate began.
fn process(app: &AppSpec, pm_id: u32) -> ObservedProcess {
    ObservedProcess {
        started_at_ms: Some(BEGAN),
        ..common::running(app, PmId(pm_id))
    }
}

/// What a case changes about a process.
type Change<'a> = &'a dyn Fn(&mut ObservedProcess);

/// One case: an app, how many processes have to be ready, its processes, its probe results, when it is judged, and when it was
/// first judged.
struct Case<'a> {
    app: Value,
    want: u32,
    processes: Vec<Change<'a>>,
    startup: ProbeOutcome,
    readiness: ProbeOutcome,
    after_ms: u64,
    judged_after_ms: u64,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            app: json!({}),
            want: 1,
            processes: vec![&|_| {}],
            startup: ProbeOutcome::Succeeded,
            readiness: ProbeOutcome::Succeeded,
            after_ms: 5000,
            judged_after_ms: 0,
        }
    }
}

impl Case<'_> {
    fn judge(&self) -> String {
        let app = spec(self.app.clone());
        let gate = Gate::new(BEGAN, app.window());
        let changes = self.processes.iter().zip(0..);
        let processes: Vec<ObservedProcess> = changes
            .map(|(change, pm_id)| {
                let mut process = process(&app, pm_id);
                change(&mut process);
                process
            })
            .collect();
        let probes = |_: PmId, kind: ProbeKind| match kind {
            ProbeKind::Startup => self.startup.clone(),
            _ => self.readiness.clone(),
        };
        let input = GateInput {
            probes: &probes,
            restarts_before: &BTreeMap::from([(PmId(0), 7)]),
            judged_since_ms: &|_| BEGAN + self.judged_after_ms,
            now_ms: BEGAN + self.after_ms,
        };
        match readiness(&app, self.want, &gate, &processes, &input) {
            Readiness::Ready => "ready".to_owned(),
            Readiness::Waiting(lacks) => format!("waiting: {lacks}"),
            Readiness::Failed(lacks) => format!("failed: {lacks}"),
        }
    }
}

fn unknown(why: &str) -> ProbeOutcome {
    let why = (!why.is_empty()).then(|| why.to_owned());
    ProbeOutcome::Unknown { why }
}

#[track_caller]
fn check(case: Case<'_>, expected: &str) {
    assert_eq!(case.judge(), expected);
}

#[test]
fn an_app_without_probes_is_ready_when_it_has_been_up_for_min_uptime() {
    for (app, after_ms, expected) in [
        (json!({}), 999, "waiting: has not been up for 1 s"),
        (json!({}), 1000, "ready"),
        (
            json!({ "min_uptime": 2500 }),
            2499,
            "waiting: has not been up for 2500 ms",
        ),
        (json!({ "min_uptime": 2500 }), 2500, "ready"),
        // Its window is longer then.
        (
            json!({ "min_uptime": 60_000 }),
            59_999,
            "waiting: has not been up for 60 s",
        ),
        (json!({ "min_uptime": 60_000 }), 60_000, "ready"),
    ] {
        let shown = app.to_string();
        let case = Case {
            app,
            after_ms,
            ..Case::default()
        };
        assert_eq!(case.judge(), expected, "{shown} {after_ms}");
    }
}

#[test]
fn pm2_has_to_say_online_with_a_process() {
    let launching: Change<'_> = &|it| it.status = Status::Launching;
    for (app, expected) in [
        (json!({}), "waiting: PM2 is starting it"),
        (
            json!({ "wait_ready": true }),
            "waiting: has not sent `ready`",
        ),
    ] {
        check(
            Case {
                app,
                processes: vec![launching],
                ..Case::default()
            },
            expected,
        );
    }
    for (change, expected) in [
        (
            (|it| it.pid = None) as fn(&mut ObservedProcess),
            "waiting: PM2 says `online`, but there is no process",
        ),
        (|it| it.status = Status::Stopping, "waiting: is stopped"),
        (
            |it| (it.status, it.pid) = (Status::Stopped, None),
            "waiting: is stopped",
        ),
        (
            |it| it.status = Status::Errored,
            "waiting: PM2 could not stop it",
        ),
        // Processes of another spec do not count.
        (
            |it| it.label.as_mut().unwrap().spec.0 = "v1:other".to_owned(),
            "waiting: 0 of 1 processes started",
        ),
        (|it| it.label = None, "waiting: 0 of 1 processes started"),
        (
            |it| it.label.as_mut().unwrap().spec.0 = "v0:other".to_owned(),
            "ready",
        ),
    ] {
        check(
            Case {
                processes: vec![&change],
                ..Case::default()
            },
            expected,
        );
    }
}

#[test]
fn an_app_judged_late_gets_the_time_that_its_probes_need() {
    let probe = json!({ "tcp_socket": { "port": 1 }, "period": 500, "timeout": "1s" });
    let app = json!({ "readiness_probe": probe, "pm2-sync": { "within": "5s" } });
    let no_result = "readiness probe: no result yet";
    for (readiness, judged_after_ms, after_ms, expected) in [
        // `min_uptime`, and one run of the probe.
        (unknown(""), 60_000, 60_000, format!("waiting: {no_result}")),
        (unknown(""), 60_000, 62_499, format!("waiting: {no_result}")),
        (unknown(""), 60_000, 62_500, format!("failed: {no_result}")),
        (
            unknown("HTTP 500"),
            60_000,
            60_100,
            "failed: readiness probe: HTTP 500".to_owned(),
        ),
        (ProbeOutcome::Succeeded, 60_000, 60_100, "ready".to_owned()),
        // Just before its time is over.
        (unknown(""), 4_900, 5_000, format!("waiting: {no_result}")),
        // Never longer than its full window.
        (unknown(""), 0, 4_999, format!("waiting: {no_result}")),
        (unknown(""), 0, 5_000, format!("failed: {no_result}")),
    ] {
        let case = Case {
            app: app.clone(),
            readiness,
            after_ms,
            judged_after_ms,
            ..Case::default()
        };
        assert_eq!(case.judge(), expected, "{judged_after_ms} {after_ms}");
    }
    // PM2 has just started it, after a boot.
    for (after_ms, expected) in [
        (60_999, "waiting: has not been up for 1 s"),
        (61_000, "ready"),
    ] {
        let started: Change<'_> = &|it| it.started_at_ms = Some(BEGAN + 60_000);
        check(
            Case {
                processes: vec![started],
                judged_after_ms: 60_000,
                after_ms,
                ..Case::default()
            },
            expected,
        );
    }
}

#[test]
fn the_startup_probe_comes_before_the_readiness_probe_and_both_before_the_uptime() {
    let probe = json!({ "tcp_socket": { "port": 1 } });
    let app =
        json!({ "startup_probe": probe, "readiness_probe": probe, "pm2-sync": { "within": "5s" } });
    for (startup, readiness, after_ms, expected) in [
        (
            unknown(""),
            unknown("x"),
            0,
            "waiting: startup probe: no result yet",
        ),
        (
            unknown("connection refused"),
            unknown("x"),
            0,
            "waiting: startup probe: connection refused",
        ),
        (
            ProbeOutcome::Succeeded,
            unknown("HTTP 500"),
            0,
            "waiting: readiness probe: HTTP 500",
        ),
        (
            ProbeOutcome::Succeeded,
            ProbeOutcome::Succeeded,
            0,
            "waiting: has not been up for 1 s",
        ),
        (
            ProbeOutcome::Succeeded,
            ProbeOutcome::Succeeded,
            4999,
            "ready",
        ),
        (
            ProbeOutcome::Succeeded,
            unknown("HTTP 500"),
            5000,
            "failed: readiness probe: HTTP 500",
        ),
        // Late, but ready.
        (
            ProbeOutcome::Succeeded,
            ProbeOutcome::Succeeded,
            9000,
            "ready",
        ),
    ] {
        let app = app.clone();
        check(
            Case {
                app,
                startup,
                readiness,
                after_ms,
                ..Case::default()
            },
            expected,
        );
    }
    // Undeclared probes are not run.
    check(
        Case {
            readiness: unknown("x"),
            startup: unknown("x"),
            ..Case::default()
        },
        "ready",
    );
}

#[test]
fn every_worker_has_to_be_ready() {
    let app = json!({ "exec_mode": "cluster", "instances": 2 });
    let (up, young): (Change<'_>, Change<'_>) =
        (&|_| {}, &|it| it.started_at_ms = Some(BEGAN + 4500));
    for (want, processes, expected) in [
        (2, vec![up], "waiting: 1 of 2 processes started"),
        (2, vec![up, young], "waiting: has not been up for 1 s"),
        (2, vec![up, up], "ready"),
        // A canary.
        (1, vec![up], "ready"),
        (1, vec![young], "waiting: has not been up for 1 s"),
    ] {
        let app = app.clone();
        check(
            Case {
                app,
                want,
                processes,
                ..Case::default()
            },
            expected,
        );
    }
}

#[test]
fn it_has_failed_when_pm2_gave_up_or_it_exits_again_and_again() {
    let in_a_minute = json!({ "restart_delay": 60_000 });
    let soon = json!({ "restart_delay": 3000 });
    for (app, change, expected) in [
        (
            json!({}),
            (|it| {
                (it.status, it.pid, it.exit_code) = (Status::Errored, None, Some(1));
            }) as fn(&mut ObservedProcess),
            "failed: PM2 gave up after 16 unstable restarts",
        ),
        (
            json!({ "max_restarts": 3 }),
            |it| (it.status, it.pid, it.exit_code) = (Status::Errored, None, Some(1)),
            "failed: PM2 gave up after 3 unstable restarts",
        ),
        // It had been restarted 7 times before the change.
        (json!({}), |it| it.restarts = 9, "ready"),
        (
            json!({}),
            |it| (it.restarts, it.exit_code) = (10, Some(3)),
            "failed: exited 3 times, last with code 3",
        ),
        (
            json!({}),
            |it| (it.restarts, it.exit_code) = (11, Some(0)),
            "failed: exited 4 times",
        ),
        (
            json!({}),
            |it| {
                (it.restarts, it.unstable_restarts, it.exit_code) = (8, 1, Some(1));
                it.started_at_ms = Some(BEGAN + 4900);
            },
            "waiting: exited with code 1; PM2 starts it again",
        ),
        (
            in_a_minute.clone(),
            |it| (it.status, it.restarts, it.exit_code) = (Status::WaitingRestart, 7, Some(2)),
            "failed: exited with code 2",
        ),
        (
            soon,
            |it| (it.status, it.restarts, it.exit_code) = (Status::WaitingRestart, 7, Some(2)),
            "waiting: exited with code 2; PM2 starts it again",
        ),
        // A job that runs every minute.
        (
            in_a_minute,
            |it| (it.status, it.restarts, it.exit_code) = (Status::WaitingRestart, 7, Some(0)),
            "ready",
        ),
    ] {
        let shown = app.to_string();
        let case = Case {
            app,
            processes: vec![&change],
            ..Case::default()
        };
        assert_eq!(case.judge(), expected, "{shown}");
    }
}

#[test]
fn it_has_failed_when_its_time_is_over() {
    let refused = || unknown("connection refused");
    let probe = json!({ "tcp_socket": { "port": 1 }, "period": 500, "failure_threshold": 4 });
    for (app, seconds, what) in [
        (json!({ "wait_ready": true }), 10, "has not sent `ready`"),
        (
            json!({ "readiness_probe": probe, "wait_ready": true }),
            30,
            "has not sent `ready`",
        ),
        (
            json!({ "startup_probe": probe, "wait_ready": true }),
            2,
            "has not sent `ready`",
        ),
        (
            json!({ "startup_probe": probe, "wait_ready": true, "pm2-sync": { "within": "1m" } }),
            60,
            "has not sent `ready`",
        ),
    ] {
        for (after_ms, word) in [(seconds * 1000 - 1, "waiting"), (seconds * 1000, "failed")] {
            let case = Case {
                app: app.clone(),
                processes: vec![&|it| it.status = Status::Launching],
                startup: refused(),
                after_ms,
                ..Case::default()
            };
            check(case, &format!("{word}: {what}"));
        }
    }
}

#[test]
fn an_app_that_ends_by_design_is_ready_when_it_ended_well_or_is_up() {
    let ended = |code: i64| {
        move |it: &mut ObservedProcess| {
            (it.status, it.pid, it.exit_code) = (Status::Stopped, None, Some(code));
        }
    };
    for (app, code, expected) in [
        (json!({ "autorestart": false }), 0, "ready"),
        (
            json!({ "autorestart": false }),
            1,
            "failed: exited with code 1",
        ),
        (
            json!({ "autorestart": false, "cron_restart": "0 0 * * *" }),
            0,
            "ready",
        ),
        (
            json!({ "autorestart": false, "stop_exit_codes": [0, 3] }),
            3,
            "ready",
        ),
        (json!({ "stop_exit_codes": [3] }), 3, "ready"),
    ] {
        let shown = app.to_string();
        let ended = ended(code);
        let case = Case {
            app,
            processes: vec![&ended],
            after_ms: 100,
            ..Case::default()
        };
        assert_eq!(case.judge(), expected, "{shown}");
    }
    let job = || json!({ "autorestart": false });
    // Its last run, before the change, failed.
    let old: Change<'_> = &|it| {
        ended(1)(it);
        it.started_at_ms = Some(BEGAN - 1);
    };
    check(
        Case {
            app: job(),
            processes: vec![old],
            ..Case::default()
        },
        "ready",
    );
    check(
        Case {
            app: job(),
            ..Case::default()
        },
        "ready",
    );
    let never: Change<'_> = &|it| (it.status, it.pid) = (Status::Stopped, None);
    let app = json!({ "autostart": false });
    check(
        Case {
            app,
            processes: vec![never],
            ..Case::default()
        },
        "ready",
    );
}

#[test]
fn an_app_has_time_to_be_up() {
    for (app, seconds) in [
        (json!({}), 10),
        (json!({ "min_uptime": "8s" }), 16),
        (
            json!({ "min_uptime": "8s", "pm2-sync": { "within": "9s" } }),
            9,
        ),
        (
            json!({ "startup_probe": { "tcp_socket": { "port": 1 }, "period": 10, "failure_threshold": 5 } }),
            2,
        ),
    ] {
        let shown = app.to_string();
        assert_eq!(spec(app).window(), Duration::from_secs(seconds), "{shown}");
    }
}
