//! `pm2-sync schema`

use crate::exit;
use crate::report::Printer;

/// Prints the JSON Schema of generated configs.
#[must_use]
pub fn run(printer: &Printer) -> u8 {
    printer.data(&format!("{:#}\n", daemon_model::reference::json_schema()));
    exit::OK
}
