//! Reads one definition so that a half-written or exotic file is never taken for a whole one.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, Stat};

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

/// What changes when a file's bytes or a directory's entries do, as far as `stat` can tell.
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

    /// Whether what was read at `read_at` may have changed once more without a trace in this stamp.
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
    /// None when the bytes are not known, so that it is read again each time.
    stamp: Option<Stamp>,
    read_at: SystemTime,
}

/// Reads the definition at `path`; `None` when there is none. With `known`, what was read before is taken
/// when the file cannot have changed since. `regular`: it was just seen to be a regular file.
pub(crate) fn read(path: &Path, known: Option<&Definition>, regular: bool) -> Option<Definition> {
    if let Some(known) = known
        && let Some(stamp) = known.stamp
        && !stamp.is_racy(known.read_at)
        && fs::metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == stamp)
    {
        return Some(known.clone());
    }
    let mut pause = Duration::from_millis(1);
    for attempt in 1..=ATTEMPTS {
        let read_at = SystemTime::now();
        match attempt_read(path, regular) {
            Ok(Some((stamp, bytes))) => {
                return Some(Definition {
                    source: Source::Present(bytes.into()),
                    stamp: Some(stamp),
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
        stamp: None,
        read_at: SystemTime::now(),
    }
}

/// One attempt; `None` when the file changed meanwhile.
fn attempt_read(path: &Path, regular: bool) -> io::Result<Option<(Stamp, Vec<u8>)>> {
    // Unless the type is known it is looked at before the file is opened, because opening a device can have effects; and
    // in any case afterwards, because it may have been replaced. Non-blocking, for a FIFO would wait for its writer.
    if !regular {
        check_type(&fs::metadata(path)?)?;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let before = file.metadata()?;
    check_type(&before)?;
    let stamp = Stamp::of(&before);
    let mut bytes = vec![0; usize::try_from(stamp.size).unwrap_or(0)];
    match file.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    // The same size, too: there is nothing behind what was read.
    let unchanged = Stamp::of(&file.metadata()?) == stamp;
    Ok(unchanged.then_some((stamp, bytes)))
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
