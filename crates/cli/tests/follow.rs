//! What `status --follow` shows while the state changes, and when it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use common::{Env, planted, sleeper};
use pm2_testbed::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

struct Follow {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follow {
    fn new(env: &Env) -> Self {
        let mut child = env
            .command(&["status", "--follow", "--format", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        let line = self.lines.next().unwrap().unwrap();
        planted::check(&line);
        serde_json::from_str(&line).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn running() -> Env {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    env.sync();
    env
}

#[test]
fn it_continues_while_its_input_is_temporarily_unreadable() {
    let env = running();
    let mut follow = Follow::new(&env);
    assert_eq!(follow.next()["in_sync"], true);
    let daemons = env.root.join("system/daemons");
    std::fs::rename(&daemons, env.root.join("away")).unwrap();
    let error = follow.next()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("does not exist"), "{error}");
    std::fs::rename(env.root.join("away"), &daemons).unwrap();
    assert_eq!(follow.next()["in_sync"], true);
    env.bed.kill_daemon();
    assert_eq!(follow.next()["pm2_running"], false);
    follow.signal(Signal::TERM);
    assert_eq!(follow.child.wait().unwrap().code(), Some(2));
}

#[test]
fn it_ends_when_its_terminal_is_closed() {
    let env = running();
    let mut follow = Follow::new(&env);
    follow.next();
    follow.signal(Signal::HUP);
    assert_eq!(follow.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_ends_when_its_reader_goes_away() {
    let env = running();
    let mut child = env
        .command(&["status", "--follow", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    drop(lines);
    env.define("b", &sleeper("b", 1000));
    wait_for(|| child.try_wait().unwrap().is_some());
}
