//! Data as JSON: one object with `"version": 1`. Values of environment variables are hidden unless asked for.

use daemon_model::{
    AppState, ApplyReport, Change, Diagnostic, Field, HeldRemoval, ObservedProcess, Outcome, Plan,
    Reason, Step, StepReport,
};
use pm2_client::StepError;
use serde_json::{Map, Value, json};

use super::{Printer, chain};
use crate::definitions::Definitions;

/// The frame of every answer.
#[must_use]
pub fn document(command: &str, fields: Value) -> Value {
    let mut map = Map::new();
    map.insert("version".into(), json!(1));
    map.insert("command".into(), json!(command));
    if let Value::Object(fields) = fields {
        map.extend(fields);
    }
    Value::Object(map)
}

/// One step of a plan.
#[must_use]
pub fn step(step: &Step, show_values: bool) -> Value {
    json!({
        "daemon": step.daemon,
        "app": step.app,
        "action": step.action.word(),
        "processes": match &step.action {
            daemon_model::Action::Start { count, .. } => json!(count),
            daemon_model::Action::End { orphans, .. } => json!(orphans.len()),
            other => json!(other.targets().len()),
        },
        "pm_ids": step.action.targets().iter().map(|target| target.pm_id).collect::<Vec<_>>(),
        "reasons": step.reasons.iter().map(|reason| redacted(reason, show_values)).collect::<Vec<_>>(),
    })
}

fn redacted(reason: &Reason, show_values: bool) -> Value {
    let hide = |changes: &[Change]| -> Vec<Change> {
        changes
            .iter()
            .cloned()
            .map(|mut change| {
                if matches!(change.field, Field::Env(_)) && !show_values {
                    change.from = change.from.map(|_| "***".to_owned());
                    change.to = change.to.map(|_| "***".to_owned());
                }
                change
            })
            .collect()
    };
    let reason = match reason {
        Reason::Edited { changes } => Reason::Edited {
            changes: hide(changes),
        },
        Reason::Drifted { changes } => Reason::Drifted {
            changes: hide(changes),
        },
        other => other.clone(),
    };
    json!(reason)
}

/// A plan.
#[must_use]
pub fn plan(plan: &Plan, show_values: bool, printer: &Printer) -> Value {
    json!({
        "in_sync": plan.is_in_sync(),
        "steps": plan.steps.iter().map(|one| step(one, show_values)).collect::<Vec<_>>(),
        "held": held(plan.held.as_ref(), printer),
        "broken": plan.broken,
    })
}

/// A held removal with the command that confirms it.
#[must_use]
pub fn held(held: Option<&HeldRemoval>, printer: &Printer) -> Value {
    held.map_or(Value::Null, |held| {
        json!({
            "daemons": held.daemons,
            "managed": held.managed,
            "confirm": held.code,
            "command": printer.command(&format!("sync --confirm {}", held.code)),
        })
    })
}

/// How every app stands.
#[must_use]
pub fn apps(plan: &Plan) -> Value {
    plan.apps.iter().map(app).collect()
}

fn app(app: &AppState) -> Value {
    json!({
        "daemon": app.daemon,
        "app": app.app,
        "wanted": app.wanted,
        "running": app.running(),
        "condition": app.condition,
        "processes": app.processes.iter().map(|one| process(one)).collect::<Vec<_>>(),
    })
}

fn process(process: &ObservedProcess) -> Value {
    json!({
        "pm_id": process.pm_id,
        "pid": process.pid,
        "status": process.status,
        "restarts": process.restarts,
        "started_at_ms": process.started_at_ms,
        "exit_code": process.exit_code,
    })
}

/// What became of each step.
#[must_use]
pub fn outcomes(report: &ApplyReport<StepError>, show_values: bool) -> Value {
    report
        .steps
        .iter()
        .map(|done| outcome(done, show_values))
        .collect()
}

/// What became of one step.
#[must_use]
pub fn outcome(done: &StepReport<StepError>, show_values: bool) -> Value {
    let mut value = step(&done.step, show_values);
    value["milliseconds"] = json!(u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX));
    value["outcome"] = json!(match done.outcome {
        Outcome::Done => "done",
        Outcome::Failed(_) => "failed",
        _ => "skipped",
    });
    if let Outcome::Failed(error) = &done.outcome {
        value["error"] = json!(chain(error));
    }
    value
}

/// Findings about all definitions.
#[must_use]
pub fn diagnostics(definitions: &Definitions) -> Value {
    let mut all = Vec::new();
    for (id, definition) in &definitions.daemons {
        for found in &definition.diagnostics {
            all.push(diagnostic(
                found,
                definition.name.as_str(),
                Some(id.as_str()),
            ));
        }
    }
    for stray in &definitions.strays {
        all.push(json!({ "file": stray.path, "severity": "error", "message": stray.message }));
    }
    Value::Array(all)
}

/// One finding.
#[must_use]
pub fn diagnostic(found: &Diagnostic, file: &str, daemon: Option<&str>) -> Value {
    let mut value = json!(found);
    value["file"] = json!(file);
    if let Some(daemon) = daemon {
        value["daemon"] = json!(daemon);
    }
    value
}
