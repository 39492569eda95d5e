//! Why an app differs from its definition.

use serde::Serialize;

use super::Step;
use crate::{AppFailure, DaemonId, Override};

/// Why an app differs from its definition. There may be several causes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
#[non_exhaustive]
pub enum Cause {
    /// A user put its daemon on hold.
    OnHold {
        /// Who, why and for how long.
        #[serde(flatten)]
        by: Override,
        /// The steps that would be taken.
        #[serde(skip)]
        steps: Vec<Step>,
    },
    /// Its definition asks not to apply changes (`:on-change :hold`).
    ChangeHeld {
        /// The steps that would be taken.
        #[serde(skip)]
        steps: Vec<Step>,
    },
    /// A user stopped its daemon.
    Stopped(Override),
    /// A user pinned an older entry of the history.
    Pinned {
        /// The entry.
        number: u32,
        /// Who, why and for how long.
        #[serde(flatten)]
        by: Override,
    },
    /// The spec of its definition did not become ready, so an older entry of the history is in force.
    RolledBack {
        /// The entry that failed.
        failed: u32,
        /// When it failed, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// The apps of the daemon that did not become ready, and why.
        failures: Vec<AppFailure>,
        /// The entry that is in force.
        to: u32,
    },
    /// The spec of its definition did not become ready, and there is no entry to roll back to, or the definition asks not to.
    Failed {
        /// The entry that failed.
        failed: u32,
        /// When it failed, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// Why: `readiness probe: HTTP 500`.
        reason: String,
    },
    /// It was changed and has to become ready.
    Gated {
        /// When it fails unless it is ready before, in milliseconds since the Unix epoch.
        deadline_ms: u64,
        /// Whether one worker tries a spec that the others do not have yet.
        canary: bool,
    },
    /// It is not started or changed because its dependencies are not ready.
    Waiting {
        /// Those dependencies.
        on: Vec<Unready>,
        /// The steps that will be taken.
        #[serde(skip)]
        steps: Vec<Step>,
    },
}

/// A dependency that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// Its daemon.
    pub daemon: DaemonId,
    /// Its name.
    pub app: String,
    /// Why.
    pub why: UnreadyReason,
}

/// Why a dependency is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnreadyReason {
    /// It is being started or changed.
    Starting,
    /// It waits for a dependency of its own that may become ready.
    Waiting,
    /// It waits for a dependency of its own that will not become ready.
    Blocked,
    /// It did not become ready, keeps crashing, or PM2 gave it up.
    Failed,
    /// A user stopped it.
    Stopped,
    /// It does not run, and no step starts it.
    NotRunning,
}

impl UnreadyReason {
    /// Whether it may become ready by itself.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Starting | Self::Waiting)
    }
}
