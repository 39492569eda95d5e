//! The port to PM2: what any connection to a PM2 daemon can be asked for.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use daemon_model::ObservedProcess;

use crate::message::{CurrentConf, InvalidMessage, Prepare};
use crate::observe::observe;
use crate::record::{LiveProcess, PmId, ProcessRecord};

/// A connection to one PM2. Small, synchronous and object-safe.
///
/// Processes are addressed by number only, never by name: PM2 reads a name also as a namespace, a
/// path or a pattern. PM2 serialises nothing: two operations on one number at the same time can
/// leave a process that nobody manages, so callers keep to one operation per number.
///
/// After [`AdapterError::Timeout`] or [`AdapterError::Closed`] the operation may have happened
/// all the same: read the list again before anything else.
pub trait ProcessAdapter: Send {
    /// The version of the daemon that answers, for example `7.0.4`.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon does not answer.
    fn daemon_version(&mut self) -> Result<String, AdapterError>;

    /// Every process PM2 has, by ascending number; what a reload leaves behind for a moment is not
    /// in it.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon does not answer.
    fn list(&mut self) -> Result<Vec<ProcessRecord>, AdapterError>;

    /// As [`list`](Self::list), one record after the other, so that not all of them are in memory at once.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon does not answer; then some records may have been visited.
    fn each(&mut self, visit: &mut dyn FnMut(ProcessRecord)) -> Result<(), AdapterError> {
        self.list()?.into_iter().for_each(visit);
        Ok(())
    }

    /// PM2's records of these processes, as far as it has them.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon does not answer.
    fn records(&mut self, ids: &[PmId]) -> Result<Vec<ProcessRecord>, AdapterError> {
        let mut records = self.list()?;
        records.retain(|record| ids.contains(&record.pm_id));
        Ok(records)
    }

    /// As [`list`](Self::list), in the model's words. Cheaper for whoever looks again and again: what has not changed may be
    /// shared with the last answer.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon does not answer.
    fn observe(&mut self) -> Result<Vec<Arc<ObservedProcess>>, AdapterError> {
        let records = self.list()?.into_iter();
        Ok(records.map(observe).map(Arc::new).collect())
    }

    /// Starts a new app; gives PM2's record of each instance, in order. After a refusal some instances
    /// may run.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon refuses or does not answer.
    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError>;

