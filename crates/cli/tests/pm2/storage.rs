//! Obstacles in the file system: FIFOs and directories in place of files, unwritable files, oversized files.

use std::fs::File;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use pm2_testbed::{is_alive, wait_for};
use rustix::fs::{CWD, FileType, Mode, inotify};
use rustix::process::Signal;

use crate::common::{Done, Env, sleeper};

fn make_fifo(path: &Utf8Path) {
    let _ = std::fs::remove_file(path);
    rustix::fs::mknodat(CWD, path.as_std_path(), FileType::Fifo, Mode::RWXU, 0).unwrap();
}

/// Runs a command, which must end within half a minute.
#[track_caller]
fn run_in_time(env: &Env, args: &[&str]) -> Done {
    let mut child = env.command(args).spawn_piped().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        let hangs = Instant::now() > deadline;
        if hangs {
            child.kill().unwrap();
        }
        assert!(!hangs, "{args:?} hangs");
        std::thread::sleep(Duration::from_millis(10));
    }
    Done::wait(child)
}

/// Puts a directory in an artifact's place, which cannot be replaced.
fn obstruct(env: &Env, id: &str) {
    let path = env.artifact(id);
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir_all(path.join("full")).unwrap();
}

#[test]
fn an_artifact_that_cannot_be_written_is_a_failure_of_its_daemon_alone() {
    let env = Env::new();
    for name in ["a", "b"] {
        env.define(name, &sleeper(name, 1000));
    }
    obstruct(&env, "a");
    let done = env.expect(3, &["sync"]);
    let named = format!("a: cannot write `{}`", env.artifact("a"));
    assert!(done.err.contains(&named), "{}", done.err);
    assert!(!done.err.contains("b: cannot"), "{}", done.err);
    let before = [env.pid("a"), env.pid("b")];
    assert!(env.artifact("b").is_file());

    // Both are still synced and healed.
    env.define("b", &sleeper("b", 2000));
    assert!(env.bed.cli(&["delete", "a"]).status.success());
    let report = env.json(3, &["sync"]);
    let failed = report["artifacts"]["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 1, "{report}");
    assert_eq!(failed[0]["daemon"], "a");
    assert_ne!([env.pid("a"), env.pid("b")], before);
    env.wait_for_args("b", &["2000"]);

    let done = env.expect(3, &["render"]);
    assert!(done.err.contains(&named), "{}", done.err);
    let done = env.expect(3, &["render", "--check"]);
    assert!(done.err.contains("a: cannot read"), "{}", done.err);

    std::fs::remove_dir_all(env.artifact("a")).unwrap();
    env.sync();
    assert!(env.artifact("a").is_file());
}

#[test]
fn a_damaged_artifact_of_a_broken_definition_is_named() {
    let env = Env::new();
    for name in ["a", "b"] {
        env.define(name, &sleeper(name, 1000));
    }
    env.sync();
    env.define("a", "{:apps [");
    std::fs::write(env.artifact("a"), "{\"//\": \"Gen").unwrap();
    assert!(env.bed.cli(&["delete", "a", "b"]).status.success());
    // The last good render cannot be read; the other daemons are still healed.
    let named = format!(
        "the generated config of a: `{}` is damaged",
        env.artifact("a")
    );
    for args in [&["plan"][..], &["sync"], &["status"]] {
        let done = env.expect(3, args);
        assert!(done.err.contains(&named), "{args:?}: {}", done.err);
    }
    env.pid("b");
    let report = env.json(3, &["sync"]);
    assert_eq!(report["artifacts"]["failed"][0]["daemon"], "a", "{report}");
    env.define("a", &sleeper("a", 1000));
    env.sync();
    env.pid("a");
}

#[test]
fn a_non_file_in_place_of_an_artifact_is_replaced() {
    let env = Env::new();
    let names = ["fifo", "socket", "loop", "device"];
    for name in names {
        env.define(name, &sleeper(name, 1000));
    }
    std::fs::create_dir_all(env.root.join(".generated/pm2")).unwrap();
    make_fifo(&env.artifact("fifo"));
    let _listener = std::os::unix::net::UnixListener::bind(env.artifact("socket")).unwrap();
    std::os::unix::fs::symlink("loop.json", env.artifact("loop")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", env.artifact("device")).unwrap();
    let done = run_in_time(&env, &["sync"]);
    assert_eq!(done.code, 0, "{}", done.err);
    for name in names {
        let metadata = std::fs::symlink_metadata(env.artifact(name)).unwrap();
        assert!(metadata.is_file(), "{name}");
    }
}

#[test]
fn a_name_that_is_too_long_for_an_artifact_is_an_error_that_blocks_nothing_else() {
    let env = Env::new();
    let long = "x".repeat(251);
    env.define(&long, &sleeper("x", 1000));
    env.define("a", &sleeper("a", 1000));
    for (args, code) in [(["check"], 1), (["sync"], 3)] {
        let done = env.expect(code, &args);
        assert!(done.err.contains("more than 250 bytes"), "{}", done.err);
    }
    env.pid("a");
}

#[test]
fn a_linked_directory_of_artifacts_is_not_followed() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let elsewhere = env.bed.dir().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::create_dir(env.root.join(".generated")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, env.root.join(".generated/pm2")).unwrap();
    let done = env.expect(3, &["sync"]);
    assert!(
        done.err.contains("is a symbolic link, not a directory"),
        "{}",
        done.err
    );
    env.pid("a");
    assert_eq!(elsewhere.read_dir_utf8().unwrap().count(), 0);
}

#[test]
fn a_fifo_in_any_place_hangs_nothing() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.sync();
    let home = env.bed.home();
    let pid = std::fs::read(home.join("pm2.pid")).unwrap();
    // A file with its content, and the commands that read it with their exit statuses.
    let render: &[&str] = &["render", "--stdout", "x.edn"];
    type Commands<'a> = &'a [(&'a [&'a str], i32)];
    let places: [(_, Commands<'_>); 8] = [
        (
            env.root.join("pm2-sync.edn"),
            &[(&["check"], 1), (&["sync"], 1), (&["plan"], 1)],
        ),
        (
            env.root.join("x.edn"),
            &[(render, 1), (&["check", "x.edn"], 1)],
        ),
        (
            env.artifact("b"),
            &[(&["sync"], 0), (&["plan"], 0), (&["render"], 0)],
        ),
        (
            env.root.join(".generated/pm2"),
            &[(&["sync"], 3), (&["plan"], 0), (&["render", "--check"], 1)],
        ),
        (home.join("pm2-sync.lock"), &[(&["sync"], 1)]),
        (
            home.join("module_conf.json"),
            &[(&["up"], 1), (&["down"], 1)],
        ),
        (home.join("pm2.pid"), &[(&["plan"], 0), (&["doctor"], 0)]),
        (home.join("dump.pm2"), &[(&["sync"], 3)]),
    ];
    for (path, commands) in places {
        if path.ends_with("dump.pm2") {
            // The dump is read when something has changed.
            env.define("a", &sleeper("a", 2000));
        }
        let saved = path.with_file_name("saved");
        let is_there = std::fs::rename(&path, &saved).is_ok();
        make_fifo(&path);
        for (args, code) in commands {
            let done = run_in_time(&env, args);
            assert_eq!(done.code, *code, "{path} {args:?}: {}", done.err);
        }
        std::fs::remove_file(&path).unwrap();
        if is_there {
            std::fs::rename(&saved, &path).unwrap();
        }
    }
    assert_eq!(std::fs::read(home.join("pm2.pid")).unwrap(), pid);
}

