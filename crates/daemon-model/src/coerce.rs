//! Reads values as PM2 does, into one canonical form for all spellings.
//!
//! Source: PM2 7.0.4, `lib/tools/Config.js` (`_valid`) and `lib/Common.js` (`verifyConfs`). If PM2 would lose a value
//! (`max_restarts: 0`, `"0x10"` read as 0) or guess (`instances: "two"` read as one per CPU), this is stricter or keeps the written
//! value.

use serde_json::{Value, json};

use crate::attribute::{Attribute, Kind};
use crate::{Message, MessagePart, message};

/// Why a value does not fit its attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoerceError {
    pub(crate) message: Message,
}

/// Reads `value` for `attribute`. `None` means "as if absent".
pub(crate) fn coerce(attribute: &Attribute, value: &Value) -> Result<Option<Value>, CoerceError> {
    if value.is_null() {
        return Ok(None);
    }
    let refuse = || CoerceError {
        message: message!("expected {}, got {}", attribute.expects(), Shown(value)),
    };
    let read = match attribute.kind {
        Kind::Bool => value.is_boolean().then(|| value.clone()),
        Kind::Text => value.is_string().then(|| value.clone()),
        Kind::BoolOrText => (value.is_boolean() || value.is_string()).then(|| value.clone()),
        Kind::Number => number(value),
        Kind::Words => words(value),
        Kind::List => words(value),
        Kind::BoolTextOrList => match value {
            Value::Array(items) => items.iter().all(Value::is_string).then(|| value.clone()),
            Value::Bool(_) | Value::String(_) => Some(value.clone()),
            _ => None,
        },
        Kind::Memory => sized(
            value,
            &[('K', 1024.0), ('M', 1_048_576.0), ('G', 1_073_741_824.0)],
        ),
        Kind::Duration => sized(value, &[('s', 1000.0), ('m', 60_000.0), ('h', 3_600_000.0)])
            // The minimum applies before the unit is read: "50" is refused, "0s" is not.
            .filter(|n| has_unit(value) || n.as_f64().is_some_and(|n| n >= 100.0)),
        Kind::Instances => instances(value),
        Kind::ExecMode => value.as_str().and_then(|mode| {
            let mode = mode.strip_suffix("_mode").unwrap_or(mode);
            matches!(mode, "fork" | "cluster").then(|| json!(format!("{mode}_mode")))
        }),
        Kind::Cron => match value {
            // PM2 reads 0 as "no cron", but its command line then drops it.
            Value::Number(n) => (n.as_f64() == Some(0.0)).then(|| Value::Null),
            Value::String(text) if text.trim() == "0" => Some(Value::Null),
            Value::String(text) => is_cron_pattern(text).then(|| value.clone()),
            _ => None,
        },
        Kind::ExitCodes => exit_codes(value),
        Kind::Account => match value {
            Value::Number(n) => n
                .as_u64()
                .filter(|n| *n <= u64::from(u32::MAX))
                .map(|n| json!(n)),
            Value::String(text) if !text.is_empty() => Some(
                text.parse::<u32>()
                    .map_or_else(|_| value.clone(), |n| json!(n)),
            ),
            _ => None,
        },
        Kind::Env | Kind::Map => value.is_object().then(|| value.clone()),
    };
    let Some(read) = read else {
        return Err(refuse());
    };
    if let Some(n) = read.as_f64()
        && n < 0.0
        && attribute.kind != Kind::Instances
    {
        return Err(CoerceError {
            message: message!("must not be negative, got {}", Shown(value)),
        });
    }
    Ok((!read.is_null()).then_some(read))
}

/// A value in a message, shortened.
pub(crate) struct Shown<'v>(pub(crate) &'v Value);

impl MessagePart for Shown<'_> {
    fn write(&self, out: &mut String, redacted: bool) {
        let start: String;
        out.push_str(match self.0 {
            Value::Null => "nil",
            Value::Array(_) => "a vector",
            Value::Object(_) => "a map",
            Value::String(_) if redacted => "a string",
            Value::Number(_) if redacted => "a number",
            Value::Bool(_) if redacted => "true or false",
            Value::String(text) if text.chars().count() > 40 => {
                start = format!("{:?}", text.chars().take(37).collect::<String>() + "...");
                &start
            }
            other => {
                start = other.to_string();
                &start
            }
        });
    }
}

/// A number, or text that is entirely a decimal number, as JavaScript would print it.
fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(json_number(value.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            let plain = !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'));
            let n: f64 = text.parse().ok().filter(|n: &f64| plain && n.is_finite())?;
            Some(json_number(n))
        }
        _ => None,
    }
}

