//! Parses the time at the start of a log line.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use serde_json::{Number, Value};

/// Longer lines are not read as JSON.
const MOST_JSON: usize = 64 << 10;

/// The time of a line: PM2's (`:time true`, `:log_date_format`) or the app's own, in ISO order with or without brackets, or a field
/// of a JSON object. A time without a zone is in `zone`.
pub(super) fn time_of(line: &str, zone: &TimeZone) -> Option<Timestamp> {
    let line = line.trim_start();
    if line.starts_with('{') {
        return of_json(line, zone);
    }
    of_text(line.strip_prefix('[').unwrap_or(line), zone)
}

/// `{"timestamp":"2026-01-31T12:00:00Z", ...}`, as PM2 (`:log_type "json"`), winston and pino write it.
fn of_json(line: &str, zone: &TimeZone) -> Option<Timestamp> {
    if line.len() > MOST_JSON {
        return None;
    }
    let entry: Value = serde_json::from_str(line).ok()?;
    let keys = ["timestamp", "time", "ts", "@timestamp"];
    match keys.into_iter().find_map(|key| entry.get(key))? {
        Value::String(text) => of_text(text, zone),
        Value::Number(number) => of_number(number),
        _ => None,
    }
}

/// Milliseconds or seconds since 1970. In seconds, the smallest number of milliseconds is the year 5138.
fn of_number(number: &Number) -> Option<Timestamp> {
    const FIRST_MILLISECONDS: i64 = 100_000_000_000;
    if let Some(whole) = number.as_i64() {
        return match whole.abs() < FIRST_MILLISECONDS {
            true => Timestamp::from_second(whole).ok(),
            false => Timestamp::from_millisecond(whole).ok(),
        };
    }
    let seconds = number.as_f64()?;
    let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()
}

/// `2026-01-31T12:00:00.123Z`, `2026-01-31 12:00 +01:00`, `2026/01/31 12:00:00,123`.
fn of_text(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let mut rest = Rest(text);
    let year = rest.number(4)?;
    let separator = rest.one_of("-/")?;
    let month = rest.number(2)?;
    rest.one_of(separator)?;
    let day = rest.number(2)?;
    rest.one_of("T ")?;
    let hour = rest.number(2)?;
    rest.one_of(":")?;
    let minute = rest.number(2)?;
    let second = match rest.one_of(":") {
        Some(_) => rest.number(2)?,
        None => 0,
    };
    let nanosecond = match rest.one_of(".,") {
        Some(_) => rest.fraction()?,
        None => 0,
    };
    let small = |number: i32| i8::try_from(number).ok();
    let date = Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()?;
    // A leap second is the second before it.
    let second = small(second.min(59))?;
    let time = Time::new(small(hour)?, small(minute)?, second, nanosecond).ok()?;
    let civil = DateTime::from_parts(date, time);
    match rest.offset() {
        Some(offset) => offset.to_timestamp(civil).ok(),
        None => zone.to_timestamp(civil).ok(),
    }
}

/// The rest of a text that is parsed from its start.
struct Rest<'t>(&'t str);

impl<'t> Rest<'t> {
    /// A number of exactly this many digits.
    fn number(&mut self, digits: usize) -> Option<i32> {
        let text = self.0.get(..digits)?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.0 = &self.0[digits..];
        text.parse().ok()
    }

    /// One of these characters, all of them ASCII.
    fn one_of(&mut self, characters: &str) -> Option<&'t str> {
        let found = self.0.get(..1).filter(|found| characters.contains(found))?;
        self.0 = &self.0[1..];
        Some(found)
    }

    /// The digits after the point, in nanoseconds.
    fn fraction(&mut self) -> Option<i32> {
        let digits = self.0.len()
            - self
                .0
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let text = format!("{:0<9.9}", &self.0[..digits]);
        self.0 = &self.0[digits..];
        (digits > 0).then(|| text.parse().ok())?
    }

    /// `Z`, `+01:00` or `-0530`, with or without a space before it.
    fn offset(&mut self) -> Option<Offset> {
        self.0 = self.0.strip_prefix(' ').unwrap_or(self.0);
        if self.one_of("Zz").is_some() {
            return Some(Offset::UTC);
        }
        let sign = match self.one_of("+-")? {
            "-" => -1,
            _ => 1,
        };
        let hours = self.number(2)?;
        let _ = self.one_of(":");
        let minutes = self.number(2).unwrap_or(0);
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_it_was_written() {
        let zone = TimeZone::fixed(Offset::constant(2));
        for (line, time) in [
            ("2026-01-31T12:00:00: up", Some("2026-01-31T10:00:00Z")),
            ("2026-01-31 12:00 +01:00: up", Some("2026-01-31T11:00:00Z")),
            (
                "[2026-01-31T12:00:00.5Z] up",
                Some("2026-01-31T12:00:00.5Z"),
            ),
            (
                "2026/01/31 12:00:60,123 up",
                Some("2026-01-31T10:00:59.123Z"),
            ),
            ("2026-01-31T12:00:00-0530 up", Some("2026-01-31T17:30:00Z")),
            (
                r#"{"message":"up\n","timestamp":"2026-01-31T12:00:00.000Z"}"#,
                Some("2026-01-31T12:00:00Z"),
            ),
            (
                r#"{"level":30,"time":1769860800123}"#,
                Some("2026-01-31T12:00:00.123Z"),
            ),
            (r#"{"ts":1769860800.25}"#, Some("2026-01-31T12:00:00.25Z")),
            ("2026-13-31T12:00:00: up", None),
            ("2026-01-31", None),
            ("12:00:00 up", None),
            ("äöü 2026", None),
            (r#"{"time":"noon"}"#, None),
            ("{", None),
            ("", None),
        ] {
            let expected = time.map(|time| time.parse::<Timestamp>().unwrap());
            assert_eq!(time_of(line, &zone), expected, "{line}");
        }
    }
}
