//! Findings about paths of the tree of definitions.

use std::ffi::OsStr;
use std::path::Path;

use daemon_model::{DEFINITION_FILE, Misnamed, Severity};
use watcher::{Problem, ProblemKind};

use super::EnvFileFinding;
use crate::config::Config;

/// A finding about a path of the tree, as opposed to the content of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFinding {
    /// The path, relative to the workspace if it is below it.
    pub path: String,
    /// The line, from 1, if the finding is about one.
    pub line: Option<usize>,
    /// Its severity.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: Option<&'static str>,
    /// Whether it is about an env file. The definitions that name the file report it, too.
    pub is_env_file: bool,
}

impl TreeFinding {
    pub(super) fn error(problem: &Problem, config: &Config) -> Self {
        Self {
            path: shown_path(&problem.path, config),
            line: None,
            severity: Severity::Error,
            message: describe(&problem.kind),
            help: None,
            is_env_file: false,
        }
    }

    pub(super) fn misnamed(path: &Path, config: &Config) -> Self {
        let name = path.file_name().and_then(OsStr::to_str);
        Self {
            path: shown_path(path, config),
            line: None,
            severity: Severity::Warning,
            message: format!("not read, because definitions are named `{DEFINITION_FILE}`"),
            help: name.and_then(Misnamed::of).map(Misnamed::advice),
            is_env_file: false,
        }
    }

    /// The finding for an env file.
    #[must_use]
    pub fn env_file(found: &EnvFileFinding) -> Self {
        Self {
            path: found.file.clone(),
            line: found.line,
            severity: match found.is_error {
                true => Severity::Error,
                false => Severity::Warning,
            },
            message: found.message.clone(),
            help: None,
            is_env_file: true,
        }
    }

    /// The path, with the line if there is one.
    #[must_use]
    pub fn place(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.path),
            None => self.path.clone(),
        }
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// A path for messages: relative to the workspace if it is below it.
fn shown_path(path: &Path, config: &Config) -> String {
    let root = config.root().as_std_path();
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn describe(kind: &ProblemKind) -> String {
    match kind {
        ProblemKind::InvalidId(error) => error.to_string(),
        ProblemKind::NotUtf8 => {
            "the path is not UTF-8, so it cannot be the ID of a daemon".to_owned()
        }
        ProblemKind::UnlistableDir(error) => {
            format!("cannot be listed ({error}): the daemons below it are left as they are")
        }
        other => format!("cannot be inspected: {other:?}"),
    }
}
