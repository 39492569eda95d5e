//! The command line of pm2-sync. To use it from other programs, depend on `pm2-sync-reconcile`.
//!
//! Packagers can get man pages and completions without running it:
//!
//! ```
//! let command = pm2_sync::command();
//! let names: Vec<&str> = command.get_subcommands().map(|it| it.get_name()).collect();
//! assert!(names.contains(&"sync"));
//!
//! for (file, script) in pm2_sync::shell_completions()? {
//!     println!("{file}: {} bytes", script.len());
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

mod args;
mod commands;
mod error;
mod exit;
mod report;
mod signals;
mod since;
mod verdict;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use reconcile::Environment;

pub use error::CommandError;
pub use exit::Exit;

use args::Cli;
use commands::completions::{self, Shell};
use report::Printer;

/// The definition of the command line, for man pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The usual file name of each shell's completions, and their text.
///
/// # Errors
/// Never in practice: it writes into memory.
pub fn shell_completions() -> std::io::Result<[(&'static str, Vec<u8>); 3]> {
    Ok([
        ("pm2-sync.bash", Shell::Bash.script()?),
        ("_pm2-sync", Shell::Zsh.script()?),
        ("pm2-sync.fish", Shell::Fish.script()?),
    ])
}

/// Runs the command line of this process and returns its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let environment = Environment::read();
    if let Some(exit) = completions::answer(&environment) {
        return exit.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report::usage(error),
    };
    let printer = Printer::new(&cli, &environment);
    let exit = commands::run(&cli, environment, &printer).unwrap_or_else(|error| {
        printer.failure(&error);
        error.exit()
    });
    printer.finish(exit)
}