/// A double as a JSON number: whole ones below 2^53 as integers, as JavaScript writes them. NaN and infinities become null.
#[must_use]
pub fn json_number(n: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and below 2^53"
    )]
    if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 {
        return json!(n as i64);
    }
    json!(n)
}

fn has_unit(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.ends_with(|c: char| c.is_ascii_alphabetic()))
}

fn sized(value: &Value, units: &[(char, f64)]) -> Option<Value> {
    if let Some(text) = value.as_str()
        && let Some((unit, factor)) = units.iter().find(|(unit, _)| text.ends_with(*unit))
    {
        let digits = text.strip_suffix(*unit)?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let n = digits.parse::<f64>().ok()? * factor;
        return n.is_finite().then(|| json_number(n));
    }
    if let Some(text) = value.as_str()
        && !text.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    number(value)
}

fn instances(value: &Value) -> Option<Value> {
    if value.as_str() == Some("max") {
        return Some(json!(0));
    }
    let n = number(value)?;
    n.as_i64()
        .filter(|n| (-4096..=4096).contains(n))
        .map(|n| json!(n))
}

/// Words of a list, or of text that is split as PM2 7 does.
fn words(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(json!(split_words(text))),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(_) => Some(item.clone()),
                Value::Number(_) | Value::Bool(_) => Some(json!(item.to_string())),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Value::Array),
        _ => None,
    }
}

/// Splits at whitespace outside of quotes: `k="a b"` and `k='a b'` stay one word with their quotes, a fully quoted word loses its
/// quotes, and empty words vanish.
///
/// Source: PM2 7.0.4, `lib/tools/Config.js`, whose pattern tries in this order: `key="..."`, `key='...'`, `"..."`, `'...'`, a run
/// without whitespace.
fn split_words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if chars[at].is_whitespace() {
            at += 1;
            continue;
        }
        let end = assignment(&chars, at)
            .or_else(|| quoted(&chars, at))
            .unwrap_or_else(|| run(&chars, at));
        let word: String = chars[at..end].iter().collect();
        let word = ['"', '\'']
            .iter()
            .find_map(|&quote| word.strip_prefix(quote)?.strip_suffix(quote))
            .map_or_else(|| word.clone(), ToOwned::to_owned);
        if !word.trim().is_empty() {
            out.push(word);
        }
        at = end;
    }
    out
}

fn run(chars: &[char], start: usize) -> usize {
    chars[start..]
        .iter()
        .position(|c| c.is_whitespace())
        .map_or(chars.len(), |n| start + n)
}

fn quoted(chars: &[char], start: usize) -> Option<usize> {
    let quote = *chars.get(start).filter(|c| matches!(c, '"' | '\''))?;
    let close = chars[start + 1..].iter().position(|c| *c == quote)?;
    Some(start + close + 2)
}

fn assignment(chars: &[char], start: usize) -> Option<usize> {
    let key = chars[start..]
        .iter()
        .position(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '='))?;
    if key == 0 || chars.get(start + key) != Some(&'=') {
        return None;
    }
    quoted(chars, start + key + 1)
}

fn exit_codes(value: &Value) -> Option<Value> {
    let items = match value {
        Value::Array(items) => items
            .iter()
            .map(|item| number(item).filter(Value::is_i64))
            .collect::<Option<Vec<_>>>()?,
        other => vec![number(other).filter(Value::is_i64)?],
    };
    // PM2 reads a list of one as the number itself, and an empty list as absent.
    Some(match <[Value; 1]>::try_from(items) {
        Ok([one]) => one,
        Err(items) if items.is_empty() => Value::Null,
        Err(items) => Value::Array(items),
    })
}

/// Whether PM2 accepts `text` as a cron pattern: five or six fields. PM2's command line refuses a pattern that its parser rejects;
/// if the pattern reached the daemon, it would crash it.
///
/// Source: `croner` 4.1.97, the parser that PM2 7.0.4 uses, tested with patterns of each form. It supports no nicknames such as
/// `@daily`, and `L` only as the whole day-of-month field. A list may only contain plain values. Steps from a value start at that
/// index of its array, ignoring the offset of the field: from the 31st day there is no index left, and the search for a day never
/// ends.
#[must_use]
pub fn is_cron_pattern(text: &str) -> bool {
    // The definition of whitespace differs outside of ASCII.
    if !text.is_ascii() {
        return false;
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let optional_seconds = match fields.len() {
        5 => 1,
        6 => 0,
        _ => return false,
    };
    fields
        .iter()
        .zip(&CRON_FIELDS[optional_seconds..])
        .all(|(text, field)| {
            let is_list = text.contains(',');
            // Only the first `?` of a field is replaced by the current time.
            (field.last_day && *text == "L")
                || text.matches('?').count() < 2
                    && !(is_list && text.contains(['-', '/']))
                    && text.split(',').all(|part| cron_part(part, field))
        })
}

struct CronField {
    low: u32,
    high: u32,
    most_steps: u32,
    names: &'static [&'static str],
    last_day: bool,
}

