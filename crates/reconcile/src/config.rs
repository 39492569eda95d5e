//! Resolves arguments, settings file and environment to one [`Config`].

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, EnvPolicy, Layout, OnRemove, PmId, Policy};
use edn_render::fallback::Renderer;
use pm2_client::{LocalHost, StopFlag, find_in_path};

use crate::environment::Environment;
use crate::pm2_clj::Pm2Clj;
use crate::settings::{SETTINGS_FILE, Settings, SettingsError};
use crate::state::StateDir;
use crate::trust::{Foreign, foreign_in_workspace, is_trusted_pm2};

/// Everything a pass needs to know before it begins.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the workspace's files are. The root is canonical.
    pub layout: Layout,
    /// PM2's home.
    pub pm2_home: Utf8PathBuf,
    /// The command that starts PM2, if one was found.
    pub pm2: Option<Utf8PathBuf>,
    /// The user's home.
    pub home: Utf8PathBuf,
    /// The `:profiles` entry that is merged over the definitions.
    pub mode: Option<String>,
    /// The `env_NAME` block that is merged over `env`.
    pub env_name: Option<String>,
    /// Names or globs of inherited variables in addition to the base set.
    pub pass_env: Vec<String>,
    /// Whether `${NAME}` is replaced in definitions that do not choose.
    pub interpolate: bool,
    /// Whether references count as present without being read, for work on definitions alone.
    pub assume_values: bool,
    /// What to do with processes that have lost their definition.
    pub on_remove: OnRemove,
    /// The renderer to use.
    pub renderer: Renderer,
    /// The reference renderer, if one is configured.
    pub pm2_clj: Option<Pm2Clj>,
    /// The ambient environment.
    pub environment: Environment,
}

/// Values that override the settings file and the environment, such as a command line's flags.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The workspace; none: the nearest one upwards from the current directory.
    pub workspace: Option<Utf8PathBuf>,
    /// PM2's home.
    pub pm2_home: Option<Utf8PathBuf>,
    /// The command that starts PM2.
    pub pm2: Option<Utf8PathBuf>,
    /// The mode, an entry of `:profiles`.
    pub mode: Option<String>,
    /// The environment name, of an `env_NAME` block.
    pub env: Option<String>,
    /// The renderer to use.
    pub renderer: Renderer,
}

/// Where PM2 is. Unlike a [`Config`], it does not need a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pm2Location {
    /// PM2's home, spelled as PM2 spells it.
    pub home: Utf8PathBuf,
    /// The command that starts PM2, if one was found.
    pub command: Option<Utf8PathBuf>,
}

impl Pm2Location {
    /// Resolves both. The search for `node_modules/.bin/pm2` starts at `from` and goes upwards; pass the workspace's root, if there
    /// is one.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`] when PM2's home is not known, [`ConfigError::NoCurrentDirectory`] when a relative path cannot be
    /// resolved because the current directory cannot be used.
    pub fn resolve(
        overrides: &Overrides,
        from: &Utf8Path,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let home = overrides
            .pm2_home
            .clone()
            .or_else(|| environment.var("PM2_HOME").map(Utf8PathBuf::from))
            .or_else(|| environment.home().map(|home| home.join(".pm2")))
            .ok_or(ConfigError::NoHome)?;
        let command = match &overrides.pm2 {
            Some(command) => Some(absolute(command, environment)?),
            None => find_pm2(from, environment),
        };
        Ok(Self {
            home: canonical(absolute(&home, environment)?),
            command,
        })
    }
}

/// Why the configuration cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No workspace was found at or above the current directory.
    #[error(
        "no workspace here: neither `{0}` nor a directory above it contains `system/daemons` or `pm2-sync.edn`"
    )]
    NoWorkspace(Utf8PathBuf),
    /// The current directory cannot be used.
    #[error("the current directory does not exist or its path is not UTF-8")]
    NoCurrentDirectory,
    /// The given workspace directory does not exist.
    #[error("the workspace `{path}` cannot be used")]
    Workspace {
        /// The directory.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The workspace that was found belongs at least in part to another user.
    #[error("`{path}` belongs to another user (uid {uid}), so the workspace `{root}` is not used")]
    Untrusted {
        /// The workspace.
        root: Utf8PathBuf,
        /// What belongs to the other user.
        path: Utf8PathBuf,
        /// That user.
        uid: u32,
    },
    /// Neither a home nor PM2's home is known.
    #[error("neither `PM2_HOME` nor `HOME` is set, so PM2's home is unknown")]
    NoHome,
    /// The reference renderer is requested, but no command for it is configured.
    #[error("no command for pm2-clj is configured")]
    NoPm2Clj,
    /// The settings file cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl ConfigError {
    /// How to fix it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoWorkspace(_) => Some(format!(
                "create one with `mkdir -p system/daemons/<id>` and a file `{DEFINITION_FILE}` in it, or name one with `--workspace DIR`"
            )),
            Self::NoCurrentDirectory | Self::Workspace { .. } => {
                Some("name a directory with `--workspace DIR`".to_owned())
            }
            Self::Untrusted { root, .. } => Some(format!(
                "a workspace decides which commands are run; if you trust its owner, name it with `--workspace {root}`"
            )),
            Self::NoHome => Some("name it with `--pm2-home DIR`".to_owned()),
            Self::NoPm2Clj => Some(
                "name it as `:pm2-clj [\"node\" \"dist/pm2-clj.js\"]` in `pm2-sync.edn`, or in `PM2_SYNC_PM2_CLJ`"
                    .to_owned(),
            ),
            Self::Settings(_) => None,
        }
    }
}

