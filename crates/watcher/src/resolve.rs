//! Resolves a symbolic link step by step, to find every directory entry whose change can redirect it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The limit of the kernel.
const MAX_LINKS: usize = 40;

/// A directory entry on which a link depends.
pub(crate) type LinkHop = (PathBuf, OsString);

/// Every symbolic link on the way from the absolute `path` to its target, and the last entry itself, or the first missing one.
/// Watching these shows when the link leads elsewhere, or to something new.
pub(crate) fn hops(path: &Path) -> Vec<LinkHop> {
    let mut hops = Vec::new();
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names(path);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        match fs::read_link(&next) {
            Ok(target) => {
                hops.push((at.clone(), name));
                links += 1;
                if links > MAX_LINKS {
                    break;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            Err(_) if rest.is_empty() || fs::symlink_metadata(&next).is_err() => {
                hops.push((at, name));
                break;
            }
            Err(_) => at = next,
        }
    }
    hops
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsStr::new("..").to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_a_hop() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("v1/sub")).unwrap();
        symlink("v1", at.join("data")).unwrap();
        fs::create_dir(at.join("tree")).unwrap();
        symlink("../data/sub", at.join("tree/link")).unwrap();
        let hop = |dir: &str, name: &str| (at.join(dir), OsString::from(name));
        let expected = [hop("tree", "link"), hop("", "data"), hop("v1", "sub")];
        let found = hops(&at.join("tree/link"));
        assert_eq!(
            found
                .iter()
                .map(|(dir, name)| (dir.join(""), name.clone()))
                .collect::<Vec<_>>(),
            expected
                .iter()
                .map(|(dir, name)| (dir.join(""), name.clone()))
                .collect::<Vec<_>>()
        );
        symlink("../gone/x", at.join("tree/dangling")).unwrap();
        let found = hops(&at.join("tree/dangling"));
        assert_eq!(found.last().unwrap().1, "gone");
        symlink("loop", at.join("tree/loop")).unwrap();
        assert!(hops(&at.join("tree/loop")).len() > MAX_LINKS);
    }
}
