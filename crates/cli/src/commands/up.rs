//! `pm2-sync up` and `pm2-sync down`

use clap::ValueEnum;
use serde_json::json;

use crate::args::{DownCommand, GlobalArgs, RendererChoice, UpCommand, VariantArgs};
use crate::config::Config;
use crate::definitions::Definitions;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::exit;
use crate::pass;
use crate::report::{Printer, json as data};
use crate::supervised::{Supervised, Up};

/// Makes sure that the watcher runs under PM2, and tells what its first pass found.
///
/// # Errors
/// [`CommandError`].
pub fn up(
    command: &UpCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let config = Config::load(global, &command.variant, environment)?;
    let mut arguments = Vec::new();
    for (flag, value) in [
        ("--mode", &command.variant.mode),
        ("--env", &command.variant.env),
    ] {
        if let Some(value) = value {
            arguments.extend([flag.to_owned(), value.clone()]);
        }
    }
    if let Some(renderer) = command.variant.renderer.to_possible_value()
        && command.variant.renderer != RendererChoice::default()
    {
        arguments.extend(["--renderer".to_owned(), renderer.get_name().to_owned()]);
    }
    if command.no_heal {
        arguments.push("--no-heal".to_owned());
    }
    // What would keep the watcher from working is told here, not in its log.
    Definitions::load(&config)?;
    let watcher = Supervised::new(&config, &arguments)?;
    let mut adapter = pass::connect_or_start(&config)?;
    let (done, report) = watcher.up(adapter.as_mut())?;
    if printer.is_json() {
        let done = match done {
            Up::AlreadyRunning => "already-running",
            Up::Started => "started",
            Up::Restarted => "restarted",
        };
        printer.json(&data::document(
            "up",
            json!({ "watcher": watcher.name(), "done": done, "first_pass": report }),
        ));
        return Ok(exit::OK);
    }
    match done {
        Up::AlreadyRunning => printer.note(&format!(
            "the watcher is running already ({})",
            watcher.name()
        )),
        Up::Started => printer.note(&format!(
            "the watcher runs under PM2 ({}): {report}",
            watcher.name()
        )),
        Up::Restarted => {
            printer.note(&format!(
                "the watcher was restarted ({}): {report}",
                watcher.name()
            ));
        }
    }
    Ok(exit::OK)
}

/// Ends the watcher; the daemons keep running.
///
/// # Errors
/// [`CommandError`].
pub fn down(
    _command: &DownCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let config = Config::load(global, &VariantArgs::default(), environment)?;
    let watcher = Supervised::new(&config, &[])?;
    let mut adapter = pass::connect(&config)?;
    let was_there = watcher.down(pass::borrow(&mut adapter))?;
    if printer.is_json() {
        printer.json(&data::document(
            "down",
            json!({ "watcher": watcher.name(), "was_running": was_there }),
        ));
    } else if was_there {
        printer.note(&format!(
            "the watcher is stopped ({}); the daemons keep running",
            watcher.name()
        ));
    } else {
        printer.note("the watcher was not running");
    }
    Ok(exit::OK)
}