    /// Merges `conf` into what PM2 keeps of the process and starts it anew. A process that waits for
    /// its restart has to be stopped first: PM2 merges the conf, but refuses.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon refuses or does not answer.
    fn restart(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError>;

    /// As [`restart`](Self::restart), but an online cluster worker is replaced without a gap. A conf
    /// that does not say `autostart: true` is refused before anything is sent: PM2 dies of
    /// `autostart: false` here.
    ///
    /// # Errors
    /// [`AdapterError`] when the conf cannot be reloaded, or the daemon refuses or does not answer.
    fn reload(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError>;

    /// Stops the process and keeps it in the list; returns when it is dead. Stopping a stopped one is
    /// fine. Its watcher stays: [`stop_watch`](Self::stop_watch) comes first.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon refuses (number unknown) or does not answer.
    fn stop(&mut self, id: PmId) -> Result<(), AdapterError>;

    /// Stops the process and drops it from the list; returns when it is dead. Its watcher stays:
    /// [`stop_watch`](Self::stop_watch) comes first.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon refuses (number unknown) or does not answer.
    fn delete(&mut self, id: PmId) -> Result<(), AdapterError>;

    /// Ends the watching of files for the process. Fine for a number that is unknown or not watching.
    ///
    /// # Errors
    /// [`AdapterError`] when the daemon does not answer.
    fn stop_watch(&mut self, id: PmId) -> Result<(), AdapterError>;

    /// The process as the operating system shows it; `None` when there is none of this pid (a zombie
    /// counts as none).
    ///
    /// # Errors
    /// [`AdapterError::InspectUnsupported`] elsewhere than on Linux; [`AdapterError::Inspect`] when it
    /// cannot be read.
    fn inspect(&mut self, pid: u32) -> Result<Option<LiveProcess>, AdapterError>;

    /// A second connection to the same PM2, for work side by side.
    ///
    /// # Errors
    /// [`AdapterError`] when no connection can be made.
    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError>;
}

/// Which question a failed call was; also the key of deadlines and of injected faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Method {
    /// [`ProcessAdapter::daemon_version`]
    Version,
    /// [`ProcessAdapter::list`]
    List,
    /// [`ProcessAdapter::prepare`]
    Prepare,
    /// [`ProcessAdapter::restart`]
    Restart,
    /// [`ProcessAdapter::reload`]
    Reload,
    /// [`ProcessAdapter::stop`]
    Stop,
    /// [`ProcessAdapter::delete`]
    Delete,
    /// [`ProcessAdapter::stop_watch`]
    StopWatch,
    /// [`ProcessAdapter::inspect`]; asks the operating system, not PM2.
    Inspect,
}

impl Method {
    /// PM2's name of the call.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "getVersion",
            Self::List => "getMonitorData",
            Self::Prepare => "prepare",
            Self::Restart => "restartProcessId",
            Self::Reload => "reloadProcessId",
            Self::Stop => "stopProcessId",
            Self::Delete => "deleteProcessId",
            Self::StopWatch => "stopWatch",
            Self::Inspect => "inspect",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a call failed. `Display` never repeats its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The path of the socket does not fit into a socket address.
    #[error("the socket's path `{path}` is longer than {limit} bytes, use a shorter PM2 home")]
    PathTooLong {
        /// The socket.
        path: Utf8PathBuf,
        /// What fits.
        limit: usize,
    },
    /// No daemon: there is no socket, or nobody listens on it.
    #[error("PM2 is not running: nothing answers on `{path}`")]
    NotRunning {
        /// The socket.
        path: Utf8PathBuf,
    },
    /// There is a socket, but it cannot be connected to.
    #[error("cannot connect to PM2 on `{path}`")]
    Connect {
        /// The socket.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No answer in time. The call may still take effect.
    #[error("PM2 did not answer `{method}` within {} ms", after.as_millis())]
    Timeout {
        /// The call.
        method: Method,
        /// The deadline.
        after: Duration,
    },
    /// The caller was told to stop while it waited for the answer to a question; nothing was to change.
    #[error("stopped while PM2 had not answered `{method}` yet")]
    Stopped {
        /// The call.
        method: Method,
    },
    /// The daemon went away before it answered. The call may have taken effect.
    #[error("PM2 closed the connection before it answered `{method}`")]
    Closed {
        /// The call.
        method: Method,
    },
    /// Reading or writing failed otherwise. The call may have taken effect.
    #[error("the connection to PM2 failed during `{method}`")]
    Io {
        /// The call.
        method: Method,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that are no message of PM2's protocol.
    #[error("PM2's answer to `{method}` cannot be decoded")]
    Protocol {
        /// The call.
        method: Method,
        /// Why.
        source: crate::wire::WireError,
    },
    /// A message without what it has to hold.
    #[error("PM2's answer to `{method}` holds no {missing}")]
    Answer {
        /// The call.
        method: Method,
        /// What was looked for.
        missing: &'static str,
    },
    /// PM2's own error.
    #[error("PM2 refused `{method}`: {message}")]
    Refused {
        /// The call.
        method: Method,
        /// PM2's words.
        message: String,
    },
    /// A daemon whose protocol was never tested.
    #[error("PM2 {found} is not supported, only 5, 6 and 7 are")]
    UnsupportedVersion {
        /// Its version.
        found: String,
    },
    /// A call that PM2 would not survive; nothing was sent.
    #[error("`{method}` was not sent")]
    InvalidMessage {
        /// The call.
        method: Method,
        /// Why.
        source: InvalidMessage,
    },
    /// The process exists but cannot be looked at.
    #[error("cannot inspect the process {pid}")]
    Inspect {
        /// Its pid.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
    /// A process lives on though it was killed.
    #[error("the process {pid} lives on though it was killed")]
    Unkillable {
        /// Its pid.
        pid: u32,
    },
    /// Processes can be inspected on Linux only.
    #[error("live processes can only be inspected on Linux")]
    InspectUnsupported,
}
