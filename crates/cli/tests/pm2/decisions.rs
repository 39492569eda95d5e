//! `history`, `rollback`, `hold`, `release`, `stop`, `start`, `restart` and `down --all`.

use pm2_client::Status;

use crate::common::{Env, sleeper};

/// The condition of an app, after asserting the exit status of `status`.
#[track_caller]
fn stands(env: &Env, code: i32, app: &str) -> String {
    let status = env.json(code, &["status"]);
    let apps = status["apps"].as_array().unwrap();
    let app = apps.iter().find(|it| it["app"] == app).unwrap();
    app["condition"].as_str().unwrap().to_owned()
}

#[test]
fn a_daemon_is_held_until_it_is_released() {
    let env = Env::with_sleepers(2);
    env.sync();
    let pid = env.pid("app0");
    let held = env.json(0, &["hold", "d0", "--for", "2h", "--reason", "migration"]);
    assert_eq!(held["daemons"][0]["daemon"], "d0");
    assert_eq!(held["daemons"][0]["changed"], true);
    assert!(held["sync"].is_null());
    env.define("d0", &sleeper("app0", 2000));
    env.define("d1", &sleeper("app1", 2000));
    let done = env.expect(3, &["sync"]);
    assert!(done.err.contains("on hold"), "{}", done.err);
    assert!(done.err.contains("`pm2-sync release d0`"), "{}", done.err);
    assert_eq!(env.pid("app0"), pid);
    env.wait_for_args("app1", &["2000"]);
    assert_eq!(stands(&env, 2, "app0"), "on-hold");
    let status = env.expect(2, &["status"]);
    for word in ["on hold", "until", ": migration"] {
        assert!(status.out.contains(word), "no `{word}`:\n{}", status.out);
    }
    let plan = env.expect(2, &["plan"]);
    assert!(plan.err.contains("migration"), "{}", plan.err);
    // The hold has precedence over later requests by a user who may not know of it.
    let history = env.json(0, &["history", "d0"]);
    for verb in ["stop", "start", "restart", "rollback"] {
        let done = env.expect(1, &[verb, "d0"]);
        assert!(done.err.contains("`d0` is on hold by "), "{}", done.err);
        assert!(done.err.contains(": migration"), "{}", done.err);
        assert!(done.err.contains("`pm2-sync release d0`"), "{}", done.err);
    }
    // Nothing is decided for the other selected daemons either.
    let both = env.json(1, &["stop", "d1", "d0"]);
    assert_eq!(both["hint"], "`pm2-sync release d0` ends the hold");
    env.pid("app1");
    assert_eq!(env.pid("app0"), pid);
    assert_eq!(env.json(0, &["history", "d0"]), history);
    let released = env.json(0, &["release", "d0"]);
    assert_eq!(released["daemons"][0]["changed"], true);
    assert_eq!(released["sync"]["steps"][0]["app"], "app0");
    env.wait_for_args("app0", &["2000"]);
    let again = env.json(0, &["release", "d0"]);
    assert_eq!(again["daemons"][0]["changed"], false);
    assert_eq!(again["sync"]["steps"].as_array().unwrap().len(), 0);
    env.sync();
}

#[test]
fn a_hold_ends_by_itself() {
    let env = Env::with_sleepers(1);
    env.sync();
    env.expect(0, &["hold", "d0", "--for", "1s"]);
    env.define("d0", &sleeper("app0", 2000));
    pm2_testbed::wait_for(|| env.run(&["sync"]).code == 0);
    env.wait_for_args("app0", &["2000"]);
    for time in ["soon", "0s", "2"] {
        let done = env.expect(64, &["hold", "d0", "--for", time]);
        assert!(done.err.contains("`2h`"), "{}", done.err);
    }
}

#[test]
fn a_stopped_daemon_stays_stopped_until_it_is_started() {
    let env = Env::with_sleepers(2);
    env.sync();
    let others = env.pid("app1");
    let stopped = env.json(0, &["stop", "d0"]);
    assert_eq!(stopped["daemons"][0]["changed"], true);
    assert_eq!(stopped["sync"]["steps"][0]["action"], "stop");
    assert_eq!(env.named("app0")[0].status, Status::Stopped);
    env.sync();
    assert_eq!(env.named("app0")[0].status, Status::Stopped);
    assert_eq!(stands(&env, 0, "app0"), "stopped");
    let status = env.expect(0, &["status"]);
    assert!(status.out.contains("stopped by "), "{}", status.out);
    // Repeating it does nothing.
    let again = env.json(0, &["stop", "d0"]);
    assert_eq!(again["daemons"][0]["changed"], false);
    assert_eq!(again["sync"]["steps"].as_array().unwrap().len(), 0);
    let started = env.json(0, &["start", "d0"]);
    assert_eq!(started["daemons"][0]["changed"], true);
    env.pid("app0");
    let again = env.json(0, &["start", "d0"]);
    assert_eq!(again["daemons"][0]["changed"], false);
    assert_eq!(again["sync"]["steps"].as_array().unwrap().len(), 0);
    env.sync();
    assert_eq!(env.pid("app1"), others);
}

