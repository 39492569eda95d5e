//! `pm2-sync logs`

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use crate::args::{GlobalArgs, LogsCommand, VariantArgs};
use crate::commands::follow::State;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::{LogView, Printer};
use crate::signals::Stopped;
use reconcile::pass::DryRun;
use reconcile::{Config, Environment, LogFile, LogLine, LogRange, LogReader, LogStream, log_files};

/// How many lines of each app are printed by default.
const LINES: usize = 10;
/// How often files are read again.
const POLL: Duration = Duration::from_millis(200);
/// How often PM2 is checked for new apps.
const REFRESH: Duration = Duration::from_secs(2);

/// Prints the last lines of the apps' logs, and with `--follow` new lines as they are written.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Pass`] when the definitions or PM2's list cannot be read,
/// or an ID is unknown; [`CommandError::Signals`] when signals cannot be caught.
pub fn run(
    command: &LogsCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let config = Config::resolve(&global.overrides(&VariantArgs::default()), environment)?;
    let mut state = State::new(&config, &command.ids);
    let mut logs = Logs {
        command,
        config: &config,
        reader: LogReader::new(TimeZone::system()),
        view: LogView::new(printer),
        printer,
    };
    // Catch signals before printing: a line that the user sees may be the reason to stop.
    let stopped = command.follow.then(Stopped::catch).transpose()?;
    let dry_run = state.take()?;
    if !dry_run.snapshot.pm2_running {
        printer.note("PM2 is not running");
    }
    logs.add(&dry_run);
    let Some(stopped) = stopped else {
        return Ok(Exit::Ok);
    };
    let mut refreshed = Instant::now();
    while !stopped.within(POLL) && !printer.is_closed() {
        if refreshed.elapsed() >= REFRESH {
            refreshed = Instant::now();
            // While PM2 or the definitions cannot be read, the known files are still followed.
            if let Ok(dry_run) = state.take() {
                logs.add(&dry_run);
            }
        }
        let lines = logs.reader.poll();
        logs.print(&lines);
    }
    let lines = logs.reader.finish();
    logs.print(&lines);
    Ok(Exit::Ok)
}

struct Logs<'a> {
    command: &'a LogsCommand,
    config: &'a Config,
    reader: LogReader,
    view: LogView<'a>,
    printer: &'a Printer,
}

impl Logs<'_> {
    /// Adds new logs, and prints their existing lines.
    fn add(&mut self, dry_run: &DryRun) {
        let snapshot = &dry_run.snapshot;
        let apps = dry_run.planned.apps.iter();
        let apps = apps.filter(|app| snapshot.includes_app(&app.daemon, &app.app));
        let files = apps.flat_map(|app| log_files(app, &self.config.pm2_home));
        let is_wanted = |file: &LogFile| !self.command.err || file.stream == LogStream::Err;
        let files: Vec<LogFile> = files.filter(is_wanted).collect();
        self.view.name(&files);
        let lines = self.command.lines;
        let range = LogRange {
            lines: lines.or(self.command.since.is_none().then_some(LINES)),
            since: self.command.since.map(|since| since.0),
        };
        let lines = self.reader.add(files, &range, self.command.follow);
        self.print(&lines);
    }

    fn print(&mut self, lines: &[LogLine]) {
        for line in lines {
            self.view.print(line);
        }
        for (path, error) in self.reader.take_failures() {
            self.printer.warn(format!("cannot read `{path}`: {error}"));
        }
    }
}