#[test]
fn an_unsaved_process_list_is_in_status_plan_and_doctor_until_it_is_saved() {
    let env = Env::with_sleepers(1);
    env.sync();
    let dump = env.bed.home().join("dump.pm2");
    std::fs::remove_file(&dump).unwrap();
    std::fs::create_dir_all(dump.join("full")).unwrap();
    env.define("d0", &sleeper("app0", 2000));
    env.expect(3, &["sync"]);
    env.wait_for_args("app0", &["2000"]);
    for command in ["status", "plan"] {
        let data = env.json(3, &[command]);
        assert_eq!(data["problems"][0]["kind"], "unsaved", "{data}");
        let done = env.expect(3, &[command]);
        assert!(done.err.contains("could not be saved"), "{}", done.err);
    }
    let done = env.run(&["doctor"]);
    assert!(done.out.contains("could not be saved"), "{}", done.out);
    std::fs::remove_dir_all(&dump).unwrap();
    env.expect(0, &["sync"]);
    assert!(dump.is_file());
    env.sync();
    env.expect(0, &["status"]);
}

#[test]
fn a_watch_that_cannot_write_artifacts_reports_it_once_and_heals() {
    let env = Env::new();
    for name in ["a", "b"] {
        env.define(name, &sleeper(name, 1000));
    }
    std::fs::write(env.root.join(".generated"), "in the way").unwrap();
    let watch = env.watch(&[]);
    let complaint = "the generated configs were left as they are";
    watch.wait_for_line(complaint);
    for seconds in ["2000", "3000", "4000"] {
        env.define("a", &sleeper("a", seconds.parse().unwrap()));
        env.wait_for_args("a", &[seconds]);
        let pid = env.pid("b");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            Signal::KILL,
        )
        .unwrap();
        wait_for(|| !is_alive(pid));
        assert!(env.bed.cli(&["delete", "b"]).status.success());
        wait_for(|| env.named("b").iter().any(|record| record.pid.is_some()));
    }
    let lines = watch.lines();
    let complaints = lines.iter().filter(|line| line.contains(complaint)).count();
    assert_eq!(complaints, 1, "{lines:#?}");
    std::fs::remove_file(env.root.join(".generated")).unwrap();
    env.define("a", &sleeper("a", 5000));
    watch.wait_for_line("all generated configs can be written again");
    // A daemon that was edited that often is paused for a moment.
    wait_for(|| env.artifact("a").is_file() && env.artifact("b").is_file());
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_failing_watch_backs_off_and_reports_it_once() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let watch = env.watch(&["-v"]);
    // Only the edit may need the lock.
    env.wait_until_ready("a");
    // Nothing can be done without the lock, and a hard link is not accepted as one.
    let lock = env.bed.home().join("pm2-sync.lock");
    let second = env.bed.home().join("second");
    std::fs::hard_link(&lock, &second).unwrap();
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&inotify, lock.as_std_path(), inotify::WatchFlags::OPEN).unwrap();
    let began = Instant::now();
    env.define("a", &sleeper("a", 2000));
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut attempts = inotify::Reader::new(&inotify, &mut buffer);
    for _ in 0..4 {
        attempts.next().unwrap();
    }
    // Half a second, a second and two seconds after the first.
    assert!(began.elapsed() >= Duration::from_secs(3));
    let lines = watch.lines();
    let failures = lines
        .iter()
        .filter(|line| line.contains("cannot open the lock"))
        .count();
    assert_eq!(failures, 1, "{lines:#?}");
    std::fs::remove_file(&second).unwrap();
    env.wait_for_args("a", &["2000"]);
    watch.wait_for_line("working again");
}

