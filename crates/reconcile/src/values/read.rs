//! Reads one env file.

use std::path::Path;
use std::sync::Arc;

use camino::Utf8Path;
use daemon_model::{EnvFile, EnvFileProblem, EnvFileState};
use watcher::{FoundFile, SeenFile};

use crate::environment::Environment;

/// The largest env file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Write permissions of users other than the owner.
const OTHERS_WRITE: u32 = 0o022;
/// The read permission for everyone.
const EVERYBODY_READS: u32 = 0o004;

/// Decides whose files may be used.
#[derive(Debug, Clone)]
pub(super) struct Environ(Environment);

impl Environ {
    pub(super) fn new(environment: &Environment) -> Self {
        Self(environment.clone())
    }
}

/// An env file in the state in which it was read.
#[derive(Debug, Clone)]
pub(super) struct ReadFile {
    seen: SeenFile,
    pub(super) state: Arc<EnvFileState>,
}

impl ReadFile {
    /// Reads the file, unless the `known` content is still current.
    pub(super) fn read(path: &Utf8Path, known: Option<&Self>, environ: &Environ) -> Self {
        let seen = SeenFile::read(path.as_std_path(), known.map(|known| &known.seen), LIMIT);
        if let Some(known) = known
            && is_same(&known.seen.found, &seen.found)
        {
            let state = Arc::clone(&known.state);
            return Self { seen, state };
        }
        let state = state(path.as_std_path(), &seen.found, environ);
        let known = known.filter(|known| *known.state == state);
        let state = known.map_or_else(|| state.into(), |known| Arc::clone(&known.state));
        Self { seen, state }
    }
}

/// Whether both are the same file in the same state.
fn is_same(one: &FoundFile, other: &FoundFile) -> bool {
    match (one, other) {
        (FoundFile::Present { bytes: one, .. }, FoundFile::Present { bytes: other, .. }) => {
            Arc::ptr_eq(one, other)
        }
        _ => false,
    }
}

fn state(path: &Path, found: &FoundFile, environ: &Environ) -> EnvFileState {
    let unusable = |message: String| EnvFileState::Unusable(vec![EnvFileProblem::of_file(message)]);
    let (bytes, mode) = match found {
        FoundFile::Absent => return EnvFileState::Absent,
        FoundFile::Unknown(error) => return unusable(format!("cannot be read: {error}")),
        FoundFile::Present { bytes, mode, uid } => {
            let foreign = Some(*uid).filter(|uid| !environ.0.trusts(*uid));
            let of_link = files::foreign_owner(path, |uid| environ.0.trusts(uid));
            match foreign.or(of_link.ok().flatten()) {
                Some(uid) => return unusable(format!("belongs to another user (uid {uid})")),
                None => (bytes, mode & 0o7777),
            }
        }
    };
    if mode & OTHERS_WRITE != 0 {
        return unusable(format!(
            "others can write to it (mode {mode:04o}): run `chmod go-w` on it"
        ));
    }
    match EnvFile::parse(bytes) {
        Err(problems) => EnvFileState::Unusable(problems),
        Ok(file) if mode & EVERYBODY_READS != 0 => {
            let warning = format!("everyone can read it (mode {mode:04o}): run `chmod o-r` on it");
            EnvFileState::Present(file.with_warning(EnvFileProblem::of_file(warning)))
        }
        Ok(file) => EnvFileState::Present(file),
    }
}
