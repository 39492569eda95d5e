//! Real PM2 survives every restart and reload with a conf that the message types accept, however strange.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{World, host};
use daemon_model::attribute::{ATTRIBUTES, RUNTIME_KEYS};
use pm2_client::{ConnectOptions, CurrentConf, PmId, ResolvedApp, SocketAdapter};
use pm2_testbed::{Testbed, is_alive};
use serde_json::{Map, Value, json};

/// A server that ends at once when asked.
const SERVER: &str = "
require('http').createServer().listen(0, '127.0.0.1');
process.on('SIGINT', () => process.exit(0));
process.on('message', (message) => message === 'shutdown' && process.exit(0));
";

/// One process on its own PM2.
struct Target {
    bed: Testbed,
    world: World,
    daemon: Option<u32>,
    app: Value,
    id: PmId,
}

impl Target {
    fn new(cluster: bool) -> Self {
        let bed = Testbed::start();
        let mut options = ConnectOptions::default();
        options.deadlines.change = Duration::from_secs(5);
        let world = World {
            root: bed.dir().to_owned(),
            pm2_home: bed.home().to_owned(),
            host: host(bed.env()),
            adapter: Box::new(SocketAdapter::connect(bed.home(), options).unwrap()),
        };
        std::fs::write(bed.dir().join("server.js"), SERVER).unwrap();
        let app = if cluster {
            json!({ "name": "c", "script": "./server.js", "exec_mode": "cluster" })
        } else {
            json!({ "name": "s", "script": "/bin/sleep", "args": ["1000"] })
        };
        let mut target = Self {
            daemon: bed.daemon_pid(),
            bed,
            world,
            app,
            id: PmId(0),
        };
        target.start();
        target
    }

    fn launch(&self) -> ResolvedApp {
        let mut app = self.app.clone();
        app["kill_retry_time"] = json!(10);
        app["listen_timeout"] = json!(200);
        app["env"] = json!({ "A": "1" });
        let spec = self.world.spec("d", &app);
        ResolvedApp::resolve(
            &spec,
            &self.world.root,
            &self.world.pm2_home,
            self.world.host.as_ref(),
        )
        .unwrap()
    }

    fn start(&mut self) {
        let payload = self.launch().prepare(1).unwrap();
        self.id = self.world.adapter.prepare(&payload).unwrap()[0].pm_id;
    }

    /// A complete conf that removes everything left by the previous one.
    fn conf(&mut self) -> Map<String, Value> {
        if !self.world.list().iter().any(|one| one.pm_id == self.id) {
            self.start();
        }
        let list = self.world.list();
        let current = list.iter().find(|one| one.pm_id == self.id).unwrap();
        self.launch()
            .current_conf(current)
            .unwrap()
            .as_map()
            .clone()
    }

    /// Sends the conf with these changes, if the message accepts them. Returns whether it did.
    fn try_changes(&mut self, reload: bool, changes: &[(String, Value)]) -> bool {
        let mut conf = self.conf();
        for (key, value) in changes {
            conf.insert(key.clone(), value.clone());
        }
        let Ok(conf) = CurrentConf::new(conf) else {
            return false;
        };
        // PM2 may refuse or fail, but must not crash.
        let _ = if reload {
            let Ok(conf) = conf.for_reload() else {
                return false;
            };
            self.world.adapter.reload(self.id, &conf)
        } else {
            self.world.adapter.restart(self.id, &conf).map(drop)
        };
        true
    }

    fn lives(&mut self) -> bool {
        self.world.adapter.list().is_ok()
            && self.bed.daemon_pid() == self.daemon
            && self.daemon.is_some_and(is_alive)
    }
}

/// Strange values of every type.
fn strange_values() -> Vec<Value> {
    vec![
        json!("null"),
        json!(""),
        json!("__proto__"),
        json!("ключ 漢 😀 \u{202e}\u{2028}\u{feff}"),
        json!("x".repeat(70_000)),
        json!("/"),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(true),
        json!(null),
        json!([]),
        json!(["null"]),
        json!(["-", "--", "\n", "😀"]),
        json!([0]),
        json!([-1, i64::MAX]),
        json!({}),
        json!({ "null": "null", "toString": "x", "constructor": 1, "hasOwnProperty": false }),
    ]
}

/// Each key of a conf and of PM2's record with each of these values.
fn one_by_one(conf: &Map<String, Value>, values: &[Value]) -> Vec<Vec<(String, Value)>> {
    let mut keys: BTreeSet<&str> = conf.keys().map(String::as_str).collect();
    keys.extend(ATTRIBUTES.iter().map(|attribute| attribute.name));
    let others = [
        "pmx_module",
        "unknown",
        "constructor",
        "PM2_HOME",
        "NODE_OPTIONS",
    ];
    let few = [json!("null"), json!(["null"]), json!(null), json!({})];
    let with = |keys: &mut dyn Iterator<Item = &str>, values: &[Value]| {
        keys.flat_map(|key| {
            values
                .iter()
                .map(move |value| vec![(key.to_owned(), value.clone())])
        })
        .collect::<Vec<_>>()
    };
    let mut all = with(&mut keys.into_iter(), values);
    all.extend(with(&mut RUNTIME_KEYS.iter().chain(&others).copied(), &few));
    all
}

