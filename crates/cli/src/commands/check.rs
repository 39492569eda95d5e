//! `pm2-sync check`

mod annotate;
mod files;
mod watch;

use crate::args::{CheckCommand, GlobalArgs};
use crate::commands::files::split;
use crate::commands::until_exit;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{CheckOutput, diagnostics};
use crate::report::{Printer, Which, words};
use reconcile::definitions::{Definitions, TreeFinding};
use reconcile::pass;
use reconcile::{Config, Environment};

/// Validates definitions without PM2.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace, [`CommandError::Pass`] when the definitions cannot be read or an ID is
/// unknown.
pub fn run(
    command: &CheckCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    if command.watch {
        return watch::run(command, global, environment, printer);
    }
    let (named, ids) = split(&command.targets);
    let mut output = CheckOutput::default();
    if !named.is_empty() {
        files::check(&named, command, global, &environment, &mut output, printer)?;
    }
    if named.is_empty() || !ids.is_empty() {
        let config = config(command, global, environment)?;
        let definitions = until_exit(load(&config, &ids)?);
        count(definitions, &mut output);
        if printer.is_json() {
            output.diagnostics.extend(diagnostics(definitions, printer));
        } else {
            print(definitions, &config, printer);
        }
    }
    let exit = watch::judge(&mut output, command);
    if printer.is_json() {
        printer.json(&output, exit);
    } else {
        summarize(&output, printer);
    }
    Ok(exit)
}

fn config(
    command: &CheckCommand,
    global: &GlobalArgs,
    environment: Environment,
) -> Result<Config, CommandError> {
    let mut config = Config::resolve_without_pm2(&global.overrides(&command.variant), environment)?;
    config.assume_values = command.no_env_files;
    Ok(config)
}

/// The definitions with these IDs; all if there are none.
fn load(config: &Config, ids: &[String]) -> Result<Definitions, CommandError> {
    let mut definitions = Definitions::look(config)?;
    if let Some(only) = pass::select(config, ids, &definitions, &[])? {
        definitions.retain(&only.daemons());
    }
    Ok(definitions)
}

fn count(definitions: &Definitions, output: &mut CheckOutput) {
    for definition in definitions.daemons.values() {
        output.count(&definition.diagnostics);
    }
    count_paths(&definitions.of_tree, output);
}

fn count_paths(findings: &[TreeFinding], output: &mut CheckOutput) {
    let errors = findings.iter().filter(|found| found.is_error()).count();
    output.errors += errors;
    output.warnings += findings.len() - errors;
}

/// Prints findings as text, or as GitHub annotations.
fn print(definitions: &Definitions, config: &Config, printer: &Printer) {
    if printer.is_github() {
        annotate::definitions(definitions, config, printer);
    } else {
        printer.diagnostics(definitions, Which::All);
    }
}

fn summarize(output: &CheckOutput, printer: &Printer) {
    printer.note(format!(
        "checked {}: {}, {}",
        words::counted(output.files, "definition", "definitions"),
        words::counted(output.errors, "error", "errors"),
        words::counted(output.warnings, "warning", "warnings"),
    ));
    if !output.ok && output.errors == 0 {
        printer.note("warnings count as errors because of `--strict`");
    }
}