#[test]
fn a_watcher_respects_decisions_of_users() {
    let env = Env::with_sleepers(1);
    let watch = env.watch(&[]);
    env.expect(0, &["stop", "d0"]);
    assert_eq!(env.named("app0")[0].status, Status::Stopped);
    env.define("d1", &sleeper("app1", 1000));
    pm2_testbed::wait_for(|| !env.named("app1").is_empty());
    assert_eq!(env.named("app0")[0].status, Status::Stopped);
    env.expect(0, &["start", "d0"]);
    env.pid("app0");
    // The watcher notices when it expires.
    env.expect(0, &["stop", "d0", "--for", "1s"]);
    pm2_testbed::wait_for(|| env.named("app0")[0].pid.is_some());
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_daemon_is_restarted_now() {
    let env = Env::with_sleepers(2);
    env.sync();
    let (pid, other) = (env.pid("app0"), env.pid("app1"));
    let done = env.json(0, &["restart", "d0"]);
    assert_eq!(done["sync"]["steps"][0]["action"], "restart");
    assert_eq!(
        done["sync"]["steps"][0]["reasons"][0]["reason"],
        "restart-requested"
    );
    assert_ne!(env.pid("app0"), pid);
    assert_eq!(env.pid("app1"), other);
    env.sync();
    env.define(
        "two",
        "{:apps [{:name \"one\" :script \"/bin/sleep\" :args [\"1000\"]}
                 {:name \"other\" :script \"/bin/sleep\" :args [\"1000\"]}]}",
    );
    env.sync();
    let (one, other) = (env.pid("one"), env.pid("other"));
    env.expect(0, &["restart", "one"]);
    assert_ne!(env.pid("one"), one);
    assert_eq!(env.pid("other"), other);
    let done = env.expect(64, &["restart", "nothing"]);
    assert!(done.err.contains("nothing"), "{}", done.err);
}

#[test]
fn an_older_entry_is_applied_and_kept_until_an_edit() {
    let env = Env::with_sleepers(1);
    let nothing = env.expect(0, &["history"]);
    assert!(
        nothing.err.contains("nothing has been applied"),
        "{nothing:?}"
    );
    env.sync();
    let done = env.expect(64, &["rollback", "d0"]);
    assert!(done.err.contains("pm2-sync history d0"), "{}", done.err);
    env.define("d0", &sleeper("app0", 2000));
    env.sync();
    let back = env.json(0, &["rollback", "d0", "--reason", "too slow"]);
    assert_eq!(back["daemons"][0]["entry"], 1);
    env.wait_for_args("app0", &["1000"]);
    env.sync();
    assert_eq!(stands(&env, 0, "app0"), "pinned");
    let status = env.expect(0, &["status"]);
    for word in ["kept at entry 1 of the history by ", ": too slow"] {
        assert!(status.out.contains(word), "no `{word}`:\n{}", status.out);
    }
    let again = env.json(0, &["rollback", "d0", "--to", "1", "--reason", "too slow"]);
    assert_eq!(again["daemons"][0]["changed"], false);
    let done = env.expect(64, &["rollback", "d0", "--to", "77"]);
    assert!(done.err.contains("no entry 77"), "{}", done.err);

    let history = env.json(0, &["history", "d0"]);
    let entries = history["daemons"][0]["entries"].as_array().unwrap();
    let of = |key: &str| -> Vec<&serde_json::Value> { entries.iter().map(|it| &it[key]).collect() };
    assert_eq!(of("number"), [3, 2, 1]);
    assert_eq!(of("outcome"), ["ready", "ready", "ready"]);
    assert_eq!(entries[0]["back_to"], 1);
    assert_eq!(of("command")[0], "pm2-sync rollback");
    assert_eq!(entries[1]["changes"][0]["changes"][0]["field"], "args");

    env.expect(0, &["release", "d0"]);
    env.wait_for_args("app0", &["2000"]);
    // An edit ends it as well.
    env.expect(0, &["rollback", "d0", "--to", "1"]);
    env.define("d0", &sleeper("app0", 3000));
    env.sync();
    env.wait_for_args("app0", &["3000"]);
    assert_eq!(stands(&env, 0, "app0"), "in-sync");
}

#[test]
fn the_history_shows_what_changed_and_hides_values() {
    let env = Env::new();
    let define = |secret: &str, seconds: u32| {
        env.define(
            "a",
            &format!(
                "{{:apps [{{:name \"a\" :script \"/bin/sleep\" :args [\"{seconds}\"] :env {{:TOKEN \"{secret}\"}}}}]}}"
            ),
        );
        env.sync();
    };
    define("first-secret", 1000);
    define("second-secret", 2000);
    let text = env.expect(0, &["history", "-v"]);
    assert!(
        text.out.contains("args: \"1000\" -> \"2000\""),
        "{}",
        text.out
    );
    assert!(text.out.contains("env.TOKEN: *** -> ***"), "{}", text.out);
    let json = env.expect(0, &["history", "--format", "json"]);
    for done in [&text, &json] {
        assert!(!done.out.contains("secret"), "{}", done.out);
    }
    let shown = env.expect(0, &["history", "--show-values"]);
    assert!(shown.out.contains("second-secret"), "{}", shown.out);
    let done = env.expect(64, &["history", "b"]);
    assert!(done.err.contains("`b`"), "{}", done.err);
}
