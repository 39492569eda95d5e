//! Reads the rollout settings from the map of an app.

use serde_json::{Map, Value};

use super::read::Findings;
use super::{Content, ExecMode, POLICY_KEY, duration, probe};
use crate::coerce::Shown;
use crate::diff::{BASE_ENV, glob};
use crate::finding::{DocumentPath, Place};
use crate::nearest::{letters, nearest_name};
use crate::{Dependency, Message, OnFailure, Probe, ProbeKind, Quoted, Rollout, message};

/// Keys of the `:pm2-sync` map that are read here.
pub(super) const POLICY_KEYS: [&str; 4] = ["canary", "on-failure", "together", "within"];

/// Keys of an app that are read here, and their camel case forms. Every key of every app is compared with them.
const KEYS: [[&str; 2]; 4] = [
    ["startup_probe", "startupProbe"],
    ["readiness_probe", "readinessProbe"],
    ["liveness_probe", "livenessProbe"],
    ["depends_on", "dependsOn"],
];

/// The key of an app that is read here under this name or an alias.
pub(super) fn key(name: &str) -> Option<&'static str> {
    let found = KEYS.iter().find(|spellings| spellings.contains(&name));
    found.map(|[key, _]| *key)
}

/// The key that is nearest to a name unknown to PM2.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    nearest_name(name, KEYS.map(|[key, _]| key)).or(match letters(name).as_str() {
        "health" | "healthcheck" => Some(ProbeKind::Readiness.key()),
        _ => None,
    })
}

/// Converts a camel case key, as in Kubernetes, to the spelling of PM2's own keys.
pub(super) fn snake(key: &str) -> String {
    let mut snake = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Reads the rollout settings of the app. Whether it has the variables that probes refer to is checked later, when its `content` is
/// known.
pub(super) fn read(
    app: &Map<String, Value>,
    path: &DocumentPath,
    content: Option<&Content>,
    findings: &mut Findings,
) -> Rollout {
    let mut rollout = Rollout::default();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (written, value) in app.iter().filter(|(_, value)| !value.is_null()) {
        let Some(key) = key(written) else {
            continue;
        };
        let place = path.key(written);
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == key) {
            let message = message!(
                "`{}` and `{}` are the same key",
                Quoted(written),
                Quoted(other)
            );
            findings.error(&place, Place::Key, message);
            findings.label(path.key(*other), Place::Key, "first defined here");
            continue;
        }
        seen.push((key, written));
        let kind = ProbeKind::ALL.into_iter().find(|kind| kind.key() == key);
        match kind {
            None => rollout.depends_on = read_depends_on(value, &place, findings),
            Some(kind) => {
                let has_variable =
                    |name: &str| content.is_none_or(|content| has_variable(content, app, name));
                let probe = probe::read(kind, value, &place, &has_variable, findings);
                match kind {
                    ProbeKind::Startup => rollout.startup = probe,
                    ProbeKind::Readiness => rollout.readiness = probe,
                    ProbeKind::Liveness => rollout.liveness = probe,
                }
            }
        }
    }
    if let Some(policy) = app.get(POLICY_KEY).and_then(Value::as_object) {
        let path = path.key(POLICY_KEY);
        read_policy(policy, &path, &mut rollout, findings);
        if let Some(content) = content {
            check_policy(policy, &path, &rollout, content, findings);
        }
    }
    rollout
}

