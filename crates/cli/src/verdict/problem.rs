//! The reasons why something is not in sync.

use daemon_model::{AppState, Cause, Condition, DaemonId, RemovalCode};
use reconcile::LogExcerpt;

use crate::exit::Exit;
use crate::report::words;

/// Whether a command only inspects, or also makes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `plan`, `status`: unfinished work counts as pending.
    Inspects,
    /// `sync`, `watch`: unfinished work counts as partly done.
    Acts,
}

/// The kind of a problem, in the order used by summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// The command was interrupted.
    Interrupted,
    /// A step is pending.
    Pending,
    /// A step failed.
    FailedStep,
    /// A step was not tried.
    SkippedStep,
    /// A step would fail, or failed in an earlier pass.
    Obstacle,
    /// A definition, or a path of the tree, is not valid.
    InvalidDefinition,
    /// A generated config could not be written, read or removed.
    FailedArtifact,
    /// PM2's process list could not be saved.
    Unsaved,
    /// A removal waits for confirmation.
    HeldRemoval,
    /// An app's name belongs to unmanaged processes.
    Blocked,
    /// PM2 gave an app up, or keeps restarting it.
    Degraded,
    /// An app's label names another app than its name does.
    Mislabelled,
    /// An app is not ready yet.
    Starting,
    /// An app is being stopped.
    Stopping,
    /// An app differs from its definition, and is on hold by that definition or by a user.
    OnHold,
    /// An app waits for apps that it depends on.
    Waiting,
    /// An app's definition did not become ready; it runs the previous one.
    RolledBack,
    /// An app's definition did not become ready, and it cannot roll back.
    NotReady,
    /// A condition that this version does not know.
    Other,
}

impl ProblemKind {
    pub(super) fn exit(self, role: Role) -> Exit {
        match self {
            Self::Interrupted => Exit::Interrupted,
            Self::FailedStep
            | Self::SkippedStep
            | Self::Obstacle
            | Self::InvalidDefinition
            | Self::FailedArtifact
            | Self::Unsaved
            | Self::Degraded
            | Self::Mislabelled
            | Self::Starting
            | Self::Waiting
            | Self::RolledBack
            | Self::NotReady
            | Self::Other => Exit::Partial,
            Self::Pending | Self::HeldRemoval | Self::Blocked | Self::Stopping | Self::OnHold => {
                match role {
                    Role::Inspects => Exit::Pending,
                    Role::Acts => Exit::Partial,
                }
            }
        }
    }

    /// Whether the problem gets its own line. Others are reported by the steps, the definitions, or the summary.
    pub(crate) fn is_announced(self) -> bool {
        match self {
            Self::Obstacle
            | Self::FailedArtifact
            | Self::Unsaved
            | Self::HeldRemoval
            | Self::Degraded
            | Self::Mislabelled
            | Self::OnHold
            | Self::Waiting
            | Self::RolledBack
            | Self::NotReady
            | Self::Other => true,
            Self::Interrupted
            | Self::Pending
            | Self::FailedStep
            | Self::SkippedStep
            | Self::InvalidDefinition
            | Self::Blocked
            | Self::Starting
            | Self::Stopping => false,
        }
    }
}

/// One reason why it is not in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of reason.
    pub kind: ProblemKind,
    /// The daemon, if it concerns one.
    pub daemon: Option<DaemonId>,
    /// The app, if it concerns one.
    pub app: Option<String>,
    /// The reason in words.
    pub message: String,
    /// An excerpt of a degraded app's log.
    pub log: Option<LogExcerpt>,
    /// The code that confirms a held removal.
    pub confirm: Option<RemovalCode>,
    /// Whether it is not retried until something changes or a user asks for it.
    pub is_rejected: bool,
    /// Whether a user has put the daemon on hold.
    pub is_user_hold: bool,
}

/// Identifies a problem, independently of its wording.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProblemId {
    /// The kind of reason.
    pub kind: ProblemKind,
    /// The daemon, if it concerns one.
    pub daemon: Option<DaemonId>,
    /// The app, if it concerns one.
    pub app: Option<String>,
    /// The code that confirms a removal: a removal of other daemons is another problem.
    confirm: Option<String>,
}

impl Problem {
    /// The identity of the problem.
    #[must_use]
    pub fn id(&self) -> ProblemId {
        ProblemId {
            kind: self.kind,
            daemon: self.daemon.clone(),
            app: self.app.clone(),
            confirm: self.confirm.as_ref().map(ToString::to_string),
        }
    }

    pub(super) fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            daemon: None,
            app: None,
            message: message.into(),
            log: None,
            confirm: None,
            is_rejected: false,
            is_user_hold: false,
        }
    }

    pub(super) fn of(
        kind: ProblemKind,
        daemon: &DaemonId,
        app: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            daemon: Some(daemon.clone()),
            app: Some(app.to_owned()),
            ..Self::new(kind, message)
        }
    }
}

/// The problem of an app, apart from the steps it needs.
pub(super) fn of_app(app: &AppState) -> Option<Problem> {
    let kind = match app.condition {
        Condition::InSync
        | Condition::Ended
        | Condition::Kept
        | Condition::Stopped
        | Condition::Pinned => return None,
        // Their steps, their definition or the removal is reported instead.
        Condition::Pending | Condition::Blocked | Condition::Broken | Condition::Held => {
            return None;
        }
        // The watcher handles it again within a second.
        Condition::Leaving => return None,
        Condition::Degraded => ProblemKind::Degraded,
        Condition::Mislabelled => ProblemKind::Mislabelled,
        Condition::Starting => ProblemKind::Starting,
        Condition::Stopping => ProblemKind::Stopping,
        Condition::OnHold => ProblemKind::OnHold,
        Condition::Waiting => ProblemKind::Waiting,
        Condition::RolledBack => ProblemKind::RolledBack,
        Condition::Failed => ProblemKind::NotReady,
        _ => ProblemKind::Other,
    };
    let mut problem = Problem::of(kind, &app.daemon, &app.app, words::condition::sentence(app));
    let is_hold = |cause: &Cause| matches!(cause, Cause::OnHold { .. });
    problem.is_user_hold = kind == ProblemKind::OnHold && app.causes.iter().any(is_hold);
    problem.is_rejected = matches!(kind, ProblemKind::RolledBack | ProblemKind::NotReady);
    if matches!(
        kind,
        ProblemKind::Degraded | ProblemKind::RolledBack | ProblemKind::NotReady
    ) {
        problem.log = LogExcerpt::of(app.processes.iter().map(AsRef::as_ref));
    }
    Some(problem)
}
