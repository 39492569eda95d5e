//! `status`, once and with `--follow`.

use pm2_testbed::wait_for;

use crate::common::{Env, planted, sleeper};

#[test]
fn status_describes_problems_in_words() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.define("b", &sleeper("b", 1000));
    env.sync();
    assert!(env.bed.cli(&["stop", "a"]).status.success());
    let status = env.json(2, &["status"]);
    assert_eq!(status["pm2_running"], true);
    let apps = status["apps"].as_array().unwrap();
    assert_eq!(apps[0]["condition"], "pending");
    assert_eq!(apps[1]["condition"], "in-sync");
    let text = env.expect(2, &["status"]);
    assert!(text.out.contains("was stopped"), "{}", text.out);
    env.sync();
    env.pid("a");
}

#[test]
fn a_crash_loop_is_degraded_and_not_restarted_in_a_loop() {
    let env = Env::new();
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"/bin/false\" :max_restarts 2 :min_uptime 5000}]}",
    );
    env.run(&["sync"]);
    wait_for(|| env.named("a")[0].status == pm2_client::Status::Errored);
    let done = env.expect(3, &["sync"]);
    assert_eq!(done.out, "");
    assert!(done.err.contains("PM2 gave up"), "{}", done.err);
    let pid = env.named("a")[0].pid;
    assert_eq!(pid, None);
    env.define("a", &sleeper("a", 1000));
    env.sync();
    env.pid("a");
}

#[test]
fn a_degraded_app_is_shown_with_its_error_its_log_and_how_to_retry() {
    let env = Env::new();
    env.write("dies.js", "throw new Error('no such luck');\n");
    env.define(
        "a",
        "{:apps [{:name \"dies\" :script \"./dies.js\" :max_restarts 1 :min_uptime 5000}]}",
    );
    env.run(&["sync"]);
    wait_for(|| env.named("dies")[0].status == pm2_client::Status::Errored);
    env.forget_history();
    let status = env.expect(3, &["status"]);
    assert!(status.out.contains("degraded"), "{}", status.out);
    let log = env.bed.home().join("logs/dies-error.log");
    for line in [
        "  | Error: no such luck\n",
        &format!("  log: {log} (more with `pm2-sync logs dies`)\n"),
        "`pm2-sync restart a`",
    ] {
        assert!(status.err.contains(line), "no `{line}`:\n{}", status.err);
    }
    assert!(!status.err.contains("    at "), "{}", status.err);
    // The advice is correct.
    env.write("dies.js", "setInterval(() => {}, 1000);\n");
    env.expect(0, &["restart", "a"]);
    env.expect(0, &["status"]);
}

#[test]
fn status_follows_what_changes() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.sync();
    let mut child = env
        .command(&["status", "--follow", "--format", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || -> serde_json::Value {
        let line = lines.next().unwrap().unwrap();
        planted::check(&line);
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next()["apps"][0]["condition"], "in-sync");
    assert!(env.bed.cli(&["stop", "a"]).status.success());
    let mut condition = next()["apps"][0]["condition"].clone();
    // It may be observed while it is stopping.
    if condition == "stopping" {
        condition = next()["apps"][0]["condition"].clone();
    }
    assert_eq!(condition, "pending");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn status_shows_resource_use_and_recent_restarts() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.write("dies.js", "setTimeout(() => process.exit(1), 100);\n");
    env.define(
        "b",
        "{:apps [{:name \"dies\" :script \"./dies.js\" :max_restarts 3 :min_uptime 5000}]}",
    );
    env.run(&["sync"]);
    wait_for(|| env.named("dies")[0].status == pm2_client::Status::Errored);
    let restarts = env.named("dies")[0].pm2_env["restart_time"].clone();
    let status = env.json(3, &["status"]);
    let of = |n: usize| status["apps"][n]["processes"][0].clone();
    assert!(of(0)["memory_bytes"].as_u64().unwrap() > 0);
    assert!(of(0)["cpu_percent"].is_number());
    assert_eq!(of(0)["restarts_last_hour"], 0);
    assert!(of(1)["memory_bytes"].is_null());
    // All its restarts are recent.
    assert_eq!(of(1)["restarts"], restarts);
    assert_eq!(of(1)["restarts_last_hour"], restarts);
    let text = env.expect(3, &["status"]).out;
    assert!(
        text.contains(&format!("{restarts} ({restarts}/h)")),
        "{text}"
    );
    let verbose = env.expect(0, &["status", "-v", "a"]).out;
    let log = format!("log: {}/logs/a-out.log", env.bed.home());
    assert!(verbose.contains(&log), "{verbose}");
    // If PM2's log does not go back far enough, there is at least one.
    std::fs::write(env.bed.home().join("pm2.log"), "").unwrap();
    let status = env.json(3, &["status", "b"]);
    assert_eq!(status["apps"][0]["processes"][0]["restarts_last_hour"], 1);
    assert!(env.json(3, &["plan"])["apps"][0]["processes"][0]["memory_bytes"].is_null());
}
