//! `pm2-sync down`

use daemon_model::{Outcome, Planned};

use crate::args::{DownCommand, GlobalArgs, VariantArgs};
use crate::commands::up::take_lock;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{DownOutput, ResultOutput};
use crate::report::{Printer, words};
use reconcile::watcher_module::WatcherModule;
use reconcile::{Cleared, Config, Environment, Pm2, StopFlag, Writer, chain, clear, plan_clear};

/// Stops the watcher; the daemons keep running, unless all of them are to be removed.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Pass`] when the lock is not available or PM2 does not
/// answer; [`CommandError::WatcherModule`] when PM2's settings cannot be changed; [`CommandError::Usage`] when a confirmation is
/// needed but there is no terminal to ask on.
pub fn run(
    command: &DownCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let config = Config::resolve(&global.overrides(&VariantArgs::default()), environment)?;
    let watcher = WatcherModule::new(&config, &[])?;
    let stop = StopFlag::default();
    let mut pm2 = Pm2::new(&config, &stop);
    if command.all && !command.yes && !confirms(&plan_clear(&config, &mut pm2)?, &stop, printer)? {
        printer.note("nothing was stopped");
        return Ok(Exit::Ok);
    }
    let lock = take_lock(&config, "pm2-sync down", printer)?;
    let mut writer = pm2.write(lock);
    let was_running = watcher.stop(&mut writer)?;
    let cleared = match command.all {
        true => Some(take_down(&config, &mut writer, printer)?),
        false => None,
    };
    let exit = exit(cleared.as_ref());
    let name = watcher.name();
    if printer.is_json() {
        printer.json(&output(name, was_running, cleared.as_ref()), exit);
        return Ok(exit);
    }
    printer.note(match (was_running, &cleared) {
        (true, None) => format!("the watcher is stopped ({name}); the daemons keep running"),
        (true, Some(_)) => format!("the watcher is stopped ({name})"),
        (false, _) => "the watcher was not running".to_owned(),
    });
    if let Some(cleared) = &cleared {
        say(cleared, printer);
    }
    Ok(exit)
}

/// Whether the user confirms the removal of all processes of the workspace. Does not ask if there are none.
fn confirms(planned: &Planned, stop: &StopFlag, printer: &Printer) -> Result<bool, CommandError> {
    let processes = planned.plan.steps.iter().map(|step| step.action.count());
    let processes: usize = processes.sum();
    if processes == 0 {
        return Ok(true);
    }
    if !printer.asks() {
        return Err(CommandError::Usage(
            "`down --all` removes every managed process of the workspace: confirm it with `--yes`",
        ));
    }
    let processes = words::counted(processes, "process", "processes");
    Ok(printer.confirms(
        &format!("stop the watcher and remove {processes} from PM2?"),
        stop,
    ))
}

fn take_down(
    config: &Config,
    writer: &mut Writer<'_, '_>,
    printer: &Printer,
) -> Result<Cleared, CommandError> {
    let mut steps = printer.steps();
    Ok(clear(config, writer, &mut |progress| {
        steps.show(&progress)
    })?)
}

fn exit(cleared: Option<&Cleared>) -> Exit {
    let is_clear = cleared.is_none_or(|cleared| {
        let mut steps = cleared.applied.steps.iter();
        cleared.save_error.is_none() && steps.all(|step| matches!(step.outcome, Outcome::Done))
    });
    match is_clear {
        true => Exit::Ok,
        false => Exit::Partial,
    }
}

fn output(watcher: &str, was_running: bool, cleared: Option<&Cleared>) -> DownOutput {
    let steps = cleared.into_iter().flat_map(|it| &it.applied.steps);
    let error = cleared.and_then(|it| it.save_error.as_ref());
    DownOutput {
        watcher: watcher.to_owned(),
        was_running,
        removed: steps.map(|step| ResultOutput::new(step, false)).collect(),
        save_error: error.map(|error| chain(error)),
    }
}

/// Reports what was removed, and what is left.
fn say(cleared: &Cleared, printer: &Printer) {
    if let Some(error) = &cleared.save_error {
        printer.warn(chain(error));
    }
    for app in cleared.after.apps.iter() {
        printer.warn(format!(
            "{} is left in PM2",
            words::name(app.daemon.as_str(), &app.app)
        ));
    }
    let done = cleared.applied.steps.iter();
    let done = done.filter(|step| matches!(step.outcome, Outcome::Done));
    let removed: usize = done.map(|step| step.step.action.count()).sum();
    printer.note(match removed {
        0 => "nothing was removed".to_owned(),
        n => format!(
            "{} removed from PM2",
            words::counted(n, "process", "processes")
        ),
    });
}
