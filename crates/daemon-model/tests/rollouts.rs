//! Rollouts in a simulated PM2: the outcome for an app in each situation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod simulation;

use std::sync::Arc;

use common::id;
use daemon_model::{
    Action, ActionKind, Cause, DaemonId, EntryOutcome, EnvFile, EnvFileState, History, OnRemove,
    Override, Pin, PmId, Reason, RestartRequest, Status, UnreadyReason, ValueKey, Values,
};
use serde_json::{Value, json};
use simulation::{Simulation, app};

/// A workspace with the daemon `api`, which has these apps.
fn running(apps: Vec<Value>) -> Simulation {
    let mut sim = Simulation::default();
    edit(&mut sim, apps);
    sim
}

/// Edits the daemon `api`, and waits until its rollout is over. A second sync right after it must do nothing.
fn edit(sim: &mut Simulation, apps: Vec<Value>) {
    sim.define(&id("api"), apps);
    settle(sim);
}

fn settle(sim: &mut Simulation) {
    let planned = sim.settle();
    assert!(planned.plan.steps.is_empty(), "{:?}", planned.plan.steps);
    assert_eq!(planned.attempts, []);
}

/// The state of each app: its condition, and the version of each process, with a `-` in front if it does not run.
fn stands(sim: &Simulation) -> String {
    let planned = sim.plan();
    let apps = planned.apps.iter().map(|state| {
        let versions = state.processes.iter().map(|process| {
            let sign = if process.is_running() { "" } else { "-" };
            format!(" {sign}{}", process.env.get("V").unwrap_or("?"))
        });
        let versions: String = versions.collect();
        format!("{} {}:{versions}", state.app, state.condition)
    });
    apps.collect::<Vec<_>>().join(", ")
}

fn cause(sim: &Simulation, app: &str) -> Cause {
    let planned = sim.plan();
    let state = planned.apps.iter().find(|state| state.app == app).unwrap();
    state.causes.first().unwrap().clone()
}

/// The steps of the next pass.
fn steps(sim: &Simulation) -> String {
    let planned = sim.plan();
    let steps = planned.plan.steps.iter();
    let steps = steps.map(|step| format!("{} {}", step.action.kind(), step.app));
    steps.collect::<Vec<_>>().join(", ")
}

fn one(behaviour: &str, version: u8, more: Value) -> Vec<Value> {
    vec![app("api", behaviour, version, &more)]
}

fn policy(policy: Value) -> Value {
    json!({ "pm2-sync": policy })
}

fn cluster() -> Value {
    json!({ "exec_mode": "cluster", "instances": 2 })
}

#[test]
fn an_app_that_does_not_become_ready_goes_back_and_is_not_tried_again() {
    for behaviour in ["bad", "never"] {
        let mut sim = running(one("good", 1, json!({})));
        assert_eq!(stands(&sim), "api in sync: 1");
        edit(&mut sim, one(behaviour, 2, json!({})));
        assert_eq!(stands(&sim), "api rolled back: 1");
        let Cause::RolledBack {
            failed: 2,
            failures,
            to: 1,
            ..
        } = cause(&sim, "api")
        else {
            panic!("{:?}", cause(&sim, "api"));
        };
        let expected = match behaviour {
            "bad" => "PM2 gave up after 16 unstable restarts",
            _ => "readiness probe: connection refused",
        };
        assert_eq!(failures[0].reason, expected);
        // The same definition again is no change. Another version, or a request for a retry, is.
        edit(&mut sim, one(behaviour, 2, json!({})));
        assert_eq!(sim.histories[&id("api")].last().unwrap().back_to, Some(1));
        edit(&mut sim, one(behaviour, 3, json!({})));
        assert_eq!(stands(&sim), "api rolled back: 1");
        sim.histories.get_mut(&id("api")).unwrap().retry(0);
        assert_eq!(steps(&sim), "restart api");
        settle(&mut sim);
        assert_eq!(stands(&sim), "api rolled back: 1");
        edit(&mut sim, one("slow", 4, json!({})));
        assert_eq!(stands(&sim), "api in sync: 4");
        edit(&mut sim, one(behaviour, 5, json!({})));
        assert_eq!(stands(&sim), "api rolled back: 4");
    }
}

