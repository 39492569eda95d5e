//! Walks the tree of definitions: real directories first, then the targets of symbolic links.
//!
//! Links come second so that a real directory always has precedence over a link to it, however their names sort. They are followed
//! in waves of sorted paths, so that every walk of a tree chooses the same link to a directory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, DaemonId, Layout};
use rustix::io::Errno;

use crate::key::{Bytes, Key};
use crate::listing::{self, Listing};
use crate::read::{self, Definition, Ident, Stamp, ident};
use crate::tree::{Problem, ProblemKind};

/// One directory of a walk. Its key in the map is the path by which it was reached, through links, so that everything below a
/// directory is one contiguous range.
#[derive(Debug, Clone)]
pub(crate) struct Dir {
    /// None if it could not be read.
    pub(crate) stamp: Option<Stamp>,
    /// When it was listed.
    listed_at: SystemTime,
    /// Whether it is reached through a symbolic link.
    pub(crate) linked: bool,
    pub(crate) definition: Option<Definition>,
    /// Its entries.
    pub(crate) listing: Listing,
    /// Why it could not be listed.
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Unlistable(Arc<io::Error>),
    Dangling(Arc<io::Error>),
}

pub(crate) type Dirs = BTreeMap<Key, Dir>;

impl Dir {
    /// The identity of the directory.
    pub(crate) fn ident(&self) -> Option<Ident> {
        self.stamp.map(|stamp| stamp.ident)
    }

    /// Whether its definition and entries equal those of `other`, as far as they matter to a tree.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let sources = |dir: &Self| dir.definition.as_ref().map(|found| found.source.clone());
        self.fault.is_none()
            && other.fault.is_none()
            && self.listing.misnamed == other.listing.misnamed
            && match (sources(self), sources(other)) {
                (Some(a), Some(b)) => a.same_as(&b),
                (a, b) => a.is_none() && b.is_none(),
            }
    }

    fn faulty(linked: bool, fault: Fault) -> Self {
        Self {
            stamp: None,
            listed_at: SystemTime::now(),
            linked,
            definition: None,
            listing: Listing::default(),
            fault: Some(fault),
        }
    }
}

/// What a path means in the tree of definitions.
pub(crate) enum Place {
    Id(DaemonId),
    /// Its definition has this problem.
    Problem(ProblemKind),
}

/// The id of the daemon with the directory `dir`.
pub(crate) fn place(layout: &Layout, dir: &Path) -> Place {
    match relative(layout, dir) {
        None => Place::Problem(ProblemKind::NotUtf8),
        Some(relative) => match DaemonId::new(relative) {
            Ok(id) => Place::Id(id),
            Err(error) => Place::Problem(ProblemKind::InvalidId(error)),
        },
    }
}

/// `dir` relative to the tree of definitions, if that is UTF-8.
pub(crate) fn relative(layout: &Layout, dir: &Path) -> Option<Utf8PathBuf> {
    let root = layout.daemons_dir();
    // Nearly always one path is a textual prefix of the other, so it need not be split into components.
    let text = dir.to_str()?;
    let rest = text.strip_prefix(root.as_str());
    match rest.and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => Some(rest.into()),
        None => Utf8Path::new(text)
            .strip_prefix(root)
            .map(Utf8Path::to_owned)
            .ok(),
    }
}

/// The problem of a directory, if there is one.
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

/// With fewer directories, threads would cost more than they save.
const MANY: usize = 64;

/// A walk. Its results are added to `dirs`.
pub(crate) struct Walk<'a> {
    pub(crate) layout: &'a Layout,
    /// The result of an earlier walk; directories that cannot have changed since are not read again.
    pub(crate) known: Option<&'a Dirs>,
    /// The device whose directory times are reliable, if any.
    pub(crate) timely: Option<u64>,
    /// Whether to walk a large tree on all processors. Each thread needs its own memory, so this is for single scans.
    pub(crate) shared: bool,
    pub(crate) dirs: &'a mut Dirs,
}

