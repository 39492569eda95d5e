//! The outcome of changes that work and of changes that fail, on real PM2: every section of docs/rollouts.md.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;

use common::Env;
use common::server::{Load, SERVER, Server, get};
use pm2_testbed::{free_port, wait_for};
use serde_json::{Value, json};

/// A workspace with the server's script.
fn workspace() -> (Env, u16) {
    let env = Env::new();
    env.write("app.js", SERVER);
    (env, free_port())
}

/// One app that runs the server.
fn app(name: &str, port: u16, behaviour: &str, version: u32, more: &str) -> String {
    let mut server = Server::new(name, 0);
    server.port = port;
    server.app(
        behaviour,
        version,
        &format!("{more} :pm2-sync {{:within \"5s\"}}"),
    )
}

fn daemon(apps: &[String]) -> String {
    format!("{{:apps [{}]}}", apps.join("\n"))
}

/// The status of an app.
fn status(env: &Env, code: i32, name: &str) -> Value {
    let status = env.json(code, &["status"]);
    let mut apps = status["apps"].as_array().unwrap().iter();
    apps.find(|app| app["app"] == name).unwrap().clone()
}

fn version(env: &Env, name: &str) -> BTreeSet<String> {
    let records = env.named(name).into_iter();
    let version = records.map(|record| record.pm2_env["V"].to_string());
    version.map(|text| text.replace('"', "")).collect()
}

fn numbers(env: &Env, name: &str) -> BTreeSet<(u32, Option<u32>)> {
    let records = env.named(name).into_iter();
    records.map(|record| (record.pm_id.0, record.pid)).collect()
}

#[test]
fn a_fork_app_that_does_not_become_ready_goes_back_and_is_not_tried_again() {
    for (bad, why) in [
        ("crash", "times, last with code 7"),
        ("never", "readiness probe: HTTP 500"),
    ] {
        let (env, port) = workspace();
        env.define("api", &daemon(&[app("api", port, "good", 1, "")]));
        env.sync();
        env.define("api", &daemon(&[app("api", port, bad, 2, "")]));
        let done = env.expect(3, &["sync"]);
        assert!(done.err.contains(why), "{}", done.err);
        if bad == "crash" {
            // PM2 restarts it at once, so it may have exited again after the third exit was counted.
            let (_, exits) = done.err.split_once("exited ").unwrap();
            let (count, _) = exits.split_once(' ').unwrap();
            assert!(count.parse::<u32>().unwrap() >= 3, "{}", done.err);
        }
        assert_eq!(version(&env, "api"), ["1".to_owned()].into());
        wait_for(|| get(port, "/ready") == Some(200));
        let found = status(&env, 3, "api");
        assert_eq!(found["condition"], "rolled-back", "{found:#}");
        // The rejected spec is not tried again, and the old one is left alone.
        let before = numbers(&env, "api");
        assert_eq!(env.json(3, &["plan"])["steps"], json!([]));
        assert_eq!(env.expect(3, &["sync"]).out, "");
        assert_eq!(numbers(&env, "api"), before);
        // `--retry` tries it again.
        let retried = env.json(3, &["sync", "--retry", "api"]);
        assert_eq!(retried["steps"].as_array().unwrap().len(), 2, "{retried:#}");
        assert_eq!(version(&env, "api"), ["1".to_owned()].into());
        // Another edit gets another try.
        env.define("api", &daemon(&[app("api", port, "good", 3, "")]));
        env.sync();
        assert_eq!(version(&env, "api"), ["3".to_owned()].into());
    }
}

#[test]
fn a_new_app_that_does_not_become_ready_stays_until_something_changes() {
    let (env, port) = workspace();
    env.define("api", &daemon(&[app("api", port, "never", 1, "")]));
    let done = env.expect(3, &["sync"]);
    assert!(
        done.err.contains("readiness probe: HTTP 500"),
        "{}",
        done.err
    );
    assert_eq!(status(&env, 3, "api")["condition"], "failed");
    let before = numbers(&env, "api");
    assert_eq!(before.len(), 1);
    assert_eq!(env.expect(3, &["sync"]).out, "");
    assert_eq!(numbers(&env, "api"), before);
    env.define("api", &daemon(&[app("api", port, "slow", 1, "")]));
    env.sync();
}

#[test]
fn a_definition_may_ask_to_stay_or_to_be_stopped() {
    for (rule, running) in [("keep", 1), ("stop", 0)] {
        let (env, port) = workspace();
        let define = |behaviour, version| {
            let app = app("api", port, behaviour, version, "");
            let policy = format!(":pm2-sync {{:on-failure :{rule} :within \"4s\"}}");
            let app = app.replace(":pm2-sync {:within \"5s\"}", &policy);
            env.define("api", &daemon(&[app]));
        };
        define("good", 1);
        env.sync();
        define("never", 2);
        env.expect(3, &["sync"]);
        let found = status(&env, 3, "api");
        assert_eq!(found["condition"], "failed", "{found:#}");
        assert_eq!(found["running"], running, "{found:#}");
        assert_eq!(version(&env, "api"), ["2".to_owned()].into());
        let before = numbers(&env, "api");
        assert_eq!(env.expect(3, &["sync"]).out, "");
        assert_eq!(numbers(&env, "api"), before);
    }
}

