//! The watcher under PM2's own care.
//!
//! It runs as one of PM2's *modules*: PM2's command line passes modules by in `delete all` and `stop all` and
//! leaves them out of its dump, and whichever `pm2` command starts a daemon launches the modules that are recorded in
//! `module_conf.json`. So a watcher outlives both, and a reboot, whoever saved what.
//!
//! Source: PM2 7.0.4, `lib/Client.js` (`getAllProcessIdWithoutModules`), `lib/God/ActionMethods.js`
//! (`dumpProcessList`), `lib/API/Modules/{Modularizer,NPM}.js`; proven by tests.

use std::io::Write;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{AppSpec, DaemonId, DocumentPath, SpecContext, env_text, workspace_code};
use pm2_client::{
    AdapterError, CurrentConf, InvalidMessage, LABEL_KEY, Launch, Prepare, ProcessAdapter,
    ProcessRecord, ResolveError, Status,
};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::environment::Machine;
use crate::pm2_clj::PM2_CLJ_VARIABLE;

/// PM2's key of a module in its record of a process.
const MODULE_KEY: &str = "pmx_module";
/// The part of `module_conf.json` that lists modules (PM2 7.0.4, constants.js).
const MODULE_LIST: &str = "module-db-v2";
/// How often PM2 may start the watcher in vain: without end, in a number that stays one when PM2 multiplies it with a second
/// in milliseconds.
const MANY_RESTARTS: u32 = 1_000_000_000;
/// How long the watcher may take to report its first pass.
const FIRST_PASS: Duration = Duration::from_secs(60);

