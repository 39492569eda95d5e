//! `pm2-sync release`, `stop`, `start`, `restart` and `rollback`

use std::time::Duration;

use daemon_model::RestartRequest;

use crate::args::{ActArgs, GlobalArgs};
use crate::commands::decide::decide;
use crate::commands::sync::Sync;
use crate::commands::{status, until_exit};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::Printer;
use crate::report::json::{DecidedOutput, DecisionOutput, SyncOutput, Verb};
use crate::signals;
use reconcile::pass::{Disk, Request};
use reconcile::rollout::{Decree, DecreedDaemon};
use reconcile::{Config, Environment, StopFlag};

/// Records a decision (none for `restart`) and applies its consequences at once.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Decree`] when an ID is unknown, a daemon is on hold, the
/// history entry does not exist, or the decision cannot be recorded; [`CommandError::Pass`] when it could not be applied.
pub fn run(
    verb: Verb,
    decision: Option<Decree>,
    args: &ActArgs,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let stop = StopFlag::default();
    let config = Config::resolve(&global.overrides(&args.variant), environment)?.with_stop(&stop);
    let on_stop = printer.clone();
    let _signals =
        signals::catch(&stop, move || on_stop.interrupted()).map_err(CommandError::Signals)?;
    let lock_timeout = Duration::from_secs(args.apply.lock_timeout);
    let mut request = Request::default();
    let daemons = match &decision {
        Some(decision) => {
            let ids = &args.ids;
            decide(decision, ids, verb, lock_timeout, &config, &stop, printer)?
        }
        None => {
            let (daemons, requests) = restarts(&config, &args.ids)?;
            request.restart = requests;
            daemons
        }
    };
    request.ids.clone_from(&args.ids);
    request.command = verb.command_line();
    request.search_orphans = true;
    request.jobs = args.apply.jobs;
    request.save = !args.apply.no_save;
    request.wait = args.wait.wait();
    let sync = Sync {
        config: &config,
        lock_timeout,
        stop: &stop,
        printer,
    };
    let report = until_exit(sync.pass(&request)?);
    let verdict = sync.verdict(report);
    if printer.is_json() {
        let sync = Some(SyncOutput::new(report, &verdict, printer));
        let output = DecisionOutput {
            verb,
            daemons,
            sync,
        };
        printer.json(&output, verdict.exit());
    } else {
        sync.print(report, &verdict);
    }
    Ok(verdict.exit())
}

/// The daemons that these IDs select, with requests to restart them, or only the apps that are named.
fn restarts(
    config: &Config,
    ids: &[String],
) -> Result<(Vec<DecidedOutput>, Vec<RestartRequest>), CommandError> {
    let snapshot = status::take(config, ids, &mut Disk)?.snapshot;
    let selection = snapshot.selection().cloned().unwrap_or_default();
    let (mut daemons, mut requests) = (Vec::new(), Vec::new());
    for daemon in selection.daemons() {
        snapshot.check_hold(&daemon)?;
        daemons.push(DecidedOutput::new(&daemon, &DecreedDaemon::default()));
        let request = |app| RestartRequest::App {
            daemon: daemon.clone(),
            app,
        };
        match selection.apps_of(&daemon) {
            None => requests.push(request(None)),
            Some(apps) => requests.extend(apps.iter().cloned().map(Some).map(request)),
        }
    }
    Ok((daemons, requests))
}
