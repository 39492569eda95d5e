//! Reads one file that a definition refers to, as carefully as a definition.

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
    /// The content.
    pub found: FoundFile,
    /// None if it must be read again each time.
    stamp: Option<Stamp>,
    read_at: SystemTime,
}

/// The content at the path of a file.
#[derive(Debug, Clone)]
pub enum FoundFile {
    /// A complete file.
    Present {
        /// Its bytes.
        bytes: Arc<[u8]>,
        /// Its owner.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// No file.
    Absent,
    /// It cannot be read, or its type is unknown.
    Unknown(Arc<io::Error>),
}

impl SeenFile {
    /// Reads the file at `path`, of at most `limit` bytes. Reuses the `known` content if it cannot have changed since.
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
            // A missing directory, or a file in place of a directory on the way, means that there is no file.
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
