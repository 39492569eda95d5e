//! Apps that PM2 still waits for: they have `wait_ready` and have not reported that they are ready. PM2 restarts such a process
//! when it ends for any reason.

use std::process::Child;
use std::time::{Duration, Instant};

use pm2_testbed::wait_for;

use crate::common::{Env, command_line, sleeper};

/// An app that never reports that it is ready, with further settings.
fn silent(more: &str) -> String {
    format!(
        r#"{{:apps [{{:name "slow" :script "slow.js" :wait_ready true :listen_timeout 60000 {more}}}]}}"#
    )
}

/// A workspace whose PM2 is launching the app, beside another one.
fn launching(more: &str) -> Env {
    let env = Env::new();
    env.write("slow.js", "setInterval(() => {}, 1000);\n");
    env.define("slow", &silent(more));
    env.define("other", &sleeper("other", 1000));
    // PM2 answers when the app is ready, so the sync would take a minute.
    let sync = env.command(&["sync"]).spawn().unwrap();
    wait_for(|| {
        let list = env.try_list().unwrap_or_default();
        list.iter()
            .any(|one| one.name == "slow" && one.pid.is_some())
    });
    end(sync);
    env
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The living processes of the app, whether PM2 lists them or not.
fn alive(env: &Env) -> Vec<u32> {
    let mut pids = env.bed.processes();
    pids.retain(|pid| {
        let line = command_line(*pid).join(" ");
        let is_slow = |text: &str| text.contains("slow.js");
        is_slow(&line)
            || crate::common::environ(*pid)
                .values()
                .any(|text| is_slow(text))
    });
    pids
}

/// Asserts that these remain the living processes of the app for longer than PM2 may take to restart it.
#[track_caller]
fn stays(env: &Env, pids: &[u32], more: &str) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(alive(env), pids, "`{more}`");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const KINDS: [&str; 4] = [
    "",
    ":restart_delay 300",
    ":exec_mode \"cluster\"",
    ":autorestart false",
];

#[test]
fn an_app_removed_while_launching_is_gone() {
    for more in KINDS {
        let env = launching(more);
        env.undefine("slow");
        env.expect(0, &["sync"]);
        stays(&env, &[], more);
        assert!(env.named("slow").is_empty(), "`{more}` is listed");
        env.sync();
    }
}

#[test]
fn an_app_stopped_while_launching_stays_stopped() {
    for more in &KINDS[..2] {
        let more = format!("{more} :pm2-sync {{:on-remove :stop}}");
        let env = launching(&more);
        env.undefine("slow");
        env.expect(0, &["sync"]);
        stays(&env, &[], &more);
        assert_eq!(env.named("slow").len(), 1);
    }
}

#[test]
fn an_app_changed_while_launching_runs_once_as_defined() {
    for more in KINDS {
        let env = launching(more);
        let before = alive(&env);
        env.define("slow", &silent(&format!("{more} :args [\"x\"]")));
        let sync = env.command(&["sync"]).spawn().unwrap();
        wait_for(|| {
            let pids = alive(&env);
            pids.len() == 1 && pids != before
        });
        end(sync);
        let record = &env.named("slow")[0];
        stays(&env, &[record.pid.unwrap()], more);
        assert_eq!(record.pm2_env["args"][0], "x");
        assert_eq!(record.pm2_env["autostart"], true);
        let restarts = !more.contains("autorestart");
        assert_eq!(record.pm2_env["autorestart"], restarts);
        assert!(!record.pm2_env.contains_key("current_conf"), "{more}");
    }
}
