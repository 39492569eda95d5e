//! Reads the map of a probe into a [`Probe`].

mod handlers;

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::duration::{self, Unit};
use super::read::Findings;
use super::rollout::{list, snake};
use crate::coerce::Shown;
use crate::finding::{DocumentPath, Place};
use crate::nearest::nearest_name;
use crate::{Handler, Message, Ours, Probe, ProbeKind, Quoted, message};

const PROBE_KEYS: [&str; 8] = [
    "http_get",
    "tcp_socket",
    "exec",
    "initial_delay",
    "period",
    "timeout",
    "success_threshold",
    "failure_threshold",
];
const HANDLERS: [&str; 3] = ["http_get", "tcp_socket", "exec"];
const HTTP_KEYS: [&str; 8] = [
    "url",
    "scheme",
    "host",
    "port",
    "path",
    "headers",
    "timeout",
    "failure_threshold",
];
const TCP_KEYS: [&str; 4] = ["host", "port", "timeout", "failure_threshold"];
const EXEC_KEYS: [&str; 3] = ["command", "timeout", "failure_threshold"];
/// Settings of a probe that may also be inside its handler.
const SHARED_KEYS: [&str; 2] = ["timeout", "failure_threshold"];

/// Other spellings of the keys above.
const OTHER_SPELLINGS: [&str; 5] = [
    "initial_delay_seconds",
    "period_seconds",
    "timeout_seconds",
    "retries",
    "http_headers",
];

/// An entry of a map.
struct Field<'v> {
    /// The setting, independent of how the key is spelled.
    name: &'static str,
    written: &'v str,
    value: &'v Value,
    unit: Unit,
    place: DocumentPath,
}

/// Reads one probe. Without a usable handler, adds a finding and returns none.
pub(super) fn read(
    kind: ProbeKind,
    value: &Value,
    place: &DocumentPath,
    has_variable: &dyn Fn(&str) -> bool,
    findings: &mut Findings,
) -> Option<Probe> {
    let mut reader = Reader {
        has_variable,
        findings,
    };
    let mut fields = reader.fields(value, place, &PROBE_KEYS)?;
    let handler = reader.handler(&mut fields, place);
    let is_usable = handler.is_some();
    // Without a usable handler, the settings are still checked.
    let nothing = || Handler::Exec {
        command: Vec::new(),
    };
    let mut probe = Probe::new(kind, handler.unwrap_or_else(nothing));
    for field in &fields {
        reader.setting(field, &mut probe);
    }
    is_usable.then_some(probe)
}

/// Refuses a duration of zero.
pub(super) fn not_zero(duration: Duration) -> Result<Duration, Message> {
    match duration.is_zero() {
        true => Err("must be longer than 0".into()),
        false => Ok(duration),
    }
}

