//! The watcher as a PM2 [module](Module), which survives `pm2 delete all`, `pm2 kill` and a reboot.

use std::path::Path;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use daemon_model::{AppSpec, DaemonId, DocumentPath, SpecContext, Status, workspace_code};
use files::Links;
use pm2_client::{AdapterError, Module, ModuleError, ProcessRecord, ResolveError, ResolvedApp};
use serde_json::{Value, json};

use crate::config::Config;
use crate::error::FailureKind;
use crate::pm2::{Pm2, StartError, Writer};
use crate::pm2_clj::PM2_CLJ_VARIABLE;

/// Effectively without limit; still a finite number when PM2 multiplies it by 1000.
const MANY_RESTARTS: u32 = 1_000_000_000;
/// How much of the watcher's log is read for its first report, in bytes.
const MOST_OF_LOG: u64 = 1 << 20;
/// How long the watcher may take to report its first pass.
const FIRST_PASS: Duration = Duration::from_secs(60);

/// Why the watcher could not be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatcherModuleError {
    /// The path of this program is unknown.
    #[error("the path of this program is unknown, so PM2 cannot run it")]
    NoProgram,
    /// PM2 cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// PM2 was started but ended again.
    #[error("PM2 ended before it could start the watcher")]
    NoConnection,
    /// PM2 refused the request or does not answer.
    #[error(transparent)]
    Pm2(#[from] AdapterError),
    /// The watcher cannot be started here.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// PM2's record of the watcher cannot be changed.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The watcher ended, or did not report in time.
    #[error("the watcher was started, but did not report its first pass: see `{log}`")]
    Silent {
        /// Its log file.
        log: String,
    },
}

impl WatcherModuleError {
    /// The kind of the failure, from which the caller chooses an exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Start(error) => error.kind(),
            Self::Pm2(error) => FailureKind::of_call(error),
            Self::NoConnection => FailureKind::Pm2,
            Self::NoProgram | Self::Resolve(_) | Self::Module(_) | Self::Silent { .. } => {
                FailureKind::Other
            }
        }
    }
}

/// The result of `up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpOutcome {
    /// It was already running with the right arguments and variables.
    AlreadyRunning,
    /// It was started.
    Started,
    /// It was running from another program, with other arguments, or with other values of `:pass-env` variables, and was restarted.
    Restarted,
}

/// A watcher that was started, or was running.
#[derive(Debug)]
pub struct Started {
    /// What was done.
    pub outcome: UpOutcome,
    /// The `:pass-env` variables whose values had changed.
    pub changed_variables: Vec<String>,
    log: String,
    /// The length of its log before the start, in bytes.
    log_length: u64,
}

/// The watcher of one workspace.
#[derive(Debug)]
pub struct WatcherModule<'a> {
    config: &'a Config,
    name: String,
    app: Value,
}

