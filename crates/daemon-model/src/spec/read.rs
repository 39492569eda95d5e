//! From the map of an app to values of attributes, with findings about what PM2 would misread or lose.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{AppPolicy, OnChange, POLICY_KEY, is_node_like};
use crate::attribute::{self, Attribute, Kind};
use crate::coerce::{coerce, show};
use crate::finding::{DocumentPath, Finding, FindingLabel, Place};
use crate::names;
use crate::survival;
use crate::{Level, OnRemove, Severity};

#[derive(Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
}

impl Findings {
    pub(super) fn push(
        &mut self,
        severity: Severity,
        path: &DocumentPath,
        place: Place,
        message: String,
        help: Option<String>,
    ) {
        self.list.push(Finding {
            path: path.clone(),
            place,
            severity,
            level: Level::Definition,
            message,
            help,
            labels: Vec::new(),
        });
    }

    /// Adds a second place to the last finding.
    fn label(&mut self, path: DocumentPath, place: Place, message: &str) {
        if let Some(last) = self.list.last_mut() {
            last.labels.push(FindingLabel {
                path,
                place,
                message: message.to_owned(),
            });
        }
    }

    /// Whether the value of an attribute was found to be wrong, so that it is not as good as absent.
    pub(super) fn refused(
        &self,
        app: &Map<String, Value>,
        path: &DocumentPath,
        attribute: &str,
    ) -> bool {
        let names = attribute::by_own_name(attribute)
            .into_iter()
            .flat_map(Attribute::names)
            .filter(|name| app.contains_key(name));
        let places: Vec<DocumentPath> = names.map(|name| path.key(name)).collect();
        let mut errors = self
            .list
            .iter()
            .filter(|found| found.severity == Severity::Error);
        errors.any(|found| places.contains(&found.path))
    }

    pub(super) fn error(&mut self, path: &DocumentPath, place: Place, message: impl Into<String>) {
        self.push(Severity::Error, path, place, message.into(), None);
    }

    pub(super) fn warning(
        &mut self,
        path: &DocumentPath,
        place: Place,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.push(Severity::Warning, path, place, message.into(), help);
    }
}

pub(super) fn read_attributes(
    app: &Map<String, Value>,
    path: &DocumentPath,
    findings: &mut Findings,
) -> BTreeMap<&'static str, Value> {
    let mut values = BTreeMap::new();
    // Each attribute that was read, under which key, and how much that spelling counts: there are few.
    let mut read_from: Vec<(&str, &str, usize)> = Vec::with_capacity(app.len().min(64));
    for (key, value) in app {
        // Most of them have nothing wrong, and no need of their place.
        let place = || path.key(key);
        if names::has_nul(key, value)
            && let Some(zero) = names::find_nul(key, value, &place())
        {
            findings.error(
                &zero,
                Place::Value,
                "contains U+0000, which no process can be given",
            );
            continue;
        }
        let Some(attribute) = attribute::find(key) else {
            check_unknown(key, value, &place(), findings);
            continue;
        };
        let rank = rank(attribute, key);
        if value.is_null() {
            continue;
        }
        let known = read_from
            .iter()
            .position(|(name, ..)| *name == attribute.name);
        if let Some((_, other, other_rank)) = known.and_then(|at| read_from.get(at)) {
            findings.warning(
                &place(),
                Place::Key,
                format!("`{key}` and `{other}` are the same attribute"),
                Some(format!("keep `{}` only", attribute.name)),
            );
            findings.label(path.key(*other), Place::Key, "first defined here");
            if *other_rank < rank {
                continue;
            }
        }
        if let Some(at) = known {
            read_from.swap_remove(at);
        }
        read_from.push((attribute.name, key, rank));
        match coerce(attribute, value) {
            Ok(Some(read)) => {
                // Variables are looked at by name; what is in them becomes text.
                if attribute.kind != Kind::Env
                    && names::has_fatal_key(&read)
                    && let Some(fatal) = names::find_fatal_key(&read, &place())
                {
                    findings.error(&fatal, Place::Key, "PM2 would die of a key of this name");
                }
                if let Some(requirement) = survival::requirement(attribute.name, &read) {
                    findings.error(
                        &place(),
                        Place::Value,
                        format!("PM2 would die of this; expected {requirement}"),
                    );
                }
                warn_ineffective(attribute, key, &read, &place, findings);
                values.insert(attribute.name, read);
            }
            Ok(None) => {
                values.remove(attribute.name);
            }
            Err(unfit) => findings.error(&place(), Place::Value, unfit.message),
        }
    }
    values
}

