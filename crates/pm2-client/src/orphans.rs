//! Finds and ends processes that PM2 started but does not list, because their PM2 has ended or lost track of them.

use std::time::{Duration, Instant};

use camino::Utf8Path;
use daemon_model::Orphan;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::proc::{group_of, has_variable, inspect, lineage, pids};
use crate::record::LiveProcess;

/// How long the kernel may take to end a process after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// How often to check whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// An orphan that cannot be killed.
#[derive(Debug, thiserror::Error)]
#[error("the process {pid} was killed and is still running")]
pub struct KillError {
    /// Its pid.
    pub pid: u32,
}

/// Processes that PM2 started and that were not in its list when it was read.
#[derive(Debug, Default)]
pub struct Orphans {
    /// Their PM2 has ended.
    pub certain: Vec<Orphan>,
    /// Children of the running PM2. Those that it started after its list was read are in a newer list.
    pub if_unlisted: Vec<Orphan>,
}

impl Orphans {
    /// Searches all processes on the machine for those whose environment names this PM2 home and a PM2 process number.
    ///
    /// `daemon` is the running PM2, if there is one; `listed` are the pids that it lists. This process and its ancestors are
    /// excluded, or it would kill itself half-way. Finds nothing if processes cannot be inspected.
    #[must_use]
    pub fn search(pm2_home: &Utf8Path, daemon: Option<u32>, listed: &[u32]) -> Self {
        let daemon_start = daemon
            .and_then(|daemon| inspect(daemon).ok()?)
            .map(|daemon| daemon.start_time_ticks);
        let own = lineage();
        // Most processes have nothing to do with this PM2, so nothing else of them is read.
        let mut found = Self::default();
        let candidates = pids()
            .into_iter()
            .filter(|pid| !listed.contains(pid) && !own.contains(pid))
            .filter(|pid| has_variable(*pid, "PM2_HOME", pm2_home.as_str()))
            .filter_map(|pid| inspect(pid).ok()?);
        for process in candidates {
            let Some(orphan) = as_orphan(&process, pm2_home) else {
                continue;
            };
            if Some(process.parent) == daemon {
                // PM2 hides cluster workers that it is about to replace.
                let mode = process.environ.as_ref().and_then(|it| it.get("exec_mode"));
                if mode.is_some_and(|mode| mode == "fork_mode") {
                    found.if_unlisted.push(orphan);
                }
            } else {
                let is_older = daemon_start.is_none_or(|start| process.start_time_ticks < start);
                if is_older && !is_below_another(&process, pm2_home) {
                    found.certain.push(orphan);
                }
            }
        }
        found
    }

    /// The processes that are certainly orphans, given that PM2 lists these pids now.
    #[must_use]
    pub fn unlisted(self, listed: &[u32]) -> Vec<Orphan> {
        let rest = self.if_unlisted.into_iter();
        let rest = rest.filter(|orphan| !listed.contains(&orphan.pid));
        self.certain.into_iter().chain(rest).collect()
    }
}

/// The process as an orphan, if PM2 started it directly: its children have the same environment.
fn as_orphan(process: &LiveProcess, pm2_home: &Utf8Path) -> Option<Orphan> {
    let environ = process.environ.as_ref()?;
    let text = |key: &str| environ.get(key).map(String::as_str);
    let is_of_this_home = text("PM2_HOME") == Some(pm2_home.as_str()) && text("pm_id").is_some();
    // PM2 makes each process a process group leader, and starts it in its directory.
    let is_leader = group_of(process.pid) == Some(process.pid);
    let cwd = process.cwd.clone()?;
    if !is_of_this_home || !is_leader || text("pm_cwd") != Some(cwd.as_str()) {
        return None;
    }
    let script = text("pm_exec_path").unwrap_or("");
    let title = text("PROCESS_TITLE").filter(|title| !title.is_empty());
    Some(Orphan {
        pid: process.pid,
        start_time_ticks: process.start_time_ticks,
        name: text("name").unwrap_or("").to_owned(),
        script: script.to_owned(),
        title: title.map_or_else(|| format!("node {script}"), ToOwned::to_owned),
        cwd,
        command_line: process.command_line.clone(),
    })
}

/// Whether the parent of a process also belongs to this PM2 home, so that both end together.
fn is_below_another(process: &LiveProcess, pm2_home: &Utf8Path) -> bool {
    let parent = inspect(process.parent).ok().flatten();
    parent
        .and_then(|parent| parent.environ)
        .is_some_and(|environ| {
            environ.get("PM2_HOME").map(String::as_str) == Some(pm2_home.as_str())
                && environ.contains_key("pm_id")
        })
}

/// Ends an orphan and its process group: with SIGTERM, and after `patience` with SIGKILL. A later process with the same pid is left
/// alone.
///
/// # Errors
/// [`KillError`] when it still runs.
pub(crate) fn end(orphan: &Orphan, patience: Duration) -> Result<(), KillError> {
    for (signal, patience) in [(Signal::INT, patience), (Signal::KILL, KILL_DEADLINE)] {
        let began = Instant::now();
        if !is_running(orphan) {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(orphan.pid).ok().and_then(Pid::from_raw) {
            // PM2 starts each process as a group leader; if it is none, signal only the process. Either may end at this moment.
            if kill_process_group(pid, signal).is_err() {
                let _ = kill_process(pid, signal);
            }
        }
        while began.elapsed() < patience {
            if !is_running(orphan) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }
    Err(KillError { pid: orphan.pid })
}

fn is_running(orphan: &Orphan) -> bool {
    inspect(orphan.pid).is_ok_and(|process| {
        process.is_some_and(|process| process.start_time_ticks == orphan.start_time_ticks)
    })
}
