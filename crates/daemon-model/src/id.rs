//! The id of a daemon.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

/// The id of a daemon: the path of its directory relative to the tree of definitions, with `/` as separator, for example
/// `mcp/serena`. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DaemonId(Arc<str>);

/// Why a path is not a valid daemon id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// The definition is directly in the tree's root, so its directory has no name of its own.
    #[error("a definition must be in a directory of its own below the tree of definitions")]
    Empty,
    /// A segment that is not a plain name (`.`, `..`, a leading `/`, an empty segment).
    #[error("`{0}` is not a path of plain directory names")]
    NotPlain(String),
    /// A segment that ends in `.json`, which would collide with an artifact.
    #[error("the directory `{0}` ends in `.json`, which collides with the name of an artifact")]
    JsonSuffix(String),
    /// The last segment is too long for the file name of the artifact.
    #[error(
        "the directory `{0}` has a name of more than {MAX_NAME} bytes, too long for a generated config of that name"
    )]
    TooLong(String),
}

/// The longest last segment of an id, in bytes: a file name has at most 255 (Linux, `NAME_MAX`), less those of `.json`.
const MAX_NAME: usize = 250;

impl DaemonId {
    /// Creates an id from a path relative to the tree of definitions.
    ///
    /// # Errors
    /// [`InvalidId`] when the path is empty, has segments that are not plain names, has a segment ending in `.json`, or has a last
    /// segment of more than 250 bytes.
    pub fn new(path: impl AsRef<Utf8Path>) -> Result<Self, InvalidId> {
        let path = path.as_ref().as_str();
        let mut id = String::with_capacity(path.len());
        let mut last = "";
        for (n, name) in path.split('/').enumerate() {
            match name {
                "" if path.is_empty() => break,
                // Skipped, as the operating system does.
                "" | "." if n > 0 => continue,
                "" | "." | ".." => return Err(InvalidId::NotPlain(path.to_owned())),
                name => last = name,
            }
            if name.ends_with(".json") {
                return Err(InvalidId::JsonSuffix(name.to_owned()));
            }
            if !id.is_empty() {
                id.push('/');
            }
            id.push_str(name);
        }
        if id.is_empty() {
            return Err(InvalidId::Empty);
        }
        if last.len() > MAX_NAME {
            return Err(InvalidId::TooLong(last.to_owned()));
        }
        Ok(Self(id.into()))
    }

    /// The id of a definition outside of any workspace.
    #[must_use]
    pub fn of_file() -> Self {
        Self("file".into())
    }

    /// The id as text, with segments joined by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for DaemonId {
    fn cmp(&self, other: &Self) -> Ordering {
        // Equal ids are mostly shared.
        match Arc::ptr_eq(&self.0, &other.0) {
            true => Ordering::Equal,
            false => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for DaemonId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DaemonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for DaemonId {
    type Error = InvalidId;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::new(value)
    }
}

impl From<DaemonId> for String {
    fn from(value: DaemonId) -> Self {
        value.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_relative_directory() {
        assert_eq!(DaemonId::new("mcp/serena").unwrap().as_str(), "mcp/serena");
        assert_eq!(DaemonId::new("a/./b/").unwrap().as_str(), "a/b");
        assert_eq!(DaemonId::new(""), Err(InvalidId::Empty));
        assert!(matches!(DaemonId::new("../x"), Err(InvalidId::NotPlain(_))));
        assert!(matches!(DaemonId::new("/x"), Err(InvalidId::NotPlain(_))));
        assert!(matches!(
            DaemonId::new("a/b.json/c"),
            Err(InvalidId::JsonSuffix(_))
        ));
        let name = |length: usize| "x".repeat(length);
        assert!(DaemonId::new(format!("{}/{}", name(255), name(250))).is_ok());
        assert!(matches!(
            DaemonId::new(format!("a/{}", name(251))),
            Err(InvalidId::TooLong(_))
        ));
    }
}
