//! Path arithmetic as PM2 does it: lexical, without file system access.

use camino::{Utf8Path, Utf8PathBuf};

use crate::PmId;

/// Resolves `path` against `base`, and removes `.` and `..` lexically (Node's `path.resolve`).
#[must_use]
pub fn resolve(base: &Utf8Path, path: &str) -> Utf8PathBuf {
    let start = match path.starts_with('/') {
        true => "",
        false => base.as_str(),
    };
    let mut out = String::with_capacity(start.len() + path.len() + 1);
    if start.starts_with('/') || path.starts_with('/') {
        out.push('/');
    }
    let root = out.len();
    for name in start.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').map_or(0, |at| at.max(root))),
            name => {
                if out.len() > root {
                    out.push('/');
                }
                out.push_str(name);
            }
        }
    }
    out.into()
}

/// Replaces a leading `~` with `home`, as PM2 does for log files.
#[must_use]
pub fn expand_home(path: &str, home: &Utf8Path) -> String {
    match path.strip_prefix('~') {
        Some(rest) => resolve(home, rest.trim_start_matches('/')).into_string(),
        None => path.to_owned(),
    }
}

/// An app's name as PM2 uses it in file names: every character except ASCII letters, digits, `.`, `-` and `\` becomes `-` (one per
/// UTF-16 unit).
///
/// Source: PM2 7.0.4, `lib/Common.js`, `prepareAppConf`.
#[must_use]
pub fn file_stem(app: &str) -> String {
    let mut out = String::with_capacity(app.len());
    for c in app.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '\\') {
            out.push(c);
        } else {
            out.extend(std::iter::repeat_n('-', c.len_utf16()));
        }
    }
    out
}

/// Inserts PM2's `-<pm_id>` before the final `.<extension>`, replacing an existing `-<digits>`. A path without that extension is
/// unchanged.
///
/// Source: PM2 7.0.4, `lib/God.js`, `executeApp`.
#[must_use]
pub fn with_pm_id(path: &str, extension: &str, pm_id: PmId) -> String {
    let stem = path.strip_suffix(extension);
    let Some(stem) = stem.and_then(|stem| stem.strip_suffix('.')) else {
        return path.to_owned();
    };
    let digits = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = match digits.strip_suffix('-') {
        Some(bare) if digits.len() < stem.len() => bare,
        _ => stem,
    };
    // Not `format!`, which is several times slower: each comparison of an app with a process needs a few.
    let mut path = String::with_capacity(path.len() + 12);
    path.extend([stem, "-", &pm_id.to_string(), ".", extension]);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolving_is_lexical() {
        let base = Utf8Path::new("/w");
        assert_eq!(resolve(base, "./a/../b/"), "/w/b");
        assert_eq!(resolve(base, "../../../x"), "/x");
        assert_eq!(resolve(base, "/abs/./y"), "/abs/y");
        assert_eq!(resolve(base, ""), "/w");
        assert_eq!(expand_home("~/x.log", Utf8Path::new("/h")), "/h/x.log");
    }

    #[test]
    fn file_names_follow_pm2() {
        assert_eq!(file_stem("devel/open_code"), "devel-open-code");
        assert_eq!(file_stem("a😀b"), "a--b");
        assert_eq!(with_pm_id("/l/a-out.log", "log", PmId(3)), "/l/a-out-3.log");
        assert_eq!(with_pm_id("/l/zz-2024.log", "log", PmId(0)), "/l/zz-0.log");
        assert_eq!(
            with_pm_id("/l/zz2024.log", "log", PmId(0)),
            "/l/zz2024-0.log"
        );
        assert_eq!(with_pm_id("/l/plain.txt", "log", PmId(0)), "/l/plain.txt");
        assert_eq!(with_pm_id("/l/a-.log", "log", PmId(3)), "/l/a--3.log");
    }
}
