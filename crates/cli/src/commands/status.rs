//! `pm2-sync status`

use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::{GlobalArgs, StatusCommand};
use crate::commands::{follow, until_exit};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::StatusOutput;
use crate::report::words::status::{Order, View};
use crate::report::{Measures, Printer, Table, Which, words};
use crate::verdict::Verdict;
use reconcile::pass::{self, DefinitionSource, Disk, DryRun, PassError, Request};
use reconcile::{Config, Environment, Pm2, StopFlag, chain};

/// Shows every app: how many processes it should have, how many run, and why it is not in sync.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Pass`] when the definitions or PM2's list cannot be
/// read, or an ID is unknown.
pub fn run(
    command: &StatusCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let config = Config::resolve(&global.overrides(&command.variant), environment)?;
    if command.follow {
        return follow::run(command, &config, printer);
    }
    let dry_run = until_exit(take(&config, &command.ids, &mut Disk)?);
    let verdict = Verdict::of_dry_run(dry_run);
    let shown = Shown::new(&config, dry_run);
    if printer.is_json() {
        let output = StatusOutput::new(dry_run, Some(&shown.measures), &verdict, printer);
        printer.json(&output, verdict.exit());
    } else {
        shown.print(&verdict, printer);
    }
    Ok(verdict.exit())
}

/// The current state.
pub fn take(
    config: &Config,
    ids: &[String],
    source: &mut dyn DefinitionSource,
) -> Result<DryRun, PassError> {
    let mut request = Request::default();
    request.ids = ids.to_vec();
    let mut pm2 = Pm2::new(config, &StopFlag::default()).with_prefetch();
    pass::plan(config, &request, source, &mut pm2)
}

/// The data to show: the state of everything, and measurements.
pub struct Shown<'a> {
    config: &'a Config,
    dry_run: &'a DryRun,
    /// Measurements.
    pub measures: Measures,
}

impl<'a> Shown<'a> {
    /// Measures the processes and combines the data.
    pub fn new(config: &'a Config, dry_run: &'a DryRun) -> Self {
        Self {
            config,
            dry_run,
            measures: Measures::take(config, &dry_run.snapshot),
        }
    }

    /// The table of all apps.
    pub fn table(&self, order: Order, printer: &Printer) -> Table {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        let view = View {
            verbose: printer.verbose || printer.shows_values(),
            show_values: printer.shows_values(),
            order,
            now_ms: now,
            pm2_home: &self.config.pm2_home,
            failures: &self.dry_run.snapshot.failures,
            measures: &self.measures,
        };
        words::status::table(&self.dry_run.planned, view, printer.width())
    }

    /// Prints the state of everything, and the problems.
    pub fn print(&self, verdict: &Verdict, printer: &Printer) {
        let snapshot = &self.dry_run.snapshot;
        if !snapshot.pm2_running {
            printer.note("PM2 is not running");
        }
        let table = self.table(Order::ByName, printer);
        if table.is_empty() {
            printer.note("no definitions and no managed processes");
        } else {
            printer.table(&table);
        }
        if let Some(watcher) = snapshot.watcher() {
            match watcher.pid {
                Some(pid) => printer.note(format!("watched by {} (pid {pid})", watcher.name)),
                None => printer.warn(format!(
                    "the watcher {} is not running: `pm2-sync up` starts it",
                    watcher.name
                )),
            }
        }
        printer.diagnostics(&snapshot.definitions, Which::Errors);
        printer.warnings(&snapshot.definitions);
        printer.problems(verdict.problems());
        for warning in &snapshot.warnings {
            printer.warn(chain(warning));
        }
    }
}
