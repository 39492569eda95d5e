//! Processes as Linux shows them. Elsewhere nothing can be said, and PM2's record has to do.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};

use crate::adapter::AdapterError;
use crate::record::{LiveProcess, PmId};

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

/// A process that PM2 once started and that lives on without it.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// PM2's number, as its environment says.
    pub pm_id: PmId,
    /// The process.
    pub process: LiveProcess,
}

/// Processes whose environment names this PM2 home and a number, but whose parent is not the living daemon
/// (`daemon`, if there is one) and that PM2 does not list (`known`).
///
/// # Errors
/// [`AdapterError::InspectUnsupported`] elsewhere than on Linux.
pub fn orphans(
    pm2_home: &Utf8Path,
    daemon: Option<u32>,
    known: &[u32],
) -> Result<Vec<Orphan>, AdapterError> {
    if !cfg!(target_os = "linux") {
        return Err(AdapterError::InspectUnsupported);
    }
    let mut found = Vec::new();
    let pids = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.filter(|pid| !known.contains(pid)) {
        let Ok(Some(process)) = inspect(pid) else {
            continue;
        };
        let Some(environ) = &process.environ else {
            continue;
        };
        let of_this_home = environ.get("PM2_HOME").map(String::as_str) == Some(pm2_home.as_str());
        let pm_id = environ
            .get("pm_id")
            .and_then(|id| id.parse().ok())
            .map(PmId);
        if let Some(pm_id) = pm_id.filter(|_| of_this_home && Some(process.parent) != daemon) {
            found.push(Orphan { pm_id, process });
        }
    }
    Ok(found)
}

struct Stat {
    state: char,
    parent: u32,
    start_time: u64,
}

impl Stat {
    /// `pid (name) state ppid ...`: the name may hold anything, so what counts begins after the last `)`.
    fn read(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
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
    fn a_pid_that_nobody_has_is_none() {
        // Beyond the kernel's largest (`proc(5)`, pid_max).
        assert!(inspect(4_194_305).unwrap().is_none());
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat =
            Stat::read("7 (a) b (c)) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 2100 22")
                .unwrap();
        assert_eq!((stat.state, stat.parent, stat.start_time), ('S', 3, 2100));
    }
}
