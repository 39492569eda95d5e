//! Which directories are watched, and what a change in one of them concerns.
//!
//! Pure bookkeeping over a [`Registrar`], so that the backend stays small. Each directory is watched once,
//! by (device, inode): a backend reports one of the paths of an inode, not all. It is listed after it is
//! watched, never before, so that nothing is missed in between.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, Layout};

use crate::listing;
use crate::read::{Ident, ident};
use crate::resolve::{self, Hinge};
use crate::walk;

/// How often links are looked at again because one of them moved what another depends on. Whoever moves them
/// all the time causes events as well.
const RELINKS: u32 = 4;

/// What sets and removes the watch of one directory, without what lies below it.
pub(crate) trait Registrar {
    type Error;
    /// Watches what lies at these paths now, whatever lay there before; one that vanished or may not be watched
    /// is passed over.
    fn watch(&mut self, dirs: Vec<PathBuf>) -> Result<(), Self::Error>;
    fn unwatch(&mut self, dir: &Path);
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It appeared there.
    Here,
    /// It went away from there.
    Gone,
    /// It was written to, and closed.
    Written,
    /// Its metadata changed.
    Meta,
}

#[derive(Debug)]
struct Entry {
    ident: Ident,
    /// The path in the tree of definitions at which the directory is looked at, if at all.
    alias: Option<PathBuf>,
    /// Names in it on which links of the tree depend.
    hinges: BTreeMap<OsString, BTreeSet<PathBuf>>,
}

/// A symbolic link of the tree.
#[derive(Debug, Default)]
struct Link {
    /// How it was resolved last; empty before that.
    way: Vec<Hinge>,
    /// The hinges as they are noted in the entries.
    noted: Vec<Hinge>,
}

