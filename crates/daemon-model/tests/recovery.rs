//! When a failed version counts as ready after all, and how an app is handled that waits for another.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{id, policy, running, spec};
use daemon_model::{
    AppFailure, AppSpec, AppState, AppStates, Cause, Condition, Desired, DesiredDaemon, Entry,
    EntryApp, EntryOutcome, Gate, GateInput, History, Observed, Orphan, Planned, PmId,
    ProbeOutcome, Status, plan,
};
use serde_json::{Map, json};

/// When it is judged: long after everything started.
const NOW: u64 = 1_000_000;

fn app(name: &str) -> AppSpec {
    spec("d", &json!({ "name": name, "script": "./app.js" }))
}

/// The history of a daemon whose two apps failed together.
fn failed(outcome: EntryOutcome) -> History {
    let apps = ["a", "b"].map(|name| EntryApp::new(&app(name), Map::new()));
    let mut entry = Entry::pending("test", 40_000, apps.into(), BTreeMap::new());
    entry.outcome = outcome;
    let mut history = History::default();
    history.begin(entry);
    history
}

fn failure() -> EntryOutcome {
    let failures = vec![AppFailure {
        app: "a".to_owned(),
        reason: "exited".to_owned(),
    }];
    EntryOutcome::Failed {
        at_ms: 50_000,
        failures,
    }
}

/// A running app that is left in its failed state.
fn left(name: &str, number: u32) -> AppState {
    let app = app(name);
    let process = Arc::new(running(&app, PmId(0)));
    let condition = Condition::Failed;
    let mut state = AppState::new(app.daemon(), name, Some(1), [process], condition, NOW);
    state.spec = Some(app);
    state.causes.push(Cause::Failed {
        failed: number,
        at_ms: 50_000,
        reason: "exited".to_owned(),
    });
    state
}

fn recovers(history: &mut History, apps: impl IntoIterator<Item = AppState>) -> bool {
    let planned = Planned {
        apps: AppStates::from_iter(apps),
        ..Planned::default()
    };
    let input = GateInput {
        probes: &|_, _| ProbeOutcome::Succeeded,
        restarts_before: &BTreeMap::new(),
        judged_since_ms: &|_| 0,
        now_ms: NOW,
    };
    history.recover(&id("d"), &planned, &input)
}

#[test]
fn a_version_that_failed_and_stays_is_ready_once_all_of_its_apps_are_up() {
    let mut history = failed(failure());
    let number = history.last().map_or(0, |last| last.number);
    let [a, b] = ["a", "b"].map(|name| left(name, number));
    assert!(!recovers(&mut history, [a.clone()]), "an app is missing");
    let mut down = b.clone();
    down.processes.clear();
    assert!(!recovers(&mut history, [a.clone(), down]), "an app is down");
    let others = ["a", "b"].map(|name| left(name, number + 1));
    assert!(!recovers(&mut history, others), "another version stays");
    let is_ready = |history: &History| {
        let last = history.last().map(|last| &last.outcome);
        matches!(last, Some(EntryOutcome::Ready { at_ms: NOW }))
    };
    assert!(!is_ready(&history));
    assert!(recovers(&mut history, [a.clone(), b.clone()]));
    assert!(is_ready(&history));
    let mut superseded = failed(EntryOutcome::Superseded { at_ms: 50_000 });
    assert!(!recovers(&mut superseded, [a, b]), "it did not fail");
}

#[test]
fn orphans_end_although_the_app_waits_unless_a_start_waits() {
    let database = spec("db", &json!({ "name": "db", "script": "./db.js" }));
    let before = json!({ "name": "a", "script": "./app.js", "depends_on": ["db"] });
    let mut now = before.clone();
    now["env"] = json!({ "A": "1" });
    let (before, now) = (spec("d", &before), spec("d", &now));
    let orphan = Orphan {
        pid: 4711,
        start_time_ticks: 1,
        name: "a".to_owned(),
        script: now.script().to_owned(),
        cwd: now.cwd().to_owned(),
        title: String::new(),
        command_line: vec![now.script().to_owned()],
    };
    let mut given_up = running(&database, PmId(0));
    given_up.status = Status::Errored;
    given_up.pid = None;
    let apps = |app: &AppSpec| DesiredDaemon::Apps([app.clone()].into());
    let desired = Desired {
        daemons: [(id("d"), apps(&now)), (id("db"), apps(&database))].into(),
        ..Desired::default()
    };
    let steps = |own: Option<Arc<_>>| -> Vec<String> {
        let processes = [Some(Arc::new(given_up.clone())), own];
        let observed = Observed {
            processes: processes.into_iter().flatten().collect(),
            orphans: vec![orphan.clone()],
            at_ms: NOW,
            ..Observed::default()
        };
        let planned = plan(&desired, &observed, &policy());
        let steps = planned.plan.steps.iter().filter(|step| step.app == "a");
        let kinds = steps.map(|step| format!("{:?}", step.action.kind()));
        kinds.collect()
    };
    assert_eq!(steps(None), [""; 0], "its start waits");
    let runs = Arc::new(running(&before, PmId(1)));
    assert_eq!(steps(Some(runs)), ["End", "Restart"]);
}

#[test]
fn the_time_to_become_ready_begins_after_steps_that_took_long() {
    let window = Duration::from_secs(10);
    let gates = [("a".to_owned(), Gate::new(NOW, window))];
    let apps = vec![EntryApp::new(&app("a"), Map::new())];
    let mut history = History::default();
    history.begin(Entry::pending("test", NOW, apps, gates.into()));
    let deadline = |history: &History| {
        let gate = history.pending().and_then(|entry| entry.gate("a"));
        gate.map(|gate| gate.deadline_ms)
    };
    assert!(
        !history.applied(NOW + 200, |_| Some(window)),
        "they were quick"
    );
    assert_eq!(deadline(&history), Some(NOW + 10_000));
    assert!(!history.applied(NOW + 5000, |_| None), "it has no gate");
    assert!(history.applied(NOW + 201, |_| Some(window)));
    assert_eq!(deadline(&history), Some(NOW + 10_201));
}
