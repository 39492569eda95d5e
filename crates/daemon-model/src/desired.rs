//! What the definitions of a workspace declare, and what is recorded about its daemons.

use std::sync::{Arc, LazyLock};

use crate::{AppSpec, DaemonId, DaemonMap, History, Overrides};

/// What one definition declares.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredDaemon {
    /// These apps. An empty list means that nothing should run.
    Apps(Arc<[AppSpec]>),
    /// The definition is invalid. Its processes stay as they are, and missing ones are started from the last good render.
    Broken {
        /// The apps of the last good render, if there is one.
        last_good: Vec<AppSpec>,
    },
}

impl DesiredDaemon {
    /// The apps that it declares, or declared last.
    #[must_use]
    pub fn apps(&self) -> &[AppSpec] {
        match self {
            Self::Apps(apps) => apps,
            Self::Broken { last_good } => last_good,
        }
    }

    /// Whether the definition is invalid.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// What is recorded about the daemons of a workspace. It decides which of their revisions are in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records {
    /// What was applied to each daemon, with or without a definition, and with what result.
    pub histories: DaemonMap<Arc<History>>,
    /// The decisions of users.
    pub overrides: Arc<Overrides>,
}

impl Records {
    /// The history of a daemon; empty if nothing was ever applied.
    #[must_use]
    pub fn history(&self, daemon: &DaemonId) -> &Arc<History> {
        static EMPTY: LazyLock<Arc<History>> = LazyLock::new(Arc::default);
        self.histories.get(daemon).unwrap_or(&EMPTY)
    }

    /// Replaces the history of a daemon.
    pub fn set_history(&mut self, daemon: &DaemonId, history: Arc<History>) {
        self.histories.insert(daemon.clone(), history);
    }

    /// The same records without overrides that have ended by `now_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at(&self, now_ms: u64) -> Self {
        let mut records = self.clone();
        if self.overrides.has_ended(now_ms) {
            Arc::make_mut(&mut records.overrides).drop_ended(now_ms);
        }
        records
    }

    /// Whether these are the very same records, shared.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        self.histories.is_shared_with(&other.histories)
            && Arc::ptr_eq(&self.overrides, &other.overrides)
    }
}

/// What all definitions of a workspace declare.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By daemon. A missing daemon has no definition.
    pub daemons: DaemonMap<DesiredDaemon>,
    /// What is recorded, with only the overrides in force. Without records, daemons run as defined: there are neither canaries nor
    /// rollbacks.
    pub records: Option<Records>,
}
