//! `pm2-sync render --parity`: every definition rendered by both renderers.

use std::collections::BTreeSet;

use daemon_model::{DaemonId, PathSegment};
use edn_render::fallback::{self, Renderer};
use edn_render::{Difference, Options, differences};
use serde_json::{Value, json};

use crate::config::{Config, ConfigError};
use crate::definitions::Definitions;
use crate::error::CommandError;
use crate::exit;
use crate::pass;
use crate::report::{Printer, json as data, words};

/// How one definition compares.
enum Verdict {
    Equal,
    Differs(Vec<Difference>),
    /// Only one of them renders it; why not the other.
    NativeOnly(String),
    OtherOnly(String),
    /// Neither renders it.
    Neither,
}

/// Renders definitions with both renderers and prints what differs.
///
/// # Errors
/// [`CommandError`].
pub fn run(mut config: Config, ids: &[String], printer: &Printer) -> Result<u8, CommandError> {
    config.renderer = Renderer::Native;
    let other = config.pm2_clj.clone().ok_or(ConfigError::NoPm2Clj)?;
    let definitions = Definitions::load(&config)?;
    let known: BTreeSet<DaemonId> = definitions.daemons.keys().cloned().collect();
    let only = pass::select(&config, ids, known)?;
    let options = Options {
        mode: config.mode.clone(),
        allow_missing_mode: true,
        ..Options::default()
    };
    let mut verdicts = Vec::new();
    for (id, definition) in &definitions.daemons {
        let Some(source) = &definition.source else {
            continue;
        };
        if only.as_ref().is_some_and(|only| !only.contains(id)) {
            continue;
        }
        let native = edn_render::read(source, &options);
        let file = config.layout.definition_path(id);
        let answer = fallback::answer(&other, &file, &options);
        let fault = || {
            native
                .diagnostics
                .iter()
                .find(|found| found.is_error())
                .map_or_else(String::new, |found| found.message.clone())
        };
        let verdict = match (&native.document, answer) {
            (Some(native), Ok((value, _))) => {
                let found = differences(native.value(), &value);
                if found.is_empty() {
                    Verdict::Equal
                } else {
                    Verdict::Differs(found)
                }
            }
            (Some(_), Err(none)) => Verdict::NativeOnly(none.message),
            (None, Ok(_)) => Verdict::OtherOnly(fault()),
            (None, Err(_)) => Verdict::Neither,
        };
        verdicts.push((id, verdict));
    }
    let differ = verdicts
        .iter()
        .filter(|(_, verdict)| !matches!(verdict, Verdict::Equal | Verdict::Neither))
        .count();
    if printer.is_json() {
        let all: Vec<Value> = verdicts
            .iter()
            .map(|(id, verdict)| as_json(id, verdict))
            .collect();
        printer.json(&data::document(
            "render",
            json!({ "equal": differ == 0, "parity": all }),
        ));
    } else {
        for (id, verdict) in &verdicts {
            printer.data(&as_text(id, verdict));
        }
        printer.note(&format!(
            "compared {}: {differ} differ",
            words::counted(verdicts.len(), "definition", "definitions")
        ));
    }
    Ok(if differ == 0 { exit::OK } else { exit::FAILED })
}

fn as_text(id: &DaemonId, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Equal => String::new(),
        Verdict::Neither => format!("{id}: neither renders it\n"),
        Verdict::NativeOnly(why) => format!("{id}: only pm2-sync renders it: pm2-clj {why}\n"),
        Verdict::OtherOnly(why) => format!("{id}: only pm2-clj renders it: {why}\n"),
        Verdict::Differs(found) => found
            .iter()
            .map(|found| {
                format!(
                    "{id}: {}: pm2-sync {}, pm2-clj {}\n",
                    found.path,
                    shown(found, found.first.as_ref()),
                    shown(found, found.second.as_ref())
                )
            })
            .collect(),
    }
}

fn as_json(id: &DaemonId, verdict: &Verdict) -> Value {
    let (word, why) = match verdict {
        Verdict::Equal => ("equal", None),
        Verdict::Neither => ("neither", None),
        Verdict::NativeOnly(why) => ("native-only", Some(why)),
        Verdict::OtherOnly(why) => ("pm2-clj-only", Some(why)),
        Verdict::Differs(found) => {
            let list: Vec<Value> = found
                .iter()
                .map(|found| {
                    json!({
                        "path": found.path.to_string(),
                        "native": shown(found, found.first.as_ref()),
                        "pm2-clj": shown(found, found.second.as_ref()),
                    })
                })
                .collect();
            return json!({ "daemon": id, "verdict": "differs", "differences": list });
        }
    };
    json!({ "daemon": id, "verdict": word, "reason": why })
}

/// A value in a few words; values of environment variables are not shown.
fn shown(found: &Difference, value: Option<&Value>) -> String {
    let is_env = found.path.0.iter().any(
        |segment| matches!(segment, PathSegment::Key(key) if key == "env" || key.starts_with("env_")),
    );
    match value {
        None => "nothing".to_owned(),
        Some(Value::Object(_)) => "a map".to_owned(),
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(_) if is_env => "***".to_owned(),
        Some(value) => {
            let text = value.to_string();
            if text.chars().count() <= 60 {
                return text;
            }
            text.chars().take(57).chain("...".chars()).collect()
        }
    }
}
