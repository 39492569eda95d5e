//! A time in the past, as written on a command line.

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

/// A time in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(pub Timestamp);

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        since(text, &Zoned::now()).map(Self).ok_or(
            "expected a duration (`10m`, `2h`, `3d`) or a time (`12:00`, `2026-01-31 12:00`)",
        )
    }
}

fn since(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return Some(at.to_zoned(now.time_zone().clone()).ok()?.timestamp());
    }
    if text.contains(':')
        && let Ok(at) = text.parse::<Time>()
    {
        return Some(now.with().time(at).build().ok()?.timestamp());
    }
    let ago: Span = text.parse().ok()?;
    Some(now.checked_sub(ago.abs()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_how_long_ago_it_was() {
        let now: Zoned = "2026-03-01T12:00:00+01:00[+01:00]".parse().unwrap();
        for (text, expected) in [
            ("10m", Some("2026-03-01T10:50:00Z")),
            ("2h", Some("2026-03-01T09:00:00Z")),
            ("1h 30m", Some("2026-03-01T09:30:00Z")),
            ("3d", Some("2026-02-26T11:00:00Z")),
            ("09:15", Some("2026-03-01T08:15:00Z")),
            ("2026-02-28 09:15", Some("2026-02-28T08:15:00Z")),
            ("2026-02-28", Some("2026-02-27T23:00:00Z")),
            ("2026-02-28T09:15:00Z", Some("2026-02-28T09:15:00Z")),
            ("yesterday", None),
            ("10", None),
            ("", None),
        ] {
            let expected = expected.map(|at| at.parse::<Timestamp>().unwrap());
            assert_eq!(since(text, &now), expected, "{text}");
        }
    }
}
