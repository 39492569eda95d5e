//! Lists one directory. No other file decides which entries matter to the tree of definitions.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use daemon_model::{DEFINITION_FILE, Layout, Misnamed};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::read::Stamp;

/// The entries of a directory that matter to the tree, with sorted names, so that walks are deterministic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    /// Whether there is an entry with the name of a definition.
    pub(crate) definition: bool,
    /// Whether that entry is a symbolic link.
    pub(crate) definition_link: bool,
    /// Whether that entry is a regular file.
    pub(crate) definition_file: bool,
    /// Directories to search.
    pub(crate) dirs: Vec<OsString>,
    /// Symbolic links that may lead to a directory to search.
    pub(crate) links: Vec<OsString>,
    /// Files that look like definitions but have other names.
    pub(crate) misnamed: Vec<OsString>,
}

/// Opens `dir` for [`list`]. The stamp belongs to the listed directory, even if the path changes.
pub(crate) fn open(dir: &Path) -> io::Result<(OwnedFd, Stamp)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())?;
    let stamp = Stamp::of_stat(&rustix::fs::fstat(&fd)?);
    Ok((fd, stamp))
}

/// Lists a directory, or fails as a whole: after a partial listing, the rest would seem absent.
pub(crate) fn list(layout: &Layout, fd: OwnedFd) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut dir = Dir::new(fd)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let is_definition = name == DEFINITION_FILE;
        listing.definition |= is_definition;
        let kind = match entry.file_type() {
            // Some file systems do not report the type.
            FileType::Unknown => {
                match rustix::fs::statat(dir.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            kind => kind,
        };
        listing.definition_link |= is_definition && kind.is_symlink();
        listing.definition_file |= is_definition && kind.is_file();
        if kind.is_dir() && !skips(layout, name) {
            listing.dirs.push(name.to_owned());
        } else if kind.is_symlink() && !is_definition && !skips(layout, name) {
            listing.links.push(name.to_owned());
        }
        if !kind.is_dir() && is_misnamed(name) {
            listing.misnamed.push(name.to_owned());
        }
    }
    listing.misnamed.sort_unstable();
    listing.dirs.sort_unstable();
    listing.links.sort_unstable();
    Ok(listing)
}

/// Whether a file of this name looks like a definition.
pub(crate) fn is_misnamed(name: &OsStr) -> bool {
    name.to_str().and_then(Misnamed::of).is_some()
}

/// Whether a directory of this name is not searched.
pub(crate) fn skips(layout: &Layout, name: &OsStr) -> bool {
    layout.skips_dir(&name.to_string_lossy())
}