#[test]
fn a_new_app_that_fails_is_left_as_pm2_has_it() {
    let mut sim = running(one("never", 1, json!({})));
    assert_eq!(stands(&sim), "api failed: 1");
    let expected = "readiness probe: connection refused";
    assert!(
        matches!(cause(&sim, "api"), Cause::Failed { failed: 1, reason, .. } if reason == expected)
    );
    // Neither a manual change nor a restart by PM2 is a reason to change it.
    let process = sim.processes.values_mut().next().unwrap();
    (process.status, process.pid) = (Status::Stopped, None);
    assert_eq!(steps(&sim), "");
    // Missing processes are started.
    sim.processes.clear();
    assert_eq!(steps(&sim), "start api");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api failed: 1");
    edit(&mut sim, one("good", 2, json!({})));
    assert_eq!(stands(&sim), "api in sync: 2");
}

#[test]
fn a_mended_probe_is_a_new_attempt_without_a_restart() {
    let mut sim = running(one("never", 1, json!({})));
    let started = sim.processes.values().next().unwrap().started_at_ms;
    // Its author removes the probe.
    let mut mended = one("never", 1, json!({}));
    mended[0].as_object_mut().unwrap().remove("readiness_probe");
    edit(&mut sim, mended);
    assert_eq!(stands(&sim), "api in sync: 1");
    assert_eq!(
        sim.processes.values().next().unwrap().started_at_ms,
        started
    );
    assert_eq!(sim.histories[&id("api")].last_ready().unwrap().number, 2);
}

#[test]
fn a_failure_without_a_change_cannot_be_rolled_back() {
    let mut sim = running(one("good", 1, json!({})));
    edit(&mut sim, one("good", 2, json!({})));
    // The machine has changed, not the app.
    sim.processes.clear();
    for _ in 0..2 {
        sim.round();
    }
    let process = sim.processes.values_mut().next().unwrap();
    (process.status, process.pid, process.exit_code) = (Status::Errored, None, Some(1));
    settle(&mut sim);
    assert_eq!(stands(&sim), "api failed: -2");
}

#[test]
fn the_definition_may_ask_to_stay_or_to_stop() {
    let mut sim = running(one("good", 1, json!({})));
    edit(
        &mut sim,
        one("never", 2, policy(json!({ "on-failure": "keep" }))),
    );
    assert_eq!(stands(&sim), "api failed: 2");
    edit(
        &mut sim,
        one("never", 3, policy(json!({ "on-failure": "stop" }))),
    );
    assert_eq!(stands(&sim), "api failed: -3");
    edit(&mut sim, one("good", 4, json!({})));
    assert_eq!(stands(&sim), "api in sync: 4");
    // This applies to a new app, too.
    let sim = running(one("never", 1, policy(json!({ "on-failure": "stop" }))));
    assert_eq!(stands(&sim), "api failed: -1");
}

#[test]
fn one_more_worker_of_a_cluster_app_tries_a_change_first() {
    let mut sim = running(one("good", 1, cluster()));
    sim.define(&id("api"), one("slow", 2, cluster()));
    let planned = sim.plan();
    let [step] = &planned.plan.steps[..] else {
        panic!("{:?}", planned.plan.steps);
    };
    assert!(matches!(step.action, Action::Start { count: 1, .. }));
    assert_eq!(step.reasons[0], Reason::Canary);
    sim.round();
    for _ in 0..5 {
        assert_eq!(stands(&sim), "api starting: 1 1 2");
        assert_eq!(steps(&sim), "");
        sim.round();
    }
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 2 2");
    // The old workers kept their numbers.
    let numbers: Vec<u32> = sim.processes.keys().map(|id| id.0).collect();
    assert_eq!(numbers, [0, 1]);
}

#[test]
fn no_worker_is_touched_for_a_canary_that_fails() {
    for behaviour in ["bad", "never"] {
        let mut sim = running(one("good", 1, cluster()));
        let before = sim.processes.clone();
        sim.watch = |_, step| assert!(!matches!(step.action, Action::Change { .. }));
        edit(&mut sim, one(behaviour, 2, cluster()));
        assert_eq!(stands(&sim), "api rolled back: 1 1");
        assert_eq!(sim.processes, before);
    }
}

