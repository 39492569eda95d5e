//! Creates and checks directories.

use std::fs::{DirBuilder, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Creates the directory `dir` and its parents. `top`, `dir` and every directory between them must be real directories, not
/// symbolic links; new ones get mode 0700.
///
/// # Errors
/// I/O errors of creating a directory or changing its mode; [`ErrorKind::NotADirectory`] when one of them is a symbolic link or a
/// file.
pub fn create_private_dirs(top: &Path, dir: &Path) -> Result<()> {
    if let Some(above) = top.parent()
        && !above.is_dir()
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(above)?;
    }
    for at in between(top, dir) {
        // Mostly it exists, and looking is quicker than failing to create it.
        if std::fs::symlink_metadata(at).is_err() {
            match DirBuilder::new().mode(0o700).create(at) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        make_private_dir(at)?;
    }
    Ok(())
}

/// Checks that `top`, `dir` and every directory between them, if they exist, are real directories and not symbolic links.
///
/// # Errors
/// [`ErrorKind::NotADirectory`] when one of them is a symbolic link or a file, and I/O errors of `lstat`.
pub fn check_dirs(top: &Path, dir: &Path) -> Result<()> {
    for at in between(top, dir) {
        match real_dir(at) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `top`, `dir` and the directories between them, from the top.
fn between<'a>(top: &Path, dir: &'a Path) -> Vec<&'a Path> {
    let mut found: Vec<&Path> = dir
        .ancestors()
        .take_while(|at| at.starts_with(top))
        .collect();
    found.reverse();
    found
}

fn make_private_dir(dir: &Path) -> Result<()> {
    let permissions = real_dir(dir)?;
    if permissions.mode() & 0o777 != 0o700 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The permissions of a directory that is not a link.
fn real_dir(dir: &Path) -> Result<Permissions> {
    let metadata = std::fs::symlink_metadata(dir)?;
    if !metadata.is_dir() {
        let what = match metadata.is_symlink() {
            true => "a symbolic link",
            false => "a file",
        };
        let message = format!("`{}` is {what}, not a directory", dir.display());
        return Err(Error::new(ErrorKind::NotADirectory, message));
    }
    Ok(metadata.permissions())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_are_private_and_never_links() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("above/top");
        create_private_dirs(&top, &top.join("a/b")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::fs::set_permissions(top.join("a"), Permissions::from_mode(0o755)).unwrap();
        create_private_dirs(&top, &top.join("a/b")).unwrap();
        for path in [&top, &top.join("a"), &top.join("a/b")] {
            assert_eq!(mode(path), 0o700);
        }
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o755)).unwrap();
        symlink(&elsewhere, top.join("link")).unwrap();
        for result in [
            create_private_dirs(&top, &top.join("link/c")),
            check_dirs(&top, &top.join("link/c")),
        ] {
            let error = result.unwrap_err();
            assert!(error.to_string().contains("is a symbolic link"), "{error}");
        }
        assert_eq!(mode(&elsewhere), 0o755);
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        check_dirs(&top, &top.join("a/b")).unwrap();
        check_dirs(&top, &top.join("not/there")).unwrap();
        assert!(!top.join("not").exists());
    }
}
