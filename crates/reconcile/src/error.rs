//! The common part of all errors: a kind, and a text with their causes.

use pm2_client::AdapterError;

/// What a failure means for the caller, however it is worded. It has no other kinds on purpose: a new one needs an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The request is wrong: an unknown ID, mode or environment, or a confirmation that does not fit.
    Usage,
    /// The caller asked to stop.
    Interrupted,
    /// PM2 was not found, cannot be started, or does not answer.
    Pm2,
    /// Anything else.
    Other,
}

impl FailureKind {
    /// The kind of a failed call of PM2.
    #[must_use]
    pub fn of_call(error: &AdapterError) -> Self {
        match error {
            AdapterError::Stopped { .. } => Self::Interrupted,
            AdapterError::OtherUser { .. } => Self::Other,
            _ => Self::Pm2,
        }
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // A transparent wrapper shows its cause's own words.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