#[test]
fn a_worker_that_does_not_run_costs_the_others_nothing() {
    let mut sim = running(one("good", 1, cluster()));
    let process = sim.processes.get_mut(&PmId(1)).unwrap();
    (process.status, process.pid, process.exit_code) = (Status::Errored, None, Some(1));
    let serves = sim.processes[&PmId(0)].clone();
    sim.define(&id("api"), one("never", 2, cluster()));
    assert_eq!(steps(&sim), "start api");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api degraded: 1 -1");
    assert_eq!(sim.processes[&PmId(0)], serves);
    sim.watch = |_, step| {
        let kind = step.action.kind();
        assert!(kind != ActionKind::Restart && kind != ActionKind::Replace);
    };
    edit(&mut sim, one("good", 3, cluster()));
    assert_eq!(stands(&sim), "api in sync: 3 3");
}

#[test]
fn a_canary_that_is_overtaken_by_another_edit_goes_first() {
    let mut sim = running(one("good", 1, cluster()));
    sim.define(&id("api"), one("never", 2, cluster()));
    sim.round();
    assert_eq!(stands(&sim), "api starting: 1 1 2");
    sim.define(&id("api"), one("good", 3, cluster()));
    assert_eq!(steps(&sim), "delete api, start api");
    sim.round();
    assert_eq!(stands(&sim), "api starting: 1 1 3");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 3 3");
    // When the edit is undone, everything is as before.
    sim.define(&id("api"), one("never", 4, cluster()));
    sim.round();
    edit(&mut sim, one("good", 3, cluster()));
    assert_eq!(stands(&sim), "api in sync: 3 3");
}

#[test]
fn a_canary_and_another_number_of_workers_get_along() {
    for (before, after) in [(4, 2), (2, 4), (1, 1)] {
        let of = |instances: u8| json!({ "exec_mode": "cluster", "instances": instances });
        let mut sim = running(one("good", 1, of(before)));
        sim.watch = |sim, _| assert!(sim.processes.len() <= 5, "one more than the most");
        edit(&mut sim, one("good", 2, of(after)));
        assert_eq!(
            stands(&sim),
            format!("api in sync:{}", " 2".repeat(usize::from(after)))
        );
        let mut sim = running(one("good", 1, of(before)));
        edit(&mut sim, one("bad", 2, of(after)));
        assert_eq!(
            stands(&sim),
            format!("api rolled back:{}", " 1".repeat(usize::from(before)))
        );
    }
}

#[test]
fn without_a_canary_the_workers_roll_back() {
    let mut more = cluster();
    more["pm2-sync"] = json!({ "canary": false });
    let mut sim = running(one("good", 1, more.clone()));
    sim.define(&id("api"), one("never", 2, more));
    assert_eq!(steps(&sim), "reload api");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api rolled back: 1 1");
    // A spec that was ready before needs no canary.
    let mut sim = running(one("good", 1, cluster()));
    edit(&mut sim, one("good", 2, cluster()));
    sim.define(&id("api"), one("good", 1, cluster()));
    assert_eq!(steps(&sim), "reload api");
}

#[test]
fn a_canary_without_a_history_goes_alone_as_well() {
    let mut sim = running(one("good", 1, cluster()));
    sim.histories.clear();
    edit(&mut sim, one("never", 2, cluster()));
    assert_eq!(stands(&sim), "api failed: 1 1");
    sim.processes.remove(&PmId(1));
    assert_eq!(
        steps(&sim),
        "",
        "no worker of a rejected spec beside one that serves"
    );
}

#[test]
fn the_apps_of_a_daemon_go_back_together() {
    let two = |api: &str, worker: &str, version: u8, more: &Value| {
        vec![
            app("api", api, version, more),
            app("worker", worker, version, more),
        ]
    };
    let mut sim = running(two("good", "good", 1, &json!({})));
    edit(&mut sim, two("good", "never", 2, &json!({})));
    assert_eq!(stands(&sim), "api rolled back: 1, worker rolled back: 1");
    // A new app that fails stays, another new one is removed, and a removed one comes back.
    let apps = vec![
        app("api", "never", 3, &json!({})),
        app("new", "good", 3, &json!({})),
        app("failing", "never", 3, &json!({})),
    ];
    edit(&mut sim, apps);
    assert_eq!(
        stands(&sim),
        "api rolled back: 1, failing failed: 3, worker rolled back: 1"
    );
    let alone = policy(json!({ "together": false }));
    let mut sim = running(two("good", "good", 1, &alone));
    edit(&mut sim, two("good", "never", 2, &alone));
    assert_eq!(stands(&sim), "api in sync: 2, worker rolled back: 1");
    // That becomes the new last ready spec.
    edit(&mut sim, two("never", "never", 3, &alone));
    assert_eq!(stands(&sim), "api rolled back: 2, worker rolled back: 1");
}

