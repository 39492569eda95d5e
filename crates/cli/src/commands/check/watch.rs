//! `pm2-sync check --watch`: checks again whenever a definition changes or an env file that one names, for editors.

use std::sync::mpsc::channel;

use super::{count, load, print, summarize};
use crate::args::{CheckCommand, GlobalArgs};
use crate::commands::files;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{CheckOutput, ErrorOutput, Output, diagnostics};
use crate::report::{Printer, json};
use crate::signals;
use reconcile::{Config, EngineError, Environment, StopFlag};
use watcher::{Cause, Settings, Watcher};

enum Event {
    Changed,
    Stopped,
}

/// Prints what is found now, and again whenever it is something else, until it is stopped.
///
/// # Errors
/// [`CommandError::Usage`] for files, [`CommandError::Config`] without a usable workspace, [`CommandError::Signals`], and
/// [`CommandError::Engine`] when files cannot be watched.
pub(super) fn run(
    command: &CheckCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let (files, ids) = files::split(&command.targets);
    if !files.is_empty() {
        return Err(CommandError::Usage(
            "`--watch` is for the definitions of a workspace, not for files",
        ));
    }
    let config = super::config(command, global, environment)?;
    let (sender, events) = channel();
    let on_stop = sender.clone();
    let stop = move || {
        // Without a receiver it has ended already.
        let _ = on_stop.send(Event::Stopped);
    };
    let _signals = signals::catch(&StopFlag::default(), stop).map_err(CommandError::Signals)?;
    let watcher = Watcher::start(
        config.layout.clone(),
        Settings::default(),
        Box::new(move |batch| {
            // A file that is read too early may be reported as broken for a moment; it is named again when all is quiet.
            if batch.cause != Cause::Written {
                let _ = sender.send(Event::Changed);
            }
        }),
    )
    .map_err(EngineError::from)?;

    let mut round = Round {
        command,
        ids: &ids,
        config: &config,
        printer,
        watcher: &watcher,
        last: String::new(),
    };
    let mut exit = round.check();
    while let Ok(Event::Changed) = events.recv() {
        exit = round.check();
        if printer.is_closed() {
            break;
        }
    }
    Ok(exit)
}

struct Round<'a> {
    command: &'a CheckCommand,
    ids: &'a [String],
    config: &'a Config,
    printer: &'a Printer,
    watcher: &'a Watcher,
    /// What was found last, as JSON.
    last: String,
}

impl Round<'_> {
    fn check(&mut self) -> Exit {
        let printer = self.printer;
        let mut output = CheckOutput::default();
        let definitions = load(self.config, self.ids);
        if let Ok(definitions) = &definitions {
            let env_files = definitions.env_files().cloned().collect();
            self.watcher.watch_files(env_files);
        }
        let (document, exit) = match &definitions {
            Ok(definitions) => {
                count(definitions, &mut output);
                output.diagnostics = diagnostics(definitions, printer);
                let exit = judge(&mut output, self.command);
                (json::document(&output, exit), exit)
            }
            Err(error) => {
                let error_output = ErrorOutput::new(error, printer);
                let exit = error.exit();
                let document =
                    json::error_document(Some(CheckOutput::COMMAND), &error_output, exit);
                (document, exit)
            }
        };
        if document == self.last {
            return exit;
        }
        match &definitions {
            _ if printer.is_json() => printer.json_text(&document),
            Ok(definitions) => {
                // Editors clear what they show at this line, and stop reading at the summary.
                printer.note("checking");
                print(definitions, self.config, printer);
                summarize(&output, printer);
            }
            Err(error) => printer.explain(error),
        }
        self.last = document;
        exit
    }
}

/// Whether what was found lets the command succeed, and how it ends then.
pub(super) fn judge(output: &mut CheckOutput, command: &CheckCommand) -> Exit {
    output.ok = output.errors == 0 && !(command.strict && output.warnings > 0);
    if output.ok { Exit::Ok } else { Exit::Failed }
}
