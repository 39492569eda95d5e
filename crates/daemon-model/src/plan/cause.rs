//! Why an app is not simply as its definition says.

use serde::Serialize;

use super::Step;
use crate::{AppFailure, DaemonId, Override};

/// Why an app is not simply as its definition says. An app may have several.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
#[non_exhaustive]
pub enum Cause {
    /// A user asked for nothing to be done to its daemon.
    OnHold {
        /// Who, why and for how long.
        #[serde(flatten)]
        by: Override,
        /// What would be done.
        #[serde(skip)]
        steps: Vec<Step>,
    },
    /// Its definition asks to leave it as it is (`:on-change :hold`).
    ChangeHeld {
        /// What would be done.
        #[serde(skip)]
        steps: Vec<Step>,
    },
    /// A user asked for its daemon to be stopped.
    Stopped(Override),
    /// A user asked for an older entry of the history.
    Pinned {
        /// The entry.
        number: u32,
        /// Who, why and for how long.
        #[serde(flatten)]
        by: Override,
    },
    /// What its definition declares did not become ready, so an older entry of the history is in force.
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
    /// What its definition declares did not become ready, and there is nothing to go back to, or the definition asks not to.
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
        /// When it has failed unless it is ready before, in milliseconds since the Unix epoch.
        deadline_ms: u64,
        /// Whether one worker tries what the others do not have yet.
        canary: bool,
    },
    /// It is not started, or not changed, because apps that it depends on are not ready.
    Waiting {
        /// Those apps.
        on: Vec<Unready>,
        /// What will be done.
        #[serde(skip)]
        steps: Vec<Step>,
    },
}

/// An app that another one depends on and that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// Its daemon.
    pub daemon: DaemonId,
    /// Its name.
    pub app: String,
    /// Why.
    pub why: UnreadyReason,
}

/// Why an app that another one depends on is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnreadyReason {
    /// It is being started or changed.
    Starting,
    /// It waits itself for an app that may become ready.
    Waiting,
    /// It waits itself for an app that does not become ready.
    Blocked,
    /// It did not become ready, keeps crashing, or PM2 gave it up.
    Failed,
    /// A user stopped it.
    Stopped,
    /// It does not run, and nothing is going to start it.
    NotRunning,
}

impl UnreadyReason {
    /// Whether it may become ready by itself.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Starting | Self::Waiting)
    }
}