/// Which of several spellings counts: the lowest. PM2 looks for the attribute's own name, then for its aliases from
/// the last to the first, then for the camel case form.
///
/// Source: PM2 7.0.4, `lib/tools/Config.js` (`schema`); for the script `lib/Common.js` (`verifyConfs`), too, which looks
/// for `cmd` and `command` first.
fn rank(attribute: &Attribute, key: &str) -> usize {
    let aliases = attribute.aliases;
    match aliases.iter().position(|alias| *alias == key) {
        Some(at) => aliases.len() - at,
        None if key == attribute.name => 0,
        None => usize::MAX,
    }
}

/// What PM2 reads and then makes nothing of, where that is certain.
fn warn_ineffective(
    attribute: &Attribute,
    key: &str,
    value: &Value,
    path: &dyn Fn() -> DocumentPath,
    findings: &mut Findings,
) {
    if attribute.name == "username" {
        findings.warning(
            &path(),
            Place::Key,
            "PM2 overwrites this with the name of the user it runs as",
            Some("to run the app as another user set `uid`".to_owned()),
        );
    } else if value.as_f64() == Some(0.0)
        && let Some(note) = attribute.zero_note()
        // Under an alias PM2's command line keeps it.
        && (attribute.name != "max_restarts" || key == attribute.name)
    {
        findings.warning(&path(), Place::Value, note, None);
    } else if attribute.is_timer() && value.as_f64().is_some_and(|ms| ms > LONGEST_TIMER_MS) {
        findings.warning(
            &path(),
            Place::Value,
            "PM2 waits 1 ms instead: its timers hold at most 2147483647 ms, which is 24 days",
            None,
        );
    } else if attribute.name == "port"
        && value.as_u64().is_none_or(|port| port > u64::from(u16::MAX))
    {
        let message = "no port has this number: they are whole and end at 65535";
        findings.warning(&path(), Place::Value, message, None);
    } else if attribute.name == "stop_exit_codes" {
        let codes = value
            .as_array()
            .map_or(std::slice::from_ref(value), |all| all);
        if codes
            .iter()
            .any(|code| code.as_u64().is_some_and(|code| code > 255))
        {
            let message = "no process ends with such a code: they end at 255";
            findings.warning(&path(), Place::Value, message, None);
        }
    }
}

/// The longest time of a timer of Node, in milliseconds; a longer one is taken for 1 (Node 20, `lib/internal/timers.js`).
const LONGEST_TIMER_MS: f64 = 2_147_483_647.0;

/// PM2's daemon runs the workers of cluster mode itself, whatever the interpreter.
pub(super) fn warn_interpreter_of_cluster(
    app: &Map<String, Value>,
    values: &BTreeMap<&'static str, Value>,
    path: &DocumentPath,
    findings: &mut Findings,
) {
    let Some(interpreter) = values.get("exec_interpreter").and_then(Value::as_str) else {
        return;
    };
    if is_node_like(interpreter) || interpreter.is_empty() {
        return;
    }
    let key = attribute::by_own_name("exec_interpreter")
        .into_iter()
        .flat_map(Attribute::names)
        .find(|name| app.contains_key(name));
    findings.warning(
        &key.map_or_else(|| path.clone(), |key| path.key(key)),
        Place::Value,
        "has no effect in cluster mode: PM2 runs the script with its own node",
        Some("write `:exec_mode \"fork\"`".to_owned()),
    );
}

fn check_unknown(key: &str, value: &Value, path: &DocumentPath, findings: &mut Findings) {
    if key == POLICY_KEY {
        return;
    }
    if key.starts_with("env_") && key != "env_file" {
        if !value.is_object() && !value.is_null() {
            findings.error(
                path,
                Place::Value,
                format!("expected {}, got {}", Kind::Env.expects(), show(value)),
            );
        } else if let Some(env) = value.as_object() {
            check_env_keys(env, path, findings);
        }
        return;
    }
    let help = match (key, attribute::nearest(key)) {
        ("env_file", _) => {
            Some("PM2 reads no environment files: write the variables in `env`".to_owned())
        }
        (_, Some(near)) => Some(format!("did you mean `{near}`?")),
        _ if key.starts_with("env-") => {
            Some(format!("did you mean `{}`?", key.replacen('-', "_", 1)))
        }
        _ => None,
    };
    findings.warning(
        path,
        Place::Key,
        format!("unknown attribute `{key}`: PM2 ignores it"),
        help,
    );
}