impl Config {
    /// The configuration of the named workspace, or else of the one that contains the current directory.
    ///
    /// # Errors
    /// [`ConfigError::NoWorkspace`] and [`ConfigError::Untrusted`] when none was named and none can be used;
    /// [`ConfigError::NoHome`] when PM2's home is not known; [`ConfigError::NoPm2Clj`] when `overrides` request a renderer that is
    /// not configured; [`ConfigError::Workspace`] and [`ConfigError::Settings`] when the directory or the settings cannot be read.
    pub fn resolve(overrides: &Overrides, environment: Environment) -> Result<Self, ConfigError> {
        let root = root(overrides, &environment)?;
        let pm2 = Pm2Location::resolve(overrides, &root, &environment)?;
        Self::build(&root, overrides, environment, pm2)
    }

    /// As [`resolve`](Self::resolve), for work on definitions alone: if PM2's home is not known, a placeholder is used.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), [`ConfigError::NoHome`] excepted.
    pub fn resolve_without_pm2(
        overrides: &Overrides,
        environment: Environment,
    ) -> Result<Self, ConfigError> {
        let root = root(overrides, &environment)?;
        let pm2 = match Pm2Location::resolve(overrides, &root, &environment) {
            Err(ConfigError::NoHome) => Pm2Location {
                home: root.join(".pm2"),
                command: None,
            },
            location => location?,
        };
        Self::build(&root, overrides, environment, pm2)
    }

    /// As [`resolve_without_pm2`](Self::resolve_without_pm2), for commands that may create a workspace: if there is none, it is the
    /// current directory.
    ///
    /// # Errors
    /// As [`resolve_without_pm2`](Self::resolve_without_pm2), [`ConfigError::NoWorkspace`] excepted.
    pub fn resolve_or_begin(
        overrides: &Overrides,
        environment: Environment,
    ) -> Result<Self, ConfigError> {
        match Self::resolve_without_pm2(overrides, environment.clone()) {
            Err(ConfigError::NoWorkspace(here)) => {
                let workspace = Some(here);
                let overrides = Overrides {
                    workspace,
                    ..overrides.clone()
                };
                Self::resolve_without_pm2(&overrides, environment)
            }
            config => config,
        }
    }

    /// The configuration of the workspace at `root`, from its settings file and the environment.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve) with that workspace named.
    pub fn for_workspace(root: &Utf8Path, environment: Environment) -> Result<Self, ConfigError> {
        let overrides = Overrides {
            workspace: Some(root.to_owned()),
            ..Overrides::default()
        };
        Self::resolve(&overrides, environment)
    }

    fn build(
        root: &Utf8Path,
        overrides: &Overrides,
        environment: Environment,
        pm2: Pm2Location,
    ) -> Result<Self, ConfigError> {
        // Written out in full, so that no setting is forgotten here.
        let Settings {
            daemons,
            out,
            mode,
            env,
            pass_env,
            interpolate,
            on_remove,
            skip_dirs,
            pm2_clj,
        } = Settings::load(&root.join(SETTINGS_FILE))?;
        let pm2_clj = Pm2Clj::find(pm2_clj.as_deref(), root, &environment);
        if overrides.renderer == Renderer::Other && pm2_clj.is_none() {
            return Err(ConfigError::NoPm2Clj);
        }
        Ok(Self {
            layout: Layout::with_dirs(root, &daemons, &out, skip_dirs),
            home: environment.home().unwrap_or_else(|| pm2.home.clone()),
            pm2_home: pm2.home,
            pm2: pm2.command,
            mode: overrides.mode.clone().or(mode),
            env_name: overrides.env.clone().or(env),
            pass_env,
            interpolate,
            assume_values: false,
            on_remove,
            renderer: overrides.renderer,
            pm2_clj,
            environment,
        })
    }