#[test]
fn a_rollback_never_takes_a_name_from_another_definition() {
    let mut sim = running(vec![
        app("api", "good", 1, &json!({})),
        app("moved", "good", 1, &json!({})),
    ]);
    sim.define(&id("other"), vec![app("moved", "good", 2, &json!({}))]);
    edit(&mut sim, one("bad", 2, json!({})));
    assert_eq!(stands(&sim), "api rolled back: 1, moved in sync: 2");
}

#[test]
fn the_rollback_target_may_fail_as_well() {
    let mut sim = running(one("good", 1, json!({})));
    sim.define(&id("api"), one("bad", 2, json!({})));
    while sim.histories[&id("api")].last().unwrap().number < 3 {
        sim.round();
    }
    // It has just rolled back, and the old spec can no longer start.
    let process = sim.processes.values_mut().next().unwrap();
    (process.status, process.pid, process.exit_code) = (Status::Errored, None, Some(1));
    settle(&mut sim);
    assert_eq!(stands(&sim), "api failed: -1");
}

#[test]
fn the_first_plan_with_a_history_records_running_apps() {
    let mut sim = running(one("good", 1, json!({})));
    sim.histories.clear();
    assert_eq!(steps(&sim), "");
    assert_eq!(stands(&sim), "api in sync: 1");
    settle(&mut sim);
    edit(&mut sim, one("bad", 2, json!({})));
    assert_eq!(stands(&sim), "api rolled back: 1");
}

#[test]
fn a_broken_definition_is_started_from_the_spec_in_force() {
    let mut sim = running(one("good", 1, json!({})));
    edit(&mut sim, one("bad", 2, json!({})));
    sim.definitions.insert(id("api"), None);
    sim.processes.clear();
    settle(&mut sim);
    assert_eq!(stands(&sim), "api broken: 1");
}

#[test]
fn a_failed_step_is_not_a_failed_rollout() {
    let mut sim = running(one("good", 1, json!({})));
    sim.define(&id("api"), one("good", 2, json!({})));
    sim.refuses = ["api".to_owned()].into();
    // Many times its window.
    for _ in 0..100 {
        sim.round();
        assert_eq!(sim.histories[&id("api")].pending(), None);
    }
    assert_eq!(stands(&sim), "api pending: 1");
    let history = &sim.histories[&id("api")];
    assert!(is_not_applied(history));
    // However often it was tried, it displaced no other entry.
    assert_eq!(history.last_ready().unwrap().number, 1);
    assert_eq!(history.entries().len(), 3);
    sim.refuses.clear();
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 2");
    assert!(sim.histories[&id("api")].last().unwrap().outcome.is_ready());
}

fn is_not_applied(history: &History) -> bool {
    matches!(
        history.last().unwrap().outcome,
        EntryOutcome::NotApplied { .. }
    )
}

#[test]
fn apps_applied_beside_a_failed_step_are_judged() {
    let two = |behaviour, version| {
        let all = ["refused", "applied"].into_iter().zip(["good", behaviour]);
        let apps = all.map(|(name, behaviour)| app(name, behaviour, version, &json!({})));
        apps.collect::<Vec<_>>()
    };
    for (behaviour, expected) in [
        ("slow", "applied in sync: 2, refused pending: 1"),
        ("never", "applied rolled back: 1, refused rolled back: 1"),
    ] {
        let mut sim = running(two("good", 1));
        sim.define(&id("api"), two(behaviour, 2));
        sim.refuses = ["refused".to_owned()].into();
        sim.round();
        // The entry that was applied is still judged.
        assert_eq!(sim.histories[&id("api")].pending().unwrap().number, 2);
        for _ in 0..100 {
            sim.round();
        }
        assert_eq!(stands(&sim), expected);
        let outcomes = sim.histories[&id("api")].entries().iter();
        assert_eq!(
            outcomes.filter(|it| it.outcome.is_failed()).count(),
            usize::from(behaviour == "never")
        );
        sim.refuses.clear();
        settle(&mut sim);
        let expected = expected.replace("pending: 1", "in sync: 2");
        assert_eq!(stands(&sim), expected);
    }
}

