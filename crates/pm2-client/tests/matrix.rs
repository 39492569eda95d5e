//! Every attribute of PM2's schema, added, changed and removed, in fork and in cluster mode, on real PM2: after one pass, PM2's
//! record and the live process equal those of a fresh start of the new definition, with nothing left over.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::{World, host};
use daemon_model::attribute::{ATTRIBUTES, RUNTIME_KEYS};
use daemon_model::env_text;
use pm2_client::{ConnectOptions, LiveProcess, ProcessRecord, SocketAdapter, Status};
use pm2_testbed::{Testbed, wait_for};
use serde_json::{Map, Value, json};

/// A server that reports when it is ready, and ends at once when asked.
const SERVER: &str = "
const server = require('http').createServer((_, answer) => answer.end('ok'));
server.listen(0, '127.0.0.1', () => process.send && process.send('ready'));
process.on('SIGINT', () => process.exit(0));
process.on('message', (message) => message === 'shutdown' && process.exit(0));
";

#[derive(Debug, Clone)]
struct Case {
    what: String,
    old: Value,
    new: Value,
}

/// Two values for each attribute; none for those that are tested in another way.
fn values(attribute: &str) -> Option<(Value, Value)> {
    Some(match attribute {
        "name_prefix" | "install_url" | "log_type" => (json!("one"), json!("two")),
        "filter_env" => (json!(["LANG"]), json!("LANG")),
        "namespace" => (json!("one"), json!("two")),
        "cwd" => (json!("./one"), json!("./two")),
        "args" => (json!(["a"]), json!(["b", "c d"])),
        "exec_interpreter" => (json!("./one-node"), json!("./two-node")),
        "node_args" => (
            json!(["--no-warnings"]),
            json!(["--trace-warnings", "--no-deprecation"]),
        ),
        "out_file" | "error_file" | "log_file" => {
            (json!("./logs/one.log"), json!("./logs/two.log"))
        }
        "pid_file" => (json!("./one.pid"), json!("./two.pid")),
        "log_date_format" => (json!("YYYY"), json!("MM")),
        "max_memory_restart" => (json!("900M"), json!("1G")),
        "restart_delay" | "exp_backoff_restart_delay" | "watch_delay" => (json!(100), json!(200)),
        "kill_timeout" | "listen_timeout" => (json!(2500), json!(3500)),
        "cron_restart" => (json!("0 0 1 1 *"), json!("0 0 2 1 *")),
        "stop_exit_codes" => (json!([11, 12]), json!([13])),
        "watch" => (json!(["watched"]), json!(["watched", "more"])),
        "ignore_watch" => (json!(["a"]), json!(["b"])),
        "watch_options" => (
            json!({ "usePolling": false }),
            json!({ "usePolling": false, "interval": 900 }),
        ),
        "min_uptime" => (json!(2000), json!("3s")),
        "max_restarts" => (json!(5), json!(0)),
        "post_update" => (json!(["echo one"]), json!(["echo two"])),
        "increment_var" | "instance_var" => (json!("ONE"), json!("TWO")),
        "port" => (json!(18080), json!(18081)),
        "kill_retry_time" => (json!(15), json!(20)),
        "io" => (json!({ "a": 1 }), json!({ "a": 2 })),
        "vizion" | "autorestart" | "pmx" | "automation" | "treekill" | "windowsHide" => {
            (json!(false), json!(true))
        }
        // Tracing makes PM2 look for packages that are not installed; users need root; the others have their own tests.
        "trace" | "deep_monitoring" | "uid" | "gid" | "username" | "script" | "name" | "env"
        | "instances" | "exec_mode" | "autostart" => return None,
        _ => (json!(true), json!(false)),
    })
}

