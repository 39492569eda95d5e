//! Tracks which directories are watched, and what a change in one of them affects.
//!
//! Pure bookkeeping over a [`WatchBackend`], so that the backend stays small. Each directory is watched once, identified by device
//! and inode, because a backend reports only one of an inode's paths. It is listed after it is watched, never before, so that
//! nothing is missed in between.

mod files;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, Layout};

use crate::change::Change;
use crate::listing;
use crate::read::{Ident, ident};
use crate::resolve::{self, LinkHop};
use crate::walk;

/// How often to resolve links again because one that others depend on has moved. If they keep moving, events report it anyway.
const RELINKS: u32 = 4;

/// Sets and removes the watch of one directory, without its subdirectories.
pub(crate) trait WatchBackend {
    type Error;
    /// Watches the directories that are at these paths now. Skips those that must not be watched; returns those that vanished.
    fn watch(&mut self, dirs: Vec<PathBuf>) -> Result<Vec<PathBuf>, Self::Error>;
    fn unwatch(&mut self, dir: &Path);
}

#[derive(Debug)]
struct Entry {
    ident: Ident,
    /// The path in the tree of definitions at which the directory is scanned, if it is.
    alias: Option<PathBuf>,
    /// Names in it on which links of the tree depend.
    hops: BTreeMap<OsString, BTreeSet<PathBuf>>,
    /// Names in it on which other watched files depend.
    files: BTreeMap<OsString, BTreeSet<PathBuf>>,
}

impl Entry {
    /// Whether nothing needs this watch.
    fn is_unneeded(&self) -> bool {
        self.alias.is_none() && self.hops.is_empty() && self.files.is_empty()
    }
}

/// A symbolic link of the tree.
#[derive(Debug, Default)]
struct Link {
    /// Its last resolution; empty before the first.
    hops: Vec<LinkHop>,
    /// The hops as recorded in the entries.
    recorded: Vec<LinkHop>,
}

#[derive(Debug)]
pub(crate) struct Table {
    layout: Layout,
    /// By watched path.
    entries: HashMap<PathBuf, Entry>,
    by_ident: HashMap<Ident, PathBuf>,
    /// From paths in the tree to watched paths.
    aliases: BTreeMap<PathBuf, PathBuf>,
    /// The links of the tree, to directories and to definitions.
    links: BTreeMap<PathBuf, Link>,
    /// Those that were found just now.
    found: Vec<PathBuf>,
    /// Paths of the tree that were scanned through a dropped entry, and links that depended on it.
    stale: BTreeSet<PathBuf>,
    /// Whether a link may lead elsewhere now, or be another path to a directory.
    moved: bool,
    /// Files watched in addition to the tree, each with the names on which it depends, as recorded in the entries.
    files: BTreeMap<PathBuf, Vec<LinkHop>>,
    /// Those files that may have moved.
    stale_files: BTreeSet<PathBuf>,
    above: HashSet<Ident>,
}