#[test]
fn an_app_that_pm2_gave_up_is_started_on_request() {
    let mut sim = running(one("bad", 1, json!({})));
    assert_eq!(stands(&sim), "api failed: -1");
    assert_eq!(steps(&sim), "");
    sim.policy.retry = true;
    sim.histories.get_mut(&id("api")).unwrap().retry(0);
    assert_eq!(steps(&sim), "resume api");
    assert_eq!(sim.plan().plan.steps[0].reasons, [Reason::RetryRequested]);
    sim.round();
    // One request means one try.
    sim.policy.retry = false;
    settle(&mut sim);
    assert_eq!(stands(&sim), "api failed: -1");
    // The same applies to a ready spec that was given up long after that.
    let mut sim = running(one("good", 1, json!({})));
    let process = sim.processes.values_mut().next().unwrap();
    (process.status, process.pid) = (Status::Errored, None);
    assert_eq!(steps(&sim), "");
    sim.policy.retry = true;
    assert_eq!(steps(&sim), "resume api");
    sim.round();
    sim.policy.retry = false;
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 1");
}

#[test]
fn an_app_stopped_by_a_user_is_not_judged() {
    let mut sim = running(one("good", 1, json!({})));
    sim.define(&id("api"), one("slow", 2, json!({})));
    sim.round();
    sim.overrides
        .change(&id("api"), |it| it.stop = Some(by("jane")));
    for _ in 0..100 {
        sim.round();
    }
    assert_eq!(stands(&sim), "api stopped: -2");
    assert!(sim.histories[&id("api")].pending().is_some());
    // It gets its full time when it is started again.
    sim.overrides.change(&id("api"), |it| it.stop = None);
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 2");
}

#[test]
fn an_entry_is_only_judged_by_its_own_specs() {
    let pending = || {
        let mut sim = running(one("good", 1, json!({})));
        sim.define(&id("api"), one("slow", 2, json!({})));
        sim.round();
        sim
    };
    // Edited again, but on hold.
    let mut sim = pending();
    sim.overrides
        .change(&id("api"), |it| it.hold = Some(by("jane")));
    sim.define(&id("api"), one("good", 3, json!({})));
    for _ in 0..100 {
        sim.round();
    }
    assert_eq!(stands(&sim), "api on hold: 2");
    assert!(sim.histories[&id("api")].pending().is_some());
    sim.overrides.change(&id("api"), |it| it.hold = None);
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 3");
    // Its definition is removed before it is ready: that does not make it ready.
    let mut sim = pending();
    sim.define(&id("other"), one("good", 1, json!({})));
    sim.definitions.insert(id("api"), Some(Vec::new()));
    for _ in 0..100 {
        sim.round();
    }
    assert!(sim.histories[&id("api")].pending().is_some());
    assert_eq!(sim.histories[&id("api")].last_ready().unwrap().number, 1);
}

#[test]
fn a_held_change_is_not_a_failed_rollout() {
    let hold = policy(json!({ "on-change": "hold" }));
    let mut sim = running(one("good", 1, hold.clone()));
    sim.define(&id("api"), one("good", 2, hold));
    for _ in 0..100 {
        sim.round();
    }
    assert_eq!(stands(&sim), "api on hold: 1");
}

fn by(name: &str) -> Override {
    Override {
        user: Some(name.to_owned()),
        until_ms: Some(9_000_000),
        ..Override::default()
    }
}

#[test]
fn a_daemon_on_hold_gets_no_steps() {
    let mut sim = running(one("good", 1, json!({})));
    let before = sim.processes.clone();
    sim.overrides
        .change(&id("api"), |it| it.hold = Some(by("jane")));
    assert_eq!(stands(&sim), "api in sync: 1");
    edit(&mut sim, one("good", 2, json!({})));
    assert_eq!(stands(&sim), "api on hold: 1");
    let Cause::OnHold { by: who, steps } = cause(&sim, "api") else {
        panic!("{:?}", cause(&sim, "api"));
    };
    assert_eq!(
        (who, steps[0].action.kind()),
        (by("jane"), ActionKind::Restart)
    );
    sim.definitions.clear();
    settle(&mut sim);
    assert_eq!(stands(&sim), "api on hold: 1");
    assert!(sim.plan().plan.held.is_none());
    assert_eq!(sim.processes, before);
    sim.now_ms = 9_000_000;
    assert_eq!(sim.plan().plan.held.unwrap().daemons, [id("api")]);
}

