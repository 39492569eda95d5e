//! The label that marks a process as managed, and the digests of apps.

use std::fmt;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{DaemonId, OnRemove};

/// Marks a managed process in PM2's record, with its owner and the definition that it was started from. It proves ownership, not
/// state: users change the attributes beside it.
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
    /// Whether its removal must be confirmed once its definition is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// How to remove it, if its definition said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<OnRemove>,
    /// The attributes with external values: their values in PM2's record may be secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
}

/// A versioned digest of a canonical app, for example `v1:9f86d081884c7d65`. For an app with external values it has three parts,
/// separated by dots: the digest of the definition's content, the name of a key, and a digest of everything, made with that key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecDigest(pub String);

impl SpecDigest {
    /// The part before the colon, which identifies the recipe.
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.split(':').next().unwrap_or("")
    }

    /// Whether this digest and `other` certainly belong to different apps. Digests with different recipes or keys prove nothing.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> bool {
        // Usually they are identical.
        if self == other || self.version() != other.version() {
            return false;
        }
        fn parts(digest: &SpecDigest) -> [Option<&str>; 3] {
            let mut parts = digest.0.splitn(3, '.');
            [parts.next(), parts.next(), parts.next()]
        }
        let ([own, own_key, own_values], [other, other_key, other_values]) =
            (parts(self), parts(other));
        own != other || (own_key == other_key && own_values != other_values)
    }
}

impl fmt::Display for SpecDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A versioned digest of everything that an app declares: what PM2 gets, and what only pm2-sync reads, such as probes. Two apps
/// with the same revision are the same attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
