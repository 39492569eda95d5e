//! Files of other users: none is used just because it exists.
//!
//! Only root can give files away. If the tests run as another user, everything belongs to the caller, and each test asserts that it
//! is used then.

use std::os::unix::fs::{chown, lchown, symlink};

use camino::{Utf8Path, Utf8PathBuf};

use crate::common::{Done, Env, sleeper};

/// A user that is neither root nor the caller.
const OTHER: u32 = 4242;

/// Gives a file to another user. Returns whether that is possible.
fn give_away(path: impl AsRef<Utf8Path>) -> bool {
    lchown(path.as_ref(), Some(OTHER), Some(OTHER)).is_ok()
}

fn take_back(path: impl AsRef<Utf8Path>) {
    lchown(path.as_ref(), Some(0), Some(0)).unwrap();
}

/// A command that records in a file that it was run.
fn configure_command(env: &Env) -> Utf8PathBuf {
    let mark = env.bed.dir().join("was-run");
    env.write(
        "pm2-sync.edn",
        &format!("{{:pm2-clj [\"touch\" \"{mark}\"]}}"),
    );
    env.define("a", "(code)");
    mark
}

fn run_in(env: &Env, dir: &Utf8Path, args: &[&str]) -> Done {
    Done::from(env.command(args).current_dir(dir).output().unwrap())
}

#[test]
fn a_workspace_of_another_user_is_used_only_when_it_is_named() {
    let env = Env::new();
    let mark = configure_command(&env);
    let below = env.root.join("system/daemons/a");
    for part in ["", "system", "system/daemons", "pm2-sync.edn"] {
        let part = env.root.join(part);
        let is_foreign = give_away(&part);
        for args in [
            &["check"][..],
            &["plan"],
            &["status"],
            &["render"],
            &["sync"],
            &["up"],
        ] {
            if !is_foreign {
                continue;
            }
            let done = run_in(&env, &below, args);
            assert_eq!(done.code, 1, "{args:?}: {}", done.err);
            for text in ["belongs to another user (uid 4242)", "--workspace"] {
                assert!(done.err.contains(text), "{args:?}: {}", done.err);
            }
            assert!(!mark.exists(), "{args:?} ran the command");
        }
        let done = run_in(&env, &below, &["check", "--workspace", env.root.as_str()]);
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(mark.exists(), "named, it is used");
        std::fs::remove_file(&mark).unwrap();
        // A caller who is root through `sudo` is still that user.
        let mut sudo = env.command(&["check"]);
        sudo.env("SUDO_UID", OTHER.to_string()).output().unwrap();
        assert!(mark.exists());
        std::fs::remove_file(&mark).unwrap();
        if is_foreign {
            take_back(&part);
        }
    }
}

#[test]
fn a_file_is_checked_in_a_workspace_of_another_user_without_its_command() {
    let env = Env::new();
    let mark = configure_command(&env);
    let file = "system/daemons/a/ecosystem.pm2.edn";
    let is_foreign = give_away(&env.root);
    env.expect(1, &["check", file]);
    assert_eq!(mark.exists(), !is_foreign);
}

#[test]
fn a_pm2_command_of_another_user_above_the_workspace_is_not_run() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let bin = env.bed.dir().join("node_modules/.bin");
    std::fs::create_dir_all(&bin).unwrap();
    symlink(pm2_testbed::pm2_bin(), bin.join("pm2")).unwrap();
    let found = || {
        let mut command = env.command(&["doctor", "--format", "json"]);
        let output = command.env_remove("PM2_SYNC_PM2").output().unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(bin.as_str())
    };
    assert!(found());
    for part in [
        bin.join("pm2"),
        bin.clone(),
        env.bed.dir().join("node_modules"),
    ] {
        if give_away(&part) {
            assert!(!found(), "{part}");
            take_back(&part);
        }
    }
}

#[test]
fn a_pm2_home_of_another_user_is_left_alone() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    if !give_away(env.bed.home()) {
        env.sync();
        return;
    }
    for args in [&["sync"][..], &["up"], &["down"]] {
        let done = env.expect(1, args);
        for text in [
            "belongs to another user (uid 4242)",
            "sudo -u '#4242'",
            "--pm2-home",
        ] {
            assert!(done.err.contains(text), "{args:?}: {}", done.err);
        }
    }
    assert_eq!(env.bed.home().read_dir_utf8().unwrap().count(), 0);
    let done = env.expect(1, &["doctor"]);
    assert!(
        done.out.contains("belongs to another user (uid 4242)"),
        "{}",
        done.out
    );
}

#[test]
fn nothing_is_sent_to_a_pm2_of_another_user() {
    let env = Env::new();
    env.define(
        "a",
        "{:apps [{:name \"a\" :script \"/bin/sleep\" :args [\"1\"] :env {:PW \"hunter2\"}}]}",
    );
    chown(env.bed.dir(), Some(OTHER), Some(OTHER)).unwrap_or_default();
    // It listens on PM2's socket, and stores what it receives.
    let heard = env.bed.home().join("heard");
    let program = "require('net').createServer(c => c.on('data', d => require('fs').appendFileSync('heard', d))).listen('rpc.sock', () => console.log('listening'))";
    let mut listener = std::process::Command::new("node");
    listener.args(["-e", program]).current_dir(env.bed.home());
    listener.stdout(std::process::Stdio::piped());
    let is_foreign = give_away(env.bed.home());
    if is_foreign {
        std::os::unix::process::CommandExt::uid(&mut listener, OTHER);
    }
    let mut listener = listener.spawn().unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(listener.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    if is_foreign {
        take_back(env.bed.home());
        for args in [&["sync"][..], &["plan"], &["status"], &["down"]] {
            let done = env.expect(1, args);
            assert!(
                done.err.contains("runs as another user (uid 4242)"),
                "{args:?}: {}",
                done.err
            );
        }
        let done = env.expect(1, &["doctor"]);
        assert!(
            done.out.contains("runs as another user (uid 4242)"),
            "{}",
            done.out
        );
        assert!(!heard.exists());
    }
    listener.kill().unwrap();
    listener.wait().unwrap();
}

#[test]
fn a_lock_that_is_a_link_is_not_written_through() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let lock = env.bed.home().join("pm2-sync.lock");
    let victim = env.bed.dir().join("victim");
    std::fs::write(&victim, "theirs").unwrap();
    let links: [fn(&Utf8Path, &Utf8Path) -> std::io::Result<()>; 2] = [
        |victim, lock| symlink(victim, lock),
        |victim, lock| std::fs::hard_link(victim, lock),
    ];
    for link in links {
        link(&victim, &lock).unwrap();
        let done = env.expect(1, &["sync"]);
        assert!(done.err.contains("link"), "{}", done.err);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
        std::fs::remove_file(&lock).unwrap();
    }
    env.sync();
}

#[test]
fn definitions_are_checked_without_any_home() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    for args in [
        &["check"][..],
        &["render"],
        &["render", "--check"],
        &["render", "--stdout", "a"],
    ] {
        let mut command = env.command(args);
        let output = command
            .env_remove("HOME")
            .env_remove("PM2_HOME")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    }
}
