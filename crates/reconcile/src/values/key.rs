//! The key for digests of values. Each workspace has one.

use daemon_model::ValueKey;
use serde::{Deserialize, Serialize};

use crate::lock::Lock;
use crate::state::{StateDir, StateWarning};

/// The state file that contains it.
const FILE: &str = "values.key";

/// A key, and whether it is saved.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) key: ValueKey,
    is_kept: bool,
}

/// The content of the file.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    key: Option<[u8; 32]>,
}

impl Key {
    /// The saved key, or else the one used before, or else a new one; none if the system provides no random bytes.
    pub(super) fn read(state: &StateDir, previous: Option<&Self>) -> Option<Self> {
        // A damaged file counts as missing: for one pass, edits and drift cannot be distinguished.
        let (kept, _) = state.read::<Kept>(FILE);
        if let Some(bytes) = kept.key {
            return Some(Self {
                key: ValueKey::new(bytes),
                is_kept: true,
            });
        }
        if let Some(previous) = previous {
            let key = previous.key.clone();
            return Some(Self {
                key,
                is_kept: false,
            });
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self {
            key: ValueKey::new(bytes),
            is_kept: false,
        })
    }

    /// Saves the key, unless it or another one is saved by now.
    pub(super) fn keep(&self, state: &StateDir, lock: &Lock) -> Result<(), StateWarning> {
        if self.is_kept || state.read::<Kept>(FILE).0.key.is_some() {
            return Ok(());
        }
        let key = Some(*self.key.bytes());
        state.write(FILE, &Kept { key }, lock)
    }
}
