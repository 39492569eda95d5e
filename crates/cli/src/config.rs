//! From arguments, settings file and environment to one [`Config`].

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, Layout, OnRemove, Policy, Surroundings};

use edn_render::fallback::Renderer;

use crate::args::{GlobalArgs, VariantArgs};
use crate::environment::{Environment, find_in_path};
use crate::pm2_clj::Pm2Clj;
use crate::settings::{SETTINGS_FILE, Settings, SettingsError};

/// Everything a pass needs to know before it begins.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the workspace's files lie. The root is canonical.
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
    /// What is done with what has lost its definition.
    pub on_remove: OnRemove,
    /// Who renders.
    pub renderer: Renderer,
    /// The reference renderer, if one is configured.
    pub pm2_clj: Option<Pm2Clj>,
    /// The ambient environment.
    pub environment: Environment,
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
                "make one with `mkdir -p system/daemons/<id>` and a file `{DEFINITION_FILE}` in it, or name one with `--workspace DIR`"
            )),
            Self::NoCurrentDirectory | Self::Workspace { .. } => {
                Some("name a directory with `--workspace DIR`".to_owned())
            }
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
    /// Puts it together; flags win over the settings file.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no workspace, no home, or the settings file is broken.
    pub fn load(
        global: &GlobalArgs,
        variant: &VariantArgs,
        environment: Environment,
    ) -> Result<Self, ConfigError> {
        let root = match &global.workspace {
            Some(dir) => absolute(dir, &environment)?,
            None => find_workspace(environment.cwd().ok_or(ConfigError::NoCurrentDirectory)?)?,
        };
        let mut config = Self::for_workspace(&root, environment)?;
        if let Some(home) = &global.pm2_home {
            config.pm2_home = canonical(absolute(home, &config.environment)?);
        }
        if let Some(pm2) = &global.pm2 {
            config.pm2 = Some(absolute(pm2, &config.environment)?);
        }
        if variant.mode.is_some() {
            config.mode.clone_from(&variant.mode);
        }
        if variant.env.is_some() {
            config.env_name.clone_from(&variant.env);
        }
        config.renderer = variant.renderer.into();
        if config.renderer == Renderer::Other && config.pm2_clj.is_none() {
            return Err(ConfigError::NoPm2Clj);
        }
        Ok(config)
    }

    /// The configuration of the workspace at `root`, as its settings file and the environment say.
    ///
    /// # Errors
    /// [`ConfigError`] when the root or its settings cannot be used, or no home is known.
    pub fn for_workspace(root: &Utf8Path, environment: Environment) -> Result<Self, ConfigError> {
        let root = root
            .canonicalize_utf8()
            .map_err(|source| ConfigError::Workspace {
                path: root.to_owned(),
                source,
            })?;
        let settings = Settings::load(&root.join(SETTINGS_FILE))?;
        let home = environment.home();
        let pm2_home = environment
            .var("PM2_HOME")
            .map(Utf8PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".pm2")))
            .ok_or(ConfigError::NoHome)?;
        let pm2_home = canonical(absolute(&pm2_home, &environment)?);
        let pm2 = find_pm2(&root, &environment);
        let pm2_clj = Pm2Clj::find(settings.pm2_clj.as_deref(), &root, &environment);
        Ok(Self {
            layout: Layout::with_dirs(&root, &settings.daemons, &settings.out, settings.skip_dirs),
            home: home.unwrap_or_else(|| pm2_home.clone()),
            pm2_home,
            pm2,
            mode: settings.mode,
            env_name: settings.env,
            pass_env: settings.pass_env,
            on_remove: settings.on_remove,
            renderer: Renderer::Auto,
            pm2_clj,
            environment,
        })
    }

    /// The workspace's root, canonical.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        self.layout.root()
    }

    /// PM2's surroundings.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        Surroundings {
            pm2_home: self.pm2_home.clone(),
            pass_env: self.pass_env.clone(),
        }
    }

    /// PM2's number of this process, if this PM2 runs it.
    #[must_use]
    pub fn own_pm_id(&self) -> Option<u32> {
        let home = self.environment.var("PM2_HOME")?;
        (canonical(home.into()) == self.pm2_home)
            .then(|| self.environment.var("pm_id")?.parse().ok())?
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
        Policy {
            workspace: self.root().to_owned(),
            around: self.surroundings(),
            cpus: Environment::cpus(),
            prune: true,
            defer_removal: false,
            on_remove: self.on_remove,
            confirmed: None,
            adopt: true,
            only: None,
            except: std::collections::BTreeSet::new(),
            last_wishes: std::collections::BTreeMap::new(),
            own: self.own_pm_id(),
        }
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

fn find_workspace(from: &Utf8Path) -> Result<Utf8PathBuf, ConfigError> {
    from.ancestors()
        .find(|dir| dir.join("system/daemons").is_dir() || dir.join(SETTINGS_FILE).is_file())
        .map(Utf8Path::to_owned)
        .ok_or_else(|| ConfigError::NoWorkspace(from.to_owned()))
}

/// `$PM2_SYNC_PM2`, the nearest `node_modules/.bin/pm2` from the workspace upwards, PATH.
fn find_pm2(root: &Utf8Path, environment: &Environment) -> Option<Utf8PathBuf> {
    environment
        .var("PM2_SYNC_PM2")
        .map(Utf8PathBuf::from)
        .or_else(|| {
            root.ancestors()
                .map(|dir| dir.join("node_modules/.bin/pm2"))
                .find(|pm2| pm2.is_file())
        })
        .or_else(|| find_in_path("pm2", environment.var("PATH").unwrap_or("")))
}
