//! Intervals and limits.

use std::time::Duration;

/// The timing of a watch. The defaults come from measurements; tests shorten them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A batch is due when no hint has arrived for this long.
    pub quiet: Duration,
    /// A batch is due at the latest this long after its first hint.
    pub max_wait: Duration,
    /// Hints that follow each other within this time form one burst: its first files are reported at once, the rest after a quiet
    /// period.
    pub burst: Duration,
    /// How often to check that the root is still the same directory.
    pub root_check: Duration,
    /// How often to scan everything without a hint, without reading files that cannot have changed.
    pub resync: Duration,
    /// How often to read everything again.
    pub full_resync: Duration,
    /// How often to check that events still arrive.
    pub heartbeat: Duration,
    /// How late such an event may be.
    pub heartbeat_limit: Duration,
    /// How often to scan files that cannot be watched.
    pub poll: Duration,
    /// The shortest time between two attempts to watch; it doubles with each failure.
    pub retry: Duration,
    /// The longest time between two attempts.
    pub max_retry: Duration,
    /// Never watch, only poll.
    pub force_poll: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(30),
            max_wait: Duration::from_millis(250),
            burst: Duration::from_millis(300),
            root_check: Duration::from_secs(1),
            resync: Duration::from_secs(60),
            full_resync: Duration::from_secs(600),
            heartbeat: Duration::from_secs(10),
            heartbeat_limit: Duration::from_secs(2),
            poll: Duration::from_secs(2),
            retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(30),
            force_poll: false,
        }
    }
}