struct Reader<'a> {
    has_variable: &'a dyn Fn(&str) -> bool,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn error(&mut self, place: &DocumentPath, message: impl Into<Message>) {
        self.findings.error(place, Place::Value, message);
    }

    /// The entries of a map, which must have these keys.
    fn fields<'v>(
        &mut self,
        value: &'v Value,
        place: &DocumentPath,
        known: &[&'static str],
    ) -> Option<Vec<Field<'v>>> {
        let Some(map) = value.as_object() else {
            self.error(place, message!("expected a map, got {}", Shown(value)));
            return None;
        };
        let mut fields = Vec::with_capacity(map.len());
        for (written, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let place = place.key(written);
            let (name, unit) = setting_of(written);
            match known.iter().find(|known| **known == name) {
                Some(name) => fields.push(Field {
                    name,
                    written,
                    value,
                    unit,
                    place,
                }),
                None => {
                    let others = OTHER_SPELLINGS.into_iter();
                    let others = others.filter(|key| known.contains(&setting_of(key).0.as_str()));
                    let keys: Vec<&str> = known.iter().copied().chain(others).collect();
                    let help = match nearest_name(written, keys) {
                        Some(near) => message!("did you mean `{}`?", Ours(near)),
                        None => message!("known keys are {}", Ours(list(known))),
                    };
                    let message = message!("unknown key `{}`", Quoted(written));
                    self.findings
                        .error_with_help(&place, Place::Key, message, help);
                }
            }
        }
        self.reject_twice(&mut fields);
        Some(fields)
    }

    /// Reports fields whose name occurs twice, and keeps only the first.
    fn reject_twice(&mut self, fields: &mut Vec<Field<'_>>) {
        let mut kept: Vec<Field<'_>> = Vec::with_capacity(fields.len());
        for field in fields.drain(..) {
            match kept.iter().find(|known| known.name == field.name) {
                Some(known) => {
                    let message = message!(
                        "`{}` and `{}` are the same setting",
                        Quoted(field.written),
                        Quoted(known.written)
                    );
                    self.findings.error(&field.place, Place::Key, message);
                    self.findings
                        .label(known.place.clone(), Place::Key, "first defined here");
                }
                None => kept.push(field),
            }
        }
        *fields = kept;
    }

    /// Takes the only handler out of the fields of a probe, and adds the settings inside of it.
    fn handler<'v>(
        &mut self,
        fields: &mut Vec<Field<'v>>,
        place: &DocumentPath,
    ) -> Option<Handler> {
        let is_handler = |field: &mut Field<'_>| HANDLERS.contains(&field.name);
        let mut handlers = fields
            .extract_if(.., is_handler)
            .collect::<Vec<_>>()
            .into_iter();
        let handler = handlers.next();
        let Some(handler) = handler else {
            let message = "has no handler";
            let help = "add one of `:http_get`, `:tcp_socket` and `:exec`";
            self.findings
                .error_with_help(place, Place::Value, message, help);
            return None;
        };
        for second in handlers {
            self.findings.error(
                &second.place,
                Place::Key,
                "a probe can have only one handler",
            );
            self.findings
                .label(handler.place.clone(), Place::Key, "first defined here");
        }
        let known: &[&str] = match handler.name {
            "http_get" => &HTTP_KEYS,
            "tcp_socket" => &TCP_KEYS,
            _ => &EXEC_KEYS,
        };
        let mut own = self.fields(handler.value, &handler.place, known)?;
        fields.extend(own.extract_if(.., |field| SHARED_KEYS.contains(&field.name)));
        self.reject_twice(fields);
        match handler.name {
            "http_get" => self.http_get(&own, &handler.place),
            "tcp_socket" => self.tcp_socket(&own, &handler.place),
            _ => self.exec(&own, &handler.place),
        }
    }

    /// Reads a setting other than the handler.
    fn setting(&mut self, field: &Field<'_>, probe: &mut Probe) {
        let read = match field.name {
            "success_threshold" => {
                threshold(field.value).map(|read| probe.success_threshold = read)
            }
            "failure_threshold" => {
                threshold(field.value).map(|read| probe.failure_threshold = read)
            }
            "initial_delay" => {
                duration::read(field.value, field.unit).map(|read| probe.initial_delay = read)
            }
            name => duration::read(field.value, field.unit)
                .and_then(not_zero)
                .map(|read| match name {
                    "period" => probe.period = read,
                    _ => probe.timeout = read,
                }),
        };
        if let Err(message) = read {
            self.error(&field.place, message);
            return;
        }
        // The author of such a number probably meant seconds.
        if field.unit == Unit::Milliseconds
            && field.name != "success_threshold"
            && field.name != "failure_threshold"
            && let Some(count) = field.value.as_u64().filter(|count| (1..50).contains(count))
        {
            let message = message!(
                "a number without a unit is in milliseconds: this is {} ms",
                Quoted(count)
            );
            let help = message!("write `\"{}s\"` for seconds", Quoted(count));
            self.findings
                .warning(&field.place, Place::Value, message, Some(help));
        }
    }
}

/// The setting for a key in any spelling, and the unit of a number there.
fn setting_of(key: &str) -> (String, Unit) {
    let name = snake(key);
    match name.strip_suffix("_seconds") {
        Some(name @ ("initial_delay" | "period" | "timeout")) => (name.to_owned(), Unit::Seconds),
        _ => {
            let name = match name.as_str() {
                "retries" => "failure_threshold".to_owned(),
                "http_headers" => "headers".to_owned(),
                _ => name,
            };
            (name, Unit::Milliseconds)
        }
    }
}

fn find<'f, 'v>(fields: &'f [Field<'v>], name: &str) -> Option<&'f Field<'v>> {
    fields.iter().find(|field| field.name == name)
}

fn threshold(value: &Value) -> Result<NonZeroU32, Message> {
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    let count = count.and_then(NonZeroU32::new);
    count.ok_or_else(|| message!("expected a whole number from 1, got {}", Shown(value)))
}
