//! Reads processes with the crate `sysinfo`, for macOS. It works on Linux as well, so the tests there compare the two.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::io::Errno;
use sysinfo::{
    Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind,
};

use super::{Processes, variables};
use crate::host::InspectError;
use crate::record::LiveProcess;

/// A system supported by `sysinfo`.
pub(super) struct Portable;

impl Processes for Portable {
    fn inspect(pid: u32) -> Result<Option<LiveProcess>, InspectError> {
        let parts = ProcessRefreshKind::nothing()
            .with_cmd(UpdateKind::Always)
            .with_cwd(UpdateKind::Always)
            .with_environ(UpdateKind::Always)
            .with_exe(UpdateKind::Always)
            .with_user(UpdateKind::Always);
        let found = with_process(pid, parts, |process| {
            let is_over = matches!(
                process.status(),
                ProcessStatus::Zombie | ProcessStatus::Dead
            );
            (!is_over).then(|| LiveProcess {
                pid,
                parent: process.parent().map_or(0, Pid::as_u32),
                command_line: texts(process.cmd()),
                exe: utf8(process.exe()),
                cwd: utf8(process.cwd()),
                environ: known(process.environ()),
                uid: process.user_id().map_or(u32::MAX, |uid| **uid),
                start_time_ticks: process.start_time(),
            })
        });
        let failed = |source| InspectError::Read { pid, source };
        match found.map_err(|error| failed(io::Error::other(error)))? {
            Some(process) => Ok(process),
            // The process exists, but is hidden because another user owns it: it must not count as ended.
            None if is_of_another(pid) => Err(failed(ErrorKind::PermissionDenied.into())),
            None => Ok(None),
        }
    }

    fn pids() -> Vec<u32> {
        let Ok(mut system) = System::new() else {
            return Vec::new();
        };
        let parts = ProcessRefreshKind::nothing();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, parts);
        system.processes().keys().map(|pid| pid.as_u32()).collect()
    }

    fn parent(pid: u32) -> Option<u32> {
        let parts = ProcessRefreshKind::nothing();
        with_process(pid, parts, |process| process.parent().map(Pid::as_u32)).ok()??
    }

    fn command_line(pid: u32) -> Option<Vec<String>> {
        let parts = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always);
        with_process(pid, parts, |process| texts(process.cmd())).ok()?
    }

    fn environ(pid: u32) -> Option<BTreeMap<String, String>> {
        let parts = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
        with_process(pid, parts, |process| known(process.environ())).ok()??
    }
}

/// Reads parts of a process; `None` if it is not visible.
fn with_process<T>(
    pid: u32,
    parts: ProcessRefreshKind,
    read: impl FnOnce(&Process) -> T,
) -> Result<Option<T>, sysinfo::Error> {
    let pid = Pid::from_u32(pid);
    let mut system = System::new()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, parts);
    Ok(system.process(pid).map(read))
}

/// Whether another user owns a process with this pid.
fn is_of_another(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::PERM))
}

fn utf8(path: Option<&Path>) -> Option<Utf8PathBuf> {
    path.and_then(Utf8Path::from_path).map(ToOwned::to_owned)
}

fn texts(words: &[OsString]) -> Vec<String> {
    words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// The variables. A process without any is one whose variables are not readable.
fn known(words: &[OsString]) -> Option<BTreeMap<String, String>> {
    (!words.is_empty()).then(|| variables(&texts(words)))
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    mod beside_linux {
        use super::super::super::linux::Linux;
        use super::super::*;

        #[test]
        fn both_ways_show_the_same_process() {
            let pid = std::process::id();
            let mut ours = Linux::inspect(pid).unwrap().unwrap();
            let theirs = Portable::inspect(pid).unwrap().unwrap();
            // Ticks since boot in one, seconds since 1970 in the other: each is only compared with its own kind.
            assert!(theirs.start_time_ticks > 1_700_000_000);
            ours.start_time_ticks = theirs.start_time_ticks;
            assert_eq!(ours, theirs);
            assert_eq!(Linux::environ(pid), Portable::environ(pid));
            assert_eq!(Linux::command_line(pid), Portable::command_line(pid));
            assert_eq!(Linux::parent(pid), Portable::parent(pid));
            assert!(Portable::pids().contains(&pid));
            for (key, value) in Linux::environ(pid).unwrap() {
                assert!(
                    Linux::has_variable(pid, &key, &value)
                        && Portable::has_variable(pid, &key, &value)
                );
            }
            assert!(
                !Linux::has_variable(pid, "PATH", "") && !Portable::has_variable(pid, "PATH", "")
            );
        }

        #[test]
        fn a_process_that_ended_is_none_in_both() {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            let pid = child.id();
            // It stays a zombie until it is reaped.
            let is_none = || {
                Linux::inspect(pid).unwrap().is_none() && Portable::inspect(pid).unwrap().is_none()
            };
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while !is_none() {
                assert!(std::time::Instant::now() < deadline);
            }
            child.wait().unwrap();
            assert!(is_none());
        }
    }
}
