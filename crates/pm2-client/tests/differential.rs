//! Compares the payloads of PM2's own command line with ours: they are equal for every config, except for the differences in
//! [`DIFFERENCES`], each with a reason.
//!
//! The real `pm2 start file.json` talks to a stand-in that answers like PM2's daemon and records what it is asked to start. Nothing
//! is started.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[path = "differential/apps.rs"]
mod apps;
#[path = "differential/cases.rs"]
mod cases;
mod common;
#[path = "differential/refused.rs"]
mod refused;
#[path = "differential/shell.rs"]
mod shell;
#[path = "differential/stand_in.rs"]
mod stand_in;
#[path = "differential/values.rs"]
mod values;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{Case, Commands};
use daemon_model::attribute::ATTRIBUTES;
use daemon_model::env_text;
use serde_json::{Map, Value, json};
use shell::{CPUS, Shell};

/// Variables of PM2's caller that its apps must not get.
const CALLERS_OWN: [(&str, &str); 2] = [("SECRET_TOKEN", "hunter2"), ("SHLVL", "2")];

/// A key that differs.
struct Difference<'a> {
    case: &'a Case,
    /// A key of the payload, or `env.` and a variable.
    key: &'a str,
    pm2: Option<&'a Value>,
    ours: Option<&'a Value>,
    /// PM2's complete payload.
    payload: &'a Value,
}

impl Difference<'_> {
    fn variable(&self) -> Option<&str> {
        self.key.strip_prefix("env.")
    }

    /// The value that the definition has under this spelling.
    fn written(&self, spelling: &str) -> Option<&Value> {
        self.case.app.get(spelling)
    }

    /// The value that the definition has under the key's own name.
    fn written_itself(&self) -> Option<&Value> {
        self.written(self.key)
    }

    fn is_only_in_pm2(&self) -> bool {
        self.pm2.is_some() && self.ours.is_none()
    }
}

