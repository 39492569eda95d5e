//! Findings about a rendered document, before they are tied to places in the source.

use std::fmt;

use crate::{Level, Severity};

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

    /// This path and one key further.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.then(PathSegment::Key(key.into()))
    }

    /// This path and one index further.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(PathSegment::Index(index))
    }

    fn then(&self, segment: PathSegment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }
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

/// Which part of an entry a finding is about.
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
    /// Its key or the value itself.
    pub place: Place,
    /// How bad it is.
    pub severity: Severity,
    /// What it stops.
    pub level: Level,
    /// What is wrong: a lowercase fragment that does not repeat the path.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Further values that belong to it.
    pub labels: Vec<FindingLabel>,
}

/// A second value of the same document that belongs to a finding ("first defined here").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingLabel {
    /// The value.
    pub path: DocumentPath,
    /// Its key or the value itself.
    pub place: Place,
    /// What is there.
    pub message: String,
}
