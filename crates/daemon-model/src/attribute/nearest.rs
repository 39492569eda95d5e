//! Suggests the attribute that an unknown name may mean.

use std::sync::LazyLock;

use super::{ATTRIBUTES, Attribute};
use crate::nearest::{fewest_differences, letters};

/// Names that other process managers and file watchers use for the same setting, normalized by [`letters`].
const ELSEWHERE: &[(&str, &str)] = &[
    ("arguments", "args"),
    ("backoff", "exp_backoff_restart_delay"),
    ("dir", "cwd"),
    ("directory", "cwd"),
    ("entrypoint", "script"),
    ("environment", "env"),
    ("group", "gid"),
    ("logs", "log_file"),
    ("maxmemory", "max_memory_restart"),
    ("maxretries", "max_restarts"),
    ("memory", "max_memory_restart"),
    ("memorylimit", "max_memory_restart"),
    ("mode", "exec_mode"),
    ("numprocs", "instances"),
    ("processes", "instances"),
    ("program", "script"),
    ("replicas", "instances"),
    ("restart", "autorestart"),
    ("schedule", "cron_restart"),
    ("stderr", "error_file"),
    ("stderrlogfile", "error_file"),
    ("stdout", "out_file"),
    ("stdoutlogfile", "out_file"),
    ("stoptimeout", "kill_timeout"),
    ("timeout", "kill_timeout"),
    ("workdir", "cwd"),
    ("workers", "instances"),
    ("workingdir", "cwd"),
    ("workingdirectory", "cwd"),
];

/// The known name nearest to a misspelt one.
#[must_use]
pub fn nearest(name: &str) -> Option<String> {
    // Another spelling of a name is nearer than any other name.
    static NAMES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let names = ATTRIBUTES.iter().flat_map(Attribute::names);
        names.map(|name| (letters(&name), name)).collect()
    });
    let wanted = letters(name);
    let same_letters = NAMES.iter().find(|(letters, _)| *letters == wanted);
    if let Some((_, known)) = same_letters {
        return Some(known.clone());
    }
    if let Some((_, known)) = ELSEWHERE.iter().find(|(word, _)| *word == wanted) {
        return Some((*known).to_owned());
    }
    let names = NAMES.iter().map(|(_, known)| known.as_str());
    fewest_differences(name, names).map(ToOwned::to_owned)
}

/// The top-level key nearest to a misspelt one, which may be `apps` itself.
#[must_use]
pub fn nearest_beside_apps(name: &str) -> Option<&'static str> {
    let wanted = letters(name);
    match wanted.as_str() {
        "application" | "applications" | "daemons" | "processes" | "services" => Some("apps"),
        "modes" => Some("profiles"),
        _ => fewest_differences(&wanted, ["apps", "deploy", "profiles"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::find;

    #[test]
    fn near_misses_are_found() {
        for (written, meant) in [
            ("max_restart", "max_restarts"),
            ("max-restarts", "max_restarts"),
            ("exec-mode", "exec_mode"),
            ("maxRestart", "maxRestarts"),
            ("maxmemoryrestart", "max_memory_restart"),
            ("interpeter", "interpreter"),
            ("combine-logs", "combine_logs"),
            ("Script", "script"),
            ("user_name", "username"),
        ] {
            assert_eq!(nearest(written).as_deref(), Some(meant), "{written}");
        }
        assert_eq!(nearest("completely_else"), None);
    }

    #[test]
    fn the_names_of_other_tools_get_suggestions() {
        for (written, meant) in [
            ("working-dir", "cwd"),
            ("WorkingDirectory", "cwd"),
            ("environment", "env"),
            ("replicas", "instances"),
            ("max_memory", "max_memory_restart"),
            ("stdout_logfile", "out_file"),
        ] {
            assert_eq!(nearest(written).as_deref(), Some(meant), "{written}");
        }
        for (word, known) in ELSEWHERE {
            assert_eq!(letters(word), *word);
            assert!(find(known).is_some(), "{known}");
            // PM2 knows the word itself, so it needs no suggestion.
            let is_name = |name: String| letters(&name) == *word;
            assert!(
                !ATTRIBUTES.iter().flat_map(Attribute::names).any(is_name),
                "{word}"
            );
        }
    }
}
