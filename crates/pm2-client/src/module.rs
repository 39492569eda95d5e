//! PM2's modules: processes that it starts with itself.
//!
//! PM2's command line skips modules in `delete all`, `stop all` and its dump, and each `pm2` command that starts a daemon launches
//! the modules recorded in `module_conf.json`. So a module survives all of these, and a reboot.
//!
//! Source: PM2 7.0.4, `lib/Client.js` (`getAllProcessIdWithoutModules`), `lib/God/ActionMethods.js` (`dumpProcessList`),
//! `lib/API/Modules/{Modularizer,NPM}.js`; verified by tests.

use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{PmId, env_text};
use files::{Durability, Links};
use serde_json::{Map, Value, json};

use crate::adapter::{AdapterError, ProcessAdapter};
use crate::message::{CurrentConf, Prepare};
use crate::payload::{LABEL_KEY, ResolveError, ResolvedApp};
use crate::record::ProcessRecord;

/// The key that marks modules in PM2's records.
const MODULE_KEY: &str = "pmx_module";
/// The part of `module_conf.json` that lists modules (PM2 7.0.4, constants.js).
const MODULE_LIST: &str = "module-db-v2";
/// The largest `module_conf.json` that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// Why a module cannot be recorded or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// A file of PM2's home cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file of PM2's home cannot be written or removed.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// PM2's list of modules is damaged.
    #[error("PM2's module settings `{path}` are damaged, so they were left as they are")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
}

/// A module: an app that PM2 starts together with itself. It has no label.
#[derive(Debug)]
pub struct Module {
    app: ResolvedApp,
    payload: Prepare,
}

impl Module {
    /// The app as a module.
    ///
    /// # Errors
    /// [`ResolveError::Message`] when it would crash PM2.
    pub fn new(app: ResolvedApp) -> Result<Self, ResolveError> {
        let payload = Prepare::new(as_module(app.prepare(1)?.as_map()))?;
        Ok(Self { app, payload })
    }

    /// PM2's record of the module of this name, if PM2 runs it.
    ///
    /// # Errors
    /// The errors of [`ProcessAdapter::visit`], when PM2 does not answer.
    pub fn find(
        name: &str,
        adapter: &mut dyn ProcessAdapter,
    ) -> Result<Option<ProcessRecord>, AdapterError> {
        let mut found = None;
        adapter.visit(None, &mut |listed| {
            let record = listed.record();
            if record.name == name && is_module(&record.pm2_env) {
                found = Some(listed.into_record());
            }
        })?;
        Ok(found)
    }

    /// Whether the record has the same program with the same arguments. The directory may differ: PM2 starts a module in its own.
    #[must_use]
    pub fn is_same(&self, record: &ProcessRecord) -> bool {
        ["pm_exec_path", "args", "exec_interpreter"]
            .iter()
            .all(|key| record.pm2_env.get(*key) == self.payload.as_map().get(*key))
    }

    /// The path of its error log.
    #[must_use]
    pub fn error_log(&self) -> String {
        let path = self.payload.as_map().get("pm_err_log_path");
        path.map(env_text).unwrap_or_default()
    }

    /// Starts the module.
    ///
    /// # Errors
    /// [`AdapterError::Refused`] when PM2 refuses; others when it does not answer.
    pub fn start(&self, adapter: &mut dyn ProcessAdapter) -> Result<(), AdapterError> {
        adapter.prepare(&self.payload).map(drop)
    }

    /// The conf with which [`ProcessAdapter::restart`] turns the process of this record into the module.
    ///
    /// # Errors
    /// [`ResolveError::Message`] when it would crash PM2.
    pub fn current_conf(&self, record: &ProcessRecord) -> Result<CurrentConf, ResolveError> {
        let conf = self.app.current_conf(record)?;
        Ok(CurrentConf::new(as_module(conf.as_map()))?)
    }

