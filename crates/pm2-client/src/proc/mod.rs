//! Inspects processes of the machine.
//!
//! [`Processes`] abstracts the operating system: `/proc` on Linux, the crate `sysinfo` on macOS. On other systems only PM2's record
//! is available.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod portable;

use std::collections::BTreeMap;
use std::path::Path;

use camino::Utf8Path;
use rustix::process::{Pid, getpgid};

use crate::host::InspectError;
use crate::record::LiveProcess;

#[cfg(target_os = "linux")]
use linux::Linux as System;
#[cfg(target_os = "macos")]
use portable::Portable as System;

/// What a system can report about its processes.
pub(crate) trait Processes {
    /// A process; `None` if there is none with this pid, or it is a zombie.
    ///
    /// # Errors
    /// [`InspectError::Read`] when it cannot be read, [`InspectError::Unsupported`] on systems where none can be.
    fn inspect(pid: u32) -> Result<Option<LiveProcess>, InspectError>;

    /// The pids of all processes.
    fn pids() -> Vec<u32>;

    /// The parent of a process.
    fn parent(pid: u32) -> Option<u32>;

    /// The command line of a process, lossy UTF-8.
    fn command_line(pid: u32) -> Option<Vec<String>>;

    /// The environment a process was started with, lossy UTF-8.
    fn environ(pid: u32) -> Option<BTreeMap<String, String>>;

    /// The process group of a process; `None` if its leader is outside of this process's PID namespace.
    fn group(pid: u32) -> Option<u32> {
        let group = getpgid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
        u32::try_from(group.as_raw_nonzero().get()).ok()
    }

    /// Whether a process was started with this variable and value.
    fn has_variable(pid: u32, key: &str, value: &str) -> bool {
        Self::environ(pid).is_some_and(|environ| environ.get(key).is_some_and(|it| it == value))
    }
}

/// A system whose processes cannot be inspected.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
struct System;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
impl Processes for System {
    fn inspect(_: u32) -> Result<Option<LiveProcess>, InspectError> {
        Err(InspectError::Unsupported)
    }

    fn pids() -> Vec<u32> {
        Vec::new()
    }

    fn parent(_: u32) -> Option<u32> {
        None
    }

    fn command_line(_: u32) -> Option<Vec<String>> {
        None
    }

    fn environ(_: u32) -> Option<BTreeMap<String, String>> {
        None
    }
}

/// Inspects a process; `None` if there is none with this pid, or it is a zombie.
pub(crate) fn inspect(pid: u32) -> Result<Option<LiveProcess>, InspectError> {
    System::inspect(pid)
}

/// The pids of all processes; empty if they are not visible.
pub(crate) fn pids() -> Vec<u32> {
    System::pids()
}

/// The environment a process was started with; `None` if it cannot be read.
#[must_use]
pub fn environ(pid: u32) -> Option<BTreeMap<String, String>> {
    System::environ(pid)
}

/// Whether a process was started with this variable and value.
pub(crate) fn has_variable(pid: u32, key: &str, value: &str) -> bool {
    System::has_variable(pid, key, value)
}

/// This process and its ancestors, nearest first.
pub(crate) fn lineage() -> Vec<u32> {
    std::iter::successors(Some(std::process::id()), |pid| System::parent(*pid))
        .take_while(|pid| *pid != 0)
        .collect()
}

/// Whether one of `pids` is this process or an ancestor of it. None if that is not visible.
#[must_use]
pub fn is_in_lineage(pids: &[u32]) -> Option<bool> {
    let own = lineage();
    // If anything is visible, at least its parent is.
    (own.len() > 1).then(|| pids.iter().any(|pid| own.contains(pid)))
}

/// Every PM2 daemon of this home, recognised by PM2's process title. More than one is a fault: two were started at the same time,
/// and only one is reachable.
///
/// Source: PM2 7.0.4, `lib/Daemon.js`.
#[must_use]
pub fn pm2_daemons(pm2_home: &Utf8Path) -> Vec<u32> {
    let title = format!("God Daemon ({pm2_home})");
    let mut found = pids();
    found.retain(|pid| {
        let words = System::command_line(*pid).unwrap_or_default();
        words
            .first()
            .is_some_and(|word| word.starts_with("PM2 v") && word.contains(&title))
    });
    found.sort_unstable();
    found
}

/// Whether a `pm2` command that may start PM2 is running for this home. Every command starts a missing PM2. Commands that only
/// follow output do not count; they may run for days.
pub(crate) fn is_pm2_command_at_work(pm2_home: &Utf8Path) -> bool {
    const FOLLOWERS: [&str; 5] = ["logs", "log", "monit", "dash", "attach"];
    has_pm2_command(pm2_home, |verb| {
        !verb.is_some_and(|verb| FOLLOWERS.contains(&verb))
    })
}

/// Whether a `pm2` command that stops PM2 is running for this home: `pm2 kill`, or `pm2 update`, which starts it again.
///
/// Until the command reaches PM2 itself, which takes as long as its processes take to stop, PM2 accepts requests to start
/// processes, and leaves them behind. Returns false if processes are not visible.
#[must_use]
pub fn is_being_ended(pm2_home: &Utf8Path) -> bool {
    const ENDERS: [&str; 4] = ["kill", "update", "updatePM2", "deepUpdate"];
    has_pm2_command(pm2_home, |verb| {
        verb.is_some_and(|verb| ENDERS.contains(&verb))
    })
}

fn has_pm2_command(pm2_home: &Utf8Path, matches: impl Fn(Option<&str>) -> bool) -> bool {
    pids()
        .into_iter()
        .filter_map(|pid| {
            let line = System::command_line(pid)?;
            let is_pm2 = |word: &String| Path::new(word).file_name().is_some_and(|it| it == "pm2");
            let at = line.iter().take(2).position(is_pm2)?;
            let verb = line[at + 1..].iter().find(|word| !word.starts_with('-'));
            matches(verb.map(String::as_str)).then_some(pid)
        })
        .any(|pid| {
            let environ = System::environ(pid).unwrap_or_default();
            let home = environ.get("HOME").map(|home| format!("{home}/.pm2"));
            let home = environ.get("PM2_HOME").cloned().or(home);
            home.is_some_and(|home| home == pm2_home.as_str())
        })
}

/// The process group of a process; `None` if its leader is outside of this process's PID namespace.
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    System::group(pid)
}

/// Parses texts of the form `KEY=value`.
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
    fn an_unused_pid_is_none() {
        // Larger than the kernel's maximum (`proc(5)`, pid_max).
        assert!(inspect(4_194_305).unwrap().is_none());
    }
}
