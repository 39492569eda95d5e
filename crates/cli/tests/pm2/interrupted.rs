//! Syncs that are killed or run concurrently, and what a killed PM2 leaves behind.

use pm2_testbed::{is_alive, wait_for};

use crate::common::{Done, Env, command_line, planted, sleeper};

#[test]
fn two_syncs_at_once_do_the_work_once() {
    let env = Env::with_group_of_eight();
    let mut children: Vec<_> = (0..3)
        .map(|_| env.command(&["sync"]).spawn().unwrap())
        .collect();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(env.list().len(), 8);
    env.sync();
}

#[test]
fn killed_at_any_moment_the_next_sync_converges() {
    let env = Env::with_group_of_eight();
    env.sync();
    for round in 0..6_u64 {
        for n in 0..8 {
            env.define(
                &format!("group/d{n}"),
                &sleeper(&format!("app{n}"), 2000 + u32::try_from(round).unwrap()),
            );
        }
        let mut child = env.command(&["sync"]).spawn().unwrap();
        // This does not wait for a condition: it varies the moment of the kill.
        std::thread::sleep(std::time::Duration::from_millis(15 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for n in 0..8 {
            let text = std::fs::read_to_string(env.artifact(&format!("group/d{n}"))).unwrap();
            assert!(
                serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                "{text}"
            );
        }
        // Requests to PM2 from before the kill may still be in progress.
        wait_for(|| env.run(&["sync"]).code == 0);
        env.sync();
        assert_eq!(env.list().len(), 8);
        for n in 0..8 {
            assert_eq!(
                command_line(env.pid(&format!("app{n}")))[1],
                format!("{}", 2000 + round)
            );
        }
    }
}

#[test]
fn killed_while_it_starts_pm2_there_is_one_pm2_afterwards() {
    for pause in [30, 100, 250] {
        let env = Env::new();
        env.define("a", &sleeper("a", 1000));
        let mut child = env.command(&["sync"]).spawn().unwrap();
        // This does not wait for a condition: it varies the moment of the kill.
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        env.sync();
        let daemons = env
            .bed
            .processes()
            .into_iter()
            .filter(|pid| {
                command_line(*pid)
                    .first()
                    .is_some_and(|title| title.starts_with("PM2 v"))
            })
            .count();
        assert_eq!(daemons, 1, "killed after {pause} ms");
        assert_eq!(env.named("a").len(), 1);
    }
}

#[test]
fn a_stopping_app_is_not_in_sync() {
    let env = Env::new();
    env.write(
        "stays.sh",
        "#!/bin/bash\ntrap '' INT\nwhile :; do sleep 0.1; done\n",
    );
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"./stays.sh\" :kill_timeout 3000 :treekill false}]}",
    );
    env.sync();
    let stop = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| env.bed.cli(&["stop", "a"]));
        wait_for(|| env.named("a")[0].status == pm2_client::Status::Stopping);
        let plan = env.run(&["plan"]);
        assert_eq!(plan.code, 2, "{plan:?}");
        stopping.join().unwrap()
    });
    assert!(stop.status.success());
    env.sync();
}

/// A killed sync leaves PM2 in the middle of a restart; the next sync must not mistake that for its end.
#[test]
fn operations_of_a_killed_sync_are_waited_for() {
    let env = Env::new();
    env.write(
        "slow.sh",
        "#!/bin/bash\ntrap 'sleep 0.7; exit 0' INT\nwhile :; do sleep 0.05; done\n",
    );
    let slow = |argument: u32| {
        format!(
            "{{:apps [{{:name \"a\" :script \"./slow.sh\" :args \"{argument}\" :treekill false}}]}}"
        )
    };
    env.define("a", &slow(1));
    env.define("b", &sleeper("b", 1000));
    env.sync();
    env.define("a", &slow(2));
    let mut killed = env.command(&["sync"]).spawn().unwrap();
    wait_for(|| env.named("a")[0].status == pm2_client::Status::Stopping);
    killed.kill().unwrap();
    killed.wait().unwrap();

    let plan = env.expect(2, &["plan"]);
    assert!(
        plan.err.contains("not in sync: being stopped: `a`"),
        "{}",
        plan.err
    );
    env.define("b", &sleeper("b", 2000));
    let done = env.expect(0, &["sync"]);
    assert!(
        done.err
            .contains("waiting for processes that PM2 is stopping: `a`"),
        "{}",
        done.err
    );
    assert!(command_line(env.pid("a")).contains(&"2".to_owned()));
    env.expect(0, &["plan"]);
    let dump = std::fs::read_to_string(env.bed.home().join("dump.pm2")).unwrap();
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let saved = dump
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == "a")
        .unwrap();
    assert_eq!(
        saved["args"],
        serde_json::json!(["2"]),
        "the dump is of before the kill"
    );
}

