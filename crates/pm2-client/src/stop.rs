//! The one way to cancel long work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the work was asked to stop; all clones are one flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag as a signal handler takes it.
    #[must_use]
    pub fn share(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
