//! A watcher that PM2 runs: as a module (`up`, `down`), or as an app of the tree.

use pm2_client::ProcessRecord;
use pm2_testbed::{is_alive, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::common::{Env, command_line, environ, sleeper};

/// The pid of the watcher that PM2 runs.
fn watcher_pid(env: &Env) -> Option<u32> {
    let list = env.try_list()?;
    let mut watchers = list
        .iter()
        .filter(|record| record.name.starts_with("pm2-sync-watch-"));
    let watcher = watchers.next()?;
    assert!(watchers.next().is_none(), "two watchers");
    watcher.pid
}

/// Checks that the watcher applies an edit.
#[track_caller]
fn assert_watched(env: &Env, seconds: u32) {
    env.define("probe", &sleeper("probe", seconds));
    env.wait_for_args("probe", &[&seconds.to_string()]);
}

#[test]
fn the_watcher_survives_manual_pm2_commands() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let done = env.expect(0, &["up"]);
    assert!(
        done.err.contains("running under PM2") && done.err.contains("in sync"),
        "{}",
        done.err
    );
    let first = watcher_pid(&env).unwrap();
    let again = env.expect(0, &["up"]);
    assert!(again.err.contains("already running"), "{}", again.err);
    assert_eq!(watcher_pid(&env), Some(first));
    assert_watched(&env, 2001);

    let by_hand = |args: &[&str]| {
        let done = env.bed.cli(args);
        assert!(done.status.success(), "{args:?}: {done:?}");
    };
    by_hand(&["delete", "all"]);
    assert_eq!(
        watcher_pid(&env),
        Some(first),
        "`pm2 delete all` ended the watcher"
    );
    assert_watched(&env, 2002);
    by_hand(&["stop", "all"]);
    assert_eq!(
        watcher_pid(&env),
        Some(first),
        "`pm2 stop all` ended the watcher"
    );
    assert_watched(&env, 2003);

    // A boot after a user's own `pm2 save`.
    by_hand(&["save", "--force"]);
    by_hand(&["kill"]);
    assert!(!is_alive(first));
    by_hand(&["resurrect"]);
    wait_for(|| watcher_pid(&env).is_some());
    wait_for(|| !env.named("a").is_empty());
    assert_watched(&env, 2004);
    by_hand(&["update"]);
    wait_for(|| watcher_pid(&env).is_some());
    assert_watched(&env, 2005);
    assert_eq!(env.named("a").len(), 1);

    // PM2 is killed, and its processes survive: afterwards there is one watcher, and one process per app.
    env.bed.kill_daemon();
    wait_for(|| watcher_pid(&env).is_some());
    assert_watched(&env, 2006);
    wait_for(|| {
        env.named("a")
            .iter()
            .filter(|process| process.pid.is_some())
            .count()
            == 1
    });
    let watchers = || {
        env.bed
            .processes()
            .into_iter()
            .filter(|pid| {
                command_line(*pid)
                    .get(1)
                    .is_some_and(|word| word == "watch")
            })
            .count()
    };
    wait_for(|| watchers() == 1);

    env.wait_until_ready("a");
    env.wait_until_ready("probe");
    let status = env.json(0, &["status"]);
    assert_eq!(status["watcher"]["pid"], json!(watcher_pid(&env)));
    let down = env.expect(0, &["down"]);
    assert!(
        down.err.contains("the daemons keep running"),
        "{}",
        down.err
    );
    assert_eq!(watcher_pid(&env), None);
    assert_eq!(env.list().len(), 2);
    let down = env.expect(0, &["down"]);
    assert!(down.err.contains("was not running"), "{}", down.err);
    by_hand(&["kill"]);
    by_hand(&["resurrect"]);
    assert_eq!(watcher_pid(&env), None, "it came back after `down`");
}

