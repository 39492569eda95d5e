//! Artifacts on disk: the one file of this crate that touches files.
//!
//! An artifact is written as a whole or not at all, only for its owner (it holds environment variables), and not
//! touched when it says the same already.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DaemonId, Layout};
use serde_json::{Map, Value};

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The file is new or has new content.
    Written,
    /// It said the same already.
    Unchanged,
}

/// Why an artifact could not be handled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A directory cannot be made.
    #[error("cannot make the directory `{path}`")]
    MakeDirectory {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be removed.
    #[error("cannot remove `{path}`")]
    Remove {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory of artifacts cannot be listed.
    #[error("cannot list `{path}`")]
    List {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory holds somebody else's files.
    #[error(
        "`{path}` holds `{name}`, which pm2-sync did not write: generated configs need a directory of their own"
    )]
    Foreign {
        /// Which directory.
        path: Utf8PathBuf,
        /// One of the files.
        name: String,
    },
    /// An artifact's text is not what was written.
    #[error("the generated config is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// The start of the name of a file that is being written.
const TEMPORARY: &str = ".pm2-sync-";

/// Writes a file under the directory of artifacts.
///
/// # Errors
/// [`ArtifactError`].
pub fn write(layout: &Layout, path: &Utf8Path, bytes: &[u8]) -> Result<Outcome, ArtifactError> {
    let fail = |source| ArtifactError::Write {
        path: path.to_owned(),
        source,
    };
    if is_written(path, bytes)? {
        return Ok(Outcome::Unchanged);
    }
    if read(path)?.as_deref() == Some(bytes) {
        make_private(path, 0o600).map_err(fail)?;
        return Ok(Outcome::Unchanged);
    }
    let dir = path.parent().unwrap_or(layout.out_dir());
    make_dirs(layout, dir)?;
    write_whole(dir, path, bytes).map_err(fail)?;
    Ok(Outcome::Written)
}

/// Whether a file holds these bytes already, only for its owner, so that [`write()`] would leave it as it is.
///
/// # Errors
/// [`ArtifactError::Read`].
pub fn is_written(path: &Utf8Path, bytes: &[u8]) -> Result<bool, ArtifactError> {
    let same = || -> std::io::Result<bool> {
        let mut file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() != bytes.len() as u64 || metadata.permissions().mode() & 0o777 != 0o600 {
            return Ok(false);
        }
        let mut found = vec![0; bytes.len()];
        file.read_exact(&mut found)?;
        Ok(found == bytes)
    };
    same().or_else(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::UnexpectedEof => Ok(false),
        _ => Err(ArtifactError::Read {
            path: path.to_owned(),
            source,
        }),
    })
}

fn write_whole(dir: &Utf8Path, path: &Utf8Path, bytes: &[u8]) -> std::io::Result<()> {
    // Made with mode 0600. It can be made anew at any time, so nothing waits for the disk.
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn make_private(path: &Utf8Path, mode: u32) -> std::io::Result<()> {
    let has = std::fs::symlink_metadata(path)?.permissions().mode() & 0o777;
    if has != mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Makes a directory below the workspace's root with those above it; all that are ours are only for their owner.
fn make_dirs(layout: &Layout, dir: &Utf8Path) -> Result<(), ArtifactError> {
    let fail = |source| ArtifactError::MakeDirectory {
        path: dir.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(fail)?;
    let ours = dir
        .ancestors()
        .take_while(|at| at.starts_with(layout.out_dir()));
    for at in ours {
        make_private(at, 0o700).map_err(fail)?;
    }
    Ok(())
}

/// Makes sure that version control passes over what is generated: a `.gitignore` of `*` in the directory of artifacts,
/// or in the directory above it below the root whose name begins with `.`, such as `.generated`.
///
/// # Errors
/// [`ArtifactError::Foreign`] when the directory already holds what somebody else put there; otherwise why it cannot
/// be written to.
pub fn ensure_ignored(layout: &Layout) -> Result<(), ArtifactError> {
    let out = layout.out_dir();
    let hidden = out
        .strip_prefix(layout.root())
        .ok()
        .and_then(|relative| relative.components().next())
        .filter(|first| first.as_str().starts_with('.'));
    let top = hidden.map_or_else(|| out.to_owned(), |first| layout.root().join(first));
    let path = top.join(".gitignore");
    if path.exists() {
        return Ok(());
    }
    // What would be hidden must be ours, not a directory of somebody's own files.
    if top == out {
        let entries = top.read_dir_utf8().into_iter().flatten().flatten();
        let foreign = entries
            .map(|entry| entry.file_name().to_owned())
            .find(|name| !name.starts_with(TEMPORARY) && !is_ours(&top.join(name)));
        if let Some(name) = foreign {
            return Err(ArtifactError::Foreign { path: top, name });
        }
    }
    make_dirs(layout, out)?;
    write_whole(&top, &path, b"*\n").map_err(|source| ArtifactError::Write { path, source })
}

/// Whether a file was written by pm2-sync: it begins with the header. A directory is, when it was made for such files.
fn is_ours(path: &Utf8Path) -> bool {
    if path.is_dir() {
        let mut entries = path.read_dir_utf8().into_iter().flatten().flatten();
        return entries.all(|entry| is_ours(entry.path()));
    }
    let mut start = [0; 64];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut start));
    let start = String::from_utf8_lossy(&start[..read.unwrap_or(0)]).into_owned();
    start
        .trim_start_matches(['{', '\n', ' '])
        .starts_with(crate::json::HEADER_START)
}

/// Reads a file; none when it is not there.
///
/// # Errors
/// [`ArtifactError::Read`].
pub fn read(path: &Utf8Path) -> Result<Option<Vec<u8>>, ArtifactError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(ArtifactError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The document in an artifact's text, without its header.
///
/// # Errors
/// [`ArtifactError::Damaged`].
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, ArtifactError> {
    crate::json::from_json(bytes).map_err(ArtifactError::Damaged)
}

/// Removes a file, and the directories that it leaves empty up to the directory of artifacts. One that is not there
/// is no error.
///
/// # Errors
/// [`ArtifactError::Remove`].
pub fn remove(layout: &Layout, path: &Utf8Path) -> Result<(), ArtifactError> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => {
            return Err(ArtifactError::Remove {
                path: path.to_owned(),
                source,
            });
        }
    }
    let emptied = path
        .ancestors()
        .skip(1)
        .take_while(|dir| dir.starts_with(layout.out_dir()) && *dir != layout.out_dir());
    for dir in emptied {
        // One that is not empty stays, with all above it.
        if std::fs::remove_dir(dir).is_err() {
            break;
        }
    }
    Ok(())
}

