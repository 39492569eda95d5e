//! Decides by their owner which files may be used.
//!
//! A workspace names commands to run, and PM2 gets the full content of the definitions. So two things are refused: a workspace of
//! another user that was found by walking up (compare Git's `safe.directory`), and the PM2 home of another user.

use camino::{Utf8Path, Utf8PathBuf};

use crate::environment::Environment;
use crate::settings::SETTINGS_FILE;

/// A file that is refused because of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// The file or directory.
    pub(crate) path: Utf8PathBuf,
    /// The user that owns it.
    pub(crate) uid: u32,
}

/// The first of these that exists and belongs to an untrusted user. Paths that cannot be examined are skipped: they cannot be used
/// either.
pub(crate) fn foreign(
    paths: impl IntoIterator<Item = Utf8PathBuf>,
    is_trusted: impl Fn(u32) -> bool,
) -> Option<Foreign> {
    paths.into_iter().find_map(|path| {
        let uid = files::foreign_owner(path.as_std_path(), &is_trusted).ok()??;
        Some(Foreign { path, uid })
    })
}

/// The part of a workspace that belongs to an untrusted user, if there is one.
pub(crate) fn foreign_in_workspace(root: &Utf8Path, environment: &Environment) -> Option<Foreign> {
    let parts = ["", "system", "system/daemons", SETTINGS_FILE];
    foreign(parts.map(|part| root.join(part)), |uid| {
        environment.trusts(uid)
    })
}

/// Whether the `pm2` of the `node_modules` in this directory may be run.
pub(crate) fn is_trusted_pm2(dir: &Utf8Path, environment: &Environment) -> bool {
    let parts = ["node_modules", "node_modules/.bin", "node_modules/.bin/pm2"];
    let found = foreign(parts.map(|part| dir.join(part)), |uid| {
        environment.trusts(uid)
    });
    found.is_none()
}
