//! The one error of the command line: exit status and advice for each.

use camino::Utf8PathBuf;
use edn_render::artifact::ArtifactError;
use pm2_client::AdapterError;

use crate::config::ConfigError;
use crate::definitions::DefinitionsError;
use crate::exit;
use crate::lock::LockError;
use crate::pass::PassError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A pass could not do its work.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A file that was named cannot be read.
    #[error("cannot read `{path}`")]
    ReadFile {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(&'static str),
    /// Changes of files cannot be watched.
    #[error(transparent)]
    Watch(#[from] watcher::WatchError),
    /// The watcher could not be started or stopped under PM2.
    #[error(transparent)]
    Supervised(#[from] crate::supervised::SupervisedError),
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

impl From<DefinitionsError> for CommandError {
    fn from(error: DefinitionsError) -> Self {
        Self::Pass(error.into())
    }
}

impl From<ArtifactError> for CommandError {
    fn from(error: ArtifactError) -> Self {
        Self::Pass(error.into())
    }
}

impl From<AdapterError> for CommandError {
    fn from(error: AdapterError) -> Self {
        Self::Pass(error.into())
    }
}

impl CommandError {
    /// The status that the command exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Pass(
                PassError::UnknownId { .. }
                | PassError::WrongConfirmation { .. }
                | PassError::Definitions(
                    DefinitionsError::UnknownMode { .. } | DefinitionsError::UnknownEnv { .. },
                ),
            ) => exit::USAGE,
            Self::Pass(PassError::Pm2(_) | PassError::Launch(_) | PassError::NoPm2Command) => {
                exit::NO_PM2
            }
            _ => exit::FAILED,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Pass(PassError::NoPm2Command) => Some(
                "install it with `npm install pm2`, or name it with `--pm2 PATH` or `PM2_SYNC_PM2`".to_owned(),
            ),
            Self::Pass(PassError::UnknownId { near, .. }) => Some(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`pm2-sync status` lists all daemons".to_owned(),
            }),
            Self::Pass(PassError::WrongConfirmation { code, .. }) => Some(match code {
                Some(code) => {
                    format!("what would be removed has changed: look at `pm2-sync plan`, then `pm2-sync sync --confirm {code}`")
                }
                None => "nothing is held now: leave out `--confirm`".to_owned(),
            }),
            Self::Pass(PassError::Lock(LockError::Held { .. })) => {
                Some("wait for it to finish, or wait longer with `--lock-timeout SECONDS`".to_owned())
            }
            Self::Pass(PassError::Pm2(AdapterError::Timeout { .. })) => {
                Some("PM2 is running but does not answer: look at `pm2 logs PM2`".to_owned())
            }
            Self::Pass(PassError::Definitions(DefinitionsError::Scan(_))) => Some(
                "bring the directory back, or name another workspace with `--workspace DIR`; processes are left as they are"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