fn together() -> Vec<Vec<(String, Value)>> {
    let changes = |changes: &[(&str, Value)]| {
        changes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect::<Vec<_>>()
    };
    let all_null: Vec<(&str, Value)> = ATTRIBUTES
        .iter()
        .map(|attribute| (attribute.name, json!("null")))
        .filter(|(name, _)| {
            // Required keys of a message.
            !matches!(
                *name,
                "autostart"
                    | "autorestart"
                    | "treekill"
                    | "kill_retry_time"
                    | "exec_mode"
                    | "node_args"
                    | "env"
            )
        })
        .collect();
    let many: Map<String, Value> = (0..2000)
        .map(|n| (format!("KEY_{n}"), json!("v")))
        .collect();
    vec![
        changes(&all_null),
        changes(&[("name", json!("null")), ("namespace", json!("null"))]),
        changes(&[("instance_var", json!("name"))]),
        changes(&[("instance_var", json!("pm_id"))]),
        changes(&[("instance_var", json!("env"))]),
        changes(&[
            ("increment_var", json!("status")),
            ("instance_var", json!("status")),
        ]),
        changes(&[("env", Value::Object(many))]),
        changes(&[("env", json!({ "BIG": "x".repeat(140_000) }))]),
        changes(&[("env", json!({ "A": "null", "null": "null", "": "" }))]),
        changes(&[(
            "env",
            json!({ "A": 1e300, "B": u64::MAX, "C": true, "=": "=" }),
        )]),
        changes(&[(
            "env",
            json!({ "NODE_OPTIONS": "--no-such-option", "NODE_CHANNEL_FD": "77" }),
        )]),
        changes(&[
            ("args", json!(vec!["a"; 5000])),
            ("node_args", json!(["--no-such-option"])),
        ]),
        changes(&[
            ("exec_interpreter", json!("node")),
            ("pm_exec_path", json!("/dev/null")),
        ]),
        changes(&[
            ("exec_mode", json!("cluster_mode")),
            ("pm_exec_path", json!("/does/not/exist")),
        ]),
        changes(&[
            ("exec_mode", json!("fork_mode")),
            ("exec_interpreter", json!("none")),
        ]),
        changes(&[
            ("exec_mode", json!("cluster_mode")),
            ("exec_interpreter", json!("bash")),
        ]),
        changes(&[
            ("uid", json!(4_000_000_000_u32)),
            ("gid", json!(4_000_000_000_u32)),
        ]),
        changes(&[
            ("max_memory_restart", json!(0)),
            ("min_uptime", json!(0)),
            ("max_restarts", json!(0)),
        ]),
        changes(&[
            ("pm_out_log_path", json!("/proc/none/x.log")),
            ("pm_err_log_path", json!("/")),
        ]),
        changes(&[
            ("pm_log_path", json!("/does/not/exist/x.log")),
            ("log_type", json!("json")),
        ]),
        changes(&[
            ("log_date_format", json!("[".repeat(1000))),
            ("time", json!("x")),
        ]),
        changes(&[("pm_pid_path", json!("/proc/none/x.pid"))]),
        changes(&[("pm_cwd", json!("/dev/null"))]),
        changes(&[("cron_restart", json!("0 0 31 2 *"))]),
        changes(&[("cron_restart", json!("x y z a b"))]),
        changes(&[("cron_restart", json!("99 99 99 99 99"))]),
        changes(&[
            ("watch", json!(["/does/not/exist", ""])),
            ("watch_options", json!({ "cwd": 5, "ignored": [5] })),
        ]),
        changes(&[
            ("shutdown_with_message", json!(true)),
            ("treekill", json!(false)),
        ]),
        changes(&[("wait_ready", json!(true)), ("listen_timeout", json!(0))]),
        changes(&[
            ("source_map_support", json!(true)),
            ("v8", json!("x")),
            ("event_loop_inspector", json!({})),
        ]),
    ]
}

/// Sends these confs; returns how many were accepted.
fn send(cluster: bool, reload: bool, confs: &[Vec<(String, Value)>]) -> usize {
    let mut target = Target::new(cluster);
    let (mut sent, mut deaths) = (0, Vec::new());
    for changes in confs {
        sent += usize::from(target.try_changes(reload, changes));
        if !target.lives() {
            let text = format!("{changes:?}");
            deaths.push(text.chars().take(200).collect::<String>());
            target = Target::new(cluster);
        }
    }
    assert!(deaths.is_empty(), "PM2 died of:\n{}", deaths.join("\n"));
    // And it still works.
    assert!(target.try_changes(reload, &[]));
    let list = target.world.list();
    let process = list.iter().find(|one| one.pm_id == target.id).unwrap();
    assert_eq!(process.name, target.app["name"].as_str().unwrap());
    sent
}

fn outlives(cluster: bool, reload: bool, confs: &[Vec<(String, Value)>]) {
    let sent = AtomicUsize::new(0);
    // Most of the time is spent waiting for PM2.
    std::thread::scope(|scope| {
        for part in confs.chunks(confs.len().div_ceil(4)) {
            let sent = &sent;
            scope.spawn(move || sent.fetch_add(send(cluster, reload, part), Ordering::Relaxed));
        }
    });
    let sent = sent.into_inner();
    assert!(
        sent * 3 > confs.len(),
        "only {sent} of {} could be sent",
        confs.len()
    );
}

fn base(cluster: bool) -> Map<String, Value> {
    Target::new(cluster).conf()
}

#[test]
fn a_restart_with_a_strange_value_anywhere() {
    outlives(false, false, &one_by_one(&base(false), &strange_values()));
}

#[test]
fn a_restart_with_strange_values_together() {
    outlives(false, false, &together());
    outlives(true, false, &together());
}

#[test]
fn a_reload_with_a_strange_value_anywhere() {
    outlives(
        true,
        true,
        &one_by_one(&base(true), &[json!("null"), json!(["null"]), json!(0)]),
    );
}

#[test]
fn a_reload_with_strange_values_together() {
    outlives(true, true, &together());
    outlives(false, true, &together());
}
