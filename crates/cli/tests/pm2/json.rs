//! `--format json`: version 1 of the output of each command. `Env::json` validates every document against its schema.

use std::collections::BTreeSet;

use super::common::{Env, sleeper};
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn every_command_output_matches_its_schema() {
    let env = Env::with_sleepers(2);
    let missing = json!(["d0", "d1"]);
    assert_eq!(env.json(2, &["render", "--check"])["missing"], missing);
    assert_eq!(env.json(2, &["plan"])["steps"].as_array().unwrap().len(), 2);
    assert_eq!(env.json(2, &["status"])["pm2_running"], false);
    assert_eq!(env.json(0, &["render"])["written"], missing);
    assert_eq!(env.json(0, &["render", "--check"])["fresh"], true);
    let configs = env.json(0, &["render", "--stdout", "d0"]);
    assert_eq!(configs["configs"]["d0"]["apps"][0]["name"], "app0");
    let synced = env.json(0, &["sync"]);
    assert_eq!(synced["steps"].as_array().unwrap().len(), 2);
    assert_eq!(synced["pm2_started"], true);
    assert_eq!(env.json(0, &["sync", "--dry-run"])["command"], "plan");
    assert_eq!(env.json(0, &["check", "--strict"])["errors"], 0);
    assert_eq!(env.json(0, &["doctor"])["ok"], true);
    assert_eq!(env.json(0, &["up"])["done"], "started");
    assert!(env.json(0, &["status"])["watcher"]["pid"].is_u64());
    assert_eq!(env.json(0, &["up"])["done"], "already-running");
    assert_eq!(env.json(0, &["down"])["was_running"], true);
    assert_eq!(env.json(0, &["down"])["was_running"], false);
}

