//! `pm2-sync plan`

use serde_json::json;

use crate::args::{GlobalArgs, PlanCommand, PolicyArgs, When};
use crate::commands::{pending_status, say_conditions};
use crate::config::Config;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::pass::{self, PassOptions, Survey};
use crate::report::words::{self, Detail};
use crate::report::{Printer, json as data};
use crate::signals::StopFlag;

/// Prints every step that a sync would take.
///
/// # Errors
/// [`CommandError`].
pub fn run(
    command: &PlanCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let printer = &printer.for_work(&command.ids).for_variant(&command.variant);
    let config = Config::load(global, &command.variant, environment)?;
    let options = PassOptions {
        confirm: command.confirm.clone(),
        ..options(&command.policy, &command.ids)
    };
    let mut adapter = pass::connect_asking(&config, &StopFlag::default())?;
    let survey = pass::survey(&config, &options, pass::borrow(&mut adapter))?;
    print(&survey, printer, command.policy.show_values);
    Ok(pending_status(&survey.definitions, &survey.plan))
}

/// Options of a pass from the arguments that plan and sync share.
#[must_use]
pub fn options(policy: &PolicyArgs, ids: &[String]) -> PassOptions {
    PassOptions {
        ids: ids.to_vec(),
        prune: policy.prune == When::Auto,
        adopt: policy.adopt == When::Auto,
        ..PassOptions::default()
    }
}

fn print(survey: &Survey, printer: &Printer, show_values: bool) {
    let plan = &survey.plan;
    if printer.is_json() {
        let mut fields = data::plan(plan, show_values, printer);
        fields["pm2_running"] = json!(survey.pm2_running);
        fields["diagnostics"] = data::diagnostics(&survey.definitions);
        printer.json(&data::document("plan", fields));
        return;
    }
    printer.diagnostics(&survey.definitions, false);
    if !survey.pm2_running {
        printer.note("PM2 is not running");
    }
    let table = words::plan_table(
        plan,
        Detail {
            verbose: printer.verbose,
            show_values,
        },
    );
    if !table.is_empty() {
        printer.table(&table);
    }
    say_conditions(printer, plan);
    if plan.steps.is_empty() {
        if plan.has_stopping() {
            printer.note(&format!(
                "not in sync: being stopped at this moment: {}",
                words::stopping(plan)
            ));
        } else if plan.held.is_none() {
            printer.note(&in_sync(plan));
        }
    } else {
        let can_be_done = plan
            .steps
            .iter()
            .any(|step| step.action.word() != "blocked");
        let advice = if can_be_done {
            "; run `pm2-sync sync` to do it"
        } else {
            ""
        };
        printer.note(&format!("{}{advice}", words::plan_counts(plan)));
    }
}

/// That there is nothing to do.
#[must_use]
pub fn in_sync(plan: &daemon_model::Plan) -> String {
    let daemons: std::collections::BTreeSet<_> = plan
        .apps
        .iter()
        .filter(|app| app.wanted.is_some())
        .map(|app| &app.daemon)
        .collect();
    let processes: usize = plan.apps.iter().map(daemon_model::AppState::running).sum();
    let degraded = plan
        .apps
        .iter()
        .filter(|app| app.condition == daemon_model::Condition::Degraded)
        .count();
    let but = if degraded > 0 {
        format!(", {degraded} degraded")
    } else {
        String::new()
    };
    format!(
        "in sync: {}, {} running{but}",
        words::counted(daemons.len(), "daemon", "daemons"),
        words::counted(processes, "process", "processes")
    )
}
