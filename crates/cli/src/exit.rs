//! Exit statuses.

use std::process::ExitCode;

/// How a command ended. If several apply, the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// In sync, or done.
    Ok,
    /// Changes are pending (`plan`, `status`, `render --check`).
    Pending,
    /// Done in part: a definition is not valid, a step failed, an app is not ready or degraded, a removal is on hold.
    Partial,
    /// PM2 was not found, or it is running and does not answer.
    NoPm2,
    /// Failed: nothing useful was done.
    Failed,
    /// Ended by Ctrl-C or SIGTERM before all was done.
    Interrupted,
    /// Bad usage: an unknown flag, command or ID.
    Usage,
}

impl Exit {
    /// The status as a number.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Pending => 2,
            Self::Partial => 3,
            Self::NoPm2 => 4,
            Self::Failed => 1,
            Self::Interrupted => 130,
            Self::Usage => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}