#[test]
fn orphans_of_a_killed_pm2_end_before_their_apps_start_again() {
    let env = Env::new();
    env.define("a", &sleeper("survivor", 1000));
    env.define("b", &sleeper("other", 2000));
    env.sync();
    let orphans = [env.pid("survivor"), env.pid("other")];
    env.bed.kill_daemon();
    assert!(
        orphans.iter().all(|pid| is_alive(*pid)),
        "PM2 took its processes along"
    );
    let status = env.expect(2, &["status"]);
    assert!(
        status.out.contains("still running, but not in PM2's list"),
        "{}",
        status.out
    );
    env.sync();
    for orphan in orphans {
        assert!(!is_alive(orphan));
    }
    assert_eq!(env.list().len(), 2);
    // A process that is not fully ours is left alone.
    let theirs = env.start_by_hand("theirs", 3000);
    env.bed.kill_daemon();
    env.sync();
    assert!(is_alive(theirs));
}

#[test]
fn a_second_process_of_a_running_app_is_ended_by_a_sync_of_its_daemon() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.sync();
    let orphan = env.pid("a");
    env.bed.kill_daemon();
    assert!(env.bed.cli(&["resurrect"]).status.success());
    let listed = env.pid("a");
    assert_ne!(listed, orphan);
    let named = format!("a (pid {orphan})");
    let done = env.expect(0, &["doctor"]);
    assert!(done.out.contains(&named), "{}", done.out);
    assert!(done.out.contains("`pm2-sync sync ID`"), "{}", done.out);
    env.expect(2, &["plan", "a"]);
    env.expect(0, &["sync", "a"]);
    assert!(!is_alive(orphan));
    assert_eq!(env.pid("a"), listed);
    let done = env.expect(0, &["doctor"]);
    assert!(!done.out.contains(&named), "{}", done.out);
}

#[test]
fn a_forked_child_is_no_orphan_while_its_pm2_lives() {
    let env = Env::new();
    env.write(
        "run.sh",
        "#!/bin/bash\n( ( while :; do sleep 1; done ) & )\nwhile :; do sleep 1; done\n",
    );
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"./run.sh\" :interpreter \"bash\" :vizion false}]}",
    );
    env.sync();
    let a = env.pid("a");
    wait_for(|| {
        let forked = |pid: &u32| {
            *pid != a
                && command_line(*pid)
                    .get(1)
                    .is_some_and(|word| word.ends_with("run.sh"))
        };
        env.bed.processes().iter().any(forked)
    });
    env.define("b", &sleeper("b", 1000));
    let plan = env.expect(2, &["plan"]);
    assert!(!plan.out.contains("not in PM2's list"), "{}", plan.out);
    env.sync();
    assert_eq!(env.pid("a"), a);
}

/// An app that PM2 waits for until it reports that it is ready.
fn slow_to_start(env: &Env, id: &str, milliseconds: u32) {
    env.write(
        &format!("{id}.js"),
        &format!(
            "setTimeout(() => process.send('ready'), {milliseconds}); setInterval(() => {{}}, 1000);"
        ),
    );
    env.define(
        id,
        &format!(
            "{{:apps [{{:name \"{id}\" :script \"./{id}.js\" :wait_ready true :listen_timeout 20000}}]}}"
        ),
    );
}

/// A running command whose standard error is read line by line.
struct Running {
    child: std::process::Child,
    err: std::io::Lines<std::io::BufReader<std::process::ChildStderr>>,
}

