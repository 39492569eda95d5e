//! `pm2-sync check`

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;

use camino::Utf8Path;
use daemon_model::{DaemonId, Diagnostic, Level, Severity};
use serde_json::json;

use crate::args::{CheckCommand, GlobalArgs};
use crate::commands::render::{FileReader, is_file_argument};
use crate::config::Config;
use crate::definitions::Definitions;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::exit;
use crate::pass;
use crate::report::{Printer, github, json as data, words};

struct Counts {
    files: usize,
    errors: usize,
    warnings: usize,
}

impl Counts {
    fn add<'a>(&mut self, diagnostics: impl IntoIterator<Item = &'a Diagnostic>) {
        self.files += 1;
        for diagnostic in diagnostics {
            if diagnostic.is_error() {
                self.errors += 1;
            } else {
                self.warnings += 1;
            }
        }
    }
}

/// Validates definitions without PM2.
///
/// # Errors
/// [`CommandError`].
pub fn run(
    command: &CheckCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let mut counts = Counts {
        files: 0,
        errors: 0,
        warnings: 0,
    };
    let (files, ids): (Vec<&String>, Vec<&String>) = command
        .targets
        .iter()
        .partition(|target| is_file_argument(target));
    let mut found = Vec::new();
    let reader = FileReader::new(global, &command.variant, &environment)?;
    for file in &files {
        let path = Utf8Path::new(file);
        let (source, diagnostics) = match reader.check(path) {
            // It is told like any other finding, and keeps none of the others from being told.
            Err(CommandError::ReadFile { source, .. }) => {
                let message = format!("cannot be read: {source}");
                let found = Diagnostic::new(Severity::Error, Level::Render, message);
                (Vec::new(), vec![found])
            }
            read => read?,
        };
        counts.add(&diagnostics);
        for diagnostic in &diagnostics {
            if printer.is_json() {
                found.push(data::diagnostic(diagnostic, file, None));
            } else if printer.is_github() {
                let file = in_repository(path, environment.cwd(), &environment);
                printer.data(&github::annotation(diagnostic, &file));
            } else {
                printer.say(&printer.draw(diagnostic, file, &source));
            }
        }
    }
    if files.is_empty() || !ids.is_empty() {
        let config = Config::load(global, &command.variant, environment)?;
        // This process ends when it is done with them, and the system takes all of them back at once.
        let mut definitions = ManuallyDrop::new(Definitions::load(&config)?);
        let ids: Vec<String> = ids.into_iter().cloned().collect();
        let known: BTreeSet<DaemonId> = definitions.daemons.keys().cloned().collect();
        if let Some(only) = pass::select(&config, &ids, known)? {
            definitions.daemons.retain(|id, _| only.contains(id));
            definitions.strays.clear();
        }
        for definition in definitions.daemons.values() {
            counts.add(&definition.diagnostics);
        }
        counts.errors += definitions.strays.len();
        if printer.is_json() {
            if let serde_json::Value::Array(more) = data::diagnostics(&definitions) {
                found.extend(more);
            }
        } else if printer.is_github() {
            annotate(&definitions, &config, printer);
        } else {
            printer.diagnostics(&definitions, true);
        }
    }
    let failed = counts.errors > 0 || (command.strict && counts.warnings > 0);
    if printer.is_json() {
        printer.json(&data::document(
            "check",
            json!({
                "ok": !failed,
                "files": counts.files,
                "errors": counts.errors,
                "warnings": counts.warnings,
                "diagnostics": found,
            }),
        ));
    } else {
        printer.note(&format!(
            "checked {}: {}, {}",
            words::counted(counts.files, "definition", "definitions"),
            words::counted(counts.errors, "error", "errors"),
            words::counted(counts.warnings, "warning", "warnings"),
        ));
        if failed && counts.errors == 0 {
            printer.note("warnings fail because of `--strict`");
        }
    }
    Ok(if failed { exit::FAILED } else { exit::OK })
}

/// A file as GitHub knows it: relative to the folder that the repository was checked out to.
fn in_repository(path: &Utf8Path, base: Option<&Utf8Path>, environment: &Environment) -> String {
    let repository = environment.var("GITHUB_WORKSPACE").map(Utf8Path::new);
    let absolute = base.map_or_else(|| path.to_owned(), |base| base.join(path));
    repository
        .and_then(|repository| absolute.strip_prefix(repository).ok())
        .unwrap_or(path)
        .to_string()
}

fn annotate(definitions: &Definitions, config: &Config, printer: &Printer) {
    let name = |path: &Utf8Path| in_repository(path, Some(config.root()), &config.environment);
    for definition in definitions.daemons.values() {
        let file = name(&definition.name);
        for diagnostic in &definition.diagnostics {
            printer.data(&github::annotation(diagnostic, &file));
        }
    }
    for stray in &definitions.strays {
        let file = name(Utf8Path::new(&stray.path));
        printer.data(&github::about_file(&stray.message, &file));
    }
}