#[test]
fn a_daemon_is_stopped_for_as_long_as_a_person_asks_for_it() {
    let mut sim = running(one("good", 1, cluster()));
    sim.overrides
        .change(&id("api"), |it| it.stop = Some(by("jane")));
    assert_eq!(steps(&sim), "stop api");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api stopped: -1 -1");
    assert!(sim.plan().is_in_sync());
    assert!(matches!(cause(&sim, "api"), Cause::Stopped(who) if who == by("jane")));
    edit(&mut sim, one("good", 2, cluster()));
    assert_eq!(stands(&sim), "api stopped: -1 -1");
    sim.processes.remove(&PmId(1));
    settle(&mut sim);
    assert_eq!(stands(&sim), "api stopped: -1");
    // A broken definition is stopped too.
    sim.definitions.insert(id("api"), None);
    sim.processes.get_mut(&PmId(0)).unwrap().status = Status::Online;
    sim.processes.get_mut(&PmId(0)).unwrap().pid = Some(9);
    assert_eq!(steps(&sim), "stop api");
    sim.define(&id("api"), one("good", 2, cluster()));
    sim.now_ms = 9_000_000;
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 2 2");
}

#[test]
fn an_older_entry_is_in_force_until_the_definition_changes() {
    let mut sim = running(one("good", 1, json!({})));
    edit(&mut sim, one("good", 2, json!({})));
    let definition = sim.defined(&id("api"));
    let definition = definition
        .iter()
        .map(|app| (app.name().to_owned(), app.revision().clone()));
    let pin = Pin {
        number: 1,
        definition: definition.collect(),
        by: by("jane"),
    };
    sim.overrides.change(&id("api"), |it| it.pin = Some(pin));
    settle(&mut sim);
    assert_eq!(stands(&sim), "api pinned: 1");
    assert!(sim.plan().is_in_sync());
    assert_eq!(sim.histories[&id("api")].last().unwrap().back_to, Some(1));
    // It stays that way.
    sim.processes.clear();
    settle(&mut sim);
    assert_eq!(stands(&sim), "api pinned: 1");
    edit(&mut sim, one("good", 3, json!({})));
    assert_eq!(stands(&sim), "api in sync: 3");
}

#[test]
fn an_app_is_restarted_when_a_person_asks_for_it() {
    let mut sim = running(one("good", 1, json!({})));
    let request = RestartRequest::App {
        daemon: id("api"),
        app: None,
    };
    sim.policy.restart.push(request);
    let planned = sim.plan();
    assert_eq!(planned.plan.steps[0].reasons, [Reason::RestartRequested]);
    assert_eq!(planned.attempts[0].gated.len(), 1);
    assert_eq!(steps(&sim), "restart api");
    sim.define(&id("api"), one("good", 2, json!({})));
    assert_eq!(steps(&sim), "restart api");
    // A rolled-back app is restarted without another reason.
    sim.policy.restart.clear();
    edit(&mut sim, one("never", 2, json!({})));
    sim.policy.restart.push(RestartRequest::App {
        daemon: id("api"),
        app: None,
    });
    assert_eq!(sim.plan().plan.steps[0].reasons, [Reason::RestartRequested]);
    // An app that was left as it is after a failure gets another try.
    sim.policy.restart.clear();
    edit(
        &mut sim,
        one("never", 3, policy(json!({ "on-failure": "keep" }))),
    );
    assert_eq!(stands(&sim), "api failed: 3");
    sim.policy.restart.push(RestartRequest::App {
        daemon: id("api"),
        app: Some("api".to_owned()),
    });
    sim.round();
    sim.policy.restart.clear();
    assert_eq!(stands(&sim), "api starting: 3");
    let mut sim = running(one("good", 1, cluster()));
    sim.policy.restart.push(RestartRequest::App {
        daemon: id("api"),
        app: None,
    });
    assert_eq!(steps(&sim), "reload api");
}

#[test]
fn unhealthy_processes_are_restarted_one_at_a_time() {
    let unhealthy = |number: u32| RestartRequest::Unhealthy {
        pm_id: PmId(number),
        why: "timeout after 1 s".to_owned(),
        failures: 3,
    };
    let mut sim = running(one("good", 1, cluster()));
    sim.policy.restart = vec![unhealthy(1), unhealthy(0)];
    let planned = sim.plan();
    let [step] = &planned.plan.steps[..] else {
        panic!("{:?}", planned.plan.steps);
    };
    assert_eq!(step.action.targets().len(), 1);
    assert_eq!(step.action.targets()[0].pm_id, PmId(1));
    let why = "timeout after 1 s".to_owned();
    assert_eq!(step.reasons, [Reason::Unhealthy { why, failures: 3 }]);
    sim.round();
    // The other one has to wait until this one is ready.
    sim.policy.restart = vec![unhealthy(0)];
    assert_eq!(steps(&sim), "");
    sim.policy.restart.clear();
    settle(&mut sim);
    sim.policy.restart = vec![unhealthy(0)];
    assert_eq!(steps(&sim), "reload api");
    // Not while another one does not run.
    sim.processes.get_mut(&PmId(1)).unwrap().status = Status::Launching;
    assert_eq!(steps(&sim), "");
}

