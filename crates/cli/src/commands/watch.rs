//! `pm2-sync watch`

use std::time::Duration;

use serde_json::{Value, json};

use crate::args::{GlobalArgs, WatchCommand};
use crate::commands::plan::{in_sync, options};
use crate::commands::say_conditions;
use crate::commands::sync::summary;
use crate::config::Config;
use crate::engine::{self, Ended, Engine, EngineEvent, Event};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::exit;
use crate::pass::{PassEvent, PassOptions};
use crate::report::{Printer, StepProgress, chain, json as data, words};
use crate::signals;

/// Syncs, then keeps it so until stopped.
///
/// # Errors
/// [`CommandError`] when watching cannot begin.
pub fn run(
    command: &WatchCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let printer = &printer.for_work(&[]);
    let stop = signals::stop_flag().map_err(CommandError::Signals)?;
    let (sender, events) = engine::events();
    let (on_stop, on_hangup) = (sender.clone(), sender.clone());
    let _signals = signals::on_signal(
        move || drop(on_stop.send(Event::Stop)),
        move || drop(on_hangup.send(Event::Reload)),
    )
    .map_err(CommandError::Signals)?;
    loop {
        let config = Config::load(global, &command.variant, environment.clone())?;
        let options = PassOptions {
            jobs: command.apply.jobs,
            save: !command.apply.no_save,
            lock_timeout: Duration::from_secs(command.apply.lock_timeout),
            ..options(&command.policy, &[])
        };
        let mut engine = Engine::new(
            &config,
            options,
            !command.no_heal,
            (&sender, &events),
            stop.clone(),
        );
        let mut voice = Voice {
            printer,
            steps: printer.steps(command.policy.show_values).timed(),
            show_values: command.policy.show_values,
            first: true,
            held: None,
        };
        match engine.run(&mut |event| voice.tell(&event))? {
            Ended::Stopped | Ended::Succeeded => return Ok(exit::OK),
            Ended::Reload => printer.note("reading the settings again"),
        }
    }
}

/// What a person, or a program, hears of a watch: one line for each step, silence when idle.
struct Voice<'a> {
    printer: &'a Printer,
    steps: StepProgress,
    show_values: bool,
    first: bool,
    held: Option<String>,
}

impl Voice<'_> {
    fn tell(&mut self, event: &EngineEvent<'_>) {
        if self.printer.is_json() {
            if let Some(line) = self.line(event) {
                self.printer.json(&line);
            }
            return;
        }
        let printer = self.printer;
        match event {
            EngineEvent::Pass(PassEvent::Step(progress)) => self.steps.show(progress),
            EngineEvent::Pass(PassEvent::Pm2Started) => {
                printer.note("PM2 was not running: started it")
            }
            EngineEvent::Pass(PassEvent::Waiting(Some(holder))) => printer.note(&format!(
                "waiting for `{}` (pid {}) since {}",
                holder.command, holder.pid, holder.since
            )),
            EngineEvent::Ended(report) => {
                if std::mem::take(&mut self.first) {
                    printer.note(&format!("watching; {}", summary(report)));
                    say_conditions(printer, &report.after);
                } else if !report.applied.steps.is_empty()
                    && report.after.is_in_sync()
                    && printer.verbose
                {
                    printer.note(&in_sync(&report.after));
                }
                let held = report.after.held.as_ref();
                let code = held.map(|held| held.code.clone());
                if code != self.held {
                    if let Some(held) = held {
                        words::say_held(printer, held);
                    }
                    self.held = code;
                }
                if let Some(error) = &report.save_error {
                    printer.warn(&chain(error));
                }
            }
            EngineEvent::Broken(_, definition) => {
                let source = definition.source.as_deref().unwrap_or(b"");
                for found in definition
                    .diagnostics
                    .iter()
                    .filter(|found| found.is_error())
                {
                    printer.say(&printer.draw(found, definition.name.as_str(), source));
                }
            }
            EngineEvent::Strays(strays) => printer.strays(strays),
            EngineEvent::Mended(id) => {
                printer.note(&format!("{id}: the definition is usable again"))
            }
            EngineEvent::Failed(error, delay) => {
                printer.error(*error, None);
                printer.note(&format!("trying again in {}", words::took(*delay)));
            }
            EngineEvent::Recovered => printer.note("working again"),
            EngineEvent::Pm2Gone => printer.note("PM2 is gone"),
            _ => {}
        }
    }

    fn line(&self, event: &EngineEvent<'_>) -> Option<Value> {
        let (kind, mut fields) = match event {
            EngineEvent::Pass(PassEvent::Step(pm2_client::Progress::Ended(report))) => {
                ("step", data::outcome(report, self.show_values))
            }
            EngineEvent::Pass(PassEvent::Pm2Started) => ("pm2-started", json!({})),
            EngineEvent::Ended(report) => (
                "pass",
                json!({
                    "in_sync": report.after.is_in_sync(),
                    "steps": report.applied.steps.len(),
                    "held": data::held(report.after.held.as_ref()),
                    "milliseconds": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
                }),
            ),
            EngineEvent::Broken(id, definition) => (
                "broken",
                json!({
                    "daemon": id,
                    "diagnostics": definition
                        .diagnostics
                        .iter()
                        .map(|found| data::diagnostic(found, definition.name.as_str(), None))
                        .collect::<Vec<_>>(),
                }),
            ),
            EngineEvent::Strays(strays) => (
                "strays",
                json!({
                    "strays": strays
                        .iter()
                        .map(|stray| json!({ "file": stray.path, "message": stray.message }))
                        .collect::<Vec<_>>(),
                }),
            ),
            EngineEvent::Mended(id) => ("mended", json!({ "daemon": id })),
            EngineEvent::Failed(error, _) => ("failed", json!({ "error": chain(*error) })),
            EngineEvent::Recovered => ("recovered", json!({})),
            EngineEvent::Pm2Gone => ("pm2-gone", json!({})),
            EngineEvent::Pass(_) => return None,
        };
        fields["event"] = json!(kind);
        fields["time"] = json!(jiff::Timestamp::now().to_string());
        Some(data::document("watch", fields))
    }
}
