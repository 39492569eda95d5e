//! `pm2-sync sync`

use std::mem::ManuallyDrop;
use std::time::Duration;

use daemon_model::Outcome;
use serde_json::json;

use crate::args::{GlobalArgs, PlanCommand, SyncCommand};
use crate::commands::plan::{in_sync, options};
use crate::commands::{partial, say_conditions};
use crate::config::Config;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::exit;
use crate::pass::{self, PassError, PassEvent, PassOptions, SyncReport};
use crate::report::{Printer, chain, json as data, words};
use crate::signals;

/// Makes PM2 run what the definitions say.
///
/// # Errors
/// [`CommandError`].
pub fn run(
    command: &SyncCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    if command.dry_run {
        let plan = PlanCommand {
            ids: command.ids.clone(),
            confirm: command.confirm.clone(),
            policy: command.policy.clone(),
            variant: command.variant.clone(),
        };
        return super::plan::run(&plan, global, environment, printer);
    }
    let printer = &printer.for_work(&command.ids).for_variant(&command.variant);
    let config = Config::load(global, &command.variant, environment)?;
    let options = PassOptions {
        confirm: command.confirm.clone(),
        jobs: command.apply.jobs,
        save: !command.apply.no_save,
        lock_timeout: Duration::from_secs(command.apply.lock_timeout),
        ..options(&command.policy, &command.ids)
    };
    let stop = signals::stop_flag().map_err(CommandError::Signals)?;
    // This process ends when it is done with it, and the system takes thousands of records back at once.
    let report = ManuallyDrop::new(run_pass(
        &config,
        &options,
        printer,
        command.policy.show_values,
        &stop,
    )?);
    if let Some(held) = &report.after.held
        && !printer.is_json()
        && printer.confirms(
            &format!(
                "remove {}?",
                words::counted(held.daemons.len(), "daemon", "daemons")
            ),
            &|| stop.is_set(),
        )
    {
        let confirmed = PassOptions {
            confirm: Some(held.code.clone()),
            ..options
        };
        let report = run_pass(
            &config,
            &confirmed,
            printer,
            command.policy.show_values,
            &stop,
        )?;
        return Ok(status(&report));
    }
    Ok(status(&report))
}

fn run_pass(
    config: &Config,
    options: &PassOptions,
    printer: &Printer,
    show_values: bool,
    stop: &signals::StopFlag,
) -> Result<SyncReport, PassError> {
    let mut steps = printer.steps(show_values);
    let report = pass::sync(config, options, stop, &mut |event| match event {
        PassEvent::Waiting(holder) => printer.note(&words::waiting(holder)),
        PassEvent::Pm2Started => printer.note("PM2 was not running: started it"),
        PassEvent::Planned(_, definitions) if !printer.is_json() => {
            printer.diagnostics(definitions, false);
        }
        PassEvent::Step(progress) => steps.show(&progress),
        PassEvent::Settling(plan) => {
            printer.note(&format!(
                "waiting for what is being stopped: {}",
                words::stopping(plan)
            ));
        }
        _ => {}
    })?;
    print(&report, printer, show_values);
    Ok(report)
}

fn print(report: &SyncReport, printer: &Printer, show_values: bool) {
    if printer.is_json() {
        printer.json(&data::document(
            "sync",
            json!({
                "in_sync": report.after.is_in_sync(),
                "steps": data::outcomes(&report.applied, show_values),
                "held": data::held(report.after.held.as_ref(), printer),
                "broken": report.after.broken,
                "apps": data::apps(&report.after),
                "pm2_started": report.pm2_started,
                "artifacts": {
                    "written": report.artifacts.written,
                    "removed": report.artifacts.removed,
                },
                "save_error": report.save_error.as_ref().map(|error| chain(error)),
                "diagnostics": data::diagnostics(&report.definitions),
                "milliseconds": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
            }),
        ));
        return;
    }
    say_conditions(printer, &report.after);
    if let Some(error) = &report.save_error {
        printer.warn(&chain(error));
    }
    printer.note(&summary(report));
}

/// One line about what was done.
#[must_use]
pub fn summary(report: &SyncReport) -> String {
    let count = |wanted: fn(&Outcome<pm2_client::StepError>) -> bool| {
        report
            .applied
            .steps
            .iter()
            .filter(|step| wanted(&step.outcome))
            .count()
    };
    let done = count(Outcome::is_done);
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = report.applied.steps.len() - done - failed;
    let mut parts = Vec::new();
    if done > 0 {
        parts.push(format!("{} done", words::counted(done, "step", "steps")));
    }
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if skipped > 0 {
        parts.push(format!("{skipped} left undone"));
    }
    let broken = report.after.broken.len() + report.definitions.strays.len();
    if broken > 0 {
        parts.push(format!(
            "{} broken",
            words::counted(broken, "definition", "definitions")
        ));
    }
    let state = if report.after.has_stopping() {
        format!("still being stopped: {}", words::stopping(&report.after))
    } else if report.after.is_in_sync() && failed > 0 {
        format!("now {}", in_sync(&report.after))
    } else if report.after.is_in_sync() && broken > 0 {
        format!("the rest is {}", in_sync(&report.after))
    } else if report.after.is_in_sync() {
        in_sync(&report.after)
    } else if report.applied.steps.is_empty() {
        "nothing done".to_owned()
    } else {
        "not in sync".to_owned()
    };
    if parts.is_empty() {
        return match report.artifacts.written.len() + report.artifacts.removed.len() {
            0 => format!("nothing to do, {state}"),
            n => format!(
                "{} updated, {state}",
                words::counted(n, "generated config", "generated configs")
            ),
        };
    }
    format!(
        "{} in {}, {state}",
        parts.join(", "),
        words::took(report.took)
    )
}

/// The exit status of a sync.
#[must_use]
pub fn status(report: &SyncReport) -> u8 {
    let incomplete =
        !report.applied.is_complete() || report.save_error.is_some() || report.after.has_stopping();
    if incomplete || partial(&report.definitions, &report.after) {
        exit::PARTIAL
    } else {
        exit::OK
    }
}
