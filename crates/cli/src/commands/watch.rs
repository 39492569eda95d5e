//! `pm2-sync watch`

use std::time::Duration;

use crate::args::{GlobalArgs, WatchCommand};
use crate::commands::plan::request;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::{Printer, WatchReporter};
use crate::signals;
use reconcile::{Config, Ended, Engine, EngineOptions, Environment, StopFlag};

/// Syncs, then reconciles continuously until stopped.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace, [`CommandError::Engine`] when watching cannot begin,
/// [`CommandError::Signals`] when signals cannot be caught.
pub fn run(
    command: &WatchCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let stop = StopFlag::default();
    let load = || {
        let overrides = global.overrides(&command.variant);
        Config::resolve(&overrides, environment.clone()).map(|config| config.with_stop(&stop))
    };
    let mut request = request(&command.policy, &[]);
    request.jobs = command.apply.jobs;
    request.save = !command.apply.no_save;
    let options = EngineOptions {
        request,
        heal: !command.no_heal,
        lock_timeout: Duration::from_secs(command.apply.lock_timeout),
    };
    let mut engine = Engine::new(load()?, options, stop.clone());
    let (handle, on_hangup) = (engine.handle(), engine.handle());
    let says = printer.clone();
    let on_stop = move || {
        handle.stop();
        says.interrupted();
    };
    let _signals = signals::catch_with_hangup(&stop, on_stop, move || on_hangup.reload())
        .map_err(CommandError::Signals)?;
    loop {
        let mut reporter = WatchReporter::new(printer);
        match engine.run(&mut |event| reporter.report(&event))? {
            Ended::Stopped | Ended::Replaced => return Ok(Exit::Ok),
            // A real hangup: the terminal was closed.
            Ended::Reload if printer.lost_its_terminal() => return Ok(Exit::Ok),
            Ended::Reload => match load() {
                Ok(new) => {
                    engine.reconfigure(new);
                    reporter.reloaded(None);
                }
                // Once they are valid again, another hangup reloads them.
                Err(error) => reporter.reloaded(Some(&error.into())),
            },
        }
    }
}
