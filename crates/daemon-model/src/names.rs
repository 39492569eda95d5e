//! Names that PM2 misreads, and the default name that it gives an app.

use serde_json::Value;

use crate::attribute::FATAL_KEYS;
use crate::finding::DocumentPath;

pub(crate) struct Trap {
    pub(crate) blocks: bool,
    pub(crate) message: &'static str,
}

fn blocks(message: &'static str) -> Option<Trap> {
    Some(Trap {
        blocks: true,
        message,
    })
}

/// How PM2's command line misreads an app's name, if it does.
///
/// Source: PM2 7.0.4, `lib/API.js` (`_operate`, `start`, `reset`: `isNaN`), `lib/Common.js` (`isConfigFile`), measured.
pub(crate) fn trap(name: &str) -> Option<Trap> {
    const CONFIG_EXTENSIONS: [&str; 6] = [
        ".json",
        ".yml",
        ".yaml",
        ".config.js",
        ".config.cjs",
        ".config.mjs",
    ];
    if name == "all" {
        return blocks("PM2 takes the name `all` for every app");
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        return blocks("PM2 takes an all-digit name for a process number");
    }
    if is_number(name) {
        return blocks("PM2 takes a name that JavaScript reads as a number for a process number");
    }
    if name.len() > 1 && name.starts_with('/') && name.ends_with('/') {
        return blocks("PM2 takes a name between slashes for a pattern over all names");
    }
    if name.starts_with('-') {
        return blocks("PM2's command line takes a name with a leading `-` for a flag");
    }
    if name.chars().any(char::is_control) {
        return blocks("contains a control character");
    }
    // Anywhere in the name.
    if CONFIG_EXTENSIONS.iter().any(|part| name.contains(part)) {
        return blocks("PM2's command line takes this name for a config file");
    }
    [".js", ".cjs", ".mjs"]
        .iter()
        .any(|end| name.ends_with(end))
        .then_some(Trap {
            blocks: false,
            message:
                "PM2's command line takes this name for a script where a file of that name exists",
        })
}

/// Whether JavaScript's `Number` converts the text to a number: PM2 uses `isNaN`.
///
/// Source: ECMAScript, `StringToNumber`.
fn is_number(text: &str) -> bool {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let in_radix = |prefixes: [&str; 2], radix: u32| {
        let digits = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
        digits.is_some_and(|digits| {
            !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
        })
    };
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    // Rust accepts what JavaScript does, and a few words in addition.
    let is_decimal = number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && number.parse::<f64>().is_ok();
    text.is_empty()
        || number == "Infinity"
        || is_decimal
        || in_radix(["0x", "0X"], 16)
        || in_radix(["0o", "0O"], 8)
        || in_radix(["0b", "0B"], 2)
}

/// PM2's default name for an app: the script's base name up to its last dot.
///
/// Source: PM2 7.0.4, `lib/Common.js`, `renderApplicationName`.
#[must_use]
pub fn default_for(script: &str) -> String {
    let base = script
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(script);
    match base.rfind('.') {
        Some(dot) if dot > 0 => base[..dot].to_owned(),
        _ => base.to_owned(),
    }
}

/// The path of a text with U+0000 in it, which would crash PM2's daemon when it spawns the process.
pub(crate) fn find_nul(key: &str, value: &Value, path: &DocumentPath) -> Option<DocumentPath> {
    if key.contains('\0') {
        return Some(path.clone());
    }
    match value {
        Value::String(text) => text.contains('\0').then(|| path.clone()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(n, item)| find_nul("", item, &path.index(n))),
        Value::Object(map) => map
            .iter()
            .find_map(|(key, value)| find_nul(key, value, &path.key(key))),
        _ => None,
    }
}

/// Whether there is one. The path is only built if there is.
pub(crate) fn has_nul(key: &str, value: &Value) -> bool {
    key.contains('\0')
        || match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(|item| has_nul("", item)),
            Value::Object(map) => map.iter().any(|(key, value)| has_nul(key, value)),
            _ => false,
        }
}

/// Whether there is a key that would crash PM2's daemon. The path is only built if there is.
pub(crate) fn has_fatal_key(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_fatal_key),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| FATAL_KEYS.contains(&key.as_str()) || has_fatal_key(value)),
        _ => false,
    }
}

/// The path of a key that would crash PM2's daemon.
pub(crate) fn find_fatal_key(value: &Value, path: &DocumentPath) -> Option<DocumentPath> {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(n, item)| find_fatal_key(item, &path.index(n))),
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let place = path.key(key);
            if FATAL_KEYS.contains(&key.as_str()) {
                return Some(place);
            }
            find_fatal_key(value, &place)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_javascript_reads_as_numbers_are_reported() {
        for name in [
            "7", "007", "1e3", "1E-3", "0x1F", "0o17", "0b1", "1.5", "1.", ".5", "+5", "Infinity",
            " 12 ", "  ", "\t",
        ] {
            assert!(trap(name).is_some_and(|trap| trap.blocks), "{name:?}");
        }
        for name in [
            "api", "7a", "1e", "e3", "0x", "0xg", "0b2", "1.2.3", ".", "+", "1_000", "inf", "nan",
            "infinity", "1 2", "v1",
        ] {
            assert!(trap(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn names_with_a_config_extension_anywhere_are_config_files() {
        for name in [
            "a.json",
            "a.json-server",
            "x.yaml.b",
            "ecosystem.config.js",
            "a.config.mjs",
        ] {
            assert!(trap(name).is_some_and(|trap| trap.blocks), "{name:?}");
        }
        for name in ["json", "a-json", "yaml", "config", "a.config"] {
            assert!(trap(name).is_none(), "{name:?}");
        }
        // For these, the message only says that it may be so.
        for name in ["a.js", "a.cjs"] {
            assert!(trap(name).is_some_and(|trap| !trap.blocks), "{name:?}");
        }
    }

    #[test]
    fn a_key_that_ends_pm2_is_found_wherever_it_is() {
        let found = |value: &Value| {
            let path = DocumentPath::root().key("env");
            let found = find_fatal_key(value, &path).map(|path| path.to_string());
            assert_eq!(found.is_some(), has_fatal_key(value));
            found
        };
        let key = FATAL_KEYS[0];
        let deep = serde_json::json!({ "a": [1, { "b": { key: 1 } }] });
        assert_eq!(found(&deep), Some(format!("env.a[1].b.{key}")));
        assert_eq!(
            found(&serde_json::json!({ "a": [key, { "b": key }] })),
            None
        );
    }
}
