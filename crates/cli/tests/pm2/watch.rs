//! `watch`: edits, healing, retries, and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use pm2_testbed::{is_alive, wait_for};

use crate::common::{Env, command_line, environ, sleeper};

#[test]
fn watch_follows_edits_new_and_removed_definitions() {
    let env = Env::with_sleepers(5);
    let watch = env.watch(&[]);
    assert_eq!(env.list().len(), 5);
    let untouched = env.pid("app0");

    env.define("d1", &sleeper("app1", 2000));
    env.wait_for_args("app1", &["2000"]);

    let file = env.root.join("system/daemons/d2/ecosystem.pm2.edn");
    let temporary = file.with_extension("tmp");
    std::fs::write(&temporary, sleeper("app2", 3000)).unwrap();
    std::fs::rename(&temporary, &file).unwrap();
    env.wait_for_args("app2", &["3000"]);

    env.define("new/deep/er", &sleeper("deep", 1000));
    wait_for(|| !env.named("deep").is_empty());

    let outside = env.bed.dir().join("outside/moved");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("ecosystem.pm2.edn"), sleeper("moved", 1000)).unwrap();
    std::fs::rename(
        env.bed.dir().join("outside"),
        env.root.join("system/daemons/in"),
    )
    .unwrap();
    wait_for(|| !env.named("moved").is_empty());

    env.undefine("d3");
    wait_for(|| env.named("app3").is_empty());

    env.define("d4", "{:apps [");
    watch.wait_for_line("is never closed");
    env.pid("app4");
    env.define("d4", &sleeper("app4", 4000));
    watch.wait_for_line("valid again");
    env.wait_for_args("app4", &["4000"]);

    assert_eq!(env.pid("app0"), untouched);
    assert_eq!(watch.stop(), 0);
    assert_eq!(env.list().len(), 6, "stopping the watch stopped daemons");
    env.sync();
}

