//! The output on terminals with 80 and with 50 columns.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::File;
use std::io::Read;

use common::{Env, planted, sleeper};
use pm2_testbed::wait_for;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The output of a command on a terminal of this width.
fn seen(env: &Env, args: &[&str], columns: u16) -> Vec<String> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize {
        ws_row: 40,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let side = || {
        let mut file = File::options();
        file.read(true)
            .write(true)
            .open(path.to_str().unwrap())
            .unwrap()
    };
    let mut command = env.command(args);
    command.env("NO_COLOR", "1").env("TERM", "xterm");
    command.stdout(side()).stderr(side());
    let mut child = command.spawn().unwrap();
    // Close our copies of the terminal's child side.
    drop(command);
    let mut terminal = File::from(terminal);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // On Linux, reading fails once the last process has closed it.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        text.extend(&buffer[..count]);
    }
    child.wait().unwrap();
    let text = String::from_utf8(text).unwrap();
    planted::check(&text);
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    let env = Env::new();
    env.write(
        "says.js",
        "console.log('a request to /api/v1/users took 12 ms, and one to /api/v1/orders took 3 s'); \
         console.error('a word that is far too long for any of the terminals that there are here'); \
         setInterval(() => {}, 1000);",
    );
    env.write("dies.js", "throw new Error('no such luck');");
    env.define(
        "services/shop",
        "{:apps [{:name \"api\" :script \"./says.js\"}]}",
    );
    env.define(
        "services/autocommit",
        "{:apps [{:name \"autocommit\" :script \"./dies.js\" :max_restarts 1 :min_uptime 5000}]}",
    );
    env.run(&["sync"]);
    let errored = |name: &str| env.named(name)[0].status == pm2_client::Status::Errored;
    wait_for(|| errored("autocommit"));
    env.define(
        "services/shop",
        "{:apps [{:name \"api\" :script \"./says.js\" :args [\"--listen\" \"4000\"]}]}",
    );
    env.run(&["sync", "services/shop"]);
    env.define("devops/ecosystem-watch", &sleeper("ecosystem-watch", 1));
    let log = env.bed.home().join("logs");
    for columns in [80, 50] {
        for args in [
            &["status"][..],
            &["plan"],
            &["logs", "services"],
            &["history"],
            &["history", "-v"],
        ] {
            let lines = seen(&env, args, columns);
            assert!(lines.len() > 3, "{args:?}: {lines:#?}");
            for line in &lines {
                // A path or another long word cannot be wrapped.
                let is_word = line.contains(log.as_str()) || line.split_whitespace().count() == 2;
                let width = line.chars().count();
                let fits = width <= usize::from(columns) || is_word;
                assert!(fits, "{args:?}: {width}: {lines:#?}");
            }
        }
        let status = seen(&env, &["status"], columns).join("\n");
        assert_eq!(status.contains("MEM"), columns == 80, "{status}");
        assert!(status.contains("no such luck"), "{status}");
        let plan = seen(&env, &["plan"], columns).join("\n");
        assert!(plan.contains("`pm2-sync sync`"), "{plan}");
        let history = seen(&env, &["history"], columns).join("\n");
        for word in ["services/shop", "services/autocommit", "ready", "failed"] {
            assert!(history.contains(word), "no `{word}`: {history}");
        }
        let changes = seen(&env, &["history", "-v", "api"], columns).join("\n");
        assert!(changes.contains("args: none -> \"--listen"), "{changes}");
        let logs = seen(&env, &["logs", "api"], columns).join("\n");
        assert!(
            logs.contains("api | a request") && logs.contains("api ! a word"),
            "{logs}"
        );
    }
}