#[test]
fn everything_out_of_sync_is_in_the_problems() {
    let env = Env::with_sleepers(4);
    env.write("crash.js", "throw new Error('no luck');\n");
    env.define(
        "e",
        "{:apps [{:name \"crash\" :script \"crash.js\" :max_restarts 1 :min_uptime 60000}]}",
    );
    env.define("f", "{:apps [{:name \"lost\" :script \"lost.js\"}]}");
    let kinds = |data: &Value| -> BTreeSet<String> {
        let problems = data["problems"].as_array().unwrap().iter();
        problems
            .map(|it| it["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = env.json(3, &["sync"]);
    assert!(kinds(&first).contains("failed-step"), "{first:#}");
    assert!(kinds(&first).contains("not-ready"), "{first:#}");
    // Three of six: more than the guard allows.
    for id in ["d0", "d1", "d2"] {
        env.undefine(id);
    }
    env.define("d3", "{:apps [");
    let expected = [
        "held-removal",
        "invalid-definition",
        "not-ready",
        "obstacle",
    ];
    for command in ["plan", "status"] {
        let data = env.json(3, &[command]);
        assert_eq!(kinds(&data), expected.map(Into::into).into(), "{command}");
        let crash = data["apps"].as_array().unwrap().iter();
        let crash = crash.into_iter().find(|app| app["app"] == "crash").unwrap();
        assert_eq!(crash["condition"], "failed");
        assert_eq!(crash["log"]["lines"][0], "Error: no luck", "{crash:#}");
        assert_eq!(data["held"]["daemons"], json!(["d0", "d1", "d2"]));
        assert_eq!(data["broken"], json!(["d3"]));
        assert_eq!(data["failures"][0]["daemon"], "f");
        assert_eq!(data["failures"][0]["attempts"], 1);
    }
    let data = env.json(3, &["sync"]);
    assert!(kinds(&data).contains("held-removal"), "{data:#}");
    assert_eq!(data["failures"][0]["attempts"], 2);
    env.json(3, &["up"]);
    env.json(0, &["down"]);
    env.json(1, &["check"]);
    env.json(1, &["render", "--stdout"]);
    env.json(3, &["render"]);
    env.json(3, &["render", "--check"]);
    // It checks the setup, which is fine.
    let findings = env.json(0, &["doctor"])["findings"].take();
    let findings = findings.as_array().unwrap().iter();
    let warnings = findings.filter(|finding| finding["grade"] == "warning");
    let found: Vec<&str> = warnings.map(|it| it["found"].as_str().unwrap()).collect();
    assert!(found.contains(&"did not become ready: crash"), "{found:?}");
    assert!(found.contains(&"not valid: d3"), "{found:?}");
}

#[test]
fn an_error_is_one_object_as_well() {
    let env = Env::with_sleepers(1);
    for (code, args) in [
        (64, &["plan", "nowhere"][..]),
        (64, &["sync", "--confirm", "yes"]),
        (64, &["plan", "--colour", "always"]),
        (64, &["dance"]),
        (64, &["render", "a.edn"]),
        (1, &["check", "a.edn", "--workspace", "nowhere", "a"]),
        (1, &["status", "--workspace", "nowhere"]),
        (4, &["sync", "--pm2", "/bin/false"]),
    ] {
        let data = env.json(code, args);
        assert_ne!(data["error"], "", "{data:#}");
    }
    let named = env.json(64, &["plan", "nowhere"]);
    assert_eq!(named["command"], "plan");
    assert_eq!(named["hint"], "`pm2-sync status` lists all daemons");
    env.write("pm2-sync.edn", "{:settle 08}");
    let data = env.json(1, &["status"]);
    assert_eq!(data["diagnostics"][0]["file"], "pm2-sync.edn");
    assert_eq!(data["diagnostics"][0]["location"]["column"], 10);
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let env = Env::with_sleepers(1);
    for args in [
        &["plan"][..],
        &["status"],
        &["check", "--format", "json"],
        &["render", "--stdout"],
        &["doctor"],
        &["schema"],
        &["--help"],
        &["--version"],
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let done = env.command(args).stdout(full).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("cannot write to standard output"), "{said}");
    }
}

#[test]
fn events_of_a_watch_match_their_schema() {
    let env = Env::with_sleepers(4);
    let watch = env.watch(&["--format", "json"]);
    let has = |kind: &str| !watch.events(kind).is_empty();
    pm2_testbed::wait_for(|| watch.events("pass").last().unwrap()["in_sync"] == true);
    assert!(has("ready"));
    assert!(has("pm2-started"));
    env.define("d0", "{:apps [");
    pm2_testbed::wait_for(|| has("broken"));
    env.define(
        "d1",
        "{:apps [{:name \"app1\" :script \"/bin/sleep\" :args \"1000\" :exec-mode \"fork\"}]}",
    );
    pm2_testbed::wait_for(|| has("warned"));
    env.define("d0", &sleeper("app0", 1001));
    pm2_testbed::wait_for(|| has("repaired"));
    env.write("system/daemons/ecosystem.pm2.edn", "{:apps []}");
    pm2_testbed::wait_for(|| has("invalid-paths"));
    env.define("f", "{:apps [{:name \"lost\" :script \"lost.js\"}]}");
    pm2_testbed::wait_for(|| has("retrying"));
    env.write("pm2-sync.edn", "{:settle 08}");
    watch.signal(Signal::HUP);
    pm2_testbed::wait_for(|| {
        let reloaded = watch.events("reloaded");
        reloaded.iter().any(|event| event["error"].is_string())
    });
    env.write("pm2-sync.edn", "{}");
    watch.signal(Signal::HUP);
    pm2_testbed::wait_for(|| {
        let reloaded = watch.events("reloaded");
        reloaded.iter().any(|event| event["error"].is_null())
    });
    // An event has no exit status: the command continues.
    let steps = watch.events("step");
    assert!(steps.iter().all(|event| event.get("exit_status").is_none()));
    assert_eq!(watch.stop(), 0);
}
