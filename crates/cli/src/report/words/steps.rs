//! Steps as text: their reasons and outcomes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{counted, name, took};
use crate::report::json::{
    ActionOutput, ChangeKindOutput, ChangeOutput, OutcomeOutput, ReasonOutput, ResultOutput,
    StartsOutput, StepOutput,
};
use crate::report::text::{Line, Tone};

/// The most removed variables that are named; beyond that, only their number is given.
const MOST_NAMES: usize = 6;

impl StepOutput {
    /// The verb for the action.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.words().0
    }

    /// The verb in the present and the past tense, and the colour.
    fn words(&self) -> (&'static str, &'static str, Tone) {
        match (self.action, self.reasons.as_slice()) {
            // Named from the view of the app, which stays.
            (ActionOutput::Start, [ReasonOutput::TooFew { .. }]) => {
                ("scale", "scaled up", Tone::Good)
            }
            (ActionOutput::Delete, [ReasonOutput::TooMany { .. }]) => {
                ("scale", "scaled down", Tone::Notice)
            }
            (action, _) => action.words(),
        }
    }

    /// Whether the step only changes the number of processes.
    fn scales(&self) -> bool {
        self.verb() == "scale"
    }
}

impl ActionOutput {
    fn words(self) -> (&'static str, &'static str, Tone) {
        match self {
            Self::End => ("end", "ended", Tone::Bad),
            Self::Start => ("start", "started", Tone::Good),
            Self::Resume => ("resume", "started again", Tone::Good),
            Self::Reload => ("reload", "reloaded", Tone::Notice),
            Self::Restart => ("restart", "restarted", Tone::Notice),
            Self::Replace => ("replace", "replaced", Tone::Notice),
            Self::Update => ("update", "updated", Tone::Notice),
            Self::Stop => ("stop", "stopped", Tone::Bad),
            Self::Delete => ("delete", "deleted", Tone::Bad),
            Self::Blocked => ("blocked", "blocked", Tone::Bad),
            Self::Other => ("change", "changed", Tone::Notice),
        }
    }
}

/// The action of a step, with the number of processes if there are several.
#[must_use]
pub fn action(step: &StepOutput) -> Line {
    let (verb, _, tone) = step.words();
    let text = match step.processes {
        n if n > 1 && !step.scales() => format!("{verb} {n}"),
        _ => verb.to_owned(),
    };
    Line::default().with(tone, text)
}

/// One line about the result of a step: `started web/front (2 processes) in 374 ms`.
#[must_use]
pub fn result(result: &ResultOutput, verbose: bool) -> Line {
    let step = &result.step;
    let (verb, done, tone) = step.words();
    let name = name(&step.daemon, &step.app);
    let time = took(std::time::Duration::from_millis(result.milliseconds));
    match result.outcome {
        OutcomeOutput::Done => {
            let line = Line::default().with(tone, done);
            if let [ReasonOutput::TooFew { have, want } | ReasonOutput::TooMany { have, want }] =
                step.reasons.as_slice()
            {
                return line.plain(format!(" {name} from {have} to {want} in {time}"));
            }
            let processes = match step.processes {
                0 | 1 => String::new(),
                n => format!(" ({})", counted(n, "process", "processes")),
            };
            let line = line.plain(format!(" {name}{processes} in {time}"));
            // A start needs no reason that the app was not running.
            let reasons = step.reasons.iter().filter(|one| **one != ReasonOutput::New);
            match reasons_in_words(reasons, verbose) {
                words if words.is_empty() => line,
                words => line.plain(format!(": {words}")),
            }
        }
        OutcomeOutput::Failed => {
            let error = result.error.as_deref().unwrap_or_default();
            let failed = match step.action {
                ActionOutput::Blocked => format!("blocked {name}"),
                _ => format!("failed to {verb} {name}"),
            };
            Line::default()
                .with(Tone::Bad, failed)
                .plain(format!(": {error} ({time})"))
        }
        OutcomeOutput::Skipped => {
            let text = format!("skipped: {verb} {name}");
            Line::default().with(Tone::Faint, text)
        }
    }
}

/// Why a step is taken.
#[must_use]
pub fn reasons(step: &StepOutput, verbose: bool) -> String {
    reasons_in_words(step.reasons.iter(), verbose)
}

fn reasons_in_words<'r>(
    reasons: impl Iterator<Item = &'r ReasonOutput> + Clone,
    verbose: bool,
) -> String {
    let is_adopted = reasons.clone().any(|one| *one == ReasonOutput::Adopted);
    let words: Vec<String> = reasons
        .map(|one| reason(one, is_adopted, verbose))
        .collect();
    words.join("; ")
}