impl<'a> WatcherModule<'a> {
    /// The watcher of this workspace, with further arguments for `watch`.
    ///
    /// # Errors
    /// [`WatcherModuleError::NoProgram`] when the path of this program is not known.
    pub fn new(config: &'a Config, arguments: &[String]) -> Result<Self, WatcherModuleError> {
        let program = config
            .environment
            .program()
            .ok_or(WatcherModuleError::NoProgram)?;
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
        let mut env = config.environment.base_env(&config.env_policy());
        // The watcher would not know this value, which is not in the settings.
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
            // Daemons that it starts through `pm2 ping` are its children for a moment.
            "treekill": false,
            "kill_timeout": 10_000,
            // The disk may be mounted late, or the settings fixed later, so PM2 must not give up after its default of 16 attempts.
            // It retries after half a second, then after 1.5 times as long each time, up to 15 s.
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

    /// Ensures that it runs.
    ///
    /// # Errors
    /// [`WatcherModuleError::Start`] and [`WatcherModuleError::NoConnection`] when PM2 does not run;
    /// [`WatcherModuleError::Module`] when it cannot be recorded; [`WatcherModuleError::Resolve`] and
    /// [`WatcherModuleError::Pm2`] when it cannot be started.
    pub fn start(&self, writer: &mut Writer<'_, '_>) -> Result<Started, WatcherModuleError> {
        writer.ensure_running()?;
        let adapter = writer.adapter().ok_or(WatcherModuleError::NoConnection)?;
        let running = Module::find(&self.name, adapter)?;
        let (app, changed_variables) = self.with_recorded_env(running.as_ref());
        let package = json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The watcher of pm2-sync. Written by `pm2-sync up`, removed by `pm2-sync down`.",
            "private": true,
            "apps": app,
        });
        Module::record(&self.config.pm2_home, &self.name, &package)?;
        let module = Module::new(self.resolve(&app)?)?;
        let log = module.error_log();
        let log_length = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let is_as_wanted = |record: &ProcessRecord| {
            record.status == Status::Online
                && module.is_same(record)
                && changed_variables.is_empty()
        };
        let outcome = match running {
            Some(record) if is_as_wanted(&record) => UpOutcome::AlreadyRunning,
            Some(record) => {
                adapter.restart(record.pm_id, &module.current_conf(&record)?)?;
                UpOutcome::Restarted
            }
            None => {
                module.start(adapter)?;
                UpOutcome::Started
            }
        };
        Ok(Started {
            outcome,
            changed_variables,
            log,
            log_length,
        })
    }

    /// The app, with recorded values for `:pass-env` variables that the caller lacks, and the variables whose values differ.
    fn with_recorded_env(&self, record: Option<&ProcessRecord>) -> (Value, Vec<String>) {
        let mut app = self.app.clone();
        let policy = self.config.env_policy();
        let recorded = record.and_then(|record| record.pm2_env.get("env")?.as_object());
        let (Some(recorded), Some(env)) = (recorded, app["env"].as_object_mut()) else {
            return (app, Vec::new());
        };
        for (name, value) in recorded.iter().filter(|(name, _)| policy.passes(name)) {
            env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let is_other = |(name, value): &(&String, &Value)| {
            policy.passes(name) && recorded.get(*name) != Some(*value)
        };
        let changed = env.iter().filter(is_other).map(|(name, _)| name.clone());
        let changed = changed.collect();
        (app, changed)
    }

    /// Stops it, and removes it from the modules that PM2 starts. Returns whether it existed.
    ///
    /// # Errors
    /// [`WatcherModuleError::Module`] when its record cannot be removed; [`WatcherModuleError::Pm2`] when PM2 refuses or does
    /// not answer.
    pub fn stop(&self, writer: &mut Writer<'_, '_>) -> Result<bool, WatcherModuleError> {
        // Remove the record first: a PM2 that is started in between must not bring it back.
        let was_recorded = Module::forget(&self.config.pm2_home, &self.name)?;
        writer.pm2().connect()?;
        let Some(adapter) = writer.adapter() else {
            return Ok(was_recorded);
        };
        let was_running = Module::delete(&self.name, adapter)?.is_some();
        Ok(was_recorded || was_running)
    }

    fn resolve(&self, app: &Value) -> Result<ResolvedApp, WatcherModuleError> {
        let context = SpecContext {
            root: self.config.root(),
            home: &self.config.home,
            env_name: None,
            deploy: None,
        };
        // The id is only needed to parse the app, which belongs to no daemon and has no label.
        let Ok(daemon) = DaemonId::new("pm2-sync/watch") else {
            return Err(WatcherModuleError::NoProgram);
        };
        let (spec, _) = AppSpec::read(&daemon, app, &DocumentPath::root(), &context);
        let spec = spec.ok_or(WatcherModuleError::NoProgram)?;
        let host = self.config.local_host();
        let app = ResolvedApp::resolve(&spec, self.config.root(), &self.config.pm2_home, &host)?;
        app.make_log_dirs(&host)?;
        Ok(app)
    }

    /// Waits for the report of the watcher's first pass and returns it. A watcher that was running already has none.
    ///
    /// # Errors
    /// [`WatcherModuleError::Silent`] when it ends or does not report in time; [`WatcherModuleError::Pm2`] when PM2 does not
    /// answer.
    pub fn wait_for_report(
        &self,
        pm2: &mut Pm2<'_>,
        started: &Started,
    ) -> Result<String, WatcherModuleError> {
        if started.outcome == UpOutcome::AlreadyRunning {
            return Ok(String::new());
        }
        let (log, from) = (&started.log, started.log_length);
        let began = Instant::now();
        while began.elapsed() < FIRST_PASS {
            let size = std::fs::metadata(log).map_or(0, |metadata| metadata.len());
            let new = size.saturating_sub(from).min(MOST_OF_LOG);
            let text = files::read_end(Path::new(log), Links::Follow, new).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            if let Some(line) = text
                .lines()
                .find_map(|line| Some(line.split_once("watching; ")?.1))
            {
                return Ok(line.to_owned());
            }
            let observed = pm2.observe()?;
            let mut processes = observed.processes.iter();
            let has_failed = processes
                .find(|process| process.is_module && process.name == self.name)
                .is_none_or(|process| matches!(process.status, Status::Errored | Status::Stopped));
            if has_failed {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(WatcherModuleError::Silent { log: log.clone() })
    }
}

/// The name of a workspace's watcher in PM2.
#[must_use]
pub fn process_name(workspace: &Utf8Path) -> String {
    format!("pm2-sync-watch-{}", workspace_code(workspace))
}