/// Why the watcher could not be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisedError {
    /// The path of this program is unknown.
    #[error("the path of this program is unknown, so PM2 cannot be told to run it")]
    NoProgram,
    /// PM2 refused or does not answer.
    #[error(transparent)]
    Pm2(#[from] AdapterError),
    /// The watcher cannot be started here.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// PM2 cannot be given the watcher.
    #[error("PM2 cannot be given the watcher")]
    Message(#[from] InvalidMessage),
    /// A file of PM2's home cannot be read or written.
    #[error("cannot write `{path}`")]
    File {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// PM2's list of modules is damaged.
    #[error("PM2's module settings `{path}` are damaged, so they were left as they are")]
    Damaged {
        /// Which file.
        path: Utf8PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The watcher ended, or did not report in time.
    #[error("the watcher was started, but did not report its first pass: see `{log}`")]
    Silent {
        /// Its log.
        log: String,
    },
}

/// What `up` found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// It was running as it should.
    AlreadyRunning,
    /// It was started.
    Started,
    /// It was running from another program or with other arguments, and was restarted.
    Restarted,
}

/// The watcher of one workspace.
#[derive(Debug)]
pub struct Supervised<'a> {
    config: &'a Config,
    name: String,
    app: Value,
}

impl<'a> Supervised<'a> {
    /// The watcher of this workspace, with further arguments for `watch`.
    ///
    /// # Errors
    /// [`SupervisedError::NoProgram`].
    pub fn new(config: &'a Config, arguments: &[String]) -> Result<Self, SupervisedError> {
        let program = config
            .environment
            .program()
            .ok_or(SupervisedError::NoProgram)?;
        let name = process_name(config.root());
        let mut args: Vec<String> = ["watch", "--color", "never", "--workspace"]
            .map(ToOwned::to_owned)
            .to_vec();
        args.extend([
            config.root().to_string(),
            "--pm2-home".into(),
            config.pm2_home.to_string(),
        ]);
        if let Some(pm2) = &config.pm2 {
            args.extend(["--pm2".into(), pm2.to_string()]);
        }
        args.extend_from_slice(arguments);
        let mut env = config.environment.base_env(&config.surroundings());
        // What is not in the settings the watcher would not know.
        if let Some(command) = config.environment.var(PM2_CLJ_VARIABLE) {
            env.insert(PM2_CLJ_VARIABLE.to_owned(), command.to_owned());
        }
        let app = json!({
            "name": name,
            "script": program,
            "interpreter": "none",
            "args": args,
            "cwd": config.root(),
            "env": env,
            // Daemons that it starts by way of `pm2 ping` are its children for a moment.
            "treekill": false,
            "kill_timeout": 10_000,
            // Its disk may be mounted late, its settings may be mended tomorrow: PM2 must not give up after 16 attempts,
            // as it does otherwise. It tries after half a second, then 1.5 times as long each time, up to 15 s.
            "max_restarts": MANY_RESTARTS,
            "exp_backoff_restart_delay": 500,
            "merge_logs": true,
            "vizion": false,
            "pmx": false,
        });
        Ok(Self { config, name, app })
    }

    /// Its name in PM2.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes sure that it runs.
    ///
    /// # Errors
    /// [`SupervisedError`].
    pub fn up(&self, adapter: &mut dyn ProcessAdapter) -> Result<(Up, String), SupervisedError> {
        self.record_module()?;
        let launch = self.launch()?;
        let mut payload = launch.prepare(1)?.as_map().clone();
        payload.insert(MODULE_KEY.into(), json!(true));
        payload.shift_remove(LABEL_KEY);
        let wanted = Prepare::new(payload)?;
        let log = wanted
            .as_map()
            .get("pm_err_log_path")
            .map(env_text)
            .unwrap_or_default();
        let before = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let done = match find(&self.name, &adapter.list()?) {
            Some(record) if record.status == Status::Online && is_same(record, &wanted) => {
                return Ok((Up::AlreadyRunning, String::new()));
            }
            Some(record) => {
                let mut conf = launch.current_conf(record)?.as_map().clone();
                conf.insert(MODULE_KEY.into(), json!(true));
                conf.shift_remove(LABEL_KEY);
                adapter.restart(record.pm_id, &CurrentConf::new(conf)?)?;
                Up::Restarted
            }
            None => {
                adapter.prepare(&wanted)?;
                Up::Started
            }
        };
        let report = self.wait_for_report(adapter, &log, before)?;
        Ok((done, report))
    }

    /// Ends it, and takes it out of what PM2 starts. Whether it was there.
    ///
    /// # Errors
    /// [`SupervisedError`].
    pub fn down(&self, adapter: Option<&mut dyn ProcessAdapter>) -> Result<bool, SupervisedError> {
        // First the record: whoever starts PM2 in between must not bring it back.
        let recorded = self.forget_module()?;
        let Some(adapter) = adapter else {
            return Ok(recorded);
        };
        let Some(id) = find(&self.name, &adapter.list()?).map(|record| record.pm_id) else {
            return Ok(recorded);
        };
        adapter.delete(id)?;
        Ok(true)
    }

    fn launch(&self) -> Result<Launch, SupervisedError> {
        let context = SpecContext {
            root: self.config.root(),
            home: &self.config.home,
            env_name: None,
            deploy: None,
        };
        // Only for reading the app; it belongs to no daemon, and carries no label.
        let Ok(daemon) = DaemonId::new("pm2-sync/watch") else {
            return Err(SupervisedError::NoProgram);
        };
        let (spec, _) = AppSpec::read(&daemon, &self.app, &DocumentPath::root(), &context);
        let spec = spec.ok_or(SupervisedError::NoProgram)?;
        let machine = Machine::new(
            self.config
                .environment
                .base_env(&self.config.surroundings()),
            self.config.pm2.as_deref(),
        );
        Ok(Launch::resolve(
            &spec,
            self.config.root(),
            &self.config.pm2_home,
            &machine,
        )?)
    }

    /// Waits until the watcher has said what its first pass found.
    fn wait_for_report(
        &self,
        adapter: &mut dyn ProcessAdapter,
        log: &str,
        from: u64,
    ) -> Result<String, SupervisedError> {
        let began = Instant::now();
        while began.elapsed() < FIRST_PASS {
            let text = std::fs::read(log).unwrap_or_default();
            let text = String::from_utf8_lossy(
                &text[usize::try_from(from).unwrap_or(0).min(text.len())..],
            )
            .into_owned();
            if let Some(line) = text
                .lines()
                .find_map(|line| Some(line.split_once("watching; ")?.1))
            {
                return Ok(line.to_owned());
            }
            let failed = find(&self.name, &adapter.list()?)
                .is_none_or(|record| matches!(record.status, Status::Errored | Status::Stopped));
            if failed {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(SupervisedError::Silent {
            log: log.to_owned(),
        })
    }

    fn module_dir(&self) -> Utf8PathBuf {
        self.config.pm2_home.join("modules").join(&self.name)
    }

    fn conf_path(&self) -> Utf8PathBuf {
        self.config.pm2_home.join("module_conf.json")
    }

    /// Records it as a module: whichever `pm2` command starts a daemon launches it.
    fn record_module(&self) -> Result<(), SupervisedError> {
        let package = self.module_dir().join("node_modules").join(&self.name);
        let file = package.join("package.json");
        let fail = |source| SupervisedError::File {
            path: file.clone(),
            source,
        };
        std::fs::create_dir_all(&package).map_err(fail)?;
        let text = json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The watcher of pm2-sync. Written by `pm2-sync up`, removed by `pm2-sync down`.",
            "private": true,
            "apps": self.app,
        });
        write_whole(&file, &format!("{text:#}\n")).map_err(fail)?;
        let mut conf = self.read_conf()?;
        let list = conf.entry(MODULE_LIST).or_insert_with(|| json!({}));
        if let Value::Object(list) = list
            && !list.contains_key(&self.name)
        {
            list.insert(self.name.clone(), json!({}));
            self.write_conf(&conf)?;
        }
        Ok(())
    }

    /// Whether it was recorded.
    fn forget_module(&self) -> Result<bool, SupervisedError> {
        let mut conf = self.read_conf()?;
        let listed = conf
            .get_mut(MODULE_LIST)
            .and_then(Value::as_object_mut)
            .is_some_and(|list| list.shift_remove(&self.name).is_some());
        if listed {
            self.write_conf(&conf)?;
        }
        let dir = self.module_dir();
        match std::fs::remove_dir_all(&dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(listed),
            Err(source) => Err(SupervisedError::File { path: dir, source }),
        }
    }

    fn read_conf(&self) -> Result<Map<String, Value>, SupervisedError> {
        let path = self.conf_path();
        match std::fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => Ok(Map::new()),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| SupervisedError::Damaged { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
            Err(source) => Err(SupervisedError::File { path, source }),
        }
    }

    fn write_conf(&self, conf: &Map<String, Value>) -> Result<(), SupervisedError> {
        let path = self.conf_path();
        let text = format!("{:#}", Value::Object(conf.clone()));
        write_whole(&path, &text).map_err(|source| SupervisedError::File { path, source })
    }
}

/// The name of a workspace's watcher in PM2.
#[must_use]
pub fn process_name(workspace: &Utf8Path) -> String {
    format!("pm2-sync-watch-{}", workspace_code(workspace))
}

fn find<'r>(name: &str, list: &'r [ProcessRecord]) -> Option<&'r ProcessRecord> {
    list.iter()
        .find(|record| record.name == name && record.pm2_env.get(MODULE_KEY) == Some(&json!(true)))
}

/// Whether it runs the same program with the same arguments. Its directory may differ: PM2 starts a module in its own.
fn is_same(record: &ProcessRecord, wanted: &Prepare) -> bool {
    ["pm_exec_path", "args", "exec_interpreter"]
        .iter()
        .all(|key| record.pm2_env.get(*key) == wanted.as_map().get(*key))
}

/// Writes a file as a whole or not at all.
fn write_whole(path: &Utf8Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Utf8Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".pm2-sync-")
        .tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
