//! Outside changes to PM2 during a sync, or by a process that was killed: nothing runs twice, and PM2 knows every process that
//! runs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;

use common::{Env, command_line, sleeper};
use pm2_client::Status;
use pm2_testbed::{is_alive, wait_for};

/// Live processes of this PM2's home that PM2 does not list.
fn unknown(env: &Env) -> Vec<(u32, Vec<String>)> {
    // Search processes first: PM2's list then includes those that it starts meanwhile.
    let mut pids = env.bed.processes();
    let known: BTreeSet<u32> = env
        .list()
        .into_iter()
        .filter_map(|record| record.pid)
        .chain(env.bed.daemons())
        .collect();
    pids.retain(|pid| !known.contains(pid) && is_alive(*pid));
    pids.into_iter()
        .map(|pid| (pid, command_line(pid)))
        .collect()
}

/// PM2 polls whether a process that it stops has ended. A start in between creates a process that PM2 loses track of.
#[test]
fn a_process_that_pm2_lost_track_of_ends_before_it_runs_twice() {
    let env = Env::new();
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"/bin/sleep\" :args [\"1000\"] :kill_retry_time 3000}]}",
    );
    lose_sight(&env);
    assert_eq!(command_line(env.pid("a")), ["/bin/sleep", "1000"]);
}

#[test]
fn a_node_process_is_known_by_the_title_that_pm2_gives_it() {
    let env = Env::new();
    env.write("app.js", "setInterval(() => {}, 1000)");
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"./app.js\" :exec_mode \"fork\" :kill_retry_time 3000}]}",
    );
    lose_sight(&env);
}

/// Makes PM2 lose track of the app `a`, and checks that exactly one process of it is left in the end.
fn lose_sight(env: &Env) {
    env.sync();
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| env.bed.cli(&["delete", "a"]));
        wait_for(|| {
            let list = env.named("a");
            list[0].status == Status::Stopping && list[0].pid.is_none()
        });
        assert!(env.bed.cli(&["restart", "a"]).status.success());
        assert!(deleting.join().unwrap().status.success());
    });
    assert_eq!(env.list(), []);
    let lost = unknown(env);
    assert_eq!(lost.len(), 1, "{lost:?}");
    env.sync();
    assert!(!is_alive(lost[0].0));
    env.pid("a");
    assert_eq!(unknown(env), []);
}

#[test]
fn an_orphan_is_recognised_although_its_definition_was_edited() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.sync();
    let orphan = env.pid("a");
    env.bed.kill_daemon();
    env.define("a", &sleeper("a", 2000));
    env.sync();
    assert!(!is_alive(orphan));
    assert_eq!(command_line(env.pid("a")), ["/bin/sleep", "2000"]);
}

#[test]
fn there_is_one_pm2_after_an_update_beside_a_watch() {
    let env = Env::with_sleepers(4);
    let watch = env.watch(&[]);
    for round in 1..=3 {
        let done = env.bed.cli(&["update"]);
        assert!(done.status.success(), "{done:?}");
        env.define("d0", &sleeper("app0", 1000 + round));
        env.wait_for_args("app0", &[&(1000 + round).to_string()]);
        wait_for(|| env.run(&["plan"]).code == 0);
        assert_eq!(env.bed.daemons().len(), 1, "{}", watch.lines().join("\n"));
        assert_eq!(env.list().len(), 4);
    }
    assert_eq!(watch.stop(), 0);
    assert_eq!(unknown(&env), []);
    env.sync();
}

/// PM2 refuses a reload while another one is in progress.
#[test]
fn an_edit_during_a_reload_by_hand_is_applied_after_it() {
    let env = Env::new();
    env.write(
        "server.js",
        "setTimeout(() => require('http').createServer().listen(0, '127.0.0.1'), 700);
         process.on('SIGINT', () => process.exit(0));",
    );
    let web = |value: u32| {
        format!(
            "{{:apps [{{:name \"web\" :script \"./server.js\" :exec_mode \"cluster\" :instances 2 :env {{:A \"{value}\"}}}}]}}"
        )
    };
    env.define("web", &web(1));
    let watch = env.watch(&[]);
    let pids = |env: &Env| -> Vec<Option<u32>> {
        let list = env.named("web");
        list.iter().map(|record| record.pid).collect()
    };
    let before = pids(&env);
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| env.bed.cli(&["reload", "web"]));
        // The first new worker exists, but does not listen yet.
        wait_for(|| pids(&env) != before);
        env.define("web", &web(2));
        assert!(reloading.join().unwrap().status.success());
    });
    wait_for(|| {
        let list = env.named("web");
        list.len() == 2 && list.iter().all(|record| record.pm2_env["A"] == "2")
    });
    wait_for(|| env.run(&["plan"]).code == 0);
    let lines = watch.lines().join("\n");
    assert!(!lines.contains("failed to "), "{lines}");
    assert_eq!(watch.stop(), 0);
    env.sync();
}

/// `pm2 kill` stops all processes before it stops PM2. Until then PM2 accepts requests to start processes, and leaves them behind.
#[test]
fn nothing_is_started_in_a_pm2_that_is_being_killed() {
    let env = Env::new();
    env.write(
        "slow.sh",
        "#!/bin/bash\ntrap 'sleep 0.7; exit 0' INT\nwhile :; do read -r -t 3600 <> <(:); done\n",
    );
    for n in 0..8 {
        env.define(
            &format!("d{n}"),
            &format!("{{:apps [{{:name \"app{n}\" :script \"./slow.sh\" :kill_timeout 5000}}]}}"),
        );
    }
    let watch = env.watch(&[]);
    std::thread::scope(|scope| {
        let killing = scope.spawn(|| env.bed.cli(&["kill"]));
        let mut n = 0;
        while !killing.is_finished() {
            // Each triggers a complete check.
            env.define(&format!("new{n}"), &sleeper(&format!("new{n}"), 1000));
            n += 1;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        assert!(killing.join().unwrap().status.success());
        wait_for(|| env.try_list().is_some_and(|list| list.len() == 8 + n));
    });
    wait_for(|| env.run(&["plan"]).code == 0);
    let lines = watch.lines();
    let failed = lines.iter().filter(|line| line.contains("failed to "));
    assert_eq!(failed.count(), 0, "{}", lines.join("\n"));
    assert_eq!(watch.stop(), 0);
    assert_eq!(unknown(&env), []);
}
