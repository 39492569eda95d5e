//! Parses leaves: numbers, keywords, symbols, characters and strings.

use std::borrow::Cow;

use daemon_model::{Message, Quoted, message};

use crate::reader::ends_number;
use crate::tree::Tag;

/// The problem of a leaf, and the byte range in it if it is not the whole leaf.
pub(crate) type Fault = (Message, Option<(usize, usize)>);

/// A text, shortened for a message.
pub(crate) fn crop(text: &str) -> Cow<'_, str> {
    const MOST: usize = 60;
    // Avoids counting the characters of a text of megabytes.
    match text.char_indices().nth(MOST) {
        None => Cow::Borrowed(text),
        Some(_) => text.chars().take(MOST - 3).chain("...".chars()).collect(),
    }
}

/// Advice for a token that is valid in JSON or YAML but not in EDN.
pub(crate) fn advice(token: &str) -> Option<Message> {
    if token == ":" {
        return Some("in EDN, nothing goes between a key and its value: remove it".into());
    }
    let name = token.strip_suffix(':')?;
    symbol(name).ok()?;
    Some(message!(
        "a keyword begins with its colon: write `:{}`",
        Quoted(crop(name))
    ))
}

fn whole(message: impl Into<Message>) -> Fault {
    (message.into(), None)
}

/// Whether a token is a number rather than a symbol.
pub(crate) fn starts_number(token: &str) -> bool {
    let rest = token.strip_prefix(['+', '-']).unwrap_or(token);
    rest.starts_with(|c: char| c.is_ascii_digit())
}

/// Parses a number, which may be too large for JSON. Long plain integers are left to edn-format, which does not support the other
/// forms; short ones are frequent and parsed here.
pub(crate) fn number(token: &str) -> Result<f64, Fault> {
    short_integer(token)
        .or_else(|| plain_integer(token))
        .or_else(|| integer(token))
        .or_else(|| decimal(token))
        .or_else(|| ratio(token))
        .ok_or_else(|| {
            let shown = Quoted(crop(token));
            whole(if has_radix(token) {
                message!("`{}` has a digit that its radix does not have", shown)
            } else {
                message!("invalid number `{}`", shown)
            })
        })
}