fn reason(reason: &ReasonOutput, is_adopted: bool, verbose: bool) -> String {
    match reason {
        ReasonOutput::New => "not running".to_owned(),
        ReasonOutput::TooFew { have, want } => format!("scale up from {have} to {want}"),
        ReasonOutput::TooMany { have, want } => format!("scale down from {have} to {want}"),
        ReasonOutput::Edited { changes } if changes.is_empty() => "definition changed".to_owned(),
        ReasonOutput::Edited { changes } => self::changes(changes, is_adopted, verbose),
        ReasonOutput::Drifted { changes } => {
            let changes = self::changes(changes, is_adopted, verbose);
            format!("changed outside pm2-sync: {changes}")
        }
        ReasonOutput::Stopped => "was stopped".to_owned(),
        ReasonOutput::NoProcess => "PM2 says `online`, but there is no process".to_owned(),
        ReasonOutput::ScriptChanged => "its script changed after PM2 gave up".to_owned(),
        ReasonOutput::RetryRequested => "PM2 gave up; retried as requested".to_owned(),
        ReasonOutput::DefinitionRemoved => "definition removed".to_owned(),
        ReasonOutput::RemovalRequested
        | ReasonOutput::StopRequested
        | ReasonOutput::RestartRequested => "as requested".to_owned(),
        ReasonOutput::AppRemoved => "app removed from its definition".to_owned(),
        ReasonOutput::Moved { from } => format!("moved here from {from}"),
        ReasonOutput::TakenOver { from } => {
            format!("adopted from the workspace {from}, which no longer exists")
        }
        ReasonOutput::Adopted => "adopted: it was not started by pm2-sync".to_owned(),
        ReasonOutput::Orphaned { pids } => {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            format!(
                "still running, but not in PM2's list (pid {})",
                pids.join(", ")
            )
        }
        ReasonOutput::LastGood => "definition not valid; starting the last valid one".to_owned(),
        ReasonOutput::Canary => "one process tries the new definition first".to_owned(),
        ReasonOutput::RolledBack { to } => {
            format!("the new definition did not become ready: back to entry {to} of the history")
        }
        ReasonOutput::Pinned { number } => format!("kept at entry {number} of the history"),
        ReasonOutput::NotReady => "it did not become ready".to_owned(),
        ReasonOutput::Unhealthy { why, failures: 1 } => format!("liveness probe: {why}"),
        ReasonOutput::Unhealthy { why, failures } => {
            format!("liveness probe: {why}, {failures} times")
        }
        ReasonOutput::Unmanaged => {
            "the name is taken by a process that pm2-sync did not start".to_owned()
        }
        ReasonOutput::OtherWorkspace { workspace } => {
            format!("the name is taken by the workspace {workspace}")
        }
        ReasonOutput::Other => "something changed".to_owned(),
    }
}

/// Changes by kind: `args, cwd changed; env.DEBUG removed`. Verbose with values: `args: "db" -> "db --wal"`.
fn changes(changes: &[ChangeOutput], is_adopted: bool, verbose: bool) -> String {
    // For variables that an adopted process got from a shell, names suffice.
    let lost = changes
        .iter()
        .filter(|it| it.is_env() && it.kind == ChangeKindOutput::Removed);
    let is_summed_up = is_adopted || lost.clone().count() > MOST_NAMES;
    let is_lost =
        |it: &&ChangeOutput| is_summed_up && it.is_env() && it.kind == ChangeKindOutput::Removed;
    let mut parts: Vec<String> = Vec::new();
    if verbose {
        parts.extend(changes.iter().filter(|it| !is_lost(it)).map(with_values));
    } else {
        for (kind, word) in [
            (ChangeKindOutput::Added, "added"),
            (ChangeKindOutput::Removed, "removed"),
            (ChangeKindOutput::Changed, "changed"),
        ] {
            let fields: Vec<&str> = changes
                .iter()
                .filter(|it| it.kind == kind && !is_lost(it))
                .map(|it| it.field.as_str())
                .collect();
            if !fields.is_empty() {
                parts.push(format!("{} {word}", fields.join(", ")));
            }
        }
    }
    let lost: Vec<&str> = lost
        .filter(is_lost)
        .map(|it| it.field.trim_start_matches("env."))
        .collect();
    if !lost.is_empty() {
        let count = counted(lost.len(), "variable", "variables");
        parts.push(match verbose {
            true => format!("loses {count}: {}", lost.join(", ")),
            false => format!("loses {count}"),
        });
    }
    parts.join("; ")
}

/// Changes with their values: `args: "db" -> "db --wal"; env.LEVEL: *** -> ***`.
#[must_use]
pub fn with_all_values(changes: &[ChangeOutput]) -> String {
    let changes: Vec<String> = changes.iter().map(with_values).collect();
    changes.join("; ")
}