#[test]
fn files_above_the_size_limit_are_not_read() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let sparse = |path: &Utf8Path| {
        let file = File::create(path).unwrap();
        file.set_len(3 << 30).unwrap();
    };
    sparse(&env.root.join("x.edn"));
    for args in [&["render", "--stdout", "x.edn"][..], &["check", "x.edn"]] {
        let done = run_in_time(&env, args);
        assert_eq!(done.code, 1);
        assert!(
            done.err.contains("it is larger than 64 MiB"),
            "{}",
            done.err
        );
    }
    std::os::unix::fs::symlink("/dev/zero", env.root.join("zero.edn")).unwrap();
    let done = run_in_time(&env, &["render", "--stdout", "zero.edn"]);
    assert!(
        done.err.contains("it is a device, not a file"),
        "{}",
        done.err
    );
    std::fs::create_dir_all(env.root.join(".generated/pm2")).unwrap();
    sparse(&env.artifact("a"));
    env.sync();
    assert!(std::fs::metadata(env.artifact("a")).unwrap().len() < 10_000);
    sparse(&env.root.join("pm2-sync.edn"));
    let done = run_in_time(&env, &["sync"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("it is larger than 1 MiB"), "{}", done.err);
}

#[test]
fn temporary_files_of_a_killed_run_are_swept() {
    let env = Env::new();
    env.define("a/b", &sleeper("b", 1000));
    env.sync();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let leftovers = [
        env.bed.home().join(".pm2-sync-Xy12zz"),
        env.root.join(".generated/pm2/a/.pm2-sync-Xy12zz"),
        env.root.join(".generated/.pm2-sync-Xy12zz"),
    ];
    for path in &leftovers {
        File::create(path).unwrap().set_modified(old).unwrap();
    }
    env.expect(0, &["plan"]);
    assert!(leftovers.iter().all(|path| path.exists()), "`plan` swept");
    env.expect(0, &["sync"]);
    for path in &leftovers {
        assert!(!path.exists(), "{path}");
    }
}
