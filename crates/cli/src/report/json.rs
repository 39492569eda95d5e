//! The JSON output of commands: version 1. Each output has a schema (`pm2-sync schema --output NAME`).
//!
//! These types are separate from those of the libraries: a library may rename its types, and the conversions here keep version 1
//! stable. Values of environment variables are hidden when these types are made, so no printer can forget to hide them.

mod app;
mod check;
mod decision;
mod doctor;
mod error;
mod history;
mod import;
mod logs;
mod plan;
mod render;
mod schema;
mod step;
mod supervised;
mod sync;
mod watch;

use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;

pub use app::AppOutput;
pub use check::{CheckOutput, DiagnosticOutput, SeverityOutput, diagnostics};
pub use decision::{DecidedOutput, DecisionOutput, Verb};
pub use doctor::DoctorOutput;
pub use error::ErrorOutput;
pub use history::{
    AppChangesOutput, DaemonHistoryOutput, EntryOutcomeOutput, EntryOutput, HistoryOutput,
};
pub use import::{ImportOutput, InitOutput};
pub use logs::LogLineOutput;
pub use plan::{FailureOutput, HeldOutput, PlanOutput, ProblemOutput, StatusOutput};
pub use render::{RenderCheckOutput, RenderOutput, RenderStdoutOutput};
pub use schema::{OutputName, schema};
pub use step::{
    ActionOutput, ChangeKindOutput, ChangeOutput, OutcomeOutput, ReasonOutput, ResultOutput,
    StartsOutput, StepOutput,
};
pub use supervised::{DownOutput, UpOutput};
pub use sync::{FailedArtifactOutput, SyncOutput};
pub use watch::{PassOutput, WatchEvent, WatchOutput};

/// The version of the output format.
const VERSION: u8 = 1;

/// The JSON output of a command.
pub trait Output: Serialize + JsonSchema {
    /// The command.
    const COMMAND: &'static str;

    /// The command that prints this output, if several do.
    fn command(&self) -> &'static str {
        Self::COMMAND
    }
}

/// The fields at the start of every document.
#[derive(Serialize)]
struct Document<'a, O> {
    version: u8,
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<u8>,
    #[serde(flatten)]
    output: &'a O,
}

/// The result of a command and its exit status: one JSON object on one line, without characters that move a terminal's cursor.
#[must_use]
pub fn document<O: Output>(output: &O, exit: Exit) -> String {
    line(&Document {
        version: VERSION,
        command: Some(output.command()),
        exit_status: Some(exit.status()),
        output,
    })
}

/// The document of a failed command; the name is missing if the arguments could not be parsed.
#[must_use]
pub fn error_document(command: Option<&str>, output: &ErrorOutput, exit: Exit) -> String {
    line(&Document {
        version: VERSION,
        command,
        exit_status: Some(exit.status()),
        output,
    })
}

/// The line for one event of a command that prints a line for each event.
#[must_use]
pub fn event<O: Output>(output: &O) -> String {
    line(&Document {
        version: VERSION,
        command: Some(O::COMMAND),
        exit_status: None,
        output,
    })
}

fn line(document: &impl Serialize) -> String {
    // Cannot fail: these types have no map with keys other than text.
    let text = serde_json::to_string(document).unwrap_or_default();
    format!("{}\n", without_controls(text))
}

/// JSON does not escape the control characters from U+007F on, and terminals act on some of them. They occur only in strings.
fn without_controls(text: String) -> String {
    let is_control = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !text.contains(is_control) {
        return text;
    }
    text.chars().fold(String::new(), |mut out, c| {
        if is_control(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
        out
    })
}

/// A duration in whole milliseconds.
fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_printed_as_it_is() {
        let text = without_controls("{\"a\":\"x\u{9b}31m\u{7f}é\"}".to_owned());
        assert_eq!(text, "{\"a\":\"x\\u009b31m\\u007fé\"}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["a"], "x\u{9b}31m\u{7f}é");
    }
}
