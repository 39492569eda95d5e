//! Reads one definition so that a half-written or special file is never mistaken for a complete one.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use files::Links;
use rustix::fs::Stat;

use crate::tree::Source;

/// Definitions are written by hand; a larger file is something else with the same name.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How often to read a file again that is written to meanwhile.
const ATTEMPTS: u32 = 5;
/// Two writes within one tick of the file system's clock leave the same times.
const RACY: Duration = Duration::from_millis(10);
/// File systems without fractional seconds have a resolution of up to two seconds.
const RACY_COARSE: Duration = Duration::from_secs(2);

/// Identifies a directory or file independently of its name.
pub(crate) type Ident = (u64, u64);

pub(crate) fn ident(metadata: &Metadata) -> Ident {
    (metadata.dev(), metadata.ino())
}

/// The parts of `stat` that change when a file's bytes or a directory's entries do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) ident: Ident,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            ident: ident(metadata),
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(crate) fn of_stat(stat: &Stat) -> Self {
        // The types of these fields differ between architectures.
        #[allow(clippy::useless_conversion, clippy::cast_possible_wrap)]
        Self {
            ident: (stat.st_dev.into(), stat.st_ino.into()),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: (stat.st_mtime.into(), stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime.into(), stat.st_ctime_nsec as i64),
        }
    }

    /// Whether the content read at `read_at` may have changed again without changing this stamp.
    pub(crate) fn is_racy(&self, read_at: SystemTime) -> bool {
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.ctime.0), u32::try_from(self.ctime.1))
        else {
            return true;
        };
        let slack = if nanos == 0 { RACY_COARSE } else { RACY };
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos) + slack >= read_at
    }
}

/// A definition as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) source: Source,
    /// None if the bytes are not known, so that the file is read again each time.
    stamp: Option<Stamp>,
    read_at: SystemTime,
}

/// The complete content of a file at one moment.
pub(crate) struct Whole {
    pub(crate) stamp: Stamp,
    pub(crate) metadata: Metadata,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a file of at most `limit` bytes completely, and never while it is written to. `regular`: it was just seen to be a regular
/// file. `None` if the path does not exist.
pub(crate) fn read_whole(path: &Path, regular: bool, limit: u64) -> io::Result<Option<Whole>> {
    let mut pause = Duration::from_millis(1);
    for attempt in 1..=ATTEMPTS {
        match attempt_read(path, regular, limit) {
            Ok(Some(whole)) => return Ok(Some(whole)),
            Ok(None) if attempt < ATTEMPTS => {
                thread::sleep(pause);
                pause *= 2;
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Gone, or a dangling link. If there is a regular file, it has just appeared: try again.
                match fs::symlink_metadata(path) {
                    Ok(metadata) if metadata.is_symlink() => return Err(error),
                    Ok(_) => {}
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(other) => return Err(other),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "it changed during each attempt to read it",
    ))
}

/// Reads the definition at `path`; `None` if there is none. Reuses the `known` content if the file cannot have changed since.
/// `regular`: it was just seen to be a regular file.
pub(crate) fn read(path: &Path, known: Option<&Definition>, regular: bool) -> Option<Definition> {
    if let Some(known) = known
        && let Some(stamp) = known.stamp
        && !stamp.is_racy(known.read_at)
        && fs::metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == stamp)
    {
        return Some(known.clone());
    }
    // Taken before reading, so that writes during the read count as later.
    let read_at = SystemTime::now();
    match read_whole(path, regular, MAX_BYTES) {
        Ok(None) => None,
        Ok(Some(whole)) => Some(Definition {
            source: Source::Present(whole.bytes.into()),
            stamp: Some(whole.stamp),
            read_at,
        }),
        Err(error) => Some(unreadable(error)),
    }
}

/// A definition that exists but cannot be read.
pub(crate) fn unreadable(error: io::Error) -> Definition {
    Definition {
        source: Source::Unreadable(Arc::new(error)),
        stamp: None,
        read_at: SystemTime::now(),
    }
}

/// One attempt; `None` if the file changed meanwhile.
fn attempt_read(path: &Path, regular: bool, limit: u64) -> io::Result<Option<Whole>> {
    let mut file = match regular {
        true => files::open_seen(path, Links::Follow)?,
        false => files::open(path, Links::Follow)?,
    };
    let metadata = file.metadata()?;
    let stamp = Stamp::of(&metadata);
    files::check_size(metadata.size(), limit)?;
    let mut bytes = vec![0; usize::try_from(metadata.size()).unwrap_or(0)];
    match file.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    // The same stamp includes the size, so nothing follows what was read.
    let unchanged = Stamp::of(&file.metadata()?) == stamp;
    Ok(unchanged.then_some(Whole {
        stamp,
        metadata,
        bytes,
    }))
}