#[test]
fn a_cluster_app_tries_a_change_on_one_extra_worker_and_loses_no_request() {
    let (env, port) = workspace();
    // On a busy machine, Node may take a second to start: a worker that ends at once must not look stable by then.
    let cluster = ":exec_mode \"cluster\" :instances 2 :min_uptime 2500";
    env.define("api", &daemon(&[app("api", port, "good", 1, cluster)]));
    env.sync();
    let workers = numbers(&env, "api");
    let load = Load::on(port);
    let mut goal = 500;
    // A readiness probe of a port that the workers share cannot distinguish the canary.
    for bad in ["crash", "crash-later"] {
        load.wait_for(goal);
        env.define("api", &daemon(&[app("api", port, bad, 2, cluster)]));
        env.expect(3, &["sync"]);
        assert_eq!(
            numbers(&env, "api"),
            workers,
            "{bad}: old workers were touched"
        );
        assert_eq!(status(&env, 3, "api")["condition"], "rolled-back");
        assert_eq!(env.expect(3, &["sync"]).out, "");
        goal += 500;
    }
    env.define("api", &daemon(&[app("api", port, "slow", 3, cluster)]));
    env.sync();
    assert_eq!(version(&env, "api"), ["3".to_owned()].into());
    assert_eq!(env.named("api").len(), 2);
    load.wait_for(20_000);
    let (answered, failed) = load.stop();
    assert_eq!(failed, 0, "of {answered}");
}

#[test]
fn a_cluster_app_without_a_canary_goes_back_as_a_whole() {
    let (env, port) = workspace();
    let define = |behaviour, version| {
        let cluster = ":exec_mode \"cluster\" :instances 2 ";
        let app = app("api", port, behaviour, version, cluster);
        let policy = ":pm2-sync {:canary false :within \"4s\"}";
        let app = app.replace(":pm2-sync {:within \"5s\"}", policy);
        env.define("api", &daemon(&[app]));
    };
    define("good", 1);
    env.sync();
    define("never", 2);
    env.expect(3, &["sync"]);
    assert_eq!(version(&env, "api"), ["1".to_owned()].into());
    assert_eq!(env.named("api").len(), 2);
    assert_eq!(status(&env, 3, "api")["condition"], "rolled-back");
    assert_eq!(env.expect(3, &["sync"]).out, "");
}

#[test]
fn apps_of_one_daemon_roll_back_together_unless_configured_otherwise() {
    for (together, other) in [("true", "1"), ("false", "2")] {
        let (env, port) = workspace();
        let other_port = free_port();
        let define = |behaviour, version| {
            let apps = [
                app("bad", port, behaviour, version, ""),
                app("other", other_port, "good", version, ""),
            ];
            let policy = format!(":pm2-sync {{:together {together} :within \"5s\"}}");
            let apps = daemon(&apps).replace(":pm2-sync {:within \"5s\"}", &policy);
            env.define("two", &apps);
        };
        define("good", 1);
        env.sync();
        define("crash", 2);
        env.expect(3, &["sync"]);
        assert_eq!(version(&env, "bad"), ["1".to_owned()].into());
        assert_eq!(
            version(&env, "other"),
            [other.to_owned()].into(),
            "{together}"
        );
        assert_eq!(env.expect(3, &["sync"]).out, "");
    }
}

#[test]
fn an_app_starts_once_its_dependencies_are_ready() {
    let (env, port) = workspace();
    let web = free_port();
    env.define("db", &daemon(&[app("db", port, "slow", 1, "")]));
    let on_db = ":depends_on [\"db\"]";
    env.define("web", &daemon(&[app("web", web, "good", 1, on_db)]));
    env.sync();
    let started = |name: &str| env.named(name)[0].pm2_env["pm_uptime"].to_string();
    let ms = |name: &str| started(name).parse::<u64>().unwrap();
    assert!(ms("web") >= ms("db") + 2000, "it was started too early");

    // Dependents of a failed app are not started, and running ones are left alone.
    let other = free_port();
    env.define("db", &daemon(&[app("db2", other, "never", 2, "")]));
    let late = app("late", free_port(), "good", 1, ":depends_on [\"db2\"]");
    env.define("late", &daemon(&[late]));
    env.define("web", &daemon(&[app("web", web, "good", 1, "")]));
    let done = env.expect(3, &["sync"]);
    assert!(env.named("late").is_empty(), "{done:?}");
    assert_eq!(status(&env, 3, "late")["condition"], "waiting");
    env.pid("web");
}

