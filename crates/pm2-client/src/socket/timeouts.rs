//! How long PM2 may take to answer.

use std::time::Duration;

use daemon_model::ObservedProcess;
use serde_json::{Map, Value};

/// How long to wait for answers.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a query, which PM2 answers at once.
    pub question: Duration,
    /// For a call that starts or stops processes, in addition to the time that their own settings allow.
    pub change: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            question: Duration::from_secs(10),
            change: Duration::from_secs(30),
        }
    }
}

/// PM2's default time for a process to stop (PM2 7.0.4, constants.js).
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_millis(1600);
/// PM2's default time for a worker to listen (PM2 7.0.4, constants.js).
pub(crate) const LISTEN_TIMEOUT: Duration = Duration::from_millis(3000);

/// The time that a process's settings (`kill_timeout`, `listen_timeout`, or PM2's defaults) allow for stopping and starting it.
#[must_use]
pub fn transition_timeout(process: &ObservedProcess) -> Duration {
    timeout(|key| process.attributes.get(key)?.as_u64())
}

/// As [`transition_timeout`], for the settings in a payload or a record.
pub(crate) fn timeout_in(settings: &Map<String, Value>) -> Duration {
    timeout(|key| settings.get(key)?.as_u64())
}

fn timeout(milliseconds: impl Fn(&str) -> Option<u64>) -> Duration {
    let time = |key, default: Duration| milliseconds(key).map_or(default, Duration::from_millis);
    // PM2 waits once for the process to end by itself, and once more after it kills it.
    (time("kill_timeout", KILL_TIMEOUT) * 2).saturating_add(time("listen_timeout", LISTEN_TIMEOUT))
}
