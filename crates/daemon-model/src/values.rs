//! External values of definitions: env files, and variables of the caller that `:pass-env` names.
//!
//! Definitions contain references (`:env_file`, `${NAME}`), and so do generated configs and the history. This module resolves them.
//! It gets the content of the files, and reads none itself.

mod env_file;
mod key;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};

pub use env_file::{EnvFile, EnvFileProblem, EnvFileState};
pub use key::ValueKey;
pub(crate) use template::{Syntax, Template, Unresolved};

use crate::paths::resolve;

/// The key of an app that names its env files.
pub(crate) const ENV_FILE_KEY: &str = "env_file";

/// The setting, and the key of `:pm2-sync`, that enables `${NAME}`.
pub(crate) const INTERPOLATE_KEY: &str = "interpolate";

/// The values of references at one moment.
#[derive(Clone, Default, PartialEq)]
pub struct Values {
    files: BTreeMap<Utf8PathBuf, Arc<EnvFileState>>,
    passed: Arc<Passed>,
    interpolate: bool,
    is_assumed: bool,
    key: Option<ValueKey>,
}

/// The variables that `:pass-env` names.
#[derive(Clone, Default, PartialEq)]
struct Passed {
    variables: BTreeMap<String, String>,
    /// Exact names in `:pass-env` that the caller does not have.
    missing: BTreeSet<String>,
}

impl Values {
    /// Values of the caller's variables that `:pass-env` names, without files. `missing` are names without `*` in `:pass-env` that
    /// the caller does not have.
    #[must_use]
    pub fn new(variables: BTreeMap<String, String>, missing: BTreeSet<String>) -> Self {
        let passed = Arc::new(Passed { variables, missing });
        Self {
            passed,
            ..Self::default()
        }
    }

    /// Treats every reference as present, with an unknown value: for checks without values, and for apps of which only the
    /// definition's own content matters.
    #[must_use]
    pub fn assumed() -> Self {
        Self {
            is_assumed: true,
            ..Self::default()
        }
    }

    /// Sets whether `${NAME}` is replaced in apps that do not choose.
    #[must_use]
    pub fn with_interpolation(mut self, interpolate: bool) -> Self {
        self.interpolate = interpolate;
        self
    }

    /// Sets the secret key for digests of values.
    #[must_use]
    pub fn with_key(mut self, key: Option<ValueKey>) -> Self {
        self.key = key;
        self
    }

    /// Adds an env file by its absolute path.
    pub fn insert(&mut self, path: Utf8PathBuf, state: Arc<EnvFileState>) {
        self.files.insert(path, state);
    }

    /// Whether references count as present without being read.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// The state of the file at this path; none if it was not read.
    pub(crate) fn file(&self, path: &Utf8Path) -> Option<&EnvFileState> {
        self.files.get(path).map(|state| &**state)
    }

    /// The caller's variable of this name, if `:pass-env` names it.
    pub(crate) fn passed(&self, name: &str) -> Option<&str> {
        self.passed.variables.get(name).map(String::as_str)
    }

    /// Whether `:pass-env` names the variable but the caller does not have it.
    pub(crate) fn is_missing(&self, name: &str) -> bool {
        self.passed.missing.contains(name)
    }

    pub(crate) fn interpolates(&self) -> bool {
        self.interpolate
    }

    pub(crate) fn key(&self) -> Option<&ValueKey> {
        self.key.as_ref()
    }
}

/// Shows names only.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values")
            .field("files", &self.files.keys())
            .field("passed", &self.passed.variables.keys())
            .finish_non_exhaustive()
    }
}

/// The absolute paths of the env files that an app names, in order, as far as the names can be read. Relative ones start from
/// `root`.
#[must_use]
pub fn env_files(app: &Map<String, Value>, root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let named = named_files(app, root).into_iter().flatten();
    named.map(|file| file.path).collect()
}

/// An env file that an app names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    /// The name as written.
    pub(crate) written: String,
    pub(crate) path: Utf8PathBuf,
    pub(crate) is_required: bool,
    /// Its index, if `:env_file` is a vector.
    pub(crate) index: Option<usize>,
}

/// A problem with a part of `:env_file`: its index, the key in it, and what was expected.
pub(crate) struct Misread {
    pub(crate) index: Option<usize>,
    pub(crate) key: Option<String>,
    pub(crate) expected: &'static str,
}

/// The files that `:env_file` of an app names.
pub(crate) fn named_files(
    app: &Map<String, Value>,
    root: &Utf8Path,
) -> Vec<Result<NamedFile, Misread>> {
    match app.get(ENV_FILE_KEY) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(files)) => files
            .iter()
            .enumerate()
            .map(|(index, file)| named_file(file, Some(index), root))
            .collect(),
        Some(file) => vec![named_file(file, None, root)],
    }
}

const EXPECTED: &str =
    "a path, such as \".env\", or a map such as {:path \".env.local\" :required false}";

fn named_file(file: &Value, index: Option<usize>, root: &Utf8Path) -> Result<NamedFile, Misread> {
    let misread = |key: Option<&str>, expected| Misread {
        index,
        key: key.map(ToOwned::to_owned),
        expected,
    };
    let (path, required) = match file {
        Value::String(path) => (Some(path), None),
        Value::Object(map) => {
            // An unknown key is not shown: it may be part of the file's content.
            let is_known = |key: &String| ["path", "required"].contains(&key.as_str());
            if !map.keys().all(is_known) {
                return Err(misread(None, "`:path` and `:required` only"));
            }
            let path = match map.get("path") {
                Some(Value::String(path)) => Some(path),
                _ => None,
            };
            (path, map.get("required").filter(|it| !it.is_null()))
        }
        _ => (None, None),
    };
    let Some(written) = path.filter(|path| !path.is_empty() && !path.contains('\0')) else {
        return Err(misread(None, EXPECTED));
    };
    let is_required = match required {
        None => true,
        Some(Value::Bool(required)) => *required,
        Some(_) => return Err(misread(Some("required"), "true or false")),
    };
    Ok(NamedFile {
        written: written.clone(),
        path: resolve(root, written),
        is_required,
        index,
    })
}
