//! What all errors have in common: a kind, and a text with their causes.

use pm2_client::AdapterError;

/// The kind of a failure, independent of its wording. Each kind has an exit status, so there are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The request is wrong: an unknown ID, mode or environment, or a wrong confirmation code.
    Usage,
    /// The caller asked to stop.
    Interrupted,
    /// PM2 was not found, cannot be started, or does not answer.
    Pm2,
    /// Anything else.
    Other,
}

impl FailureKind {
    /// The kind of a failed request to PM2.
    #[must_use]
    pub fn of_call(error: &AdapterError) -> Self {
        match error {
            AdapterError::Stopped { .. } => Self::Interrupted,
            AdapterError::OtherUser { .. } => Self::Other,
            _ => Self::Pm2,
        }
    }
}

/// An error and its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // A transparent wrapper has the same text as its cause.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
