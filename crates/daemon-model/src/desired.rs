//! What the definitions of a workspace declare, and what is recorded about its daemons.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{AppSpec, DaemonId, DaemonOverrides, History};

/// What one definition wants.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredDaemon {
    /// These apps. None at all is a definition that wants nothing.
    Apps(Vec<AppSpec>),
    /// The definition cannot be used. Its processes stay as they are; one that is missing is started again
    /// from the last good render.
    Broken {
        /// The apps of the last good render, if there is one.
        last_good: Vec<AppSpec>,
    },
}

impl DesiredDaemon {
    /// The apps it wants, or wanted last.
    #[must_use]
    pub fn apps(&self) -> &[AppSpec] {
        match self {
            Self::Apps(apps) => apps,
            Self::Broken { last_good } => last_good,
        }
    }

    /// Whether the definition cannot be used.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// What is recorded about one daemon. It decides which of its revisions is in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DaemonRecord {
    /// What was applied, and what became of it.
    pub history: Arc<History>,
    /// What a user decided, as far as that is in force now.
    pub overrides: DaemonOverrides,
}

/// What all definitions of a workspace want.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By daemon. A daemon that is not here has no definition.
    pub daemons: BTreeMap<DaemonId, DesiredDaemon>,
    /// By daemon, with or without a definition. A daemon that is not here is run as defined; no history is kept of it, so
    /// it has neither canaries nor a way back.
    pub records: BTreeMap<DaemonId, DaemonRecord>,
}