#[derive(Debug)]
pub(crate) struct Table {
    layout: Layout,
    /// By the path that is watched.
    entries: HashMap<PathBuf, Entry>,
    by_ident: HashMap<Ident, PathBuf>,
    /// From paths in the tree to paths that are watched.
    aliases: BTreeMap<PathBuf, PathBuf>,
    /// The links of the tree, to directories and to definitions.
    links: BTreeMap<PathBuf, Link>,
    /// Those of them that were found just now.
    found: Vec<PathBuf>,
    /// Paths of the tree that were looked at through an entry that was dropped, or links that depended on it.
    stale: BTreeSet<PathBuf>,
    /// Whether one of them may lead elsewhere now, or be another way to a directory.
    moved: bool,
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
        }
    }

    /// Watches the whole tree.
    pub(crate) fn fill<R: Registrar>(&mut self, registrar: &mut R) -> Result<(), R::Error> {
        let root = self.layout.daemons_dir().as_std_path().to_owned();
        self.add(vec![(root.clone(), root)], registrar)?;
        self.relink(&mut BTreeSet::new(), registrar)
    }

    /// Whether the root is watched.
    pub(crate) fn has_root(&self) -> bool {
        self.aliases
            .contains_key(self.layout.daemons_dir().as_std_path())
    }

    /// Takes in a change of a watched path: adds to `dirty` what it concerns, and watches what appeared.
    pub(crate) fn change<R: Registrar>(
        &mut self,
        path: &Path,
        change: Change,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        registrar: &mut R,
    ) -> Result<(), R::Error> {
        let own = self
            .entries
            .get(path)
            .and_then(|entry| entry.alias.clone())
            .filter(|_| change != Change::Written);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let (place, links) = self
            .entries
            .get(parent)
            .map_or_else(Default::default, |entry| {
                let place = entry.alias.as_ref().map(|alias| alias.join(name));
                (place, entry.hinges.get(name).cloned().unwrap_or_default())
            });
        for link in &links {
            mark(dirty, link);
        }
        if matches!(change, Change::Here | Change::Gone) {
            for link in links {
                self.forget(&link, registrar);
                self.found_link(link);
            }
        }
        for place in own.into_iter().chain(place).collect::<BTreeSet<_>>() {
            self.place(&place, path, change, dirty, registrar)?;
        }
        if self.moved || !self.found.is_empty() || !self.stale.is_empty() {
            self.relink(dirty, registrar)?;
        }
        Ok(())
    }

    /// Takes in a change at a path of the tree, `real` on disk.
    fn place<R: Registrar>(
        &mut self,
        place: &Path,
        real: &Path,
        change: Change,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        registrar: &mut R,
    ) -> Result<(), R::Error> {
        let name = place.file_name().unwrap_or_default();
        let is_definition = name == DEFINITION_FILE;
        if is_definition {
            mark(dirty, place);
        }
        let is_root = place == self.layout.daemons_dir();
        if change == Change::Written || (!is_root && listing::skips(&self.layout, name)) {
            return Ok(());
        }
        let watched = self.aliases.contains_key(place);
        // Of what moved on and was found elsewhere first, only what lay below it may be left.
        let known =
            !below(&self.aliases, place).is_empty() || !below(&self.links, place).is_empty();
        let kind = fs::symlink_metadata(place).map(|metadata| metadata.file_type());
        let is_dir =
            kind.as_ref().is_ok_and(fs::FileType::is_dir) || (is_root && walk::is_dir(real));
        let is_link = kind.is_ok_and(|kind| kind.is_symlink()) && !is_root;
        if !(known || is_dir || is_link) {
            // A file that is no definition, or one that came and went.
            return Ok(());
        }
        mark(dirty, place);
        if watched && is_dir && change == Change::Meta {
            return Ok(());
        }
        self.forget(place, registrar);
        if is_dir {
            self.add(vec![(place.to_owned(), real.to_owned())], registrar)?;
        } else if is_link {
            self.found_link(place.to_owned());
        }
        Ok(())
    }

    /// Watches directories (path in the tree, path on disk) and what lies below them.
    fn add<R: Registrar>(
        &mut self,
        mut level: Vec<(PathBuf, PathBuf)>,
        registrar: &mut R,
    ) -> Result<(), R::Error> {
        while !level.is_empty() {
            let mut fresh = Vec::new();
            level.retain(|(place, real)| self.enter(place, real, &mut fresh, registrar));
            registrar.watch(fresh)?;
            let mut next = Vec::new();
            for (place, real) in level {
                // What cannot be listed is the scan's to report.
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

    /// Notes a directory of the tree; false when there is nothing to do below it.
    fn enter<R: Registrar>(
        &mut self,
        place: &Path,
        real: &Path,
        fresh: &mut Vec<PathBuf>,
        registrar: &mut R,
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
                    // Reached by another way already.
                    Some(other) if other != place && !in_tree => {
                        entry.alias = Some(other);
                        return false;
                    }
                    // By a link that was found first; but the link may go, and this stays.
                    Some(other) if other != place => {
                        self.aliases.remove(&other);
                        self.stale.insert(other);
                    }
                    _ => {}
                }
                self.aliases.insert(place.to_owned(), path);
                return true;
            }
            // A directory of the tree is watched by its own path: what moved into the tree, or within it, is
            // found there before the event tells that it left.
            self.drop_entry(&path);
            registrar.unwatch(&path);
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
            hinges: BTreeMap::new(),
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
        self.stale.extend(entry.hinges.into_values().flatten());
    }

    /// Drops what is noted at and below a path of the tree.
    fn forget<R: Registrar>(&mut self, place: &Path, registrar: &mut R) {
        for alias in below(&self.aliases, place) {
            let Some(path) = self.aliases.remove(&alias) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(&path) else {
                continue;
            };
            entry.alias = None;
            let own = path.starts_with(place);
            // A link may lead to it as well, and is the way to it from now on.
            self.moved |= !self.links.is_empty();
            if own || entry.hinges.is_empty() {
                self.drop_entry(&path);
                if !own {
                    // The others went with what was deleted or moved: asking for it would cost a pass over
                    // all watches for each. This one lies elsewhere.
                    registrar.unwatch(&path);
                }
            }
        }
        for link in below(&self.links, place) {
            self.moved = true;
            self.unhinge(&link, registrar);
            self.links.remove(&link);
        }
    }

    /// Drops what is watched only for the sake of one link's way.
    fn unhinge<R: Registrar>(&mut self, link: &Path, registrar: &mut R) {
        let hinges = self.links.get_mut(link).map(std::mem::take);
        let hinges = hinges.map(|link| link.noted);
        for (dir, name) in hinges.unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&dir) else {
                continue;
            };
            if let Some(links) = entry.hinges.get_mut(&name) {
                links.remove(link);
                if links.is_empty() {
                    entry.hinges.remove(&name);
                }
            }
            if entry.alias.is_none() && entry.hinges.is_empty() {
                self.drop_entry(&dir);
                registrar.unwatch(&dir);
            }
        }
    }

    /// Resolves all links anew, and watches where they lead.
    fn relink<R: Registrar>(
        &mut self,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        registrar: &mut R,
    ) -> Result<(), R::Error> {
        for _ in 0..RELINKS {
            self.moved = false;
            self.found.clear();
            let mut work: Vec<PathBuf> = self.links.keys().rev().cloned().collect();
            while let Some(link) = work.pop() {
                if self.links.contains_key(&link) {
                    self.link(link, dirty, registrar)?;
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

    fn link<R: Registrar>(
        &mut self,
        link: PathBuf,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        registrar: &mut R,
    ) -> Result<(), R::Error> {
        let is_definition = link.file_name() == Some(OsStr::new(DEFINITION_FILE));
        let leads_to_dir = fs::metadata(&link).map(|metadata| metadata.is_dir());
        let way = if !is_definition && matches!(leads_to_dir, Ok(false)) {
            // To a file of no concern; that it is made to lead elsewhere is seen where it lies.
            Vec::new()
        } else {
            resolve::hinges(&link)
        };
        if self
            .links
            .get(&link)
            .is_some_and(|known| !known.way.is_empty() && known.way != way)
        {
            mark(dirty, &link);
            self.forget(&link, registrar);
        }
        let mut noted = Vec::new();
        let mut fresh = Vec::new();
        for (dir, name) in &way {
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
                let links = entry.hinges.entry(name.clone()).or_default();
                links.insert(link.clone());
                noted.push((path, name.clone()));
            }
        }
        registrar.watch(fresh)?;
        self.links.insert(link.clone(), Link { way, noted });
        if !is_definition
            && matches!(leads_to_dir, Ok(true))
            && let Ok(target) = fs::canonicalize(&link)
            && dir_ident(&target).is_some_and(|ident| !self.above.contains(&ident))
        {
            self.add(vec![(link, target)], registrar)?;
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