const CRON_FIELDS: [CronField; 6] = [
    cron_field(0, 59, 60, &[]),
    cron_field(0, 59, 60, &[]),
    cron_field(0, 23, 24, &[]),
    CronField {
        last_day: true,
        ..cron_field(1, 31, 31, &[])
    },
    cron_field(
        1,
        12,
        12,
        &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    ),
    cron_field(0, 7, 8, &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]),
];

const fn cron_field(
    low: u32,
    high: u32,
    most_steps: u32,
    names: &'static [&'static str],
) -> CronField {
    CronField {
        low,
        high,
        most_steps,
        names,
        last_day: false,
    }
}

fn cron_part(part: &str, field: &CronField) -> bool {
    let (base, step) = match part.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (part, None),
    };
    if let Some(step) = step
        && !step
            .parse::<u32>()
            .is_ok_and(|step| (1..=field.most_steps).contains(&step))
    {
        return false;
    }
    let value = |text: &str| -> Option<u32> {
        let named = field.names.iter().zip(field.low..);
        if let Some((_, at)) = named
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
        {
            return Some(at);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let n = text.parse::<u32>().ok().filter(|_| digits)?;
        (field.low..=field.high).contains(&n).then_some(n)
    };
    match base.split_once('-') {
        Some((from, to)) => matches!((value(from), value(to)), (Some(a), Some(b)) if a <= b),
        None if base == "*" => true,
        None if base == "?" => step.is_none(),
        None => value(base).is_some_and(|from| step.is_none() || from < field.most_steps),
    }
}

/// An environment variable's value as the process will see it: a scalar as JavaScript prints it, anything else as JSON.
///
/// Source: PM2 7.0.4, `lib/Common.js`, `mergeEnvironmentVariables`.
pub(crate) fn env_value(value: &Value) -> Value {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => json!(json_text(value)),
        scalar => scalar.clone(),
    }
}

/// The text of an environment variable's value as a process sees it.
#[must_use]
pub fn env_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => json_text(other),
    }
}

/// A value as JavaScript prints it as JSON: `1` for `1.0`, and numeric keys before all others.
///
/// Source: ECMAScript, `Number::toString`, `OrdinaryOwnPropertyKeys`.
fn json_text(value: &Value) -> String {
    match value {
        Value::Number(n) => n.as_f64().map_or_else(|| n.to_string(), js_number),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(json_text).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            // Stable: the others keep the order in which they were written.
            fields.sort_by_key(|(key, _)| array_index(key).map_or(u64::MAX, u64::from));
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(key, value)| format!("{}:{}", json!(key), json_text(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        scalar => scalar.to_string(),
    }
}

fn array_index(key: &str) -> Option<u32> {
    key.parse()
        .ok()
        .filter(|n: &u32| *n < u32::MAX && n.to_string() == key)
}

/// A double as JavaScript prints it.
///
/// Source: ECMAScript, `Number::toString`.
pub fn js_number(n: f64) -> String {
    if n == 0.0 {
        return "0".to_owned();
    }
    if (1e-6..1e21).contains(&n.abs()) {
        return n.to_string();
    }
    let text = format!("{n:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

/// Drops a value that equals PM2's default, so that writing out a default makes no difference.
pub(crate) fn drop_default(attribute: &Attribute, value: Value) -> Option<Value> {
    if attribute.is_default(&value) {
        return None;
    }
    match &value {
        Value::Array(items) if items.is_empty() => None,
        Value::String(text) if text.is_empty() => None,
        _ => Some(value),
    }
}

/// A value of PM2's record in canonical form; none if it is the default, and unchanged if it does not fit. Idempotent.
pub(crate) fn canonical(attribute: &Attribute, value: &Value) -> Option<Value> {
    match coerce(attribute, value) {
        Ok(Some(value)) => drop_default(attribute, value),
        Ok(None) => None,
        Err(_) => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests;
