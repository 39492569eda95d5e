//! The values of references in definitions: env files and the caller's variables are read once for each snapshot.
//!
//! The files contain secrets and may be in places that others can write to. A file that belongs to another user, or that others can
//! write to, is refused, as ssh refuses such keys: its content controls what the daemons do.

mod key;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{EnvFileState, EnvPolicy, Values, env_files};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::lock::Lock;
use crate::state::{StateDir, StateWarning};
use key::Key;
use read::{Environ, ReadFile};

/// The values of references during one snapshot.
#[derive(Debug, Default)]
pub struct ValueSources {
    base: Values,
    /// None: references count as present.
    reading: Option<Reading>,
}

/// Files that are read on first use, each once.
#[derive(Debug)]
struct Reading {
    environ: Environ,
    state: StateDir,
    known: BTreeMap<Utf8PathBuf, ReadFile>,
    known_key: Option<Key>,
    files: Mutex<BTreeMap<Utf8PathBuf, ReadFile>>,
    key: OnceLock<Option<Key>>,
}

impl ValueSources {
    /// Treats all references as present.
    #[must_use]
    pub fn assumed(interpolate: bool) -> Self {
        Self {
            base: Values::assumed().with_interpolation(interpolate),
            reading: None,
        }
    }

    /// The sources of a workspace.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self::new(config, None)
    }

    /// The sources of a workspace. Reuses what `previous` has read from files that cannot have changed since.
    pub(crate) fn new(config: &Config, previous: Option<&Self>) -> Self {
        if config.assume_values {
            return Self::assumed(config.interpolate);
        }
        let previous = previous.and_then(|previous| previous.reading.as_ref());
        let known = previous.map(|previous| lock(&previous.files).clone());
        let known_key = previous.and_then(|previous| previous.key.get().cloned().flatten());
        Self {
            base: passed(config).with_interpolation(config.interpolate),
            reading: Some(Reading {
                environ: Environ::new(&config.environment),
                state: config.state(),
                known: known.unwrap_or_default(),
                known_key,
                files: Mutex::default(),
                key: OnceLock::new(),
            }),
        }
    }

    /// The values of an app's references, and the env files that it names, with their state.
    pub(crate) fn of_app(
        &self,
        app: &Value,
        root: &Utf8Path,
    ) -> (Values, Vec<(Utf8PathBuf, Arc<EnvFileState>)>) {
        let Some(reading) = &self.reading else {
            return (self.base.clone(), Vec::new());
        };
        let paths = app.as_object().map(|app| env_files(app, root));
        let files: Vec<_> = paths
            .into_iter()
            .flatten()
            .map(|path| (path.clone(), reading.file(path)))
            .collect();
        let mut values = self.base.clone();
        if !files.is_empty() || has_reference(app) {
            values = values.with_key(reading.key().map(|key| key.key.clone()));
        }
        for (path, state) in &files {
            values.insert(path.clone(), Arc::clone(state));
        }
        (values, files)
    }

    /// The values of the references of all these apps.
    pub(crate) fn of_apps<'a>(
        &self,
        apps: impl Iterator<Item = &'a Map<String, Value>>,
        root: &Utf8Path,
    ) -> Values {
        let mut values = self.base.clone();
        if let Some(reading) = &self.reading {
            values = values.with_key(reading.key().map(|key| key.key.clone()));
            for path in apps.flat_map(|app| env_files(app, root)) {
                values.insert(path.clone(), reading.file(path));
            }
        }
        values
    }

    /// Whether these env files are unchanged.
    pub(crate) fn are_same(&self, files: &[(Utf8PathBuf, Arc<EnvFileState>)]) -> bool {
        let Some(reading) = &self.reading else {
            return true;
        };
        let mut files = files.iter();
        files.all(|(path, state)| *reading.file(path.clone()) == **state)
    }

    /// Saves the key that digests were made with, unless one is saved already.
    ///
    /// # Errors
    /// [`StateWarning::Write`] when it cannot be saved. The next pass then makes another key, and cannot tell an edit of a value
    /// from drift.
    pub(crate) fn keep_key(&self, lock: &Lock) -> Result<(), StateWarning> {
        let reading = self.reading.as_ref();
        let key = reading.and_then(|reading| Some((reading, reading.key.get()?.as_ref()?)));
        match key {
            Some((reading, key)) => key.keep(&reading.state, lock),
            None => Ok(()),
        }
    }
}

impl Reading {
    fn file(&self, path: Utf8PathBuf) -> Arc<EnvFileState> {
        let mut files = lock(&self.files);
        let file = files.entry(path).or_insert_with_key(|path| {
            let known = self.known.get(path);
            ReadFile::read(path, known, &self.environ)
        });
        Arc::clone(&file.state)
    }

    fn key(&self) -> Option<&Key> {
        let key = self
            .key
            .get_or_init(|| Key::read(&self.state, self.known_key.as_ref()));
        key.as_ref()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an app may have external values other than those of its env files. It may overestimate: the result only decides whether
/// the key is read.
fn has_reference(app: &Value) -> bool {
    match app {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(map) => map.values().any(has_reference),
        _ => false,
    }
}

/// The caller's variables that `:pass-env` names.
fn passed(config: &Config) -> Values {
    let policy = EnvPolicy {
        pm2_home: config.pm2_home.clone(),
        pass_env: config.pass_env.clone(),
    };
    let all = config.environment.vars();
    let variables: BTreeMap<String, String> = all
        .iter()
        .filter(|(name, _)| policy.passes(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let literal = config.pass_env.iter().filter(|name| !name.contains('*'));
    let missing: BTreeSet<String> = literal
        .filter(|name| !all.contains_key(*name))
        .cloned()
        .collect();
    Values::new(variables, missing)
}
