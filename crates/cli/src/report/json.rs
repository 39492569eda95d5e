//! What commands print as JSON: version 1, described by a schema each (`pm2-sync schema --output NAME`).
//!
//! These types are separate from those of the libraries. A library may rename its types; the conversions here keep
//! version 1 stable. Values of environment variables are hidden when the types are made, so no printer can forget it.

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

/// The version of all of it.
const VERSION: u8 = 1;

/// What a command prints as JSON.
pub trait Output: Serialize + JsonSchema {
    /// The command.
    const COMMAND: &'static str;

    /// The command that prints this one, where several do.
    fn command(&self) -> &'static str {
        Self::COMMAND
    }
}

/// What every document begins with.
#[derive(Serialize)]
struct Document<'a, O> {
    version: u8,
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<u8>,
    #[serde(flatten)]
    output: &'a O,
}

/// What a command found or did, and how it ends: one JSON object on one line. Nothing in it moves a terminal's cursor.
#[must_use]
pub fn document<O: Output>(output: &O, exit: Exit) -> String {
    line(&Document {
        version: VERSION,
        command: Some(output.command()),
        exit_status: Some(exit.status()),
        output,
    })
}

/// The same for a command that failed; one that could not be understood has no name.
#[must_use]
pub fn error_document(command: Option<&str>, output: &ErrorOutput, exit: Exit) -> String {
    line(&Document {
        version: VERSION,
        command,
        exit_status: Some(exit.status()),
        output,
    })
}

/// One of many lines of a command.
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
    // None of these types holds what JSON cannot say: no map has keys other than text.
    let text = serde_json::to_string(document).unwrap_or_default();
    format!("{}\n", without_controls(text))
}

/// JSON leaves the control characters from U+007F on as they are; terminals act on some of them. They are in strings only.
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
