//! Keeps what PM2 runs in sync with a directory of definitions. This is the library under `pm2-sync`, without a command line.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use reconcile::{Config, Environment, Request, StopFlag, sync};
//!
//! let config = Config::for_workspace("/srv/app".into(), Environment::read())?;
//! let wait = Duration::from_secs(60);
//! let report = sync(&config, &Request::default(), wait, &StopFlag::default(), &mut |_| {})?;
//! for app in report.after.apps.iter() {
//!     println!("{} {}: {}", app.daemon, app.app, app.condition);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod artifacts;
mod clear;
mod config;
pub mod definitions;
mod engine;
mod environment;
mod error;
mod failures;
mod guard;
pub mod import;
pub mod init;
mod lock;
mod logs;
mod parallel;
pub mod pass;
pub mod pm2;
mod pm2_clj;
mod restarts;
pub mod rollout;
mod settings;
mod state;
mod subprocess;
mod trust;
mod values;
pub mod watcher_module;

pub use daemon_model;
pub use edn_render::{self, artifact::ArtifactStore};
pub use pm2_client::{self, StopFlag};
pub use watcher;

pub use artifacts::{ArtifactCheck, ArtifactFailures, ArtifactReport};
pub use clear::{Cleared, clear, plan_clear};
pub use config::{Config, ConfigError, Overrides, Pm2Location};
pub use definitions::{Definition, Definitions, DefinitionsError, EnvFileFinding, TreeFinding};
pub use engine::{
    Ended, Engine, EngineError, EngineEvent, EngineHandle, EngineObserver, EngineOptions,
    PassReason,
};
pub use environment::Environment;
pub use error::{FailureKind, chain};
pub use failures::{Failure, Failures};
pub use lock::{Holder, Lock, LockError};
pub use logs::{LogExcerpt, LogFile, LogLine, LogRange, LogReader, LogStream, log_files};
pub use pass::{
    DefinitionSource, Disk, DryRun, Obstacle, PassError, PassEvent, Removal, Request, Snapshot,
    SyncReport, Wait, plan, reconcile, sync,
};
pub use pm2::{Pm2, StartError, Writer};
pub use pm2_clj::{PM2_CLJ_VARIABLE, Pm2Clj};
pub use restarts::RecentStarts;
pub use rollout::{Decree, DecreeError, Decreed, Terms, decree};
pub use settings::{SETTINGS_FILE, Settings, SettingsError};
pub use state::{StateDir, StateWarning};
pub use values::ValueSources;
pub use watcher_module::{UpOutcome, WatcherModule, WatcherModuleError};
