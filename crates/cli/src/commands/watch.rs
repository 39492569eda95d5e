//! `pm2-sync watch`

use std::collections::BTreeMap;
use std::time::Duration;

use daemon_model::{Condition, DaemonId};
use serde_json::{Value, json};

use crate::args::{GlobalArgs, WatchCommand};
use crate::commands::plan::{in_sync, options};
use crate::commands::sync::summary;
use crate::commands::{is_remarkable, say_condition};
use crate::config::{Config, ConfigError};
use crate::engine::{self, Ended, Engine, EngineEvent, Event};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::exit;
use crate::pass::{PassEvent, PassOptions, SyncReport};
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
    let printer = &printer.for_work(&[]).for_variant(&command.variant).timed();
    let stop = signals::stop_flag().map_err(CommandError::Signals)?;
    let (sender, events) = engine::events();
    let (on_stop, on_hangup) = (sender.clone(), sender.clone());
    let _signals = signals::on_signal(
        move || drop(on_stop.send(Event::Stop)),
        move || drop(on_hangup.send(Event::Reload)),
    )
    .map_err(CommandError::Signals)?;
    let load = || Config::load(global, &command.variant, environment.clone());
    let mut config = load()?;
    loop {
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
            steps: printer.steps(command.policy.show_values),
            show_values: command.policy.show_values,
            first: true,
            held: None,
            told: Value::Null,
            remarkable: BTreeMap::new(),
        };
        match engine.run(&mut |event| voice.tell(&event))? {
            Ended::Stopped | Ended::Succeeded => return Ok(exit::OK),
            // A hangup that is one: whoever ran it in a terminal has closed that.
            Ended::Reload if printer.lost_its_terminal() => return Ok(exit::OK),
            Ended::Reload => match load() {
                Ok(new) => {
                    config = new;
                    voice.reloaded(None);
                }
                // Whoever mends them does not have to start the watch again.
                Err(error) => voice.reloaded(Some(&error)),
            },
        }
    }
}

/// What a person, or a program, hears of a watch: one line for each step, and for each change of what is no step; silence
/// when idle.
struct Voice<'a> {
    printer: &'a Printer,
    steps: StepProgress,
    show_values: bool,
    first: bool,
    /// The code of the removal that is held.
    held: Option<String>,
    /// How it stood after the last pass that was told, as JSON.
    told: Value,
    /// The apps that something was said of, and how they stood.
    remarkable: BTreeMap<(DaemonId, String), Condition>,
}

impl Voice<'_> {
    /// The settings were read again, or could not be.
    fn reloaded(&self, error: Option<&ConfigError>) {
        let printer = self.printer;
        if printer.is_json() {
            let error = error.map(|error| chain(error));
            printer.json(&event("reloaded", json!({ "error": error })));
            return;
        }
        match error {
            None => printer.note("reading the settings again"),
            Some(error) => {
                printer.error(error, error.hint().as_deref());
                printer.note("the settings stay as they were");
            }
        }
    }

    fn tell(&mut self, event: &EngineEvent<'_>) {
        if self.printer.is_json() {
            let line = match event {
                EngineEvent::Ended(report) => self.pass(report),
                event => self.line(event),
            };
            if let Some(line) = line {
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
            EngineEvent::Pass(PassEvent::Waiting(holder)) => printer.note(&words::waiting(*holder)),
            EngineEvent::Ended(report) => self.ended(report),
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

    /// How it stands after a pass, where that has changed.
    fn ended(&mut self, report: &SyncReport) {
        let printer = self.printer;
        let after = &report.after;
        if std::mem::take(&mut self.first) {
            printer.note(&format!("watching; {}", summary(report)));
        } else if !report.applied.steps.is_empty() && after.is_in_sync() && printer.verbose {
            printer.note(&in_sync(after));
        }
        let code = after.held.as_ref().map(|held| held.code.clone());
        if code != self.held {
            match &after.held {
                Some(held) => words::say_held(printer, held),
                None => printer.note("no removal is held any more"),
            }
            self.held = code;
        }
        let remarkable = after.apps.iter().filter(|app| is_remarkable(app));
        let remarkable: BTreeMap<_, _> = remarkable
            .map(|app| ((app.daemon.clone(), app.app.clone()), app))
            .collect();
        for (key, app) in &remarkable {
            if self.remarkable.get(key) != Some(&app.condition) {
                say_condition(printer, app);
            }
        }
        self.remarkable = remarkable
            .into_iter()
            .map(|(key, app)| (key, app.condition))
            .collect();
        if let Some(error) = &report.save_error {
            printer.warn(&chain(error));
        }
    }

    /// The same as JSON.
    fn pass(&mut self, report: &SyncReport) -> Option<Value> {
        let after = &report.after;
        let degraded = after.apps.iter();
        let degraded = degraded.filter(|app| app.condition == Condition::Degraded);
        let stands = json!({
            "in_sync": after.is_in_sync(),
            "held": data::held(after.held.as_ref(), self.printer),
            "degraded": degraded.map(|app| &app.app).collect::<Vec<_>>(),
            "save_error": report.save_error.as_ref().map(|error| chain(error)),
        });
        if report.applied.steps.is_empty() && self.told == stands {
            return None;
        }
        self.told = stands.clone();
        let mut fields = stands;
        fields["steps"] = json!(report.applied.steps.len());
        fields["milliseconds"] = json!(u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX));
        Some(event("pass", fields))
    }

    fn line(&self, event: &EngineEvent<'_>) -> Option<Value> {
        let (kind, fields) = match event {
            EngineEvent::Pass(PassEvent::Step(pm2_client::Progress::Ended(report))) => {
                ("step", data::outcome(report, self.show_values))
            }
            EngineEvent::Pass(PassEvent::Pm2Started) => ("pm2-started", json!({})),
            EngineEvent::Pass(PassEvent::Waiting(holder)) => {
                let holder = holder
                    .map(|it| json!({ "pid": it.pid, "command": it.command, "since": it.since }));
                ("waiting", json!({ "holder": holder }))
            }
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
            EngineEvent::Pass(_) | EngineEvent::Ended(_) => return None,
        };
        Some(self::event(kind, fields))
    }
}

/// One line of JSON.
fn event(kind: &str, mut fields: Value) -> Value {
    fields["event"] = json!(kind);
    fields["time"] = json!(jiff::Timestamp::now().to_string());
    data::document("watch", fields)
}
