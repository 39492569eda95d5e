//! Extracts from an app's log why it ended: the error, not the end of its stack.
//!
//! The last lines of a log are often the least useful ones: stack frames, fields of an error object, a version number. Lines are
//! classified as errors, decoration of errors, and the rest. An excerpt has the last error, what led to it, and what followed.

use std::io::{Read, Seek, SeekFrom};

use camino::Utf8PathBuf;
use daemon_model::ObservedProcess;
use files::Links;

/// How much of the end of a log is read, in bytes.
const TAIL: u64 = 64 << 10;
/// The most lines in an excerpt.
const MOST_LINES: usize = 6;
/// How many characters of a line are kept.
const MOST_CHARS: usize = 200;

/// Some lines of a process's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogExcerpt {
    /// The log.
    pub path: Utf8PathBuf,
    /// The lines, without colours and control characters. Empty if the log is empty or cannot be read.
    pub lines: Vec<String>,
}

impl LogExcerpt {
    /// The lines that explain why these processes ended: from the error log of the last one, or from its output log if that is
    /// empty. None if PM2 keeps no log of them.
    pub fn of<'p>(
        processes: impl DoubleEndedIterator<Item = &'p ObservedProcess> + Clone,
    ) -> Option<Self> {
        let of_key = |key: &str| {
            let path = processes
                .clone()
                .rev()
                .find_map(|process| process.text(key))?;
            Some(Self {
                path: path.into(),
                // An unreadable log counts as empty; it is not an error of the caller.
                lines: tail(path).map_or_else(|_| Vec::new(), |text| excerpt(&text)),
            })
        };
        let error = of_key("pm_err_log_path");
        if error.as_ref().is_some_and(|error| !error.lines.is_empty()) {
            return error;
        }
        let output = of_key("pm_out_log_path").filter(|output| !output.lines.is_empty());
        output.or(error)
    }
}

fn tail(path: &str) -> std::io::Result<String> {
    let mut file = files::open(path.as_ref(), Links::Follow)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How useful a line is for explaining a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It reports an error.
    Error,
    /// It shows the source line of an error.
    Source,
    /// It may matter.
    Plain,
    /// A stack frame, a field of an error object, a blank line.
    Noise,
    /// The end of an earlier crash: lines before it are unrelated to later ones.
    End,
}

/// The lines at the end of a log that explain why the app ended, at most six.
fn excerpt(text: &str) -> Vec<String> {
    let lines: Vec<String> = text
        .lines()
        .flat_map(messages)
        .map(|line| clean(&line))
        .collect();
    let kinds = kinds(&lines);
    let Some(error) = kinds.iter().rposition(|kind| *kind == Kind::Error) else {
        return last_plain(&lines, &kinds);
    };
    let mut chosen = vec![error];
    for at in (0..error).rev() {
        let is_earlier_crash = kinds[at] == Kind::End || body(&lines[at]) == body(&lines[error]);
        if chosen.len() == MOST_LINES || is_earlier_crash {
            break;
        }
        if matches!(kinds[at], Kind::Error | Kind::Source) {
            chosen.insert(0, at);
        }
    }
    let after: Vec<usize> = (error + 1..lines.len())
        .filter(|at| kinds[*at] == Kind::Plain)
        .collect();
    let room = MOST_LINES
        .saturating_sub(chosen.len())
        .max(1)
        .min(after.len());
    chosen.extend(&after[after.len() - room..]);
    let chosen = &chosen[chosen.len().saturating_sub(MOST_LINES)..];
    chosen.iter().map(|at| lines[*at].clone()).collect()
}

/// The last lines, if none reports an error.
fn last_plain(lines: &[String], kinds: &[Kind]) -> Vec<String> {
    let of_kind = |wanted: fn(Kind) -> bool| -> Vec<&String> {
        let lines = lines.iter().zip(kinds);
        lines
            .filter(|(line, kind)| wanted(**kind) && !line.trim().is_empty())
            .map(|(line, _)| line)
            .collect()
    };
    let mut found = of_kind(|kind| kind == Kind::Plain);
    if found.is_empty() {
        found = of_kind(|_| true);
    }
    // An app that restarts repeatedly repeats its messages.
    found.dedup_by(|a, b| body(a) == body(b));
    let from = found.len().saturating_sub(MOST_LINES);
    found[from..].iter().map(|line| (*line).clone()).collect()
}

