//! `pm2-sync import`

use std::collections::BTreeSet;

use daemon_model::Diagnostics;

use crate::args::{GlobalArgs, ImportCommand, VariantArgs};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{DiagnosticOutput, ImportOutput};
use crate::report::text::{Line, Tone};
use crate::report::{Printer, Which, words};
use crate::signals;
use reconcile::import::{self, Import, Note, PlaceState};
use reconcile::{Config, Environment, StopFlag};

/// Makes definitions from configs, from running processes, or from a dump.
///
/// # Errors
/// [`CommandError::Config`] when the workspace cannot be used; [`CommandError::Import`] when there is nothing to import, or a file
/// cannot be written; [`CommandError::Signals`] when signals cannot be caught.
pub fn run(
    command: &ImportCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let overrides = global.overrides(&VariantArgs::default());
    let config = Config::resolve_or_begin(&overrides, environment)?;
    let stop = StopFlag::default();
    let _signals = signals::catch(&stop, || {}).map_err(CommandError::Signals)?;
    let imported = if command.running {
        import::read_running(&config, &stop)?
    } else if let Some(dump) = &command.dump {
        import::read_dump(dump, &config)?
    } else {
        import::read_configs(&command.files, &config, &stop)?
    };
    let import = Import::arrange(imported, &command.options(), &config)?;
    if !command.dry_run {
        import.write(&config)?;
    }
    let mut found = import.definitions.iter().map(|it| &it.diagnostics);
    let exit = match import.is_blocked() || found.any(Diagnostics::has_errors) {
        true => Exit::Partial,
        false => Exit::Ok,
    };
    if printer.is_json() {
        let diagnostics = import.definitions.iter().flat_map(|definition| {
            let (found, file) = (&definition.diagnostics, definition.name.as_str());
            DiagnosticOutput::all(found, file, Some(definition.id.as_str()), printer)
        });
        let output = ImportOutput::new(&import, command.dry_run, diagnostics.collect());
        printer.json(&output, exit);
    } else if command.dry_run {
        print(&import, printer);
    } else {
        tell(&import, printer);
    }
    say_notes(&import, printer);
    say_findings(&import, printer);
    if exit == Exit::Ok && !command.dry_run && !import.definitions.is_empty() {
        let (plan, sync) = (printer.command("plan"), printer.command("sync"));
        printer.hint(format!("`{plan}` shows what changes, `{sync}` applies it"));
    }
    Ok(exit)
}

/// Prints the definitions that would be written.
fn print(import: &Import, printer: &Printer) {
    for (n, definition) in import.definitions.iter().enumerate() {
        if n > 0 {
            printer.lines("\n");
        }
        printer.line(&Line::from(format!(";; {}", definition.name)));
        printer.json_text(&definition.text);
    }
}

/// Reports what was written.
fn tell(import: &Import, printer: &Printer) {
    for file in &import.env_files {
        let count = words::counted(file.variables.len(), "variable", "variables");
        let text = format!("{} ({count} of {})", file.name, file.apps.join(", "));
        printer.line(&place_line(file.place).plain(text));
    }
    for definition in &import.definitions {
        let text = format!("{} ({})", definition.name, definition.apps.join(", "));
        printer.line(&place_line(definition.place).plain(text));
    }
    if import.definitions.is_empty() {
        printer.note("nothing to import");
    }
}

fn place_line(place: PlaceState) -> Line {
    match place {
        PlaceState::Free => Line::default().with(Tone::Good, "wrote     "),
        PlaceState::Same => Line::default().with(Tone::Faint, "unchanged "),
        PlaceState::Taken => Line::default().with(Tone::Bad, "exists    "),
    }
}

fn say_notes(import: &Import, printer: &Printer) {
    for note in &import.notes {
        match note {
            note if note.is_warning() => printer.warn(note.to_string()),
            // Most apps have this note.
            Note::Inherited { .. } if !printer.verbose => {}
            note if note.is_detail() && !printer.verbose => {}
            note => printer.note(note.to_string()),
        }
    }
    if printer.verbose {
        return;
    }
    let inherited = import.notes.iter().filter_map(|note| match note {
        Note::Inherited { same, .. } => Some(same),
        _ => None,
    });
    let apps = words::counted(inherited.clone().count(), "app", "apps");
    let names: BTreeSet<&String> = inherited.flatten().collect();
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        printer.note(format!(
            "left out of {apps}, because the shell has them, too: {} (`-v` shows more)",
            names.join(", ")
        ));
    }
}

fn say_findings(import: &Import, printer: &Printer) {
    let mut warnings = 0;
    for definition in &import.definitions {
        let (name, source) = (definition.name.as_str(), definition.text.as_bytes());
        printer.findings(&definition.diagnostics, name, source, Which::Errors);
        warnings += definition.diagnostics.warnings();
        if definition.place == PlaceState::Taken {
            printer.warn(format!(
                "`{name}` already exists with other content: left as it is; `--dry-run` prints the new one"
            ));
        }
    }
    if warnings > 0 {
        let warnings = words::counted(warnings, "warning", "warnings");
        printer.note(format!(
            "{warnings} about the definitions; see `pm2-sync check`"
        ));
    }
}