fn app(cluster: bool, more: &[(&str, Value)]) -> Value {
    let mut app = json!({ "name": "app", "script": "./server.js", "kill_retry_time": 10 });
    if cluster {
        app["exec_mode"] = json!("cluster");
    }
    for (key, value) in more {
        app[*key] = value.clone();
    }
    app
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cluster in [false, true] {
        let mut add = |what: String, old: &[(&str, Value)], new: &[(&str, Value)]| {
            cases.push(Case {
                what: format!("{} {what}", if cluster { "cluster" } else { "fork" }),
                old: app(cluster, old),
                new: app(cluster, new),
            });
        };
        for attribute in ATTRIBUTES {
            let name = attribute.name;
            let Some((one, two)) = values(name) else {
                continue;
            };
            add(format!("{name} added"), &[], &[(name, one.clone())]);
            add(
                format!("{name} changed"),
                &[(name, one.clone())],
                &[(name, two.clone())],
            );
            add(format!("{name} removed"), &[(name, one)], &[]);
        }
        let env = |value: Value| [("env", value)];
        add("env added".into(), &[], &env(json!({ "A": "1" })));
        add(
            "env key added".into(),
            &env(json!({ "A": "1" })),
            &env(json!({ "A": "1", "B": "2" })),
        );
        add(
            "env key changed".into(),
            &env(json!({ "A": "1" })),
            &env(json!({ "A": "2" })),
        );
        add(
            "env key removed".into(),
            &env(json!({ "A": "1", "B": "2" })),
            &env(json!({ "A": "1" })),
        );
        add(
            "env removed".into(),
            &env(json!({ "A": "1", "B": "2" })),
            &[],
        );
        for (what, value) in [
            ("a number", json!(1)),
            ("a switch", json!(true)),
            ("a map", json!({ "b": [1] })),
            ("the text null", json!("null")),
        ] {
            add(
                format!("env key to {what}"),
                &env(json!({ "A": "1" })),
                &env(json!({ "A": value })),
            );
        }
        add(
            "inherited variable declared".into(),
            &[],
            &env(json!({ "LANG": "C" })),
        );
        add(
            "inherited variable undeclared".into(),
            &env(json!({ "LANG": "C" })),
            &[],
        );
        add(
            "script changed".into(),
            &[],
            &[("script", json!("./other.js"))],
        );
        add(
            "script to a name without slash".into(),
            &[],
            &[("script", json!("other.js"))],
        );
        add("name changed".into(), &[], &[("name", json!("renamed"))]);
        add(
            "instances up".into(),
            &[("instances", json!(1))],
            &[("instances", json!(3))],
        );
        add(
            "instances down".into(),
            &[("instances", json!(3))],
            &[("instances", json!(1))],
        );
        add("instances removed".into(), &[("instances", json!(2))], &[]);
        add(
            "args to the text null".into(),
            &[("args", json!(["a"]))],
            &[("args", json!(["null"]))],
        );
        add(
            "everything at once".into(),
            &[
                ("args", json!(["a"])),
                ("env", json!({ "A": "1" })),
                ("max_memory_restart", json!("1G")),
                ("cwd", json!("./one")),
            ],
            &[
                ("node_args", json!(["--no-warnings"])),
                ("env", json!({ "B": "1" })),
                ("watch", json!(["watched"])),
                ("out_file", json!("./x.log")),
            ],
        );
    }
    let other_mode = |old: &str, new: &str| Case {
        what: format!("{old} to {new}"),
        old: app(false, &[("exec_mode", json!(old)), ("instances", json!(2))]),
        new: app(false, &[("exec_mode", json!(new)), ("instances", json!(2))]),
    };
    cases.push(other_mode("fork", "cluster"));
    cases.push(other_mode("cluster", "fork"));
    for (what, old, new) in [
        ("off", json!(true), json!(false)),
        ("on", json!(false), json!(true)),
    ] {
        cases.push(Case {
            what: format!("fork autostart {what}"),
            old: app(false, &[("autostart", old.clone())]),
            new: app(false, &[("autostart", new.clone())]),
        });
        cases.push(Case {
            what: format!("cluster autostart {what}"),
            old: app(true, &[("autostart", old)]),
            new: app(true, &[("autostart", new)]),
        });
    }
    cases
}

