//! Checks the directory of generated configs: whether it is writable, and whether git ignores it.

use std::io::Result;

use camino::{Utf8Path, Utf8PathBuf};
use reconcile::Config;
use rustix::fs::Access;

use super::{Context, Finding, read_small};

const ABOUT: &str = "generated configs";

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let Some(config) = context.config() else {
        return Vec::new();
    };
    let out = config.layout.out_dir();
    let mut findings = Vec::new();
    let exposed = exposed_to_git(config);
    if let Some(file) = &exposed {
        findings.push(Finding::warning(
            ABOUT,
            format!("{file} does not ignore them, and they contain environment variables"),
            format!("remove {file}: the next sync rewrites it"),
        ));
    }
    findings.push(match (check_writable(config), exposed) {
        (Ok(()), None) => Finding::ok(ABOUT, format!("{out}: writable, git-ignored")),
        (Ok(()), Some(_)) => Finding::ok(ABOUT, format!("{out}: writable")),
        (Err(error), _) => Finding::fault(
            ABOUT,
            format!("{out} cannot be used: {error}"),
            "make it a writable directory, or name another one as `:out` in `pm2-sync.edn`",
        ),
    });
    findings
}

/// Whether generated configs can be written, as far as a check without writing can tell.
fn check_writable(config: &Config) -> Result<()> {
    let out = config.layout.out_dir();
    let mut dirs: Vec<&Utf8Path> = out
        .ancestors()
        .take_while(|dir| dir.starts_with(config.root()))
        .collect();
    dirs.reverse();
    let mut last = config.root();
    for dir in dirs {
        // The root itself may be a symbolic link, which belongs to the user.
        match std::fs::symlink_metadata(dir) {
            Ok(metadata) if metadata.is_dir() || dir == config.root() => last = dir,
            Ok(metadata) => {
                let what = match metadata.is_symlink() {
                    true => "a symbolic link",
                    false => "a file",
                };
                return Err(std::io::Error::other(format!(
                    "`{dir}` is {what}, not a directory"
                )));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(rustix::fs::access(
        last.as_std_path(),
        Access::WRITE_OK | Access::EXEC_OK,
    )?)
}

/// The `.gitignore` that should exclude generated configs but does not. A missing one is written together with the first config.
fn exposed_to_git(config: &Config) -> Option<Utf8PathBuf> {
    let out = config.layout.out_dir();
    let dirs = out.ancestors().take_while(|dir| *dir != config.root());
    let mut files = dirs
        .map(|dir| dir.join(".gitignore"))
        .filter(|file| file.is_file())
        .peekable();
    let nearest = files.peek().cloned()?;
    let hides = |file: Utf8PathBuf| {
        let text = read_small(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::trim);
        let all = lines.clone().any(|line| matches!(line, "*" | "/*" | "**"));
        all && !lines.any(|line| line.starts_with('!'))
    };
    (!files.any(hides)).then_some(nearest)
}
