//! Paths of the files of a workspace.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::DaemonId;

/// The file name of every definition.
pub const DEFINITION_FILE: &str = "ecosystem.pm2.edn";

/// The paths of one workspace. All of them are absolute when the root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: Utf8PathBuf,
    daemons: Utf8PathBuf,
    out: Utf8PathBuf,
    skip_dirs: BTreeSet<String>,
}

impl Layout {
    /// The layout with default settings: `system/daemons`, `.generated/pm2`, `node_modules` skipped.
    #[must_use]
    pub fn new(root: impl Into<Utf8PathBuf>) -> Self {
        Self::with_dirs(root, "system/daemons", ".generated/pm2", ["node_modules"])
    }

    /// A layout with other directories; `daemons` and `out` are relative to `root` or absolute.
    #[must_use]
    pub fn with_dirs<S: Into<String>>(
        root: impl Into<Utf8PathBuf>,
        daemons: impl AsRef<Utf8Path>,
        out: impl AsRef<Utf8Path>,
        skip_dirs: impl IntoIterator<Item = S>,
    ) -> Self {
        let root = root.into();
        Self {
            daemons: root.join(daemons),
            out: root.join(out),
            skip_dirs: skip_dirs.into_iter().map(Into::into).collect(),
            root,
        }
    }

    /// The workspace's root.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// The tree of definitions.
    #[must_use]
    pub fn daemons_dir(&self) -> &Utf8Path {
        &self.daemons
    }

    /// The directory of artifacts.
    #[must_use]
    pub fn out_dir(&self) -> &Utf8Path {
        &self.out
    }

    /// Whether a directory of this name is not searched: a configured name, or one that starts with `.`.
    #[must_use]
    pub fn skips_dir(&self, name: &str) -> bool {
        name.starts_with('.') || self.skip_dirs.contains(name)
    }

    /// The definition of a daemon.
    #[must_use]
    pub fn definition_path(&self, id: &DaemonId) -> Utf8PathBuf {
        let parts = [self.daemons.as_str(), id.as_str(), DEFINITION_FILE];
        let length = parts.iter().map(|part| part.len() + 1).sum();
        let mut path = Utf8PathBuf::with_capacity(length);
        path.extend(parts);
        path
    }

    /// The definition of a daemon, relative to the root if it is below it. For messages and headers.
    #[must_use]
    pub fn definition_name(&self, id: &DaemonId) -> Utf8PathBuf {
        let path = self.definition_path(id);
        match below(&path, &self.root) {
            Some(name) => name.to_owned(),
            None => path,
        }
    }

    /// The artifact of a daemon.
    #[must_use]
    pub fn artifact_path(&self, id: &DaemonId) -> Utf8PathBuf {
        self.out.join([id.as_str(), ".json"].concat())
    }

    /// The daemon whose artifact is at `path`, if it is an artifact.
    #[must_use]
    pub fn artifact_id(&self, path: &Utf8Path) -> Option<DaemonId> {
        let relative = below(path, &self.out)?;
        DaemonId::new(relative.as_str().strip_suffix(".json")?).ok()
    }
}

/// `path` relative to `dir`, if it is below it.
fn below<'p>(path: &'p Utf8Path, dir: &Utf8Path) -> Option<&'p Utf8Path> {
    // Nearly always one is a textual prefix of the other, so it need not be split into components.
    let rest = path.as_str().strip_prefix(dir.as_str());
    let rest = rest.and_then(|rest| rest.strip_prefix('/'));
    match rest.filter(|rest| !rest.starts_with(['/', '.'])) {
        Some(rest) => Some(rest.into()),
        None => path.strip_prefix(dir).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_belongs_to_the_daemon_of_its_path() {
        let layout = Layout::new("/w");
        let id = DaemonId::new("a/b").unwrap();
        let artifact = layout.artifact_path(&id);
        assert_eq!(artifact, "/w/.generated/pm2/a/b.json");
        assert_eq!(layout.artifact_id(&artifact), Some(id));
        assert_eq!(layout.artifact_id("/w/.generated/a.json".into()), None);
    }
}
