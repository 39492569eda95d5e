//! The request for a pass.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use daemon_model::{DaemonId, RemovalCode, RestartRequest};

/// What a pass is asked to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The daemons to change, as the user named them (see [`select`](super::select)); empty: all.
    pub ids: Vec<String>,
    /// Restricts the above to these; none: all.
    pub only: Option<BTreeSet<DaemonId>>,
    /// Daemons to leave alone.
    pub except: BTreeSet<DaemonId>,
    /// When processes without a definition are removed.
    pub removal: Removal,
    /// Whether to adopt unmanaged processes that have a declared name.
    pub adopt: bool,
    /// The code of the held removal that the user confirmed.
    pub confirm: Option<RemovalCode>,
    /// How many daemons proceed in parallel.
    pub jobs: NonZeroUsize,
    /// Whether PM2's dump is written after changes.
    pub save: bool,
    /// Whether to search for processes that PM2 does not list even if nothing is going to start.
    pub search_orphans: bool,
    /// Whether to wait for processes that PM2 is still stopping, and then plan again.
    pub settle: bool,
    /// Whether a sync waits until the apps it changed are ready, and for how long.
    pub wait: Wait,
    /// Whether to retry what failed before.
    pub retry: bool,
    /// What to restart although it has not changed.
    pub restart: Vec<RestartRequest>,
    /// The command to record in the history.
    pub command: &'static str,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            only: None,
            except: BTreeSet::new(),
            removal: Removal::default(),
            adopt: true,
            confirm: None,
            jobs: NonZeroUsize::MIN.saturating_add(3),
            save: true,
            search_orphans: false,
            settle: true,
            wait: Wait::default(),
            retry: false,
            restart: Vec::new(),
            command: "pm2-sync sync",
        }
    }
}

/// When a pass removes processes without a definition. A definition may be absent for only a moment, while an editor or a checkout
/// replaces it, so it must be absent in two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Never.
    Never,
    /// In a later pass.
    Defer,
    /// If a second snapshot, taken this much later, finds no definition either.
    ConfirmAfter(Duration),
    /// As [`ConfirmAfter`](Self::ConfirmAfter), without a delay: the caller knows that the definitions have been absent for long
    /// enough. A definition that only the second snapshot finds absent is deferred.
    Now,
}

impl Default for Removal {
    fn default() -> Self {
        Self::ConfirmAfter(Duration::from_millis(100))
    }
}

/// Whether a sync waits until the apps it changed are ready. The next sync or the watcher judges those that are not ready when it
/// ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Wait {
    /// Do not wait.
    No,
    /// Wait until everything is ready or has failed.
    #[default]
    UntilReady,
    /// Wait at most this long, counted from the start of the sync.
    AtMost(Duration),
}
