//! `pm2-sync.edn`, the optional settings of a workspace.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use daemon_model::{
    Diagnostics, DocumentPath, Finding, Level, Message, OnRemove, Ours, Place, Quoted, Severity,
    message, nearest_name,
};
use files::Links;
use serde_json::Value;

/// The name of the settings file, at the workspace's root.
pub const SETTINGS_FILE: &str = "pm2-sync.edn";

/// The largest settings file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Settings, with defaults for keys that the file does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The tree of definitions.
    pub daemons: Utf8PathBuf,
    /// The directory of artifacts.
    pub out: Utf8PathBuf,
    /// The mode, an entry of `:profiles`.
    pub mode: Option<String>,
    /// The environment name, of an `env_NAME` block.
    pub env: Option<String>,
    /// Names or globs of inherited variables in addition to the base set.
    pub pass_env: Vec<String>,
    /// Whether `${NAME}` is replaced in definitions that do not choose.
    pub interpolate: bool,
    /// What to do with processes that have lost their definition.
    pub on_remove: OnRemove,
    /// Names of directories that are not searched for definitions.
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
            interpolate: false,
            on_remove: OnRemove::Delete,
            skip_dirs: vec!["node_modules".to_owned()],
            pm2_clj: None,
        }
    }
}

/// Why the settings cannot be used. Nothing is changed in that case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings `{path}`")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("the settings in `{SETTINGS_FILE}` are not valid; nothing was changed")]
    Invalid {
        /// The findings, with positions in `text`. There is at least one.
        diagnostics: Diagnostics,
        /// The content of the file.
        text: Vec<u8>,
    },
}

/// Stores a value; returns what is expected if the value has the wrong type.
type Take = fn(&mut Settings, &Value) -> Result<(), &'static str>;

/// Every setting: its key, and the function that stores its value.
const SETTINGS: [(&str, Take); 9] = [
    ("daemons", |settings, value| {
        settings.daemons = text(value).ok_or("a path as a string")?.into();
        Ok(())
    }),
    ("out", |settings, value| {
        let path = Utf8PathBuf::from(text(value).ok_or("a path as a string")?);
        let is_plain = |component| matches!(component, Utf8Component::Normal(_));
        if !path.components().all(is_plain) {
            return Err("a directory below the workspace's root, without `.` and `..`");
        }
        settings.out = path;
        Ok(())
    }),
    ("mode", |settings, value| {
        settings.mode = Some(text(value).ok_or("a mode")?);
        Ok(())
    }),
    ("env", |settings, value| {
        settings.env = Some(text(value).ok_or("the name of an environment")?);
        Ok(())
    }),
    ("pass-env", |settings, value| {
        settings.pass_env = list(value).ok_or("a vector of names such as \"NVM_*\"")?;
        Ok(())
    }),
    ("interpolate", |settings, value| {
        settings.interpolate = value.as_bool().ok_or("true or false")?;
        Ok(())
    }),
    ("on-remove", |settings, value| {
        settings.on_remove = match value.as_str() {
            Some("delete") => OnRemove::Delete,
            Some("stop") => OnRemove::Stop,
            Some("keep") => OnRemove::Keep,
            _ => return Err(":delete, :stop or :keep"),
        };
        Ok(())
    }),
    ("skip-dirs", |settings, value| {
        settings.skip_dirs = list(value).ok_or("a vector of directory names")?;
        Ok(())
    }),
    ("pm2-clj", |settings, value| {
        let command = list(value).filter(|command| !command.is_empty());
        let expected = "a command as a vector of strings: [\"node\" \"dist/pm2-clj.js\"]";
        settings.pm2_clj = Some(command.ok_or(expected)?);
        Ok(())
    }),
];

fn text(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(ToOwned::to_owned)
}

fn list(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

impl Settings {
    /// Reads the file. If it does not exist, all settings have their defaults.
    ///
    /// # Errors
    /// [`SettingsError::Read`] when the file exists and cannot be read, [`SettingsError::Invalid`] when it is not valid.
    pub fn load(path: &Utf8Path) -> Result<Self, SettingsError> {
        match files::read_if_exists(path.as_std_path(), Links::Follow, LIMIT) {
            Ok(Some(source)) => Self::read(&source),
            Ok(None) => Ok(Self::default()),
            Err(source) => Err(SettingsError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads settings from text.
    ///
    /// # Errors
    /// [`SettingsError::Invalid`] when the text is not an EDN map of known settings.
    pub fn read(text: &[u8]) -> Result<Self, SettingsError> {
        let invalid = |diagnostics| SettingsError::Invalid {
            diagnostics,
            text: text.to_vec(),
        };
        let document = edn_render::read_map(text).map_err(invalid)?;
        let mut settings = Self::default();
        let mut found = Diagnostics::default();
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
            found.push(document.diagnose(&Finding {
                path: DocumentPath::root().key("out"),
                place: Place::Value,
                severity: Severity::Error,
                level: Level::Definition,
                message: "generated configs and definitions need separate directories".into(),
                help: None,
                labels: Vec::new(),
            }));
        }
        if found.is_empty() {
            Ok(settings)
        } else {
            Err(invalid(found))
        }
    }

    /// Whether one of the two trees contains the other.
    fn mixes_up_trees(&self) -> bool {
        self.out.starts_with(&self.daemons) || self.daemons.starts_with(&self.out)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), (Place, Message, Option<Message>)> {
        let Some((_, take)) = SETTINGS.iter().find(|(known, _)| *known == key) else {
            return Err(unknown(key));
        };
        if value.is_null() {
            return Ok(());
        }
        take(self, value)
            .map_err(|expected| (Place::Value, message!("expected {}", expected), None))
    }
}

/// The finding for an unknown key.
fn unknown(key: &str) -> (Place, Message, Option<Message>) {
    let near = nearest_name(key, SETTINGS.map(|(known, _)| known));
    let near = near.map(|known| message!("did you mean `:{}`?", known));
    let known = SETTINGS.map(|(known, _)| format!("`:{known}`")).join(", ");
    (
        Place::Key,
        message!("unknown setting `:{}`", Quoted(key)),
        Some(near.unwrap_or_else(|| message!("known settings are {}", Ours(known)))),
    )
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
    fn every_setting_is_in_the_documentation() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
        let page = std::fs::read_to_string(page).unwrap();
        for (key, _) in SETTINGS {
            assert!(page.contains(&format!("| `:{key}` |")), "{key}");
        }
    }

    #[test]
    fn an_unknown_setting_gets_a_suggestion() {
        let error = Settings::read(b"{:on-remov :stop\n :daemons 3}").unwrap_err();
        let SettingsError::Invalid { diagnostics, .. } = error else {
            panic!("{error}");
        };
        let said: Vec<String> = diagnostics
            .iter()
            .map(|found| {
                let place = found.location.unwrap();
                let help = found.help.as_deref().unwrap_or("-");
                format!("{}:{}: {}; {help}", place.line, place.column, found.message)
            })
            .collect();
        assert_eq!(
            said,
            [
                "1:2: unknown setting `:on-remov`; did you mean `:on-remove`?",
                "2:11: expected a path as a string; -"
            ]
        );
    }
}
