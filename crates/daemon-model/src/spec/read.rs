//! Reads the map of an app into attribute values, with findings about what PM2 would misread or lose.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{AppPolicy, OnChange, POLICY_KEY, rollout, traps};
use crate::attribute::{self, Attribute, Kind, Role};
use crate::coerce::{Shown, coerce};
use crate::finding::{DocumentPath, Finding, FindingLabel, Place};
use crate::names;
use crate::nearest::{letters, nearest_name};
use crate::survival;
use crate::values::{ENV_FILE_KEY, INTERPOLATE_KEY};
use crate::{Level, Message, OnRemove, Ours, Quoted, Severity, message};

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
        message: Message,
        help: Option<Message>,
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

    /// Adds a label to the last finding.
    pub(super) fn label(&mut self, path: DocumentPath, place: Place, message: &'static str) {
        if let Some(last) = self.list.last_mut() {
            last.labels.push(FindingLabel {
                path,
                place,
                message,
            });
        }
    }

    /// Whether the value of an attribute was rejected, so that it does not count as absent.
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

    pub(super) fn error(&mut self, path: &DocumentPath, place: Place, message: impl Into<Message>) {
        self.push(Severity::Error, path, place, message.into(), None);
    }

    pub(super) fn error_with_help(
        &mut self,
        path: &DocumentPath,
        place: Place,
        message: impl Into<Message>,
        help: impl Into<Message>,
    ) {
        let help = Some(help.into());
        self.push(Severity::Error, path, place, message.into(), help);
    }

    pub(super) fn warning(
        &mut self,
        path: &DocumentPath,
        place: Place,
        message: impl Into<Message>,
        help: Option<Message>,
    ) {
        self.push(Severity::Warning, path, place, message.into(), help);
    }
}

pub(super) fn read_attributes(
    app: &Map<String, Value>,
    path: &DocumentPath,
    env_name: Option<&str>,
    interpolates: bool,
    findings: &mut Findings,
) -> BTreeMap<&'static str, Value> {
    let mut values = BTreeMap::new();
    // Each attribute that was read, under which key, and the rank of that spelling. There are only a few.
    let mut read_from: Vec<(&str, &str, usize)> = Vec::with_capacity(app.len().min(64));
    for (key, value) in app {
        // Most entries have no problems, and do not need their path.
        let place = || path.key(key);
        if names::has_nul(key, value)
            && let Some(zero) = names::find_nul(key, value, &place())
        {
            findings.error(
                &zero,
                Place::Value,
                "contains U+0000, which cannot be passed to a process",
            );
            continue;
        }
        let Some(attribute) = attribute::find(key) else {
            check_unknown(key, value, &place(), (env_name, interpolates), findings);
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
                message!(
                    "`{}` and `{}` are the same attribute",
                    Quoted(key),
                    Quoted(other)
                ),
                Some(message!("keep `{}` only", attribute.name)),
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
        if attribute.role == Role::Inert {
            // PM2 overwrites it in any case.
            warn_ineffective(attribute, key, value, &place, findings);
            continue;
        }
        match coerce(attribute, value) {
            Ok(Some(read)) => {
                // Variables are compared by name; their values become text.
                if attribute.kind != Kind::Env
                    && names::has_fatal_key(&read)
                    && let Some(fatal) = names::find_fatal_key(&read, &place())
                {
                    findings.error(&fatal, Place::Key, "a key of this name would crash PM2");
                }
                if let Some(requirement) = survival::requirement(attribute.name, &read) {
                    findings.error(
                        &place(),
                        Place::Value,
                        message!("this would crash PM2; expected {}", requirement),
                    );
                }
                warn_ineffective(attribute, key, &read, &place, findings);
                values.insert(attribute.name, read);
            }
            Ok(None) => {
                values.remove(attribute.name);
            }
            Err(_) if is_falsy(value) && attribute.is_unset_by_falsy(key) => {
                if value.is_number()
                    && let Some(note) = attribute.zero_note()
                {
                    findings.warning(&place(), Place::Value, note, None);
                }
                values.remove(attribute.name);
            }
            Err(unfit) => findings.error(&place(), Place::Value, unfit.message),
        }
    }
    values
}

