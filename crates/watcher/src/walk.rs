//! Walks the tree of definitions: real directories first, then what symbolic links lead to.
//!
//! Links come second so that a real directory always wins over a link to it, wherever their names sort; and in
//! waves of sorted paths, so that two walks of one tree agree on which of several links is followed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, DaemonId, Layout};
use rustix::io::Errno;

use crate::listing::{self, Listing};
use crate::read::{self, Definition, Ident, ident};
use crate::tree::{Problem, ProblemKind};

/// One directory as it was walked. The key of its map is its path as it is reached, links included, so that
/// what lies below a directory is one contiguous range of the map.
#[derive(Debug, Clone)]
pub(crate) struct Dir {
    /// None when it could not be looked at.
    pub(crate) ident: Option<Ident>,
    /// Whether it is reached through a symbolic link.
    pub(crate) linked: bool,
    pub(crate) definition: Option<Definition>,
    /// The names of links in it that may lead to directories.
    pub(crate) links: Vec<OsString>,
    /// Why it could not be listed.
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Unlistable(Arc<io::Error>),
    Dangling(Arc<io::Error>),
}

pub(crate) type Dirs = BTreeMap<PathBuf, Dir>;

impl Dir {
    fn faulty(linked: bool, fault: Fault) -> Self {
        Self {
            ident: None,
            linked,
            definition: None,
            links: Vec::new(),
            fault: Some(fault),
        }
    }
}

/// Where a path stands in the tree of definitions.
pub(crate) enum Place {
    Id(DaemonId),
    /// Its definition is a problem instead of a daemon.
    Problem(ProblemKind),
}

/// The id of the daemon whose directory `dir` is.
pub(crate) fn place(layout: &Layout, dir: &Path) -> Place {
    match relative(layout, dir) {
        None => Place::Problem(ProblemKind::NotUtf8),
        Some(relative) => match DaemonId::new(relative) {
            Ok(id) => Place::Id(id),
            Err(error) => Place::Problem(ProblemKind::InvalidId(error)),
        },
    }
}

/// `dir` relative to the tree of definitions, where that is UTF-8.
pub(crate) fn relative(layout: &Layout, dir: &Path) -> Option<Utf8PathBuf> {
    let relative = dir.strip_prefix(layout.daemons_dir()).ok()?;
    Utf8Path::from_path(relative).map(Utf8Path::to_owned)
}

/// What is wrong with a directory, if anything.
pub(crate) fn problem(layout: &Layout, path: &Path, dir: &Dir) -> Option<Problem> {
    let (path, kind) = match &dir.fault {
        Some(Fault::Unlistable(error)) => (
            path.to_owned(),
            ProblemKind::UnlistableDir(Arc::clone(error)),
        ),
        Some(Fault::Dangling(error)) => (
            path.to_owned(),
            ProblemKind::DanglingLink(Arc::clone(error)),
        ),
        None => {
            dir.definition.as_ref()?;
            match place(layout, path) {
                Place::Id(_) => return None,
                Place::Problem(kind) => (path.join(DEFINITION_FILE), kind),
            }
        }
    };
    Some(Problem { path, kind })
}

/// A walk; what it finds is put into `dirs`.
pub(crate) struct Walk<'a> {
    pub(crate) layout: &'a Layout,
    /// What an earlier walk read; files that cannot have changed since are not read again.
    pub(crate) known: Option<&'a Dirs>,
    pub(crate) dirs: &'a mut Dirs,
}

impl Walk<'_> {
    /// Walks the real directories from `start` down.
    pub(crate) fn real(&mut self, start: PathBuf) {
        let mut stack = vec![start];
        while let Some(path) = stack.pop() {
            if let Some(listing) = self.visit(&path, false, &mut |_| true) {
                stack.extend(listing.dirs.iter().rev().map(|name| path.join(name)));
            }
        }
    }

    /// Follows every link of the directories walked so far, each directory once.
    pub(crate) fn links(&mut self) {
        let mut seen: HashSet<Ident> = self.dirs.values().filter_map(|dir| dir.ident).collect();
        // A link to a directory that contains the tree leads back into it: a loop, not more daemons.
        seen.extend(above(self.layout));
        let mut wave: BTreeSet<PathBuf> = self.dirs.iter().flat_map(links_of).collect();
        while !wave.is_empty() {
            let mut next = BTreeSet::new();
            for link in wave {
                match fs::metadata(&link) {
                    Ok(metadata) if metadata.is_dir() => self.linked(link, &mut seen, &mut next),
                    Ok(_) => {}
                    Err(error) if fs::symlink_metadata(&link).is_ok() => {
                        let leads_nowhere = is_gone(&error)
                            || error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
                        let error = Arc::new(error);
                        let fault = if leads_nowhere {
                            Fault::Dangling(error)
                        } else {
                            Fault::Unlistable(error)
                        };
                        self.dirs.insert(link, Dir::faulty(true, fault));
                    }
                    Err(_) => {}
                }
            }
            wave = next;
        }
    }

    fn linked(&mut self, link: PathBuf, seen: &mut HashSet<Ident>, next: &mut BTreeSet<PathBuf>) {
        let mut stack = vec![link];
        while let Some(path) = stack.pop() {
            let listing = self.visit(&path, true, &mut |found| seen.insert(found));
            if let Some(listing) = listing {
                stack.extend(listing.dirs.iter().rev().map(|name| path.join(name)));
                next.extend(listing.links.iter().map(|name| path.join(name)));
            }
        }
    }

    /// Looks into one directory if it is `wanted`.
    fn visit(
        &mut self,
        path: &Path,
        linked: bool,
        wanted: &mut dyn FnMut(Ident) -> bool,
    ) -> Option<Listing> {
        let found = fs::metadata(path).and_then(|metadata| {
            if metadata.is_dir() && !wanted(ident(&metadata)) {
                return Ok(None);
            }
            let listing = listing::list(self.layout, path)?;
            Ok(Some((ident(&metadata), listing)))
        });
        let (ident, listing) = match found {
            Ok(found) => found?,
            // It went away, or became something else, between the listing of its parent and now.
            Err(error) if is_gone(&error) && !is_dir(path) => return None,
            Err(error) => {
                let fault = Fault::Unlistable(Arc::new(error));
                self.dirs
                    .insert(path.to_owned(), Dir::faulty(linked, fault));
                return None;
            }
        };
        let definition = if listing.definition {
            self.definition(path)
        } else {
            None
        };
        let dir = Dir {
            ident: Some(ident),
            linked,
            definition,
            links: listing.links.clone(),
            fault: None,
        };
        self.dirs.insert(path.to_owned(), dir);
        Some(listing)
    }

    fn definition(&self, dir: &Path) -> Option<Definition> {
        let known = self.known.and_then(|known| known.get(dir));
        read::read(
            &dir.join(DEFINITION_FILE),
            known.and_then(|known| known.definition.as_ref()),
        )
    }
}

pub(crate) fn links_of((path, dir): (&PathBuf, &Dir)) -> impl Iterator<Item = PathBuf> {
    dir.links.iter().map(|name| path.join(name))
}

pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(crate) fn is_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// The directories that contain the tree, however it is reached.
pub(crate) fn above(layout: &Layout) -> HashSet<Ident> {
    let root = layout.daemons_dir().as_std_path();
    let canonical = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    root.ancestors()
        .chain(canonical.ancestors())
        .skip(1)
        .filter_map(|above| fs::metadata(above).ok())
        .map(|metadata| ident(&metadata))
        .collect()
}
