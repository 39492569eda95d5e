//! Secrets planted in the definitions and env files of tests, and in the environment of each command. They must not appear in
//! anything that pm2-sync prints or writes. [`Env`](super::Env) checks that in every test.

use std::ffi::OsStr;
use std::path::Path;

use camino::Utf8Path;

/// The prefix of every planted secret.
const ANY: &str = "s3cr3t-planted-";

/// The prefix of secrets that definitions contain. Generated configs and the history may contain these, too.
const LITERAL: &str = "s3cr3t-planted-literal-";

/// The value of a variable in a definition.
pub const IN_DEFINITION: &str = "s3cr3t-planted-literal-1";

/// The value of a variable in an env file, or in the environment of a command.
pub const OUTSIDE: &str = "s3cr3t-planted-outside-1";

/// The name of an env file that every workspace has.
pub const ENV_FILE: &str = "planted.env";

/// Checks the standard output and standard error of a command with these arguments.
#[track_caller]
pub fn check_output<'a>(args: impl IntoIterator<Item = &'a OsStr>, out: &str, err: &str) {
    // For a shell, the words of its command line.
    let args = args.into_iter().filter_map(OsStr::to_str);
    let args: Vec<_> = args.flat_map(str::split_whitespace).collect();
    if args.contains(&"--show-values") {
        return;
    }
    // These print definitions and configs, or the output of apps.
    let prints_sources =
        args.contains(&"--stdout") || args.contains(&"import") || args.contains(&"logs");
    for text in [out, err].into_iter().skip(usize::from(prints_sources)) {
        assert_eq!(secret(text), None, "{args:?} prints a secret");
    }
}

/// Checks the output of a command.
#[track_caller]
pub fn check(text: &str) {
    assert_eq!(secret(text), None, "a secret is printed");
}

/// The first line with a secret.
fn secret(text: &str) -> Option<&str> {
    text.lines().find(|line| line.contains(ANY))
}

/// Checks every file that pm2-sync wrote for a workspace, the logs of its watcher, and the captured output of commands.
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
            // The target of a test's link is not ours.
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
