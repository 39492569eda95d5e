//! Reads the definitions of a workspace, completely or only where they may have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camino::Utf8PathBuf;
use daemon_model::{DEFINITION_FILE, DaemonId, Layout};

use crate::file_system::remote_file_system;
use crate::key::{Bytes, Key, clean};
use crate::listing;
use crate::read::{self, Ident, ident};
use crate::tree::{ProblemKind, Source, Tree};
use crate::walk::{self, Dir, Dirs, Place, Walk};

/// How often to repeat a walk if the root was replaced during it.
const ATTEMPTS: u32 = 3;

/// Why nothing is known about any definition: the root itself cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// It does not exist.
    #[error("the tree of definitions `{path}` does not exist")]
    Missing {
        /// The root.
        path: Utf8PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The path is not a directory.
    #[error("the tree of definitions `{path}` is not a directory")]
    NotADirectory {
        /// The root.
        path: Utf8PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// It exists but cannot be listed.
    #[error("cannot read the tree of definitions `{path}`")]
    Unreadable {
        /// The root.
        path: Utf8PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// It was replaced by another directory during every attempt to walk it.
    #[error("the tree of definitions `{path}` was replaced during each attempt to read it")]
    Unstable {
        /// The root.
        path: Utf8PathBuf,
    },
}

/// The result of a scan, and what changed.
#[derive(Debug, Clone)]
pub struct Scan {
    /// All definitions.
    pub tree: Arc<Tree>,
    /// Daemons whose definition appeared, vanished or changed since the previous scan.
    pub changed: BTreeSet<DaemonId>,
}

/// Directories that may have changed. One may be listed twice.
type Touched = Vec<Key>;

/// The directories that differ between two walks. The first walk counts only if it is `trusted`, which means published.
fn differences(old: &Dirs, new: &Dirs, trusted: bool) -> Touched {
    let mut touched = Touched::new();
    let mut before = old.iter().peekable();
    for (key, dir) in new {
        while let Some((gone, _)) = before.next_if(|(other, _)| *other < key) {
            touched.push(gone.clone());
        }
        let same = before.next_if(|(other, _)| *other == key);
        if !(trusted && same.is_some_and(|(_, old)| old.says_the_same(dir))) {
            touched.push(key.clone());
        }
    }
    touched.extend(before.map(|(gone, _)| gone.clone()));
    touched
}

/// Reads all definitions once.
///
/// # Errors
/// [`ScanError`] when the root cannot be read; everything else is part of the [`Tree`].
pub fn scan(layout: &Layout) -> Result<Tree, ScanError> {
    let mut scanner = Scanner::new(layout.clone());
    scanner.once = true;
    let scan = scanner.full()?;
    Ok(Arc::unwrap_or_clone(scan.tree))
}

/// Reads definitions repeatedly, and only those that may have changed. A failed scan changes nothing: the next one compares with
/// the last successful one.
#[derive(Debug)]
pub struct Scanner {
    layout: Layout,
    root: PathBuf,
    /// The identity of the root; None if `dirs` must not be trusted.
    identity: Option<Ident>,
    dirs: Dirs,
    /// Whether the root is on a local file system, where the times of a directory change with its entries.
    local: bool,
    /// The few directories of `dirs` that have a problem.
    faulty: BTreeSet<PathBuf>,
    /// The directories of `dirs` with misnamed files.
    with_misnamed: BTreeSet<PathBuf>,
    tree: Arc<Tree>,
    /// Whether the scanner is used only once.
    once: bool,
}

impl Scanner {
    /// A scanner that has not scanned yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            root: clean(layout.daemons_dir().as_std_path()),
            layout,
            identity: None,
            dirs: Dirs::new(),
            local: false,
            faulty: BTreeSet::new(),
            with_misnamed: BTreeSet::new(),
            tree: Arc::default(),
            once: false,
        }
    }

    /// The result of the last successful scan; empty before the first.
    #[must_use]
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Walks everything and reads every definition.
    ///
    /// # Errors
    /// [`ScanError`] when the root cannot be read.
    pub fn full(&mut self) -> Result<Scan, ScanError> {
        self.walk(false)
    }

    /// Walks everything, but reads only definitions that may have changed: their device, inode, size or times differ, or they were
    /// last read just after being written.
    ///
    /// # Errors
    /// [`ScanError`] when the root cannot be read.
    pub fn stat_only(&mut self) -> Result<Scan, ScanError> {
        self.walk(true)
    }

    /// Scans only these paths again: definitions, directories with everything below them, links. A path outside of the root means
    /// everything.
    ///
    /// # Errors
    /// [`ScanError`] when the root cannot be read.
    pub fn dirty(&mut self, scopes: &[Utf8PathBuf]) -> Result<Scan, ScanError> {
        let everything = |path: &Utf8PathBuf| {
            path.as_std_path() == self.root || !path.as_std_path().starts_with(&self.root)
        };
        let identity = self.look_at_root()?;
        if self.identity != Some(identity) || scopes.iter().any(everything) {
            return self.stat_only();
        }
        // Taken until the end, so that any failure in between leads to a full walk.
        self.identity = None;
        let mut touched = Touched::new();
        let mut relink = false;
        let mut done: Option<PathBuf> = None;
        for scope in scopes.iter().collect::<BTreeSet<_>>() {
            let scope = clean(scope.as_std_path());
            if done.as_ref().is_some_and(|done| scope.starts_with(done)) {
                continue;
            }
            if self.file_only(&scope, &mut touched) {
                continue;
            }
            relink = true;
            self.subtree(&scope, &mut touched);
            done = Some(scope);
        }
        if relink {
            self.relink(&mut touched);
        }
        if self.look_at_root()? != identity {
            return self.stat_only();
        }
        if relink {
            self.note_mounts();
        }
        self.identity = Some(identity);
        Ok(self.publish(&touched))
    }

    fn walk(&mut self, reuse: bool) -> Result<Scan, ScanError> {
        for _ in 0..ATTEMPTS {
            let identity = self.look_at_root()?;
            if self.identity != Some(identity) {
                self.local = remote_file_system(&self.root).is_none();
            }
            let mut dirs = Dirs::new();
            let mut walk = Walk {
                layout: &self.layout,
                known: reuse.then_some(&self.dirs),
                timely: self.local.then_some(identity.0),
                shared: self.once,
                dirs: &mut dirs,
            };
            walk.real(self.root.clone());
            walk.links();
            if self.look_at_root()? != identity {
                continue;
            }
            let trusted = self.identity.replace(identity).is_some();
            let old = std::mem::replace(&mut self.dirs, dirs);
            let touched = differences(&old, &self.dirs, trusted);
            self.note_mounts();
            return Ok(self.publish(&touched));
        }
        Err(ScanError::Unstable {
            path: self.layout.daemons_dir().to_owned(),
        })
    }

    /// The identity of the root; fails if it cannot be listed.
    fn look_at_root(&self) -> Result<Ident, ScanError> {
        let found = fs::metadata(&self.root).and_then(|metadata| {
            fs::read_dir(&self.root)?;
            Ok(ident(&metadata))
        });
        found.map_err(|source| {
            let path = self.layout.daemons_dir().to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => ScanError::Missing { path, source },
                io::ErrorKind::NotADirectory => ScanError::NotADirectory { path, source },
                _ => ScanError::Unreadable { path, source },
            }
        })
    }

    /// Reads one definition again, if the scope is just that.
    fn file_only(&mut self, scope: &Path, touched: &mut Touched) -> bool {
        if scope.file_name() != Some(OsStr::new(DEFINITION_FILE))
            || self.dirs.contains_key(&scope as &dyn Bytes)
        {
            return false;
        }
        // `subtree` handles paths through something that is no longer a directory.
        let plain = match fs::symlink_metadata(scope) {
            Ok(metadata) => !metadata.is_dir(),
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound && scope.parent().is_some_and(walk::is_dir)
            }
        };
        let Some((parent, dir)) = scope
            .parent()
            .and_then(|parent| Some((parent, self.dirs.get_mut(&parent as &dyn Bytes)?)))
            .filter(|(_, dir)| plain && dir.fault.is_none())
        else {
            return false;
        };
        dir.definition = read::read(scope, None, false);
        if dir.definition.is_none()
            && let Ok(listing) =
                listing::open(parent).and_then(|(fd, _)| listing::list(&self.layout, fd))
        {
            // It may have been renamed.
            dir.listing.misnamed = listing.misnamed;
        }
        touched.push(Key::new(parent.to_owned()));
        true
    }

    /// Walks the real directories at and below `scope` again.
    fn subtree(&mut self, scope: &Path, touched: &mut Touched) {
        // The deepest existing directory above it, and the entry in it that leads to the scope.
        let mut entry = scope;
        let parent = loop {
            let Some(parent) = entry.parent().filter(|_| entry != self.root) else {
                break None;
            };
            let known = self.dirs.get(&parent as &dyn Bytes);
            if known.is_some_and(|dir| dir.fault.is_none()) && walk::is_dir(parent) {
                break Some(parent);
            }
            entry = parent;
        };
        let old = self.take(entry);
        touched.extend(old.keys().cloned());
        let mut dirs = Dirs::new();
        let mut walk = Walk {
            layout: &self.layout,
            known: Some(&old),
            // An event reported a change here: compare closely.
            timely: None,
            shared: self.once,
            dirs: &mut dirs,
        };
        if let (Some(parent), Some(name)) = (parent, entry.file_name()) {
            let kind = fs::symlink_metadata(entry).map(|metadata| metadata.file_type());
            let skipped = listing::skips(&self.layout, name);
            let is_definition = name == DEFINITION_FILE;
            if let Some(dir) = self.dirs.get_mut(&parent as &dyn Bytes) {
                if is_definition {
                    dir.definition = read::read(entry, None, false);
                    touched.push(Key::new(parent.to_owned()));
                }
                if listing::is_misnamed(name) {
                    let is_file = kind.as_ref().is_ok_and(|kind| !kind.is_dir());
                    dir.listing.misnamed.retain(|known| known != name);
                    dir.listing
                        .misnamed
                        .extend(is_file.then(|| name.to_owned()));
                    dir.listing.misnamed.sort_unstable();
                    touched.push(Key::new(parent.to_owned()));
                }
                dir.listing.links.retain(|link| link != name);
                if kind.as_ref().is_ok_and(fs::FileType::is_symlink) && !skipped && !is_definition {
                    dir.listing.links.push(name.to_owned());
                }
                // `relink` walks the targets of links.
                let through_link = dir.linked;
                let is_real = match kind {
                    Ok(kind) => kind.is_dir(),
                    // Not reported here: the walk records the cause.
                    Err(error) => !walk::is_gone(&error),
                };
                if is_real && !skipped && !through_link {
                    walk.real(entry.to_owned());
                }
            }
        } else {
            walk.real(self.root.clone());
        }
        touched.extend(dirs.keys().cloned());
        self.dirs.extend(dirs);
    }

    /// Removes and returns the real directories at and below `path`.
    fn take(&mut self, path: &Path) -> Dirs {
        let below = (Bound::Included(&path as &dyn Bytes), Bound::Unbounded);
        let keys: Vec<Key> = self
            .dirs
            .range::<dyn Bytes, _>(below)
            .take_while(|(key, _)| key.path().starts_with(path))
            .filter(|(_, dir)| !dir.linked)
            .map(|(key, _)| key.clone())
            .collect();
        keys.into_iter()
            .filter_map(|key| self.dirs.remove_entry(&key))
            .collect()
    }

    /// Resolves all links again: which of them is followed depends on the rest of the tree.
    fn relink(&mut self, touched: &mut Touched) {
        if !self
            .dirs
            .values()
            .any(|dir| dir.linked || !dir.listing.links.is_empty())
        {
            return;
        }
        let old: Dirs = self.dirs.extract_if(.., |_, dir| dir.linked).collect();
        Walk {
            layout: &self.layout,
            known: Some(&old),
            timely: None,
            shared: self.once,
            dirs: &mut self.dirs,
        }
        .links();
        touched.extend(old.keys().cloned());
        let linked = self.dirs.iter().filter(|(_, dir)| dir.linked);
        touched.extend(linked.map(|(key, _)| key.clone()));
    }

    /// Finds the real directories on another device than the root, without those below another such directory.
    fn note_mounts(&mut self) {
        let root = self.dirs.get(&self.root.as_path() as &dyn Bytes);
        let root = root.and_then(Dir::ident);
        let mut mounts: BTreeSet<Utf8PathBuf> = BTreeSet::new();
        for (key, dir) in &self.dirs {
            let elsewhere = dir.ident().map(|ident| ident.0) != root.map(|ident| ident.0);
            if !dir.linked
                && dir.fault.is_none()
                && elsewhere
                && let Some(relative) = walk::relative(&self.layout, key.path())
                && !relative.ancestors().any(|above| mounts.contains(above))
            {
                mounts.insert(relative);
            }
        }
        Arc::make_mut(&mut self.tree).mounts = mounts;
    }

    /// Updates the tree from the directories, of which only `touched` may differ.
    fn publish(&mut self, touched: &Touched) -> Scan {
        let mut updates: BTreeMap<DaemonId, Option<Source>> = BTreeMap::new();
        for key in touched {
            let dir = self.dirs.get(key);
            let place = walk::place(&self.layout, key.path());
            let has_no_id = matches!(place, Place::Problem(_));
            if dir.is_some_and(|dir| dir.fault.is_some() || has_no_id && dir.definition.is_some()) {
                self.faulty.insert(key.path().to_owned());
            } else {
                self.faulty.remove(key.path());
            }
            if dir.is_some_and(|dir| !dir.listing.misnamed.is_empty()) {
                self.with_misnamed.insert(key.path().to_owned());
            } else {
                self.with_misnamed.remove(key.path());
            }
            let Place::Id(id) = place else {
                continue;
            };
            let new = dir
                .and_then(|dir| dir.definition.as_ref())
                .map(|definition| definition.source.clone());
            let same = match (self.tree.sources.get(&id), &new) {
                (Some(old), Some(new)) => old.same_as(new),
                (old, new) => old.is_none() && new.is_none(),
            };
            if !same {
                updates.insert(id, new);
            }
        }
        let tree = Arc::make_mut(&mut self.tree);
        tree.problems.clear();
        tree.blind.clear();
        let misnamed = self.with_misnamed.iter().flat_map(|path| {
            let dir = self.dirs.get(&path.as_path() as &dyn Bytes);
            let names = dir.into_iter().flat_map(|dir| &dir.listing.misnamed);
            names.map(|name| path.join(name))
        });
        tree.misnamed = misnamed.collect();
        for path in &self.faulty {
            let found = self
                .dirs
                .get(&path.as_path() as &dyn Bytes)
                .and_then(|dir| Some((dir, walk::problem(&self.layout, path, dir)?)));
            let Some((dir, problem)) = found else {
                continue;
            };
            if dir.fault.is_some()
                && let Some(relative) = walk::relative(&self.layout, path)
            {
                tree.blind.insert(relative, problem.clone());
            }
            if !matches!(problem.kind, ProblemKind::DanglingLink(_)) {
                tree.problems.push(problem);
            }
        }
        let changed = updates.keys().cloned().collect();
        for (id, source) in updates {
            match source {
                Some(source) => tree.sources.insert(id, source),
                None => tree.sources.remove(&id),
            };
        }
        Scan {
            tree: Arc::clone(&self.tree),
            changed,
        }
    }
}
