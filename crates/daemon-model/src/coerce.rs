//! Values as PM2 reads them: one canonical form for every spelling.
//!
//! Source: PM2 7.0.4, `lib/tools/Config.js` (`_valid`) and `lib/Common.js` (`verifyConfs`). Where PM2's
//! own reading loses a value (`max_restarts: 0`, `"0x10"` read as 0) or guesses (`instances: "two"` read
//! as one for each CPU), this is stricter or keeps what was written.

use serde_json::{Value, json};

use crate::attribute::{Attribute, Kind};

/// Why a value is not one of its attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) message: String,
}

/// Reads `value` as one of `attribute`. `None` is "as if absent".
pub(crate) fn coerce(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Unfit> {
    if value.is_null() {
        return Ok(None);
    }
    let unfit = || Unfit {
        message: format!("expected {}, got {}", attribute.expects(), show(value)),
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
            // The minimum holds before a unit is looked at: "50" is refused, "0s" is not.
            .filter(|n| has_unit(value) || n.as_f64().is_some_and(|n| n >= 100.0)),
        Kind::Instances => instances(value),
        Kind::ExecMode => value.as_str().and_then(|mode| {
            let mode = mode.strip_suffix("_mode").unwrap_or(mode);
            matches!(mode, "fork" | "cluster").then(|| json!(format!("{mode}_mode")))
        }),
        Kind::Cron => match value {
            // PM2 understands 0 as "no cron", and its command line then forgets to say so.
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
        return Err(unfit());
    };
    if let Some(n) = read.as_f64()
        && n < 0.0
        && attribute.kind != Kind::Instances
    {
        return Err(Unfit {
            message: format!("must not be negative, got {}", show(value)),
        });
    }
    Ok((!read.is_null()).then_some(read))
}

/// A value for a message: short, and no more of it than needed.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(_) => "a vector".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        Value::String(text) if text.chars().count() > 40 => {
            let start: String = text.chars().take(37).collect();
            format!("{:?}", start + "...")
        }
        other => other.to_string(),
    }
}

/// A number, or text that is wholly a decimal number, as JavaScript would print it back.
fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(integral(value.as_f64()?, value)),
        Value::String(text) => {
            let text = text.trim();
            let plain = !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'));
            let n: f64 = text.parse().ok().filter(|n: &f64| plain && n.is_finite())?;
            Some(integral(n, &json!(n)))
        }
        _ => None,
    }
}

fn integral(n: f64, otherwise: &Value) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be integral and below 2^53"
    )]
    if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 {
        json!(n as i64)
    } else {
        otherwise.clone()
    }
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
        return n.is_finite().then(|| integral(n, &json!(n)));
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

/// Words of a list, or of text split as PM2 7 splits it.
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

/// Splits at white space outside quotes: `k="a b"` and `k='a b'` stay one word with their quotes, a word
/// wholly in quotes loses them, empty words vanish.
///
/// Source: PM2 7.0.4, `lib/tools/Config.js`, whose pattern tries in this order: `key="..."`, `key='...'`,
/// `"..."`, `'...'`, a run without white space.
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
    // PM2 reads a list of one as the number itself, and an empty list as nothing.
    Some(match <[Value; 1]>::try_from(items) {
        Ok([one]) => one,
        Err(items) if items.is_empty() => Value::Null,
        Err(items) => Value::Array(items),
    })
}

/// Whether PM2 takes `text` for a cron pattern: five or six fields. A pattern that its parser rejects is
/// refused by PM2's command line, and would end the PM2 daemon if it got that far.
///
/// Source: `croner` 4.1.97, the parser that PM2 7.0.4 uses, tried with patterns of each form; it knows no
/// nicknames such as `@daily`, and `L` only as the whole field of the day of the month. A list takes plain values
/// only. Steps from a value begin at that place of its array, without regard to where the field begins to count:
/// from the 31st day there is no place left, and it searches for a day for ever.
#[must_use]
pub fn is_cron_pattern(text: &str) -> bool {
    // What counts as white space differs outside of ASCII.
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
            // Only the first `?` of a field is replaced by the time now.
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

/// An environment variable's value as the process will see it: JavaScript's text of a scalar, JSON of the rest.
///
/// Source: PM2 7.0.4, `lib/Common.js`, `mergeEnvironmentVariables`.
pub(crate) fn env_value(value: &Value) -> Value {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => json!(json_text(value)),
        scalar => scalar.clone(),
    }
}

/// The text of an environment variable's value, as a process sees it.
#[must_use]
pub fn env_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => json_text(other),
    }
}

/// A value as JavaScript writes it as JSON: `1` for `1.0`, and keys that are numbers before all others.
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
            // Stable: the others stay in the order they were written in.
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

/// Drops what equals PM2's default, so that a default written out is the same as none.
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

