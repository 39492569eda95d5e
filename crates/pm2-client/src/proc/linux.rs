//! Reads processes from `/proc` on Linux.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;

use super::{Processes, variables};
use crate::host::InspectError;
use crate::record::LiveProcess;

/// Linux.
pub(super) struct Linux;

impl Processes for Linux {
    fn inspect(pid: u32) -> Result<Option<LiveProcess>, InspectError> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let stat = match std::fs::read_to_string(dir.join("stat")) {
            Ok(stat) => stat,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(source) => return Err(InspectError::Read { pid, source }),
        };
        let Some(stat) = Stat::read(&stat).filter(|stat| stat.state != 'Z' && stat.state != 'X')
        else {
            return Ok(None);
        };
        let uid = match std::fs::metadata(&dir) {
            Ok(metadata) => metadata.uid(),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(source) => return Err(InspectError::Read { pid, source }),
        };
        let uid = match uid {
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
            command_line: Self::command_line(pid).unwrap_or_default(),
            exe: link("exe"),
            cwd: link("cwd"),
            environ: Self::environ(pid),
            uid,
            start_time_ticks: stat.start_time,
        }))
    }

    fn pids() -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten();
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    fn parent(pid: u32) -> Option<u32> {
        Stat::of(pid).map(|stat| stat.parent)
    }

    /// `rustix::process::getpgid` panics if the group is outside of the PID namespace, where the system returns 0.
    fn group(pid: u32) -> Option<u32> {
        Stat::of(pid)
            .map(|stat| stat.group)
            .filter(|group| *group != 0)
    }

    fn command_line(pid: u32) -> Option<Vec<String>> {
        words(Path::new(&format!("/proc/{pid}/cmdline")))
    }

    fn environ(pid: u32) -> Option<BTreeMap<String, String>> {
        let words = words(Path::new(&format!("/proc/{pid}/environ")))?;
        Some(variables(&words))
    }

    /// Called for every process on the machine, so it copies nothing.
    fn has_variable(pid: u32, key: &str, value: &str) -> bool {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
            environ
                .split(|byte| *byte == 0)
                .filter_map(|variable| variable.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
                .any(|known| known == value.as_bytes())
        })
    }
}

struct Stat {
    state: char,
    parent: u32,
    /// 0 if its leader is outside of the PID namespace.
    group: u32,
    start_time: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::read(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `pid (name) state ppid ...`: the name may contain anything, so parsing starts after the last `)`.
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

/// The user that runs a process. The kernel gives the directory of a process that does not allow inspection to root, so its owner
/// does not tell.
fn real_uid(dir: &Path) -> Option<u32> {
    let status = std::fs::read_to_string(dir.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn is_gone(error: &std::io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// The NUL-separated texts of a file.
fn words(file: &Path) -> Option<Vec<String>> {
    let bytes = std::fs::read(file).ok()?;
    let mut words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    // The last text ends with a NUL, too.
    if words.last().is_some_and(String::is_empty) {
        words.pop();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn the_group_is_what_the_system_says() {
        let mut command = std::process::Command::new("sleep");
        let mut leader = command.arg("1000").process_group(0).spawn().unwrap();
        assert_eq!(Linux::group(leader.id()), Some(leader.id()));
        leader.kill().unwrap();
        leader.wait().unwrap();
        assert_eq!(Linux::group(leader.id()), None, "no such process");
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
