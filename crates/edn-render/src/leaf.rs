//! Leaves: numbers, keywords, symbols, characters and strings, each from its own text.

use crate::reader::ends_number;
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

pub(crate) fn digits(text: &str) -> bool {
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
    // The name `/` in a namespace.
    if let Some(namespace) = token.strip_suffix("//")
        && !namespace.is_empty()
        && !namespace.contains("/")
        && !namespace.starts_with(':')
        && !namespace.ends_with(':')
        && !(what == "keyword" && namespace.contains("::"))
    {
        return Ok(Name {
            namespace: Some(namespace.to_owned()),
            name: "/".to_owned(),
        });
    }
    if token.starts_with(':')
        || token.ends_with(':')
        || token.ends_with('/')
        || what == "keyword" && token.contains("::")
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
        u32::from_str_radix(octal, 8).ok().filter(|_| plain)
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
        // Fewer than three digits have to end where a token would.
        let ends = rest[1 + octal..].chars().next().is_none_or(ends_number);
        match code
            .filter(|_| octal == 3 || octal > 0 && ends)
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
