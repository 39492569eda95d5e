//! `logs` for apps that PM2 runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use pm2_testbed::wait_for;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Env, contract};

/// On each `SIGUSR2`, prints a line with its name and a number.
const SAYS: &str = "
let n = 0;
const say = () => { console.log(process.env.name + ' says ' + n); console.error(process.env.name + ' fails ' + n); n += 1; };
process.on('SIGUSR2', say);
say();
setInterval(() => {}, 1000);
";

fn talkers() -> Env {
    let env = Env::new();
    env.write("says.js", SAYS);
    for (id, time) in [
        ("one", "true"),
        ("more/two", "true"),
        ("more/three", "false"),
    ] {
        let name = id.rsplit('/').next().unwrap();
        env.define(
            id,
            &format!("{{:apps [{{:name \"{name}\" :script \"./says.js\" :time {time}}}]}}"),
        );
    }
    env.sync();
    let wrote = |name: &str| {
        let log = env.bed.home().join(format!("logs/{name}-error.log"));
        std::fs::read_to_string(log).is_ok_and(|text| text.contains("fails 0"))
    };
    wait_for(|| ["one", "two", "three"].into_iter().all(wrote));
    env
}

fn say(env: &Env, name: &str) {
    let pid = Pid::from_raw(i32::try_from(env.pid(name)).unwrap()).unwrap();
    kill_process(pid, Signal::USR2).unwrap();
}

struct Followed {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Followed {
    fn new(env: &Env, args: &[&str]) -> Self {
        let mut child = env.command(args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let out = BufReader::new(child.stdout.take().unwrap());
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_for(|| {
            self.lines
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains(text))
        });
    }

    fn count(&self, text: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    fn interrupt(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_last_lines_of_all_apps_are_printed_with_their_names() {
    let env = talkers();
    let done = env.expect(0, &["logs"]);
    for line in ["one   | ", "two   ! ", "three | three says 0"] {
        assert!(done.out.contains(line), "no `{line}`:\n{}", done.out);
    }
    assert_eq!(done.out.lines().count(), 6, "{}", done.out);
    let ids = |args: &[&str]| env.expect(0, args).out;
    assert_eq!(ids(&["logs", "more/", "-n", "1"]).lines().count(), 2);
    let err = ids(&["logs", "--err", "two"]);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("two fails 0"), "{err}");
    assert_eq!(ids(&["logs", "--since", "1h"]).lines().count(), 6);
    assert_eq!(ids(&["logs", "one", "--since", "2999-01-01"]), "");
    env.expect(64, &["logs", "nobody"]);
    env.expect(64, &["logs", "--since", "soon"]);

    let json = ids(&["logs", "one", "--json"]);
    let mut streams = Vec::new();
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        contract::check(&line);
        assert_eq!(
            (&line["daemon"], &line["app"]),
            (&"one".into(), &"one".into())
        );
        assert!(line["time"].is_string(), "{line}");
        streams.push(line["stream"].as_str().unwrap().to_owned());
    }
    streams.sort();
    assert_eq!(streams, ["err", "out"]);

    // The logs remain after PM2 has stopped.
    assert!(env.bed.cli(&["kill"]).status.success());
    let done = env.expect(0, &["logs", "three"]);
    assert!(done.out.contains("three says 0"), "{}", done.out);
    assert!(done.err.contains("PM2 is not running"), "{}", done.err);
}

#[test]
fn logs_are_followed_through_flush_rotation_and_restart_until_ctrl_c() {
    let env = talkers();
    let followed = Followed::new(&env, &["logs", "-f", "one", "more/three"]);
    followed.wait_for("three says 0");
    say(&env, "one");
    followed.wait_for("one says 1");
    assert!(env.bed.cli(&["flush"]).status.success());
    say(&env, "one");
    followed.wait_for("one says 2");
    // As logrotate does, with PM2's own command to open the new file.
    let log = env.bed.home().join("logs/three-out.log");
    std::fs::rename(&log, format!("{log}.1")).unwrap();
    say(&env, "three");
    followed.wait_for("three says 1");
    assert!(env.bed.cli(&["reloadLogs"]).status.success());
    say(&env, "three");
    followed.wait_for("three says 2");
    // An app that is added later.
    env.define("four", "{:apps [{:name \"four\" :script \"./says.js\"}]}");
    let all = Followed::new(&env, &["logs", "--follow", "--json"]);
    env.sync();
    all.wait_for("four says 0");
    assert_eq!(followed.count("four"), 0);
    for text in ["one says 1", "one says 2", "three says 1", "three says 2"] {
        assert_eq!(followed.count(text), 1, "{text}: {:?}", followed.lines);
    }
    assert_eq!(followed.interrupt(), Some(0));
    assert_eq!(all.interrupt(), Some(0));
}
