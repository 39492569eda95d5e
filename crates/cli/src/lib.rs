//! pm2-sync as a library: one pass over a workspace, the engine that keeps it so, and the command line.
//!
//! ```no_run
//! use pm2_sync::{Config, Environment, PassOptions, StopFlag, sync};
//!
//! let config = Config::for_workspace("/srv/app".into(), Environment::read())?;
//! let report = sync(&config, &PassOptions::default(), &StopFlag::default(), &mut |_event| {})?;
//! for app in &report.after.apps {
//!     println!("{} {}: {}", app.daemon, app.app, app.condition);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod args;
mod artifacts;
mod commands;
mod config;
mod definitions;
mod engine;
mod environment;
mod error;
pub mod exit;
mod lock;
mod parallel;
mod pass;
mod pm2_clj;
mod report;
mod schedule;
mod settings;
mod signals;
mod supervised;

use std::process::ExitCode;

use clap::Parser;

pub use artifacts::{ArtifactCheck, ArtifactReport};
pub use config::{Config, ConfigError};
pub use definitions::{Definition, Definitions, DefinitionsError, Stray};
pub use engine::{Ended, Engine, EngineEvent, Event, EventSender, events};
pub use environment::{Environment, Machine};
pub use error::CommandError;
pub use lock::{Holder, Lock, LockError};
pub use pass::{
    PassError, PassEvent, PassOptions, Survey, SyncReport, connect, survey, sync, sync_locked,
};
pub use pm2_clj::Pm2Clj;
pub use settings::{SETTINGS_FILE, Settings, SettingsError};
pub use signals::{StopFlag, stop_flag};
pub use supervised::{Supervised, SupervisedError, Up};

use args::{Cli, Command};
use report::Printer;

/// Runs the command line of this process and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Nobody listens: there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(if usage { exit::USAGE } else { exit::OK });
        }
    };
    let environment = Environment::read();
    let printer = Printer::new(&cli.global, &environment);
    let (global, printer_ref) = (&cli.global, &printer);
    let done = match &cli.command {
        command if printer.is_github() && !matches!(command, Command::Check(_)) => Err(
            CommandError::Usage("`--format github` is for `pm2-sync check` only"),
        ),
        Command::Render(command) => {
            commands::render::run(command, global, environment, printer_ref)
        }
        Command::Plan(command) => commands::plan::run(command, global, environment, printer_ref),
        Command::Sync(command) => commands::sync::run(command, global, environment, printer_ref),
        Command::Watch(command) => commands::watch::run(command, global, environment, printer_ref),
        Command::Status(command) => {
            commands::status::run(command, global, environment, printer_ref)
        }
        Command::Doctor(command) => {
            commands::doctor::run(command, global, environment, printer_ref)
        }
        Command::Up(command) => commands::up::up(command, global, environment, printer_ref),
        Command::Down(command) => commands::up::down(command, global, environment, printer_ref),
        Command::Check(command) => commands::check::run(command, global, environment, printer_ref),
        Command::Schema => Ok(commands::schema::run(printer_ref)),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            printer.error(&error, error.hint().as_deref());
            ExitCode::from(error.exit_code())
        }
    }
}
