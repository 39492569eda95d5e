//! Notes of an import, in addition to the definitions.

use std::fmt;

use camino::Utf8PathBuf;

/// A note about the imported apps. It contains no values of environment variables.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Values that depend on the caller's environment.
    FromEnvironment {
        /// The app; none: the other top-level keys.
        app: Option<String>,
        /// Names of variables, and paths of other values.
        values: Vec<String>,
    },
    /// Values that differ on each evaluation of the config.
    Changing {
        /// The app; none: the other top-level keys.
        app: Option<String>,
        /// Names of variables, and paths of other values.
        values: Vec<String>,
    },
    /// The config cannot be evaluated without the caller's environment.
    NeedsEnvironment {
        /// The config.
        file: Utf8PathBuf,
        /// The error of evaluating it without the caller's environment.
        error: String,
    },
    /// A value that PM2 does not get, because JSON cannot express it.
    Lost {
        /// The app; none: the other top-level keys.
        app: Option<String>,
        /// Its path.
        value: String,
        /// The kind of value.
        what: String,
    },
    /// The config asks PM2 to serve directories of files.
    StaticFiles {
        /// The config.
        file: Utf8PathBuf,
    },
    /// Relative paths start from another directory than the workspace's root, so the apps got a `cwd`.
    Relative {
        /// The config.
        file: Utf8PathBuf,
        /// That directory, as the `cwd` of the apps.
        dir: Utf8PathBuf,
    },
    /// A script is not where PM2 would look for it, but beside the config.
    BesideConfig {
        /// The app.
        app: String,
        /// The directory of the config.
        dir: Utf8PathBuf,
    },
    /// Two apps have the same name.
    SameName {
        /// The name.
        app: String,
    },
    /// Another definition declares the app already.
    DefinedAlready {
        /// The app.
        app: String,
        /// The definition.
        definition: Utf8PathBuf,
    },
    /// Other top-level keys are kept in one definition only.
    KeptOnce {
        /// The keys.
        keys: Vec<String>,
        /// The definition.
        definition: Utf8PathBuf,
    },
    /// A user stopped the app.
    Stopped {
        /// The app.
        app: String,
    },
    /// A definition manages the app already.
    Managed {
        /// The app.
        app: String,
        /// Its workspace.
        workspace: Utf8PathBuf,
    },
    /// Variables that a process inherited from the shell that started it.
    Inherited {
        /// The app.
        app: String,
        /// Variables that this shell, or PM2 itself, has with the same value.
        same: Vec<String>,
        /// Variables that belong to a session, judged by their names.
        session: Vec<String>,
    },
    /// Attributes that PM2 sets by itself.
    FilledIn {
        /// The app.
        app: String,
        /// Their names.
        attributes: Vec<String>,
    },
    /// Parts in which a process still differs from the definition: its processes are not alike, or a definition cannot express the
    /// value.
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
    /// A stable identifier of the kind of note.
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

    /// The app that the note is about.
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

    /// The variables, attributes or keys that the note is about.
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

    /// Whether something was not imported unchanged, so that the user should check it.
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

    /// Whether it is shown only on request.
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
