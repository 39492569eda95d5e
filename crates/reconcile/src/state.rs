//! The state directory of a workspace: `$PM2_HOME/pm2-sync/<8 hex digits>/`.
//!
//! It has everything that cannot be derived from the definitions and from PM2: applied definitions and their outcomes, decisions of
//! users, failures, recent removals. If it is lost, information is lost but the result is still correct. So an unreadable file is a
//! [`StateWarning`], not an error: the writer sets it aside and starts over.
//!
//! Files are JSON, mode 0600, in directories of mode 0700. Only the holder of the [`Lock`] writes them.

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::workspace_code;
use files::{Durability, Links};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lock::Lock;

/// The largest state file that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// The state directory of one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    top: Utf8PathBuf,
    path: Utf8PathBuf,
}

/// A state file that cannot be used. pm2-sync continues without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateWarning {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Its content is not valid. The next pass that changes anything sets it aside.
    #[error("`{path}` is damaged")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl StateDir {
    /// The state directory of the workspace at `root`, in this PM2 home. Creates nothing.
    #[must_use]
    pub fn new(pm2_home: &Utf8Path, root: &Utf8Path) -> Self {
        let top = pm2_home.join("pm2-sync");
        let path = top.join(workspace_code(root));
        Self { top, path }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Reads a state file; the default when it does not exist or cannot be used.
    pub fn read<T: DeserializeOwned + Default>(&self, name: &str) -> (T, Option<StateWarning>) {
        read_as(self.path.join(name), |bytes| serde_json::from_slice(bytes))
    }

    /// Moves a damaged file to `<name>.damaged`, where nothing reads it. A file that cannot be moved stays.
    pub(crate) fn set_aside(warning: &StateWarning, _lock: &Lock) {
        if let StateWarning::Damaged { path, .. } = warning {
            let _ = std::fs::rename(path.as_path(), format!("{path}.damaged"));
        }
    }

    /// Replaces a state file durably: it survives a crash of the machine.
    ///
    /// # Errors
    /// [`StateWarning::Write`] when the directory cannot be created or the file cannot be written.
    pub fn write<T: Serialize>(
        &self,
        name: &str,
        value: &T,
        lock: &Lock,
    ) -> Result<(), StateWarning> {
        self.sweep("", lock);
        let bytes = || {
            let mut bytes = serde_json::to_vec_pretty(value)?;
            bytes.push(b'\n');
            Ok(bytes)
        };
        self.write_as(name, bytes, Durability::Synced, lock)
    }

    /// Removes temporary files that killed writers left in a directory of the state directory.
    pub(crate) fn sweep(&self, dir: &str, _lock: &Lock) {
        files::sweep(self.path.join(dir).as_std_path());
    }

    /// Replaces a state file by these bytes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn write_as(
        &self,
        name: &str,
        bytes: impl FnOnce() -> serde_json::Result<Vec<u8>>,
        durability: Durability,
        _lock: &Lock,
    ) -> Result<(), StateWarning> {
        let path = self.path.join(name);
        let write = || -> std::io::Result<()> {
            let dir = path.parent().unwrap_or(&self.path);
            files::create_private_dirs(self.top.as_std_path(), dir.as_std_path())?;
            files::write(path.as_std_path(), &bytes()?, durability)
        };
        write().map_err(|source| StateWarning::Write { path, source })
    }
}

/// Reads a state file with `parse`; the default when it does not exist or cannot be used.
pub(crate) fn read_as<T: Default>(
    path: Utf8PathBuf,
    parse: impl FnOnce(&[u8]) -> serde_json::Result<T>,
) -> (T, Option<StateWarning>) {
    let bytes = match files::read_if_exists(path.as_std_path(), Links::Refuse, LIMIT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return (T::default(), None),
        Err(source) => return (T::default(), Some(StateWarning::Read { path, source })),
    };
    match parse(&bytes) {
        Ok(value) => (value, None),
        Err(source) => (T::default(), Some(StateWarning::Damaged { path, source })),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pm2_client::StopFlag;

    use super::*;

    type Counts = std::collections::BTreeMap<String, u32>;

    fn with_state(test: impl FnOnce(&StateDir, &Lock)) {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let lock = Lock::take(
            home,
            "test",
            Duration::ZERO,
            &StopFlag::default(),
            &mut |_| {},
        )
        .unwrap();
        test(&StateDir::new(home, "/w".into()), &lock);
    }

    #[test]
    fn a_state_file_reads_back_and_a_missing_one_is_the_default() {
        with_state(|state, lock| {
            assert!(matches!(state.read::<Counts>("counts.json"), (map, None) if map.is_empty()));
            let counts = Counts::from([("a".to_owned(), 1)]);
            state.write("counts.json", &counts, lock).unwrap();
            let (read, warning) = state.read::<Counts>("counts.json");
            assert_eq!(read, counts);
            assert!(warning.is_none());
        });
    }

    #[test]
    fn a_damaged_file_is_set_aside_by_the_writer_only() {
        with_state(|state, lock| {
            state.write("counts.json", &"no map", lock).unwrap();
            let (_, warning) = state.read::<Counts>("counts.json");
            let warning = warning.unwrap();
            assert!(matches!(&warning, StateWarning::Damaged { .. }));
            assert!(state.read::<Counts>("counts.json").1.is_some());
            StateDir::set_aside(&warning, lock);
            assert!(state.read::<Counts>("counts.json").1.is_none());
            let aside = std::fs::read_to_string(state.path().join("counts.json.damaged"));
            assert_eq!(aside.unwrap(), "\"no map\"\n");
        });
    }
}