/// Whether a value is falsy in JavaScript.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// The rank of a spelling; the lowest counts. PM2 looks for the attribute's own name, then for its aliases from last to first, then
/// for the camel case form.
///
/// Source: PM2 7.0.4, `lib/tools/Config.js` (`schema`); for the script also `lib/Common.js` (`verifyConfs`), which looks for `cmd`
/// and `command` first.
fn rank(attribute: &Attribute, key: &str) -> usize {
    let aliases = attribute.aliases;
    match aliases.iter().position(|alias| *alias == key) {
        Some(at) => aliases.len() - at,
        None if key == attribute.name => 0,
        None => usize::MAX,
    }
}

/// Warns of values that PM2 reads but certainly ignores.
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
            Some("to run the app as another user, set `uid`".into()),
        );
    } else if value.as_f64() == Some(0.0)
        && let Some(note) = attribute.zero_note()
        // Under an alias, PM2's command line keeps it.
        && (attribute.name != "max_restarts" || key == attribute.name)
    {
        findings.warning(&path(), Place::Value, note, None);
    } else if attribute.is_timer() && value.as_f64().is_some_and(|ms| ms > LONGEST_TIMER_MS) {
        findings.warning(
            &path(),
            Place::Value,
            "PM2 waits 1 ms instead: its timers allow at most 2147483647 ms, which is 24 days",
            None,
        );
    } else if attribute.name == "port"
        && value.as_u64().is_none_or(|port| port > u64::from(u16::MAX))
    {
        let message = "not a port: expected a whole number up to 65535";
        findings.warning(&path(), Place::Value, message, None);
    } else if attribute.name == "stop_exit_codes" {
        let codes = value
            .as_array()
            .map_or(std::slice::from_ref(value), |all| all);
        if codes
            .iter()
            .any(|code| code.as_u64().is_some_and(|code| code > 255))
        {
            let message = "not an exit code: expected at most 255";
            findings.warning(&path(), Place::Value, message, None);
        }
    }
}

/// The longest delay of a Node timer, in milliseconds; a longer one becomes 1 (Node 20, `lib/internal/timers.js`).
const LONGEST_TIMER_MS: f64 = 2_147_483_647.0;

/// Checks an `env_NAME` block. PM2 accepts text there, and ignores it unless it is selected with `--env`.
///
/// Source: PM2 7.0.4, `lib/API/schema.json` (`^env_\\S*$`: object, string), `lib/Common.js`, `mergeEnvironmentVariables`.
fn check_env_block(
    key: &str,
    value: &Value,
    path: &DocumentPath,
    (env_name, interpolates): (Option<&str>, bool),
    findings: &mut Findings,
) {
    let is_chosen = key.strip_prefix("env_") == env_name;
    match value {
        Value::Null => {}
        Value::Object(env) => check_env_keys(env, path, interpolates, findings),
        Value::String(_) if !is_chosen => findings.warning(
            path,
            Place::Value,
            "an `env_NAME` must be a map of environment variables: PM2 ignores this one",
            Some("write variables in `:env`, or make it a map that `--env` can select".into()),
        ),
        other => findings.error(
            path,
            Place::Value,
            message!("expected {}, got {}", Kind::Env.expects(), Shown(other)),
        ),
    }
}

fn check_unknown(
    key: &str,
    value: &Value,
    path: &DocumentPath,
    variant: (Option<&str>, bool),
    findings: &mut Findings,
) {
    if key == POLICY_KEY || key == ENV_FILE_KEY || rollout::key(key).is_some() {
        return;
    }
    if key.starts_with("env_") {
        check_env_block(key, value, path, variant, findings);
        return;
    }
    let near = rollout::nearest(key).map(ToOwned::to_owned);
    let near = near
        .or_else(|| (letters(key) == letters(ENV_FILE_KEY)).then(|| ENV_FILE_KEY.to_owned()))
        .or_else(|| attribute::nearest(key))
        .or_else(|| nearest_name(key, [ENV_FILE_KEY]).map(ToOwned::to_owned));
    let help = match near {
        Some(near) if near == key.replace('-', "_") => {
            Some(message!("write `{}`, with `_` in place of `-`", Ours(near)))
        }
        Some(near) => Some(message!("did you mean `{}`?", Ours(near))),
        _ if key.starts_with("env-") => Some(message!(
            "write `{}`, with `_` in place of `-`",
            Quoted(key.replacen('-', "_", 1))
        )),
        _ => None,
    };
    findings.warning(
        path,
        Place::Key,
        message!("unknown attribute `{}`: PM2 ignores it", Quoted(key)),
        help,
    );
}

