//! Findings about a rendered document, before they get positions in the source.

use std::fmt;

use crate::spec::is_rollout_key;
use crate::values::ENV_FILE_KEY;
use crate::{HIDDEN, Level, Message, POLICY_KEY, Severity, attribute};

/// One step into a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathSegment {
    /// A key of an object.
    Key(String),
    /// An index of an array.
    Index(usize),
}

/// A path into a JSON document, for example `apps[1].env.PORT`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentPath(pub Vec<PathSegment>);

impl DocumentPath {
    /// The whole document.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// This path, extended by a key.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.then(PathSegment::Key(key.into()))
    }

    /// This path, extended by an index.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(PathSegment::Index(index))
    }

    /// The environment that the path leads into: the index of its key.
    fn env(&self) -> Option<usize> {
        let is_env =
            |segment: &PathSegment| matches!(segment, PathSegment::Key(key) if is_env_like(key));
        self.0.iter().position(is_env)
    }

    /// Whether `place` is a value of an environment variable, a part of one, or may be meant as one: any value except those of an
    /// app's known attributes.
    #[must_use]
    pub fn is_secret(&self, place: Place) -> bool {
        if let Some(env) = self.env() {
            return match (place, &self.0[env + 1..]) {
                // The name of a variable, or of the environment itself.
                (Place::Key, []) => false,
                (Place::Key, [PathSegment::Key(name)]) => !is_variable_name(name),
                _ => true,
            };
        }
        match &self.0[..] {
            [] => false,
            [PathSegment::Key(apps)] | [PathSegment::Key(apps), PathSegment::Index(_)]
                if apps == "apps" =>
            {
                false
            }
            // A value that is not a path may be a secret that belongs in the file.
            [_, PathSegment::Index(_), PathSegment::Key(key), rest @ ..] if key == ENV_FILE_KEY => {
                let is_path = |it: &PathSegment| *it == PathSegment::Key("path".to_owned());
                let is_index = |it: &PathSegment| matches!(it, PathSegment::Index(_));
                !rest.iter().all(|it| is_path(it) || is_index(it))
            }
            [_, PathSegment::Index(_), PathSegment::Key(key), rest @ ..] => {
                !is_known_key(key) && (place == Place::Value || !rest.is_empty())
            }
            [rest @ .., _] => place == Place::Value || !rest.is_empty(),
        }
    }

    /// The path as text, without parts that may belong to a variable's value. If the text cannot be parsed (`is_doubtful`), any
    /// name in it may be a misplaced value.
    #[must_use]
    pub fn redacted(&self, is_doubtful: bool) -> String {
        let mut shown = Self::root();
        let mut is_env = false;
        for segment in &self.0 {
            match segment {
                PathSegment::Key(name) if is_env => {
                    let name = if is_variable_name(name) { name } else { HIDDEN };
                    return shown.key(name).to_string();
                }
                PathSegment::Index(_) if is_env => break,
                PathSegment::Key(name) if is_doubtful && !is_known_key(name) => break,
                PathSegment::Key(name) => is_env = is_env_like(name) || name == ENV_FILE_KEY,
                PathSegment::Index(_) => {}
            }
            shown = shown.then(segment.clone());
            if is_env && is_doubtful {
                break;
            }
        }
        shown.to_string()
    }

    fn then(&self, segment: PathSegment) -> Self {
        let mut path = Vec::with_capacity(self.0.len() + 1);
        path.extend_from_slice(&self.0);
        path.push(segment);
        Self(path)
    }
}

/// Whether a key contains environment variables, or is probably meant to.
#[must_use]
pub fn is_env_like(key: &str) -> bool {
    let starts_so = key.get(..3);
    starts_so.is_some_and(|start| start.eq_ignore_ascii_case("env")) && key != ENV_FILE_KEY
}

/// Whether a key has a meaning for pm2-sync or PM2, so that it is not a secret.
#[must_use]
pub fn is_known_key(key: &str) -> bool {
    matches!(
        key,
        "apps" | "deploy" | "profiles" | POLICY_KEY | ENV_FILE_KEY
    ) || attribute::find(key).is_some()
        || is_rollout_key(key)
}

/// Whether a text looks like the name of an environment variable. Any other text may be a misplaced value.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_part)
}

impl fmt::Display for DocumentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Key(key) if n == 0 => f.write_str(key)?,
                PathSegment::Key(key) => write!(f, ".{key}")?,
                PathSegment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The part of an entry that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

/// A finding about a value of a rendered document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The value.
    pub path: DocumentPath,
    /// Whether it is about the key or the value.
    pub place: Place,
    /// The severity.
    pub severity: Severity,
    /// What it prevents.
    pub level: Level,
    /// The problem, as a lowercase fragment that does not repeat the path.
    pub message: Message,
    /// How to fix it.
    pub help: Option<Message>,
    /// Related values.
    pub labels: Vec<FindingLabel>,
}

/// A related value of the same document ("first defined here").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingLabel {
    /// The value.
    pub path: DocumentPath,
    /// Whether it is about the key or the value.
    pub place: Place,
    /// The meaning of this value.
    pub message: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DocumentPath {
        text.split('.')
            .fold(DocumentPath::root(), |path, part| match part.parse() {
                Ok(index) => path.index(index),
                Err(_) => path.key(part),
            })
    }

    #[test]
    fn everything_in_an_environment_except_names_is_secret() {
        for (text, place, secret) in [
            ("apps", Place::Value, false),
            ("apps.0", Place::Value, false),
            ("apps.0.name", Place::Value, false),
            ("apps.0.args.1", Place::Value, false),
            ("apps.0.evn", Place::Key, false),
            ("apps.0.evn.PW", Place::Value, true),
            ("apps.0.evn.PW", Place::Key, true),
            ("deploy.production.key", Place::Value, true),
            ("colour", Place::Key, false),
            ("apps.0.env", Place::Key, false),
            ("apps.0.env", Place::Value, true),
            ("apps.0.env.PORT", Place::Key, false),
            ("apps.0.env.PORT", Place::Value, true),
            ("apps.0.env.PW=hunter2", Place::Key, true),
            ("apps.0.env.PW.hunter2", Place::Key, true),
            ("apps.0.env.1", Place::Key, true),
            ("apps.0.env_production.PORT", Place::Value, true),
            ("apps.0.environment.PORT", Place::Value, true),
            ("deploy.production.env.PORT", Place::Value, true),
            ("env.PORT", Place::Value, true),
        ] {
            assert_eq!(path(text).is_secret(place), secret, "{text} {place:?}");
        }
    }

    #[test]
    fn a_path_shows_no_part_of_a_value() {
        for (text, shown, doubtful) in [
            ("apps.0.colour.x", "apps[0].colour.x", "apps[0]"),
            ("apps.0.args.1", "apps[0].args[1]", "apps[0].args[1]"),
            ("apps.0.env.PORT", "apps[0].env.PORT", "apps[0].env"),
            ("apps.0.env.PW.hunter2.x", "apps[0].env.PW", "apps[0].env"),
            ("apps.0.env.PW=hunter2", "apps[0].env.***", "apps[0].env"),
            ("apps.0.env.1.hunter2", "apps[0].env", "apps[0].env"),
            ("hunter2.x", "hunter2.x", ""),
        ] {
            assert_eq!(path(text).redacted(false), shown, "{text}");
            assert_eq!(path(text).redacted(true), doubtful, "{text}");
        }
    }
}
