//! Reads one definition so that a half-written or exotic file is never taken for a whole one.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use crate::tree::Source;

/// Definitions are written by hand; what is larger is something else by the same name.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How often a file is read anew when it was written to meanwhile.
const ATTEMPTS: u32 = 5;
/// Two writes within one tick of the file system's clock leave the same times behind.
const RACY: Duration = Duration::from_millis(10);
/// File systems without fractions of a second count in steps of up to two.
const RACY_COARSE: Duration = Duration::from_secs(2);

/// What identifies a directory or file whatever its name is.
pub(crate) type Ident = (u64, u64);

pub(crate) fn ident(metadata: &Metadata) -> Ident {
    (metadata.dev(), metadata.ino())
}

/// What changes when a file's bytes do, as far as `stat` can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    ident: Ident,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Key {
    fn of(metadata: &Metadata) -> Self {
        Self {
            ident: ident(metadata),
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a file read at `read_at` may have been written once more without a trace in this key.
    fn is_racy(&self, read_at: SystemTime) -> bool {
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
    /// None when the bytes are not known, so that it is read again each time.
    key: Option<Key>,
    read_at: SystemTime,
}

/// Reads the definition at `path`; `None` when there is none. With `known`, what was read before is taken
/// when the file cannot have changed since.
pub(crate) fn read(path: &Path, known: Option<&Definition>) -> Option<Definition> {
    if let Some(known) = known
        && let Some(key) = known.key
        && !key.is_racy(known.read_at)
        && fs::metadata(path).is_ok_and(|metadata| Key::of(&metadata) == key)
    {
        return Some(known.clone());
    }
    let mut pause = Duration::from_millis(1);
    for attempt in 1..=ATTEMPTS {
        let read_at = SystemTime::now();
        match attempt_read(path) {
            Ok(Some((key, bytes))) => {
                return Some(Definition {
                    source: Source::Present(bytes.into()),
                    key: Some(key),
                    read_at,
                });
            }
            Ok(None) if attempt < ATTEMPTS => {
                thread::sleep(pause);
                pause *= 2;
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Gone, or a link that leads nowhere. A plain file here appeared just now: look again.
                match fs::symlink_metadata(path) {
                    Ok(metadata) if metadata.is_symlink() => return Some(unreadable(error)),
                    Ok(_) => {}
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => return None,
                    Err(other) => return Some(unreadable(other)),
                }
            }
            Err(error) => return Some(unreadable(error)),
        }
    }
    Some(unreadable(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "it was written to each time it was read",
    )))
}

/// A definition that is there but cannot be read.
pub(crate) fn unreadable(error: io::Error) -> Definition {
    Definition {
        source: Source::Unreadable(Arc::new(error)),
        key: None,
        read_at: SystemTime::now(),
    }
}

/// One attempt; `None` when the file changed meanwhile.
fn attempt_read(path: &Path) -> io::Result<Option<(Key, Vec<u8>)>> {
    // The type is looked at before the file is opened, because opening a device can have effects; and again
    // afterwards, because it may have been replaced. Non-blocking, for a FIFO would wait for its writer.
    check_type(&fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let before = file.metadata()?;
    check_type(&before)?;
    let key = Key::of(&before);
    let mut bytes = Vec::with_capacity(usize::try_from(key.size.min(MAX_BYTES)).unwrap_or(0) + 1);
    (&mut file).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let unchanged = Key::of(&file.metadata()?) == key && bytes.len() as u64 == key.size;
    Ok(unchanged.then_some((key, bytes)))
}

fn check_type(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        if metadata.len() > MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is larger than 64 MiB, which no definition is",
            ));
        }
        return Ok(());
    } else if kind.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory, not a file",
        ));
    } else if kind.is_fifo() {
        "it is a FIFO, not a file"
    } else if kind.is_socket() {
        "it is a socket, not a file"
    } else {
        "it is a device, not a file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}
