//! `pm2-sync sync`

use std::time::Duration;

use crate::args::{GlobalArgs, SyncCommand};
use crate::commands::plan::request;
use crate::commands::{plan, until_exit};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::SyncOutput;
use crate::report::{Printer, Which, words};
use crate::signals;
use crate::verdict::Verdict;
use reconcile::pass::{self, PassError, PassEvent, Request, SyncReport};
use reconcile::{Config, Environment, StopFlag, chain};

/// Reconciles PM2 with the definitions.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Pass`] when the pass ended early. The results of single
/// steps are printed, and decide the exit status.
pub fn run(
    command: &SyncCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let (args, apply) = (&command.plan, &command.apply);
    if command.dry_run {
        return plan::run(args, global, environment, printer);
    }
    let stop = StopFlag::default();
    let config = Config::resolve(&global.overrides(&args.variant), environment)?.with_stop(&stop);
    let mut request = request(&args.policy, &args.ids);
    request.confirm.clone_from(&args.confirm);
    request.jobs = apply.jobs;
    request.save = !apply.no_save;
    request.retry = command.retry;
    request.wait = command.wait.wait();
    let on_stop = printer.clone();
    let _signals =
        signals::catch(&stop, move || on_stop.interrupted()).map_err(CommandError::Signals)?;
    let sync = Sync {
        config: &config,
        lock_timeout: Duration::from_secs(apply.lock_timeout),
        stop: &stop,
        printer,
    };
    let report = until_exit(sync.pass(&request)?);
    let verdict = sync.report(report);
    let Some(held) = &report.after.plan.held else {
        return Ok(verdict.exit());
    };
    if !printer.asks() || stop.is_set() {
        return Ok(verdict.exit());
    }
    let daemons = words::counted(held.daemons.len(), "daemon", "daemons");
    if printer.confirms(&format!("remove {daemons}?"), &stop) {
        request.confirm = Some(held.code.clone());
        return Ok(sync.report(&sync.pass(&request)?).exit());
    }
    if stop.is_set() {
        return Ok(Exit::Interrupted);
    }
    printer.note("not removed");
    printer.hint(words::confirm(&held.code, printer));
    Ok(verdict.exit())
}

/// What each pass of a command needs.
pub(super) struct Sync<'a> {
    pub(super) config: &'a Config,
    pub(super) lock_timeout: Duration,
    pub(super) stop: &'a StopFlag,
    pub(super) printer: &'a Printer,
}

impl Sync<'_> {
    pub(super) fn pass(&self, request: &Request) -> Result<SyncReport, PassError> {
        let printer = self.printer;
        let mut steps = printer.steps();
        let (timeout, stop) = (self.lock_timeout, self.stop);
        pass::sync(
            self.config,
            request,
            timeout,
            stop,
            &mut |event| match event {
                PassEvent::Waiting(holder) => printer.note(words::waiting(holder)),
                PassEvent::Pm2Started => printer.note("PM2 was not running: started it"),
                PassEvent::Planned(plan, definitions) if !printer.is_json() => {
                    printer.diagnostics(definitions, Which::Errors);
                    printer.warnings(definitions);
                    printer.not_set_here(plan);
                }
                PassEvent::Step(progress) => steps.show(&progress),
                PassEvent::Settling(planned) => printer.note(words::settling(planned)),
                PassEvent::NotReady(apps) => steps.wait_for(apps),
                PassEvent::Judged(daemon, outcome) => {
                    if let Some(note) = words::rollout::judged(daemon, outcome) {
                        printer.warn(note);
                    }
                }
                _ => {}
            },
        )
    }

    fn report(&self, report: &SyncReport) -> Verdict {
        let verdict = self.verdict(report);
        let printer = self.printer;
        match printer.is_json() {
            true => printer.json(&SyncOutput::new(report, &verdict, printer), verdict.exit()),
            false => self.print(report, &verdict),
        }
        verdict
    }

    pub(super) fn verdict(&self, report: &SyncReport) -> Verdict {
        Verdict::of_sync(report, self.stop.is_set())
    }

    /// Reports the results of a pass as text.
    pub(super) fn print(&self, report: &SyncReport, verdict: &Verdict) {
        let printer = self.printer;
        printer.problems(verdict.problems());
        for app in &report.waiting {
            printer.warn(words::rollout::still_waiting(app));
        }
        for warning in &report.warnings {
            printer.warn(chain(warning));
        }
        printer.summary(verdict);
    }
}