/// The daemons that have an artifact, sorted.
///
/// # Errors
/// [`ArtifactError::List`].
pub fn list(layout: &Layout) -> Result<Vec<DaemonId>, ArtifactError> {
    list_others(layout, |_| false)
}

/// The daemons that have an artifact and are not `known`, sorted. Each of their files is looked into, for only what has
/// our header is an artifact; where all are known this is cheap.
///
/// # Errors
/// [`ArtifactError::List`].
pub fn list_others(
    layout: &Layout,
    known: impl Fn(&DaemonId) -> bool,
) -> Result<Vec<DaemonId>, ArtifactError> {
    let mut found = Vec::new();
    let mut dirs = vec![layout.out_dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        let fail = |source| ArtifactError::List {
            path: dir.clone(),
            source,
        };
        let entries = match dir.read_dir_utf8() {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => return Err(fail(source)),
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let kind = entry.file_type().map_err(fail)?;
            if kind.is_dir() {
                dirs.push(entry.path().to_owned());
            } else if let Some(id) = layout.artifact_id(entry.path())
                && !known(&id)
                && is_ours(entry.path())
            {
                found.push(id);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Removes what a killed run left half-written in the directory of artifacts. Only for the one writer: another's
/// file may be about to be renamed.
pub fn sweep(layout: &Layout) {
    let mut dirs = vec![layout.out_dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir_utf8().into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path().to_owned());
            } else if entry.file_name().starts_with(TEMPORARY) {
                // What cannot be removed harms nobody.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An artifact with the header that makes it one.
    fn text() -> String {
        crate::to_json(&Map::new(), Some(&crate::header(Utf8Path::new("x.edn"))))
    }

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Utf8Path::from_path(dir.path()).unwrap());
        (dir, layout)
    }

    fn mode(path: &Utf8Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn artifacts_are_private_and_ignored() {
        let (_dir, layout) = layout();
        let id = DaemonId::new("mcp/serena").unwrap();
        let path = layout.artifact_path(&id);
        ensure_ignored(&layout).unwrap();
        assert_eq!(
            write(&layout, &path, text().as_bytes()).unwrap(),
            Outcome::Written
        );
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(layout.out_dir()), 0o700);
        let ignore = layout.root().join(".generated/.gitignore");
        assert_eq!(std::fs::read_to_string(ignore).unwrap(), "*\n");
        assert_eq!(list(&layout).unwrap(), [id]);
    }

    #[test]
    fn the_same_bytes_leave_the_file_alone_but_mend_its_mode() {
        let (_dir, layout) = layout();
        let path = layout.artifact_path(&DaemonId::new("a").unwrap());
        write(&layout, &path, b"x").unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(write(&layout, &path, b"x").unwrap(), Outcome::Unchanged);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            std::fs::metadata(&path).unwrap().modified().unwrap(),
            before
        );
        assert_eq!(write(&layout, &path, b"y").unwrap(), Outcome::Written);
    }

    #[test]
    fn somebody_elses_files_are_neither_listed_nor_hidden() {
        let (_dir, layout) = layout();
        let theirs = Layout::with_dirs(layout.root(), "system/daemons", "config", ["node_modules"]);
        std::fs::create_dir(theirs.out_dir()).unwrap();
        std::fs::write(theirs.out_dir().join("app.json"), "{\"name\": \"x\"}").unwrap();
        assert_eq!(list(&theirs).unwrap(), []);
        let error = ensure_ignored(&theirs).unwrap_err();
        assert!(
            matches!(&error, ArtifactError::Foreign { name, .. } if name == "app.json"),
            "{error}"
        );
        assert!(!theirs.out_dir().join(".gitignore").exists());
    }

    #[test]
    fn removing_takes_empty_directories_along() {
        let (_dir, layout) = layout();
        let (deep, other) = (
            DaemonId::new("a/b/c").unwrap(),
            DaemonId::new("a/d").unwrap(),
        );
        for id in [&deep, &other] {
            write(&layout, &layout.artifact_path(id), text().as_bytes()).unwrap();
        }
        remove(&layout, &layout.artifact_path(&deep)).unwrap();
        assert!(!layout.out_dir().join("a/b").exists());
        assert_eq!(list(&layout).unwrap(), [other]);
    }

    #[test]
    fn leftovers_of_a_killed_run_are_swept() {
        let (_dir, layout) = layout();
        write(
            &layout,
            &layout.artifact_path(&DaemonId::new("a").unwrap()),
            text().as_bytes(),
        )
        .unwrap();
        let leftover = layout.out_dir().join(".pm2-sync-x1y2");
        std::fs::write(&leftover, "{").unwrap();
        sweep(&layout);
        assert!(!leftover.exists());
        assert_eq!(list(&layout).unwrap().len(), 1);
    }
}
