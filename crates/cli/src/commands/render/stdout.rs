//! `render --stdout`: prints instead of writing.

use camino::Utf8Path;
use edn_render::Options;

use super::Chosen;
use crate::args::{GlobalArgs, RenderCommand};
use crate::commands::files::FileReader;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{RenderStdoutOutput, diagnostics};
use crate::report::{Printer, Which};
use reconcile::Environment;

/// Prints generated configs, or a JSON object with them by ID.
pub fn print_all(chosen: &Chosen<'_>, printer: &Printer) -> Exit {
    let definitions = chosen.definitions;
    let included = definitions.daemons.iter();
    let texts = included
        .filter(|(id, _)| chosen.includes(id))
        .filter_map(|(id, definition)| Some((id, definition.artifact()?)));
    let exit = match chosen.has_invalid() {
        true => Exit::Failed,
        false => Exit::Ok,
    };
    if printer.is_json() {
        let configs = texts
            .filter_map(|(id, text)| Some((id.to_string(), serde_json::from_str(text).ok()?)))
            .collect();
        let diagnostics = diagnostics(definitions, printer);
        let output = RenderStdoutOutput {
            configs,
            diagnostics,
        };
        printer.json(&output, exit);
    } else {
        for (_, text) in texts {
            printer.json_text(text);
        }
    }
    printer.diagnostics(definitions, Which::Errors);
    exit
}

/// Prints rendered files, inside or outside of a workspace.
///
/// # Errors
/// [`CommandError::ReadFile`] for a file that cannot be read; [`CommandError::Config`] when pm2-clj is requested and its command is
/// not known.
pub fn print_files(
    files: &[&str],
    command: &RenderCommand,
    global: &GlobalArgs,
    environment: &Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let reader = FileReader::new(global, &command.variant, environment)?;
    let options = Options {
        set: command.set.clone(),
        unset: command.unset.clone(),
        ..Options::default()
    };
    let mut exit = Exit::Ok;
    for file in files {
        let (source, rendered) = reader.read(Utf8Path::new(file), &options)?;
        let mut diagnostics = rendered.diagnostics;
        match rendered.document {
            Some(document) => {
                printer.json_of(|out| document.write_json(out, None));
                // The file still renders, so a value that PM2 would misread is only a warning here.
                diagnostics = diagnostics.as_warnings();
            }
            None => exit = Exit::Failed,
        }
        printer.findings(&diagnostics, file, &source, Which::All);
    }
    Ok(exit)
}