fn with_values(change: &ChangeOutput) -> String {
    let value = |value: &Option<Value>| value.as_ref().map_or("none".to_owned(), shown);
    let (field, from, to) = (&change.field, value(&change.from), value(&change.to));
    let Some(origin) = &change.origin else {
        return format!("{field}: {from} -> {to}");
    };
    match change.to.as_ref().and_then(Value::as_str) {
        // The origin says more than two hidden values.
        Some("***") if change.from.is_none() => format!("{field} added ({origin})"),
        Some("***") => format!("{field} changed ({origin})"),
        _ => format!("{field}: {from} -> {to} ({origin})"),
    }
}

/// A value as a user writes it: a list of words as a command line, never JSON inside of a string.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text == "***" => text.clone(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let words = items.iter().filter_map(Value::as_str);
            let words: Vec<String> = words.map(word).collect();
            format!("\"{}\"", words.join(" "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key} {}", shown(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// A word of a command line, quoted if it would otherwise be split or lost.
fn word(word: &str) -> String {
    let is_plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '\'');
    match is_plain {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Lines about unset variables that `:pass-env` names.
#[must_use]
pub fn not_set_here<'s>(steps: impl Iterator<Item = &'s StepOutput> + Clone) -> Vec<String> {
    let apps = |of: fn(&StepOutput) -> &Vec<String>| {
        let mut apps: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for step in steps.clone() {
            for variable in of(step) {
                let apps = apps.entry(variable).or_default();
                apps.insert(name(&step.daemon, &step.app));
            }
        }
        apps
    };
    let list = |apps: BTreeSet<String>| apps.into_iter().collect::<Vec<_>>().join(", ");
    let kept = apps(|step| &step.keeps).into_iter().map(|(variable, apps)| {
        let verb = if apps.len() == 1 { "keeps" } else { "keep" };
        let apps = list(apps);
        format!("`{variable}` from `:pass-env` is not set here: {apps} {verb} the value that PM2 has recorded")
    });
    let lacking = apps(|step| &step.lacks)
        .into_iter()
        .map(|(variable, apps)| {
            let verb = if apps.len() == 1 { "starts" } else { "start" };
            let apps = list(apps);
            format!("`{variable}` from `:pass-env` is not set here: {apps} {verb} without it")
        });
    kept.chain(lacking).collect()
}

/// What a start starts, one line per setting.
#[must_use]
pub fn starts(starts: &StartsOutput) -> Vec<Line> {
    let mut lines = vec![
        format!("script: {}", starts.script),
        format!("cwd: {}", starts.cwd),
    ];
    lines.extend(
        starts
            .exec_mode
            .iter()
            .map(|mode| format!("exec_mode: {mode}")),
    );
    for (name, value) in &starts.settings {
        lines.push(format!("{name}: {}", shown(value)));
    }
    if !starts.env.is_empty() {
        let env = starts.env.iter().map(|(name, value)| match value.as_str() {
            Some("***") => name.clone(),
            _ => format!("{name}={}", shown(value)),
        });
        lines.push(format!("env: {}", env.collect::<Vec<_>>().join(", ")));
    }
    lines
        .into_iter()
        .map(|line| Line::default().with(Tone::Faint, line))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_a_person_writes_them() {
        for (value, expected) in [
            (json!("a \"b\""), r#""a \"b\"""#),
            (json!(["db", "--wal"]), r#""db --wal""#),
            (json!(["a b", "", "it's"]), r#""'a b' '' 'it'\''s'""#),
            (json!([1, "x"]), r#"[1 "x"]"#),
            (
                json!({"usePolling": true, "n": 3}),
                "{usePolling true, n 3}",
            ),
            (json!(2000), "2000"),
            (json!("***"), "***"),
        ] {
            assert_eq!(shown(&value), expected);
        }
    }

    fn change(field: &str, kind: ChangeKindOutput) -> ChangeOutput {
        ChangeOutput {
            field: field.to_owned(),
            kind,
            from: (kind != ChangeKindOutput::Added).then(|| json!("***")),
            to: (kind != ChangeKindOutput::Removed).then(|| json!(["x"])),
            origin: None,
        }
    }

    #[test]
    fn the_variables_of_an_adopted_process_are_counted() {
        let all: Vec<ChangeOutput> = ["env.A", "env.B"]
            .map(|field| change(field, ChangeKindOutput::Removed))
            .into_iter()
            .chain([change("args", ChangeKindOutput::Added)])
            .collect();
        assert_eq!(changes(&all, true, false), "args added; loses 2 variables");
        assert_eq!(
            changes(&all, true, true),
            "args: none -> \"x\"; loses 2 variables: A, B"
        );
        assert_eq!(
            changes(&all, false, true),
            "env.A: *** -> none; env.B: *** -> none; args: none -> \"x\""
        );
    }
}
