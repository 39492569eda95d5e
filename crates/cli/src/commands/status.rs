//! `pm2-sync status`

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::args::{GlobalArgs, StatusCommand};
use crate::commands::{pending_status, say_conditions};
use crate::config::Config;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::pass::{self, PassOptions, Survey};
use crate::report::words::{self, Detail};
use crate::report::{Printer, chain, json as data};
use crate::signals;
use crate::signals::StopFlag;

/// Shows every app: wanted, running, in sync or why not.
///
/// # Errors
/// [`CommandError`].
pub fn run(
    command: &StatusCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let printer = &printer.for_work(&command.ids).for_variant(&command.variant);
    let config = Config::load(global, &command.variant, environment)?;
    if command.follow {
        return follow(command, &config, printer);
    }
    let survey = look(command, &config)?;
    print(command, &survey, printer);
    Ok(pending_status(&survey.definitions, &survey.plan))
}

/// How often PM2 and the definitions are looked at while following.
const FOLLOW: Duration = Duration::from_secs(1);

/// Shows it again whenever it changes. What cannot be looked at for a while, such as a tree that is away, is told and looked
/// at again: only at the beginning is it an error.
fn follow(command: &StatusCommand, config: &Config, printer: &Printer) -> Result<u8, CommandError> {
    let (sender, stopped) = std::sync::mpsc::channel();
    let on_hangup = sender.clone();
    let stop = move || {
        // Nobody waits any more: then it has stopped already.
        let _ = sender.send(());
    };
    let hangup = move || {
        // The same when whoever looked at it has closed the terminal.
        let _ = on_hangup.send(());
    };
    let _signals = signals::on_signal(stop, hangup).map_err(CommandError::Signals)?;
    let mut survey: Result<Survey, CommandError> = Ok(look(command, config)?);
    let mut shown = None;
    loop {
        let now = match &survey {
            Ok(survey) => fingerprint(survey, printer),
            Err(error) => chain(error),
        };
        if shown.as_ref() != Some(&now) {
            printer.clear();
            match &survey {
                Ok(survey) => print(command, survey, printer),
                Err(error) if printer.is_json() => {
                    printer.json(&data::document("status", json!({ "error": chain(error) })));
                }
                Err(error) => printer.error(error, error.hint().as_deref()),
            }
            shown = Some(now);
        }
        let is_over = stopped.recv_timeout(FOLLOW) != Err(RecvTimeoutError::Timeout);
        if is_over || printer.is_unheard() {
            let survey = survey?;
            return Ok(pending_status(&survey.definitions, &survey.plan));
        }
        survey = look(command, config);
    }
}

/// What has to change for it to be shown again: not the time that passes.
fn fingerprint(survey: &Survey, printer: &Printer) -> String {
    format!(
        "{} {} {} {} {:?}",
        survey.pm2_running,
        data::plan(&survey.plan, false, printer),
        data::apps(&survey.plan),
        data::diagnostics(&survey.definitions),
        survey.watcher.as_ref().and_then(|watcher| watcher.pid)
    )
}

fn look(command: &StatusCommand, config: &Config) -> Result<Survey, CommandError> {
    let options = PassOptions {
        ids: command.ids.clone(),
        ..PassOptions::default()
    };
    let mut adapter = pass::connect_asking(config, &StopFlag::default())?;
    Ok(pass::survey(config, &options, pass::borrow(&mut adapter))?)
}

fn print(command: &StatusCommand, survey: &Survey, printer: &Printer) {
    let plan = &survey.plan;
    if printer.is_json() {
        let mut fields = data::plan(plan, command.show_values, printer);
        fields["pm2_running"] = json!(survey.pm2_running);
        fields["apps"] = data::apps(plan);
        fields["watcher"] = survey.watcher.as_ref().map_or(
            serde_json::Value::Null,
            |watcher| json!({ "name": watcher.name, "pid": watcher.pid, "status": watcher.status }),
        );
        fields["diagnostics"] = data::diagnostics(&survey.definitions);
        printer.json(&data::document("status", fields));
        return;
    }
    if !survey.pm2_running {
        printer.note("PM2 is not running");
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    let detail = Detail {
        verbose: printer.verbose,
        show_values: command.show_values,
    };
    let table = words::status_table(plan, now, detail);
    if table.is_empty() {
        printer.note("no definitions and no managed processes");
    } else {
        printer.table(&table);
    }
    if let Some(watcher) = &survey.watcher {
        match watcher.pid {
            Some(pid) => printer.note(&format!("watched by {} (pid {pid})", watcher.name)),
            None => printer.warn(&format!(
                "the watcher {} does not run: `pm2-sync up` starts it",
                watcher.name
            )),
        }
    }
    printer.diagnostics(&survey.definitions, false);
    say_conditions(printer, plan);
}
