//! Values of the right type that nevertheless crash PM2: its daemon throws an error, at once or when a file changes, and ends with
//! every app.
//!
//! Source: PM2 7.0.4, `lib/God.js`, `lib/Watcher.js`; chokidar 3.6.0, `index.js`; picomatch 2.3.2, `lib/parse.js`;
//! measured.

use serde_json::{Map, Value};

use crate::attribute::{FATAL_KEYS, is_record_key};

/// The longest pattern, in bytes: as long as a path can be (Linux, `PATH_MAX`). The matcher throws at 65536 characters, and the
/// regular expression it builds becomes too large for the engine well before.
const LONGEST: usize = 4096;

/// The most paths that a pattern with braces may expand to: the watcher expands all of them first, and throws for a larger range.
const MOST_PATHS: u64 = 1000;

/// The requirement that a value of an attribute must meet not to crash PM2, if it does not meet it. The value is in canonical form,
/// and of the attribute's kind.
pub(crate) fn requirement(attribute: &str, value: &Value) -> Option<&'static str> {
    let (survives, requirement) = match attribute {
        "watch" => (
            value.is_boolean() || are_watch_patterns(value),
            WATCH_PATTERNS,
        ),
        "ignore_watch" => (are_watch_patterns(value), WATCH_PATTERNS),
        "watch_options" => (
            value.as_object().is_some_and(watch_options_survive),
            WATCH_OPTIONS,
        ),
        // An empty name counts as none.
        "instance_var" | "increment_var" if value != "" => {
            (value.as_str().is_some_and(is_free_variable), FREE_VARIABLE)
        }
        _ => return None,
    };
    (!survives).then_some(requirement)
}

/// The requirement for paths and patterns of PM2's file watcher.
pub const WATCH_PATTERNS: &str =
    "paths or patterns of at most 4096 bytes, whose braces stand for at most 1000 paths";
/// The requirement for options of PM2's file watcher.
pub const WATCH_OPTIONS: &str = "a map whose `cwd` is a string, whose `ignored` holds patterns, and whose \
                                 `awaitWriteFinish` is true, false or a map";
/// The requirement for a variable with which PM2 numbers instances.
pub const FREE_VARIABLE: &str = "a name that is not one of PM2's own settings";

/// Whether PM2 reads the value as the text `null`, which removes its key from a record. It compares loosely, so a list of one such
/// text counts too (PM2 7.0.4, `lib/Utility.js`, `extendMix`).
#[must_use]
pub fn is_null_text(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.len() == 1 && is_null_text(&items[0]),
        value => value == "null",
    }
}

/// Whether PM2 can write an instance's number under this name: the number overwrites any value in its record, and PM2 then uses it
/// as that value.
#[must_use]
pub fn is_free_variable(name: &str) -> bool {
    !name.is_empty() && !is_record_key(name) && !FATAL_KEYS.contains(&name)
}

/// Whether this can be watched or ignored by PM2's file watcher: a text or texts within the limits.
#[must_use]
pub fn are_watch_patterns(value: &Value) -> bool {
    match value {
        Value::String(text) => is_pattern(text),
        Value::Array(items) => items
            .iter()
            .all(|item| item.as_str().is_some_and(is_pattern)),
        _ => false,
    }
}

fn is_pattern(text: &str) -> bool {
    text.len() <= LONGEST && most_paths(text) <= MOST_PATHS
}

/// An upper bound for the number of paths that the braces of a pattern expand to.
fn most_paths(text: &str) -> u64 {
    text.split('{').skip(1).fold(1, |paths: u64, group| {
        let choices = 1 + group.matches(',').count() as u64;
        let range = match group.split_once("..") {
            None => 1,
            Some(_) if longest_number(group) > 3 => u64::MAX,
            Some(_) => MOST_PATHS,
        };
        paths.saturating_mul(choices).saturating_mul(range)
    })
}

fn longest_number(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// Whether a watcher survives these options. Of the many others, none is known to be harmful.
#[must_use]
pub fn watch_options_survive(options: &Map<String, Value>) -> bool {
    options.iter().all(|(key, value)| match key.as_str() {
        "cwd" => value.is_string() || value.is_null(),
        // PM2 uses an empty text as a pattern here, which is invalid.
        "ignored" => value.is_null() || value.as_str() != Some("") && are_watch_patterns(value),
        // PM2 adds missing keys, which only works for a map.
        "awaitWriteFinish" => value.is_boolean() || value.is_object() || value.is_null(),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn braces_may_expand_to_a_thousand_paths() {
        for text in ["src", "src/**/*.{js,ts}", "{a,{b,c}}/{x,y}", "log-{1..999}"] {
            assert!(are_watch_patterns(&json!([text])), "{text}");
        }
        let explosion = "{a,b}".repeat(30);
        for text in [&explosion[..], "{1..5000}", "{0..9}{0..9}"] {
            assert!(!are_watch_patterns(&json!(text)), "{text}");
        }
    }
}
