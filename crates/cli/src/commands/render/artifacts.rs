//! `render` and `render --check`: generated configs on disk.

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DaemonId, RemovalCode};
use edn_render::artifact::ArtifactStore;

use super::Chosen;
use crate::exit::Exit;
use crate::report::json::{RenderCheckOutput, RenderOutput};
use crate::report::{Printer, Which, words};
use reconcile::{ArtifactCheck, ArtifactFailures, ArtifactReport, Config, artifacts, chain};

/// Writes generated configs, and removes those without a definition.
pub fn write(
    config: &Config,
    chosen: &Chosen<'_>,
    confirmed: Option<&RemovalCode>,
    printer: &Printer,
) -> Exit {
    let definitions = chosen.definitions;
    let store = ArtifactStore::new(&config.layout);
    let include: &dyn Fn(&DaemonId) -> bool = &|id| chosen.includes(id);
    let mut report = artifacts::write(&store, definitions, include);
    let guarded = artifacts::orphaned(&store, definitions, include, None).and_then(|orphaned| {
        let held = artifacts::guard(config, &store, definitions, &orphaned, confirmed)?;
        Ok((orphaned, held))
    });
    match guarded {
        Ok((orphaned, None)) => artifacts::remove(&store, orphaned, &mut report),
        Ok((_, held)) => report.held = held,
        Err(error) => report.failures.directory = Some(error.into()),
    }
    // If none can be written, nothing was done; if only one failed, the others were written.
    let exit = if report.failures.directory.is_some() {
        Exit::Failed
    } else if chosen.has_invalid() || report.held.is_some() || !report.failures.is_empty() {
        Exit::Partial
    } else {
        Exit::Ok
    };
    if printer.is_json() {
        printer.json(&RenderOutput::new(&report, definitions, printer), exit);
    } else {
        print_written(config, chosen, &report, printer);
    }
    exit
}

fn print_written(config: &Config, chosen: &Chosen<'_>, report: &ArtifactReport, printer: &Printer) {
    printer.diagnostics(chosen.definitions, Which::Errors);
    for (word, ids) in [("wrote", &report.written), ("removed", &report.removed)] {
        for id in ids {
            printer.line(&format!("{word} {}", name(config, id)).into());
        }
    }
    print_failures(&report.failures, printer);
    if let Some(held) = &report.held {
        let all = words::counted(held.managed, "generated config", "generated configs");
        printer.warn(format!(
            "removal of {} of {all} is on hold: their definitions are gone",
            held.daemons.len(),
        ));
        let command = printer.command(&format!("render --confirm {}", held.code));
        printer.hint(format!("confirm the removal with `{command}`"));
    }
    printer.note(format!(
        "{} written, {} unchanged, {} removed",
        words::counted(
            report.written.len(),
            "generated config",
            "generated configs"
        ),
        report.unchanged.len(),
        report.removed.len()
    ));
}

/// Compares generated configs with what `render` would write.
pub fn check(config: &Config, chosen: &Chosen<'_>, printer: &Printer) -> Exit {
    let store = ArtifactStore::new(&config.layout);
    let found = artifacts::check(&store, chosen.definitions, &|id| chosen.includes(id));
    let exit = if found.failures.directory.is_some() {
        Exit::Failed
    } else if !found.failures.is_empty() || chosen.has_invalid() {
        Exit::Partial
    } else if found.is_fresh() {
        Exit::Ok
    } else {
        Exit::Pending
    };
    if printer.is_json() {
        let output = RenderCheckOutput::new(&found, chosen.definitions, printer);
        printer.json(&output, exit);
    } else {
        print_compared(config, chosen, &found, printer);
    }
    exit
}

fn print_compared(config: &Config, chosen: &Chosen<'_>, found: &ArtifactCheck, printer: &Printer) {
    printer.diagnostics(chosen.definitions, Which::Errors);
    for (word, ids) in [
        ("missing", &found.missing),
        ("out of date", &found.stale),
        ("without definition", &found.orphaned),
    ] {
        for id in ids {
            printer.line(&format!("{word}: {}", name(config, id)).into());
        }
    }
    print_failures(&found.failures, printer);
    printer.note(match (found.is_fresh(), chosen.has_invalid()) {
        (true, false) => "all generated configs are up to date",
        (true, true) => "the other generated configs are up to date",
        (false, _) => "run `pm2-sync render` to write them",
    });
}

/// How many failures of one kind are listed by name.
const NAMED_FAILURES: usize = 5;

fn print_failures(failures: &ArtifactFailures, printer: &Printer) {
    for (id, error) in failures.daemons.iter().take(NAMED_FAILURES) {
        printer.warn(format!("{id}: {}", chain(error)));
    }
    let more = failures.daemons.len().saturating_sub(NAMED_FAILURES);
    if more > 0 {
        let more = words::counted(more, "other generated config", "other generated configs");
        printer.warn(format!("{more} failed, too"));
    }
    if let Some(error) = &failures.directory {
        let error = chain(error);
        printer.warn(format!(
            "the generated configs were left as they are: {error}"
        ));
    }
}

fn name(config: &Config, id: &DaemonId) -> Utf8PathBuf {
    let path = config.layout.artifact_path(id);
    path.strip_prefix(config.root())
        .map_or_else(|_| path.clone(), Utf8Path::to_owned)
}
