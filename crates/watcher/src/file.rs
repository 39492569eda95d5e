//! Reads one file that a definition refers to, with the same care as a definition.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::read::{Stamp, read_whole};

/// A file as it was read at one moment.
#[derive(Debug, Clone)]
pub struct SeenFile {
    /// What was found.
    pub found: FoundFile,
    /// None when it is to be read again each time.
    stamp: Option<Stamp>,
    read_at: SystemTime,
}

/// What is at the path of a file.
#[derive(Debug, Clone)]
pub enum FoundFile {
    /// A whole file.
    Present {
        /// What it holds.
        bytes: Arc<[u8]>,
        /// Its owner.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// Nothing.
    Absent,
    /// It cannot be read, or its kind is unknown.
    Unknown(Arc<io::Error>),
}

impl SeenFile {
    /// Reads the file at `path`, of at most `limit` bytes. What was `known` of it is taken when it cannot have changed since.
    #[must_use]
    pub fn read(path: &Path, known: Option<&Self>, limit: u64) -> Self {
        if let Some(known) = known
            && let Some(stamp) = known.stamp
            && !stamp.is_racy(known.read_at)
            && fs::metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == stamp)
        {
            return known.clone();
        }
        let read_at = SystemTime::now();
        let (stamp, found) = match read_whole(path, false, limit) {
            Ok(Some(whole)) => {
                let found = FoundFile::Present {
                    bytes: whole.bytes.into(),
                    uid: whole.metadata.uid(),
                    mode: whole.metadata.mode(),
                };
                (Some(whole.stamp), found)
            }
            Ok(None) => (None, FoundFile::Absent),
            // A directory on the way that is none, or is not there, holds nothing.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => (None, FoundFile::Absent),
            Err(error) => (None, FoundFile::Unknown(error.into())),
        };
        Self {
            found,
            stamp,
            read_at,
        }
    }
}
