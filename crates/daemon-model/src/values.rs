//! Values from outside of the definitions: env files, and variables of the caller that `:pass-env` names.
//!
//! A definition holds references (`:env_file`, `${NAME}`), and so do generated configs and the history. This module says
//! what the references stand for; it is given the content of the files and reads none itself.

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

/// The setting, and the key of `:pm2-sync`, that switches `${NAME}` on.
pub(crate) const INTERPOLATE_KEY: &str = "interpolate";

/// What the references of definitions stand for at one moment.
#[derive(Clone, Default, PartialEq)]
pub struct Values {
    files: BTreeMap<Utf8PathBuf, Arc<EnvFileState>>,
    passed: Arc<Passed>,
    interpolate: bool,
    is_assumed: bool,
    key: Option<ValueKey>,
}

/// What `:pass-env` names.
#[derive(Clone, Default, PartialEq)]
struct Passed {
    variables: BTreeMap<String, String>,
    /// Names that it names to the letter and that the caller lacks.
    missing: BTreeSet<String>,
}

impl Values {
    /// Values of the caller's variables that `:pass-env` names, and no files yet. `missing` are names without `*` in
    /// `:pass-env` that the caller lacks.
    #[must_use]
    pub fn new(variables: BTreeMap<String, String>, missing: BTreeSet<String>) -> Self {
        let passed = Arc::new(Passed { variables, missing });
        Self {
            passed,
            ..Self::default()
        }
    }

    /// Every reference counts as present, with an unknown value: for checks where there are no values, and for apps
    /// of which only the definition's own content matters.
    #[must_use]
    pub fn assumed() -> Self {
        Self {
            is_assumed: true,
            ..Self::default()
        }
    }

    /// The same, with `${NAME}` replaced in apps that do not say otherwise.
    #[must_use]
    pub fn with_interpolation(mut self, interpolate: bool) -> Self {
        self.interpolate = interpolate;
        self
    }

    /// The same, with digests that can only be guessed with this key.
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

    /// What is at this path; none if it was not read.
    pub(crate) fn file(&self, path: &Utf8Path) -> Option<&EnvFileState> {
        self.files.get(path).map(|state| &**state)
    }

    /// The caller's variable of this name, if `:pass-env` names it.
    pub(crate) fn passed(&self, name: &str) -> Option<&str> {
        self.passed.variables.get(name).map(String::as_str)
    }

    /// Whether `:pass-env` names the variable, which the caller lacks.
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

/// Names only.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values")
            .field("files", &self.files.keys())
            .field("passed", &self.passed.variables.keys())
            .finish_non_exhaustive()
    }
}

/// The absolute paths of the env files that an app names, in their order, as far as the names can be read. `root` is what
/// relative ones are relative to.
#[must_use]
pub fn env_files(app: &Map<String, Value>, root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let named = named_files(app, root).into_iter().flatten();
    named.map(|file| file.path).collect()
}

/// An env file that an app names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    /// As it is written.
    pub(crate) written: String,
    pub(crate) path: Utf8PathBuf,
    pub(crate) is_required: bool,
    /// Its index, where `:env_file` is a vector.
    pub(crate) index: Option<usize>,
}

/// What is wrong with a part of `:env_file`: its index, the key in it, and what was expected.
pub(crate) struct Misread {
    pub(crate) index: Option<usize>,
    pub(crate) key: Option<String>,
    pub(crate) expected: &'static str,
}

/// What `:env_file` of an app names, one by one.
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
            // Such a key is not named: it may be a part of what should be in the file.
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
