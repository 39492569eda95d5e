//! Artifacts on disk. The only file of this crate that accesses files.
//!
//! An artifact is written completely or not at all, is readable only by its owner (it contains environment variables), and is not
//! touched if it already has the right content. Directories of artifacts are never symbolic links, so files elsewhere are neither
//! changed nor created.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DaemonId, DaemonMap, Layout};
use files::{Durability, Links, TEMPORARY_PREFIX};
use serde_json::{Map, Value};

/// The largest artifact that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The file is new or was changed.
    Written,
    /// It had this content already.
    Unchanged,
}

/// The state of an artifact on disk, compared with the desired text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisk {
    /// The file does not exist.
    Missing,
    /// The file has other content.
    Different,
    /// The file has this content.
    Same,
}

/// Why an operation on an artifact failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A directory cannot be created, or is not a real directory.
    #[error("cannot use the directory `{path}`")]
    Directory {
        /// The directory.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be removed.
    #[error("cannot remove `{path}`")]
    Remove {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The directory contains files that pm2-sync did not write.
    #[error(
        "`{path}` contains `{name}`, which pm2-sync did not write: generated configs need a directory of their own"
    )]
    Foreign {
        /// The directory.
        path: Utf8PathBuf,
        /// One of the files.
        name: String,
    },
    /// The content of an artifact is not valid.
    #[error("`{path}` is damaged")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
}

/// The artifacts of one workspace. Caches the text that was last read from or written to each file, so that the same text is
/// neither read nor written again.
#[derive(Debug)]
pub struct ArtifactStore {
    layout: Layout,
    known: Mutex<Known>,
}

/// The texts that the files are known to have.
#[derive(Debug, Default)]
struct Known {
    /// Those of the last complete update.
    all: DaemonMap<Arc<str>>,
    /// Later ones.
    since: HashMap<DaemonId, Arc<str>>,
}

impl Known {
    fn has(&self, id: &DaemonId, text: &Arc<str>) -> bool {
        let known = self.since.get(id).or_else(|| self.all.get(id));
        known.is_some_and(|known| Arc::ptr_eq(known, text))
    }
}

