//! `pm2-sync up`

use std::time::{Duration, Instant};

use daemon_model::{AppState, Cause};

use crate::args::{GlobalArgs, UpCommand};
use crate::commands::status;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::UpOutput;
use crate::report::{Printer, words};
use crate::verdict::Verdict;
use reconcile::definitions::Definitions;
use reconcile::pass::{Disk, DryRun};
use reconcile::watcher_module::{UpOutcome, WatcherModule};
use reconcile::{Config, Environment, Lock, PassError, Pm2, StopFlag};

/// How often to check whether the watcher has judged the apps that it started.
const READY_POLL: Duration = Duration::from_millis(100);

/// How long to wait before printing what is missing.
const NOTE_AFTER: Duration = Duration::from_secs(2);

/// How soon after its deadline a working watcher has judged an app, in milliseconds.
const JUDGED_WITHIN_MS: u64 = 3000;

/// How long to wait for another pm2-sync.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Ensures that the watcher runs under PM2, and reports the state of everything after its first pass.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Pass`] when the definitions cannot be read or the lock is
/// not available; [`CommandError::WatcherModule`] when the watcher could not be started.
pub fn up(
    command: &UpCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let config = Config::resolve(&global.overrides(&command.variant), environment)?;
    let mut arguments = command.variant.to_flags();
    if command.no_heal {
        arguments.push("--no-heal".to_owned());
    }
    // Report what would stop the watcher from working here, not only in its log.
    Definitions::load(&config)?;
    let watcher = WatcherModule::new(&config, &arguments)?;
    let mut pm2 = Pm2::new(&config, &StopFlag::default());
    let lock = take_lock(&config, "pm2-sync up", printer)?;
    let started = watcher.start(&mut pm2.write(lock))?;
    // The writer has released the lock, which the watcher's first pass needs.
    let first_pass = watcher.wait_for_report(&mut pm2, &started)?;
    let dry_run = until_ready(&config, printer)?;
    let verdict = Verdict::of_watched(&dry_run);
    let name = watcher.name();
    if printer.is_json() {
        let output = UpOutput::new(name, &started, first_pass, &verdict);
        printer.json(&output, verdict.exit());
        return Ok(verdict.exit());
    }
    printer.note(match started.outcome {
        UpOutcome::AlreadyRunning => format!("the watcher is already running ({name})"),
        UpOutcome::Started => format!("the watcher is running under PM2 ({name}): {first_pass}"),
        UpOutcome::Restarted if !started.changed_variables.is_empty() => format!(
            "the watcher was restarted ({name}), because its values of {} differed: {first_pass}",
            started.changed_variables.join(", ")
        ),
        UpOutcome::Restarted => format!("the watcher was restarted ({name}): {first_pass}"),
    });
    printer.problems(verdict.problems());
    Ok(verdict.exit())
}

/// The state of everything once the watcher has judged the apps that its first pass started, or the time for it is up.
fn until_ready(config: &Config, printer: &Printer) -> Result<DryRun, CommandError> {
    let began = Instant::now();
    let mut is_noted = false;
    loop {
        let dry_run = status::take(config, &[], &mut Disk)?;
        let apps = dry_run.planned.apps.iter();
        let gated: Vec<String> = apps
            .filter(|app| is_gated(app, dry_run.snapshot.observed.at_ms))
            .map(|app| format!("`{}`", app.app))
            .collect();
        if gated.is_empty() {
            return Ok(dry_run);
        }
        if !is_noted && began.elapsed() >= NOTE_AFTER {
            is_noted = true;
            let apps = words::listed(&gated);
            printer.note(format!("waiting until ready: {apps}"));
        }
        std::thread::sleep(READY_POLL);
    }
}

/// Whether the watcher has yet to judge whether an app became ready.
fn is_gated(app: &AppState, now_ms: u64) -> bool {
    let is_open = |cause: &Cause| matches!(cause, Cause::Gated { deadline_ms, .. } if now_ms < deadline_ms + JUDGED_WITHIN_MS);
    app.causes.iter().any(is_open)
}

pub(super) fn take_lock(
    config: &Config,
    command: &str,
    printer: &Printer,
) -> Result<Lock, PassError> {
    let mut waiting = |holder: Option<&_>| printer.note(words::waiting(holder));
    let home = &config.pm2_home;
    let stop = StopFlag::default();
    Ok(Lock::take(
        home,
        command,
        LOCK_TIMEOUT,
        &stop,
        &mut waiting,
    )?)
}