impl Walk<'_> {
    /// Walks the real directories from `start` down.
    pub(crate) fn real(&mut self, start: PathBuf) {
        let mut shared = self.shared;
        let mut stack = vec![start];
        while let Some(path) = stack.pop() {
            self.step(&path, &mut stack);
            if shared && stack.len() >= MANY {
                // Querying the number of processors reads several files.
                let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
                if threads > 1 {
                    return self.share(stack, threads);
                }
                shared = false;
            }
        }
    }

    fn step(&mut self, path: &Path, stack: &mut Vec<PathBuf>) {
        if let Some(listing) = self.visit(path, false, &mut |_| true) {
            stack.extend(listing.dirs.iter().rev().map(|name| path.join(name)));
        }
    }

    fn share(&mut self, starts: Vec<PathBuf>, threads: usize) {
        let mut parts = vec![Vec::new(); threads];
        for (number, start) in starts.into_iter().enumerate() {
            parts[number % threads].push(start);
        }
        let (layout, known, timely) = (self.layout, self.known, self.timely);
        let walk = |mut stack: Vec<PathBuf>| {
            let mut dirs = Dirs::new();
            let mut walk = Walk {
                layout,
                known,
                timely,
                shared: false,
                dirs: &mut dirs,
            };
            while let Some(path) = stack.pop() {
                walk.step(&path, &mut stack);
            }
            dirs
        };
        thread::scope(|scope| {
            let parts: Vec<_> = parts
                .into_iter()
                .map(|part| scope.spawn(|| walk(part)))
                .collect();
            for part in parts {
                match part.join() {
                    Ok(mut dirs) => self.dirs.append(&mut dirs),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }

    /// Follows every link of the directories walked so far, and visits each directory once.
    pub(crate) fn links(&mut self) {
        let mut wave: BTreeSet<PathBuf> = self.dirs.iter().flat_map(links_of).collect();
        if wave.is_empty() {
            return;
        }
        let mut seen: HashSet<Ident> = self.dirs.values().filter_map(Dir::ident).collect();
        // A link to a directory that contains the tree leads back into it: a loop, not more daemons.
        seen.extend(above(self.layout));
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
                        self.dirs.insert(Key::new(link), Dir::faulty(true, fault));
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

    /// Reads one directory if it is `wanted`.
    fn visit(
        &mut self,
        path: &Path,
        linked: bool,
        wanted: &mut dyn FnMut(Ident) -> bool,
    ) -> Option<Listing> {
        let known = self.known.and_then(|known| known.get(&path as &dyn Bytes));
        let (stamp, listed_at, listing) = match self.read_dir(path, known, wanted) {
            Ok(found) => found?,
            // It was removed or replaced after its parent was listed.
            Err(error) if is_gone(&error) && !is_dir(path) => return None,
            Err(error) => {
                let fault = Fault::Unlistable(Arc::new(error));
                self.dirs
                    .insert(Key::new(path.to_owned()), Dir::faulty(linked, fault));
                return None;
            }
        };
        let definition = if listing.definition {
            let known = known.and_then(|known| known.definition.as_ref());
            read::read(&path.join(DEFINITION_FILE), known, listing.definition_file)
        } else {
            None
        };
        let dir = Dir {
            stamp: Some(stamp),
            listed_at,
            linked,
            definition,
            listing: listing.clone(),
            fault: None,
        };
        self.dirs.insert(Key::new(path.to_owned()), dir);
        Some(listing)
    }

    /// The entries of a directory, and when they were read. Adding or removing an entry changes the times of its directory: while
    /// these are the same, it need not be listed again.
    fn read_dir(
        &self,
        path: &Path,
        known: Option<&Dir>,
        wanted: &mut dyn FnMut(Ident) -> bool,
    ) -> io::Result<Option<(Stamp, SystemTime, Listing)>> {
        if let Some(known) = known
            && let Some(stamp) = known.stamp
            && self.timely == Some(stamp.ident.0)
            && !stamp.is_racy(known.listed_at)
            && Stamp::of(&fs::metadata(path)?) == stamp
        {
            let found = (stamp, known.listed_at, known.listing.clone());
            return Ok(wanted(stamp.ident).then_some(found));
        }
        let listed_at = SystemTime::now();
        let (fd, stamp) = listing::open(path)?;
        if !wanted(stamp.ident) {
            return Ok(None);
        }
        let listing = listing::list(self.layout, fd)?;
        Ok(Some((stamp, listed_at, listing)))
    }
}

pub(crate) fn links_of((key, dir): (&Key, &Dir)) -> impl Iterator<Item = PathBuf> {
    let links = dir.listing.links.iter();
    links.map(|name| key.path().join(name))
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

/// The directories that contain the tree, under any path.
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
