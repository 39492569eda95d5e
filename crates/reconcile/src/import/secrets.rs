//! Finds variables whose values look like secrets, and writes the env files they are moved to.

use serde_json::{Map, Value};

/// Parts of names of variables that contain secrets.
const NAMES: &[&str] = &[
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "apikey",
    "api_key",
    "access_key",
    "private_key",
    "encryption_key",
    "signing_key",
    "master_key",
    "auth_key",
    "webhook",
];
/// Prefixes of secrets of well-known services.
const STARTS: &[&str] = &[
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "eyJ",
    "-----BEGIN",
];
/// A shorter value is a setting rather than a secret.
const LEAST: usize = 8;
/// From this length on, a random text is a secret whatever its name is.
const RANDOM: usize = 24;

/// Names and values.
pub(super) type Variables = Vec<(String, String)>;

/// The variables of an app's `env` that look like secrets.
pub(super) fn find(app: &Map<String, Value>) -> Vec<String> {
    let env = app.get("env").and_then(Value::as_object);
    let env = env.into_iter().flatten();
    env.filter_map(|(name, value)| Some((name, value.as_str()?)))
        .filter(|(name, value)| is_secret(name, value) && is_name(name) && !value.contains('\0'))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Removes these variables from the app's `env`.
pub(super) fn take(app: &mut Map<String, Value>, names: &[String]) -> Variables {
    let Some(env) = app.get_mut("env").and_then(Value::as_object_mut) else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    for name in names {
        if let Some(Value::String(value)) = env.shift_remove(name) {
            taken.push((name.clone(), value));
        }
    }
    if env.is_empty() {
        app.shift_remove("env");
    }
    taken
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_named = NAMES.iter().any(|part| name.contains(part));
    let is_path = value.starts_with(['/', '.', '~']);
    let is_long = value.chars().count() >= LEAST;
    has_password(value)
        || (is_long && is_named && !is_path)
        || (is_long && STARTS.iter().any(|start| value.starts_with(start)))
        || (!is_path && is_random(value))
}

/// Whether the value is a URL with a password.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.and_then(|user| user.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty())
}

/// Whether the value is one long word of letters and digits in random order.
fn is_random(value: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    let has = |kind: fn(&char) -> bool| value.chars().any(|c| kind(&c));
    // A digit beside a letter; dates and versions have other characters between their numbers.
    let is_change = |pair: &&[u8]| {
        let is_either = |a: u8, b: u8| a.is_ascii_digit() && b.is_ascii_alphabetic();
        is_either(pair[0], pair[1]) || is_either(pair[1], pair[0])
    };
    let changes = value.as_bytes().windows(2).filter(is_change).count();
    value.len() >= RANDOM
        && value.chars().all(is_part)
        && has(char::is_ascii_digit)
        && has(char::is_ascii_alphabetic)
        && changes >= 4
}

/// The text of an env file with these variables. Values are in single quotes, where nothing has a special meaning; a value with a
/// single quote, a backslash or a line end is in double quotes.
pub(super) fn env_file(variables: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in variables {
        out.push_str(name);
        out.push('=');
        if value.contains(['\'', '\\', '\n', '\r']) {
            out.push('"');
            for c in value.chars() {
                match c {
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '"' | '\\' | '$' => out.extend(['\\', c]),
                    c => out.push(c),
                }
            }
            out.push('"');
        } else {
            out.push('\'');
            out.push_str(value);
            out.push('\'');
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_distinguished_from_settings() {
        let app = json!({ "env": {
            "NODE_ENV": "production",
            "PORT": "8080",
            "API_KEY": "abcd1234efgh",
            "DB_PASSWORD": "correct horse",
            "PASSWORD_FILE": "/run/secrets/password",
            "TOKEN_TTL": "3600",
            "DATABASE_URL": "postgres://app:hunter2@db/app",
            "REDIS_URL": "redis://cache:6379/0",
            "SESSION": "9f86d081884c7d659a2feaa0c55ad015",
            "STRIPE": "sk_live_51Habc",
            "LOG_LEVEL": "debug",
            "GREETING": "a-long-text-without-any-number-in-it",
            "RELEASE": "2024-01-01-production-release",
            "SECRET": 12345678,
            "GIT PASSWORD": "whatever it is"
        }});
        let app = app.as_object().unwrap();
        let expected = [
            "API_KEY",
            "DB_PASSWORD",
            "DATABASE_URL",
            "SESSION",
            "STRIPE",
        ];
        assert_eq!(find(app), expected);
    }

    #[test]
    fn an_env_file_quotes_every_value() {
        let variables = [
            ("A", "plain $HOME #1"),
            ("B", "it's \"$5\" \\ more"),
            ("C", "-----BEGIN\nKEY\n"),
            ("D", ""),
            ("E", "ends with \\"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            env_file(&variables),
            "A='plain $HOME #1'\nB=\"it's \\\"\\$5\\\" \\\\ more\"\nC=\"-----BEGIN\\nKEY\\n\"\nD=''\nE=\"ends with \\\\\"\n"
        );
    }
}