struct Reason {
    why: &'static str,
    holds: fn(&Difference<'_>) -> bool,
}

/// All allowed differences. The first matching one counts; one that never matches fails the test.
const DIFFERENCES: &[Reason] = &[
    Reason {
        why: "the caller's environment is not passed on, but for a fixed base",
        holds: |d| {
            let own = d
                .variable()
                .and_then(|key| CALLERS_OWN.iter().find(|(own, _)| *own == key));
            d.is_only_in_pm2()
                && (d.variable() == Some("_")
                    || own.is_some_and(|(_, value)| d.pm2 == Some(&json!(value))))
        },
    },
    Reason {
        why: "variables that PM2's command line sets for itself are not passed on",
        holds: |d| {
            matches!(d.key, "env.PM2_USAGE" | "env.PM2_JSON_PROCESSING") && d.is_only_in_pm2()
        },
    },
    Reason {
        why: "PWD is always the absolute working directory, not the text of `cwd`, and not the caller's",
        holds: |d| {
            let raw = d.written("cwd").filter(|cwd| **cwd != json!(""));
            d.key == "env.PWD" && d.ours == d.payload.get("pm_cwd") && d.pm2 == raw
                // `filter_env` removes it from PM2's command line, which has it from its caller.
                || d.key == "env.PWD"
                    && d.ours == d.payload.get("pm_cwd")
                    && d.pm2.is_none()
                    && d.written("filter_env").is_some()
        },
    },
    Reason {
        why: "`cwd` is always there, and absolute",
        holds: |d| d.key == "cwd" && d.ours == d.payload.get("pm_cwd") && d.pm2 == d.written("cwd"),
    },
    Reason {
        why: "no variable is named after the app",
        holds: |d| {
            d.variable().map(|name| json!(name)).as_ref() == d.payload.get("name")
                && d.pm2 == Some(&json!("{}"))
                && d.ours.is_none()
        },
    },
    Reason {
        why: "blocks `env_NAME` are not sent: what is chosen is merged, the rest is no matter of the process",
        holds: |d| d.key.starts_with("env_") && d.is_only_in_pm2(),
    },
    Reason {
        why: "the label",
        holds: |d| d.key == "pm2_sync" && d.pm2.is_none(),
    },
    Reason {
        why: "the number of instances is explicit: one for each CPU is a decision of the caller here",
        holds: |d| {
            let means = d.pm2.and_then(Value::as_i64).map(|n| match n {
                0 => i64::from(CPUS),
                n if n < 0 => (i64::from(CPUS) + n).max(1),
                n => n,
            });
            d.key == "instances" && means.is_some() && means == d.ours.and_then(Value::as_i64)
        },
    },
    Reason {
        why: "a zero of the definition is sent: PM2's command line loses it where the name has several words",
        holds: |d| {
            d.ours == Some(&json!(0))
                && d.written_itself() == Some(&json!(0))
                && (d.pm2.is_none() || d.pm2 == Some(&json!(100)) && d.key == "kill_retry_time")
        },
    },
    Reason {
        why: "the user 0 is a user: PM2's command line does not look it up",
        holds: |d| {
            d.written("uid") == Some(&json!(0))
                && (d.key == "gid" && d.ours == Some(&json!(0)) || d.key == "env.HOME")
        },
    },
    Reason {
        why: "what is off or empty is not sent",
        holds: |d| {
            // PM2's command line converts an empty list of exit codes to a number, which JSON cannot express.
            let nothing = [json!(false), json!([]), json!(""), json!(null)];
            d.variable().is_none() && d.ours.is_none() && d.pm2.is_some_and(|v| nothing.contains(v))
        },
    },
    Reason {
        why: "nil is the same as absent; PM2's command line takes it for a decision about logs",
        holds: |d| d.key == "merge_logs" && d.written("merge_logs") == Some(&Value::Null),
    },
    Reason {
        why: "`cron_restart` \"0\" is none; PM2's command line sends it as a number",
        holds: |d| d.key == "cron_restart" && d.pm2 == Some(&json!(0)) && d.ours.is_none(),
    },
    Reason {
        why: "words are text, also where the definition has numbers or switches",
        holds: |d| {
            let words = |value: &Value| -> Option<Vec<String>> {
                Some(value.as_array()?.iter().map(env_text).collect())
            };
            matches!(d.key, "args" | "node_args" | "ignore_watch" | "post_update")
                && d.pm2.and_then(words).is_some()
                && d.pm2.and_then(words) == d.ours.and_then(words)
        },
    },
    Reason {
        why: "exit codes are numbers; PM2's daemon reads text as numbers too",
        holds: |d| {
            let codes = |value: &Value| -> Option<Vec<String>> {
                Some(value.as_array()?.iter().map(env_text).collect())
            };
            d.key == "stop_exit_codes"
                && d.pm2.and_then(codes).is_some()
                && d.pm2.and_then(codes) == d.ours.and_then(codes)
        },
    },
    Reason {
        why: "maps, lists and nil of a chosen `env_NAME` become JSON as those of `env` do; PM2 sends them raw",
        holds: |d| {
            d.variable().is_some()
                && d.pm2
                    .is_some_and(|value| value.is_object() || value.is_array() || value.is_null())
                && d.pm2.map(|value| json!(value.to_string())).as_ref() == d.ours
        },
    },
    Reason {
        why: "an alias is the attribute from the start: PM2's command line looks for it only after its first steps",
        holds: |d| {
            let early = match d.key {
                "merge_logs" => &["combine_logs", "mergeLogs", "execMode", "executeCommand"][..],
                "execute_command" | "exec_mode" => &["executeCommand", "execMode"][..],
                "disable_trace" => &["disableTrace"][..],
                _ => &[][..],
            };
            early.iter().any(|alias| d.written(alias).is_some())
        },
    },
    Reason {
        why: "a HOME of the definition stays, also where another user is asked for",
        holds: |d| {
            d.key == "env.HOME"
                && d.written("env").and_then(|env| env.get("HOME")) == d.ours
                && d.written("uid").is_some()
        },
    },
    Reason {
        why: "python does not buffer, whatever a block `env_NAME` says",
        holds: |d| {
            d.key == "env.PYTHONUNBUFFERED"
                && d.ours == Some(&json!("1"))
                && d.pm2
                    == d.written("env_production")
                        .and_then(|env| env.get("PYTHONUNBUFFERED"))
        },
    },
    Reason {
        why: "PM2_HOME is the home of the PM2 that is addressed, whatever a block `env_NAME` says",
        holds: |d| {
            d.key == "env.PM2_HOME"
                && d.case.env_name.is_some()
                && d.written("env_production").is_some()
        },
    },
];

#[test]
fn the_same_payloads_are_sent_as_by_pm2() {
    let shell = Shell::new();
    let cases = cases::all();
    assert!(cases.len() >= 120, "only {} cases", cases.len());
    let spelled: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| case.app.as_object().unwrap().keys().map(String::as_str))
        .collect();
    for name in ATTRIBUTES.iter().flat_map(|attribute| attribute.names()) {
        let for_root_only = matches!(name.as_str(), "uid" | "user" | "gid") && !shell.is_root();
        assert!(
            spelled.contains(name.as_str()) || for_root_only,
            "no case has `{name}`"
        );
    }

    let files = in_files(&cases);
    let complaints = run_all(&shell, &files);

