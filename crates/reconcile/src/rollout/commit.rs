//! The commit that a workspace has checked out, if it is a git repository.

use camino::{Utf8Path, Utf8PathBuf};
use files::Links;

/// The size limit for files that are read from git, in bytes. It allows for `packed-refs` of a repository with many branches.
const LIMIT: u64 = 16 << 20;

/// The commit that is checked out at `dir` or above it. None if there is no repository or no commit yet, or if it cannot be read.
/// Uncommitted changes are ignored.
///
/// Source: gitrepository-layout(5).
pub(super) fn checked_out(dir: &Utf8Path) -> Option<String> {
    let git = dir.ancestors().find_map(repository)?;
    let head = text(&git.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref:") else {
        return commit(&head);
    };
    let name = name.trim();
    // A linked work tree keeps its branches in the main repository.
    let common = match text(&git.join("commondir")) {
        Some(common) => git.join(common.trim()),
        None => git.clone(),
    };
    let dirs = [&git, &common];
    let loose = dirs
        .into_iter()
        .find_map(|dir| commit(&text(&dir.join(name))?));
    loose.or_else(|| packed(&text(&common.join("packed-refs"))?, name))
}

/// The git directory of a work tree.
fn repository(dir: &Utf8Path) -> Option<Utf8PathBuf> {
    let git = dir.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let link = text(&git)?;
    Some(dir.join(link.strip_prefix("gitdir:")?.trim()))
}

fn packed(refs: &str, name: &str) -> Option<String> {
    let mut lines = refs.lines().filter_map(|line| line.split_once(' '));
    lines.find_map(|(id, packed)| commit(id).filter(|_| packed == name))
}

/// Returns the text if it is a commit ID: SHA-1 or SHA-256.
fn commit(text: &str) -> Option<String> {
    let id = text.trim();
    let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && matches!(id.len(), 40 | 64)).then(|| id.to_owned())
}

fn text(path: &Utf8Path) -> Option<String> {
    let bytes = files::read(path.as_std_path(), Links::Follow, LIMIT).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn workspace(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        (dir, root)
    }

    #[test]
    fn a_commit_is_found_wherever_git_keeps_it() {
        let id = format!("{ID}\n");
        let packed = format!("# pack-refs with: peeled\nffff refs/heads/x\n{ID} refs/heads/main\n");
        let on_main = "ref: refs/heads/main\n";
        for (files, sub) in [
            (vec![(".git/HEAD", id.as_str())], ""),
            (
                vec![(".git/HEAD", on_main), (".git/refs/heads/main", &id)],
                "",
            ),
            (
                vec![(".git/HEAD", on_main), (".git/packed-refs", &packed)],
                "a/b",
            ),
            (
                vec![
                    ("tree/.git", "gitdir: ../.git/worktrees/tree\n"),
                    (".git/worktrees/tree/HEAD", on_main),
                    (".git/worktrees/tree/commondir", "../..\n"),
                    (".git/refs/heads/main", &id),
                ],
                "tree",
            ),
        ] {
            let (_dir, root) = workspace(&files);
            assert_eq!(
                checked_out(&root.join(sub)).as_deref(),
                Some(ID),
                "{files:?}"
            );
        }
    }

    #[test]
    fn without_a_valid_commit_there_is_none() {
        for files in [
            vec![(".git/HEAD", "ref: refs/heads/main\n")],
            vec![(".git/HEAD", "garbage")],
            vec![(".git", "garbage")],
        ] {
            let (_dir, root) = workspace(&files);
            assert_eq!(checked_out(&root), None, "{files:?}");
        }
    }
}
