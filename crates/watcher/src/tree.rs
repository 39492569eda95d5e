//! The result of a scan: a pure value.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DaemonId, DaemonMap, InvalidId};

/// All definitions of a workspace at one moment.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Every daemon that has a definition, readable or not.
    pub sources: DaemonMap<Source>,
    /// Problems of the tree itself, in the order of the paths.
    pub problems: Vec<Problem>,
    /// Files that look like definitions but are ignored, in the order of their paths.
    pub misnamed: Vec<PathBuf>,
    /// Directories on which another file system is mounted, by their path below the tree of definitions. Those reached through
    /// symbolic links are not included.
    pub mounts: BTreeSet<Utf8PathBuf>,
    /// Directories that could not be read, by their path below the tree of definitions.
    pub(crate) blind: BTreeMap<Utf8PathBuf, Problem>,
}

/// A definition that exists.
#[derive(Debug, Clone)]
pub enum Source {
    /// Its bytes.
    Present(Arc<[u8]>),
    /// The file exists, but its content is unknown: no permission, an I/O error, a dangling link, not a regular file, too large, or
    /// modified during each attempt to read it.
    Unreadable(Arc<io::Error>),
}

/// A problem with a path of the tree, as opposed to the content of a definition.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The path; not always UTF-8.
    pub path: PathBuf,
    /// The problem.
    pub kind: ProblemKind,
}

/// The kind of a problem with a path of the tree.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A definition whose directory is not a valid daemon id.
    InvalidId(InvalidId),
    /// A definition below a directory whose name is not UTF-8.
    NotUtf8,
    /// A directory that cannot be listed: its content is unknown, not absent.
    UnlistableDir(Arc<io::Error>),
    /// A dangling symbolic link: if it led to a directory, the content of that is unknown, not absent. Only
    /// [`Tree::unknown_because`] reports it, because most such links are unrelated to daemons.
    DanglingLink(Arc<io::Error>),
}

impl Tree {
    /// Whether every directory could be read, so that a definition that is not in the tree does not exist.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.blind.is_empty()
    }

    /// Whether the daemon certainly has no definition. False when it has one, and also when it is below a directory that could not
    /// be read: not seen is not absent.
    #[must_use]
    pub fn is_absent(&self, id: &DaemonId) -> bool {
        !self.sources.contains_key(id) && self.unknown_because(id).is_none()
    }

    /// Why it is unknown whether the daemon has a definition, if that is unknown.
    #[must_use]
    pub fn unknown_because(&self, id: &DaemonId) -> Option<&Problem> {
        if self.blind.is_empty() || self.sources.contains_key(id) {
            return None;
        }
        Utf8Path::new(id.as_str())
            .ancestors()
            .find_map(|dir| self.blind.get(dir))
    }
}

impl Source {
    /// Whether both are the very same bytes, shared.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Present(a), Self::Present(b)) if Arc::ptr_eq(a, b))
    }

    /// Whether both are equal; errors are compared by their messages.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present(a), Self::Present(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Unreadable(a), Self::Unreadable(b)) => {
                a.kind() == b.kind()
                    && a.raw_os_error() == b.raw_os_error()
                    && a.to_string() == b.to_string()
            }
            _ => false,
        }
    }
}
