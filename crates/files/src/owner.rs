//! Decides which file owners are trusted: the caller and root.
//!
//! Root has access to everything anyway. Any other owner of a file can change it at any time, even while it is in use.

use std::io::{ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether this user is the caller or root.
#[must_use]
pub fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// The owner of the file or directory at `path`, or of a link in its place, unless `is_trusted` accepts that owner. Most callers
/// pass [`is_trusted`]. A path that does not exist has no owner.
///
/// # Errors
/// I/O errors of `stat`.
pub fn foreign_owner(path: &Path, is_trusted: impl Fn(u32) -> bool) -> Result<Option<u32>> {
    for metadata in [std::fs::symlink_metadata(path), std::fs::metadata(path)] {
        match metadata {
            Ok(metadata) if !is_trusted(metadata.uid()) => return Ok(Some(metadata.uid())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    #[test]
    fn only_the_caller_and_root_are_trusted() {
        let own = rustix::process::geteuid().as_raw();
        assert!(is_trusted(own) && is_trusted(0));
        assert!(!is_trusted(own + 1));
    }

    #[test]
    fn a_link_counts_like_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &link, &dir.path().join("missing")] {
            assert_eq!(foreign_owner(path, is_trusted).unwrap(), None);
        }
        // Only root can give files away. Other users only test that their own files are trusted.
        if lchown(&link, Some(4242), None).is_ok() {
            assert_eq!(foreign_owner(&link, is_trusted).unwrap(), Some(4242));
            assert_eq!(foreign_owner(&link, |_| true).unwrap(), None);
            lchown(&link, Some(0), None).unwrap();
            std::os::unix::fs::chown(&file, Some(4242), None).unwrap();
            assert_eq!(foreign_owner(&link, is_trusted).unwrap(), Some(4242));
        }
    }
}
