//! Evaluates configs as PM2 does: with node.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DocumentPath, Message, Ours, PathSegment, Quoted, message};
use pm2_client::{Host, StopFlag};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ImportError;
use crate::config::Config;
use crate::subprocess::Subprocess;

/// The program that node runs.
const PROGRAM: &str = include_str!("evaluate.js");
/// Marks the start of the answer: processes that a config starts may print, too.
const MARK: &str = "\n\u{1}pm2-sync-import\u{1}";
/// How long evaluation may take. Some configs use the network.
const DEADLINE: Duration = Duration::from_secs(30);
/// The largest config that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// A config as PM2 reads it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evaluated {
    pub config: Value,
    /// Values that JSON cannot express, so PM2's daemon does not get them: the path and the kind of each.
    pub lost: Vec<(DocumentPath, String)>,
    /// Values that depend on the caller's environment.
    pub from_environment: Vec<DocumentPath>,
    /// Values that differ on each evaluation.
    pub changing: Vec<DocumentPath>,
    /// The error of evaluating it without the caller's environment, if that fails.
    pub fails_without_environment: Option<String>,
}

/// Evaluates the config `file` as `pm2 start` does in the caller's directory: with the caller's environment, and then without it,
/// to see which values depend on it.
pub(super) fn evaluate(
    file: &Utf8Path,
    config: &Config,
    stop: &StopFlag,
) -> Result<Evaluated, ImportError> {
    let cwd = config.environment.cwd().unwrap_or(config.root());
    let path = daemon_model::paths::resolve(cwd, file.as_str());
    files::read(path.as_std_path(), files::Links::Follow, LIMIT).map_err(|source| {
        ImportError::ReadFile {
            path: file.to_owned(),
            source,
        }
    })?;
    let package = config.local_host().pm2_package();
    let request = json!({
        "path": path,
        "file": file,
        "kind": kind(file),
        "pm2": config.pm2.as_deref().unwrap_or(Utf8Path::new("pm2")),
        "pm2Package": package,
        "mark": MARK,
    })
    .to_string();
    let run = |vars: &BTreeMap<String, String>| ask(&request, cwd, vars, stop);
    let failed = |message| match stop.is_set() {
        true => ImportError::Interrupted,
        false => ImportError::Evaluate {
            path: file.to_owned(),
            message,
        },
    };
    let theirs = config.environment.vars();
    let (value, lost) = run(theirs).map_err(failed)?;
    let mut evaluated = Evaluated {
        config: value,
        lost,
        from_environment: Vec::new(),
        changing: Vec::new(),
        fails_without_environment: None,
    };
    let ours = config.environment.base_env(&daemon_model::EnvPolicy {
        pm2_home: config.pm2_home.clone(),
        pass_env: Vec::new(),
    });
    let differing = |other: &Value| {
        let mut found = Vec::new();
        differences(&evaluated.config, other, &DocumentPath::root(), &mut found);
        found
    };
    match run(&ours) {
        Err(_) if stop.is_set() => return Err(ImportError::Interrupted),
        Err(message) => evaluated.fails_without_environment = Some(message.full().to_owned()),
        Ok((other, _)) => {
            let found = differing(&other);
            if !found.is_empty() {
                // A time or a random number does not depend on the environment.
                let changing = run(theirs).map(|(again, _)| differing(&again));
                let changing = changing.unwrap_or_default();
                evaluated.from_environment = found;
                evaluated
                    .from_environment
                    .retain(|path| !changing.contains(path));
                evaluated.changing = changing;
            }
        }
    }
    Ok(evaluated)
}

/// How PM2 reads a file of this name.
///
/// Source: PM2 7.0.4, `lib/Common.js` (`isConfigFile`).
fn kind(file: &Utf8Path) -> &'static str {
    let name = file.as_str();
    if name.contains(".json") {
        "json"
    } else if name.contains(".yml") || name.contains(".yaml") {
        "yaml"
    } else {
        "module"
    }
}

/// The answer of the JavaScript program.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Error(String),
    #[serde(untagged)]
    Config {
        config: Value,
        lost: Vec<Lost>,
    },
}

#[derive(Deserialize)]
struct Lost {
    at: Vec<Step>,
    what: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Index(usize),
    Key(String),
}

type Read = (Value, Vec<(DocumentPath, String)>);

fn ask(
    request: &str,
    dir: &Utf8Path,
    vars: &BTreeMap<String, String>,
    stop: &StopFlag,
) -> Result<Read, Message> {
    let node = Subprocess {
        program: "node",
        args: vec!["-e", PROGRAM, request],
        dir,
        vars,
        deadline: DEADLINE,
        stop,
    };
    let finished = node
        .run()
        .map_err(|fault| message!("node {}", Ours(fault.full())))?;
    let output = String::from_utf8_lossy(&finished.output);
    let answer = output.rsplit_once(MARK).map(|(_, answer)| answer);
    let answer = answer.and_then(|text| serde_json::from_str(text).ok());
    match answer {
        Some(Answer::Config { config, lost }) => {
            let lost = lost.into_iter().map(|lost| (place(lost.at), lost.what));
            Ok((config, lost.collect()))
        }
        Some(Answer::Error(text)) => Err(message!("{}", Quoted(text))),
        None => Err(match finished.remarks.last() {
            Some(line) => message!("it exports no config: {}", Quoted(line)),
            None => message!("it exports no config ({})", Ours(finished.status)),
        }),
    }
}

fn place(steps: Vec<Step>) -> DocumentPath {
    let segment = |step| match step {
        Step::Index(index) => PathSegment::Index(index),
        Step::Key(key) => PathSegment::Key(key),
    };
    DocumentPath(steps.into_iter().map(segment).collect())
}

/// The paths at which two values differ, as deep as both have the same type.
fn differences(a: &Value, b: &Value, at: &DocumentPath, found: &mut Vec<DocumentPath>) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let other = b.get(key).unwrap_or(&Value::Null);
                differences(value, other, &at.key(key), found);
            }
            let added = b.iter().filter(|(key, _)| !a.contains_key(*key));
            found.extend(added.map(|(key, _)| at.key(key)));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &at.index(index), found);
            }
        }
        _ if a != b => found.push(at.clone()),
        _ => {}
    }
}

/// The directory of a config, in which some users start PM2.
pub(super) fn dir_of(file: &Utf8Path, config: &Config) -> Option<Utf8PathBuf> {
    let cwd = config.environment.cwd()?;
    let path = daemon_model::paths::resolve(cwd, file.as_str());
    path.parent().map(Utf8Path::to_owned)
}
