//! Processes as reported by the operating system: observing them costs PM2 nothing.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The children of a process, in order of their start.
pub fn children(pid: u32) -> Vec<u32> {
    children_of_thread(pid, pid)
}

/// The children that were started by one of its threads.
pub fn children_of_thread(pid: u32, thread: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// The words of a process's command line; none when it has ended.
fn command_line(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// How many children of a process are `/bin/sleep`.
pub fn sleepers(pid: u32) -> usize {
    let is_sleeper = |child: &u32| command_line(*child).first().is_some_and(|it| it == SLEEP);
    children(pid)
        .iter()
        .filter(|child| is_sleeper(child))
        .count()
}

/// The program of all processes here.
pub const SLEEP: &str = "/bin/sleep";

/// Waits for a new child of a process.
pub struct Newcomers {
    parent: u32,
    known: BTreeSet<u32>,
}

impl Newcomers {
    /// Records the current children.
    pub fn of(parent: u32) -> Self {
        Self {
            parent,
            known: children(parent).into_iter().collect(),
        }
    }

    /// Waits until a new child sleeps for this many seconds, and returns the time at which it was seen.
    pub fn wait(&mut self, seconds: u32) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            for child in children(self.parent) {
                if self.known.contains(&child) {
                    continue;
                }
                // Between fork and exec it still has its parent's command line: try again.
                let words = command_line(child);
                if words.first().is_some_and(|first| first == SLEEP) {
                    self.known.insert(child);
                    if words.get(1).is_some_and(|it| *it == seconds.to_string()) {
                        return Instant::now();
                    }
                }
            }
            assert!(Instant::now() < deadline, "no new process after a minute");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The CPU time of all threads of a process.
pub fn cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let nanos = tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanos)
}

/// The resident memory of a process, in MiB.
pub fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap() / 1024.0
}

/// A child process, killed on drop.
pub struct Running(pub Child);

impl Running {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| matches!(self.0.try_wait(), Ok(None))) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(5);
            while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