impl Running {
    fn start(env: &Env, args: &[&str]) -> Self {
        let mut child = env.command(args).spawn_piped().unwrap();
        let err = std::io::BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            err: std::io::BufRead::lines(err),
        }
    }

    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::INT).unwrap();
    }

    /// Reads lines up to one that contains the text. Fails at the end of the output.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let mut lines = self.err.by_ref().map(Result::unwrap);
        let found = lines.any(|line| {
            planted::check(&line);
            line.contains(text)
        });
        assert!(found, "no line with `{text}`");
    }

    /// Its exit status, its output, and the remaining lines of its standard error.
    fn end(mut self) -> (i32, String, String) {
        let rest: Vec<String> = self.err.by_ref().map(Result::unwrap).collect();
        let rest = rest.join("\n");
        planted::check(&rest);
        let done = Done::wait(self.child);
        (done.code, done.out, rest)
    }
}

#[test]
fn the_first_interrupt_finishes_the_step_in_progress_and_is_acknowledged_at_once() {
    let env = Env::new();
    slow_to_start(&env, "a", 2500);
    env.define("b", &sleeper("b", 1000));
    let mut sync = Running::start(&env, &["sync", "--jobs", "1"]);
    wait_for(|| env.try_list().is_some_and(|list| !list.is_empty()));
    sync.interrupt();
    let began = std::time::Instant::now();
    sync.wait_for("interrupted: finishing the current step; press Ctrl-C again to stop now");
    assert!(began.elapsed() < std::time::Duration::from_secs(1));
    assert!(sync.child.try_wait().unwrap().is_none());
    let (code, out, err) = sync.end();
    assert_eq!(code, 130, "{out}\n{err}");
    // The step in progress was finished, verified and saved; the others were not started.
    env.pid("a");
    assert!(env.named("b").is_empty());
    let dump = std::fs::read_to_string(env.bed.home().join("dump.pm2")).unwrap();
    assert!(dump.contains("\"a\""), "{dump}");
    env.sync();
}

#[test]
fn the_second_interrupt_stops_at_once() {
    let env = Env::new();
    slow_to_start(&env, "a", 15_000);
    let mut sync = Running::start(&env, &["sync"]);
    wait_for(|| env.try_list().is_some_and(|list| !list.is_empty()));
    sync.interrupt();
    sync.wait_for("interrupted: finishing the current step");
    sync.interrupt();
    let began = std::time::Instant::now();
    let (code, out, err) = sync.end();
    assert_eq!(code, 130, "{out}\n{err}");
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn an_interrupt_while_waiting_for_the_lock_changes_nothing() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    std::fs::create_dir_all(env.bed.home()).unwrap();
    let lock = std::fs::File::create(env.bed.home().join("pm2-sync.lock")).unwrap();
    lock.lock().unwrap();
    let mut sync = Running::start(&env, &["sync"]);
    sync.wait_for("waiting for another pm2-sync");
    sync.interrupt();
    let (code, out, err) = sync.end();
    assert_eq!(code, 130, "{out}\n{err}");
    assert!(
        err.contains("interrupted while waiting for another pm2-sync; nothing was changed"),
        "{err}"
    );
    assert!(env.bed.daemon_pid().is_none());
}

#[test]
fn an_interrupt_ends_the_wait_for_pm2_clj() {
    let env = Env::new();
    env.define("a", "(code)");
    env.define("b", "(code)");
    let mark = env.root.join("asked");
    let script = format!("touch {mark}; sleep 600");
    env.write(
        "pm2-sync.edn",
        &format!("{{:pm2-clj [\"sh\" \"-c\" \"{script}\"]}}"),
    );
    for args in [&["sync"][..], &["watch"]] {
        let running = Running::start(&env, args);
        wait_for(|| mark.exists());
        let began = std::time::Instant::now();
        running.interrupt();
        let (code, out, err) = running.end();
        assert!(matches!(code, 0 | 130), "{args:?} {code}\n{out}\n{err}");
        assert!(
            began.elapsed() < std::time::Duration::from_secs(5),
            "{args:?}"
        );
        std::fs::remove_file(&mark).unwrap();
    }
}
