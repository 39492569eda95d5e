//! `pm2-sync check --watch`: checks again whenever a definition or one of its env files changes, for use in editors.

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

/// Prints the current findings, and again whenever they change, until it is stopped.
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
        // Without a receiver, the command has ended already.
        let _ = on_stop.send(Event::Stopped);
    };
    let _signals = signals::catch(&StopFlag::default(), stop).map_err(CommandError::Signals)?;
    let watcher = Watcher::start(
        config.layout.clone(),
        Settings::default(),
        Box::new(move |batch| {
            // A file that is read too early may look invalid for a moment; it is reported again after a quiet period.
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
    /// The last findings, as JSON.
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
                // Editors clear old findings at this line, and stop reading at the summary.
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

/// Sets whether the findings let the command succeed, and returns the exit status.
pub(super) fn judge(output: &mut CheckOutput, command: &CheckCommand) -> Exit {
    output.ok = output.errors == 0 && !(command.strict && output.warnings > 0);
    if output.ok { Exit::Ok } else { Exit::Failed }
}