pub(super) fn check_env_keys(
    env: &Map<String, Value>,
    path: &DocumentPath,
    interpolates: bool,
    findings: &mut Findings,
) {
    for (key, value) in env {
        if attribute::FATAL_KEYS.contains(&key.as_str()) {
            findings.error(
                &path.key(key),
                Place::Key,
                message!(
                    "an environment variable named `{}` would crash PM2",
                    Quoted(key)
                ),
            );
        } else if attribute::is_record_key(key) {
            findings.push(
                Severity::Error,
                &path.key(key),
                Place::Key,
                message!(
                    "an environment variable named `{}` would overwrite PM2's attribute of that name",
                    Quoted(key)
                ),
                Some("rename the variable, or set the attribute itself".into()),
            );
        } else if key.is_empty() || key.contains('=') {
            findings.error(
                &path.key(key),
                Place::Key,
                message!(
                    "`{}` cannot be the name of an environment variable",
                    Quoted(key)
                ),
            );
        } else if attribute::OVERWRITTEN_ENV.contains(&key.as_str()) {
            findings.warning(
                &path.key(key),
                Place::Key,
                "has no effect: PM2 sets this variable itself",
                None,
            );
        } else if value.is_null() {
            findings.warning(
                &path.key(key),
                Place::Value,
                "PM2 sets it to the text `null`",
                Some("leave the variable out, or write an empty string".into()),
            );
        } else if let Some(text) = value.as_str() {
            traps::check_reference(text, interpolates, || path.key(key), findings);
        }
    }
}

/// Reports how PM2 would misread a name.
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
            trap.message.into(),
            Some("choose another name".into()),
        );
    }
}

pub(super) fn read_policy(
    app: &Map<String, Value>,
    path: &DocumentPath,
    findings: &mut Findings,
) -> AppPolicy {
    let mut policy = AppPolicy::default();
    let Some(declared) = app.get(POLICY_KEY).filter(|declared| !declared.is_null()) else {
        return policy;
    };
    let path = path.key(POLICY_KEY);
    let declared = match declared {
        Value::Object(declared) => declared,
        other => {
            findings.error(
                &path,
                Place::Value,
                message!("expected a map, got {}", Shown(other)),
            );
            return policy;
        }
    };
    for (key, value) in declared {
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
                    message!(
                        "expected :reload, :restart, :replace or :hold, got {}",
                        Shown(value)
                    ),
                ),
            },
            ("protect", Value::Bool(protect)) => policy.protect = *protect,
            // It is read where values are resolved.
            (INTERPOLATE_KEY, Value::Bool(_)) => {}
            ("protect" | INTERPOLATE_KEY, value) => findings.error(
                &place,
                Place::Value,
                message!("expected true or false, got {}", Shown(value)),
            ),
            ("on-remove", value) => match value.as_str() {
                Some("delete") => policy.on_remove = Some(OnRemove::Delete),
                Some("stop") => policy.on_remove = Some(OnRemove::Stop),
                Some("keep") => policy.on_remove = Some(OnRemove::Keep),
                _ => findings.error(
                    &place,
                    Place::Value,
                    message!("expected :delete, :stop or :keep, got {}", Shown(value)),
                ),
            },
            (key, _) if rollout::POLICY_KEYS.contains(&key) => {}
            _ => {
                let message = message!("unknown key `{}`", Quoted(key));
                let help = policy_key_help(key);
                findings.error_with_help(&place, Place::Key, message, help);
            }
        }
    }
    policy
}

fn policy_key_help(key: &str) -> Message {
    let own = [INTERPOLATE_KEY, "on-change", "on-remove", "protect"];
    let mut known = [&own[..], &rollout::POLICY_KEYS].concat();
    known.sort_unstable();
    match nearest_name(key, known.iter().copied()) {
        Some(near) => message!("did you mean `{}`?", Ours(near)),
        None => message!("known keys are {}", Ours(rollout::list(&known))),
    }
}
