//! Notes of an import, besides the definitions.

use std::fmt;

use camino::Utf8PathBuf;

/// Something about what is imported. No value of an environment variable is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Values that differ without the caller's environment.
    FromEnvironment {
        /// The app; none: beside the apps.
        app: Option<String>,
        /// Names of variables, and paths of other values.
        values: Vec<String>,
    },
    /// Values that differ each time the config is evaluated.
    Changing {
        /// The app; none: beside the apps.
        app: Option<String>,
        /// Names of variables, and paths of other values.
        values: Vec<String>,
    },
    /// The config cannot be evaluated without the caller's environment.
    NeedsEnvironment {
        /// The config.
        file: Utf8PathBuf,
        /// What happens without it.
        error: String,
    },
    /// A value that PM2 does not get, because JSON cannot express it.
    Lost {
        /// The app; none: beside the apps.
        app: Option<String>,
        /// Its path.
        value: String,
        /// What it is.
        what: String,
    },
    /// Directories of files that PM2 would serve.
    StaticFiles {
        /// The config.
        file: Utf8PathBuf,
    },
    /// Relative paths are relative to another directory than the workspace's root, so the apps got a `cwd`.
    Relative {
        /// The config.
        file: Utf8PathBuf,
        /// That directory, as the apps got it.
        dir: Utf8PathBuf,
    },
    /// A script is not where it would be searched, but beside the config.
    BesideConfig {
        /// The app.
        app: String,
        /// The directory of the config.
        dir: Utf8PathBuf,
    },
    /// Two apps of one name.
    SameName {
        /// The name.
        app: String,
    },
    /// An app that another definition has.
    DefinedAlready {
        /// The app.
        app: String,
        /// The definition.
        definition: Utf8PathBuf,
    },
    /// What is beside the apps is kept in one definition only.
    KeptOnce {
        /// The keys.
        keys: Vec<String>,
        /// The definition.
        definition: Utf8PathBuf,
    },
    /// An app that a user stopped.
    Stopped {
        /// The app.
        app: String,
    },
    /// An app that a definition manages already.
    Managed {
        /// The app.
        app: String,
        /// Its workspace.
        workspace: Utf8PathBuf,
    },
    /// Variables that a process has from the shell which started it.
    Inherited {
        /// The app.
        app: String,
        /// Those that this shell, or PM2 itself, has with the same value.
        same: Vec<String>,
        /// Those that belong to a session, by their names.
        session: Vec<String>,
    },
    /// Attributes that PM2 fills in by itself.
    FilledIn {
        /// The app.
        app: String,
        /// Their names.
        attributes: Vec<String>,
    },
    /// Parts in which a process still differs from the definition: its processes are not alike, or no definition
    /// says it.
    Unlike {
        /// The app.
        app: String,
        /// The parts.
        parts: Vec<String>,
    },
    /// Variables that look like secrets and stay in the definition.
    Secrets {
        /// The app.
        app: String,
        /// Their names.
        values: Vec<String>,
    },
}

