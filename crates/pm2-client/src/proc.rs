//! Processes as Linux shows them. Elsewhere nothing can be said, and PM2's record has to do.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::Orphan;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::adapter::{AdapterError, ProcessAdapter};
use crate::record::LiveProcess;
use crate::socket::{Deadlines, SocketAdapter};

/// Looks at one process; none when there is none of this pid, or only its corpse.
pub(crate) fn inspect(pid: u32) -> Result<Option<LiveProcess>, AdapterError> {
    if !cfg!(target_os = "linux") {
        return Err(AdapterError::InspectUnsupported);
    }
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let stat = match std::fs::read_to_string(dir.join("stat")) {
        Ok(stat) => stat,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(source) => return Err(AdapterError::Inspect { pid, source }),
    };
    let Some(stat) = Stat::read(&stat).filter(|stat| stat.state != 'Z' && stat.state != 'X') else {
        return Ok(None);
    };
    let uid = match std::os::unix::fs::MetadataExt::uid(&match std::fs::metadata(&dir) {
        Ok(metadata) => metadata,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(source) => return Err(AdapterError::Inspect { pid, source }),
    }) {
        0 => real_uid(&dir).unwrap_or(0),
        uid => uid,
    };
    let link = |name: &str| {
        std::fs::read_link(dir.join(name))
            .ok()
            .and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
    };
    Ok(Some(LiveProcess {
        pid,
        parent: stat.parent,
        command_line: words(&dir.join("cmdline")).unwrap_or_default(),
        exe: link("exe"),
        cwd: link("cwd"),
        environ: words(&dir.join("environ")).map(|words| variables(&words)),
        uid,
        start_time_ticks: stat.start_time,
    }))
}

/// Processes that PM2 started once and that live on without it: their environment names this PM2 home and a number, and
/// PM2 does not list them (`known`). Either their PM2 has ended, or the living one (`daemon`) has lost sight of them: it
/// does so when it is asked to delete and to start the same number at the same time.
///
/// Whoever asks is none of them, nor is what it was started by: it is at work, and would end itself half-way.
///
/// Elsewhere than on Linux none can be seen.
#[must_use]
pub fn orphans(pm2_home: &Utf8Path, daemon: Option<u32>, known: &[u32]) -> Vec<Orphan> {
    let pids = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let daemon_start = daemon
        .and_then(|daemon| inspect(daemon).ok()?)
        .map(|daemon| daemon.start_time_ticks);
    let mut lost = Vec::new();
    let own = lineage();
    // Most processes of the machine have nothing to do with this PM2: nothing else is read of them.
    let variable = format!("PM2_HOME={pm2_home}");
    let mut found: Vec<Orphan> = pids
        .filter(|pid| !known.contains(pid) && !own.contains(pid))
        .filter(|pid| has_variable(*pid, &variable))
        .filter_map(|pid| {
            let process = inspect(pid).ok()??;
            let environ = process.environ.as_ref()?;
            let text = |key: &str| environ.get(key).map(String::as_str);
            let of_this_home =
                text("PM2_HOME") == Some(pm2_home.as_str()) && text("pm_id").is_some();
            // PM2 makes each process the leader of a group of its own. What that one starts has the same environment,
            // but is none, wherever it has forked itself to.
            let leads = group_of(pid) == Some(pid);
            let cwd = process.cwd.clone()?;
            if !of_this_home || !leads || text("pm_cwd") != Some(cwd.as_str()) {
                return None;
            }
            if Some(process.parent) == daemon {
                // PM2 hides workers of a cluster that it is about to replace.
                if text("exec_mode") != Some("fork_mode") {
                    return None;
                }
                lost.push(pid);
            } else {
                let older = daemon_start.is_none_or(|start| process.start_time_ticks < start);
                if !older || is_below_another(&process, pm2_home) {
                    return None;
                }
            }
            Some(Orphan {
                pid,
                start_time_ticks: process.start_time_ticks,
                name: text("name").unwrap_or("").to_owned(),
                script: text("pm_exec_path").unwrap_or("").to_owned(),
                cwd,
                command_line: process.command_line.clone(),
            })
        })
        .collect();
    if !lost.is_empty() {
        // What PM2 has started since `known` was read is in a list that is read now.
        let listed = SocketAdapter::connect(pm2_home, Deadlines::default())
            .and_then(|mut adapter| adapter.list());
        let listed: Option<Vec<u32>> = listed
            .ok()
            .map(|list| list.iter().filter_map(|record| record.pid).collect());
        let unlisted = |pid: &u32| listed.as_ref().is_some_and(|listed| !listed.contains(pid));
        found.retain(|orphan| !lost.contains(&orphan.pid) || unlisted(&orphan.pid));
    }
    found
}

