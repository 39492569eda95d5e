//! Cancels long-running work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the work is to stop. All clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Requests a stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag in the form that signal handlers need.
    #[must_use]
    pub fn share(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