impl Note {
    /// A word for it that does not change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FromEnvironment { .. } => "from-environment",
            Self::Changing { .. } => "changing",
            Self::NeedsEnvironment { .. } => "needs-environment",
            Self::Lost { .. } => "lost",
            Self::StaticFiles { .. } => "static-files",
            Self::Relative { .. } => "relative",
            Self::BesideConfig { .. } => "beside-config",
            Self::SameName { .. } => "same-name",
            Self::DefinedAlready { .. } => "defined-already",
            Self::KeptOnce { .. } => "kept-once",
            Self::Stopped { .. } => "stopped",
            Self::Managed { .. } => "managed",
            Self::Inherited { .. } => "inherited",
            Self::FilledIn { .. } => "filled-in",
            Self::Unlike { .. } => "unlike",
            Self::Secrets { .. } => "secrets",
        }
    }

    /// The app that it is about.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        match self {
            Self::FromEnvironment { app, .. }
            | Self::Changing { app, .. }
            | Self::Lost { app, .. } => app.as_deref(),
            Self::BesideConfig { app, .. }
            | Self::SameName { app }
            | Self::DefinedAlready { app, .. }
            | Self::Stopped { app }
            | Self::Managed { app, .. }
            | Self::Inherited { app, .. }
            | Self::FilledIn { app, .. }
            | Self::Unlike { app, .. }
            | Self::Secrets { app, .. } => Some(app),
            Self::NeedsEnvironment { .. }
            | Self::StaticFiles { .. }
            | Self::Relative { .. }
            | Self::KeptOnce { .. } => None,
        }
    }

    /// The variables, attributes or keys that it is about.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let names: Vec<&String> = match self {
            Self::FromEnvironment { values, .. }
            | Self::Changing { values, .. }
            | Self::Secrets { values, .. } => values.iter().collect(),
            Self::Lost { value, .. } => vec![value],
            Self::KeptOnce { keys, .. } => keys.iter().collect(),
            Self::Inherited { same, session, .. } => same.iter().chain(session).collect(),
            Self::FilledIn { attributes, .. } => attributes.iter().collect(),
            Self::Unlike { parts, .. } => parts.iter().collect(),
            _ => Vec::new(),
        };
        names.into_iter().map(String::as_str).collect()
    }

    /// Whether something is not imported unchanged, so that a user should check it.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. }
                | Self::StaticFiles { .. }
                | Self::BesideConfig { .. }
                | Self::SameName { .. }
                | Self::Unlike { .. }
        )
    }

    /// Whether it is said only to those who want reasons.
    #[must_use]
    pub fn is_detail(&self) -> bool {
        match self {
            Self::FilledIn { .. } => true,
            Self::Inherited { same, .. } => same.is_empty(),
            _ => false,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |app: &Option<String>| app.as_ref().map(|app| format!(" of `{app}`"));
        match self {
            Self::FromEnvironment { app, values } => {
                let app = of(app).unwrap_or_default();
                write!(f, "{}{app} came from your environment", listed(values))
            }
            Self::Changing { app, values } => {
                let app = of(app).unwrap_or_default();
                write!(
                    f,
                    "{}{app} changes with each evaluation; the definition has the current value",
                    listed(values)
                )
            }
            Self::NeedsEnvironment { file, error } => {
                write!(f, "`{file}` needs your environment; without it: {error}")
            }
            Self::Lost { app, value, what } => {
                let app = of(app).unwrap_or_default();
                write!(f, "`{value}`{app} is {what}, which PM2 does not get either")
            }
            Self::StaticFiles { file } => write!(
                f,
                "`static` in `{file}` is left out, because pm2-sync serves no files: write an app that serves them"
            ),
            Self::Relative { file, dir } => write!(
                f,
                "paths in `{file}` are relative to `{dir}`, so that is now the `:cwd` of its apps"
            ),
            Self::BesideConfig { app, dir } => write!(
                f,
                "the script of `{app}` is not here but in `{dir}`: import it from there, where you start it"
            ),
            Self::SameName { app } => {
                write!(f, "two apps are named `{app}`: rename one of them")
            }
            Self::DefinedAlready { app, definition } => {
                write!(f, "`{app}` is left out, because `{definition}` defines it")
            }
            Self::KeptOnce { keys, definition } => {
                write!(f, "{} is kept only in `{definition}`", listed(keys))
            }
            Self::Stopped { app } => write!(
                f,
                "`{app}` is left out, because it is stopped: a sync would start it"
            ),
            Self::Managed { app, workspace } => {
                write!(f, "`{app}` is left out, because `{workspace}` manages it")
            }
            Self::Inherited { app, same, session } => {
                write!(
                    f,
                    "left out of `{app}`, because the shell that started it passed them on: "
                )?;
                let names: Vec<String> = same.iter().chain(session).cloned().collect();
                f.write_str(&listed(&names))
            }
            Self::FilledIn { app, attributes } => {
                let attributes = listed(attributes);
                write!(
                    f,
                    "left out of `{app}`, because PM2 fills them in: {attributes}"
                )
            }
            Self::Unlike { app, parts } => write!(
                f,
                "`{app}` runs with values that differ from its definition: {}",
                listed(parts)
            ),
            Self::Secrets { app, values } => write!(
                f,
                "{} of `{app}` may be secret: `--extract-secrets FILE` moves such values to an env file",
                listed(values)
            ),
        }
    }
}

fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
