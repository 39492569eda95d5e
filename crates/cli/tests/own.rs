//! A watcher that PM2 runs, when that PM2 is killed: there is one watcher again, whoever starts PM2.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Env, command_line, sleeper};
use pm2_client::ProcessRecord;
use pm2_testbed::{is_alive, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// The living watchers of this PM2's home.
fn watchers(env: &Env) -> Vec<u32> {
    let mut pids = env.bed.processes();
    pids.retain(|pid| {
        let line = command_line(*pid);
        is_alive(*pid) && line.get(1).is_some_and(|word| word == "watch")
    });
    pids
}

/// The pid of the only process in PM2's list that is called so.
fn listed(env: &Env, is_it: impl Fn(&str) -> bool) -> Option<u32> {
    let mut list: Vec<ProcessRecord> = env.try_list()?;
    list.retain(|record| is_it(&record.name));
    match list.as_slice() {
        [only] => only.pid,
        _ => None,
    }
}

/// Whether the watcher watches: an edit arrives.
#[track_caller]
fn assert_watched(env: &Env, seconds: u32) {
    env.define("probe", &sleeper("probe", seconds));
    env.wait_for_args("probe", &[&seconds.to_string()]);
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A workspace with four daemons and the watcher as a fifth; it runs.
fn with_a_watcher_in_the_tree() -> Env {
    let env = Env::new();
    for n in 0..4 {
        env.define(&format!("d{n}"), &sleeper(&format!("app{n}"), 1000));
    }
    let definition = format!(
        "{{:apps [{{:name \"own\" :script \"{}\" :interpreter \"none\" :args [\"watch\"]
                   :env {{:PM2_SYNC_PM2 \"{}\"}}}}]}}",
        assert_cmd::cargo::cargo_bin!("pm2-sync").display(),
        pm2_testbed::pm2_bin()
    );
    env.define("devops/own", &definition);
    env.expect(0, &["sync"]);
    env
}

#[test]
fn a_watcher_in_the_tree_starts_itself_anew_when_its_pm2_was_killed() {
    let env = with_a_watcher_in_the_tree();
    for round in 1..=2 {
        let before = env.pid("own");
        assert_watched(&env, 2000 + round);
        env.bed.kill_daemon();
        // It is what brings everything back, itself included.
        wait_for(|| {
            let list = env.try_list().unwrap_or_default();
            list.len() == 6 && list.iter().all(|record| record.pid.is_some())
        });
        let after = env.pid("own");
        assert_ne!(after, before);
        wait_for(|| watchers(&env) == [after]);
        assert_watched(&env, 3000 + round);
    }
    env.undefine("devops/own");
    wait_for(|| watchers(&env).is_empty());
    env.sync();
}

/// Whoever starts PM2 by its own command line launches the module, while the old one lives.
#[test]
fn a_watcher_ends_when_somebody_else_has_started_pm2_and_another_watcher_with_it() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.expect(0, &["up"]);
    let is_watcher = |name: &str| name.starts_with("pm2-sync-watch-");
    let first = listed(&env, is_watcher).unwrap();
    signal(first, Signal::STOP);
    env.bed.kill_daemon();
    assert!(env.bed.cli(&["ping"]).status.success());
    wait_for(|| listed(&env, is_watcher).is_some());
    let second = listed(&env, is_watcher).unwrap();
    assert_ne!(first, second);
    assert_watched(&env, 2001);
    signal(first, Signal::CONT);
    wait_for(|| watchers(&env) == [second]);
    assert_watched(&env, 2002);
    assert_eq!(env.named("a").len(), 1);
    env.expect(0, &["down"]);
}

/// Its disk may be mounted late at a boot, and its settings mended long after one.
#[test]
fn pm2_does_not_give_up_on_the_watcher() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.expect(0, &["up"]);
    let is_watcher = |name: &str| name.starts_with("pm2-sync-watch-");
    let limits = || {
        let mut list = env.list();
        list.retain(|record| is_watcher(&record.name));
        let limit = |key: &str| list[0].pm2_env.get(key).and_then(serde_json::Value::as_u64);
        (limit("max_restarts"), limit("exp_backoff_restart_delay"))
    };
    // As pm2-sync starts it, and as PM2's own command line does.
    let expected = (Some(1_000_000_000), Some(500));
    assert_eq!(limits(), expected);
    assert!(env.bed.cli(&["update"]).status.success());
    wait_for(|| listed(&env, is_watcher).is_some());
    assert_eq!(limits(), expected);
    env.expect(0, &["down"]);
}
