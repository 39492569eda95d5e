//! What is needed from the machine to start and verify processes.
//!
//! PM2's command line looks these up before it asks the daemon to start a process. The trait provides them for each step that
//! starts one, so that this crate needs no ambient state.

mod local;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::record::LiveProcess;

pub use local::{LocalHost, find_in_path};

/// Why a process cannot be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It exists, but cannot be read.
    #[error("cannot inspect the process {pid}")]
    Read {
        /// Its pid.
        pid: u32,
        /// The cause.
        source: std::io::Error,
    },
    /// Processes can be inspected on Linux and macOS only.
    #[error("processes can only be inspected on Linux and macOS")]
    Unsupported,
}

/// What exists at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A file that looks like text.
    Text,
    /// A file that looks like a program of the machine.
    Binary,
}

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its own group.
    pub gid: u32,
    /// Its home directory.
    pub home: String,
}

/// The machine, as far as starting a process needs it.
pub trait Host: Sync {
    /// What exists at `path`, after following symbolic links.
    fn file_kind(&self, path: &Utf8Path) -> FileKind;

    /// The first executable of this name in the PATH of [`base_env`](Self::base_env); for a name with a slash, the file itself.
    fn find_command(&self, name: &str) -> Option<Utf8PathBuf>;

    /// The user of this name or number.
    fn user(&self, name_or_uid: &str) -> Option<User>;

    /// The number of the group of this name or number.
    fn group(&self, name_or_gid: &str) -> Option<u32>;

    /// The name of the calling user.
    fn user_name(&self) -> String;

    /// Whether the caller may start processes as other users.
    fn is_root(&self) -> bool;

    /// The variables that every process inherits.
    fn base_env(&self) -> &BTreeMap<String, String>;

    /// The node that runs scripts by default.
    fn node(&self) -> Utf8PathBuf;

    /// The directory of the `pm2` package, for the script that PM2 provides (`serve`).
    fn pm2_package(&self) -> Option<Utf8PathBuf>;

    /// The process with this pid; `None` if there is none or it is a zombie.
    ///
    /// # Errors
    /// [`InspectError::Unsupported`] on systems other than Linux and macOS; [`InspectError::Read`] when it cannot be read.
    fn inspect(&self, pid: u32) -> Result<Option<LiveProcess>, InspectError>;

    /// Creates a directory for log files, with its parents, if it does not exist.
    ///
    /// # Errors
    /// I/O errors of creating the directory.
    fn make_log_dir(&self, dir: &Utf8Path) -> std::io::Result<()>;
}
