//! What the tests share: a workspace in a directory of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, DaemonId, Layout};
use watcher::{Source, Tree, scan};

pub struct World {
    dir: tempfile::TempDir,
    pub layout: Layout,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let layout = Layout::new(root.join("w"));
        fs::create_dir_all(layout.daemons_dir()).unwrap();
        fs::create_dir_all(root.join("outside")).unwrap();
        Self { dir, layout }
    }

    /// A path in the tree of definitions.
    pub fn tree(&self, path: &str) -> Utf8PathBuf {
        self.layout.daemons_dir().join(path)
    }

    /// A path beside the workspace, on the same file system.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.dir
            .path()
            .canonicalize()
            .unwrap()
            .join("outside")
            .join(path)
    }

    /// The definition of a daemon, its directory made.
    pub fn define(&self, id: &str, text: &str) {
        define(self.tree(id), text);
    }

    pub fn scan(&self) -> Tree {
        scan(&self.layout).unwrap()
    }
}

pub fn define(dir: impl AsRef<Path>, text: &str) {
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.as_ref().join(DEFINITION_FILE), text).unwrap();
}

pub fn id(text: &str) -> DaemonId {
    DaemonId::new(Utf8Path::new(text)).unwrap()
}

/// A tree as text: what a definition says, or `!` and what kind of error it is.
pub fn model(tree: &Tree) -> BTreeMap<String, String> {
    let text = |source: &Source| match source {
        Source::Present(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Source::Unreadable(error) => format!("!{:?}", error.kind()),
    };
    let sources = tree.sources.iter();
    sources
        .map(|(id, source)| (id.to_string(), text(source)))
        .collect()
}

pub fn entries(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(id, text): &(&str, &str)| ((*id).to_owned(), (*text).to_owned());
    entries.iter().map(owned).collect()
}