/// Whether it looks like a number in a radix, which the reference reads up to the first invalid digit.
fn has_radix(token: &str) -> bool {
    let (_, body) = signed(token);
    body.split_once(['r', 'R']).is_some_and(|(radix, text)| {
        let is_radix = radix.parse().is_ok_and(|radix| (2..=36).contains(&radix));
        is_radix && !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

pub(crate) fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn short_integer(token: &str) -> Option<f64> {
    let bytes = token.as_bytes();
    let is_plain = matches!(bytes.len(), 1..=9) && (bytes[0] != b'0' || bytes.len() == 1);
    if !is_plain {
        return None;
    }
    bytes
        .iter()
        .try_fold(0_u32, |value, b| {
            b.is_ascii_digit().then(|| value * 10 + u32::from(b - b'0'))
        })
        .map(f64::from)
}

/// A plain integer. For decimals, edn-format loses the last digit.
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
    // An `N` may be a digit of a large radix, but then it is not also the suffix.
    let big = body.strip_suffix('N');
    let parse = |body: &str| -> Option<f64> {
        if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
            return in_radix(hex, 16);
        }
        if !digits(body) {
            let (radix, text) = body.split_once(['r', 'R'])?;
            let is_radix = digits(radix) && radix.len() <= 2 && !radix.starts_with('0');
            let radix: u32 = radix.parse().ok().filter(|_| is_radix)?;
            return (2..=36).contains(&radix).then(|| in_radix(text, radix))?;
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

/// Digits in a radix, rounded like JavaScript's `parseInt`.
fn in_radix(text: &str, radix: u32) -> Option<f64> {
    if text.is_empty() || !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    if radix == 10 {
        return text.parse().ok();
    }
    let digits = text.chars().filter_map(|c| c.to_digit(radix));
    if radix.is_power_of_two() {
        return Some(of_bits(digits, radix.trailing_zeros()));
    }
    Some(of_parts(digits, radix))
}

/// Rounded once: digits that do not fit only count as a non-zero remainder.
fn of_bits(digits: impl Iterator<Item = u32>, bits: u32) -> f64 {
    let (mut value, mut left_out, mut more) = (0_u128, 0_i32, false);
    for digit in digits {
        if value >> 64 == 0 {
            value = value << bits | u128::from(digit);
        } else {
            left_out = left_out.saturating_add(i32::try_from(bits).unwrap_or(0));
            more |= digit != 0;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "this is the rounding")]
    let rounded = (value | u128::from(more)) as f64;
    rounded * 2_f64.powi(left_out.min(1024))
}

/// Rounded after every few digits.
///
/// Source: V8, `src/numbers/conversions.cc` (`NumberParseIntHelper`).
fn of_parts(digits: impl Iterator<Item = u32>, radix: u32) -> f64 {
    const MOST: u32 = u32::MAX / 36;
    let (mut value, mut part, mut factor) = (0.0, 0, 1);
    for digit in digits {
        if factor * radix > MOST {
            value = value * f64::from(factor) + f64::from(part);
            (part, factor) = (0, 1);
        }
        part = part * radix + digit;
        factor *= radix;
    }
    value * f64::from(factor) + f64::from(part)
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

/// A ratio is read as its quotient.
fn ratio(token: &str) -> Option<f64> {
    let (over, under) = token.split_once('/')?;
    let (sign, over) = signed(over);
    if !digits(over) || !digits(under) {
        return None;
    }
    let (over, under): (f64, f64) = (over.parse().ok()?, under.parse().ok()?);
    Some(sign * over / under)
}

/// Checks the part of a keyword after the colon.
pub(crate) fn keyword(token: &str) -> Result<Tag, Fault> {
    if token.is_empty() {
        return Err(whole("a single colon is not a keyword"));
    }
    name(token, "keyword").map(|()| Tag::Keyword)
}

/// Parses a symbol, `nil`, `true` or `false`.
pub(crate) fn symbol(token: &str) -> Result<Tag, Fault> {
    Ok(match token {
        "nil" => Tag::Nil,
        "true" => Tag::True,
        "false" => Tag::False,
        _ => {
            name(token, "symbol")?;
            Tag::Symbol
        }
    })
}

/// Checks a name with an optional namespace.
pub(crate) fn name(token: &str, what: &'static str) -> Result<(), Fault> {
    // Nearly all names are plain words.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if token.bytes().all(is_plain) {
        return Ok(());
    }
    if let Some(at) = token.find(['@', '~', '`']) {
        let c = &token[at..=at];
        return Err((
            message!("invalid character `{}` in a {}", Quoted(c), what),
            Some((at, at + 1)),
        ));
    }
    if token == "/" {
        return Ok(());
    }
    if what == "keyword" && token.contains("::") {
        return Err(whole(message!("invalid keyword `{}`", Quoted(crop(token)))));
    }
    let is_namespace = |text: &str| !text.is_empty() && !text.ends_with(':');
    let fits = match token.strip_suffix("//") {
        // The name `/` in a namespace.
        Some(namespace) => {
            is_namespace(namespace) && !namespace.contains('/') && !namespace.starts_with(':')
        }
        None => {
            !token.starts_with(':')
                && !token.ends_with([':', '/'])
                && token.split_once('/').is_none_or(|(namespace, name)| {
                    is_namespace(namespace)
                        && !name.contains('/')
                        && !name.starts_with(|c: char| c.is_ascii_digit())
                })
        }
    };
    if fits {
        Ok(())
    } else {
        Err(whole(message!(
            "invalid {} `{}`",
            what,
            Quoted(crop(token))
        )))
    }
}

/// Parses the part of a character after the backslash.
pub(crate) fn character(token: &str) -> Result<Cow<'_, str>, Fault> {
    let mut chars = token.chars();
    if let (Some(only), None) = (chars.next(), chars.next())
        && only.len_utf16() == 1
    {
        return Ok(Cow::Borrowed(token));
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
        u32::from_str_radix(octal, 8).ok().filter(|_| plain)
    };
    named
        .or_else(|| coded().and_then(char::from_u32))
        .map(|c| Cow::Owned(c.to_string()))
        .ok_or_else(|| whole("no character has this name"))
}

/// Parses the content of a string, with its escapes.
pub(crate) fn string(body: &str) -> Result<Cow<'_, str>, Fault> {
    if !body.contains('\\') {
        return Ok(Cow::Borrowed(body));
    }
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    // A high surrogate that waits for the low one, and its offset.
    let mut high: Option<(u32, usize)> = None;
    let lone = |at: usize, length: usize| -> Fault {
        ("half of a surrogate pair".into(), Some((at, at + length)))
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
        // Fewer than three digits must end where a token would.
        let ends = rest[1 + octal..].chars().next().is_none_or(ends_number);
        match code
            .filter(|_| octal == 3 || octal > 0 && ends)
            .and_then(char::from_u32)
        {
            Some(c) => out.push(c),
            None => {
                let length = 1 + escape.map_or(0, char::len_utf8);
                return Err(("invalid escape in a string".into(), Some((at, at + length))));
            }
        }
        rest = &rest[1 + octal..];
    }
    match high {
        Some((_, at)) => Err(lone(at, 6)),
        None => Ok(Cow::Owned(out)),
    }
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
            // Rounded once, not at every digit, like JavaScript.
            ("0x20000000000001", 9_007_199_254_740_992.0),
            ("0x20000000000003", 9_007_199_254_740_996.0),
            ("0777777777777777777777777", 4.722_366_482_869_645e21),
            ("36rZZZZZZZZZZZZZZZZ", 7.958_661_109_946_401e24),
            ("1e400", f64::INFINITY),
            ("1/0", f64::INFINITY),
        ] {
            assert_eq!(number(token), Ok(value), "{token}");
        }
        for token in [
            "08", "1-2", "10s", "0xZZ", "1.2.3", "1/-2", "37r1", "1r0", "1__", "2r12", "2r", "0x",
        ] {
            assert!(number(token).is_err(), "{token}");
        }
    }

    #[test]
    fn escapes_in_strings() {
        assert_eq!(
            string(r#"a\tb\\\"\u00e9\101\0"#).as_deref(),
            Ok("a\tb\\\"éA\0")
        );
        assert_eq!(string(r"\777\0 \1#\7777").as_deref(), Ok("ǿ\0 \u{1}#ǿ7"));
        assert_eq!(string(r"\ud83d\ude00").as_deref(), Ok("😀"));
        for body in [
            r"\q", r"\ud83d", r"\ude00", r"\u12", r"\ud83dx", r"\ué123", r"\8", r"\08", r"\0a",
        ] {
            assert!(string(body).is_err(), "{body}");
        }
    }
}