    /// The same configuration, with waits that end soon after `stop` is set.
    #[must_use]
    pub fn with_stop(mut self, stop: &StopFlag) -> Self {
        self.pm2_clj = self.pm2_clj.map(|command| command.with_stop(stop));
        self
    }

    /// The workspace's root, canonical.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        self.layout.root()
    }

    /// The state directory of the workspace.
    #[must_use]
    pub fn state(&self) -> StateDir {
        StateDir::new(&self.pm2_home, self.root())
    }

    /// PM2's home, and which variables apps inherit.
    #[must_use]
    pub fn env_policy(&self) -> EnvPolicy {
        EnvPolicy {
            pm2_home: self.pm2_home.clone(),
            pass_env: self.pass_env.clone(),
        }
    }

    /// This machine as an environment for apps, with the variables that they inherit.
    #[must_use]
    pub fn local_host(&self) -> LocalHost {
        let base_env = self.environment.base_env(&self.env_policy());
        LocalHost::new(base_env, self.pm2.as_deref())
    }

    /// PM2's number of this process, if this PM2 runs it.
    #[must_use]
    pub fn own_pm_id(&self) -> Option<PmId> {
        let home = self.environment.var("PM2_HOME")?;
        (canonical(home.into()) == self.pm2_home)
            .then(|| self.environment.var("pm_id")?.parse().ok().map(PmId))?
    }

    /// The name of this process in PM2, if this PM2 runs it.
    #[must_use]
    pub fn own_name(&self) -> Option<&str> {
        self.own_pm_id()?;
        self.environment.var("name")
    }

    /// The policy of a pass over everything that confirms no removal.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let mut policy = Policy::new(self.root(), self.env_policy(), self.environment.cpus());
        policy.home.clone_from(&self.home);
        policy.on_remove = self.on_remove;
        policy.own = self.own_pm_id();
        let variables = self.environment.vars().keys();
        let passed = variables.filter(|name| policy.env_policy.passes(name));
        policy.passed = Some(passed.cloned().collect());
        policy
    }
}

fn absolute(path: &Utf8Path, environment: &Environment) -> Result<Utf8PathBuf, ConfigError> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let cwd = environment.cwd().ok_or(ConfigError::NoCurrentDirectory)?;
    Ok(daemon_model::paths::resolve(cwd, path.as_str()))
}

/// The canonical spelling of a directory that may not exist yet: PM2 writes it into every record.
fn canonical(path: Utf8PathBuf) -> Utf8PathBuf {
    if let Ok(canonical) = path.canonicalize_utf8() {
        return canonical;
    }
    match (
        path.parent().map(Utf8Path::canonicalize_utf8),
        path.file_name(),
    ) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// The root of the workspace, canonical: the named one, or the nearest one at or above the current directory. One that was found
/// must belong to the caller or to root.
fn root(overrides: &Overrides, environment: &Environment) -> Result<Utf8PathBuf, ConfigError> {
    let named = overrides.workspace.as_deref();
    let found = match named {
        Some(dir) => absolute(dir, environment)?,
        None => find_workspace(environment.cwd().ok_or(ConfigError::NoCurrentDirectory)?)?,
    };
    let root = found
        .canonicalize_utf8()
        .map_err(|source| ConfigError::Workspace {
            path: found.clone(),
            source,
        })?;
    if named.is_none()
        && let Some(Foreign { path, uid }) = foreign_in_workspace(&root, environment)
    {
        return Err(ConfigError::Untrusted { root, path, uid });
    }
    Ok(root)
}

fn find_workspace(from: &Utf8Path) -> Result<Utf8PathBuf, ConfigError> {
    from.ancestors()
        .find(|dir| dir.join("system/daemons").is_dir() || dir.join(SETTINGS_FILE).is_file())
        .map(Utf8Path::to_owned)
        .ok_or_else(|| ConfigError::NoWorkspace(from.to_owned()))
}

/// `$PM2_SYNC_PM2`, the nearest `node_modules/.bin/pm2` from the workspace upwards, or `pm2` in PATH. Above the workspace, those of
/// other users are skipped.
fn find_pm2(root: &Utf8Path, environment: &Environment) -> Option<Utf8PathBuf> {
    environment
        .var("PM2_SYNC_PM2")
        .map(Utf8PathBuf::from)
        .or_else(|| {
            root.ancestors()
                .filter(|dir| dir.join("node_modules/.bin/pm2").is_file())
                .find(|dir| *dir == root || is_trusted_pm2(dir, environment))
                .map(|dir| dir.join("node_modules/.bin/pm2"))
        })
        .or_else(|| find_in_path("pm2", environment.var("PATH").unwrap_or("")))
}
