//! Caches the results of comparing an app with its processes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::AppSpec;
use crate::ObservedProcess;
use crate::diff::{Change, EnvPolicy, diff};

/// Processes that were compared with an app and match it. A plan compares every app with its processes, and nearly all of them are
/// the same values in the next plan.
#[derive(Debug, Default)]
pub(super) struct Compared(Mutex<Vec<(Weak<ObservedProcess>, EnvPolicy)>>);

/// The cache is not cloned: a clone may become another app.
impl Clone for Compared {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl AppSpec {
    /// The differences between the app and a process, in the order of their fields.
    pub(crate) fn differences(
        &self,
        process: &Arc<ObservedProcess>,
        policy: &EnvPolicy,
    ) -> Vec<Change> {
        let compared = &self.0.compared.0.0;
        let compared = || compared.lock().unwrap_or_else(PoisonError::into_inner);
        // The weak reference prevents the address from being reused for another process.
        let is_it = |known: &Weak<_>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(process));
        if compared()
            .iter()
            .any(|(known, of)| is_it(known) && of == policy)
        {
            return Vec::new();
        }
        let found = diff(self, process, policy);
        if found.is_empty() {
            let mut compared = compared();
            compared.retain(|(known, _)| known.strong_count() > 0);
            compared.push((Arc::downgrade(process), policy.clone()));
        }
        found
    }
}
