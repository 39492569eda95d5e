//! `pm2-sync status --follow`: repeats `status` until stopped.
//!
//! On a terminal it redraws the screen each second, so that the clock and the uptimes advance. Elsewhere, and as JSON, it prints
//! each change.

use std::time::Duration;

use crate::args::StatusCommand;
use crate::commands::status::Shown;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{ErrorOutput, Output, StatusOutput};
use crate::report::{Printer, Screen, json};
use crate::signals::Stopped;
use crate::verdict::Verdict;
use reconcile::pass::{self, DryRun, PassError, Request, Rescan};
use reconcile::{Config, Pm2, StopFlag};

/// How often the screen is redrawn.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows the state of everything until it is stopped. A read error is fatal only at the beginning; later it is shown, and reading
/// is retried.
///
/// # Errors
/// [`CommandError::Pass`] when the first snapshot cannot be taken; [`CommandError::Signals`] when signals cannot be caught.
pub fn run(
    command: &StatusCommand,
    config: &Config,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let stopped = Stopped::catch()?;
    let mut state = State::new(config, &command.ids);
    let mut view = View {
        config,
        printer,
        screen: None,
        last: String::new(),
    };
    let mut taken = Ok(state.take()?);
    view.screen = Screen::new(printer);
    loop {
        view.show(&taken);
        if stopped.within(PERIOD) || printer.is_closed() {
            drop(view);
            return Ok(Verdict::of_dry_run(&taken?).exit());
        }
        taken = state.take().map_err(CommandError::from);
    }
}

/// What is read each time, with caches that make repeated reads cheap.
pub struct State<'c> {
    config: &'c Config,
    request: Request,
    source: Rescan,
    pm2: Pm2<'c>,
}

impl<'c> State<'c> {
    /// The state of the daemons with these IDs; none: all.
    pub fn new(config: &'c Config, ids: &[String]) -> Self {
        let mut request = Request::default();
        request.ids = ids.to_vec();
        Self {
            config,
            request,
            source: Rescan::new(config),
            pm2: Pm2::new(config, &StopFlag::default()),
        }
    }

    /// The current state.
    ///
    /// # Errors
    /// As [`pass::plan`].
    pub fn take(&mut self) -> Result<DryRun, PassError> {
        let mut take = || pass::plan(self.config, &self.request, &mut self.source, &mut self.pm2);
        match take() {
            // PM2 has ended or was replaced since the last time.
            Err(PassError::Pm2(_)) => {
                self.pm2.disconnect();
                pass::plan(self.config, &self.request, &mut self.source, &mut self.pm2)
            }
            taken => taken,
        }
    }
}

/// Where the state is shown.
struct View<'p> {
    config: &'p Config,
    printer: &'p Printer,
    /// None if output is printed line by line.
    screen: Option<Screen<'p>>,
    /// The last output, as JSON.
    last: String,
}

impl View<'_> {
    fn show(&mut self, taken: &Result<DryRun, CommandError>) {
        let printer = self.printer;
        if let Some(screen) = &self.screen {
            match taken {
                Ok(dry_run) => {
                    let verdict = Verdict::of_dry_run(dry_run);
                    let shown = Shown::new(self.config, dry_run);
                    let table = |order| shown.table(order, printer);
                    screen.draw(&table, &verdict, dry_run.snapshot.pm2_running);
                }
                Err(error) => screen.draw_error(error),
            }
            return;
        }
        let judged = taken
            .as_ref()
            .map(|dry_run| (dry_run, Verdict::of_dry_run(dry_run)));
        let document = match &judged {
            Ok((dry_run, verdict)) => {
                // Without measures, which change all the time.
                let output = StatusOutput::new(dry_run, None, verdict, printer);
                json::document(&output, verdict.exit())
            }
            Err(error) => {
                let output = ErrorOutput::new(error, printer);
                json::error_document(Some(StatusOutput::COMMAND), &output, error.exit())
            }
        };
        if document == self.last {
            return;
        }
        match &judged {
            Ok((dry_run, verdict)) => {
                let shown = Shown::new(self.config, dry_run);
                if printer.is_json() {
                    let measures = Some(&shown.measures);
                    let output = StatusOutput::new(dry_run, measures, verdict, printer);
                    printer.json(&output, verdict.exit());
                } else {
                    shown.print(verdict, printer);
                }
            }
            Err(_) if printer.is_json() => printer.json_text(&document),
            Err(error) => printer.explain(error),
        }
        self.last = document;
    }
}