/// A value of PM2's record in canonical form; none when it is the default, and as it is when it does not fit. What is in
/// canonical form already stays so.
pub(crate) fn canonical(attribute: &Attribute, value: &Value) -> Option<Value> {
    match coerce(attribute, value) {
        Ok(Some(value)) => drop_default(attribute, value),
        Ok(None) => None,
        Err(_) => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::find;

    fn read(name: &str, value: Value) -> Result<Option<Value>, String> {
        coerce(find(name).unwrap(), &value).map_err(|unfit| unfit.message)
    }

    #[test]
    fn numbers_print_as_in_javascript() {
        for (number, text) in [
            (10.0, "10"),
            (-0.0, "0"),
            (1e21, "1e+21"),
            (123e18, "123000000000000000000"),
            (1.5e-7, "1.5e-7"),
            (0.000_001, "0.000001"),
            (-2.5, "-2.5"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(js_number(number), text);
        }
    }

    #[test]
    fn spellings_of_one_value_are_one_value() {
        assert_eq!(
            read("max_memory_restart", json!("300M")),
            Ok(Some(json!(314_572_800)))
        );
        assert_eq!(
            read("max_memory_restart", json!("314572800")),
            Ok(Some(json!(314_572_800)))
        );
        assert_eq!(read("min_uptime", json!("10s")), Ok(Some(json!(10_000))));
        assert_eq!(read("kill_timeout", json!("300")), Ok(Some(json!(300))));
        assert_eq!(read("kill_timeout", json!(300.0)), Ok(Some(json!(300))));
        assert_eq!(
            read("exec_mode", json!("cluster")),
            Ok(Some(json!("cluster_mode")))
        );
        assert_eq!(read("instances", json!("max")), Ok(Some(json!(0))));
        assert_eq!(read("stop_exit_codes", json!([0])), Ok(Some(json!(0))));
        assert_eq!(
            read("args", json!(["--port", 3000, true])),
            Ok(Some(json!(["--port", "3000", "true"])))
        );
        assert_eq!(read("cron_restart", json!(0)), Ok(None));
    }

    #[test]
    fn a_process_sees_the_text_that_javascript_makes() {
        for (value, text) in [
            (json!(2.0), "2"),
            (json!(-0.0), "0"),
            (json!(-2.5), "-2.5"),
            (json!(1e21), "1e+21"),
            (json!(123e18), "123000000000000000000"),
            (json!(1.5e-7), "1.5e-7"),
            (json!(0.000_001), "0.000001"),
            (json!(9_007_199_254_740_993_i64), "9007199254740992"),
            (
                json!({ "b": 1.0, "2": [null, true], "1": "x" }),
                r#"{"1":"x","2":[null,true],"b":1}"#,
            ),
        ] {
            assert_eq!(env_text(&value), text);
        }
    }

    #[test]
    fn the_canonical_form_is_its_own() {
        let values = [
            json!(true),
            json!(false),
            json!(0),
            json!(1.0),
            json!(-3),
            json!(1e300),
            json!(""),
            json!("0"),
            json!("0s"),
            json!("7"),
            json!("12K"),
            json!("5m"),
            json!("max"),
            json!("fork"),
            json!("-a \"b c\" 'd'"),
            json!("1 2 3 4 5"),
            json!(["a", 1, true]),
            json!([0]),
            json!([1, "2"]),
            json!([]),
            json!({ "b": 1.0, "a": null }),
        ];
        for attribute in crate::attribute::ATTRIBUTES {
            for value in &values {
                if let Some(once) = canonical(attribute, value) {
                    let twice = canonical(attribute, &once);
                    assert_eq!(twice.as_ref(), Some(&once), "{} {value}", attribute.name);
                }
            }
        }
    }

    #[test]
    fn zero_means_zero() {
        assert_eq!(read("max_restarts", json!(0)), Ok(Some(json!(0))));
    }

    #[test]
    fn words_are_split_as_pm2_splits_them() {
        assert_eq!(
            split_words(r#"-a "b c" --k="d e" --m='f g' "" 'h' i"j"#),
            ["-a", "b c", r#"--k="d e""#, "--m='f g'", "h", r#"i"j"#]
        );
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        assert_eq!(
            read("instances", json!("two")),
            Err("expected an integer or \"max\", got \"two\"".into())
        );
        for (name, value) in [
            ("args", json!([{}])),
            ("max_memory_restart", json!("300MB")),
            ("min_uptime", json!(5)),
            ("min_uptime", json!("50")),
            ("min_uptime", json!("10 s")),
            ("instances", json!(2.5)),
            ("instances", json!(100_000)),
            ("instances", json!("-1.5")),
            ("kill_timeout", json!("0x10")),
            ("kill_timeout", json!(-1)),
            ("autorestart", json!("yes")),
            ("env", json!("A=1")),
            ("cron_restart", json!("every day")),
            ("cron_restart", json!("60 * * * *")),
            ("cron_restart", json!("* * * *")),
            ("cron_restart", json!("@daily")),
            ("cron_restart", json!("5-1 * * * *")),
            ("cron_restart", json!("1-5,8 0 1 JAN-MAR 1")),
            ("cron_restart", json!("0 9,12-15 * * *")),
            ("cron_restart", json!("*/5,1 * * * *")),
            ("cron_restart", json!("0 0 31/2 * *")),
            ("cron_restart", json!("0 0 1 DEC/1 *")),
            ("cron_restart", json!("?,? * * * *")),
            ("cron_restart", json!("0\u{a0}0 * * * *")),
            ("cron_restart", json!("+1 * * * *")),
            ("cron_restart", json!("0 0 L,1 * *")),
        ] {
            assert!(read(name, value.clone()).is_err(), "{name} {value}");
        }
        for pattern in [
            "*/5 * * * *",
            "0 0 * * SUN",
            "0 30 4 L * ?",
            "1,8 0-4/2 1 JAN-MAR 1",
            "1/5 */24 * * 7",
        ] {
            assert!(read("cron_restart", json!(pattern)).is_ok(), "{pattern}");
        }
    }
}
