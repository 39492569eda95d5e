//! Instants: the text of `#inst`.

use crate::leaf::digits;

/// Parses an instant, whose date may be partial, and returns it as JavaScript prints it.
///
/// Source: the grammar of `#inst` in the EDN format; ranges as checked by the reference.
pub(crate) fn instant(text: &str) -> Option<String> {
    let (text, offset) = split_offset(text)?;
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let fixed = |text: &str, length: usize| -> Option<i64> {
        (text.len() == length && digits(text)).then(|| text.parse().ok())?
    };
    let mut parts = date.split('-');
    let year = fixed(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |text| fixed(text, 2))?;
    let day_text = parts.next();
    let day = day_text.map_or(Some(1), |text| fixed(text, 2))?;
    if parts.next().is_some() || (time.is_some() && day_text.is_none()) {
        return None;
    }
    let (mut hour, mut minute, mut second, mut millis) = (0, 0, 0, 0);
    if let Some(time) = time {
        let (clock, fraction) = match time.split_once('.') {
            Some((clock, fraction)) => (clock, Some(fraction)),
            None => (time, None),
        };
        let mut parts = clock.split(':');
        hour = fixed(parts.next()?, 2)?;
        minute = parts.next().map_or(Some(0), |text| fixed(text, 2))?;
        let second_text = parts.next();
        second = second_text.map_or(Some(0), |text| fixed(text, 2))?;
        if parts.next().is_some() {
            return None;
        }
        if let Some(fraction) = fraction {
            if !digits(fraction) || second_text.is_none() {
                return None;
            }
            let padded = format!("{fraction:0<3}");
            millis = padded.get(..3)?.parse().ok()?;
        }
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let in_range = (1..=days).contains(&day) && hour <= 23 && minute <= 59 && second <= 59;
    if !in_range {
        return None;
    }
    let minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - offset;
    let (day_number, minute_of_day) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    let (year, month, day) = civil(day_number);
    (0..=9999).contains(&year).then(|| {
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{second:02}.{millis:03}Z",
            minute_of_day / 60,
            minute_of_day % 60
        )
    })
}

/// Splits off a final `Z` or `+hh:mm`; returns the offset in minutes.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(rest) = text.strip_suffix('Z') {
        return Some((rest, 0));
    }
    let Some(zone) = text.len().checked_sub(6).and_then(|at| text.get(at..)) else {
        return Some((text, 0));
    };
    let sign = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' if text.contains('T') || zone.contains(':') => -1,
        _ => return Some((text, 0)),
    };
    let (hours, minutes) = match zone[1..].split_once(':') {
        Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => (hours, minutes),
        _ => return Some((text, 0)),
    };
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let in_range = hours <= 23 && minutes <= 59;
    in_range.then(|| (&text[..text.len() - 6], sign * (hours * 60 + minutes)))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March here, so that the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_may_be_partial() {
        for (text, printed) in [
            ("2020", "2020-01-01T00:00:00.000Z"),
            ("2020-02-29", "2020-02-29T00:00:00.000Z"),
            ("2020-01-01T10:20:30.456Z", "2020-01-01T10:20:30.456Z"),
            ("2020-01-01T00:30:00+01:00", "2019-12-31T23:30:00.000Z"),
            ("2020-01-01T10", "2020-01-01T10:00:00.000Z"),
        ] {
            assert_eq!(instant(text).as_deref(), Some(printed), "{text}");
        }
        for text in [
            "yesterday",
            "2021-02-29",
            "2020-13",
            "20",
            "2020-01-01T25",
            "",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
