//! How often PM2's list is requested, the most expensive request, and that reusing a list never changes the wrong process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use camino::Utf8PathBuf;
use common::{World, host, memory_host};
use daemon_model::{Outcome, Status};
use pm2_client::{
    ConnectOptions, Fault, MemoryAdapter, Method, ProcessAdapter, ResolvedApp, SocketAdapter,
    StepError,
};
use pm2_testbed::{Testbed, is_alive};
use serde_json::{Value, json};

fn app(name: &str, seconds: u32) -> Value {
    json!({ "name": name, "script": "/bin/sleep", "args": [seconds.to_string()] })
}

fn memory() -> (MemoryAdapter, World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    let pm2 = MemoryAdapter::new();
    let mut adapter = pm2.clone();
    adapter.keep_lists(true);
    let world = World {
        pm2_home: root.join("pm2"),
        root,
        host: memory_host(&pm2),
        adapter: Box::new(adapter),
    };
    (pm2, world, dir)
}

/// Executes the plan for these apps of one daemon, and reads what is to be saved afterwards; returns how often the list was
/// requested.
#[track_caller]
fn lists(pm2: &MemoryAdapter, world: &mut World, apps: &[Value]) -> usize {
    let before = pm2.lists();
    let report = world.pass(&[("d", apps)]);
    assert!(report.is_complete(), "{report:?}");
    assert!(!report.steps.is_empty());
    if !world.adapter.visit_recent(None, &mut |_| {}) {
        world.adapter.list().unwrap();
    }
    pm2.lists() - before
}

#[test]
fn a_change_of_one_app_asks_for_the_list_before_and_after_it() {
    let (pm2, mut world, _dir) = memory();
    let cluster = |seconds: u32| {
        let mut app = app("b", seconds);
        app["exec_mode"] = json!("cluster");
        app
    };
    let started = lists(&pm2, &mut world, &[app("a", 1), cluster(1)]);
    assert_eq!(started, 2, "started");
    let restarted = lists(&pm2, &mut world, &[app("a", 2), cluster(1)]);
    assert_eq!(restarted, 2, "restarted");
    let reloaded = lists(&pm2, &mut world, &[app("a", 2), cluster(2)]);
    assert_eq!(reloaded, 2, "reloaded");
    // Removed processes are looked up once more.
    let removed = lists(&pm2, &mut world, &[app("a", 2)]);
    assert_eq!(removed, 3, "removed");
    let again = world.plan(&[("d", &[app("a", 2)])]);
    assert!(again.is_in_sync(), "{again:?}");
}

#[test]
fn a_process_that_does_not_run_is_looked_for_once_more() {
    let (pm2, mut world, _dir) = memory();
    lists(&pm2, &mut world, &[app("a", 1)]);
    let id = world.list()[0].pm_id;
    pm2.edit_record(id, |record| {
        record.status = Status::Errored;
        record.pid = None;
        record.pm2_env.insert("status".into(), json!("errored"));
    });
    assert_eq!(lists(&pm2, &mut world, &[app("a", 2)]), 3);
}

#[test]
fn after_a_lost_answer_an_older_list_is_not_reused() {
    let (pm2, mut world, _dir) = memory();
    lists(&pm2, &mut world, &[app("a", 1)]);
    pm2.inject(Method::Restart, 0, Fault::LoseAnswer);
    let report = world.pass(&[("d", &[app("a", 2)])]);
    assert!(!report.is_complete());
    assert!(!world.adapter.visit_recent(None, &mut |_| {}));
    let again = world.plan(&[("d", &[app("a", 2)])]);
    assert!(again.is_in_sync(), "{again:?}");
}

/// The connection of the plan cannot know what another one does meanwhile.
#[test]
fn a_process_that_others_replaced_since_the_list_was_read_is_left_alone() {
    let bed = Testbed::start();
    let connect = || SocketAdapter::connect(bed.home(), ConnectOptions::default()).unwrap();
    let root = bed.dir().join("w");
    std::fs::create_dir_all(&root).unwrap();
    let mut adapter = connect();
    adapter.keep_lists(true);
    let mut world = World {
        root,
        pm2_home: bed.home().to_owned(),
        host: host(bed.env()),
        adapter: Box::new(adapter),
    };
    world.converge(&[("d", &[app("a", 1000)])]);
    // Another process gets the number that the plan refers to.
    let mut others = connect();
    let spec = world.spec("d", &app("b", 1000));
    let other = ResolvedApp::resolve(&spec, &world.root, &world.pm2_home, world.host.as_ref());
    let other = other.unwrap().prepare(1).unwrap();
    let planned = world.plan(&[("d", &[app("a", 2000)])]);
    let id = planned.apps[0].processes[0].pm_id;
    others.delete(id).unwrap();
    let stranger = others.prepare(&other).unwrap().remove(0);
    assert_eq!(stranger.pm_id, id);
    let report = world.carry_out(&planned.plan);
    let failed = report.steps.iter().map(|step| &step.outcome);
    for outcome in failed {
        let Outcome::Failed(error) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(matches!(error, StepError::TargetChanged { .. }), "{error}");
    }
    let after = others.list().unwrap();
    assert_eq!(after[0].pid, stranger.pid);
    assert!(is_alive(stranger.pid.unwrap()));
}
