//! The label that marks a process as managed.

use std::fmt;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{DaemonId, OnRemove};

/// What a managed process carries in PM2's record of it: whose it is, and of which definition it was
/// started. It proves ownership, not state: people change attributes under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// Canonical path of the workspace's root.
    pub workspace: Utf8PathBuf,
    /// The daemon.
    pub daemon: DaemonId,
    /// The app's name.
    pub app: String,
    /// Digest of the app it was started from.
    pub spec: SpecDigest,
    /// Whether its removal has to be confirmed, should its definition be gone with all that it said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// What its removal does, where its definition said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
}

/// A versioned digest of a canonical app, for example `v1:9f86d081884c7d65`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecDigest(pub String);

impl SpecDigest {
    /// The part before the colon, which says how the digest was made.
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.split(':').next().unwrap_or("")
    }
}

impl fmt::Display for SpecDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
