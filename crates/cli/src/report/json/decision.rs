//! `hold`, `release`, `stop`, `start`, `restart` and `rollback`

use daemon_model::DaemonId;
use reconcile::rollout::DecreedDaemon;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Output, SyncOutput};

/// What a command decided and did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DecisionOutput {
    /// The command, which the document names.
    #[serde(skip)]
    pub verb: Verb,
    /// The selected daemons.
    pub daemons: Vec<DecidedOutput>,
    /// The sync that followed, as `sync` prints it; null for `hold`, which changes nothing.
    pub sync: Option<SyncOutput>,
}

impl Output for DecisionOutput {
    const COMMAND: &'static str = "hold";

    fn command(&self) -> &'static str {
        self.verb.name()
    }
}

/// A command that decides something about daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `hold`
    Hold,
    /// `release`
    Release,
    /// `stop`
    Stop,
    /// `start`
    Start,
    /// `restart`
    Restart,
    /// `rollback`
    Rollback,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Hold,
        Self::Release,
        Self::Stop,
        Self::Start,
        Self::Restart,
        Self::Rollback,
    ];

    /// The name of the command.
    #[must_use]
    pub fn name(self) -> &'static str {
        // The history records the name with the program in front.
        self.command_line().trim_start_matches("pm2-sync ")
    }

    /// The command as recorded in the history.
    #[must_use]
    pub fn command_line(self) -> &'static str {
        match self {
            Self::Hold => "pm2-sync hold",
            Self::Release => "pm2-sync release",
            Self::Stop => "pm2-sync stop",
            Self::Start => "pm2-sync start",
            Self::Restart => "pm2-sync restart",
            Self::Rollback => "pm2-sync rollback",
        }
    }
}

/// What was decided about a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DecidedOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// Whether the decision changed. False if it was the same before, and for `restart`.
    pub changed: bool,
    /// The entry of the history that the daemon is pinned to; only for `rollback`.
    pub entry: Option<u32>,
}

impl DecidedOutput {
    /// The decision about a daemon.
    #[must_use]
    pub fn new(daemon: &DaemonId, decided: &DecreedDaemon) -> Self {
        Self {
            daemon: daemon.to_string(),
            changed: decided.is_changed,
            entry: decided.pinned,
        }
    }
}