    let mut used = vec![0_usize; DIFFERENCES.len()];
    let mut bugs = Vec::new();
    for case in &cases {
        let pm2 = match &shell.sent_by_pm2(case)[..] {
            [one] => one.clone(),
            other => {
                bugs.push(format!("{case}: PM2 sent {} messages", other.len()));
                continue;
            }
        };
        let ours = match shell.sent_by_us(case) {
            Ok(ours) => ours,
            Err(error) => {
                bugs.push(format!("{case}: {error}"));
                continue;
            }
        };
        let (flat_pm2, flat_ours) = (flat(&pm2), flat(&ours));
        let keys: BTreeSet<&String> = flat_pm2.keys().chain(flat_ours.keys()).collect();
        for key in keys {
            let difference = Difference {
                case,
                key,
                pm2: flat_pm2.get(key),
                ours: flat_ours.get(key),
                payload: &pm2,
            };
            let same = match (difference.pm2, difference.ours) {
                (Some(pm2), Some(ours)) => is_same(pm2, ours),
                _ => false,
            };
            if same {
                continue;
            }
            match DIFFERENCES
                .iter()
                .position(|reason| (reason.holds)(&difference))
            {
                Some(reason) => used[reason] += 1,
                None => bugs.push(format!(
                    "{case}: `{key}` is {} in PM2's and {} in ours",
                    show(difference.pm2),
                    show(difference.ours)
                )),
            }
        }
    }
    println!(
        "{} configs in {} runs of PM2's command line; differences:",
        cases.len(),
        files.len()
    );
    for (reason, used) in DIFFERENCES.iter().zip(&used) {
        println!("{used:6}  {}", reason.why);
    }
    assert!(bugs.is_empty(), "{}\n{complaints}", bugs.join("\n"));
    for (reason, used) in DIFFERENCES.iter().zip(used) {
        let for_root_only = reason.why.contains(" user ") && !shell.is_root();
        assert!(
            used > 0 || for_root_only,
            "no case has the difference: {}",
            reason.why
        );
    }
}

/// Cases that cannot influence each other share a file.
fn in_files<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Vec<Vec<&'a Case>> {
    let mut files: Vec<Vec<&Case>> = Vec::new();
    for case in cases {
        match files.iter_mut().find(|file| file[0].may_be_with(case)) {
            Some(file) => file.push(case),
            None => files.push(vec![case]),
        }
    }
    files
}

/// Runs PM2's command line for each of these files; returns its error messages.
fn run_all(shell: &Shell, files: &[Vec<&Case>]) -> String {
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let said = shell.run_pm2(file);
                    complaints.lock().unwrap().push_str(&said);
                }
            });
        }
    });
    complaints.into_inner().unwrap()
}

/// Configs that only one of the two refuses, each with a reason.
#[test]
fn the_same_configs_are_refused_as_by_pm2() {
    let shell = Shell::new();
    let refused = refused::all();
    let files = in_files(refused.iter().map(|(case, _)| case));
    run_all(&shell, &files);
    let mut bugs = Vec::new();
    for (case, by) in &refused {
        let pm2 = shell.sent_by_pm2(case).is_empty();
        let ours = shell.sent_by_us(case).is_err();
        let word = |refused| if refused { "refused" } else { "taken" };
        if (pm2, ours) != (by.pm2(), by.us()) {
            let (pm2, ours, why) = (word(pm2), word(ours), by.why());
            bugs.push(format!(
                "{case}: {pm2} by PM2, {ours} by us; expected was otherwise: {why}"
            ));
        } else if by.pm2() != by.us() {
            println!(
                "{case}: {} by PM2, {} by us: {}",
                word(pm2),
                word(ours),
                by.why()
            );
        }
    }
    assert!(bugs.is_empty(), "{}", bugs.join("\n"));
}

/// The payload with variables flattened to `env.NAME`.
fn flat(payload: &Value) -> Map<String, Value> {
    let mut flat = Map::new();
    for (key, value) in payload.as_object().unwrap() {
        if key != "env" {
            flat.insert(key.clone(), value.clone());
        }
    }
    for (key, value) in payload["env"].as_object().unwrap() {
        flat.insert(format!("env.{key}"), value.clone());
    }
    flat
}

/// Whether both are equal in JavaScript, which has only one type of number.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| is_same(value, other)))
        }
        (a, b) => a == b,
    }
}

fn show(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), |value| format!("`{value}`"))
}

impl Case {
    /// Whether PM2's command line may get both in one file. It carries the PWD of an app with `cwd` over to later ones.
    /// later ones.
    fn may_be_with(&self, other: &Self) -> bool {
        let cwd = |case: &Self| case.app.get("cwd").is_some_and(|cwd| *cwd != json!(""));
        !self.alone
            && !other.alone
            && cwd(self) == cwd(other)
            && self.commands == other.commands
            && self.env_name == other.env_name
            && self.deploy == other.deploy
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let app = self.app.to_string();
        let end = app
            .char_indices()
            .nth(240)
            .map_or(app.len(), |(end, _)| end);
        f.write_str(&app[..end])?;
        if let Some(name) = self.env_name {
            write!(f, " --env {name}")?;
        }
        if self.commands != Commands::All {
            write!(f, " with {:?}", self.commands)?;
        }
        Ok(())
    }
}