/// Splits one line of the log. For PM2's JSON format (`log_type`), returns the lines of the message.
pub(super) fn messages(line: &str) -> Vec<String> {
    let json = line.starts_with("{\"message\":");
    let message = json
        .then(|| serde_json::from_str::<serde_json::Value>(line).ok())
        .flatten()
        .and_then(|entry| Some(entry.get("message")?.as_str()?.to_owned()));
    match message {
        Some(message) => message.lines().map(ToOwned::to_owned).collect(),
        None => vec![line.to_owned()],
    }
}

/// A line without colours; if it was overwritten, for example by a progress bar, its last content.
pub(super) fn last_written(line: &str) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    let last = plain.trim_end().rsplit('\r').next();
    last.unwrap_or_default().to_owned()
}

/// A line prepared for display: without colours and control characters, of limited length, and only with the last content if it was
/// overwritten.
fn clean(line: &str) -> String {
    let last = last_written(line);
    let mut out = String::new();
    for (n, c) in last.chars().enumerate() {
        if n == MOST_CHARS {
            out.push_str("...");
            break;
        }
        match c {
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A line without the time that PM2 prepends.
fn body(line: &str) -> &str {
    let is_time = |text: &str| {
        text.len() >= 8
            && text.starts_with(|c: char| c.is_ascii_digit())
            && text
                .chars()
                .all(|c| c.is_ascii_digit() || "-/:. TZ+,".contains(c))
    };
    match line.split_once(": ") {
        Some((time, rest)) if is_time(time) => rest,
        _ if is_time(line.trim_end_matches(':')) => "",
        _ => line,
    }
}

fn kinds(lines: &[String]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    // The indentation of a frame whose source may follow, further to the right.
    let mut frame = None;
    let mut in_object = false;
    for line in lines {
        let line = body(line);
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let is_source = frame.is_some_and(|frame| indent > frame) && !text.is_empty();
        if !is_source {
            frame = None;
        }
        let kind = if text.starts_with("Node.js v") {
            Kind::End
        } else if in_object && !text.starts_with("[cause]") && !is_frame(text) {
            in_object = text != "}";
            Kind::Noise
        } else if text.starts_with("File \"") && text.contains(", line ") {
            frame = Some(indent);
            Kind::Noise
        } else if is_source || text.is_empty() || is_frame(text) || is_decoration(text) {
            Kind::Noise
        } else if is_error(text) {
            Kind::Error
        } else {
            Kind::Plain
        };
        in_object |= is_frame(text) && text.ends_with('{');
        kinds.push(kind);
    }
    mark_source(lines, &mut kinds);
    kinds
}

/// Finds the lines that show where an error was raised: Node's excerpt with a caret, Python's innermost frame.
fn mark_source(lines: &[String], kinds: &mut [Kind]) {
    let text = |at: usize| body(&lines[at]).trim();
    let is_caret = |at: usize| !text(at).is_empty() && text(at).chars().all(|c| c == '^');
    // The quoted source may itself contain a word like "error".
    for at in (1..lines.len()).filter(|at| is_caret(*at)) {
        kinds[at - 1] = Kind::Noise;
    }
    let last_error = kinds.iter().rposition(|kind| *kind == Kind::Error);
    for error in 0..lines.len() {
        let last = (0..error).rev().find(|at| !text(*at).is_empty());
        let (Some(last), Kind::Error) = (last, kinds[error]) else {
            continue;
        };
        let is_python = |at: &usize| text(*at).starts_with("File \"");
        let python = (last.saturating_sub(3)..=last).rev().find(is_python);
        // A chain of tracebacks has a frame for each error: only the last one is needed.
        let python = python.filter(|_| Some(error) == last_error);
        let python = python.filter(|from| kinds[*from..=last].iter().all(|it| *it == Kind::Noise));
        let is_node = |from: usize| !is_python(&from) && !text(from).starts_with("node:");
        let node = last.checked_sub(2).filter(|_| is_caret(last));
        let node = node.filter(|from| is_node(*from));
        if let Some(from) = python.or(node) {
            for at in (from..=last).filter(|at| !text(*at).is_empty()) {
                kinds[at] = Kind::Source;
            }
        }
    }
}

/// Whether a line is a stack frame of Node, Java, Python, Rust, Go, Ruby or PHP, or a placeholder for some.
fn is_frame(text: &str) -> bool {
    let numbered = |text: &str| {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        digits > 0 && text[digits..].starts_with(": ")
    };
    let has_place = |text: &str| {
        text.match_indices(':')
            .any(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
    };
    let at = text.strip_prefix("at ");
    at.is_some_and(|rest| has_place(rest) || rest.trim_end_matches([' ', '{']).ends_with(')'))
        || text.starts_with("from ") && has_place(text)
        || text.starts_with("... ") && (text.contains(" more") || text.contains(" lines matching"))
        || text.starts_with('#') && numbered_php(text)
        || numbered(text) && (text.contains("::") || text.contains(" 0x"))
        || text.contains(".go:") && text.starts_with('/')
        || text.ends_with(')') && text.starts_with("main.") && !text.contains(' ')
}

/// `#0 /srv/shop/index.php(12): connect()`
fn numbered_php(text: &str) -> bool {
    text[1..].starts_with(|c: char| c.is_ascii_digit()) && text.contains(' ')
}

/// Whether a line only introduces or closes a stack or a report.
fn is_decoration(text: &str) -> bool {
    const STARTS: [&str; 17] = [
        "Traceback (most recent call last)",
        "During handling of the above exception",
        "The above exception was the direct cause",
        "Emitted 'error' event ",
        "throw er;",
        "throw err;",
        "new UnhandledPromiseRejection(",
        "node:internal/",
        "node:events:",
        "stack backtrace:",
        "note: run with `RUST_BACKTRACE",
        "note: Some details are omitted",
        "goroutine ",
        "exit status ",
        "Stack trace:",
        "<--- ",
        "-----",
    ];
    let is_mark = text.chars().all(|c| matches!(c, '^' | '~' | '{' | '}'));
    is_mark || STARTS.iter().any(|start| text.starts_with(start))
}

/// Whether a line reports an error.
fn is_error(text: &str) -> bool {
    const WORDS: [&str; 16] = [
        "panicked at",
        "panic:",
        "fatal",
        "Caused by",
        "command not found",
        "unbound variable",
        "syntax error",
        "No such file or directory",
        "Permission denied",
        "Address already in use",
        "Segmentation fault",
        "out of memory",
        "Unhandled",
        "Uncaught",
        "Can't locate",
        "error:",
    ];
    let lower = text.to_ascii_lowercase();
    if WORDS
        .iter()
        .any(|word| lower.contains(&word.to_ascii_lowercase()))
    {
        return true;
    }
    // `TypeError`, `java.net.BindException`, `EADDRINUSE`
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| {
            word.ends_with("Error")
                || word.ends_with("Exception")
                || word == "ERROR"
                || is_system_code(word)
        })
}

/// A code of Node or of the operating system: `ERR_MODULE_NOT_FOUND`, `EADDRINUSE`.
fn is_system_code(word: &str) -> bool {
    const CODES: [&str; 20] = [
        "EACCES",
        "EADDRINUSE",
        "EADDRNOTAVAIL",
        "EAI_AGAIN",
        "ECONNREFUSED",
        "ECONNRESET",
        "EEXIST",
        "EHOSTUNREACH",
        "EINVAL",
        "EISDIR",
        "EMFILE",
        "ENOENT",
        "ENOMEM",
        "ENOSPC",
        "ENOTDIR",
        "ENOTFOUND",
        "EPERM",
        "EPIPE",
        "EROFS",
        "ETIMEDOUT",
    ];
    word.starts_with("ERR_") || CODES.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs of real crashes; see `fixtures/logs`.
    #[test]
    fn the_error_is_shown_and_not_the_stack() {
        insta::glob!("../../../../fixtures/logs", "*.log", |path| {
            let text = std::fs::read_to_string(path).unwrap();
            let lines = excerpt(&text);
            assert!(
                !lines.is_empty() && lines.len() <= MOST_LINES,
                "{path:?}: {lines:#?}"
            );
            insta::assert_snapshot!(lines.join("\n"));
        });
    }
}