/// This process and those that it descends from, the nearest first.
fn lineage() -> Vec<u32> {
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Stat::read(&stat).map(|stat| stat.parent)
    };
    std::iter::successors(Some(std::process::id()), parent)
        .take_while(|pid| *pid != 0)
        .collect()
}

/// Whether one of `pids` is this process or one that it descends from. None where that cannot be seen.
#[must_use]
pub fn is_in_lineage(pids: &[u32]) -> Option<bool> {
    let own = lineage();
    // It sees at least its parent, where it can see anything.
    (own.len() > 1).then(|| pids.iter().any(|pid| own.contains(pid)))
}

/// Every PM2 daemon of this home, by the title that PM2 gives itself. More than one is a fault: two that were started at
/// the same time, of which only one is reached.
///
/// Source: PM2 7.0.4, `lib/Daemon.js`.
#[must_use]
pub fn god_daemons(pm2_home: &Utf8Path) -> Vec<u32> {
    let title = format!("God Daemon ({pm2_home})");
    let mut found: Vec<u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let words = words(Path::new(&format!("/proc/{pid}/cmdline"))).unwrap_or_default();
            words
                .first()
                .is_some_and(|word| word.starts_with("PM2 v") && word.contains(&title))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Whether a `pm2` command of this home is at work that may start PM2: each does, where PM2 does not run. Those that only
/// follow what happens do not count; they may run for days.
pub(crate) fn is_pm2_command_at_work(pm2_home: &Utf8Path) -> bool {
    const FOLLOWERS: [&str; 5] = ["logs", "log", "monit", "dash", "attach"];
    has_pm2_command(pm2_home, |verb| {
        !verb.is_some_and(|verb| FOLLOWERS.contains(&verb))
    })
}

/// Whether a `pm2` command of this home is at work that ends PM2: `pm2 kill`, or `pm2 update`, which starts it again.
///
/// Until it has come to PM2 itself, which takes as long as its processes take to stop, PM2 starts what it is asked to, and
/// leaves that behind. Elsewhere than on Linux none can be seen.
#[must_use]
pub fn is_being_ended(pm2_home: &Utf8Path) -> bool {
    const ENDERS: [&str; 4] = ["kill", "update", "updatePM2", "deepUpdate"];
    has_pm2_command(pm2_home, |verb| {
        verb.is_some_and(|verb| ENDERS.contains(&verb))
    })
}

fn has_pm2_command(pm2_home: &Utf8Path, matches: impl Fn(Option<&str>) -> bool) -> bool {
    let pids = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let line = words(Path::new(&format!("/proc/{pid}/cmdline")))?;
        let is_pm2 = |word: &String| Path::new(word).file_name().is_some_and(|it| it == "pm2");
        let at = line.iter().take(2).position(is_pm2)?;
        let verb = line[at + 1..].iter().find(|word| !word.starts_with('-'));
        matches(verb.map(String::as_str)).then_some(pid)
    })
    .any(|pid| {
        let environ = words(Path::new(&format!("/proc/{pid}/environ")))
            .map(|words| variables(&words))
            .unwrap_or_default();
        let home = environ.get("HOME").map(|home| format!("{home}/.pm2"));
        let home = environ.get("PM2_HOME").cloned().or(home);
        home.is_some_and(|home| home == pm2_home.as_str())
    })
}

fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Stat::read(&stat).map(|stat| stat.group)
}

/// Whether a process was started with this variable.
fn has_variable(pid: u32, variable: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|known| known == variable.as_bytes())
    })
}

/// Whether the parent of a process is itself one of this PM2 home's, so that it ends with that one.
fn is_below_another(process: &LiveProcess, pm2_home: &Utf8Path) -> bool {
    let parent = inspect(process.parent).ok().flatten();
    parent
        .and_then(|parent| parent.environ)
        .is_some_and(|environ| {
            environ.get("PM2_HOME").map(String::as_str) == Some(pm2_home.as_str())
                && environ.contains_key("pm_id")
        })
}

/// Ends an orphan and its process group: politely, and after `patience` for good. One that is not the process any
/// more that it was, is left alone.
///
/// # Errors
/// [`AdapterError::Unkillable`] when it lives on.
pub(crate) fn end(orphan: &Orphan, patience: Duration) -> Result<(), AdapterError> {
    for (signal, patience) in [
        (Signal::INT, patience),
        (Signal::KILL, Duration::from_secs(5)),
    ] {
        let began = Instant::now();
        if !is_same(orphan) {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(orphan.pid).ok().and_then(Pid::from_raw) {
            // PM2 starts each process as the leader of a group of its own; where it is none, it alone is meant.
            // Either may end just now.
            if kill_process_group(pid, signal).is_err() {
                let _ = kill_process(pid, signal);
            }
        }
        while began.elapsed() < patience {
            if !is_same(orphan) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Err(AdapterError::Unkillable { pid: orphan.pid })
}

fn is_same(orphan: &Orphan) -> bool {
    inspect(orphan.pid).is_ok_and(|process| {
        process.is_some_and(|process| process.start_time_ticks == orphan.start_time_ticks)
    })
}

struct Stat {
    state: char,
    parent: u32,
    group: u32,
    start_time: u64,
}

impl Stat {
    /// `pid (name) state ppid ...`: the name may hold anything, so what counts begins after the last `)`.
    fn read(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            // Field 22 of `proc(5)`, counted from the first.
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Root owns the directory of a process that may not be looked at, whoever runs it.
fn real_uid(dir: &Path) -> Option<u32> {
    let status = std::fs::read_to_string(dir.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn is_gone(error: &std::io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// The texts of a file that separates them by NUL bytes.
fn words(file: &Path) -> Option<Vec<String>> {
    let bytes = std::fs::read(file).ok()?;
    let mut words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    // The last text is closed by a NUL too.
    if words.last().is_some_and(String::is_empty) {
        words.pop();
    }
    Some(words)
}

fn variables(words: &[String]) -> BTreeMap<String, String> {
    words
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_seen() {
        let me = inspect(std::process::id()).unwrap().unwrap();
        assert_eq!(
            me.cwd.unwrap(),
            std::env::current_dir().unwrap().to_str().unwrap()
        );
        assert!(me.environ.unwrap().contains_key("PATH"));
        assert!(me.command_line[0].contains("pm2_client"));
    }

    #[test]
    fn this_process_descends_from_its_parent_and_the_first_one() {
        let parent = std::os::unix::process::parent_id();
        assert_eq!(lineage()[..2], [std::process::id(), parent]);
        assert_eq!(is_in_lineage(&[4_194_305, parent]), Some(true));
        assert_eq!(is_in_lineage(&[4_194_305]), Some(false));
        assert_eq!(is_in_lineage(&[]), Some(false));
    }

    #[test]
    fn a_pid_that_nobody_has_is_none() {
        // Beyond the kernel's largest (`proc(5)`, pid_max).
        assert!(inspect(4_194_305).unwrap().is_none());
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat =
            Stat::read("7 (a) b (c)) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 2100 22")
                .unwrap();
        assert_eq!((stat.state, stat.parent, stat.group), ('S', 3, 4));
        assert_eq!(stat.start_time, 2100);
    }
}
