//! `pm2-sync plan`

use crate::args::{GlobalArgs, PlanArgs, PolicyArgs, When};
use crate::commands::until_exit;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{PlanOutput, StepOutput};
use crate::report::{Printer, Which, words};
use crate::verdict::Verdict;
use reconcile::pass::{self, Disk, DryRun, Removal, Request};
use reconcile::{Config, Environment, Pm2, StopFlag};

/// Prints every step that a sync would take.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Pass`] when the definitions or PM2's list cannot be read,
/// or an ID or the confirmation code is invalid.
pub fn run(
    command: &PlanArgs,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let config = Config::resolve(&global.overrides(&command.variant), environment)?;
    let mut request = request(&command.policy, &command.ids);
    request.confirm.clone_from(&command.confirm);
    let mut pm2 = Pm2::new(&config, &StopFlag::default()).with_prefetch();
    let dry_run = until_exit(pass::plan(&config, &request, &mut Disk, &mut pm2)?);
    let verdict = Verdict::of_dry_run(dry_run);
    if printer.is_json() {
        printer.json(
            &PlanOutput::new(dry_run, None, &verdict, printer),
            verdict.exit(),
        );
    } else {
        print(dry_run, &verdict, printer);
    }
    Ok(verdict.exit())
}

/// The request for the arguments of plan, sync and watch.
pub fn request(policy: &PolicyArgs, ids: &[String]) -> Request {
    let mut request = Request::default();
    request.ids = ids.to_vec();
    // The search reads every process on the machine, which is worth it only for named daemons.
    request.search_orphans = !ids.is_empty();
    request.adopt = policy.adopt == When::Auto;
    if policy.prune == When::Never {
        request.removal = Removal::Never;
    }
    request
}

fn print(dry_run: &DryRun, verdict: &Verdict, printer: &Printer) {
    let (snapshot, planned) = (&dry_run.snapshot, &dry_run.planned);
    printer.diagnostics(&snapshot.definitions, Which::Errors);
    printer.warnings(&snapshot.definitions);
    if !snapshot.pm2_running {
        printer.note("PM2 is not running");
    }
    let show_values = printer.shows_values();
    let steps = planned.plan.steps.iter();
    let steps: Vec<StepOutput> = steps.map(|one| StepOutput::new(one, show_values)).collect();
    let is_verbose = printer.verbose || show_values;
    let table = words::plan::table(&steps, planned, is_verbose, printer.width());
    if !table.is_empty() {
        printer.table(&table);
    }
    printer.not_set_here(&planned.plan);
    printer.problems(verdict.problems());
    printer.summary(verdict);
}
