//! From arguments, settings file and environment to one [`Config`].

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
    /// Which of `:profiles` is merged over the definitions.
    pub mode: Option<String>,
    /// Which `env_NAME` block is merged over `env`.
    pub env_name: Option<String>,
    /// Names or globs of inherited variables besides the base.
    pub pass_env: Vec<String>,
    /// Whether `${NAME}` is replaced in definitions that do not say otherwise.
    pub interpolate: bool,
    /// Whether references count as present without being read: for work on definitions alone.
    pub assume_values: bool,
    /// What is done with processes that have lost their definition.
    pub on_remove: OnRemove,
    /// Who renders.
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
    /// Which of `:profiles`.
    pub mode: Option<String>,
    /// Which `env_NAME`.
    pub env: Option<String>,
    /// Which renderer is used.
    pub renderer: Renderer,
}

/// Where PM2 is. Unlike a [`Config`] it can be known without a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pm2Location {
    /// PM2's home, in the spelling that PM2 uses.
    pub home: Utf8PathBuf,
    /// The command that starts PM2, if one was found.
    pub command: Option<Utf8PathBuf>,
}

impl Pm2Location {
    /// Resolves both. `from` is the directory from which `node_modules/.bin/pm2` is searched upwards: the workspace's root,
    /// if there is one.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`] when PM2's home is not known, [`ConfigError::NoCurrentDirectory`] when a path is relative
    /// to a directory that cannot be used.
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

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No workspace above the current directory.
    #[error(
        "no workspace here: neither `{0}` nor a directory above it holds `system/daemons` or `pm2-sync.edn`"
    )]
    NoWorkspace(Utf8PathBuf),
    /// The current directory cannot be used.
    #[error("the current directory does not exist or its path is not UTF-8")]
    NoCurrentDirectory,
    /// The directory that was given does not exist.
    #[error("the workspace `{path}` cannot be used")]
    Workspace {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The workspace that was found belongs to another user, in whole or in part.
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
    /// The reference renderer is asked for, but no command for it is known.
    #[error("no command for pm2-clj is configured")]
    NoPm2Clj,
    /// The settings file cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl ConfigError {
    /// What to do about it.
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
    /// The configuration of the workspace that was named, or else of the one that holds the current directory.
    ///
    /// # Errors
    /// [`ConfigError::NoWorkspace`] and [`ConfigError::Untrusted`] when none was named and none can be used;
    /// [`ConfigError::NoHome`] when PM2's home is not known; [`ConfigError::NoPm2Clj`] when `overrides` ask for a renderer
    /// that is not configured; [`ConfigError::Workspace`] and [`ConfigError::Settings`] when one cannot be read.
    pub fn resolve(overrides: &Overrides, environment: Environment) -> Result<Self, ConfigError> {
        let root = root(overrides, &environment)?;
        let pm2 = Pm2Location::resolve(overrides, &root, &environment)?;
        Self::build(&root, overrides, environment, pm2)
    }

    /// As [`resolve`](Self::resolve), for work on definitions alone: where PM2's home is not known, one is assumed that is
    /// never used.
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

    /// As [`resolve_without_pm2`](Self::resolve_without_pm2), for work that may begin a workspace: where there is none, it is the
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

    /// The configuration of the workspace at `root`, as its settings file and the environment say.
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
        // Written out, so that no setting is forgotten here.
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

    /// The same configuration for work that ends soon after `stop` is set: what it waits for is given up.
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

    /// Where the state of the workspace is kept.
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

    /// This machine, as it starts apps: with the variables that they inherit.
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

    /// The policy of a pass over everything that confirms nothing.
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

/// The one spelling of a directory that may not exist yet: PM2 writes it into every record.
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

/// The root of the workspace, canonical: the one that was named, or the nearest one upwards from the current directory. One
/// that was found has to belong to the caller or to root.
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

/// `$PM2_SYNC_PM2`, the nearest `node_modules/.bin/pm2` from the workspace upwards, PATH. Above the workspace, those of other
/// users are passed over.
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
