//! JSON Schemas of command output.

use clap::ValueEnum;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{
    CheckOutput, DecisionOutput, DoctorOutput, DownOutput, ErrorOutput, HistoryOutput,
    ImportOutput, InitOutput, LogLineOutput, Output, PlanOutput, RenderCheckOutput, RenderOutput,
    RenderStdoutOutput, StatusOutput, SyncOutput, UpOutput, VERSION, Verb, WatchOutput,
};

/// An output that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputName {
    /// `plan`, and `sync --dry-run`
    Plan,
    /// `sync`
    Sync,
    /// `status`
    Status,
    /// One line of `watch`
    Watch,
    /// One line of `logs`
    Logs,
    /// `check`
    Check,
    /// `render`
    Render,
    /// `render --check`
    RenderCheck,
    /// `render --stdout`
    RenderStdout,
    /// `doctor`
    Doctor,
    /// `up`
    Up,
    /// `down`
    Down,
    /// `import`
    Import,
    /// `init`
    Init,
    /// `history`
    History,
    /// `hold`, `release`, `stop`, `start`, `restart` and `rollback`
    #[value(name = "hold", aliases = ["release", "stop", "start", "restart", "rollback"])]
    Decision,
    /// Any command that fails
    Error,
}

/// The schema of an output.
#[must_use]
pub fn schema(name: OutputName) -> Value {
    match name {
        OutputName::Plan => of::<PlanOutput>(),
        OutputName::Sync => of::<SyncOutput>(),
        OutputName::Status => of::<StatusOutput>(),
        OutputName::Watch => event::<WatchOutput>(),
        OutputName::Logs => event::<LogLineOutput>(),
        OutputName::Check => of::<CheckOutput>(),
        OutputName::Render => of::<RenderOutput>(),
        OutputName::RenderCheck => of::<RenderCheckOutput>(),
        OutputName::RenderStdout => of::<RenderStdoutOutput>(),
        OutputName::Doctor => of::<DoctorOutput>(),
        OutputName::Up => of::<UpOutput>(),
        OutputName::Down => of::<DownOutput>(),
        OutputName::Import => of::<ImportOutput>(),
        OutputName::Init => of::<InitOutput>(),
        OutputName::History => of::<HistoryOutput>(),
        OutputName::Decision => decision(),
        OutputName::Error => error(),
    }
}

fn of<O: Output>() -> Value {
    let command = json!({ "const": O::COMMAND, "description": "The command." });
    framed::<O>(command, Frame::Document)
}

fn decision() -> Value {
    let commands = Verb::ALL.map(Verb::name);
    let command = json!({ "enum": commands, "description": "The command." });
    framed::<DecisionOutput>(command, Frame::Document)
}

fn error() -> Value {
    let command = json!({
        "type": ["string", "null"],
        "description": "The command; null when the arguments cannot be understood.",
    });
    framed::<ErrorOutput>(command, Frame::Document)
}

fn event<O: Output>() -> Value {
    let command = json!({ "const": O::COMMAND, "description": "The command." });
    framed::<O>(command, Frame::Event)
}

/// The envelope of an output: see `Document`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// The whole output of a command.
    Document,
    /// One event of a command that prints a line for each event. It has no exit status.
    Event,
}

/// The schema of an output, with the fields that every output starts with.
fn framed<O: JsonSchema>(command: Value, frame: Frame) -> Value {
    let generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let mut schema = generator.into_root_schema_for::<O>();
    // The title is the name of a Rust type.
    schema.remove("title");
    let mut schema: Value = schema.into();
    let mut first = vec![
        (
            "version",
            json!({
                "const": VERSION,
                "description": "The version of the format. Under the same version fields and values are added, but none is removed or changes its meaning.",
            }),
        ),
        ("command", command),
    ];
    if frame == Frame::Document {
        first.push((
            "exit_status",
            json!({ "type": "integer", "description": "The exit status of the command, or with `--follow` the one that `status` would end with now." }),
        ));
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.splice(0..0, first.iter().map(|(name, _)| json!(name)));
    }
    if let Some(properties) = schema["properties"].as_object_mut() {
        let own = std::mem::take(properties);
        properties.extend(
            first
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        properties.extend(own);
    }
    schema
}
