//! One set of scenarios, run on both real PM2 and the in-memory one. The in-memory one must behave the same.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod common;

use camino::Utf8PathBuf;
use common::{World, host, memory_host};
use daemon_model::{AppSpec, ProcessState, env_text};
use pm2_client::{
    AdapterError, Behaviour, ConnectOptions, CurrentConf, LiveProcess, MemoryAdapter, PmId,
    Prepare, ProcessAdapter, ProcessRecord, ResolveError, ResolvedApp, SocketAdapter, Status,
    observe,
};
use pm2_testbed::{Testbed, wait_for};
use serde_json::{Map, Value, json};

/// Either PM2, with a directory for its apps.
struct Bench {
    world: World,
    // Ends its PM2 when dropped.
    _bed: Option<Testbed>,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    fn real() -> Self {
        let bed = Testbed::start();
        let world = World {
            root: bed.dir().to_owned(),
            pm2_home: bed.home().to_owned(),
            host: host(bed.env()),
            adapter: Box::new(
                SocketAdapter::connect(bed.home(), ConnectOptions::default()).unwrap(),
            ),
        };
        Self {
            world,
            _bed: Some(bed),
            _dir: None,
        }
    }

    fn memory() -> Self {
        let memory = MemoryAdapter::new();
        memory.behave("/bin/false", Behaviour::Crashes);
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let world = World {
            pm2_home: root.join("h"),
            root,
            host: memory_host(&memory),
            adapter: Box::new(memory),
        };
        Self {
            world,
            _bed: None,
            _dir: Some(dir),
        }
    }

    fn launch(&self, app: &Value) -> ResolvedApp {
        let spec: AppSpec = self.world.spec("d", app);
        let world = &self.world;
        ResolvedApp::resolve(&spec, &world.root, &world.pm2_home, world.host.as_ref()).unwrap()
    }

    fn start(&mut self, app: &Value, count: u32) -> Vec<PmId> {
        let payload = self.launch(app).prepare(count).unwrap();
        let started = self.world.adapter.prepare(&payload).unwrap();
        for record in &started {
            assert_eq!(record.pm2_env["name"], json!(record.name));
            assert_eq!(
                record.pid.is_some(),
                record.status == Status::Online,
                "{record:?}"
            );
        }
        started.iter().map(|record| record.pm_id).collect()
    }

    fn get(&mut self, id: PmId) -> ProcessRecord {
        let list = self.world.list();
        list.into_iter().find(|record| record.pm_id == id).unwrap()
    }

    fn live(&mut self, record: &ProcessRecord) -> LiveProcess {
        let pid = record.pid.unwrap();
        self.world.host.inspect(pid).unwrap().unwrap()
    }

    fn restart(&mut self, id: PmId, app: &Value) -> Result<(), AdapterError> {
        let current = self.get(id);
        let conf = self.launch(app).current_conf(&current).unwrap();
        self.world.adapter.restart(id, &conf).map(drop)
    }
}

/// Runs a scenario on both.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod real { $( #[test] fn $name() { super::$name(&mut super::Bench::real()); } )* }
        mod memory { $( #[test] fn $name() { super::$name(&mut super::Bench::memory()); } )* }
    };
}

on_both! {
    an_empty_pm2_lists_nothing
    instances_are_numbered_from_the_lowest_free
    numbers_begin_anew_when_the_list_is_empty
    a_restart_merges_removes_and_keeps_the_label
    an_environment_is_replaced_as_a_whole
    the_answer_to_a_restart_holds_the_new_process
    a_list_is_read_again_only_when_something_may_have_changed
    stopping_twice_is_fine_and_keeps_the_record
    unknown_numbers_are_refused
    log_files_are_numbered_unless_merged
    variables_go_over_the_record
    a_process_without_autostart_is_listed_stopped
    switching_a_watch_off_is_always_fine
    another_connection_sees_the_same
    the_live_process_is_what_was_asked_for
    a_cluster_worker_carries_its_record
    a_directory_is_run_as_pm2_runs_it
    what_pm2_sets_itself_is_left_out
    what_pm2_gave_up_has_no_pid_and_can_be_restarted
    hostile_apps_leave_pm2_alive
}

