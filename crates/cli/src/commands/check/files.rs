//! `pm2-sync check FILE.edn`

use std::collections::BTreeSet;

use camino::Utf8Path;
use daemon_model::{Diagnostic, Diagnostics, Level, Severity};
use edn_render::Options;

use super::{annotate, config, count_paths};
use crate::args::{CheckCommand, GlobalArgs};
use crate::commands::files::FileReader;
use crate::error::CommandError;
use crate::report::json::{CheckOutput, DiagnosticOutput};
use crate::report::{Printer, Which, github};
use reconcile::Environment;
use reconcile::definitions::{EnvFileFinding, RenderedDefinition, TreeFinding};

/// Checks definitions by path. Findings about an env file that several definitions name are reported once.
///
/// # Errors
/// [`CommandError::Config`] when pm2-clj is requested and its command is not known.
pub(super) fn check(
    files: &[&str],
    command: &CheckCommand,
    global: &GlobalArgs,
    environment: &Environment,
    output: &mut CheckOutput,
    printer: &Printer,
) -> Result<(), CommandError> {
    let mut reader = FileReader::new(global, &command.variant, environment)?;
    let mut root = None;
    // Files need not be in a workspace.
    if let Ok(config) = config(command, global, environment.clone()) {
        root = Some(config.root().to_owned());
        reader = reader.with_values_of(config);
    }
    let name = |path: &str, base: Option<&Utf8Path>| {
        annotate::in_repository(Utf8Path::new(path), base, environment)
    };
    let mut of_env_files: BTreeSet<EnvFileFinding> = BTreeSet::new();
    for file in files {
        let (source, rendered) = read(&reader, Utf8Path::new(file))?;
        let found = rendered.diagnostics;
        output.count(&found);
        of_env_files.extend(rendered.of_env_files);
        if printer.is_json() {
            let found = DiagnosticOutput::all(&found, file, None, printer);
            output.diagnostics.extend(found);
        } else if printer.is_github() {
            let file = name(file, environment.cwd());
            printer.lines(&github::annotations(&found, &file, printer));
        } else {
            printer.findings(&found, file, &source, Which::All);
        }
    }
    let of_env_files: Vec<TreeFinding> = of_env_files.iter().map(TreeFinding::env_file).collect();
    count_paths(&of_env_files, output);
    if printer.is_json() {
        let found = of_env_files.iter().map(DiagnosticOutput::about_path);
        output.diagnostics.extend(found);
    } else if printer.is_github() {
        for found in &of_env_files {
            let file = name(&found.path, root.as_deref());
            printer.lines(&github::about_path(found, &file));
        }
    } else {
        printer.tree(&of_env_files);
    }
    Ok(())
}

/// A file and its findings.
fn read(
    reader: &FileReader<'_>,
    path: &Utf8Path,
) -> Result<(Vec<u8>, RenderedDefinition), CommandError> {
    match reader.read(path, &Options::default()) {
        // Reported like any other finding, so that the other files are checked as well.
        Err(CommandError::ReadFile { source, .. }) => {
            let message = format!("cannot be read: {source}");
            let found = Diagnostic::new(Severity::Error, Level::Render, message);
            let rendered = RenderedDefinition {
                diagnostics: Diagnostics::from_iter([found]),
                ..RenderedDefinition::default()
            };
            Ok((Vec::new(), rendered))
        }
        other => other,
    }
}
