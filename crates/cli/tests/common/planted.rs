//! Secrets that stand in the definitions and env files of tests, in the environment of each command, and in nothing that pm2-sync
//! prints or writes. [`Env`](super::Env) looks for them in all of that, whatever a test is about.

use std::ffi::OsStr;
use std::path::Path;

use camino::Utf8Path;

/// How every planted secret begins.
const ANY: &str = "s3cr3t-planted-";

/// How the value of a variable begins that a definition holds. What a definition holds, generated configs and the history hold.
const LITERAL: &str = "s3cr3t-planted-literal-";

/// The value of a variable in a definition.
pub const IN_DEFINITION: &str = "s3cr3t-planted-literal-1";

/// The value of a variable in an env file, or in the environment of a command.
pub const OUTSIDE: &str = "s3cr3t-planted-outside-1";

/// The name of an env file that every workspace has.
pub const ENV_FILE: &str = "planted.env";

/// Looks at what a command with these arguments printed to standard output and standard error.
#[track_caller]
pub fn check_output<'a>(args: impl IntoIterator<Item = &'a OsStr>, out: &str, err: &str) {
    // Of a shell, the words of its line.
    let args = args.into_iter().filter_map(OsStr::to_str);
    let args: Vec<_> = args.flat_map(str::split_whitespace).collect();
    if args.contains(&"--show-values") {
        return;
    }
    // These print definitions and configs, or what apps have printed.
    let prints_sources =
        args.contains(&"--stdout") || args.contains(&"import") || args.contains(&"logs");
    for text in [out, err].into_iter().skip(usize::from(prints_sources)) {
        assert_eq!(secret(text), None, "{args:?} prints a secret");
    }
}

/// Looks at what a command printed.
#[track_caller]
pub fn check(text: &str) {
    assert_eq!(secret(text), None, "a secret is printed");
}

/// The first line that holds one.
fn secret(text: &str) -> Option<&str> {
    text.lines().find(|line| line.contains(ANY))
}

/// Looks at every file that pm2-sync wrote for a workspace, at the logs of its watcher, and at what commands printed to files.
pub fn check_files(root: &Utf8Path, pm2_home: &Utf8Path, printed: &Utf8Path) {
    check_below(printed.as_std_path());
    check_below(root.join(".generated").as_std_path());
    check_below(pm2_home.join("pm2-sync").as_std_path());
    let logs = std::fs::read_dir(pm2_home.join("logs"));
    for log in logs.into_iter().flatten().flatten() {
        if log.file_name().to_string_lossy().contains("pm2-sync") {
            check_below(&log.path());
        }
    }
}

fn check_below(path: &Path) {
    if let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries.flatten() {
            // What a test has linked to is not ours.
            if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                check_below(&entry.path());
            }
        }
    } else if let Ok(bytes) = std::fs::read(path) {
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        let holds_definitions = path
            .components()
            .any(|part| [".generated", "history"].contains(&&*part.as_os_str().to_string_lossy()));
        if holds_definitions {
            text = text.replace(LITERAL, "");
        }
        assert_eq!(secret(&text), None, "a secret is in {}", path.display());
    }
}
