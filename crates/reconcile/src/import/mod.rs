//! Imports definitions from PM2's configs, its list of processes, and its dump.

mod config_file;
mod evaluate;
mod group;
mod inherited;
mod note;
mod place;
mod record;
mod running;
mod secrets;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{InvalidId, Message, attribute};
use edn_render::Unprintable;
use pm2_client::{AdapterError, StopFlag};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::definitions::DefinitionsError;
use crate::error::FailureKind;

pub use note::Note;
pub use place::{EnvFile, Import, NewDefinition, PlaceState};

pub(crate) use place::create;

/// How apps are grouped into definitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grouping {
    /// One definition for each app, named after it.
    #[default]
    App,
    /// One definition for each PM2 namespace.
    Namespace,
    /// One definition for each config.
    File,
}

/// The options of an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The folder below the tree of definitions in which to put them; none: the tree itself.
    pub into: Option<Utf8PathBuf>,
    /// How apps are grouped.
    pub by: Grouping,
    /// The env file for values that look like secrets; without one, they stay in the definitions.
    pub extract_secrets: Option<Utf8PathBuf>,
}

/// Apps that are not grouped into definitions yet. `Debug` shows no values.
pub struct Imported {
    /// The config; none for running processes.
    file: Option<Utf8PathBuf>,
    apps: Vec<Map<String, Value>>,
    /// Top-level keys of the config other than the apps.
    beside: Map<String, Value>,
    notes: Vec<Note>,
}

impl std::fmt::Debug for Imported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imported")
            .field("file", &self.file)
            .field("apps", &self.apps.len())
            .finish_non_exhaustive()
    }
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    ReadFile {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A config cannot be evaluated.
    #[error("cannot evaluate `{path}`: {}", .message.full())]
    Evaluate {
        /// The config.
        path: Utf8PathBuf,
        /// The cause.
        message: Message,
    },
    /// A config has no apps, or the file is not a config.
    #[error("`{path}` has no apps: expected `apps`, a list of them, or one app with a `script`")]
    NoApps {
        /// The file.
        path: Utf8PathBuf,
    },
    /// The file is not a dump.
    #[error("`{path}` is not a PM2 dump: expected a list of processes")]
    NoDump {
        /// The file.
        path: Utf8PathBuf,
    },
    /// PM2 is not running.
    #[error("PM2 is not running in `{0}`, so there is nothing to import")]
    NotRunning(Utf8PathBuf),
    /// PM2 does not answer.
    #[error(transparent)]
    Pm2(#[from] AdapterError),
    /// The existing definitions cannot be read.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The folder cannot hold definitions.
    #[error("`--into` does not name a folder for definitions")]
    Into(#[source] InvalidId),
    /// An app cannot be expressed as a definition.
    #[error("cannot write `{definition}`")]
    Unprintable {
        /// The definition.
        definition: Utf8PathBuf,
        /// The cause.
        source: Unprintable,
    },
    /// Another file is at the target path.
    #[error("`{0}` already exists, and is not overwritten")]
    Taken(Utf8PathBuf),
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// No script was found.
    #[error("found no script in `{0}`")]
    NoScript(Utf8PathBuf),
}

impl ImportError {
    /// The kind of the failure, from which the caller chooses an exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Pm2(error) => FailureKind::of_call(error),
            Self::NotRunning(_) => FailureKind::Pm2,
            Self::Into(_) => FailureKind::Usage,
            Self::Interrupted => FailureKind::Interrupted,
            _ => FailureKind::Other,
        }
    }
}

/// Reads the apps of configs, as `pm2 start FILE` does in the caller's directory.
///
/// # Errors
/// [`ImportError::ReadFile`], [`ImportError::Evaluate`] and [`ImportError::NoApps`] when a config cannot be read, cannot be
/// evaluated, or has no apps.
pub fn read_configs(
    files: &[Utf8PathBuf],
    config: &Config,
    stop: &StopFlag,
) -> Result<Vec<Imported>, ImportError> {
    let read = |file: &Utf8PathBuf| config_file::import(file, config, stop);
    files.iter().map(read).collect()
}

/// Reads the apps that PM2 runs.
///
/// # Errors
/// [`ImportError::NotRunning`] when PM2 does not run, and [`ImportError::Pm2`] when it does not answer.
pub fn read_running(config: &Config, stop: &StopFlag) -> Result<Vec<Imported>, ImportError> {
    Ok(vec![running::import_running(config, stop)?])
}

/// Reads the apps of a PM2 dump.
///
/// # Errors
/// [`ImportError::ReadFile`] when the file cannot be read, and [`ImportError::NoDump`] when it is not a dump.
pub fn read_dump(file: &Utf8Path, config: &Config) -> Result<Vec<Imported>, ImportError> {
    Ok(vec![running::import_dump(file, config)?])
}

/// The name that PM2 gives an app.
fn name_of(app: &Map<String, Value>) -> String {
    let text = |key: &str| app.get(key).and_then(Value::as_str);
    if let Some(name) = text("name").filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    let names = attribute::by_own_name("script").into_iter();
    let mut names = names.flat_map(attribute::Attribute::names);
    let script = names.find_map(|name| app.get(&name)?.as_str().map(ToOwned::to_owned));
    daemon_model::default_app_name(&script.unwrap_or_default())
}

/// Makes git ignore a file of the workspace, unless it does already.
fn ignore(config: &Config, path: &Utf8Path) -> Result<(), ImportError> {
    match path.strip_prefix(config.root()) {
        Ok(inside) => crate::init::ignore(config.root(), &format!("/{inside}")),
        Err(_) => Ok(()),
    }
}
