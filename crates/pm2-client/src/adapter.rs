//! The port to PM2: the operations that any connection to a PM2 daemon supports.

use std::time::Duration;

use camino::Utf8PathBuf;
use daemon_model::{PmId, Processes, Usage};

use crate::message::{CurrentConf, Prepare, ReloadConf};
use crate::record::{Listed, ProcessRecord};

/// A connection to one PM2. Small, synchronous and object-safe.
///
/// Processes are addressed by number only, never by name: PM2 also reads a name as a namespace, a path or a pattern. PM2 serialises
/// nothing: two operations on one number at the same time can leave a process that is not in its list, so callers keep to one
/// operation per number.
///
/// After [`AdapterError::Timeout`] or [`AdapterError::Closed`] the operation may still have happened: read the list again before
/// anything else.
pub trait ProcessAdapter: Send {
    /// The version of the daemon that answers, for example `7.0.4`.
    ///
    /// # Errors
    /// [`AdapterError::Timeout`], [`AdapterError::Closed`] and [`AdapterError::Io`] when the daemon does not answer.
    fn daemon_version(&mut self) -> Result<String, AdapterError>;

    /// Visits PM2's records of these processes, if PM2 has them; `None`: all. They are visited one by one, so that not all are in
    /// memory at once, and `visit` must not use PM2 itself. Temporary leftovers of a reload are skipped.
    ///
    /// # Errors
    /// [`AdapterError::Timeout`], [`AdapterError::Closed`] and [`AdapterError::Io`] when the daemon does not answer. Some records
    /// may have been visited by then.
    fn visit(
        &mut self,
        only: Option<&[PmId]>,
        visit: &mut dyn FnMut(Listed<'_>),
    ) -> Result<(), AdapterError>;

    /// Every process that PM2 has, by ascending number, as the model describes it. Repeated calls are cheap: unchanged processes
    /// may be shared with the previous result, and so may an unchanged list.
    ///
    /// # Errors
    /// [`AdapterError::Timeout`], [`AdapterError::Closed`] and [`AdapterError::Io`] when the daemon does not answer.
    fn observe(&mut self) -> Result<Processes, AdapterError>;

    /// Whether to keep lists that are read from now on for [`visit_recent`](Self::visit_recent). That takes memory, and a list is
    /// kept only for a moment.
    fn keep_lists(&mut self, _keep: bool) {}

    /// As [`visit`](Self::visit), but from the last list, without asking PM2 again. Returns false and visits nothing if that list
    /// is no longer recent, or if this connection or those made from it have changed anything since.
    fn visit_recent(&mut self, _only: Option<&[PmId]>, _visit: &mut dyn FnMut(Listed<'_>)) -> bool {
        false
    }

    /// The resource use of the processes in the last [`observe`](Self::observe), as measured by PM2.
    fn usage(&self) -> &[(PmId, Usage)] {
        &[]
    }

    /// Starts a new app; returns PM2's record of each instance, in order. If PM2 refuses, some instances may run.
    ///
    /// # Errors
    /// [`AdapterError::Refused`] when the daemon refuses; [`AdapterError::Timeout`], [`AdapterError::Closed`] and
    /// [`AdapterError::Io`] when it does not answer.
    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError>;

    /// Merges `conf` into PM2's record of the process and restarts it. A process in its restart delay must be stopped first: PM2
    /// merges the conf, but refuses. Returns PM2's record of the new process, if the answer has it.
    /// answer holds it.
    ///
    /// # Errors
    /// [`AdapterError::Refused`] when the daemon refuses; [`AdapterError::Timeout`], [`AdapterError::Closed`] and
    /// [`AdapterError::Io`] when it does not answer.
    fn restart(
        &mut self,
        id: PmId,
        conf: &CurrentConf,
    ) -> Result<Option<ProcessRecord>, AdapterError>;

    /// As [`restart`](Self::restart), but an online cluster worker is replaced without downtime.
    ///
    /// # Errors
    /// [`AdapterError::Refused`] when the daemon refuses; [`AdapterError::Timeout`], [`AdapterError::Closed`] and
    /// [`AdapterError::Io`] when it does not answer.
    fn reload(&mut self, id: PmId, conf: &ReloadConf) -> Result<(), AdapterError>;

    /// Stops the process and keeps it in the list; returns when it has ended. Stopping a stopped process is allowed. Its file
    /// watcher stays: call [`stop_watch`](Self::stop_watch) first.
    ///
    /// # Errors
    /// [`AdapterError::Refused`] when the number is unknown; [`AdapterError::Timeout`], [`AdapterError::Closed`] and
    /// [`AdapterError::Io`] when the daemon does not answer.
    fn stop(&mut self, id: PmId) -> Result<(), AdapterError>;

    /// Stops the process and removes it from the list; returns when it has ended. Its file watcher stays: call
    /// [`stop_watch`](Self::stop_watch) first.
    ///
    /// # Errors
    /// [`AdapterError::Refused`] when the number is unknown; [`AdapterError::Timeout`], [`AdapterError::Closed`] and
    /// [`AdapterError::Io`] when the daemon does not answer.
    fn delete(&mut self, id: PmId) -> Result<(), AdapterError>;

    /// Stops watching files for the process. Allowed for a number that is unknown or not watching.
    ///
    /// # Errors
    /// [`AdapterError::Timeout`], [`AdapterError::Closed`] and [`AdapterError::Io`] when the daemon does not answer.
    fn stop_watch(&mut self, id: PmId) -> Result<(), AdapterError>;

    /// A second connection to the same PM2, for parallel work.
    ///
    /// # Errors
    /// [`AdapterError::NotRunning`] when nothing listens; [`AdapterError::OtherUser`] when another user's process does;
    /// [`AdapterError::Connect`] when the connection fails otherwise.
    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError>;

    /// All records that [`visit`](Self::visit) visits, by ascending number.
    ///
    /// # Errors
    /// As [`visit`](Self::visit).
    fn list(&mut self) -> Result<Vec<ProcessRecord>, AdapterError> {
        collect(self, None)
    }

    /// The records of these processes, if PM2 has them, by ascending number.
    ///
    /// # Errors
    /// As [`visit`](Self::visit).
    fn records(&mut self, ids: &[PmId]) -> Result<Vec<ProcessRecord>, AdapterError> {
        collect(self, Some(ids))
    }
}

fn collect(
    adapter: &mut (impl ProcessAdapter + ?Sized),
    only: Option<&[PmId]>,
) -> Result<Vec<ProcessRecord>, AdapterError> {
    let mut records = Vec::with_capacity(only.map_or(0, <[PmId]>::len));
    adapter.visit(only, &mut |listed| records.push(listed.into_record()))?;
    records.sort_by_key(|record| record.pm_id);
    Ok(records)
}

/// Identifies a call, for errors, deadlines and injected faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Method {
    /// [`ProcessAdapter::daemon_version`]
    Version,
    /// [`ProcessAdapter::visit`] and [`ProcessAdapter::observe`]
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
    /// The path of the socket is too long for a socket address.
    #[error("the socket's path `{path}` is longer than {limit} bytes, use a shorter PM2 home")]
    PathTooLong {
        /// The socket.
        path: Utf8PathBuf,
        /// The longest path that fits.
        limit: usize,
    },
    /// The daemon does not run: there is no socket, or nothing listens on it.
    #[error("PM2 is not running: nothing answers on `{path}`")]
    NotRunning {
        /// The socket.
        path: Utf8PathBuf,
    },
    /// The socket exists, but connecting to it fails.
    #[error("cannot connect to PM2 on `{path}`")]
    Connect {
        /// The socket.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The daemon belongs to another user. Nothing was sent.
    #[error("PM2 on `{path}` runs as another user (uid {uid}), so nothing was sent to it")]
    OtherUser {
        /// The socket.
        path: Utf8PathBuf,
        /// The user.
        uid: u32,
    },
    /// No answer in time. The call may still take effect.
    #[error("PM2 did not answer `{method}` within {} ms", after.as_millis())]
    Timeout {
        /// The call.
        method: Method,
        /// The deadline.
        after: Duration,
    },
    /// The caller was asked to stop while waiting for an answer; the call changes nothing.
    #[error("interrupted while PM2 had not answered `{method}` yet")]
    Stopped {
        /// The call.
        method: Method,
    },
    /// The daemon closed the connection before it answered. The call may have taken effect.
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
        /// The cause.
        source: std::io::Error,
    },
    /// The bytes are not a message of PM2's protocol.
    #[error("PM2's answer to `{method}` cannot be decoded")]
    Protocol {
        /// The call.
        method: Method,
        /// The cause.
        source: crate::wire::WireError,
    },
    /// The message lacks a required part.
    #[error("PM2's answer to `{method}` has no {missing}")]
    Answer {
        /// The call.
        method: Method,
        /// The missing part.
        missing: &'static str,
    },
    /// PM2 refused the call.
    #[error("PM2 refused `{method}`: {message}")]
    Refused {
        /// The call.
        method: Method,
        /// PM2's error message.
        message: String,
    },
    /// The daemon's protocol version is not tested.
    #[error("PM2 {found} is not supported, only 5, 6 and 7 are")]
    UnsupportedVersion {
        /// Its version.
        found: String,
    },
}