fn sleeper() -> Value {
    json!({ "name": "s", "script": "/bin/sleep", "args": ["1000"], "kill_retry_time": 10 })
}

fn with(more: Value) -> Value {
    let mut app = sleeper();
    for (key, value) in more.as_object().unwrap() {
        app[key] = value.clone();
    }
    app
}

fn an_empty_pm2_lists_nothing(bench: &mut Bench) {
    assert_eq!(bench.world.list(), []);
    assert!(
        bench
            .world
            .adapter
            .daemon_version()
            .unwrap()
            .starts_with("7.")
    );
}

fn instances_are_numbered_from_the_lowest_free(bench: &mut Bench) {
    let ids = bench.start(&sleeper(), 3);
    let numbers = |bench: &mut Bench| -> Vec<u64> {
        let list = bench.world.list();
        list.iter()
            .map(|record| record.pm2_env["NODE_APP_INSTANCE"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(bench), [0, 1, 2]);
    bench.world.adapter.delete(ids[1]).unwrap();
    let more = bench.start(&sleeper(), 1);
    assert_eq!(more, [PmId(3)]);
    assert_eq!(numbers(bench), [0, 2, 1]);
    let other = bench.start(&with(json!({ "name": "other" })), 1);
    assert_eq!(bench.get(other[0]).pm2_env["NODE_APP_INSTANCE"], 0);
}

fn numbers_begin_anew_when_the_list_is_empty(bench: &mut Bench) {
    let ids = bench.start(&sleeper(), 2);
    assert_eq!(ids, [PmId(0), PmId(1)]);
    for id in ids {
        bench.world.adapter.delete(id).unwrap();
    }
    assert_eq!(bench.start(&sleeper(), 1), [PmId(0)]);
}

fn a_restart_merges_removes_and_keeps_the_label(bench: &mut Bench) {
    let id = bench.start(
        &with(json!({ "max_memory_restart": "1G", "env": { "A": "1", "B": "2" } })),
        1,
    )[0];
    let before = bench.get(id);
    bench
        .restart(id, &with(json!({ "env": { "A": "3" } })))
        .unwrap();
    let after = bench.get(id);
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.status, Status::Online);
    assert_eq!(after.pm2_env["A"], "3");
    for gone in ["B", "max_memory_restart"] {
        assert!(!after.pm2_env.contains_key(gone), "{gone}");
    }
    assert!(after.pm2_env["env"].get("B").is_none());
    assert_eq!(after.pm2_env["pm2_sync"]["app"], "s");
    assert_eq!(after.pm2_env["restart_time"], 1);
    assert_eq!(after.pm2_env["NODE_APP_INSTANCE"], 0);
}

fn an_environment_is_replaced_as_a_whole(bench: &mut Bench) {
    let id = bench.start(&with(json!({ "env": { "A": "1" } })), 1)[0];
    bench.restart(id, &sleeper()).unwrap();
    let after = bench.get(id);
    assert!(after.pm2_env["env"].get("A").is_none() && !after.pm2_env.contains_key("A"));
    let live = bench.live(&after);
    assert!(!live.environ.unwrap().contains_key("A"));
}

fn the_answer_to_a_restart_holds_the_new_process(bench: &mut Bench) {
    let id = bench.start(&with(json!({ "env": { "A": "1" } })), 1)[0];
    let before = bench.get(id);
    let changed = with(json!({ "env": { "A": "2" } }));
    let conf = bench.launch(&changed).current_conf(&before).unwrap();
    let answer = bench.world.adapter.restart(id, &conf).unwrap().unwrap();
    let listed = bench.get(id);
    assert_ne!(answer.pid, before.pid);
    assert_eq!(answer.pid, listed.pid);
    assert_eq!(answer.status, Status::Online);
    assert_eq!(observe(&answer), observe(&listed));
}

fn a_list_is_read_again_only_when_something_may_have_changed(bench: &mut Bench) {
    let id = bench.start(&sleeper(), 1)[0];
    let other = bench.start(&with(json!({ "name": "other" })), 1)[0];
    let adapter = &mut bench.world.adapter;
    let recent = |adapter: &mut Box<dyn ProcessAdapter>, only: Option<&[PmId]>| {
        let mut ids = Vec::new();
        let is_recent = adapter.visit_recent(only, &mut |listed| ids.push(listed.record().pm_id));
        assert!(is_recent || ids.is_empty());
        is_recent.then_some(ids)
    };
    adapter.list().unwrap();
    assert_eq!(recent(adapter, None), None, "lists are not kept by default");
    adapter.keep_lists(true);
    assert_eq!(recent(adapter, None), None);
    adapter.observe().unwrap();
    assert_eq!(recent(adapter, None), Some(vec![id, other]));
    assert_eq!(recent(adapter, Some(&[other])), Some(vec![other]));
    // The list in which one process was looked up is a complete one.
    adapter.records(&[id]).unwrap();
    assert_eq!(recent(adapter, None), Some(vec![id, other]));
    adapter.stop(other).unwrap();
    assert_eq!(recent(adapter, None), None);
    adapter.observe().unwrap();
    adapter.another().unwrap().delete(other).unwrap();
    assert_eq!(recent(adapter, None), None, "another connection changed it");
    adapter.observe().unwrap();
    assert_eq!(recent(adapter, None), Some(vec![id]));
    adapter.keep_lists(false);
    assert_eq!(recent(adapter, None), None);
}

fn stopping_twice_is_fine_and_keeps_the_record(bench: &mut Bench) {
    let id = bench.start(&sleeper(), 1)[0];
    let pid = bench.get(id).pid.unwrap();
    bench.world.adapter.stop(id).unwrap();
    bench.world.adapter.stop(id).unwrap();
    let stopped = bench.get(id);
    assert_eq!((stopped.status, stopped.pid), (Status::Stopped, None));
    assert_eq!(bench.world.host.inspect(pid).unwrap(), None);
    bench.restart(id, &sleeper()).unwrap();
    assert_eq!(bench.get(id).status, Status::Online);
}

fn a_directory_is_run_as_pm2_runs_it(bench: &mut Bench) {
    let root = bench.world.root.clone();
    for dir in ["svc", "svc/below", "pkg.js", "empty"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("svc/index.js"), "setInterval(() => {}, 1000)").unwrap();
    std::fs::write(root.join("pkg.js/run.js"), "setInterval(() => {}, 1000)").unwrap();
    std::fs::write(root.join("pkg.js/package.json"), r#"{ "main": "run.js" }"#).unwrap();
    let apps = [
        json!({ "name": "slash", "script": "./svc/" }),
        json!({ "name": "bare", "script": "svc" }),
        json!({ "name": "dot", "script": ".", "cwd": "svc" }),
        json!({ "name": "dots", "script": "..", "cwd": "svc/below" }),
        json!({ "name": "main", "script": "./pkg.js" }),
        json!({ "name": "cluster", "script": "./svc", "exec_mode": "cluster" }),
        json!({ "name": "inferred", "script": "svc", "instances": 2 }),
    ];
    bench.world.converge(&[("d", &apps)]);
    for record in bench.world.list() {
        let dir = if record.name == "main" {
            "pkg.js"
        } else {
            "svc"
        };
        assert_eq!(
            record.pm2_env["pm_exec_path"],
            json!(root.join(dir)),
            "{}",
            record.name
        );
    }
    let spec = bench
        .world
        .spec("d", &json!({ "name": "empty", "script": "./empty" }));
    let world = &bench.world;
    let refused = ResolvedApp::resolve(&spec, &world.root, &world.pm2_home, world.host.as_ref());
    assert!(
        matches!(refused, Err(ResolveError::ScriptIsDirectory(_))),
        "{refused:?}"
    );
}

fn what_pm2_sets_itself_is_left_out(bench: &mut Bench) {
    std::fs::write(
        bench.world.root.join("app.py"),
        "import time\nwhile True: time.sleep(1)\n",
    )
    .unwrap();
    let mut node =
        with(json!({ "env": { "PM2_HOME": "/srv/pm2", "NODE_CHANNEL_FD": "9", "A": "1" } }));
    let mut python = json!({ "name": "python", "script": "app.py", "env": { "PYTHONUNBUFFERED": "0", "A": "1" } });
    bench
        .world
        .converge(&[("d", &[node.clone(), python.clone()])]);
    let unbuffered = |bench: &mut Bench| {
        let list = bench.world.list();
        list.iter()
            .find(|record| record.name == "python")
            .unwrap()
            .pm2_env["PYTHONUNBUFFERED"]
            .clone()
    };
    assert_eq!(unbuffered(bench), "1");
    // Values written for them have no effect.
    node["env"]["PM2_HOME"] = json!("/elsewhere");
    python["env"]["PYTHONUNBUFFERED"] = json!("2");
    assert!(bench.world.converge(&[("d", &[node, python])]).is_empty());
    assert_eq!(unbuffered(bench), "1");
}

fn what_pm2_gave_up_has_no_pid_and_can_be_restarted(bench: &mut Bench) {
    let crash = |more: Value| {
        let mut app = with(json!({ "script": "/bin/false", "args": [], "max_restarts": 1 }));
        for (key, value) in more.as_object().unwrap() {
            app[key] = value.clone();
        }
        app["min_uptime"] = json!(9000);
        app
    };
    for (more, word) in [
        (json!({}), Status::Errored),
        (json!({ "restart_delay": 20 }), Status::WaitingRestart),
        (
            json!({ "exp_backoff_restart_delay": 20 }),
            Status::WaitingRestart,
        ),
    ] {
        let payload = bench.launch(&crash(more)).prepare(1).unwrap();
        let id = bench.world.adapter.prepare(&payload).unwrap()[0].pm_id;
        wait_for(|| bench.get(id).pm2_env["created_at"].is_null());
        let record = bench.get(id);
        assert_eq!((record.status, record.pid), (word, None));
        assert_eq!(record.pm2_env["exit_code"], 1);
        let state = observe(&record).state(0);
        assert_eq!(state, ProcessState::GaveUp, "{word}");
        bench.restart(id, &sleeper()).unwrap();
        let record = bench.get(id);
        assert_eq!(record.status, Status::Online);
        assert!(record.pid.is_some() && !record.pm2_env["created_at"].is_null());
        bench.world.adapter.delete(id).unwrap();
    }
}

fn unknown_numbers_are_refused(bench: &mut Bench) {
    let id = bench.start(&sleeper(), 1)[0];
    let conf = bench
        .launch(&sleeper())
        .current_conf(&bench.get(id))
        .unwrap();
    let absent = PmId(77);
    let adapter = &mut bench.world.adapter;
    for refused in [
        adapter.stop(absent),
        adapter.delete(absent),
        adapter.restart(absent, &conf).map(drop),
        adapter.reload(absent, &conf.clone().for_reload().unwrap()),
    ] {
        assert!(
            matches!(refused, Err(AdapterError::Refused { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(bench.world.list().len(), 1);
}

fn log_files_are_numbered_unless_merged(bench: &mut Bench) {
    let id = bench.start(
        &with(json!({ "merge_logs": false, "out_file": "./zz-2024.log" })),
        1,
    )[0];
    let record = bench.get(id);
    let root = bench.world.root.clone();
    assert_eq!(
        record.pm2_env["pm_out_log_path"],
        json!(root.join("zz-0.log"))
    );
    let pid_file = record.pm2_env["pm_pid_path"].as_str().unwrap();
    assert!(pid_file.ends_with("/pids/s-0.pid"), "{pid_file}");
    let merged = bench.start(&with(json!({ "merge_logs": true, "name": "m" })), 1)[0];
    let path = bench.get(merged).pm2_env["pm_out_log_path"].clone();
    assert!(
        path.as_str().unwrap().ends_with("/logs/m-out.log"),
        "{path}"
    );
}

fn variables_go_over_the_record(bench: &mut Bench) {
    let id = bench.start(
        &with(json!({ "env": { "NUMBER": 1, "YES": true, "MAP": { "a": 1 } } })),
        1,
    )[0];
    let record = bench.get(id);
    assert_eq!(record.pm2_env["NUMBER"], 1);
    assert_eq!(record.pm2_env["MAP"], "{\"a\":1}");
    let live = bench.live(&record);
    let environ = live.environ.unwrap();
    assert_eq!((&environ["NUMBER"][..], &environ["YES"][..]), ("1", "true"));
    assert!(
        !environ.contains_key("pm2_sync"),
        "the label reached the environment"
    );
}

fn a_process_without_autostart_is_listed_stopped(bench: &mut Bench) {
    let id = bench.start(&with(json!({ "autostart": false })), 1)[0];
    let record = bench.get(id);
    assert_eq!((record.status, record.pid), (Status::Stopped, None));
    bench.restart(id, &sleeper()).unwrap();
    assert_eq!(bench.get(id).status, Status::Online);
}

fn switching_a_watch_off_is_always_fine(bench: &mut Bench) {
    std::fs::create_dir_all(bench.world.root.join("seen")).unwrap();
    let id = bench.start(&with(json!({ "watch": ["seen"] })), 1)[0];
    bench.world.adapter.stop_watch(id).unwrap();
    bench.world.adapter.stop_watch(id).unwrap();
    bench.world.adapter.stop_watch(PmId(77)).unwrap();
    assert_eq!(bench.get(id).pm2_env["watch"], false);
}

fn another_connection_sees_the_same(bench: &mut Bench) {
    let id = bench.start(&sleeper(), 1)[0];
    let mut other = bench.world.adapter.another().unwrap();
    assert_eq!(other.list().unwrap().len(), 1);
    other.delete(id).unwrap();
    assert_eq!(bench.world.list(), []);
}

fn the_live_process_is_what_was_asked_for(bench: &mut Bench) {
    let dir = bench.world.root.join("sub");
    std::fs::create_dir_all(&dir).unwrap();
    let id = bench.start(&with(json!({ "cwd": "sub", "env": { "A": "1" } })), 1)[0];
    let record = bench.get(id);
    let live = bench.live(&record);
    assert_eq!(live.cwd.unwrap(), dir);
    assert_eq!(live.command_line, ["/bin/sleep", "1000"]);
    assert_eq!(live.environ.unwrap()["A"], "1");
}

fn a_cluster_worker_carries_its_record(bench: &mut Bench) {
    let script = bench.world.root.join("server.js");
    let code = "require('http').createServer().listen(0, '127.0.0.1'); process.on('SIGINT', () => process.exit(0));";
    std::fs::write(&script, code).unwrap();
    let app = json!({
        "name": "c", "script": script, "exec_mode": "cluster", "env": { "A": "1" }, "kill_retry_time": 10,
    });
    let ids = bench.start(&app, 2);
    assert_eq!(ids.len(), 2);
    let record = bench.get(ids[0]);
    let live = bench.live(&record);
    let worker: Map<String, Value> =
        serde_json::from_str(&live.environ.unwrap()["pm2_env"]).unwrap();
    assert_eq!(env_text(&worker["A"]), "1");
    let mut changed = app.clone();
    changed["env"] = json!({ "A": "2" });
    let conf = bench.launch(&changed).current_conf(&record).unwrap();
    let reload = conf.clone().for_reload().unwrap();
    bench.world.adapter.reload(ids[0], &reload).unwrap();
    let after = bench.get(ids[0]);
    assert_ne!(after.pid, record.pid);
    assert_eq!(after.pm2_env["A"], "2");
    let mut off = conf.as_map().clone();
    off.insert("autostart".into(), json!(false));
    let off = CurrentConf::new(off).unwrap();
    assert!(off.for_reload().is_err());
    assert_eq!(bench.world.list().len(), 2);
}

/// Apps that are valid for the types, but strange; PM2 may refuse them, but must not crash.
fn hostile_apps_leave_pm2_alive(bench: &mut Bench) {
    let long = "x".repeat(200_000);
    let names = [
        "all",
        "0",
        "/a/",
        "-x",
        "foo.json",
        "__proto__",
        "constructor",
        "ключ 漢 😀",
        "a\nb",
        &long[..300],
    ];
    for name in names {
        let base = bench
            .launch(&sleeper())
            .prepare(1)
            .unwrap()
            .as_map()
            .clone();
        try_hostile(bench, base, &[("name", json!(name))]);
    }
    for changes in [
        vec![("args", json!(vec!["a"; 1000]))],
        vec![("args", json!([long]))],
        vec![("pm_exec_path", json!("/does/not/exist"))],
        vec![("pm_exec_path", json!("/"))],
        vec![("pm_cwd", json!("/does/not/exist"))],
        vec![("pm_out_log_path", json!("/proc/none/x.log"))],
        vec![("exec_interpreter", json!("/does/not/exist"))],
        vec![
            ("exec_interpreter", json!("node")),
            ("exec_mode", json!("cluster_mode")),
        ],
        vec![(
            "env",
            json!({ "toString": "x", "__proto__": "y", "hasOwnProperty": "1" }),
        )],
        vec![("env", json!({ "BIG": "x".repeat(140_000) }))],
        vec![("instance_var", json!("constructor"))],
        vec![
            ("kill_timeout", json!(1e300)),
            ("max_memory_restart", json!(0)),
        ],
        vec![("cron_restart", json!("0 0 31 2 *"))],
        vec![("stop_exit_codes", json!([]))],
        vec![("pm2_sync", json!({ "a": { "b": [null, {}] } }))],
        vec![("unknown", json!(null)), ("more", json!([[[]]]))],
    ] {
        let base = bench
            .launch(&sleeper())
            .prepare(1)
            .unwrap()
            .as_map()
            .clone();
        try_hostile(bench, base, &changes);
    }
}

fn try_hostile(bench: &mut Bench, mut base: Map<String, Value>, changes: &[(&str, Value)]) {
    for (key, value) in changes {
        base.insert((*key).to_owned(), value.clone());
    }
    let Ok(payload) = Prepare::new(base) else {
        return;
    };
    let daemon = bench._bed.as_ref().and_then(Testbed::daemon_pid);
    let started = bench.world.adapter.prepare(&payload).unwrap_or_default();
    let list = bench
        .world
        .adapter
        .list()
        .unwrap_or_else(|error| panic!("{changes:?}: {error}"));
    for record in &list {
        bench.world.adapter.stop_watch(record.pm_id).unwrap();
        bench
            .world
            .adapter
            .delete(record.pm_id)
            .unwrap_or_else(|error| panic!("{changes:?}: {error}"));
    }
    assert!(started.len() <= 1);
    wait_for(|| {
        let left = bench.world.list();
        for record in &left {
            // PM2 was about to start it again when it was deleted, and lists it again. It may be gone by now.
            let _ = bench.world.adapter.delete(record.pm_id);
        }
        left.is_empty()
    });
    let after = bench._bed.as_ref().and_then(Testbed::daemon_pid);
    assert_eq!(daemon, after, "{changes:?}: PM2 died");
}

/// PM2 keeps the pids that it found when it last stopped the process with all its descendants.
#[test]
fn a_process_has_ended_when_a_restart_is_done_also_after_treekill_was_switched_off() {
    let bench = &mut Bench::real();
    let app = |tree: bool| {
        let script = "trap 'sleep 0.5; exit 0' INT; : > ready; while :; do sleep 0.05; done";
        json!({ "name": "s", "script": "/bin/sh", "args": ["-c", script],
            "kill_timeout": 20_000, "kill_retry_time": 10, "treekill": tree })
    };
    let ready = bench.world.root.join("ready");
    let id = bench.start(&app(true), 1)[0];
    for tree in [true, false, false] {
        pm2_testbed::wait_for(|| ready.exists());
        std::fs::remove_file(&ready).unwrap();
        let old = bench.get(id).pid.unwrap();
        bench.restart(id, &app(tree)).unwrap();
        assert!(!pm2_testbed::is_alive(old), "treekill {tree}");
    }
    pm2_testbed::wait_for(|| ready.exists());
    let last = bench.get(id).pid.unwrap();
    bench.world.adapter.delete(id).unwrap();
    assert!(!pm2_testbed::is_alive(last));
}

#[test]
fn a_stopped_pm2_is_distinguished_from_one_that_does_not_answer() {
    let bed = Testbed::home_only();
    let connect = |options| SocketAdapter::connect(bed.home(), options);
    let missing = connect(ConnectOptions::default());
    assert!(
        matches!(missing, Err(AdapterError::NotRunning { .. })),
        "{missing:?}"
    );
    let listener = std::os::unix::net::UnixListener::bind(bed.home().join("rpc.sock")).unwrap();
    let mut short = ConnectOptions::default();
    short.deadlines.question = std::time::Duration::from_millis(50);
    let silent = connect(short);
    assert!(
        matches!(silent, Err(AdapterError::Timeout { .. })),
        "{silent:?}"
    );
    drop(listener);
    let refused = connect(ConnectOptions::default());
    assert!(
        matches!(refused, Err(AdapterError::NotRunning { .. })),
        "{refused:?}"
    );
    let deep = bed.dir().join("x".repeat(120));
    let long = SocketAdapter::connect(&deep, ConnectOptions::default());
    assert!(
        matches!(long, Err(AdapterError::PathTooLong { .. })),
        "{long:?}"
    );
}

#[test]
fn a_list_that_was_asked_for_ahead_is_given_once() {
    let bench = &mut Bench::real();
    let home = bench.world.pm2_home.clone();
    let asking = || {
        let options = ConnectOptions {
            prefetch_list: true,
            ..ConnectOptions::default()
        };
        SocketAdapter::connect(&home, options)
    };
    // Without processes, PM2 has its list ready before its version.
    assert!(asking().unwrap().observe().unwrap().is_empty());
    let id = bench.start(&sleeper(), 1)[0];
    let mut early = asking().unwrap();
    bench.world.adapter.delete(id).unwrap();
    assert_eq!(early.observe().unwrap().len(), 1, "as it was when asked");
    assert!(early.observe().unwrap().is_empty());
    let id = bench.start(&sleeper(), 1)[0];
    let mut early = asking().unwrap();
    early.delete(id).unwrap();
    let list = early.observe().unwrap();
    assert!(list.is_empty(), "another call came before it");
}

#[test]
fn pm2_is_started_once_with_a_clean_environment() {
    let bed = Testbed::home_only();
    let pm2 = pm2_client::Pm2Command::new(pm2_testbed::pm2_bin());
    let stop = pm2_client::StopFlag::default();
    let start = || pm2_client::ensure_running(&pm2, bed.home(), &bed.env(), None, &stop);
    let started = start().unwrap();
    assert_eq!(started, pm2_client::Started::StartedNow);
    let daemon = bed.daemon_pid().unwrap();
    let again = start().unwrap();
    assert_eq!(again, pm2_client::Started::AlreadyRunning);
    assert_eq!(bed.daemon_pid(), Some(daemon));
    let environ = std::fs::read_to_string(format!("/proc/{daemon}/environ")).unwrap();
    assert!(
        !environ.contains("CARGO_MANIFEST_DIR"),
        "the caller's environment reached PM2"
    );
    let nothing = pm2_client::Pm2Command::new("/bin/false");
    let other = Testbed::home_only();
    let failed = pm2_client::ensure_running(&nothing, other.home(), &other.env(), None, &stop);
    assert!(failed.is_err());
}
