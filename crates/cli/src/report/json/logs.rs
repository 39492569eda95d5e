//! `logs`

use reconcile::{LogLine, LogStream};
use schemars::JsonSchema;
use serde::Serialize;

use super::Output;

/// A line of a log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LogLineOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// The app's name.
    pub app: String,
    /// The process's number in PM2; null if the app has only one process, or several write to the same file.
    pub pm_id: Option<u32>,
    /// The stream that it was written to.
    pub stream: StreamOutput,
    /// When it was written, if the line says so (RFC 3339).
    pub time: Option<String>,
    /// The line, without colours.
    pub text: String,
}

/// A stream of an app.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamOutput {
    /// Standard output, or both if they share a file.
    Out,
    /// Standard error.
    Err,
}

impl Output for LogLineOutput {
    const COMMAND: &'static str = "logs";
}

impl LogLineOutput {
    /// A line.
    #[must_use]
    pub fn new(line: &LogLine) -> Self {
        let file = &line.file;
        Self {
            daemon: file.daemon.to_string(),
            app: file.app.clone(),
            pm_id: file.pm_id.map(|pm_id| pm_id.0),
            stream: match file.stream {
                LogStream::Out => StreamOutput::Out,
                LogStream::Err => StreamOutput::Err,
            },
            time: line.time.map(|time| time.to_string()),
            text: line.text.clone(),
        }
    }
}
