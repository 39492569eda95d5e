//! Opens and reads files.

use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::owner::is_trusted;

/// Whether the last component of a path may be a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It may be a link; the target is opened.
    Follow,
    /// It must not be a link. For files that only pm2-sync creates, which are never links.
    Refuse,
}

/// Opening never blocks, and never acquires a controlling terminal.
const FLAGS: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a regular file for reading.
///
/// # Errors
/// [`ErrorKind::NotFound`] and the other errors of opening a file; [`ErrorKind::IsADirectory`] for a directory;
/// [`ErrorKind::InvalidInput`] for anything else that is not a regular file, and for a link that is not allowed.
pub fn open(path: &Path, links: Links) -> Result<File> {
    // Checked before opening, because opening a device can have effects, and afterwards, because the file may have been replaced.
    check_type(&match links {
        Links::Follow => std::fs::metadata(path)?,
        Links::Refuse => std::fs::symlink_metadata(path)?,
    })?;
    open_seen(path, links)
}

/// As [`open`], for a path that was just seen to be a regular file, with one system call less.
///
/// # Errors
/// As [`open`].
pub fn open_seen(path: &Path, links: Links) -> Result<File> {
    let file = open_with(path, OFlags::RDONLY, links)?;
    check_type(&file.metadata()?)?;
    Ok(file)
}

/// Opens a regular file for appending.
pub(crate) fn open_to_append(path: &Path) -> Result<File> {
    check_type(&std::fs::metadata(path)?)?;
    let file = open_with(path, OFlags::WRONLY | OFlags::APPEND, Links::Follow)?;
    check_type(&file.metadata()?)?;
    Ok(file)
}

fn open_with(path: &Path, flags: OFlags, links: Links) -> Result<File> {
    let links_flag = match links {
        Links::Follow => OFlags::empty(),
        Links::Refuse => OFlags::NOFOLLOW,
    };
    match rustix::fs::open(path, FLAGS | flags | links_flag, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::LOOP) if links == Links::Refuse => Err(link()),
        Err(error) => Err(error.into()),
    }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; [`ErrorKind::FileTooLarge`] when it has more than `limit` bytes.
pub fn read(path: &Path, links: Links, limit: u64) -> Result<Vec<u8>> {
    let file = open(path, links)?;
    let size = file.metadata()?.len();
    check_size(size, limit)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // It may have grown in the meantime.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// As [`read`]; `None` when there is no file.
///
/// # Errors
/// As [`read`], except [`ErrorKind::NotFound`] and [`ErrorKind::NotADirectory`], which mean that there is no file.
pub fn read_if_exists(path: &Path, links: Links, limit: u64) -> Result<Option<Vec<u8>>> {
    match read(path, links, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads the first bytes of a regular file, at most `most` of them.
///
/// # Errors
/// As [`open`].
pub fn read_start(path: &Path, links: Links, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, links)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the last bytes of a regular file, at most `most` of them.
///
/// # Errors
/// As [`open`].
pub fn read_end(path: &Path, links: Links, most: u64) -> Result<Vec<u8>> {
    let mut file = open(path, links)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file to lock it, read it and write it in place; creates it with mode 0600 if it does not exist. It must belong to the
/// caller or to root, and must not be a symbolic or hard link: the content must not end up in another file.
///
/// # Errors
/// As [`open`] with [`Links::Refuse`]; [`ErrorKind::PermissionDenied`] for a file of another user;
/// [`ErrorKind::InvalidInput`] for a file with a second name (a hard link).
pub fn open_to_lock(path: &Path) -> Result<File> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => check_type(&metadata)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = open_with(path, OFlags::RDWR | OFlags::CREATE, Links::Refuse)?;
    let metadata = file.metadata()?;
    check_type(&metadata)?;
    if !is_trusted(metadata.uid()) {
        let message = format!("it belongs to another user (uid {})", metadata.uid());
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    if metadata.nlink() > 1 {
        let message = "it is a hard link to another file";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(file)
}

/// Checks a size in bytes against a limit.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] when `size` is more than `limit`.
pub fn check_size(size: u64, limit: u64) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    let limit = match limit >> 20 {
        0 => format!("{limit} bytes"),
        mebibytes => format!("{mebibytes} MiB"),
    };
    let message = format!("it is larger than {limit}");
    Err(Error::new(ErrorKind::FileTooLarge, message))
}

fn check_type(metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let (error, what) = if kind.is_file() {
        return Ok(());
    } else if kind.is_symlink() {
        return Err(link());
    } else if kind.is_dir() {
        (ErrorKind::IsADirectory, "a directory")
    } else if kind.is_fifo() {
        (ErrorKind::InvalidInput, "a FIFO")
    } else if kind.is_socket() {
        (ErrorKind::InvalidInput, "a socket")
    } else {
        (ErrorKind::InvalidInput, "a device")
    };
    Err(Error::new(error, format!("it is {what}, not a file")))
}

fn link() -> Error {
    Error::new(ErrorKind::InvalidInput, "it is a symbolic link, not a file")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::{Durability, write};

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(made.unwrap().success());
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        for (name, message) in [
            ("dir", "it is a directory, not a file"),
            ("fifo", "it is a FIFO, not a file"),
            ("socket", "it is a socket, not a file"),
            ("device", "it is a device, not a file"),
        ] {
            let error = read(&at(name), Links::Follow, 10).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(open_seen(&at(name), Links::Follow).is_err(), "{name}");
            assert!(open_to_lock(&at(name)).is_err(), "{name}");
        }
        assert!(read(&at("loop"), Links::Follow, 10).is_err());
        let missing = read(&at("missing"), Links::Follow, 10).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let missing = read_if_exists(&at("missing"), Links::Follow, 10).unwrap();
        assert_eq!(missing, None);
    }

    #[test]
    fn links_are_followed_only_where_they_belong() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "text").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read(&link, Links::Follow, 10).unwrap(), b"text");
        for error in [
            read(&link, Links::Refuse, 10).unwrap_err(),
            open_seen(&link, Links::Refuse).unwrap_err(),
            open_to_lock(&link).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "it is a symbolic link, not a file");
        }
        write(&link, b"new", Durability::Cached).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"text");
        assert_eq!(read(&link, Links::Refuse, 10).unwrap(), b"new");
    }

    #[test]
    fn a_large_file_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = read(&path, Links::Refuse, 64 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 64 MiB");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn only_a_part_of_a_large_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "first and last").unwrap();
        assert_eq!(read_start(&path, Links::Follow, 5).unwrap(), b"first");
        assert_eq!(read_end(&path, Links::Follow, 4).unwrap(), b"last");
        assert_eq!(read_end(&path, Links::Follow, 99).unwrap().len(), 14);
    }

    #[test]
    fn a_lock_is_made_private_and_never_a_second_name_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, file, second) = (
            dir.path().join("lock"),
            dir.path().join("file"),
            dir.path().join("second"),
        );
        let mode = open_to_lock(&lock).unwrap().metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&file, "text").unwrap();
        std::fs::hard_link(&file, &second).unwrap();
        let error = open_to_lock(&second).unwrap_err();
        assert_eq!(error.to_string(), "it is a hard link to another file");
    }

    #[test]
    fn a_lock_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        open_to_lock(&lock).unwrap();
        if std::os::unix::fs::chown(&lock, Some(4242), None).is_err() {
            // Only root can give files away. Without root, only `is_trusted` is tested.
            return;
        }
        let error = open_to_lock(&lock).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("4242"), "{error}");
    }
}
