//! Paths as keys of ordered maps.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path as a key. A directory and everything below it form one contiguous range, as with `PathBuf`. But `PathBuf` splits both
/// paths for each comparison, which in a large tree was most of the work of a scan.
///
/// The path has no `.`, no doubled and no trailing separator; see [`clean`].
#[derive(Debug, Clone)]
pub(crate) struct Key(PathBuf);

/// A path without `.`, doubled and trailing separators.
pub(crate) fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

impl Key {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Anything with the bytes of a path, so that maps of [`Key`]s can be queried with borrowed paths.
pub(crate) trait Bytes {
    fn bytes(&self) -> &[u8];
}

impl Bytes for Key {
    fn bytes(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }
}

impl Bytes for &Path {
    fn bytes(&self) -> &[u8] {
        self.as_os_str().as_bytes()
    }
}

impl<'a> Borrow<dyn Bytes + 'a> for Key {
    fn borrow(&self) -> &(dyn Bytes + 'a) {
        self
    }
}

impl Ord for dyn Bytes + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.bytes(), other.bytes())
    }
}

impl PartialOrd for dyn Bytes + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Bytes + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for dyn Bytes + '_ {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.bytes(), other.bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

/// Orders by the bytes of components: a separator sorts before any other byte of a name.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    const STEP: usize = 8;
    let (words, _) = a.as_chunks::<STEP>();
    let (others, _) = b.as_chunks::<STEP>();
    let same = STEP * words.iter().zip(others).take_while(|(a, b)| a == b).count();
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a[same..]
        .iter()
        .zip(&b[same..])
        .find(|(a, b)| a != b)
        // Names contain no NUL.
        .map_or(a.len().cmp(&b.len()), |(a, b)| rank(a).cmp(&rank(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_paths_are() {
        let paths: Vec<PathBuf> = [
            "/w",
            "/w/a",
            "/w/a-b",
            "/w/a/b",
            "/w/a.b/c",
            "/w/ab",
            "/w/a/b/c",
            "/w/ä",
            "/w/a b",
            "/w/abcdefghijk",
            "/w/abcdefghijk/l",
            "/w/abcdefghijk-",
            "/",
        ]
        .iter()
        .map(PathBuf::from)
        .collect();
        for a in &paths {
            for b in &paths {
                let keys = Key::new(a.clone()).cmp(&Key::new(b.clone()));
                assert_eq!(keys, a.cmp(b), "{a:?} {b:?}");
            }
        }
    }
}