/// The shell that starts PM2 passes its variables to PM2, which passes them to its modules.
#[test]
fn a_watcher_passes_on_nothing_from_the_shell_that_started_pm2() {
    let env = Env::new();
    env.write("worker.js", "setInterval(() => {}, 1000);");
    let worker = "{:apps [{:name \"worker\" :script \"worker.js\" :exec_mode \"cluster\"}]}";
    env.define("worker", worker);
    env.define("a", &sleeper("a", 1000));
    env.expect(0, &["up"]);
    assert!(env.bed.cli(&["kill"]).status.success());
    let listed = env
        .bed
        .command(&["ls"])
        .env("FOO_SECRET", "swordfish")
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    wait_for(|| env.named("a").len() == 1 && env.named("worker").len() == 1);
    assert_watched(&env, 2001);
    env.define("a", &sleeper("a", 2000));
    env.wait_for_args("a", &["2000"]);
    let knows = |pid: u32| environ(pid).contains_key("FOO_SECRET");
    let pm2 = env.bed.daemon_pid().unwrap();
    let watcher = watcher_pid(&env).unwrap();
    assert!(knows(pm2) && knows(watcher), "there is nothing to pass on");
    for name in ["a", "probe"] {
        assert!(!knows(env.pid(name)), "{name}");
    }
    // PM2 creates a worker's own environment by itself; the record shows what pm2-sync sends.
    let keeps_nothing = || {
        for name in ["a", "probe", "worker"] {
            let record = serde_json::to_string(&env.named(name)[0].pm2_env).unwrap();
            assert!(
                !record.contains("FOO_SECRET") && !record.contains("swordfish"),
                "{name}: {record}"
            );
        }
    };
    keeps_nothing();
    wait_for(|| env.bed.home().join("dump.pm2").exists());
    let dump = std::fs::read_to_string(env.bed.home().join("dump.pm2")).unwrap();
    assert!(!dump.contains("swordfish"), "{dump}");

    // A PM2 that this watcher starts does not have these variables, nor do its processes.
    env.bed.kill_daemon();
    wait_for(|| watcher_pid(&env).is_some_and(|pid| pid != watcher));
    assert_watched(&env, 2002);
    wait_for(|| env.named("a").len() == 1 && env.named("worker").len() == 1);
    keeps_nothing();
    wait_for(|| !is_alive(watcher));
    wait_for(|| !env.bed.processes().into_iter().any(knows));
}

#[test]
fn a_watcher_that_is_defined_in_the_tree_changes_itself_last() {
    let env = Env::new();
    let program = assert_cmd::cargo::cargo_bin!("pm2-sync");
    let definition = |extra: &str| {
        format!(
            "{{:apps [{{:name \"own\" :script \"{}\" :interpreter \"none\" :args [\"watch\" {extra}]
                       :env {{:PM2_SYNC_PM2 \"{}\"}}}}]}}",
            program.display(),
            pm2_testbed::pm2_bin()
        )
    };
    env.define("devops/ecosystem-watch", &definition(""));
    for n in 0..4 {
        env.define(&format!("d{n}"), &sleeper(&format!("app{n}"), 1000));
    }
    env.expect(0, &["sync"]);
    let first = env.pid("own");
    let untouched = env.pid("app1");
    // It is changed together with another daemon.
    env.define("devops/ecosystem-watch", &definition("\"--verbose\""));
    env.define("d0", &sleeper("app0", 2000));
    env.wait_for_args("app0", &["2000"]);
    wait_for(|| {
        env.named("own")
            .iter()
            .any(|own| own.pid.is_some_and(|pid| pid != first))
    });
    wait_for(|| command_line(env.pid("own")).contains(&"--verbose".to_owned()));
    env.define("d2", &sleeper("app2", 2000));
    env.wait_for_args("app2", &["2000"]);
    // It is removed.
    env.undefine("devops/ecosystem-watch");
    wait_for(|| env.named("own").is_empty());
    assert_eq!(env.pid("app1"), untouched);
    env.sync();
    assert_eq!(env.list().len(), 4);
}

/// The living watchers of this PM2's home.
fn watchers(env: &Env) -> Vec<u32> {
    let mut pids = env.bed.processes();
    pids.retain(|pid| {
        let line = command_line(*pid);
        is_alive(*pid) && line.get(1).is_some_and(|word| word == "watch")
    });
    pids
}

/// The pid of the only matching process in PM2's list.
fn listed(env: &Env, is_it: impl Fn(&str) -> bool) -> Option<u32> {
    let mut list: Vec<ProcessRecord> = env.try_list()?;
    list.retain(|record| is_it(&record.name));
    match list.as_slice() {
        [only] => only.pid,
        _ => None,
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A running workspace with four daemons and the watcher as a fifth.
fn with_a_watcher_in_the_tree() -> Env {
    let env = Env::with_sleepers(4);
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
fn a_watcher_in_the_tree_restarts_itself_after_its_pm2_was_killed() {
    let env = with_a_watcher_in_the_tree();
    for round in 1..=2 {
        let before = env.pid("own");
        assert_watched(&env, 2000 + round);
        env.bed.kill_daemon();
        // It brings everything back, including itself.
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

/// PM2's own command line launches the module when it starts PM2, while the old watcher still lives.
#[test]
fn a_watcher_ends_when_a_new_pm2_runs_another_watcher() {
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

/// Its disk may be mounted late at boot, and its settings fixed long after that.
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
    // As started by pm2-sync, and by PM2's own command line.
    let expected = (Some(1_000_000_000), Some(500));
    assert_eq!(limits(), expected);
    assert!(env.bed.cli(&["update"]).status.success());
    wait_for(|| listed(&env, is_watcher).is_some());
    assert_eq!(limits(), expected);
    env.expect(0, &["down"]);
}
