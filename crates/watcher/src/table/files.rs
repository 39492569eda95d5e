//! Watches files in addition to the tree, through the directory of each and every link on the way to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};

use super::{RELINKS, Table, WatchBackend, dir_ident, mark};
use crate::read::Ident;
use crate::resolve;

impl Table {
    /// Sets the files to watch in addition to the tree, replacing the previous set.
    pub(crate) fn set_files<R: WatchBackend>(
        &mut self,
        files: &BTreeSet<Utf8PathBuf>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        let is_wanted =
            |file: &PathBuf| Utf8Path::from_path(file).is_some_and(|file| files.contains(file));
        let gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|file| !is_wanted(file))
            .cloned()
            .collect();
        for file in gone {
            self.drop_file(&file, backend);
        }
        let new = files.iter().map(|file| file.as_std_path().to_owned());
        let new = new.filter(|file| !self.files.contains_key(file));
        self.stale_files.extend(new.collect::<Vec<_>>());
        // The caller reads these files anyway.
        self.find_files(&mut BTreeSet::new(), backend)
    }

    /// Checks whether the directories of the additional files are still the watched ones.
    pub(crate) fn check_files<R: WatchBackend>(
        &mut self,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        let replaced = self.entries.iter().filter(|(path, entry)| {
            !entry.files.is_empty() && dir_ident(path) != Some(entry.ident)
        });
        let replaced = replaced
            .flat_map(|(_, entry)| entry.files.values())
            .flatten();
        self.stale_files
            .extend(replaced.cloned().collect::<Vec<_>>());
        self.find_files(dirty, backend)
    }

    /// Resolves files again that may have moved, and watches the directories that they depend on now.
    pub(super) fn find_files<R: WatchBackend>(
        &mut self,
        dirty: &mut BTreeSet<Utf8PathBuf>,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        for _ in 0..RELINKS {
            let stale = std::mem::take(&mut self.stale_files);
            if stale.is_empty() {
                break;
            }
            for file in stale {
                mark(dirty, &file);
                self.drop_file(&file, backend);
                self.find_file(file, backend)?;
            }
        }
        Ok(())
    }

    fn find_file<R: WatchBackend>(
        &mut self,
        file: PathBuf,
        backend: &mut R,
    ) -> Result<(), R::Error> {
        let mut noted = Vec::new();
        let mut way = resolve::hops(&file);
        for _ in 0..RELINKS {
            let mut fresh = Vec::new();
            for (dir, name) in &way {
                let Some(ident) = dir_ident(dir) else {
                    continue;
                };
                let path = self.enter_dir(dir, ident, &mut fresh, backend);
                if let Some(entry) = self.entries.get_mut(&path) {
                    let files = entry.files.entry(name.clone()).or_default();
                    files.insert(file.clone());
                    noted.push((path, name.clone()));
                }
            }
            // The tree's own directories are reported by their parents when they come back. The replacement of one of these may
            // have its inode number, and would count as watched.
            for vanished in backend.watch(fresh)? {
                self.drop_entry(&vanished);
            }
            // A change before the watch began caused no event.
            let now = resolve::hops(&file);
            if now == way {
                break;
            }
            way = now;
        }
        self.files.insert(file, noted);
        Ok(())
    }

    /// The watched path of a directory on which a file depends.
    fn enter_dir<R: WatchBackend>(
        &mut self,
        dir: &Path,
        ident: Ident,
        fresh: &mut Vec<PathBuf>,
        backend: &mut R,
    ) -> PathBuf {
        if let Some(path) = self.by_ident.get(&ident).cloned() {
            if dir_ident(&path) == Some(ident) {
                return path;
            }
            // It was moved: events would have a path at which it no longer is.
            self.drop_entry(&path);
            backend.unwatch(&path);
        }
        self.insert(dir, ident);
        fresh.push(dir.to_owned());
        dir.to_owned()
    }

    /// Drops watches that are only needed for one file.
    fn drop_file<R: WatchBackend>(&mut self, file: &Path, backend: &mut R) {
        for (dir, name) in self.files.remove(file).unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&dir) else {
                continue;
            };
            if let Some(files) = entry.files.get_mut(&name) {
                files.remove(file);
                if files.is_empty() {
                    entry.files.remove(&name);
                }
            }
            if entry.is_unneeded() {
                self.drop_entry(&dir);
                backend.unwatch(&dir);
            }
        }
    }
}
