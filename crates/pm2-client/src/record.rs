//! A process according to PM2, and according to the operating system.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use camino::Utf8PathBuf;
use daemon_model::{ObservedProcess, PmId, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::observe::observe;

/// One entry of PM2's list. `Debug` shows no values of `pm2_env`: they hold secrets.
#[derive(Clone, PartialEq)]
pub struct ProcessRecord {
    /// PM2's number of the process.
    pub pm_id: PmId,
    /// Its name.
    pub name: String,
    /// Its pid; `None` if PM2 gives none or 0 (stopped, or never spawned).
    pub pid: Option<u32>,
    /// PM2's status word.
    pub status: Status,
    /// Everything that PM2 keeps: attributes, environment variables and bookkeeping side by side.
    pub pm2_env: Map<String, Value>,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Share of one CPU, in percent.
    pub cpu_percent: f64,
}

impl fmt::Debug for ProcessRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessRecord")
            .field("pm_id", &self.pm_id)
            .field("name", &self.name)
            .field("pid", &self.pid)
            .field("status", &self.status)
            .field("memory_bytes", &self.memory_bytes)
            .field("cpu_percent", &self.cpu_percent)
            .finish_non_exhaustive()
    }
}

/// A process that is visited in PM2's list.
#[derive(Debug)]
pub struct Listed<'a> {
    record: Cow<'a, ProcessRecord>,
    /// As the model describes it, if that is known.
    observed: Option<Arc<ObservedProcess>>,
}

impl<'a> Listed<'a> {
    /// A process with this record.
    #[must_use]
    pub fn new(record: ProcessRecord) -> Self {
        Self {
            record: Cow::Owned(record),
            observed: None,
        }
    }

    /// A process that stays in the list, and may have been observed before.
    pub(crate) fn known(record: &'a ProcessRecord, observed: Option<Arc<ObservedProcess>>) -> Self {
        Self {
            record: Cow::Borrowed(record),
            observed,
        }
    }

    /// Its record.
    #[must_use]
    pub fn record(&self) -> &ProcessRecord {
        &self.record
    }

    /// Its record, to be kept.
    #[must_use]
    pub fn into_record(self) -> ProcessRecord {
        self.record.into_owned()
    }

    /// The process as the model describes it.
    #[must_use]
    pub fn observed(&self) -> Arc<ObservedProcess> {
        let observed = self.observed.as_ref();
        observed.map_or_else(|| Arc::new(observe(&self.record)), Arc::clone)
    }
}

/// A process as the operating system reports it. `Debug` shows no values of `environ`.
#[derive(Clone, PartialEq, Eq)]
pub struct LiveProcess {
    /// Its pid.
    pub pid: u32,
    /// Pid of its parent.
    pub parent: u32,
    /// Its command line, lossy UTF-8. A process can overwrite it, and node does (`process.title`).
    pub command_line: Vec<String>,
    /// The file it executes; `None` if that is not readable.
    pub exe: Option<Utf8PathBuf>,
    /// Its working directory; `None` if that is not readable.
    pub cwd: Option<Utf8PathBuf>,
    /// The environment it was started with, lossy UTF-8; `None` if that is not readable.
    pub environ: Option<BTreeMap<String, String>>,
    /// Its real user.
    pub uid: u32,
    /// When it started, which identifies it together with the pid. In clock ticks since boot on Linux, in seconds since 1970 on
    /// macOS.
    pub start_time_ticks: u64,
}

impl fmt::Debug for LiveProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveProcess")
            .field("pid", &self.pid)
            .field("parent", &self.parent)
            .field("exe", &self.exe)
            .field("cwd", &self.cwd)
            .field(
                "environ",
                &self.environ.as_ref().map(|e| e.keys().collect::<Vec<_>>()),
            )
            .field("uid", &self.uid)
            .field("start_time_ticks", &self.start_time_ticks)
            .finish_non_exhaustive()
    }
}

/// Whether a list entry is for one of these processes.
pub(crate) fn is_one_of(entry: &RawValue, ids: &[PmId]) -> bool {
    #[derive(Deserialize)]
    struct Entry {
        pm2_env: Env,
    }
    #[derive(Deserialize)]
    struct Env {
        pm_id: u32,
    }
    serde_json::from_str::<Entry>(entry.get())
        .is_ok_and(|entry| ids.contains(&PmId(entry.pm2_env.pm_id)))
}

/// One entry of PM2's list, or one of the processes in its answer to a start; none for an entry that is not a process (a leftover
/// of a reload has a text for a number).
pub(crate) fn record(entry: Value) -> Option<ProcessRecord> {
    let Value::Object(mut entry) = entry else {
        return None;
    };
    let Some(Value::Object(pm2_env)) = entry.remove("pm2_env") else {
        return None;
    };
    let pm_id = pm2_env.get("pm_id").and_then(Value::as_u64);
    let pm_id = u32::try_from(pm_id?).ok()?;
    // In a list the entry itself has the pid; in the answer to a start it is nested.
    let pid = entry
        .get("pid")
        .or_else(|| entry.get("process")?.get("pid"))
        .and_then(Value::as_u64)
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid != 0);
    let monit = |key: &str| entry.get("monit").and_then(|monit| monit.get(key));
    let text = |key: &str| pm2_env.get(key).and_then(Value::as_str).unwrap_or("");
    Some(ProcessRecord {
        pm_id: PmId(pm_id),
        name: text("name").to_owned(),
        pid,
        status: Status::from_word(text("status")),
        memory_bytes: monit("memory").and_then(Value::as_u64).unwrap_or(0),
        cpu_percent: monit("cpu").and_then(Value::as_f64).unwrap_or(0.0),
        pm2_env,
    })
}
