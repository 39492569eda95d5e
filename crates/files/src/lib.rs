//! Opens and writes files defensively.
//!
//! pm2-sync reads files in places that others may write to: a FIFO must not block it, a device must not be read, a huge file must
//! not fill the memory, and a symbolic link must not redirect it to another file. The files that it writes must never be visible
//! half-written. All other crates use this one for that.
//!
//! | function | guarantees |
//! | --- | --- |
//! | [`open`] | a regular file, opened without blocking, without becoming a controlling terminal |
//! | [`read`], [`read_if_exists`] | the same, and an error for a file that is larger than a limit |
//! | [`read_start`], [`read_end`] | the same, and at most a given number of its bytes |
//! | [`write()`] | the old content or the new content, never a part; mode 0600 |
//! | [`open_to_lock`] | a regular file, not a link, that only its owner can open |
//! | [`create()`] | creates a file with its whole content, without overwriting |
//! | [`append()`] | appends to a regular file, and keeps its mode |
//! | [`create_private_dirs`], [`check_dirs`] | real directories, not links |
//! | [`check_room`] | leaves nothing behind |
//! | [`sweep`] | removes what a killed [`write()`] left behind |
//! | [`touch`] | sets the time of a file or directory to now |
//! | [`foreign_owner`] | finds files that belong neither to the caller nor to root |
//!
//! # Examples
//!
//! ```
//! use files::{Durability, Links};
//!
//! # fn main() -> std::io::Result<()> {
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("state.json");
//! files::write(&path, b"{}", Durability::Synced)?;
//! assert_eq!(files::read(&path, Links::Refuse, 1024)?, b"{}");
//! // A file that is larger than the limit is an error.
//! assert!(files::read(&path, Links::Refuse, 1).is_err());
//! # Ok(())
//! # }
//! ```

mod dirs;
mod open;
mod owner;
mod write;

pub use dirs::{check_dirs, create_private_dirs};
pub use open::{
    Links, check_size, open, open_seen, open_to_lock, read, read_end, read_if_exists, read_start,
};
pub use owner::{foreign_owner, is_trusted};
pub use write::{
    Access, Durability, TEMPORARY_PREFIX, append, check_room, create, link, sweep, touch, write,
};
