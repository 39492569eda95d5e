//! The result of a probe run.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// The result of one probe run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeResult {
    /// The app passed the check.
    Ready,
    /// The app failed the check.
    Failed {
        /// A short reason: `connection refused`, `HTTP 500`, `timeout after 1 s`, `exit status 1`. It contains no part of a
        /// response, of a command's output, or of a variable's value.
        why: String,
    },
    /// The probe could not be run because this machine lacks a resource, such as descriptors. That says nothing about the app, and
    /// must not restart it.
    NotRun {
        /// A short reason: `too many open files`.
        why: String,
    },
}

impl ProbeResult {
    /// Whether the app passed the check.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }

    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into() }
    }

    pub(crate) fn timeout(after: Duration) -> Self {
        let milliseconds = after.as_millis();
        Self::failed(match milliseconds % 1000 {
            0 => format!("timeout after {} s", milliseconds / 1000),
            _ => format!("timeout after {milliseconds} ms"),
        })
    }
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Failed { why } => f.write_str(why),
            Self::NotRun { why } => write!(f, "not run: {why}"),
        }
    }
}

/// Decides whether the app failed or this machine lacks a resource.
impl From<io::Error> for ProbeResult {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::NotRun {
                why: "too many open files".to_owned(),
            },
            Some(Errno::NOMEM | Errno::NOBUFS) => Self::NotRun {
                why: "out of memory".to_owned(),
            },
            // From creating a process or a thread; socket operations never get here with it.
            Some(Errno::AGAIN) => Self::NotRun {
                why: "too many processes".to_owned(),
            },
            // Short texts for common errors. Other errors have no kind, but a text.
            Some(_) if error.kind().to_string().starts_with("uncategorized") => {
                Self::failed(error.to_string())
            }
            _ => Self::failed(error.kind().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_few_words() {
        let from = |errno: Errno| ProbeResult::from(io::Error::from(errno)).to_string();
        for (result, words) in [
            (from(Errno::CONNREFUSED), "connection refused"),
            (from(Errno::CONNRESET), "connection reset"),
            (from(Errno::HOSTUNREACH), "host unreachable"),
            (from(Errno::NETUNREACH), "network unreachable"),
            (from(Errno::ACCESS), "permission denied"),
            (from(Errno::MFILE), "not run: too many open files"),
            (from(Errno::AGAIN), "not run: too many processes"),
            (ProbeResult::Ready.to_string(), "ready"),
        ] {
            assert_eq!(result, words);
        }
        for (milliseconds, words) in [
            (1000, "timeout after 1 s"),
            (60_000, "timeout after 60 s"),
            (1500, "timeout after 1500 ms"),
            (50, "timeout after 50 ms"),
        ] {
            let result = ProbeResult::timeout(Duration::from_millis(milliseconds));
            assert_eq!(result.to_string(), words);
        }
    }
}
