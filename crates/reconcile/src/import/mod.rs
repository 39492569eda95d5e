//! Definitions from PM2's configs, its list of processes, and its dump.

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

/// How apps are put together into definitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grouping {
    /// One definition for each app, named for it.
    #[default]
    App,
    /// One for each namespace of PM2.
    Namespace,
    /// One for each config.
    File,
}

/// What an import does.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The folder below the tree of definitions that they go to; none: the tree itself.
    pub into: Option<Utf8PathBuf>,
    /// How apps are put together.
    pub by: Grouping,
    /// The env file for values that look like secrets; without one, they stay.
    pub extract_secrets: Option<Utf8PathBuf>,
}

/// Apps, before they are put into definitions. `Debug` shows no values.
pub struct Imported {
    /// The config; none for what PM2 runs.
    file: Option<Utf8PathBuf>,
    apps: Vec<Map<String, Value>>,
    /// What is beside the apps.
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

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    ReadFile {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A config cannot be evaluated.
    #[error("cannot evaluate `{path}`: {}", .message.full())]
    Evaluate {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        message: Message,
    },
    /// A config has no apps, or is none.
    #[error("`{path}` has no apps: expected `apps`, a list of them, or one app with a `script`")]
    NoApps {
        /// Which one.
        path: Utf8PathBuf,
    },
    /// A file is no dump.
    #[error("`{path}` is not a PM2 dump: expected a list of processes")]
    NoDump {
        /// Which one.
        path: Utf8PathBuf,
    },
    /// There is no PM2 to ask.
    #[error("PM2 is not running in `{0}`, so there is nothing to import")]
    NotRunning(Utf8PathBuf),
    /// PM2 gives no answer.
    #[error(transparent)]
    Pm2(#[from] AdapterError),
    /// The definitions that are there cannot be read.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The folder cannot hold definitions.
    #[error("`--into` does not name a folder for definitions")]
    Into(#[source] InvalidId),
    /// No definition says what an app says.
    #[error("cannot write `{definition}`")]
    Unprintable {
        /// The definition.
        definition: Utf8PathBuf,
        /// Why.
        source: Unprintable,
    },
    /// Another file is at the target path.
    #[error("`{0}` already exists, and is not overwritten")]
    Taken(Utf8PathBuf),
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// There is no script to define.
    #[error("found no script in `{0}`")]
    NoScript(Utf8PathBuf),
}

impl ImportError {
    /// What the failure means for the caller.
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
/// [`ImportError::ReadFile`], [`ImportError::Evaluate`] and [`ImportError::NoApps`] when one of them cannot be used.
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
/// [`ImportError::NotRunning`] and [`ImportError::Pm2`] when PM2 cannot be asked.
pub fn read_running(config: &Config, stop: &StopFlag) -> Result<Vec<Imported>, ImportError> {
    Ok(vec![running::import_running(config, stop)?])
}

/// Reads the apps of a dump of PM2.
///
/// # Errors
/// [`ImportError::ReadFile`] and [`ImportError::NoDump`] when it cannot be used.
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
