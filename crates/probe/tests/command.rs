//! Command probes with commands of every kind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::{children, exec, processes, quickest_timeout, sh, wait_until};
use daemon_model::Check;

fn run(check: &Check) -> String {
    probe::run(check, Duration::from_secs(20)).to_string()
}

/// Runs a check that has to reach its deadline, and returns how long that took. No process with this text in its command line may
/// remain.
fn assert_timeout(check: &Check, text: &str) -> Duration {
    let took = quickest_timeout(check, || {
        // The system reaps processes that the group's leader left behind.
        wait_until("the end of all processes", || processes(text).is_empty());
    });
    assert!(took < Duration::from_millis(500), "{took:?}");
    took
}

/// A number for `sleep` that no other test uses.
fn unique(n: u32) -> String {
    format!("{}.{n}", 100_000 + std::process::id())
}

#[test]
fn the_exit_status_decides() {
    for (text, result) in [
        ("exit 0", "ready"),
        ("exit 1", "exit status 1"),
        ("exit 255", "exit status 255"),
        ("kill -9 $$", "killed by signal 9"),
        ("no-such-command-at-all", "exit status 127"),
    ] {
        assert_eq!(run(&sh(text)), result, "{text}");
    }
    assert_eq!(run(&exec(&["true"])), "ready");
}

#[test]
fn a_command_that_cannot_be_run_is_a_failure() {
    let missing = "command or working directory not found";
    assert_eq!(run(&exec(&["no-such-command-at-all"])), missing);
    assert_eq!(run(&exec(&["/no/such/file"])), missing);
    assert_eq!(run(&exec(&["/etc/passwd"])), "permission denied");
    assert_eq!(run(&exec(&[])), "no command");
    let Check::Exec { command, env, .. } = exec(&["true"]) else {
        return;
    };
    let cwd = "/no/such/directory".into();
    assert_eq!(run(&Check::Exec { command, cwd, env }), missing);
}

#[test]
fn a_command_has_the_directory_and_the_variables_of_the_app_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let cwd = camino::Utf8Path::from_path(dir.path()).unwrap();
    let cwd = cwd.canonicalize_utf8().unwrap();
    // A link, because a script that was just written cannot be run while another thread forks.
    std::os::unix::fs::symlink("/bin/sh", cwd.join("check")).unwrap();
    let text = "test \"$PORT\" = 3001 && test -z \"$HOME\" && test \"$(pwd)\" = \"$EXPECTED\"";
    // By a path relative to the directory, and through the app's own PATH.
    for (program, path) in [("./check", "/usr/bin:/bin"), ("check", cwd.as_str())] {
        let variables = [("PORT", "3001"), ("PATH", path), ("EXPECTED", cwd.as_str())];
        let check = Check::Exec {
            command: [program, "-c", text].map(ToOwned::to_owned).into(),
            cwd: cwd.clone(),
            env: variables.into_iter().collect(),
        };
        assert_eq!(run(&check), "ready", "{program}");
    }
}

#[test]
fn a_command_that_hangs_ends_at_its_deadline() {
    let time = unique(1);
    assert_timeout(&exec(&["sleep", &time]), &time);
}

#[test]
fn a_command_may_clean_up_before_it_is_killed() {
    let time = unique(4);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let text = format!(
        "trap 'rm {0}; exit' TERM; touch {0}; sleep {time} & wait",
        file.display()
    );
    assert_timeout(&sh(&text), &time);
    assert!(!file.exists());
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let time = unique(2);
    let text = format!("trap '' TERM; sleep {time} & while :; do wait; done");
    let took = assert_timeout(&sh(&text), &time);
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[test]
fn children_of_a_command_end_with_it() {
    let time = unique(3);
    // Children and grandchildren, with and without SIGTERM.
    let text = format!("sleep {time} & (trap '' TERM; (sleep {time} & wait) & wait) & wait");
    assert_timeout(&sh(&text), &time);
    // And when the command itself succeeds.
    assert_eq!(run(&sh(&format!("sleep {time} & exit 0"))), "ready");
    wait_until("the end of what was left", || processes(&time).is_empty());
}

#[test]
fn megabytes_of_output_neither_block_nor_appear() {
    assert_eq!(
        run(&sh(
            "head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2; exit 3"
        )),
        "exit status 3"
    );
}

#[test]
fn a_command_has_no_input() {
    assert_eq!(run(&sh("read line; test $? = 1")), "ready");
}

#[test]
fn a_command_inherits_no_descriptor_of_this_process() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&listener);
    // `socket:[12345]`
    let socket = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    let own = socket.display();
    let text = format!("ls -l /proc/self/fd | grep -qF '{own}'");
    assert_eq!(run(&sh(&text)), "exit status 1");
}

#[test]
fn no_zombie_is_left() {
    for text in ["exit 0", "exit 1", "kill -9 $$"] {
        run(&sh(text));
    }
    // Other tests of this process have children at the same time, but none of them stays.
    wait_until("no child", || children().is_empty());
}