/// `api` depends on `db`, in another daemon.
fn with_db(db: &str) -> Simulation {
    let mut sim = Simulation::default();
    sim.define(&id("services/db"), vec![app("db", db, 1, &json!({}))]);
    sim.define(
        &id("api"),
        one("good", 1, json!({ "depends_on": ["services/db"] })),
    );
    sim
}

fn waits_for(sim: &Simulation, app: &str) -> (DaemonId, String, UnreadyReason) {
    let planned = sim.plan();
    let state = planned.apps.iter().find(|state| state.app == app).unwrap();
    let waits = state.causes.iter().find_map(|cause| match cause {
        Cause::Waiting { on, .. } => on.first().cloned(),
        _ => None,
    });
    let unready = waits.unwrap();
    (unready.daemon, unready.app, unready.why)
}

#[test]
fn an_app_is_started_once_its_dependencies_are_ready() {
    let mut sim = with_db("slow");
    assert_eq!(stands(&sim), "api waiting:, db pending:");
    let expected = (id("services/db"), "db".to_owned(), UnreadyReason::Starting);
    assert_eq!(waits_for(&sim, "api"), expected);
    assert_eq!(steps(&sim), "start db");
    sim.round();
    assert_eq!(stands(&sim), "api waiting:, db starting: 1");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 1, db in sync: 1");
    // A change of a dependency does not restart the dependent.
    let before = sim.processes[&PmId(1)].clone();
    sim.define(&id("services/db"), vec![app("db", "good", 2, &json!({}))]);
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 1, db in sync: 2");
    assert_eq!(sim.processes[&PmId(1)], before);
}

#[test]
fn apps_of_one_daemon_may_need_each_other() {
    let more = json!({ "depends_on": ["db"] });
    let apps = |version| {
        vec![
            app("api", "slow", version, &more),
            app("db", "slow", version, &json!({})),
        ]
    };
    let mut sim = running(apps(1));
    assert_eq!(stands(&sim), "api in sync: 1, db in sync: 1");
    assert_eq!(sim.histories[&id("api")].entries().len(), 1, "one rollout");
    // Both change: the dependent is restarted when its dependency is ready again.
    sim.define(&id("api"), apps(2));
    assert_eq!(steps(&sim), "restart db");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 2, db in sync: 2");
    assert_eq!(sim.histories[&id("api")].entries().len(), 2);
}

#[test]
fn an_app_is_not_started_if_a_dependency_failed() {
    let mut sim = with_db("never");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api waiting:, db failed: 1");
    assert_eq!(waits_for(&sim, "api").2, UnreadyReason::Failed);
    sim.define(&id("services/db"), vec![app("db", "good", 2, &json!({}))]);
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 1, db in sync: 2");
    // A running app stays as it is, and may be edited: the edit may be the fix.
    sim.define(
        &id("services/db"),
        vec![app(
            "db",
            "bad",
            3,
            &policy(json!({ "on-failure": "keep" })),
        )],
    );
    settle(&mut sim);
    assert_eq!(stands(&sim), "api in sync: 1, db failed: -3");
    edit(&mut sim, one("good", 2, json!({ "depends_on": ["db"] })));
    assert_eq!(stands(&sim), "api in sync: 2, db failed: -3");
    sim.processes.retain(|_, process| process.name != "api");
    settle(&mut sim);
    assert_eq!(stands(&sim), "api waiting:, db failed: -3");
    // A user stopped it, or does not let it start.
    sim.overrides
        .change(&id("services/db"), |it| it.stop = Some(by("jane")));
    settle(&mut sim);
    assert_eq!(waits_for(&sim, "api").2, UnreadyReason::Stopped);
}