    /// Stops and deletes the module of this name. Returns its number, if it existed.
    ///
    /// # Errors
    /// [`AdapterError::Refused`] when PM2 refuses; others when it does not answer.
    pub fn delete(
        name: &str,
        adapter: &mut dyn ProcessAdapter,
    ) -> Result<Option<PmId>, AdapterError> {
        let Some(record) = Self::find(name, adapter)? else {
            return Ok(None);
        };
        adapter.delete(record.pm_id)?;
        Ok(Some(record.pm_id))
    }

    /// Records a module, so that any `pm2` command that starts a daemon of this home launches it. `package` is its `package.json`,
    /// with the app as `apps`.
    ///
    /// # Errors
    /// [`ModuleError::Read`] and [`ModuleError::Write`] when a file of PM2's home cannot be read or written;
    /// [`ModuleError::Damaged`] when PM2's list of modules is not valid.
    pub fn record(pm2_home: &Utf8Path, name: &str, package: &Value) -> Result<(), ModuleError> {
        let dir = module_dir(pm2_home, name).join("node_modules").join(name);
        let file = dir.join("package.json");
        let text = format!("{package:#}\n");
        std::fs::create_dir_all(&dir)
            .and_then(|()| files::write(file.as_std_path(), text.as_bytes(), Durability::Synced))
            .map_err(|source| ModuleError::Write { path: file, source })?;
        let mut conf = read_conf(pm2_home)?;
        let list = conf.entry(MODULE_LIST).or_insert_with(|| json!({}));
        if let Value::Object(list) = list
            && !list.contains_key(name)
        {
            list.insert(name.to_owned(), json!({}));
            write_conf(pm2_home, &conf)?;
        }
        Ok(())
    }

    /// Removes a module from those that PM2 launches. Returns whether it was recorded.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn forget(pm2_home: &Utf8Path, name: &str) -> Result<bool, ModuleError> {
        let mut conf = read_conf(pm2_home)?;
        let listed = conf
            .get_mut(MODULE_LIST)
            .and_then(Value::as_object_mut)
            .is_some_and(|list| list.shift_remove(name).is_some());
        if listed {
            write_conf(pm2_home, &conf)?;
        }
        let path = module_dir(pm2_home, name);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(listed),
            Err(source) => Err(ModuleError::Write { path, source }),
        }
    }
}

/// Whether a record is one of a module.
pub(crate) fn is_module(pm2_env: &Map<String, Value>) -> bool {
    pm2_env.get(MODULE_KEY) == Some(&Value::Bool(true))
}

/// The payload of an app as that of a module.
fn as_module(payload: &Map<String, Value>) -> Map<String, Value> {
    let mut payload = payload.clone();
    payload.insert(MODULE_KEY.into(), Value::Bool(true));
    payload.shift_remove(LABEL_KEY);
    payload
}

fn module_dir(pm2_home: &Utf8Path, name: &str) -> Utf8PathBuf {
    pm2_home.join("modules").join(name)
}

fn conf_path(pm2_home: &Utf8Path) -> Utf8PathBuf {
    pm2_home.join("module_conf.json")
}

fn read_conf(pm2_home: &Utf8Path) -> Result<Map<String, Value>, ModuleError> {
    let path = conf_path(pm2_home);
    match files::read_if_exists(path.as_std_path(), Links::Follow, LIMIT) {
        Ok(None) => Ok(Map::new()),
        Ok(Some(bytes)) if bytes.is_empty() => Ok(Map::new()),
        Ok(Some(bytes)) => {
            serde_json::from_slice(&bytes).map_err(|source| ModuleError::Damaged { path, source })
        }
        Err(source) => Err(ModuleError::Read { path, source }),
    }
}

fn write_conf(pm2_home: &Utf8Path, conf: &Map<String, Value>) -> Result<(), ModuleError> {
    let path = conf_path(pm2_home);
    let text = format!("{:#}", Value::Object(conf.clone()));
    files::write(path.as_std_path(), text.as_bytes(), Durability::Synced)
        .map_err(|source| ModuleError::Write { path, source })
}
