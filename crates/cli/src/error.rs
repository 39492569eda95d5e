//! The error type of the command line, with the exit status and advice for each error.

use camino::Utf8PathBuf;
use daemon_model::{Diagnostics, SelectError};
use pm2_client::{AdapterError, LaunchError};

use crate::exit::Exit;
use reconcile::FailureKind;
use reconcile::LockError;
use reconcile::StartError;
use reconcile::definitions::DefinitionsError;
use reconcile::import::ImportError;
use reconcile::pass::PassError;
use reconcile::rollout::DecreeError;
use reconcile::{ConfigError, SETTINGS_FILE, SettingsError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The configuration cannot be resolved.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A pass ended early.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// No decision was made.
    #[error(transparent)]
    Decree(#[from] DecreeError),
    /// A given file cannot be read.
    #[error("cannot read `{path}`")]
    ReadFile {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The arguments conflict.
    #[error("{0}")]
    Usage(&'static str),
    /// File changes cannot be watched.
    #[error(transparent)]
    Engine(#[from] reconcile::EngineError),
    /// The watcher could not be started or stopped under PM2.
    #[error(transparent)]
    WatcherModule(#[from] reconcile::watcher_module::WatcherModuleError),
    /// The import failed.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// Data cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
}

impl From<DefinitionsError> for CommandError {
    fn from(error: DefinitionsError) -> Self {
        Self::Pass(error.into())
    }
}

impl From<AdapterError> for CommandError {
    fn from(error: AdapterError) -> Self {
        Self::Pass(error.into())
    }
}

impl CommandError {
    /// The exit status.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let of_kind = |kind| match kind {
            FailureKind::Usage => Exit::Usage,
            FailureKind::Interrupted => Exit::Interrupted,
            FailureKind::Pm2 => Exit::NoPm2,
            FailureKind::Other => Exit::Failed,
        };
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Pass(error) => of_kind(error.kind()),
            Self::WatcherModule(error) => of_kind(error.kind()),
            Self::Import(error) => of_kind(error.kind()),
            Self::Decree(error) => of_kind(error.kind()),
            Self::Config(_)
            | Self::ReadFile { .. }
            | Self::Engine(_)
            | Self::Signals(_)
            | Self::Output(_) => Exit::Failed,
        }
    }

    /// If the settings file is invalid: its name, its content and the findings.
    #[must_use]
    pub fn settings(&self) -> Option<(&str, &[u8], &Diagnostics)> {
        match self {
            Self::Config(ConfigError::Settings(SettingsError::Invalid { diagnostics, text })) => {
                Some((SETTINGS_FILE, text, diagnostics))
            }
            _ => None,
        }
    }

    /// How to fix it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Pass(error) | Self::Decree(DecreeError::Pass(error)) => pass_hint(error),
            Self::Decree(DecreeError::OnHold { daemon, .. }) => {
                Some(format!("`pm2-sync release {daemon}` ends the hold"))
            }
            Self::Decree(
                DecreeError::NoEntry { daemon, .. } | DecreeError::NothingToGoBackTo { daemon },
            ) => Some(format!("`pm2-sync history {daemon}` lists all entries")),
            Self::Import(ImportError::NotRunning(_)) => Some(
                "`pm2-sync import FILE` imports a config; `--dump FILE` imports a saved process list"
                    .to_owned(),
            ),
            Self::Import(ImportError::Evaluate { .. }) => Some(
                "PM2 evaluates a config in the same way: `node -e \"require('./FILE')\"` shows the full error"
                    .to_owned(),
            ),
            Self::Import(ImportError::Taken(_)) => {
                Some("remove it, or name another file".to_owned())
            }
            Self::Import(ImportError::NoScript(_)) => {
                Some("name one: `pm2-sync init ./server.js`".to_owned())
            }
            _ => None,
        }
    }
}

/// How to fix a failed pass.
fn pass_hint(error: &PassError) -> Option<String> {
    match error {
            PassError::Start(StartError::NoCommand) => Some(
                "install it with `npm install pm2`, or name it with `--pm2 PATH` or `PM2_SYNC_PM2`".to_owned(),
            ),
            PassError::Select(error) => Some(of_id(error)),
            PassError::WrongConfirmation { code, .. } => Some(match code {
                Some(code) => {
                    format!("the set of removals has changed: check `pm2-sync plan`, then run `pm2-sync sync --confirm {code}`")
                }
                None => "no removal is on hold: omit `--confirm`".to_owned(),
            }),
            PassError::Lock(LockError::OtherUser { uid, .. })
            | PassError::Pm2(AdapterError::OtherUser { uid, .. }) => Some(format!(
                "run pm2-sync as that user (`sudo -u '#{uid}' pm2-sync ...`), or name your own PM2 with `--pm2-home DIR`"
            )),
            PassError::Lock(LockError::Held { .. }) => {
                Some("wait for it to finish, or wait longer with `--lock-timeout SECONDS`".to_owned())
            }
            PassError::Pm2(AdapterError::Timeout { .. }) => {
                Some("PM2 is running but does not answer: see `pm2 logs PM2`".to_owned())
            }
            PassError::Pm2Ended { log, .. } => {
                Some(format!("`{log}` may say why; the next sync starts PM2 again"))
            }
            PassError::Start(StartError::Launch(LaunchError::Home { .. })) => {
                Some("free space on its disk, or name another home with `--pm2-home DIR`".to_owned())
            }
            PassError::Definitions(DefinitionsError::Scan(_)) => Some(
                "restore the directory, or name another workspace with `--workspace DIR`; processes are left as they are"
                    .to_owned(),
            ),
            _ => None,
    }
}

/// What to write instead of an unknown or ambiguous ID.
fn of_id(error: &SelectError) -> String {
    match error {
        SelectError::Unknown { near, .. } if !near.is_empty() => {
            let near: Vec<String> = near.iter().map(|id| format!("`{id}`")).collect();
            format!("did you mean {}?", near.join(" or "))
        }
        SelectError::Ambiguous { .. } => "write one of these instead".to_owned(),
        _ => "`pm2-sync status` lists all daemons".to_owned(),
    }
}