#[test]
fn a_waiting_app_knows_whether_its_waiting_dependency_may_become_ready() {
    let mut sim = with_db("never");
    sim.define(
        &id("web"),
        vec![app("web", "good", 1, &json!({ "depends_on": ["api"] }))],
    );
    assert_eq!(waits_for(&sim, "web").2, UnreadyReason::Waiting);
    settle(&mut sim);
    assert_eq!(waits_for(&sim, "web").2, UnreadyReason::Blocked);
    assert_eq!(stands(&sim), "api waiting:, db failed: 1, web waiting:");
}

#[test]
fn a_pass_over_one_daemon_starts_nothing_else() {
    let mut sim = with_db("good");
    sim.policy.scope.only = Some([id("api")].into());
    assert_eq!(stands(&sim), "api waiting:");
    assert_eq!(waits_for(&sim, "api").2, UnreadyReason::NotRunning);
    assert_eq!(steps(&sim), "");
    sim.policy.scope.only = None;
    sim.define(&id("api"), Vec::new());
    settle(&mut sim);
    sim.define(&id("api"), one("good", 1, json!({ "depends_on": ["db"] })));
    sim.policy.scope.only = Some([id("api")].into());
    assert_eq!(steps(&sim), "start api");
}

#[test]
fn removals_and_stops_go_the_other_way_round() {
    let stages = |sim: &Simulation| {
        let planned = sim.plan();
        let steps = planned.plan.steps.iter();
        let steps = steps.map(|step| format!("{} {}", step.stage, step.app));
        steps.collect::<Vec<_>>().join(", ")
    };
    let mut sim = with_db("good");
    sim.define(&id("x"), vec![app("x", "good", 1, &json!({}))]);
    settle(&mut sim);
    let last = sim.desired();
    let last = last.daemons.values().flat_map(|daemon| daemon.apps());
    sim.policy.last_specs = last
        .map(|app| (app.name().to_owned(), app.clone()))
        .collect();
    for daemon in ["api", "services/db"] {
        sim.overrides
            .change(&id(daemon), |it| it.stop = Some(by("jane")));
    }
    sim.define(&id("x"), vec![app("x", "good", 2, &json!({}))]);
    assert_eq!(stages(&sim), "0 api, 1 db, 2 x");
    sim.overrides = daemon_model::Overrides::default();
    sim.definitions.remove(&id("api"));
    sim.definitions.remove(&id("services/db"));
    let held = sim.plan().plan.held.unwrap();
    sim.policy.confirmed = Some(held.code);
    assert_eq!(stages(&sim), "0 api, 1 db, 2 x");
}

#[test]
fn a_failing_external_value_cannot_be_rolled_back() {
    let mut sim = Simulation::default();
    let with_file = || one("good", 0, json!({ "env": {}, "env_file": ".env" }));
    let rotate = |sim: &mut Simulation, text: &str| {
        let file = EnvFileState::Present(EnvFile::parse(text.as_bytes()).unwrap());
        let mut values = Values::default().with_key(Some(ValueKey::new([1; 32])));
        values.insert("/w/.env".into(), Arc::new(file));
        sim.policy.values = values;
        edit(sim, with_file());
    };
    rotate(&mut sim, "B=good\nV=1");
    assert_eq!(stands(&sim), "api in sync: 1");
    rotate(&mut sim, "B=bad\nV=2");
    // The older entry would run with the same values: old ones are not kept.
    assert_eq!(stands(&sim), "api failed: -2");
    rotate(&mut sim, "B=bad\nV=2\n# the same");
    assert_eq!(stands(&sim), "api failed: -2");
    rotate(&mut sim, "B=good\nV=3");
    assert_eq!(stands(&sim), "api in sync: 3");
    // An older entry runs with the current values.
    edit(&mut sim, one("bad", 4, json!({})));
    assert_eq!(stands(&sim), "api rolled back: 3");
}

#[test]
fn everything_is_removed_on_request() {
    let keep = policy(json!({ "on-remove": "keep", "protect": true }));
    let mut sim = running(one("good", 1, keep));
    sim.definitions.clear();
    sim.policy.on_remove = OnRemove::Stop;
    assert_eq!(steps(&sim), "");
    assert_eq!(stands(&sim), "api kept: 1");
    sim.policy.remove_all = true;
    let held = sim.plan().plan.held.unwrap();
    assert_eq!(held.protected, [id("api")]);
    sim.policy.confirmed = Some(held.code);
    let planned = sim.plan();
    assert_eq!(planned.plan.steps[0].reasons, [Reason::RemovalRequested]);
    assert_eq!(steps(&sim), "delete api");
}
