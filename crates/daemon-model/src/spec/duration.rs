//! Durations of probes and rollouts.

use std::time::Duration;

use serde_json::Value;

use crate::coerce::Shown;
use crate::{Message, Ours, message};

/// The unit of a number without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

/// The longest allowed duration for probes and rollouts.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration, or returns what is wrong with it.
pub(super) fn read(value: &Value, unit: Unit) -> Result<Duration, Message> {
    let unfit = || {
        let expected = match unit {
            Unit::Milliseconds => r#"a number of milliseconds, or "500ms", "10s", "2m""#,
            Unit::Seconds => "a number of seconds",
        };
        message!("expected {}, got {}", expected, Shown(value))
    };
    let duration = match value {
        Value::String(text) => from_text(text, unit),
        Value::Number(number) => number.as_f64().and_then(|count| from_number(count, unit)),
        _ => None,
    };
    match duration {
        Some(duration) if duration > LONGEST => {
            Err(message!("must be at most 24 hours, got {}", Shown(value)))
        }
        Some(duration) => Ok(duration),
        None => Err(unfit()),
    }
}

/// A duration in a message.
pub(super) fn shown(duration: Duration) -> Ours<String> {
    let milliseconds = duration.as_millis();
    Ours(match milliseconds % 1000 {
        0 => format!("{} s", milliseconds / 1000),
        _ => format!("{milliseconds} ms"),
    })
}

fn from_number(count: f64, unit: Unit) -> Option<Duration> {
    match unit {
        Unit::Milliseconds if count.fract() == 0.0 => {
            Duration::try_from_secs_f64(count / 1000.0).ok()
        }
        Unit::Milliseconds => None,
        Unit::Seconds => Duration::try_from_secs_f64(count).ok(),
    }
}

fn from_text(text: &str, unit: Unit) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let milliseconds = match (&text[digits.len()..], unit) {
        ("", Unit::Milliseconds) | ("ms", Unit::Milliseconds) => 1,
        ("", Unit::Seconds) | ("s", Unit::Milliseconds) => 1000,
        ("m", Unit::Milliseconds) => 60_000,
        ("h", Unit::Milliseconds) => 3_600_000,
        _ => return None,
    };
    // A number with more digits than fit is too long anyway.
    let count = digits.parse::<u64>().unwrap_or(u64::MAX);
    Some(Duration::from_millis(count.saturating_mul(milliseconds)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (value, milliseconds) in [
            (json!(0), 0),
            (json!(500), 500),
            (json!(500.0), 500),
            (json!("500"), 500),
            (json!("500ms"), 500),
            (json!("10s"), 10_000),
            (json!("2m"), 120_000),
            (json!("1h"), 3_600_000),
            (json!("24h"), 86_400_000),
        ] {
            let read = read(&value, Unit::Milliseconds);
            assert_eq!(read, Ok(Duration::from_millis(milliseconds)), "{value}");
        }
        for (value, milliseconds) in [(json!(2), 2000), (json!(0.5), 500), (json!("3"), 3000)] {
            let read = read(&value, Unit::Seconds);
            assert_eq!(read, Ok(Duration::from_millis(milliseconds)), "{value}");
        }
    }

    #[test]
    fn an_invalid_duration_is_refused() {
        for value in [
            json!(true),
            json!(-1),
            json!(0.5),
            json!(1e300),
            json!(""),
            json!("ms"),
            json!("10 s"),
            json!("1.5s"),
            json!("-1s"),
            json!("10S"),
            json!("10sec"),
            json!("25h"),
            json!("99999999999999999999999999s"),
            json!([1]),
        ] {
            assert!(read(&value, Unit::Milliseconds).is_err(), "{value}");
        }
        for value in [json!("2s"), json!(-1), json!("ä")] {
            assert!(read(&value, Unit::Seconds).is_err(), "{value}");
        }
        assert_eq!(
            read(&json!("1.5s"), Unit::Milliseconds).unwrap_err().full(),
            r#"expected a number of milliseconds, or "500ms", "10s", "2m", got "1.5s""#
        );
        assert_eq!(
            read(&json!("25h"), Unit::Milliseconds).unwrap_err().full(),
            r#"must be at most 24 hours, got "25h""#
        );
    }
}
