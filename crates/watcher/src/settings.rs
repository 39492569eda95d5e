//! How long things take.

use std::time::Duration;

/// The periods of a watch. The defaults are measured ones; tests shorten them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A batch is due when no hint came for this long.
    pub quiet: Duration,
    /// And at the latest this long after its first hint.
    pub max_wait: Duration,
    /// Hints that follow each other within this time are one burst: the files that were written first are reported at once,
    /// whatever follows when it is quiet.
    pub burst: Duration,
    /// How often it is checked that the root is still the same directory.
    pub root_check: Duration,
    /// How often everything is scanned without a hint, without reading files that cannot have changed.
    pub resync: Duration,
    /// How often everything is read again.
    pub full_resync: Duration,
    /// How often it is checked that events still arrive.
    pub heartbeat: Duration,
    /// How long such an event may take.
    pub heartbeat_limit: Duration,
    /// How often files are scanned where they cannot be watched.
    pub poll: Duration,
    /// The shortest time between two attempts to watch; it doubles as long as they fail.
    pub retry: Duration,
    /// The longest one.
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
