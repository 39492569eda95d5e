//! Leaves: numbers, keywords, symbols, characters, strings and instants, each from its own text.

use crate::tree::{Kind, Name};

/// What is wrong with a leaf, and at which byte of it if not at all of it.
pub(crate) type Fault = (String, Option<(usize, usize)>);

fn whole(message: impl Into<String>) -> Fault {
    (message.into(), None)
}

/// Whether a token is a number rather than a symbol.
pub(crate) fn starts_number(token: &str) -> bool {
    let rest = token.strip_prefix(['+', '-']).unwrap_or(token);
    rest.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads a number. Plain integers are left to edn-format; it does not know the other forms.
pub(crate) fn number(token: &str) -> Result<Kind, Fault> {
    let invalid = || whole(format!("invalid number `{token}`"));
    let number = plain_integer(token)
        .or_else(|| integer(token))
        .or_else(|| decimal(token))
        .map_or_else(|| ratio(token).ok_or_else(invalid)?, Ok)?;
    if number.is_finite() {
        Ok(Kind::Number(number))
    } else {
        Err(whole(format!(
            "`{token}` is too large for a number of JSON"
        )))
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A plain integer. Of decimals edn-format loses the last digit.
fn plain_integer(token: &str) -> Option<f64> {
    let unsigned = token.strip_prefix('-').unwrap_or(token);
    let plain =
        digits(unsigned) && (unsigned == "0" || !unsigned.starts_with('0')) && unsigned.len() <= 15;
    if !plain {
        return None;
    }
    match edn_format::parse_str(token).ok()? {
        #[expect(clippy::cast_precision_loss, reason = "at most 15 digits")]
        edn_format::Value::Integer(n) => Some(n as f64),
        _ => None,
    }
}

fn signed(token: &str) -> (f64, &str) {
    match token.as_bytes().first() {
        Some(b'-') => (-1.0, &token[1..]),
        Some(b'+') => (1.0, &token[1..]),
        _ => (1.0, token),
    }
}

/// Integers: decimal, `0x`, octal with a leading zero, `NrDIGITS`; an `N` may follow.
fn integer(token: &str) -> Option<f64> {
    let (sign, body) = signed(token);
    let in_radix = |text: &str, radix: u32| -> Option<f64> {
        if text.is_empty() {
            return None;
        }
        text.chars().try_fold(0.0, |value, c| {
            Some(value * f64::from(radix) + f64::from(c.to_digit(radix)?))
        })
    };
    // An `N` may be a digit of a large radix, but then it cannot also be the suffix.
    let big = body.strip_suffix('N');
    let parse = |body: &str| -> Option<f64> {
        if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
            return in_radix(hex, 16);
        }
        if let Some((radix, text)) = body.split_once(['r', 'R']) {
            let radix: u32 = radix.parse().ok().filter(|_| !radix.starts_with('0'))?;
            return (2..=36).contains(&radix).then(|| in_radix(text, radix))?;
        }
        if !digits(body) {
            return None;
        }
        match body.strip_prefix('0') {
            Some(octal) if !octal.is_empty() => in_radix(octal, 8),
            _ => body.parse().ok(),
        }
    };
    parse(body)
        .or_else(|| parse(big?))
        .map(|value| sign * value)
}

/// Decimals: `1.`, `00.5`, `1e3`; an `M` may follow.
fn decimal(token: &str) -> Option<f64> {
    let (sign, body) = signed(token.strip_suffix('M').unwrap_or(token));
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let (head, fraction) = match mantissa.split_once('.') {
        Some((head, fraction)) => (head, Some(fraction)),
        None => (mantissa, None),
    };
    let exponent_ok = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    let fraction_ok = fraction.is_none_or(|f| f.is_empty() || digits(f));
    let is_decimal = fraction.is_some() || exponent.is_some() || token.ends_with('M');
    if !(digits(head) && fraction_ok && exponent_ok && is_decimal) {
        return None;
    }
    let text = format!(
        "{head}.{}e{}",
        fraction.filter(|f| !f.is_empty()).unwrap_or("0"),
        exponent.unwrap_or("0")
    );
    text.parse::<f64>().ok().map(|value| sign * value)
}

/// A ratio is its quotient.
fn ratio(token: &str) -> Option<Result<f64, Fault>> {
    let (over, under) = token.split_once('/')?;
    let (sign, over_digits) = signed(over);
    if !digits(over_digits) || !digits(under) {
        return None;
    }
    let (over, under): (f64, f64) = (over_digits.parse().ok()?, under.parse().ok()?);
    Some(if under == 0.0 {
        Err(whole(format!("`{token}` divides by zero")))
    } else {
        Ok(sign * over / under)
    })
}

/// Reads what follows the colon of a keyword.
pub(crate) fn keyword(token: &str) -> Result<Name, Fault> {
    if token.is_empty() {
        return Err(whole("a single colon is not a keyword"));
    }
    name(token, "keyword")
}

/// Reads a symbol, `nil`, `true` or `false`.
pub(crate) fn symbol(token: &str) -> Result<Kind, Fault> {
    Ok(match token {
        "nil" => Kind::Nil,
        "true" => Kind::Bool(true),
        "false" => Kind::Bool(false),
        _ => Kind::Symbol(name(token, "symbol")?),
    })
}

/// Reads a name with an optional namespace.
pub(crate) fn name(token: &str, what: &str) -> Result<Name, Fault> {
    if let Some(at) = token.find(['@', '~', '`']) {
        let c = &token[at..=at];
        return Err((
            format!("invalid character `{c}` in a {what}"),
            Some((at, at + 1)),
        ));
    }
    let invalid = || whole(format!("invalid {what} `{token}`"));
    if token == "/" {
        return Ok(Name::plain(token));
    }
    if token.starts_with(':')
        || token.ends_with(':')
        || token.ends_with('/')
        || token.contains("::")
    {
        return Err(invalid());
    }
    match token.split_once('/') {
        None => Ok(Name::plain(token)),
        Some((namespace, name)) => {
            let ok = !namespace.is_empty()
                && !namespace.ends_with(':')
                && !name.contains('/')
                && !name.starts_with(|c: char| c.is_ascii_digit() || c == ':');
            ok.then(|| Name {
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
            })
            .ok_or_else(invalid)
        }
    }
}

/// Reads what follows the backslash of a character.
pub(crate) fn character(token: &str) -> Result<String, Fault> {
    let mut chars = token.chars();
    if let (Some(only), None) = (chars.next(), chars.next())
        && only.len_utf16() == 1
    {
        return Ok(only.to_string());
    }
    let named = match token {
        "newline" => Some('\n'),
        "space" => Some(' '),
        "tab" => Some('\t'),
        "return" => Some('\r'),
        "backspace" => Some('\u{8}'),
        "formfeed" => Some('\u{c}'),
        _ => None,
    };
    let coded = || {
        if let Some(hex) = token.strip_prefix('u').filter(|hex| hex.len() == 4) {
            return hex
                .bytes()
                .all(|b| b.is_ascii_hexdigit())
                .then(|| u32::from_str_radix(hex, 16).ok())?;
        }
        let octal = token
            .strip_prefix('o')
            .filter(|o| (1..=3).contains(&o.len()))?;
        let plain = octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
        u32::from_str_radix(octal, 8)
            .ok()
            .filter(|n| plain && *n <= 0o377)
    };
    named
        .or_else(|| coded().and_then(char::from_u32))
        .map(|c| c.to_string())
        .ok_or_else(|| whole(format!("invalid character `\\{token}`")))
}

/// Reads the inside of a string, escapes and all.
pub(crate) fn string(body: &str) -> Result<String, Fault> {
    if !body.contains('\\') {
        return Ok(body.to_owned());
    }
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    // A high surrogate that waits for its other half, and where it began.
    let mut high: Option<(u32, usize)> = None;
    let lone = |at: usize, length: usize| -> Fault {
        (
            "half of a surrogate pair".to_owned(),
            Some((at, at + length)),
        )
    };
    while let Some(c) = rest.chars().next() {
        let at = body.len() - rest.len();
        if c != '\\' {
            if let Some((_, at)) = high {
                return Err(lone(at, 6));
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let escape = rest[1..].chars().next();
        let simple = match escape {
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some('n') => Some('\n'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some(same @ ('\\' | '"')) => Some(same),
            _ => None,
        };
        if simple.is_none()
            && escape == Some('u')
            && let Some(code) = rest
                .get(2..6)
                .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        {
            match (high.take(), code) {
                (None, 0xd800..=0xdbff) => high = Some((code, at)),
                (Some((first, _)), 0xdc00..=0xdfff) => {
                    let joined = 0x10000 + ((first - 0xd800) << 10) + (code - 0xdc00);
                    out.extend(char::from_u32(joined));
                }
                (Some((_, at)), _) => return Err(lone(at, 6)),
                (None, code) => match char::from_u32(code) {
                    Some(c) => out.push(c),
                    None => return Err(lone(at, 6)),
                },
            }
            rest = &rest[6..];
            continue;
        }
        if let Some((_, at)) = high {
            return Err(lone(at, 6));
        }
        if let Some(c) = simple {
            out.push(c);
            rest = &rest[2..];
            continue;
        }
        let octal = rest[1..]
            .bytes()
            .take(3)
            .take_while(|b| (b'0'..=b'7').contains(b))
            .count();
        let code = rest
            .get(1..=octal)
            .and_then(|text| u32::from_str_radix(text, 8).ok());
        match code
            .filter(|code| octal > 0 && *code <= 0o377)
            .and_then(char::from_u32)
        {
            Some(c) => out.push(c),
            None => {
                let length = 1 + escape.map_or(0, char::len_utf8);
                let shown: String = rest.chars().take(2).collect();
                return Err((
                    format!("invalid escape `{shown}` in a string"),
                    Some((at, at + length)),
                ));
            }
        }
        rest = &rest[1 + octal..];
    }
    match high {
        Some((_, at)) => Err(lone(at, 6)),
        None => Ok(out),
    }
}

/// Reads an instant, whose date may be partial, and gives it as JavaScript prints it.
///
/// Source: the grammar of `#inst` in the EDN format; ranges as the reference checks them.
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

/// Takes `Z` or `+hh:mm` off the end; gives the offset in minutes.
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
    // Years begin in March, so that the leap day is their last.
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
    fn numbers_of_every_form() {
        for (token, value) in [
            ("0", 0.0),
            ("-12", -12.0),
            ("+5", 5.0),
            ("0755", 493.0),
            ("0x1F", 31.0),
            ("2r101", 5.0),
            ("36rZ", 35.0),
            ("7N", 7.0),
            ("1.", 1.0),
            ("00.5", 0.5),
            ("5M", 5.0),
            ("1e3M", 1000.0),
            ("1.5e-3", 0.0015),
            ("8/4", 2.0),
            ("-1/2", -0.5),
            ("9007199254740993", 9_007_199_254_740_992.0),
        ] {
            assert_eq!(number(token), Ok(Kind::Number(value)), "{token}");
        }
        for token in [
            "08", "1-2", "10s", "0xZZ", "1.2.3", "1/-2", "1/0", "1e400", "37r1", "1r0", "1__",
        ] {
            assert!(number(token).is_err(), "{token}");
        }
    }

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

    #[test]
    fn escapes_in_strings() {
        assert_eq!(
            string(r#"a\tb\\\"\u00e9\101\0"#).as_deref(),
            Ok("a\tb\\\"éA\0")
        );
        assert_eq!(string(r"\ud83d\ude00").as_deref(), Ok("😀"));
        for body in [
            r"\q", r"\ud83d", r"\ude00", r"\u12", r"\ud83dx", r"\ué123", r"\400",
        ] {
            assert!(string(body).is_err(), "{body}");
        }
    }
}