impl Table {
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            above: walk::above(&layout),
            layout,
            entries: HashMap::new(),
            by_ident: HashMap::new(),
            aliases: BTreeMap::new(),
            links: BTreeMap::new(),
            found: Vec::new(),
            stale: BTreeSet::new(),
            moved: false,
            files: BTreeMap::new(),
            stale_files: BTreeSet::new(),
        }
    }

    /// Watches the whole tree.
    pub(crate) fn fill<R: WatchBackend>(&mut self, backend: &mut R) -> Result<(), R::Error> {
        let root = self.layout.daemons_dir().as_std_path().to_owned();
        self.add(vec![(root.clone(), root)], backend)?;
        self.relink(&mut BTreeSet::new(), backend)
    }

    /// Whether the root is watched.
    pub(crate) fn has_root(&self) -> bool {
        self.aliases
            .contains_key(self.layout.daemons_dir().as_std_path())
    }

    /// Whether the path is one that is read: a definition, or a file watched in addition to the tree.
    pub(crate) fn is_read(&self, path: &Utf8Path) -> bool {
        path.file_name() == Some(DEFINITION_FILE) || self.files.contains_key(path.as_std_path())
    }

    /// Handles a change of a watched path: adds the affected paths to `dirty`, and watches new directories.
    pub(crate) fn change<R: WatchBackend>(
        &mut self,
        path: &Path,
        change: Change,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        let own = self
            .entries
            .get(path)
            .and_then(|entry| entry.alias.clone())
            .filter(|_| change != Change::Written);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let (place, links, files) =
            self.entries
                .get(parent)
                .map_or_else(Default::default, |entry| {
                    let place = entry.alias.as_ref().map(|alias| alias.join(name));
                    let links = entry.hops.get(name).cloned().unwrap_or_default();
                    let files = entry.files.get(name).cloned().unwrap_or_default();
                    (place, links, files)
                });
        for path in links.iter().chain(&files) {
            mark(dirty, path);
        }
        if change.is_of_name() {
            self.stale_files.extend(files);
            // The watched directory itself is gone or was replaced, possibly with the same inode number: it is no longer watched.
            self.drop_entry(path);
            for link in links {
                self.forget(&link, backend);
                self.found_link(link);
            }
        }
        for place in own.into_iter().chain(place).collect::<BTreeSet<_>>() {
            self.place(&place, path, change, dirty, backend)?;
        }
        if self.moved || !self.found.is_empty() || !self.stale.is_empty() {
            self.relink(dirty, backend)?;
        }
        self.find_files(dirty, backend)
    }

    /// Handles a change at a path of the tree, at `real` on disk.
    fn place<R: WatchBackend>(
        &mut self,
        place: &Path,
        real: &Path,
        change: Change,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        let name = place.file_name().unwrap_or_default();
        let is_definition = name == DEFINITION_FILE;
        let is_misnamed = listing::is_misnamed(name) && change.is_of_name();
        if is_definition || is_misnamed {
            mark(dirty, place);
        }
        let is_root = place == self.layout.daemons_dir();
        if change == Change::Written || (!is_root && listing::skips(&self.layout, name)) {
            return Ok(());
        }
        let watched = self.aliases.contains_key(place);
        // Of a directory that moved and was found elsewhere first, only its content may be left here.
        let known =
            !below(&self.aliases, place).is_empty() || !below(&self.links, place).is_empty();
        let kind = fs::symlink_metadata(place).map(|metadata| metadata.file_type());
        let is_dir =
            kind.as_ref().is_ok_and(fs::FileType::is_dir) || (is_root && walk::is_dir(real));
        let is_link = kind.is_ok_and(|kind| kind.is_symlink()) && !is_root;
        if !(known || is_dir || is_link) {
            // A file that is not a definition, or one that appeared and vanished.
            return Ok(());
        }
        mark(dirty, place);
        if watched && is_dir && change == Change::Meta {
            return Ok(());
        }
        self.forget(place, backend);
        if is_dir {
            self.add(vec![(place.to_owned(), real.to_owned())], backend)?;
        } else if is_link {
            self.found_link(place.to_owned());
        }
        Ok(())
    }

    /// Watches directories (path in the tree, path on disk) and their content.
    fn add<R: WatchBackend>(
        &mut self,
        mut level: Vec<(PathBuf, PathBuf)>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        while !level.is_empty() {
            let mut fresh = Vec::new();
            level.retain(|(place, real)| self.enter(place, real, &mut fresh, backend));
            backend.watch(fresh)?;
            let mut next = Vec::new();
            for (place, real) in level {
                // The scan reports directories that cannot be listed.
                let listed =
                    listing::open(&real).and_then(|(fd, _)| listing::list(&self.layout, fd));
                let Ok(listing) = listed else {
                    continue;
                };
                let definition = listing.definition_link.then(|| DEFINITION_FILE.into());
                for link in listing.links.into_iter().chain(definition) {
                    self.found_link(place.join(link));
                }
                let below = listing.dirs.into_iter();
                next.extend(below.map(|name| (place.join(&name), real.join(&name))));
            }
            level = next;
        }
        Ok(())
    }

    fn found_link(&mut self, link: PathBuf) {
        if !self.links.contains_key(&link) {
            self.links.insert(link.clone(), Link::default());
            self.found.push(link);
        }
    }

    /// Records a directory of the tree; false if there is nothing to do below it.
    fn enter<R: WatchBackend>(
        &mut self,
        place: &Path,
        real: &Path,
        fresh: &mut Vec<PathBuf>,
        backend: &mut R,
    ) -> bool {
        let Some(ident) = dir_ident(real) else {
            return false;
        };
        let in_tree = place == real;
        if let Some(path) = self.by_ident.get(&ident).cloned() {
            if path == real || !in_tree {
                let Some(entry) = self.entries.get_mut(&path) else {
                    return false;
                };
                match entry.alias.replace(place.to_owned()) {
                    // Reached by another path already.
                    Some(other) if other != place && !in_tree => {
                        entry.alias = Some(other);
                        return false;
                    }
                    // A link to it was found first; but the link may be removed, and this path stays.
                    Some(other) if other != place => {
                        self.aliases.remove(&other);
                        self.stale.insert(other);
                    }
                    _ => {}
                }
                self.aliases.insert(place.to_owned(), path);
                return true;
            }
            // A directory of the tree is watched by its own path: one that moved into or within the tree is found there before the
            // event reports that it left.
            self.drop_entry(&path);
            backend.unwatch(&path);
        }
        self.insert(real, ident);
        if let Some(entry) = self.entries.get_mut(real) {
            entry.alias = Some(place.to_owned());
        }
        self.aliases.insert(place.to_owned(), real.to_owned());
        fresh.push(real.to_owned());
        true
    }

    fn insert(&mut self, path: &Path, ident: Ident) {
        self.drop_entry(path);
        let entry = Entry {
            ident,
            alias: None,
            hops: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        self.entries.insert(path.to_owned(), entry);
        self.by_ident.insert(ident, path.to_owned());
    }

    fn drop_entry(&mut self, path: &Path) {
        let Some(entry) = self.entries.remove(path) else {
            return;
        };
        if self.by_ident.get(&entry.ident).is_some_and(|by| by == path) {
            self.by_ident.remove(&entry.ident);
        }
        if let Some(alias) = &entry.alias
            && self.aliases.get(alias).is_some_and(|by| by == path)
        {
            self.aliases.remove(alias);
        }
        self.stale.extend(entry.alias);
        self.stale.extend(entry.hops.into_values().flatten());
        self.stale_files.extend(entry.files.into_values().flatten());
    }

    /// Drops the entries at and below a path of the tree.
    fn forget<R: WatchBackend>(&mut self, place: &Path, backend: &mut R) {
        for alias in below(&self.aliases, place) {
            let Some(path) = self.aliases.remove(&alias) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(&path) else {
                continue;
            };
            entry.alias = None;
            let own = path.starts_with(place);
            // A link may lead to it as well, and is the only path to it from now on.
            self.moved |= !self.links.is_empty();
            if own || entry.is_unneeded() {
                self.drop_entry(&path);
                if !own {
                    // The others vanished with what was deleted or moved; unwatching each would cost a pass over all watches. This
                    // one is elsewhere.
                    backend.unwatch(&path);
                }
            }
        }
        for link in below(&self.links, place) {
            self.moved = true;
            self.drop_hops(&link, backend);
            self.links.remove(&link);
        }
    }

    /// Drops watches that are only needed for one link.
    fn drop_hops<R: WatchBackend>(&mut self, link: &Path, backend: &mut R) {
        let hops = self.links.get_mut(link).map(std::mem::take);
        let hops = hops.map(|link| link.recorded);
        for (dir, name) in hops.unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&dir) else {
                continue;
            };
            if let Some(links) = entry.hops.get_mut(&name) {
                links.remove(link);
                if links.is_empty() {
                    entry.hops.remove(&name);
                }
            }
            if entry.is_unneeded() {
                self.drop_entry(&dir);
                backend.unwatch(&dir);
            }
        }
    }

    /// Resolves all links again, and watches their targets.
    fn relink<R: WatchBackend>(
        &mut self,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        for _ in 0..RELINKS {
            self.moved = false;
            self.found.clear();
            let mut work: Vec<PathBuf> = self.links.keys().rev().cloned().collect();
            while let Some(link) = work.pop() {
                if self.links.contains_key(&link) {
                    self.link(link, dirty, backend)?;
                }
                work.append(&mut self.found);
            }
            for path in std::mem::take(&mut self.stale) {
                mark(dirty, &path);
                self.moved |= self.links.contains_key(&path);
            }
            if !self.moved {
                break;
            }
        }
        Ok(())
    }

    fn link<R: WatchBackend>(
        &mut self,
        link: PathBuf,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        let is_definition = link.file_name() == Some(OsStr::new(DEFINITION_FILE));
        let leads_to_dir = fs::metadata(&link).map(|metadata| metadata.is_dir());
        let hops = if !is_definition && matches!(leads_to_dir, Ok(false)) {
            // It leads to an irrelevant file; its directory reports a change of the link itself.
            Vec::new()
        } else {
            resolve::hops(&link)
        };
        if self
            .links
            .get(&link)
            .is_some_and(|known| !known.hops.is_empty() && known.hops != hops)
        {
            mark(dirty, &link);
            self.forget(&link, backend);
        }
        let mut recorded = Vec::new();
        let mut fresh = Vec::new();
        for (dir, name) in &hops {
            let Some(ident) = dir_ident(dir) else {
                continue;
            };
            let path = match self.by_ident.get(&ident) {
                Some(path) => path.clone(),
                None => {
                    self.insert(dir, ident);
                    fresh.push(dir.clone());
                    dir.clone()
                }
            };
            if let Some(entry) = self.entries.get_mut(&path) {
                let links = entry.hops.entry(name.clone()).or_default();
                links.insert(link.clone());
                recorded.push((path, name.clone()));
            }
        }
        backend.watch(fresh)?;
        self.links.insert(link.clone(), Link { hops, recorded });
        if !is_definition
            && matches!(leads_to_dir, Ok(true))
            && let Ok(target) = fs::canonicalize(&link)
            && dir_ident(&target).is_some_and(|ident| !self.above.contains(&ident))
        {
            self.add(vec![(link, target)], backend)?;
        }
        Ok(())
    }
}

/// The keys at and below a path.
fn below<V>(map: &BTreeMap<PathBuf, V>, path: &Path) -> Vec<PathBuf> {
    map.range::<Path, _>((Bound::Included(path), Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(path))
        .map(|(key, _)| key.clone())
        .collect()
}

fn dir_ident(path: &Path) -> Option<Ident> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_dir().then(|| ident(&metadata))
}

/// Adds a path, or the nearest one above it that is UTF-8.
fn mark(dirty: &mut BTreeSet<Utf8PathBuf>, path: &Path) {
    let path = path.ancestors().find_map(Utf8Path::from_path);
    dirty.extend(path.map(Utf8Path::to_owned));
}
