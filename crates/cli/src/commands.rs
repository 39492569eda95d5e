//! The commands. Each calls the library with its arguments, prints the result and returns the exit status.

mod act;
mod check;
pub mod completions;
mod decide;
pub mod doctor;
mod down;
mod files;
mod follow;
mod history;
mod import;
mod init;
mod logs;
mod plan;
mod render;
mod schema;
mod status;
mod sync;
mod up;
mod watch;

use crate::args::{Cli, Command, RollbackCommand, StopCommand};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::Printer;
use crate::report::json::Verb;
use reconcile::Environment;
use reconcile::rollout::Decree;

/// Runs a command.
///
/// # Errors
/// The [`CommandError`] of the command. The module of each command documents its errors.
pub fn run(cli: &Cli, environment: Environment, printer: &Printer) -> Result<Exit, CommandError> {
    let global = &cli.global;
    match &cli.command {
        command if printer.is_github() && !matches!(command, Command::Check(_)) => Err(
            CommandError::Usage("`--format github` is for `pm2-sync check` only"),
        ),
        Command::Render(command) => render::run(command, global, environment, printer),
        Command::Plan(command) => plan::run(&command.plan, global, environment, printer),
        Command::Sync(command) => sync::run(command, global, environment, printer),
        Command::Watch(command) => watch::run(command, global, environment, printer),
        Command::Status(command) => status::run(command, global, environment, printer),
        Command::Doctor(command) => Ok(doctor::run(command, global, environment, printer)),
        Command::Up(command) => up::up(command, global, environment, printer),
        Command::Down(command) => down::run(command, global, environment, printer),
        Command::History(command) => history::run(command, global, environment, printer),
        Command::Hold(command) => decide::hold(command, global, environment, printer),
        Command::Release(args) => {
            let decision = Some(Decree::Release);
            act::run(Verb::Release, decision, args, global, environment, printer)
        }
        Command::Stop(StopCommand { terms, act }) => {
            let decision = Some(Decree::Stop(terms.terms()));
            act::run(Verb::Stop, decision, act, global, environment, printer)
        }
        Command::Start(args) => {
            let decision = Some(Decree::Start);
            act::run(Verb::Start, decision, args, global, environment, printer)
        }
        Command::Restart(args) => act::run(Verb::Restart, None, args, global, environment, printer),
        Command::Rollback(RollbackCommand { to, terms, act }) => {
            let (number, terms) = (*to, terms.terms());
            let decision = Some(Decree::Pin { number, terms });
            act::run(Verb::Rollback, decision, act, global, environment, printer)
        }
        Command::Check(command) => check::run(command, global, environment, printer),
        Command::Logs(command) => logs::run(command, global, environment, printer),
        Command::Import(command) => import::run(command, global, environment, printer),
        Command::Init(command) => init::run(command, global, environment, printer),
        Command::Schema(command) => Ok(schema::run(command, printer)),
        Command::Completions(command) => Ok(completions::run(command, printer)),
    }
}

/// Keeps a value until the process ends. That is soon, and the system then reclaims the memory at once, which is much faster than
/// freeing thousands of records.
fn until_exit<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}