fn world(bed: &Testbed) -> World {
    let root = bed.dir().join("w");
    for dir in ["one", "two", "watched", "more"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let host = host(bed.env());
    let node = host.node();
    for dir in ["", "one", "two"] {
        for script in ["server.js", "other.js"] {
            std::fs::write(root.join(dir).join(script), SERVER).unwrap();
        }
        for link in ["one-node", "two-node"] {
            std::os::unix::fs::symlink(&node, root.join(dir).join(link)).unwrap();
        }
    }
    World {
        root,
        pm2_home: bed.home().to_owned(),
        host,
        adapter: Box::new(SocketAdapter::connect(bed.home(), ConnectOptions::default()).unwrap()),
    }
}

/// PM2's record without what changes by itself, and the process without its identity.
fn essence(record: &ProcessRecord, live: Option<&LiveProcess>) -> Value {
    let numbered = format!("-{}.", record.pm_id);
    let text = |text: &str| text.replace(&numbered, "-N.");
    let mut own: Map<String, Value> = Map::new();
    let mut put = |prefix: &str, key: &str, value: &Value| {
        let kept = !RUNTIME_KEYS.contains(&key) && !matches!(key, "unique_id" | "NODE_CHANNEL_FD");
        if kept {
            // A process sees the text of a variable, whether it was written as a number or not.
            let value = match value {
                Value::Array(_) | Value::Object(_) => value.clone(),
                scalar => json!(text(&env_text(scalar))),
            };
            own.insert(format!("{prefix}{key}"), value);
        }
    };
    for (key, value) in &record.pm2_env {
        put("", key, value);
    }
    for (key, value) in record.pm2_env["env"].as_object().unwrap() {
        put("env.", key, value);
    }
    if let Some(live) = live {
        let environ = live.environ.clone().unwrap();
        let environ: BTreeMap<String, Value> = match environ.get("pm2_env") {
            Some(worker) => serde_json::from_str(worker).unwrap(),
            None => environ
                .into_iter()
                .map(|(key, value)| (key, json!(value)))
                .collect(),
        };
        for (key, value) in environ {
            if key != "env" {
                put("live.", &key, &value);
            }
        }
        own.insert("live cwd".into(), json!(live.cwd));
        // Node keeps the room of its old arguments after its title.
        own.insert("live command".into(), json!(live.command_line[0]));
    }
    Value::Object(own)
}

fn essences(world: &mut World) -> Vec<Value> {
    // A node that has just been spawned has not set its title and directory yet.
    let mut last = Vec::new();
    wait_for(|| {
        let list = world.list();
        let mut settled = true;
        last = list
            .iter()
            .map(|record| {
                let live = record.pid.and_then(|pid| world.host.inspect(pid).unwrap());
                let ready = live.as_ref().is_some_and(|live| {
                    live.command_line[0].starts_with("node /")
                        && live.cwd.as_ref().map(|cwd| cwd.as_str())
                            == record.pm2_env["pm_cwd"].as_str()
                });
                settled &= ready || record.status == Status::Stopped;
                essence(record, live.as_ref())
            })
            .collect();
        settled
    });
    last.sort_by_key(|one| one["NODE_APP_INSTANCE"].as_str().map(ToOwned::to_owned));
    last
}

fn clear(world: &mut World) {
    world.adapter.list().unwrap();
    for record in world.list() {
        world.adapter.stop_watch(record.pm_id).unwrap();
        world.adapter.delete(record.pm_id).unwrap();
    }
    wait_for(|| world.list().is_empty());
}

fn run(case: &Case, world: &mut World) -> Result<Vec<&'static str>, String> {
    clear(world);
    world.converge(&[("d", std::slice::from_ref(&case.old))]);
    let actions = world.converge(&[("d", std::slice::from_ref(&case.new))]);
    let changed = essences(world);
    clear(world);
    world.converge(&[("d", std::slice::from_ref(&case.new))]);
    let fresh = essences(world);
    if changed == fresh {
        return Ok(actions);
    }
    let mut text = format!(
        "{} ({actions:?}): {} and {} processes",
        case.what,
        changed.len(),
        fresh.len()
    );
    for (changed, fresh) in changed.iter().zip(&fresh) {
        let keys: std::collections::BTreeSet<&String> = [changed, fresh]
            .iter()
            .flat_map(|one| one.as_object().unwrap().keys())
            .collect();
        for key in keys {
            if changed.get(key) != fresh.get(key) {
                text += &format!(
                    "\n    {key}: {:?}, fresh {:?}",
                    changed.get(key),
                    fresh.get(key)
                );
            }
        }
    }
    Err(text)
}

#[test]
fn every_attribute_converges_to_the_state_of_a_fresh_start() {
    let only = std::env::var("MATRIX").ok();
    let cases: Vec<Case> = cases()
        .into_iter()
        .filter(|case| {
            only.as_ref()
                .is_none_or(|only| case.what.contains(only.as_str()))
        })
        .collect();
    let total = cases.len();
    let queue = Mutex::new(cases.into_iter());
    let wrong = Mutex::new(Vec::new());
    let actions: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let bed = Testbed::start();
                let mut world = world(&bed);
                let daemon = bed.daemon_pid();
                loop {
                    let Some(case) = queue.lock().unwrap().next() else {
                        break;
                    };
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        run(&case, &mut world)
                    }));
                    match result {
                        Ok(Ok(took)) => {
                            for action in took {
                                *actions.lock().unwrap().entry(action).or_default() += 1;
                            }
                        }
                        Ok(Err(text)) => wrong.lock().unwrap().push(text),
                        Err(_) => wrong
                            .lock()
                            .unwrap()
                            .push(format!("{}: panicked, see above", case.what)),
                    }
                    assert_eq!(bed.daemon_pid(), daemon, "{}: PM2 died", case.what);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    println!(
        "{} of {total} converge: {:?}",
        total - wrong.len(),
        actions.into_inner().unwrap()
    );
    assert!(
        wrong.is_empty(),
        "{} of {total} do not converge:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(only.is_some() || total > 350, "only {total} cases");
}