#[test]
fn watch_and_a_sync_by_hand_get_along() {
    let env = Env::with_sleepers(4);
    let watch = env.watch(&[]);
    for round in 0..5_u32 {
        env.define("d0", &sleeper("app0", 2000 + round));
        let done = env.run(&["sync"]);
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(env.list().len(), 4);
    }
    env.wait_for_args("app0", &["2004"]);
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn watch_removes_the_artifact_of_a_daemon_that_moved_or_had_no_process() {
    let env = Env::with_sleepers(4);
    env.define(
        "missing",
        "{:apps [{:name \"m\" :script \"./missing.sh\"}]}",
    );
    let watch = env.watch(&[]);
    watch.wait_for_line("script not found");
    let root = env.root.join("system/daemons");
    std::fs::rename(root.join("d0"), root.join("moved")).unwrap();
    wait_for(|| env.artifact("moved").exists());
    wait_for(|| !env.artifact("d0").exists());
    assert!(env.artifact("missing").exists());
    env.undefine("missing");
    wait_for(|| !env.artifact("missing").exists());
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn watch_heals_manual_changes_to_pm2() {
    let env = Env::with_sleepers(4);
    let watch = env.watch(&[]);
    let back = |names: &[&str]| {
        let began = Instant::now();
        for name in names {
            wait_for(|| env.named(name).iter().any(|process| process.pid.is_some()));
        }
        began.elapsed()
    };
    assert!(env.bed.cli(&["stop", "app0"]).status.success());
    // The command returns when the app has been stopped; it may be back by then.
    let took = back(&["app0"]);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(env.bed.cli(&["delete", "app1"]).status.success());
    back(&["app1"]);
    assert!(env.bed.cli(&["delete", "all"]).status.success());
    back(&["app0", "app1", "app2", "app3"]);
    wait_for(|| env.list().len() == 4);

    // PM2 itself dies, in every way.
    env.bed.kill_daemon();
    wait_for(|| env.bed.daemon_pid().is_some_and(is_alive));
    wait_for(|| env.try_list().is_some_and(|list| list.len() == 4));
    assert!(env.bed.cli(&["kill"]).status.success());
    wait_for(|| env.bed.daemon_pid().is_some_and(is_alive));
    wait_for(|| env.try_list().is_some_and(|list| list.len() == 4));
    assert_eq!(watch.stop(), 0);
    env.sync();
    assert_eq!(env.list().len(), 4);
    let daemons = env
        .bed
        .processes()
        .into_iter()
        .filter(|pid| {
            command_line(*pid)
                .first()
                .is_some_and(|title| title.starts_with("PM2 "))
        })
        .count();
    assert_eq!(daemons, 1, "two PM2s on one home");
}

#[test]
fn watch_without_healing_applies_edits_only() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.define("b", &sleeper("b", 1000));
    let watch = env.watch(&["--no-heal"]);
    assert!(env.bed.cli(&["stop", "a"]).status.success());
    env.define("b", &sleeper("b", 2000));
    env.wait_for_args("b", &["2000"]);
    assert_eq!(env.named("a")[0].pid, None);
    env.define("a", &sleeper("a", 3000));
    env.wait_for_args("a", &["3000"]);
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_failing_daemon_backs_off_and_delays_no_other() {
    let env = Env::new();
    env.define("bad", "{:apps [{:name \"bad\" :script \"./missing.sh\"}]}");
    env.define("good", &sleeper("good", 1000));
    let watch = env.watch(&[]);
    watch.wait_for_line("failed to start bad: script not found");
    env.define("good", &sleeper("good", 2000));
    env.wait_for_args("good", &["2000"]);
    env.write("missing.sh", "#!/bin/sh\nexec sleep 1000\n");
    wait_for(|| !env.named("bad").is_empty());
    let failures = watch
        .lines()
        .iter()
        .filter(|line| line.contains("failed to start"))
        .count();
    assert!(
        failures <= 8,
        "{failures} attempts:\n{}",
        watch.lines().join("\n")
    );
    assert_eq!(watch.stop(), 0);
}

#[test]
fn settings_are_read_again_on_hangup() {
    let env = Env::new();
    env.define("a", "{:apps [{:name \"a\" :script \"/bin/sleep\" :args [\"1\" \"1000\"] :env_dev {:MODE \"dev\"}}]}");
    let watch = env.watch(&[]);
    assert!(!environ(env.pid("a")).contains_key("MODE"));
    env.write("pm2-sync.edn", "{:env \"dev\"}");
    watch.signal(rustix::process::Signal::HUP);
    wait_for(|| {
        env.named("a")
            .first()
            .and_then(|process| process.pid)
            .is_some_and(|pid| environ(pid).get("MODE").is_some_and(|mode| mode == "dev"))
    });
    assert_eq!(watch.stop(), 0);
}

#[test]
fn watch_reports_invalid_paths_and_shows_no_values() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let watch = env.watch(&[]);
    env.write("system/daemons/ecosystem.pm2.edn", "{:apps []}");
    watch.wait_for_line("must be in a directory of its own");
    env.write("system/daemons/b/ecosystem.edn", &sleeper("b", 1));
    watch.wait_for_line("hint: rename it to `ecosystem.pm2.edn`");
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"x\" :env {:TOKEN \"s3cr3t\" :N 08}}]}",
    );
    watch.wait_for_line("invalid number `***`");
    watch.wait_for_line("`--show-values` shows hidden values");
    assert!(!watch.lines().join("\n").contains("s3cr3t"));
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_new_warning_of_an_edited_definition_is_reported_once() {
    let env = Env::new();
    let app = |rest: &str| {
        format!("{{:apps [{{:name \"a\" :script \"/bin/sleep\" :args \"1000\" {rest}}}]}}")
    };
    env.define("a", &app(":exec-mode \"fork\""));
    let watch = env.watch(&[]);
    watch.wait_for_line("1 warning in 1 definition; see `pm2-sync check`");
    let both = ":exec-mode \"fork\" :kill-timeout 1000";
    env.define("a", &app(both));
    watch.wait_for_line("write `kill_timeout`");
    env.define("a", &app(&format!("{both} :max_restarts 3")));
    wait_for(|| {
        env.named("a")
            .iter()
            .any(|process| process.pm2_env.get("max_restarts") == Some(&3.into()))
    });
    env.define("b", &sleeper("b", 1000));
    env.wait_for_args("b", &["1000"]);
    let lines = watch.lines().join("\n");
    assert_eq!(lines.matches("write `kill_timeout`").count(), 1, "{lines}");
    // Existing warnings are only counted.
    assert!(!lines.contains("write `exec_mode`"), "{lines}");
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_watch_ends_soon_though_pm2_hangs() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let watch = env.watch(&[]);
    watch.wait_for_line("in sync");
    let god = env.bed.daemon_pid().unwrap();
    let daemon = rustix::process::Pid::from_raw(i32::try_from(god).unwrap()).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::STOP).unwrap();
    env.define("a", &sleeper("a", 2000));
    // Whether it is waiting for an answer or for the next poll: it ends long before PM2's 10 s are over.
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    let status = watch.stop();
    let took = began.elapsed();
    rustix::process::kill_process(daemon, rustix::process::Signal::CONT).unwrap();
    assert_eq!(status, 0);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_watch_ends_soon_though_the_command_that_starts_pm2_hangs() {
    let env = Env::with_sleepers(1);
    env.write("pm2.sh", "#!/bin/sh\ntouch called\nexec sleep 1000\n");
    let command = env.root.join("pm2.sh");
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = env
        .command(&["watch", "--pm2", command.as_str()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for(|| env.root.join("called").exists());
    let began = Instant::now();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_watch_ends_with_its_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let env = Env::with_sleepers(1);
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    // The watch must not hold its other end.
    rustix::io::fcntl_setfd(&terminal, rustix::io::FdFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let shown = std::fs::OpenOptions::new()
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut child = env.command(&["watch"]).stderr(shown).spawn().unwrap();
    wait_for(|| env.try_list().is_some_and(|list| list.len() == 1));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let hangup = || rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    // While the terminal exists, it reads its settings again.
    env.write("pm2-sync.edn", "{:daemons \"system/others\"}");
    env.write("system/others/o/ecosystem.pm2.edn", &sleeper("other", 1000));
    hangup();
    wait_for(|| !env.named("other").is_empty());
    assert!(child.try_wait().unwrap().is_none());
    drop(terminal);
    hangup();
    wait_for(|| child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
