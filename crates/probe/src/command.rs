//! Runs a command in its own process group.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Child, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use daemon_model::Variables;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::ProbeResult;
use crate::wait::Interest;

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(200);
/// How long the kernel may take to end a killed command.
const DEATH: Duration = Duration::from_millis(100);

/// Killed commands that the kernel did not end in time. They are reaped later.
static UNCOLLECTED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// A running command.
pub(crate) struct Command {
    /// None once it is reaped.
    child: Option<Child>,
    started: Instant,
    phase: Phase,
    /// When to poll its exit next.
    next_check: Instant,
}

#[derive(Clone, Copy)]
enum Phase {
    Running,
    /// It got SIGTERM, and gets SIGKILL at this time.
    Ending(Instant),
    /// It got SIGKILL, and is abandoned at this time.
    Killed(Instant),
}

/// How a run of a command ended.
pub(crate) enum End {
    Exited(ProbeResult),
    OutOfTime,
}

impl Command {
    pub(crate) fn start(
        words: &[String],
        cwd: &Utf8Path,
        env: &Variables,
        now: Instant,
    ) -> Result<Self, ProbeResult> {
        collect();
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| ProbeResult::failed("no command"))?;
        let child = process::Command::new(program)
            .args(arguments)
            .current_dir(cwd)
            .env_clear()
            .envs(env.iter())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    ProbeResult::failed("command or working directory not found")
                }
                _ => error.into(),
            })?;
        Ok(Self {
            child: Some(child),
            started: now,
            phase: Phase::Running,
            next_check: now,
        })
    }

    /// The end of the run, if it has ended.
    pub(crate) fn step(&mut self, now: Instant, deadline: Instant) -> Option<End> {
        let exit = self.child.as_ref().map_or(Exit::Lost, exit);
        let was_late = !matches!(self.phase, Phase::Running);
        match (exit, self.phase) {
            (Exit::Yes, _) => {
                let result = self.end().map_or_else(lost, judge);
                return Some(match was_late {
                    true => End::OutOfTime,
                    false => End::Exited(result),
                });
            }
            (Exit::Lost, _) => {
                // Its pid may belong to another process by now.
                self.child = None;
                return Some(End::Exited(lost()));
            }
            (Exit::NotYet, Phase::Running) if now >= deadline => {
                self.signal(Signal::TERM);
                self.phase = Phase::Ending(now + GRACE);
            }
            (Exit::NotYet, Phase::Ending(at)) if now >= at => {
                self.signal(Signal::KILL);
                self.phase = Phase::Killed(now + DEATH);
            }
            (Exit::NotYet, Phase::Killed(at)) if now >= at => {
                self.give_up();
                return Some(End::OutOfTime);
            }
            (Exit::NotYet, _) => {}
        }
        self.next_check = self.check_after(now, deadline);
        None
    }

    /// There is no portable descriptor for the exit of a child, so it is polled: often at first, because most commands are quick.
    fn check_after(&self, now: Instant, deadline: Instant) -> Instant {
        let (ran_for, limit) = match self.phase {
            Phase::Running => (now.saturating_duration_since(self.started), deadline),
            Phase::Ending(at) | Phase::Killed(at) => (Duration::ZERO, at),
        };
        let pause = (ran_for / 8).clamp(Duration::from_millis(1), Duration::from_millis(20));
        (now + pause).min(limit)
    }

    pub(crate) fn interest(&self) -> Interest<'static> {
        Interest {
            fd: None,
            until: Some(self.next_check),
        }
    }

    /// Reaps a child that has exited, and kills the rest of its process group. Until the child is reaped, no other group can have
    /// its number.
    fn end(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        let mut child = self.child.take()?;
        child.wait().ok()
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // Fails if the whole group has ended.
            let _ = kill_process_group(Pid::from_child(child), signal);
        }
    }

    fn give_up(&mut self) {
        let mut uncollected = UNCOLLECTED.lock().unwrap_or_else(PoisonError::into_inner);
        uncollected.extend(self.child.take());
    }
}

/// Dropping a run kills it at once.
impl Drop for Command {
    fn drop(&mut self) {
        let until = Instant::now() + DEATH;
        while let Some(child) = &self.child {
            match exit(child) {
                Exit::Yes => drop(self.end()),
                Exit::Lost => self.child = None,
                Exit::NotYet if Instant::now() < until => {
                    self.signal(Signal::KILL);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Exit::NotYet => self.give_up(),
            }
        }
    }
}

enum Exit {
    NotYet,
    Yes,
    /// Other code of this process has reaped it.
    Lost,
}

/// Whether a child has exited. Does not reap it, so that its pid and its group stay reserved.
fn exit(child: &Child) -> Exit {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(Pid::from_child(child)), options) {
        Ok(Some(_)) => Exit::Yes,
        Err(Errno::CHILD) => Exit::Lost,
        Ok(None) | Err(_) => Exit::NotYet,
    }
}

fn lost() -> ProbeResult {
    ProbeResult::NotRun {
        why: "another part of this program took the exit status".to_owned(),
    }
}

fn judge(status: ExitStatus) -> ProbeResult {
    match (status.code(), status.signal()) {
        (Some(0), _) => ProbeResult::Ready,
        (Some(code), _) => ProbeResult::failed(format!("exit status {code}")),
        (None, Some(signal)) => ProbeResult::failed(format!("killed by signal {signal}")),
        (None, None) => ProbeResult::failed("ended without a status"),
    }
}

/// Reaps commands of earlier runs that have finally ended.
fn collect() {
    let mut uncollected = UNCOLLECTED.lock().unwrap_or_else(PoisonError::into_inner);
    uncollected.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
