//! `pm2-sync init`

use crate::args::{GlobalArgs, InitCommand, VariantArgs};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::Printer;
use crate::report::json::InitOutput;
use crate::report::text::{Line, Tone};
use reconcile::init::init;
use reconcile::{Config, Environment};

/// Creates a workspace with one definition, and prints the next steps.
///
/// # Errors
/// [`CommandError::Config`] when the workspace cannot be used; [`CommandError::Import`] when there is no script, or a file already
/// exists or cannot be written.
pub fn run(
    command: &InitCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let overrides = global.overrides(&VariantArgs::default());
    let config = Config::resolve_or_begin(&overrides, environment)?;
    let made = init(&config, command.script.as_deref())?;
    let next = ["plan", "sync", "up"];
    if printer.is_json() {
        let next = next.map(|command| printer.command(command));
        printer.json(&InitOutput::new(&made, next.to_vec()), Exit::Ok);
        return Ok(Exit::Ok);
    }
    let text = format!("{} runs {}", made.definition, made.script);
    printer.line(&Line::default().with(Tone::Good, "wrote ").plain(text));
    let meanings = [
        "shows what would change",
        "makes PM2 run it",
        "keeps it in sync, in the background",
    ];
    printer.note("next:");
    for (command, meaning) in next.into_iter().zip(meanings) {
        printer.note(format!("  {:<24} {meaning}", printer.command(command)));
    }
    Ok(Exit::Ok)
}
