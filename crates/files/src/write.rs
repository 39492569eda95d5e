//! Writes whole files, and removes temporary files of killed writers.

use std::fs::{File, Permissions};
use std::io::{Error, Result, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Whether a file must survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It can be recreated, so it is not flushed.
    Cached,
    /// It cannot be recreated: the file and its directory are flushed to disk.
    Synced,
}

/// The prefix of temporary file names.
pub const TEMPORARY_PREFIX: &str = ".pm2-sync-";

/// No write takes this long: an older temporary file was left by a killed writer.
const ABANDONED: Duration = Duration::from_secs(60);

/// Replaces the content of a file, or creates it. Readers see either the old content or the new content. The file gets mode 0600.
/// Its directory must exist. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// I/O errors of creating a file in that directory, writing to it, or renaming it.
pub fn write(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    // Created with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(dir)
        .map_err(without_path)?;
    file.write_all(bytes).map_err(without_path)?;
    if durability == Durability::Synced {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    if durability == Durability::Synced {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Checks that this many bytes can be written to new files in a directory. Leaves nothing behind.
///
/// # Errors
/// I/O errors of creating a file in that directory and writing to it.
pub fn check_room(dir: &Path, bytes: usize) -> Result<()> {
    let mut file = tempfile::tempfile_in(dir).map_err(without_path)?;
    file.write_all(&vec![0; bytes]).map_err(without_path)
}

/// The error without the random name of the temporary file, which would make each failure look like a new one.
fn without_path(error: Error) -> Error {
    Error::from(error.kind())
}

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only its owner: mode 0600.
    Private,
    /// The default: mode 0666 minus the umask.
    Shared,
}

/// Creates a file with this content, without overwriting, and never half-written. Its directory must exist.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`](std::io::ErrorKind::AlreadyExists) when a file or a link exists; otherwise as [`write()`].
pub fn create(path: &Path, bytes: &[u8], access: Access) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mode = match access {
        Access::Private => 0o600,
        Access::Shared => 0o666,
    };
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dir)
        .map_err(without_path)?;
    file.write_all(bytes).map_err(without_path)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

/// Makes `path` another name of a file, in place of what has that name. Both must be on the same file system.
///
/// # Errors
/// I/O errors of creating a hard link in that directory, and of renaming it.
pub fn link(file: &Path, path: &Path) -> Result<()> {
    let key = |path| std::fs::symlink_metadata(path).map(|it| (it.dev(), it.ino()));
    let own = key(file)?;
    if key(path).is_ok_and(|other| other == own) {
        // Renaming one name of a file to another one would do nothing and keep both.
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let link = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .make_in(dir, |temporary| std::fs::hard_link(file, temporary))
        .map_err(without_path)?;
    link.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Appends to a regular file, and keeps its mode.
///
/// # Errors
/// As [`open`](crate::open).
pub fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    crate::open::open_to_append(path)?.write_all(bytes)
}

/// Sets the time of a file or directory to now, with nanoseconds. Otherwise, two changes within a tick of the file system's clock
/// (some milliseconds) leave the same time.
///
/// # Errors
/// I/O errors of opening it and setting its time.
pub fn touch(path: &Path) -> Result<()> {
    File::open(path)?.set_modified(SystemTime::now())
}

/// Removes temporary files that killed calls of [`write()`] left directly in the directory `dir`. Files of the last minute are
/// kept: they may be about to be renamed. Files that cannot be removed stay.
pub fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_temporary = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY_PREFIX.as_bytes());
        if is_temporary && is_abandoned(&entry) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(entry: &std::fs::DirEntry) -> bool {
    let age = || -> Result<Duration> {
        let metadata = entry.metadata()?;
        if !metadata.is_file() {
            return Ok(Duration::ZERO);
        }
        let age = SystemTime::now().duration_since(metadata.modified()?);
        Ok(age.unwrap_or_default())
    };
    age().is_ok_and(|age| age >= ABANDONED)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_link_takes_the_place_of_a_file_and_leaves_no_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let [file, path] = ["file", "path"].map(|name| dir.path().join(name));
        std::fs::write(&file, "new").unwrap();
        std::fs::write(&path, "old").unwrap();
        for _ in 0..2 {
            link(&file, &path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        }
        // Replacing the file leaves what has the other name.
        write(&file, b"newer", Durability::Cached).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let missing = link(&dir.path().join("missing"), &path);
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_written_file_is_complete_and_private_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for durability in [Durability::Cached, Durability::Synced] {
            write(&path, b"content", durability).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        for (name, access, open) in [("a", Access::Private, false), ("b", Access::Shared, true)] {
            let path = dir.path().join(name);
            create(&path, b"first", access).unwrap();
            let error = create(&path, b"second", access).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&path).unwrap(), b"first");
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            // The umask of the process is not known here.
            assert_eq!(mode & 0o600, 0o600);
            assert!(open || mode & 0o077 == 0, "{mode:o}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let error = create(&link, b"", Access::Shared).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_failed_write_has_the_same_message_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/file");
        let error = || {
            write(&path, b"", Durability::Cached)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(), error());
    }

    #[test]
    fn a_touched_directory_has_a_time_of_its_own_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let times: std::collections::BTreeSet<SystemTime> = (0..100)
            .map(|_| {
                touch(dir.path()).unwrap();
                std::fs::metadata(dir.path()).unwrap().modified().unwrap()
            })
            .collect();
        assert_eq!(times.len(), 100);
    }

    #[test]
    fn a_sweep_removes_only_abandoned_temporary_files() {
        let dir = tempfile::tempdir().unwrap();
        let names = [".pm2-sync-abc", ".pm2-sync-new", "kept", ".hidden"];
        for name in names {
            let file = File::create(dir.path().join(name)).unwrap();
            if name != ".pm2-sync-new" {
                file.set_modified(SystemTime::now() - ABANDONED).unwrap();
            }
        }
        std::fs::create_dir(dir.path().join(".pm2-sync-dir")).unwrap();
        sweep(dir.path());
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".hidden", ".pm2-sync-dir", ".pm2-sync-new", "kept"]);
    }
}
