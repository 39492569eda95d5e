//! `pm2-sync.edn`, the optional settings of a workspace.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use daemon_model::{DocumentPath, Finding, Level, OnRemove, Place, Severity};
use serde_json::Value;

/// The name of the settings file, at the workspace's root.
pub const SETTINGS_FILE: &str = "pm2-sync.edn";

/// Settings, with defaults for what the file does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The tree of definitions.
    pub daemons: Utf8PathBuf,
    /// The directory of artifacts.
    pub out: Utf8PathBuf,
    /// Which of `:profiles`.
    pub mode: Option<String>,
    /// Which `env_NAME`.
    pub env: Option<String>,
    /// Names or globs of inherited variables besides the base.
    pub pass_env: Vec<String>,
    /// What is done with what has lost its definition.
    pub on_remove: OnRemove,
    /// Names of directories that are not searched.
    pub skip_dirs: Vec<String>,
    /// The command of the reference renderer.
    pub pm2_clj: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            daemons: "system/daemons".into(),
            out: ".generated/pm2".into(),
            mode: None,
            env: None,
            pass_env: Vec::new(),
            on_remove: OnRemove::Delete,
            skip_dirs: vec!["node_modules".to_owned()],
            pm2_clj: None,
        }
    }
}

/// Why the settings cannot be used. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings `{path}`")]
    Read {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that it cannot say.
    #[error("the settings are broken, so nothing was changed\n{drawn}")]
    Broken {
        /// What was found, drawn with its places.
        drawn: String,
    },
}

const KEYS: [&str; 8] = [
    "daemons",
    "out",
    "mode",
    "env",
    "pass-env",
    "on-remove",
    "skip-dirs",
    "pm2-clj",
];

impl Settings {
    /// Reads the file; one that does not exist says nothing.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load(path: &Utf8Path) -> Result<Self, SettingsError> {
        match std::fs::read(path) {
            Ok(source) => Self::read(&source),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(SettingsError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads settings from text.
    ///
    /// # Errors
    /// [`SettingsError::Broken`].
    pub fn read(source: &[u8]) -> Result<Self, SettingsError> {
        let draw = |found: &[daemon_model::Diagnostic]| {
            let drawn: Vec<String> = found
                .iter()
                .map(|one| {
                    edn_render::draw(one, SETTINGS_FILE, source, edn_render::DrawStyle::default())
                        .trim_end()
                        .to_owned()
                })
                .collect();
            SettingsError::Broken {
                drawn: drawn.join("\n"),
            }
        };
        let document = match edn_render::read_map(source) {
            Ok(document) => document,
            Err(found) => return Err(draw(&found)),
        };
        let mut settings = Self::default();
        let mut found = Vec::new();
        for (key, value) in document.value() {
            if let Err((place, message, help)) = settings.set(key, value) {
                found.push(document.diagnose(&Finding {
                    path: DocumentPath::root().key(key),
                    place,
                    severity: Severity::Error,
                    level: Level::Definition,
                    message,
                    help,
                    labels: Vec::new(),
                }));
            }
        }
        if found.is_empty() && settings.mixes_up_trees() {
            found.push(
                document.diagnose(&Finding {
                    path: DocumentPath::root().key("out"),
                    place: Place::Value,
                    severity: Severity::Error,
                    level: Level::Definition,
                    message:
                        "generated configs and definitions need directories apart from each other"
                            .to_owned(),
                    help: None,
                    labels: Vec::new(),
                }),
            );
        }
        if found.is_empty() {
            Ok(settings)
        } else {
            Err(draw(&found))
        }
    }

    /// Whether one of the two trees lies in the other.
    fn mixes_up_trees(&self) -> bool {
        self.out.starts_with(&self.daemons) || self.daemons.starts_with(&self.out)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), (Place, String, Option<String>)> {
        let unfit = |expected: &str| (Place::Value, format!("expected {expected}"), None);
        let text = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(ToOwned::to_owned)
        };
        let list = |value: &Value| {
            value
                .as_array()
                .and_then(|items| items.iter().map(text).collect::<Option<Vec<String>>>())
        };
        if value.is_null() && KEYS.contains(&key) {
            return Ok(());
        }
        match key {
            "daemons" => {
                self.daemons = text(value)
                    .ok_or_else(|| unfit("a path as a string"))?
                    .into()
            }
            "out" => {
                let path =
                    Utf8PathBuf::from(text(value).ok_or_else(|| unfit("a path as a string"))?);
                let plain = path
                    .components()
                    .all(|component| matches!(component, Utf8Component::Normal(_)));
                if !plain {
                    return Err(unfit(
                        "a directory below the workspace's root, without `.` and `..`",
                    ));
                }
                self.out = path;
            }
            "mode" => self.mode = Some(text(value).ok_or_else(|| unfit("a mode"))?),
            "env" => {
                self.env = Some(text(value).ok_or_else(|| unfit("the name of an environment"))?)
            }
            "pass-env" => {
                self.pass_env =
                    list(value).ok_or_else(|| unfit("a vector of names such as \"NVM_*\""))?;
            }
            "skip-dirs" => {
                self.skip_dirs = list(value).ok_or_else(|| unfit("a vector of directory names"))?
            }
            "pm2-clj" => {
                let command = list(value).filter(|command| !command.is_empty());
                self.pm2_clj = Some(command.ok_or_else(|| {
                    unfit("a command as a vector of strings: [\"node\" \"dist/pm2-clj.js\"]")
                })?);
            }
            "on-remove" => {
                self.on_remove = match value.as_str() {
                    Some("delete") => OnRemove::Delete,
                    Some("stop") => OnRemove::Stop,
                    Some("keep") => OnRemove::Keep,
                    _ => return Err(unfit(":delete, :stop or :keep")),
                }
            }
            unknown => {
                let near = KEYS
                    .iter()
                    .map(|known| (strsim::damerau_levenshtein(known, unknown), known))
                    .filter(|(distance, _)| *distance <= 3)
                    .min()
                    .map(|(_, known)| format!("did you mean `:{known}`?"));
                let known = KEYS.map(|key| format!("`:{key}`")).join(", ");
                return Err((
                    Place::Key,
                    format!("unknown setting `:{unknown}`"),
                    Some(near.unwrap_or_else(|| format!("known settings are {known}"))),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_override_defaults() {
        let settings = Settings::read(
            b"; ours\n{:daemons \"d\" :on-remove :stop :pass-env [\"NVM_*\"] :mode :dev\n;; last line\n}",
        )
        .unwrap();
        assert_eq!(settings.daemons, "d");
        assert_eq!(settings.on_remove, OnRemove::Stop);
        assert_eq!(settings.pass_env, ["NVM_*"]);
        assert_eq!(settings.mode.as_deref(), Some("dev"));
        assert_eq!(settings.out, Settings::default().out);
    }

    #[test]
    fn an_unknown_setting_says_what_was_meant() {
        let error = Settings::read(b"{:on-remov :stop\n :daemons 3}").unwrap_err();
        insta::assert_snapshot!(error, @"
        the settings are broken, so nothing was changed
        error: on-remov: unknown setting `:on-remov`
         --> pm2-sync.edn:1:2
          |
        1 | {:on-remov :stop
          |  ^^^^^^^^^
        help: did you mean `:on-remove`?
        error: daemons: expected a path as a string
         --> pm2-sync.edn:2:11
          |
        2 |  :daemons 3}
          |           ^
        ");
    }
}
