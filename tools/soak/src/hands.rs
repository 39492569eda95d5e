//! Manual changes to PM2, and unmanaged processes that only these may affect.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use pm2_client::{ConnectOptions, ProcessAdapter, ProcessRecord, SocketAdapter};
use pm2_testbed::{Random, Testbed, is_alive};
use rustix::process::{Pid, Signal, kill_process};

use crate::journal::Journal;
use crate::workspace::{Kind, Workspace};

/// How long PM2 may take to come back after it has ended.
pub const BACK: Duration = Duration::from_secs(60);

/// One manual change.
#[derive(Debug, Clone)]
pub enum Hand {
    /// A PM2 command that does not affect unmanaged processes.
    Command(Vec<String>),
    /// A command that affects every process, including unmanaged ones.
    All(Vec<String>),
    /// A command that replaces or ends PM2: `kill`, `update`.
    Death(Vec<String>),
    /// `kill -9` of PM2's daemon.
    Kill9,
}

impl Hand {
    /// Its name in the summary.
    pub fn name(&self) -> String {
        match self {
            Self::Command(args) | Self::All(args) | Self::Death(args) => {
                let words: Vec<&str> = args
                    .iter()
                    .map(String::as_str)
                    .filter(|word| !word.starts_with("app") && word.parse::<u32>().is_err())
                    .collect();
                format!("pm2 {}", words.join(" "))
            }
            Self::Kill9 => "kill -9 of PM2".to_owned(),
        }
    }

    pub fn is_death(&self) -> bool {
        matches!(self, Self::Death(_) | Self::Kill9)
    }

    /// Draws a change. The app that it names may have changed by the time it is made.
    pub fn draw(random: &mut Random, workspace: &Workspace) -> Option<Self> {
        let apps: Vec<_> = workspace.apps().cloned().collect();
        let app = random.pick(&apps)?;
        let name = app.name.as_str();
        let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Some(match random.below(12) {
            0 | 1 => Self::Command(command(&["stop", name])),
            2 | 3 => Self::Command(command(&["delete", name])),
            4 => Self::Command(command(&["restart", name])),
            5 => Self::Command(command(&["restart", name, "--update-env"])),
            6 | 7 => {
                let clusters: Vec<_> = apps
                    .iter()
                    .filter(|app| app.kind == Kind::Cluster)
                    .collect();
                let name = random.pick(&clusters)?.name.as_str();
                let count = (1 + random.below(4)).to_string();
                Self::Command(command(&["scale", name, &count]))
            }
            8 => Self::Command(command(&["reload", name])),
            9 => Self::Command(command(&["reset", name])),
            10 => Self::All(command(&["stop", "all"])),
            _ => Self::All(command(&["delete", "all"])),
        })
    }

    /// Draws a change that ends PM2.
    pub fn draw_death(random: &mut Random) -> Self {
        match random.below(3) {
            0 => Self::Death(vec!["kill".to_owned()]),
            1 => Self::Death(vec!["update".to_owned()]),
            _ => Self::Kill9,
        }
    }
}

/// The result of the changes.
#[derive(Debug, Default)]
pub struct Report {
    /// Unmanaged processes may have been affected.
    pub all: bool,
    /// PM2 ended.
    pub death: bool,
    /// PM2 did not come back in time.
    pub gone: bool,
}

/// Makes these changes one after the other, each after a pause.
pub fn work(
    bed: &Arc<Testbed>,
    journal: &Arc<Journal>,
    hands: Vec<(Duration, Hand)>,
) -> JoinHandle<Report> {
    let (bed, journal) = (Arc::clone(bed), Arc::clone(journal));
    thread::spawn(move || {
        let mut report = Report::default();
        for (pause, hand) in hands {
            sleep(pause);
            report.all |= !matches!(hand, Hand::Command(_));
            let how = act(&bed, &hand);
            journal.count(&hand.name());
            journal.say(&format!("hand: {hand:?}: {how}"));
            if hand.is_death() {
                report.death = true;
                let began = Instant::now();
                if !until(BACK, || list(&bed).is_some()) {
                    report.gone = true;
                    return report;
                }
                journal.say(&format!("PM2 answers after {:?}", began.elapsed()));
            }
        }
        report
    })
}

fn act(bed: &Testbed, hand: &Hand) -> String {
    match hand {
        Hand::Command(args) | Hand::All(args) | Hand::Death(args) => {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let mut command = bed.command(&args);
            // A variable of another user's shell.
            command.env("SOAK_SHELL", "yes");
            match command.output() {
                Ok(done) => match (done.status.code(), done.status.signal()) {
                    (Some(code), _) => format!("exit status {code}"),
                    (_, signal) => format!("signal {signal:?}"),
                },
                Err(error) => error.to_string(),
            }
        }
        Hand::Kill9 => {
            let daemons = bed.daemons();
            for pid in &daemons {
                signal(*pid, Signal::KILL);
            }
            until(BACK, || daemons.iter().all(|pid| !is_alive(*pid)));
            format!("{daemons:?}")
        }
    }
}

/// Sends a signal to a process that may be gone.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // If it is gone, there is nothing to do.
        let _ = kill_process(pid, signal);
    }
}

/// Waits for a condition; returns whether it was met in time.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(50));
    }
}

/// What PM2 lists, if it answers.
pub fn list(bed: &Testbed) -> Option<Vec<ProcessRecord>> {
    let adapter = SocketAdapter::connect(bed.home(), ConnectOptions::default());
    adapter.ok()?.list().ok()
}

/// A process that the soak started with PM2's own command line.
#[derive(Debug)]
pub struct Stranger {
    pub name: &'static str,
    pub seconds: u32,
    pub pid: Option<u32>,
}

/// The unmanaged processes of a run.
pub fn strangers() -> Vec<Stranger> {
    [("stranger-one", 90_001), ("stranger-two", 90_002)]
        .map(|(name, seconds)| Stranger {
            name,
            seconds,
            pid: None,
        })
        .into()
}

/// Restarts unmanaged processes that were stopped by hand, and updates the others.
pub fn mend(bed: &Testbed, strangers: &mut [Stranger], killed: bool) -> Result<(), String> {
    for stranger in strangers {
        if let Some(pid) = stranger.pid.filter(|_| killed) {
            // It survived its PM2. Only its owner may kill it.
            if !is_alive(pid) {
                return Err(format!(
                    "{} (pid {pid}) did not live on when PM2 was killed",
                    stranger.name
                ));
            }
            signal(pid, Signal::KILL);
        }
        let find = || {
            let list = list(bed)?;
            list.iter()
                .find(|record| record.name == stranger.name)
                .and_then(|record| record.pid)
        };
        if find().is_none() {
            let seconds = stranger.seconds.to_string();
            let known = list(bed)
                .is_some_and(|list| list.iter().any(|record| record.name == stranger.name));
            let started = if known {
                bed.cli(&["restart", stranger.name])
            } else {
                bed.cli(&[
                    "start",
                    "/bin/sleep",
                    "--name",
                    stranger.name,
                    "--",
                    &seconds,
                ])
            };
            if !started.status.success() {
                return Err(format!("cannot start {}: {started:?}", stranger.name));
            }
        }
        let mut pid = None;
        until(Duration::from_secs(10), || {
            pid = find();
            pid.is_some()
        });
        stranger.pid = pid;
    }
    Ok(())
}