#[test]
fn a_rollout_continues_without_a_waiting_or_living_sync() {
    let (env, port) = workspace();
    env.define("api", &daemon(&[app("api", port, "good", 1, "")]));
    env.sync();
    env.define("api", &daemon(&[app("api", port, "never", 2, "")]));
    let done = env.expect(3, &["sync", "--no-wait"]);
    assert!(done.err.contains("starting"), "{}", done.err);
    assert_eq!(version(&env, "api"), ["2".to_owned()].into());
    // The next sync finds the entry, waits for the rest of its time, and rolls back.
    env.expect(3, &["sync"]);
    assert_eq!(version(&env, "api"), ["1".to_owned()].into());

    env.define("api", &daemon(&[app("api", port, "never", 3, "")]));
    let mut sync = env.command(&["sync"]).spawn().unwrap();
    wait_for(|| version(&env, "api") == ["3".to_owned()].into());
    sync.kill().unwrap();
    sync.wait().unwrap();
    let watch = env.watch(&[]);
    wait_for(|| version(&env, "api") == ["1".to_owned()].into());
    assert_eq!(watch.stop(), 0);
    assert_eq!(env.expect(3, &["sync"]).out, "");

    // `--timeout` ends the wait, not the rollout.
    env.define("api", &daemon(&[app("api", port, "never", 4, "")]));
    let done = env.expect(3, &["sync", "--timeout", "1"]);
    assert!(
        done.err.contains("api is not ready yet: readiness probe: "),
        "{}",
        done.err
    );
    assert_eq!(version(&env, "api"), ["4".to_owned()].into());
}

#[test]
fn a_watch_takes_other_edits_while_it_judges_one() {
    let (env, port) = workspace();
    let other = free_port();
    env.define("api", &daemon(&[app("api", port, "good", 1, "")]));
    env.define("other", &daemon(&[app("other", other, "good", 1, "")]));
    env.sync();
    let watch = env.watch(&[]);
    env.define("api", &daemon(&[app("api", port, "never", 2, "")]));
    wait_for(|| version(&env, "api") == ["2".to_owned()].into());
    env.define("other", &daemon(&[app("other", other, "good", 2, "")]));
    wait_for(|| version(&env, "other") == ["2".to_owned()].into());
    assert_eq!(
        version(&env, "api"),
        ["2".to_owned()].into(),
        "it is judged still"
    );
    wait_for(|| version(&env, "api") == ["1".to_owned()].into());
    watch.wait_for_line("did not become ready: api: readiness probe: HTTP 500");
    env.wait_until_ready("other");
    wait_for(|| status(&env, 3, "api")["condition"] == "rolled-back");
    // A good edit ends it.
    env.define("api", &daemon(&[app("api", port, "good", 3, "")]));
    wait_for(|| version(&env, "api") == ["3".to_owned()].into());
    env.wait_until_ready("api");
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn a_watch_restarts_a_process_whose_liveness_probe_fails() {
    let (env, port) = workspace();
    let liveness = ":liveness_probe {:http_get {:url \"http://127.0.0.1:${PORT}/\"} :period 200}";
    env.define("api", &daemon(&[app("api", port, "good", 1, liveness)]));
    let watch = env.watch(&[]);
    env.wait_until_ready("api");
    let before = env.pid("api");
    assert_eq!(get(port, "/sicken"), Some(500));
    wait_for(|| get(port, "/") == Some(200));
    assert_ne!(env.pid("api"), before);
    watch.wait_for_line("liveness probe: HTTP 500");
    env.wait_until_ready("api");
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn a_watch_reports_an_app_that_is_not_ready_any_more_and_restarts_nothing() {
    let (env, port) = workspace();
    env.define("api", &daemon(&[app("api", port, "good", 1, "")]));
    let watch = env.watch(&[]);
    env.wait_until_ready("api");
    let before = numbers(&env, "api");
    assert_eq!(get(port, "/sicken"), Some(500));
    watch.wait_for_line("has not been ready since");
    let report = env.json(3, &["status"]);
    assert_eq!(report["problems"][0]["kind"], "not-ready", "{report:#}");
    assert_eq!(report["failures"][0]["unready"], true);
    let text = env.expect(3, &["status"]).out;
    assert!(
        text.contains("not ready: readiness probe: HTTP 500"),
        "{text}"
    );
    env.expect(3, &["sync"]);
    assert_eq!(numbers(&env, "api"), before);
    assert_eq!(get(port, "/heal"), Some(200));
    watch.wait_for_line("is ready again");
    env.expect(0, &["status"]);
    assert_eq!(numbers(&env, "api"), before);
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_failed_app_that_works_after_all_counts_as_ready() {
    let (env, port) = workspace();
    env.define("api", &daemon(&[app("api", port, "never", 1, "")]));
    env.expect(3, &["sync"]);
    let before = numbers(&env, "api");
    let watch = env.watch(&[]);
    assert_eq!(status(&env, 3, "api")["condition"], "failed");
    assert_eq!(get(port, "/heal"), Some(200));
    env.wait_until_ready("api");
    assert_eq!(numbers(&env, "api"), before);
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn an_app_whose_script_was_mended_is_tried_again() {
    let (env, port) = workspace();
    env.define("api", &daemon(&[app("api", port, "good", 1, "")]));
    env.sync();
    env.write("app.js", "process.exit(9)");
    env.define("api", &daemon(&[app("api", port, "good", 2, "")]));
    env.expect(3, &["sync"]);
    env.write("app.js", SERVER);
    env.sync();
    assert_eq!(version(&env, "api"), ["2".to_owned()].into());
}
