//! Lists one directory: the one place that decides what of it concerns the tree of definitions.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

use daemon_model::{DEFINITION_FILE, Layout};

/// What a directory holds, as far as it concerns the tree; names sorted, so that walks are deterministic.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Whether something is named like a definition.
    pub(crate) definition: bool,
    /// Whether that is a symbolic link.
    pub(crate) definition_link: bool,
    /// Directories to search.
    pub(crate) dirs: Vec<OsString>,
    /// Symbolic links that may lead to a directory to search.
    pub(crate) links: Vec<OsString>,
}

/// Lists `dir`, or fails as a whole: half a listing would make the other half look absent.
pub(crate) fn list(layout: &Layout, dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_definition = name == DEFINITION_FILE;
        listing.definition |= is_definition;
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        listing.definition_link |= is_definition && kind.is_symlink();
        if kind.is_dir() && !skips(layout, &name) {
            listing.dirs.push(name);
        } else if kind.is_symlink() && !is_definition && !skips(layout, &name) {
            listing.links.push(name);
        }
    }
    listing.dirs.sort_unstable();
    listing.links.sort_unstable();
    Ok(listing)
}

/// Whether a directory of this name is not searched.
pub(crate) fn skips(layout: &Layout, name: &OsStr) -> bool {
    layout.skips_dir(&name.to_string_lossy())
}
