//! Suggestions for invalid arguments.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::json::ErrorOutput;

/// The pm2-sync command for a name used by other tools.
fn meant(command: &str) -> Option<&'static str> {
    Some(match command {
        "ls" | "list" | "ps" | "monit" | "describe" => "status",
        "apply" | "reconcile" | "startOrReload" => "sync",
        "diff" => "plan",
        "log" => "logs",
        "validate" | "lint" => "check",
        "completion" => "completions",
        _ => return None,
    })
}

/// The same error, with a suggestion for names used by other tools.
pub fn with_real_name(mut error: clap::Error) -> clap::Error {
    let given = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(given)) if error.kind() == ErrorKind::InvalidSubcommand => given,
        _ => return error,
    };
    if let Some(meant) = meant(given) {
        let meant = ContextValue::Strings(vec![meant.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    error
}

/// The error as JSON.
pub fn output(error: &clap::Error) -> ErrorOutput {
    // Use the first paragraph; suggestions and usage follow it.
    let message = error.to_string();
    let message = message.split("\n\n").next().unwrap_or_default();
    let message = message.trim_start_matches("error: ").trim();
    let hint = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) if !names.is_empty() => {
            let names: Vec<String> = names.iter().map(|it| format!("`pm2-sync {it}`")).collect();
            format!("did you mean {}?", names.join(" or "))
        }
        _ => "`pm2-sync --help` lists the commands; `pm2-sync COMMAND --help` lists a command's flags".to_owned(),
    };
    ErrorOutput::usage(message.to_owned(), hint)
}
