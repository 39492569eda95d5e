//! Decides whether a list of PM2 is still recent enough not to be read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The maximum age of a list. A `pm2` command takes longer than that to start.
const RECENT: Duration = Duration::from_millis(250);

/// Counts the changes made by a connection and those made from it, at the start and the end of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(Arc<AtomicU64>);

impl Changes {
    /// Notes the start or the end of a change.
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// How many there have been.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// When a list was requested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    at: Instant,
    changes: u64,
}

impl Asked {
    pub(crate) fn now(changes: &Changes) -> Self {
        Self {
            at: Instant::now(),
            changes: changes.count(),
        }
    }

    /// Whether its answer is still valid, as far as this program knows: it is recent, and nothing has changed since.
    pub(crate) fn is_recent(self, changes: &Changes) -> bool {
        self.changes == changes.count() && self.at.elapsed() <= RECENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_recent_until_something_changes() {
        let changes = Changes::default();
        let asked = Asked::now(&changes);
        let on_another_connection = changes.clone();
        on_another_connection.note();
        assert!(!asked.is_recent(&changes));
        // The list was requested during a change.
        let asked = Asked::now(&changes);
        on_another_connection.note();
        assert!(!asked.is_recent(&changes));
    }

    #[test]
    fn an_old_list_is_not_recent() {
        let changes = Changes::default();
        let mut asked = Asked::now(&changes);
        asked.at -= RECENT * 2;
        assert!(!asked.is_recent(&changes));
    }
}
