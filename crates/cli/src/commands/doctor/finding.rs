//! The result of one check.

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could.
    Warning,
    /// Something does not work.
    Fault,
}

/// The result of one examination.
#[derive(Debug)]
pub struct Finding {
    /// What was examined.
    pub about: &'static str,
    /// How serious it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do about it.
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
