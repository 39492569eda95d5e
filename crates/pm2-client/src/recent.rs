//! A list of PM2 that was read a moment ago, and is still good enough not to be asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How old a list may be. A `pm2` command takes longer than that to start.
const RECENT: Duration = Duration::from_millis(250);

/// How many changes a connection and those made of it have asked for, each counted as it begins and as it ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(Arc<AtomicU64>);

impl Changes {
    /// Notes the beginning or the end of one.
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// When a list was asked for.
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

    /// Whether its answer still stands, as far as this program knows: it is recent, and nothing was changed since.
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
        // It was asked for while a change was under way.
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
