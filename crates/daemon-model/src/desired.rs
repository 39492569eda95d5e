//! What the definitions of a workspace declare, and what is recorded about its daemons.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{AppSpec, DaemonId, DaemonOverrides, History};

/// What one definition declares.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredDaemon {
    /// These apps. An empty list means that nothing should run.
    Apps(Vec<AppSpec>),
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

/// What is recorded about one daemon. It decides which of its revisions is in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DaemonRecord {
    /// What was applied, and with what result.
    pub history: Arc<History>,
    /// The decisions of users that are in force.
    pub overrides: DaemonOverrides,
}

/// What all definitions of a workspace declare.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By daemon. A missing daemon has no definition.
    pub daemons: BTreeMap<DaemonId, DesiredDaemon>,
    /// By daemon, with or without a definition. A missing daemon runs as defined; it has no history, so there are neither canaries
    /// nor rollbacks.
    pub records: BTreeMap<DaemonId, DaemonRecord>,
}