impl ArtifactStore {
    /// The artifacts of the workspace that `layout` describes. Accesses no files.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            layout: layout.clone(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The texts that were not yet read from or written to the files of their daemons.
    #[must_use]
    pub fn unknown<'t>(&self, texts: &'t DaemonMap<Arc<str>>) -> Vec<(&'t DaemonId, &'t Arc<str>)> {
        let known = self.known();
        let others = known.all.differences(texts, Arc::ptr_eq);
        let others = others.into_iter().filter_map(|id| texts.get_key_value(id));
        others.filter(|(id, text)| !known.has(id, text)).collect()
    }

    /// Notes that all files have these texts.
    pub fn note_all(&self, texts: &DaemonMap<Arc<str>>) {
        let mut known = self.known();
        known.all = texts.clone();
        known.since.clear();
    }

    /// Clears the cache: other programs may have changed files since.
    pub fn forget(&self) {
        *self.known() = Known::default();
    }

    /// The topmost directory that is created for artifacts: the first one below the workspace's root.
    fn top(&self) -> Utf8PathBuf {
        let (root, out) = (self.layout.root(), self.layout.out_dir());
        let first = out
            .strip_prefix(root)
            .ok()
            .and_then(|relative| relative.components().next());
        first.map_or_else(|| out.to_owned(), |first| root.join(first))
    }

    /// Whether the file of a daemon has this text.
    ///
    /// # Errors
    /// [`ArtifactError::Read`] when the path is not a file, or the file cannot be read.
    pub fn compare(&self, id: &DaemonId, text: &Arc<str>) -> Result<OnDisk, ArtifactError> {
        self.compare_and(id, text, &mut |_| Ok(false))
    }

    /// Compares the text. A file with the right text that others can read counts as equal only after `mend` has made it private.
    fn compare_and(
        &self,
        id: &DaemonId,
        text: &Arc<str>,
        mend: &mut dyn FnMut(&File) -> std::io::Result<bool>,
    ) -> Result<OnDisk, ArtifactError> {
        if self.known().has(id, text) {
            return Ok(OnDisk::Same);
        }
        let path = self.layout.artifact_path(id);
        let mut compare = || -> std::io::Result<OnDisk> {
            let Some(file) = open_same(path.as_std_path(), text.as_bytes())? else {
                return Ok(OnDisk::Different);
            };
            let is_private = file.metadata()?.permissions().mode() & 0o777 == 0o600;
            if is_private || mend(&file)? {
                self.known().since.insert(id.clone(), Arc::clone(text));
            }
            Ok(OnDisk::Same)
        };
        match compare() {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(OnDisk::Missing)
            }
            compared => compared.map_err(|source| ArtifactError::Read { path, source }),
        }
    }

    /// Writes the text to the file of a daemon, if it differs. Anything in its place is replaced, except a directory.
    ///
    /// # Errors
    /// [`ArtifactError::Directory`] when a directory cannot be created or is a link, [`ArtifactError::Write`] when the file cannot
    /// be written.
    pub fn write(&self, id: &DaemonId, text: &Arc<str>) -> Result<Outcome, ArtifactError> {
        let mut make_private = |file: &File| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok(true)
        };
        if matches!(
            self.compare_and(id, text, &mut make_private),
            Ok(OnDisk::Same)
        ) {
            return Ok(Outcome::Unchanged);
        }
        let path = self.layout.artifact_path(id);
        self.make_dirs(path.parent().unwrap_or(self.layout.out_dir()))?;
        files::write(path.as_std_path(), text.as_bytes(), Durability::Cached)
            .map_err(|source| ArtifactError::Write { path, source })?;
        self.known().since.insert(id.clone(), Arc::clone(text));
        Ok(Outcome::Written)
    }

    /// Creates a directory below the directory of artifacts, with its parents.
    fn make_dirs(&self, dir: &Utf8Path) -> Result<(), ArtifactError> {
        let out = self.layout.out_dir();
        files::check_dirs(self.top().as_std_path(), out.as_std_path())
            .and_then(|()| files::create_private_dirs(out.as_std_path(), dir.as_std_path()))
            .map_err(|source| ArtifactError::Directory {
                path: dir.to_owned(),
                source,
            })
    }

    /// Ensures that git ignores generated files: a `.gitignore` with `*` in the directory of artifacts, or in its parent below the
    /// root whose name starts with `.`, such as `.generated`.
    ///
    /// # Errors
    /// [`ArtifactError::Foreign`] when the directory contains files that pm2-sync did not write; [`ArtifactError::Directory`] and
    /// [`ArtifactError::Write`] when it cannot be written to.
    pub fn prepare(&self) -> Result<(), ArtifactError> {
        let out = self.layout.out_dir();
        let top = match self.top() {
            top if top.file_name().is_some_and(|name| name.starts_with('.')) => top,
            _ => out.to_owned(),
        };
        let path = top.join(".gitignore");
        if path.exists() {
            return self.make_dirs(out);
        }
        // A directory with files that pm2-sync did not write must not be ignored.
        if top == out {
            let entries = top.read_dir_utf8().into_iter().flatten().flatten();
            let foreign = entries
                .map(|entry| entry.file_name().to_owned())
                .find(|name| !name.starts_with(TEMPORARY_PREFIX) && !is_ours(&top.join(name)));
            if let Some(name) = foreign {
                return Err(ArtifactError::Foreign { path: top, name });
            }
        }
        self.make_dirs(out)?;
        files::write(path.as_std_path(), b"*\n", Durability::Cached)
            .map_err(|source| ArtifactError::Write { path, source })
    }

    /// The document of a daemon's artifact, without its header; `None` if there is no artifact.
    ///
    /// # Errors
    /// [`ArtifactError::Read`] when it cannot be read, [`ArtifactError::Damaged`] when its content is not valid.
    pub fn read(&self, id: &DaemonId) -> Result<Option<Map<String, Value>>, ArtifactError> {
        let path = self.layout.artifact_path(id);
        match files::read_if_exists(path.as_std_path(), Links::Refuse, LIMIT) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => match parse(&bytes) {
                Ok(document) => Ok(Some(document)),
                Err(source) => Err(ArtifactError::Damaged { path, source }),
            },
            Err(source) => Err(ArtifactError::Read { path, source }),
        }
    }

    /// Removes the artifact of a daemon, and directories that become empty, up to the directory of artifacts. It is no error if it
    /// does not exist.
    ///
    /// # Errors
    /// [`ArtifactError::Remove`] when it cannot be removed, or is in a directory that is a link.
    pub fn remove(&self, id: &DaemonId) -> Result<(), ArtifactError> {
        let mut known = self.known();
        known.all.remove(id);
        known.since.remove(id);
        drop(known);
        let (path, out) = (self.layout.artifact_path(id), self.layout.out_dir());
        let dir = path.parent().unwrap_or(out);
        let removed = files::check_dirs(self.top().as_std_path(), dir.as_std_path())
            .and_then(|()| std::fs::remove_file(&path));
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(ArtifactError::Remove { path, source }),
        }
        let emptied = path
            .ancestors()
            .skip(1)
            .take_while(|dir| dir.starts_with(out) && *dir != out);
        for dir in emptied {
            // A directory that is not empty stays, and so do its parents.
            if std::fs::remove_dir(dir).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The daemons that have an artifact and are not `defined`, sorted. Reads the start of each such file, because only a file with
    /// the header is an artifact.
    ///
    /// # Errors
    /// [`ArtifactError::Directory`] when the directory of artifacts cannot be listed or is a link. A subdirectory that cannot be
    /// listed is skipped: its artifacts are left alone.
    pub fn list(
        &self,
        defined: impl Fn(&DaemonId) -> bool,
    ) -> Result<Vec<DaemonId>, ArtifactError> {
        self.walk(&mut |_| {}, defined)
    }

    /// As [`list`](Self::list), for the holder of the lock: also removes temporary files of killed runs.
    ///
    /// # Errors
    /// [`ArtifactError::Directory`] when the directory of artifacts cannot be listed or is a link.
    pub fn sweep(
        &self,
        defined: impl Fn(&DaemonId) -> bool,
    ) -> Result<Vec<DaemonId>, ArtifactError> {
        let top = self.top();
        if top != self.layout.out_dir() {
            files::sweep(top.as_std_path());
        }
        self.walk(&mut |dir| files::sweep(dir.as_std_path()), defined)
    }

    /// Lists artifacts; `on_temporary` is called with each directory that contains temporary files.
    fn walk(
        &self,
        on_temporary: &mut dyn FnMut(&Utf8Path),
        defined: impl Fn(&DaemonId) -> bool,
    ) -> Result<Vec<DaemonId>, ArtifactError> {
        let out = self.layout.out_dir();
        let fail = |source| ArtifactError::Directory {
            path: out.to_owned(),
            source,
        };
        files::check_dirs(self.top().as_std_path(), out.as_std_path()).map_err(fail)?;
        let mut found = Vec::new();
        let mut dirs = vec![out.to_owned()];
        while let Some(dir) = dirs.pop() {
            let entries = match dir.read_dir_utf8() {
                Ok(entries) => entries,
                Err(error) if error.kind() != ErrorKind::NotFound && dir == out => {
                    return Err(fail(error));
                }
                Err(_) => continue,
            };
            let mut has_temporary = false;
            for entry in entries.flatten() {
                has_temporary |= entry.file_name().starts_with(TEMPORARY_PREFIX);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    dirs.push(entry.path().to_owned());
                } else if let Some(id) = self.layout.artifact_id(entry.path())
                    && !defined(&id)
                    && is_ours(entry.path())
                {
                    found.push(id);
                }
            }
            if has_temporary {
                on_temporary(&dir);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Opens a file with exactly these bytes; `None` if it has others.
fn open_same(path: &Path, bytes: &[u8]) -> std::io::Result<Option<File>> {
    // The type is not checked first: only root can create devices, and opening anything else has no effect.
    let mut file = files::open_seen(path, Links::Refuse)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        return Ok(None);
    }
    let mut found = vec![0; bytes.len()];
    match file.read_exact(&mut found) {
        Ok(()) => Ok((found == bytes).then_some(file)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file was written by pm2-sync: it starts with the header. A directory counts if it was created for such files.
fn is_ours(path: &Utf8Path) -> bool {
    if path.is_dir() {
        let mut entries = path.read_dir_utf8().into_iter().flatten().flatten();
        return entries.all(|entry| is_ours(entry.path()));
    }
    let start = files::read_start(path.as_std_path(), Links::Refuse, 64).unwrap_or_default();
    String::from_utf8_lossy(&start)
        .trim_start_matches(['{', '\n', ' '])
        .starts_with(crate::json::HEADER_START)
}

/// The document in an artifact's text, without its header.
///
/// # Errors
/// The error of the JSON parser.
pub fn parse(bytes: &[u8]) -> serde_json::Result<Map<String, Value>> {
    crate::json::from_json(bytes)
}

#[cfg(test)]
mod tests;
