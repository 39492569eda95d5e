//! The result of one check.

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Everything works.
    Ok,
    /// It works, with limitations.
    Warning,
    /// Something does not work.
    Fault,
}

/// The result of one check.
#[derive(Debug)]
pub struct Finding {
    /// What was checked.
    pub about: &'static str,
    /// The severity.
    pub grade: Grade,
    /// The result.
    pub found: String,
    /// How to fix it.
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Self {
            about,
            grade: Grade::Ok,
            found: found.into(),
            advice: None,
        }
    }

    pub(super) fn warning(
        about: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            about,
            grade: Grade::Warning,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    pub(super) fn fault(
        about: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            grade: Grade::Fault,
            ..Self::warning(about, found, advice)
        }
    }
}
