//! Rollouts on real PM2 that need no special server, and the definition at the start of docs/rollouts.md.

use std::collections::BTreeSet;

use pm2_client::Status;
use pm2_testbed::{free_ports, wait_for};
use serde_json::Value;

use crate::common::server::{SERVER, Server};
use crate::common::{Env, sleeper};

/// The entries of a daemon's history, newest first.
fn entries(env: &Env, id: &str) -> Vec<Value> {
    let history = env.json(0, &["history", id]);
    history["daemons"][0]["entries"].as_array().unwrap().clone()
}

/// Answers like an app that needs the values of its env file, and records which probes were sent.
const API: &str = r#"
const { appendFileSync } = require("fs");
const { PORT, DB_URL, TOKEN } = process.env;
require("http").createServer((request, response) => {
  appendFileSync("asked", `${PORT}${request.url}\n`);
  response.statusCode = DB_URL?.startsWith("postgres://ann:") && TOKEN ? 204 : 503;
  response.end();
}).listen(Number(PORT), "127.0.0.1");
"#;

#[test]
fn a_definition_with_probes_and_an_env_file_works_as_documented() {
    let env = Env::new();
    env.write("pm2-sync.edn", "{:interpolate true}");
    env.write("api.js", API);
    // One for each process, and one for the canary.
    let port = free_ports(3);
    let secret = |name: &str| format!("s3cr3t-planted-outside-{name}");
    let rotate = |password: &str| {
        env.write_private(
            "conf/api.env",
            &format!(
                "DB_USER=ann\nDB_PASSWORD={}\nTOKEN=\"{}\"\n",
                secret(password),
                secret("token")
            ),
        );
    };
    rotate("one");
    env.define("db", &sleeper("db", 1000));
    env.define("services/cache", &sleeper("cache", 1000));
    env.define("aside", &sleeper("aside", 1000));
    env.define(
        "api",
        &format!(
            "{{:apps [{{:name \"api\" :script \"./api.js\" :instances 2 :increment_var \"PORT\"
              :env_file \"conf/api.env\"
              :env {{:PORT {port} :DB_URL \"postgres://${{DB_USER}}:${{DB_PASSWORD}}@db/app\"}}
              :depends_on [\"db\" \"services/cache\"]
              :startup_probe   {{:http_get {{:url \"http://127.0.0.1:${{PORT}}/health\"}} :period 500 :failure_threshold 60}}
              :readiness_probe {{:http_get {{:url \"http://127.0.0.1:${{PORT}}/ready\" :timeout 1000}}}}
              :liveness_probe  {{:tcp_socket {{:port \"${{PORT}}\"}} :period 10000 :failure_threshold 3}}
              :pm2-sync {{:on-failure :rollback :within \"30s\"}}}}]}}"
        ),
    );
    env.expect(0, &["check", "--strict"]);
    env.sync();
    let variables = |name: &str| -> BTreeSet<String> {
        let records = env.named("api").into_iter();
        let values = records.map(|it| it.pm2_env[name].clone());
        values.map(|it| it.to_string().replace('"', "")).collect()
    };
    let url = |password: &str| format!("postgres://ann:{}@db/app", secret(password));
    let ports = [port, port + 1].map(|port| port.to_string());
    assert_eq!(variables("PORT"), ports.clone().into());
    assert_eq!(variables("DB_URL"), [url("one")].into());
    assert_eq!(variables("TOKEN"), [secret("token")].into());
    // Each process was probed at its own port, first for startup, then for readiness, and no more when the second sync had nothing
    // to wait for.
    let asked = std::fs::read_to_string(env.root.join("asked")).unwrap();
    for port in &ports {
        let of_port = asked
            .lines()
            .filter_map(|line| line.strip_prefix(port.as_str()));
        let of_port: Vec<&str> = of_port.collect();
        let order: Vec<&[&str]> = of_port.chunk_by(|one, other| one == other).collect();
        let order: Vec<&str> = order.into_iter().map(|same| same[0]).collect();
        assert_eq!(order, ["/health", "/ready"], "{asked}");
    }
    assert_eq!(entries(&env, "api")[0]["outcome"], "ready");

    // A value is rotated: only the daemon that uses it is restarted.
    let others = ["db", "cache", "aside"].map(|name| env.pid(name));
    let before = env.named("api");
    rotate("two");
    let done = env.expect(0, &["sync", "-v"]);
    assert!(done.out.contains("conf/api.env"), "{}", done.out);
    assert_eq!(variables("DB_URL"), [url("two")].into());
    assert_eq!(variables("PORT"), ports.into());
    let after = env.named("api");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.pm_id, after.pm_id);
        assert_ne!(before.pid, after.pid);
    }
    assert_eq!(["db", "cache", "aside"].map(|name| env.pid(name)), others);
    assert_eq!(env.expect(0, &["sync"]).out, "");
    env.expect(0, &["status"]);
}

#[test]
fn an_app_that_pm2_gave_up_is_started_and_judged_again_on_request() {
    let env = Env::new();
    env.write(
        "app.js",
        "if (!require('fs').existsSync('repaired')) process.exit(7); setInterval(() => {}, 1000);",
    );
    env.define(
        "api",
        "{:apps [{:name \"api\" :script \"app.js\" :max_restarts 2 :min_uptime 2500
                  :pm2-sync {:within \"20s\"}}]}",
    );
    env.expect(3, &["sync"]);
    let is_given_up = || env.named("api")[0].status == Status::Errored;
    wait_for(is_given_up);
    assert_eq!(env.expect(3, &["sync"]).out, "");
    assert!(is_given_up());

    let retry = ["sync", "--retry", "api"];
    let retried = env.json(3, &retry);
    let steps = retried["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{retried:#}");
    assert_eq!(steps[0]["action"], "resume");
    assert_eq!(steps[0]["reasons"][0]["reason"], "retry-requested");
    let history = entries(&env, "api");
    assert_eq!(history[0]["outcome"], "failed", "{history:#?}");
    assert_eq!(history[1]["outcome"], "superseded", "{history:#?}");
    wait_for(is_given_up);

    // What was missing exists now. Only a user knows that.
    env.write("repaired", "");
    assert_eq!(env.expect(3, &["sync"]).out, "");
    env.expect(0, &retry);
    env.pid("api");
    assert_eq!(entries(&env, "api")[0]["outcome"], "ready");
    let pid = env.pid("api");
    env.sync();
    env.expect(0, &retry);
    assert_eq!(env.pid("api"), pid);
}

#[test]
fn an_app_judged_late_is_judged_by_its_current_state() {
    let env = Env::new();
    env.write("app.js", SERVER);
    let server = Server::new("api", 0);
    let define = |behaviour: &str, version| {
        let app = server.app(behaviour, version, ":pm2-sync {:within \"1500ms\"}");
        env.define("api", &format!("{{:apps [{app}]}}"));
    };
    define("good", 1);
    env.sync();
    // One that works, although not in time, and one that does not.
    for (behaviour, version, code, outcome) in [("slow", 2, 0, "ready"), ("never", 3, 3, "failed")]
    {
        define(behaviour, version);
        env.expect(3, &["sync", "--no-wait"]);
        wait_for(|| {
            env.run(&["status"])
                .out
                .contains("not checked yet: run `pm2-sync sync`")
        });
        let status = env.json(3, &["status"]);
        assert_eq!(status["apps"][0]["condition"], "starting", "{status:#}");
        let problem = status["problems"][0]["message"].as_str().unwrap();
        assert!(problem.contains("not checked yet"), "{status:#}");
        env.expect(code, &["sync"]);
        let history = entries(&env, "api");
        let entry = history.iter().find(|it| it["number"] == version).unwrap();
        assert_eq!(entry["outcome"], outcome, "{history:#?}");
        // The one that does not work rolls back to the one that does.
        assert_eq!(env.named("api")[0].pm2_env["V"], 2);
    }
}

#[test]
fn an_unapplied_entry_does_not_stay_open_after_the_sync() {
    let env = Env::with_sleepers(1);
    env.sync();
    env.define(
        "d0",
        "{:apps [{:name \"app0\" :script \"/bin/sleep\" :args [\"1000\"]}
                 {:name \"app1\" :script \"gone.js\"}]}",
    );
    env.expect(3, &["sync"]);
    let pid = env.pid("app0");
    for args in [&["sync", "--no-wait"][..], &["sync"], &["sync"]] {
        env.expect(3, args);
        let history = entries(&env, "d0");
        assert_eq!(history[0]["outcome"], "not-applied", "{history:#?}");
        assert!(!history.iter().any(|it| it["outcome"] == "pending"));
    }
    let text = env.expect(0, &["history", "d0"]).out;
    assert!(
        text.contains("not applied: `app1`: a step failed"),
        "{text}"
    );
    // The earlier spec is remembered, however often the new one was tried.
    let history = entries(&env, "d0");
    assert!(history.len() <= 4, "{history:#?}");
    assert_eq!(history.last().unwrap()["outcome"], "ready");
    assert_eq!(env.pid("app0"), pid);

    env.write("gone.js", "setInterval(() => {}, 1000)");
    env.sync();
    assert_eq!(entries(&env, "d0")[0]["outcome"], "ready");
    assert_eq!(env.pid("app0"), pid);
}
