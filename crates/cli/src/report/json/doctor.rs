//! `doctor`

use schemars::JsonSchema;
use serde::Serialize;

use super::Output;
use crate::commands::doctor::{Finding, Grade};

/// What `doctor` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorOutput {
    /// Whether there is no fault.
    pub ok: bool,
    /// What was found.
    pub findings: Vec<FindingOutput>,
}

impl Output for DoctorOutput {
    const COMMAND: &'static str = "doctor";
}

/// The result of one check.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FindingOutput {
    /// What was checked.
    pub about: String,
    /// How serious it is.
    pub grade: GradeOutput,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GradeOutput {
    /// All is well.
    Ok,
    /// It works, with limitations.
    Warning,
    /// Something does not work.
    Fault,
}

impl DoctorOutput {
    /// These findings.
    #[must_use]
    pub fn new(findings: &[Finding]) -> Self {
        let outputs = findings.iter().map(|finding| FindingOutput {
            about: finding.about.to_owned(),
            grade: match finding.grade {
                Grade::Ok => GradeOutput::Ok,
                Grade::Warning => GradeOutput::Warning,
                Grade::Fault => GradeOutput::Fault,
            },
            found: finding.found.clone(),
            advice: finding.advice.clone(),
        });
        Self {
            ok: findings.iter().all(|it| it.grade != Grade::Fault),
            findings: outputs.collect(),
        }
    }
}
