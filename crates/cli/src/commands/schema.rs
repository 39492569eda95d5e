//! `pm2-sync schema`

use crate::args::SchemaCommand;
use crate::exit::Exit;
use crate::report::{Printer, json};

/// Prints the JSON Schema of a command's output, or of the generated configs.
pub fn run(command: &SchemaCommand, printer: &Printer) -> Exit {
    let schema = match command.output {
        Some(name) => json::schema(name),
        None => daemon_model::reference::json_schema(),
    };
    printer.json_text(&format!("{schema:#}\n"));
    Exit::Ok
}
