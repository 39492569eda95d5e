//! The reported state of an app whose processes end: PM2's status word is only one input.

use pm2_client::Status;
use pm2_testbed::wait_for;
use serde_json::{Value, json};

use crate::common::Env;

const CRASH: &str = "setTimeout(() => process.exit(1), 50)";
const SERVE: &str = "setInterval(() => {}, 1000)";

/// A workspace with a script, and one daemon `d` whose apps are given as EDN.
fn env(script: &str, apps: &str) -> Env {
    let env = Env::new();
    env.write("app.js", script);
    env.define("d", &format!("{{:apps [{apps}]}}"));
    env
}

/// Waits until PM2 has given up every process, whatever their status.
fn wait_until_given_up(env: &Env) {
    wait_for(|| {
        let list = env.list();
        list.iter()
            .all(|record| record.pm2_env["created_at"].is_null() && record.pid.is_none())
    });
}

fn conditions(status: &Value) -> Vec<(&str, &str)> {
    let apps = status["apps"].as_array().unwrap().iter();
    apps.map(|app| {
        (
            app["app"].as_str().unwrap(),
            app["condition"].as_str().unwrap(),
        )
    })
    .collect()
}

#[test]
fn an_app_that_pm2_gave_up_is_degraded_whatever_pm2_calls_it() {
    // PM2 counts unstable restarts only for `min_uptime` times `max_restarts`: enough time for a busy machine.
    let env = env(
        CRASH,
        "{:name \"backoff\" :script \"app.js\" :max_restarts 3 :min_uptime 9000 :exp_backoff_restart_delay 100}
         {:name \"delay\" :script \"app.js\" :max_restarts 3 :min_uptime 9000 :restart_delay 200}
         {:name \"plain\" :script \"app.js\" :max_restarts 3 :min_uptime 9000}
         {:name \"zero\" :script \"app.js\" :max_restarts 3 :min_uptime 9000 :restart_delay 0}",
    );
    env.run(&["sync"]);
    wait_until_given_up(&env);
    // With it, the apps would be known to have never been ready.
    env.forget_history();
    let words: Vec<Status> = env.list().iter().map(|record| record.status).collect();
    assert!(words.contains(&Status::WaitingRestart), "{words:?}");
    let status = env.json(3, &["status"]);
    assert_eq!(
        conditions(&status),
        ["backoff", "delay", "plain", "zero"].map(|app| (app, "degraded"))
    );
    assert_eq!(status["in_sync"], false);
    for app in status["apps"].as_array().unwrap() {
        assert_eq!(app["running"], 0);
        assert_eq!(app["processes"][0]["state"], "gave-up");
    }
    let text = env.expect(3, &["status"]).out;
    let given_up = "degraded: PM2 gave up after 3 unstable restarts";
    let given_up = text.lines().filter(|line| line.ends_with(given_up));
    let given_up: Vec<&str> = given_up.collect();
    assert_eq!(given_up.len(), 4, "{text}");
    let has_counts = |line: &&str| line.contains(" 0/1 ") && line.contains(" 2 (2/h) ");
    assert!(given_up.iter().all(has_counts), "{text}");
    // It is not started again without a reason.
    let synced = env.json(3, &["sync"]);
    assert_eq!(synced["steps"], json!([]));
    // Now the failure is recorded.
    assert_eq!(
        conditions(&env.json(3, &["status"])),
        ["backoff", "delay", "plain", "zero"].map(|app| (app, "failed"))
    );
}

#[test]
fn an_end_that_the_definition_asks_for_is_no_failure() {
    let env = env(
        "const { CODE } = process.env;
         setTimeout(() => CODE === 'KILL' ? process.kill(process.pid, 'SIGKILL') : process.exit(Number(CODE)), 50)",
        "{:name \"code\" :script \"app.js\" :stop_exit_codes [3] :restart_delay 300 :env {:CODE 3}}
         {:name \"once\" :script \"app.js\" :autorestart false :restart_delay 300 :env {:CODE 0}}
         {:name \"shot\" :script \"app.js\" :autorestart false :restart_delay 300 :env {:CODE \"KILL\"}}",
    );
    env.run(&["sync"]);
    wait_for(|| {
        let list = env.list();
        list.iter()
            .all(|record| record.status == Status::WaitingRestart && record.pid.is_none())
    });
    let status = env.json(0, &["status"]);
    assert_eq!(
        conditions(&status),
        [("code", "ended"), ("once", "ended"), ("shot", "ended")]
    );
    let text = env.expect(0, &["status"]).out;
    assert!(text.contains("ended as defined (exit 3)"), "{text}");
    // PM2 records 0 for both, so the table claims neither.
    let unclear = text.matches("ended as defined (exit 0 or a signal)");
    assert_eq!(unclear.count(), 2, "{text}");
    assert_eq!(text.matches("0/1").count(), 3, "{text}");
    env.sync();
}

#[test]
fn an_app_that_waits_for_its_delay_is_crashing_or_waiting() {
    let env = env(
        "setTimeout(() => process.exit(Number(process.env.CODE)), 50)",
        "{:name \"bad\" :script \"app.js\" :restart_delay 60000 :env {:CODE 1}}
         {:name \"good\" :script \"app.js\" :restart_delay 60000 :env {:CODE 0}}",
    );
    env.run(&["sync"]);
    wait_for(|| {
        let list = env.list();
        list.iter()
            .all(|record| record.status == Status::WaitingRestart)
    });
    let judged = env.json(3, &["status"]);
    assert_eq!(conditions(&judged), [("bad", "failed"), ("good", "ended")]);
    env.forget_history();
    let status = env.json(3, &["status"]);
    assert_eq!(
        conditions(&status),
        [("bad", "degraded"), ("good", "ended")]
    );
    let text = env.expect(3, &["status"]).out;
    assert!(
        text.contains("ended (exit 0 or a signal); PM2 starts it again after its delay"),
        "{text}"
    );
}

#[test]
fn an_app_that_is_not_ready_is_starting() {
    let env = env(
        SERVE,
        "{:name \"slow\" :script \"app.js\" :wait_ready true :listen_timeout 3000}",
    );
    env.bed.command(&["ping"]).output().unwrap();
    let mut sync = env.command(&["sync"]).spawn().unwrap();
    wait_for(|| {
        let list = env.list();
        list.iter().any(|record| record.status == Status::Launching)
    });
    let status = env.json(3, &["status"]);
    assert_eq!(conditions(&status), [("slow", "starting")]);
    assert_eq!(status["in_sync"], false);
    assert!(sync.wait().unwrap().success());
    env.sync();
}

#[test]
fn an_app_that_pm2_gave_up_is_started_again_when_its_script_or_definition_changed() {
    let app = |more: &str| {
        format!(
            "{{:apps [{{:name \"app\" :script \"app.js\" :max_restarts 2 :min_uptime 9000 :restart_delay 100 {more}}}]}}"
        )
    };
    let env = Env::new();
    env.write("app.js", CRASH);
    env.define("d", &app(""));
    env.run(&["sync"]);
    wait_until_given_up(&env);
    env.write("app.js", SERVE);
    let plan = env.json(2, &["plan"]);
    assert_eq!(plan["steps"][0]["action"], "resume");
    assert_eq!(
        plan["steps"][0]["reasons"],
        json!([{ "reason": "script-changed" }])
    );
    env.sync();
    env.pid("app");

    env.write("app.js", CRASH);
    env.define("d", &app(":args [\"x\"]"));
    env.run(&["sync"]);
    wait_until_given_up(&env);
    env.define("d", &app(":args [\"y\"]"));
    let plan = env.json(2, &["plan"]);
    assert_eq!(plan["steps"][0]["action"], "restart");
    let watch = env.watch(&[]);
    wait_until_given_up(&env);
    env.write("app.js", SERVE);
    wait_for(|| env.named("app")[0].status == Status::Online);
    env.pid("app");
    assert_eq!(watch.stop(), 0);
    env.sync();
}