/// Checks the settings against the app: a window too short to ever become ready, or a canary that it cannot have.
fn check_policy(
    policy: &Map<String, Value>,
    path: &DocumentPath,
    rollout: &Rollout,
    content: &Content,
    findings: &mut Findings,
) {
    let mut too_short = |message| findings.error(&path.key("within"), Place::Value, message);
    if let Some(within) = rollout.within {
        let min_uptime = content.min_uptime();
        let slowest = [&rollout.startup, &rollout.readiness]
            .into_iter()
            .flatten()
            .map(Probe::earliest_success)
            .max()
            .unwrap_or_default();
        // An app that ends by itself may be ready before.
        let ends = content.attribute("autorestart") == Some(&Value::Bool(false));
        if within <= min_uptime && !ends {
            too_short(message!(
                "the app must be up for {} to be ready (`min_uptime`), so this must be longer",
                duration::shown(min_uptime)
            ));
        } else if within <= slowest {
            too_short(message!(
                "its probes take at least {}, so this must be longer",
                duration::shown(slowest)
            ));
        }
    }
    let asks_for_canary = policy.get("canary") == Some(&Value::Bool(true));
    if asks_for_canary && content.exec_mode == ExecMode::Fork {
        let message = "has no effect: in fork mode there is no second process to try a change";
        findings.warning(&path.key("canary"), Place::Key, message, None);
    }
}

/// Whether processes of the app have the variable, as far as the definition shows.
fn has_variable(content: &Content, app: &Map<String, Value>, name: &str) -> bool {
    let named_by = |attribute: &str| content.attribute(attribute).and_then(Value::as_str);
    content.env.contains_key(name)
        || named_by("increment_var") == Some(name)
        || named_by("instance_var").unwrap_or("NODE_APP_INSTANCE") == name
        || app.contains_key("env_file")
        || BASE_ENV.iter().any(|inherited| glob(inherited, name))
}

fn read_depends_on(
    value: &Value,
    place: &DocumentPath,
    findings: &mut Findings,
) -> Vec<Dependency> {
    let names = match value {
        Value::Array(names) => names
            .iter()
            .enumerate()
            .map(|(n, name)| (place.index(n), name))
            .collect(),
        // A single name need not be in a vector.
        Value::String(_) => vec![(place.clone(), value)],
        other => {
            let message = message!(
                "expected a vector of app names and daemon IDs, got {}",
                Shown(other)
            );
            findings.error(place, Place::Value, message);
            return Vec::new();
        }
    };
    let mut read: Vec<Dependency> = Vec::with_capacity(names.len());
    for (path, name) in names {
        match name.as_str().filter(|name| !name.is_empty()) {
            None => {
                let message = message!("expected an app name or a daemon ID, got {}", Shown(name));
                findings.error(&path, Place::Value, message);
            }
            Some(name) if read.iter().any(|known| known.name == name) => {
                let message = message!("`{}` is named twice", Quoted(name));
                findings.warning(&path, Place::Value, message, None);
            }
            Some(name) => read.push(Dependency {
                name: name.to_owned(),
                path,
            }),
        }
    }
    read
}

fn read_policy(
    policy: &Map<String, Value>,
    path: &DocumentPath,
    rollout: &mut Rollout,
    findings: &mut Findings,
) {
    for key in POLICY_KEYS {
        let Some(value) = policy.get(key).filter(|value| !value.is_null()) else {
            continue;
        };
        let place = path.key(key);
        let read = match key {
            "on-failure" => on_failure(value).map(|read| rollout.on_failure = read),
            "within" => duration::read(value, duration::Unit::Milliseconds)
                .and_then(probe::not_zero)
                .map(|read| rollout.within = Some(read)),
            "canary" => switch(value).map(|read| rollout.canary = read),
            _ => switch(value).map(|read| rollout.together = read),
        };
        if let Err(message) = read {
            findings.error(&place, Place::Value, message);
        }
    }
}

fn on_failure(value: &Value) -> Result<OnFailure, Message> {
    match value.as_str() {
        Some("rollback") => Ok(OnFailure::Rollback),
        Some("keep") => Ok(OnFailure::Keep),
        Some("stop") => Ok(OnFailure::Stop),
        _ => Err(message!(
            "expected :rollback, :keep or :stop, got {}",
            Shown(value)
        )),
    }
}

fn switch(value: &Value) -> Result<bool, Message> {
    let read = value.as_bool();
    read.ok_or_else(|| message!("expected true or false, got {}", Shown(value)))
}

/// Keys for a message.
pub(super) fn list(keys: &[&str]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