pub(super) fn check_env_keys(
    env: &Map<String, Value>,
    path: &DocumentPath,
    findings: &mut Findings,
) {
    for (key, value) in env {
        if attribute::FATAL_KEYS.contains(&key.as_str()) {
            findings.error(
                &path.key(key),
                Place::Key,
                format!("PM2 would die of an environment variable named `{key}`"),
            );
        } else if attribute::is_record_key(key) {
            findings.push(
                Severity::Error,
                &path.key(key),
                Place::Key,
                format!("an environment variable named `{key}` would overwrite PM2's attribute of that name"),
                Some("rename the variable, or set the attribute itself".to_owned()),
            );
        } else if key.is_empty() || key.contains('=') {
            findings.error(
                &path.key(key),
                Place::Key,
                format!("`{key}` cannot be the name of an environment variable"),
            );
        } else if key == "PM2_HOME" {
            findings.warning(
                &path.key(key),
                Place::Key,
                "PM2 sets `PM2_HOME` itself, to its own home",
                None,
            );
        } else if value.is_null() {
            findings.warning(
                &path.key(key),
                Place::Value,
                "PM2 gives the process the text `null`",
                Some("leave the variable out, or write an empty string".to_owned()),
            );
        }
    }
}

/// Says what PM2 would take a name for.
pub(super) fn check_name(
    name: &str,
    app: &Map<String, Value>,
    path: &DocumentPath,
    findings: &mut Findings,
) {
    if let Some(trap) = names::trap(name).filter(|_| !name.is_empty()) {
        let name_path = if app.contains_key("name") {
            path.key("name")
        } else {
            path.clone()
        };
        findings.push(
            if trap.blocks {
                Severity::Error
            } else {
                Severity::Warning
            },
            &name_path,
            Place::Value,
            trap.message,
            Some("choose another name".to_owned()),
        );
    }
}

pub(super) fn read_policy(
    app: &Map<String, Value>,
    path: &DocumentPath,
    findings: &mut Findings,
) -> AppPolicy {
    let mut policy = AppPolicy::default();
    let Some(wishes) = app.get(POLICY_KEY).filter(|wishes| !wishes.is_null()) else {
        return policy;
    };
    let path = path.key(POLICY_KEY);
    let wishes = match wishes {
        Value::Object(wishes) => wishes,
        other => {
            findings.error(
                &path,
                Place::Value,
                format!("expected a map, got {}", show(other)),
            );
            return policy;
        }
    };
    for (key, value) in wishes {
        let place = path.key(key);
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("on-change", value) => match value.as_str() {
                Some("reload") => policy.on_change = Some(OnChange::Reload),
                Some("restart") => policy.on_change = Some(OnChange::Restart),
                Some("replace") => policy.on_change = Some(OnChange::Replace),
                Some("hold") => policy.on_change = Some(OnChange::Hold),
                _ => findings.error(
                    &place,
                    Place::Value,
                    format!(
                        "expected :reload, :restart, :replace or :hold, got {}",
                        show(value)
                    ),
                ),
            },
            ("protect", Value::Bool(protect)) => policy.protect = *protect,
            ("protect", value) => findings.error(
                &place,
                Place::Value,
                format!("expected true or false, got {}", show(value)),
            ),
            ("on-remove", value) => match value.as_str() {
                Some("delete") => policy.on_remove = Some(OnRemove::Delete),
                Some("stop") => policy.on_remove = Some(OnRemove::Stop),
                Some("keep") => policy.on_remove = Some(OnRemove::Keep),
                _ => findings.error(
                    &place,
                    Place::Value,
                    format!("expected :delete, :stop or :keep, got {}", show(value)),
                ),
            },
            _ => findings.push(
                Severity::Error,
                &place,
                Place::Key,
                format!("unknown key `{key}`"),
                Some("known keys are `on-change`, `on-remove` and `protect`".to_owned()),
            ),
        }
    }
    policy
}
