//! Settings that PM2 accepts, but applies differently than their author expects.
//!
//! Source: PM2 7.0.4, as cited for each; measured.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ExecMode;
use super::read::Findings;
use crate::attribute;
use crate::finding::{DocumentPath, Place};
use crate::{Ours, default_interpreters, message};

/// An app whose values have been read, but not interpreted yet.
pub(super) struct ReadApp<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) path: &'a DocumentPath,
    pub(super) values: &'a BTreeMap<&'static str, Value>,
    pub(super) script: &'a str,
    pub(super) exec_mode: ExecMode,
    /// Whether `${NAME}` is replaced.
    pub(super) interpolates: bool,
}

/// Warns of combinations of an app's values.
pub(super) fn warn(app: &ReadApp<'_>, findings: &mut Findings) {
    app.shell_command(findings);
    app.interpreter_of_cluster(findings);
    app.time(findings);
    app.schedule(findings);
    app.references(findings);
}

impl ReadApp<'_> {
    fn text(&self, attribute: &str) -> Option<&str> {
        let text = self.values.get(attribute).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    }

    fn is_on(&self, attribute: &str) -> bool {
        self.values.get(attribute) == Some(&Value::Bool(true))
    }

    fn place(&self, attribute: &str) -> DocumentPath {
        place_of(self.map, self.path, attribute)
    }

    /// Source: `lib/Common.js`, `verifyConfs`.
    fn shell_command(&self, findings: &mut Findings) {
        if !self.script.contains(' ') {
            return;
        }
        let args = match self.values.contains_key("args") {
            true => ", and `:args` are lost",
            false => "",
        };
        let mode = match self.exec_mode {
            ExecMode::Cluster => ", which can only fail in cluster mode",
            _ => "",
        };
        findings.warning(
            &self.place("script"),
            Place::Value,
            message!(
                "has a space, so PM2 runs it as a shell command{}{}",
                args,
                mode
            ),
            Some("put the program into `:script`, and its arguments into `:args`".into()),
        );
    }

    /// PM2's daemon runs cluster workers itself, and ignores the interpreter.
    ///
    /// Source: `lib/God/ClusterMode.js`; `lib/Common.js`, `determineExecMode`, `resolveInterpreter`.
    fn interpreter_of_cluster(&self, findings: &mut Findings) {
        let advice = || Some("write `:exec_mode \"fork\"`".into());
        if let Some(interpreter) = self.text("exec_interpreter") {
            if self.exec_mode == ExecMode::Cluster && interpreter != "node" {
                findings.warning(
                    &self.place("exec_interpreter"),
                    Place::Value,
                    "has no effect in cluster mode: PM2 runs the script with its own node",
                    advice(),
                );
            }
            return;
        }
        let (_, extension) = self.script.rsplit_once('.').unwrap_or_default();
        let Some(by_extension) = default_interpreters(extension) else {
            return;
        };
        let first = by_extension.first().copied().unwrap_or_default();
        let is_cluster = match self.exec_mode {
            ExecMode::Cluster => true,
            // `instances` alone means cluster mode for node and bun.
            ExecMode::ByInterpreter => first == "bun",
            _ => false,
        };
        if is_cluster && first != "node" {
            findings.warning(
                &self.place("script"),
                Place::Value,
                message!(
                    "runs with PM2's own node in cluster mode, not with {}",
                    Ours(first)
                ),
                advice(),
            );
        }
    }

    /// Source: `lib/Common.js`, `verifyConfs`.
    fn time(&self, findings: &mut Findings) {
        let format = self.text("log_date_format");
        if self.is_on("time") && format.is_some_and(|format| format != super::build::TIME_FORMAT) {
            findings.warning(
                &self.place("log_date_format"),
                Place::Value,
                "has no effect with `:time true`, which sets its own format",
                Some("remove one of the two".into()),
            );
        }
    }

    /// Measured: an app that was never started is not restarted.
    fn schedule(&self, findings: &mut Findings) {
        if self.values.get("autostart") == Some(&Value::Bool(false))
            && self.text("cron_restart").is_some()
        {
            findings.warning(
                &self.place("cron_restart"),
                Place::Value,
                "never happens: PM2 does not start an app with `:autostart false`, and restarts only apps that were started",
                Some("remove `:autostart`".into()),
            );
        }
    }

    fn references(&self, findings: &mut Findings) {
        // A shell replaces variables itself.
        let interpolates = self.interpolates;
        if !self.script.contains(' ') {
            let place = || self.place("script");
            check_reference(self.script, interpolates, place, findings);
        }
        if let Some(cwd) = self.text("cwd") {
            check_reference(cwd, interpolates, || self.place("cwd"), findings);
        }
        let Some((key, args)) = written(self.map, "args") else {
            return;
        };
        let words = args
            .as_array()
            .map_or(std::slice::from_ref(args), Vec::as_slice);
        let runs_in_shell = is_shell(self.script)
            || self.text("exec_interpreter").is_some_and(is_shell)
            || words.iter().filter_map(Value::as_str).any(has_shell_option);
        if runs_in_shell {
            return;
        }
        for (n, word) in words.iter().enumerate() {
            let place = || match args.is_array() {
                true => self.path.key(key).index(n),
                false => self.path.key(key),
            };
            check_reference(word.as_str().unwrap_or(""), interpolates, place, findings);
        }
    }
}

/// An attribute as written: the name used, and the value.
pub(super) fn written<'a>(
    app: &'a Map<String, Value>,
    attribute: &str,
) -> Option<(&'a str, &'a Value)> {
    let entry = |name: &str| {
        let (name, value) = app.get_key_value(name)?;
        (!value.is_null()).then_some((name.as_str(), value))
    };
    let attribute = attribute::by_own_name(attribute)?;
    // Nearly always it has its own name.
    entry(attribute.name).or_else(|| attribute.names().find_map(|name| entry(&name)))
}

/// The position of an attribute; that of the whole app if it is absent.
pub(super) fn place_of(
    app: &Map<String, Value>,
    path: &DocumentPath,
    attribute: &str,
) -> DocumentPath {
    written(app, attribute).map_or_else(|| path.clone(), |(key, _)| path.key(key))
}

/// Warns of a value with a reference to a variable that nothing replaces.
pub(super) fn check_reference(
    text: &str,
    interpolates: bool,
    place: impl FnOnce() -> DocumentPath,
    findings: &mut Findings,
) {
    match reference_in(text) {
        Some(Reference::Braces) if !interpolates => findings.warning(
            &place(),
            Place::Value,
            "refers to a variable, but nothing replaces it: the text is used literally",
            Some(
                "write `:pm2-sync {:interpolate true}` in the app, or `:interpolate true` in `pm2-sync.edn`, to replace it".into(),
            ),
        ),
        Some(Reference::Bare) => findings.warning(
            &place(),
            Place::Value,
            "refers to a variable, but nothing replaces it: the text is used literally",
            Some(match interpolates {
                true => "write `${NAME}` to replace it, or `$$` for a dollar sign".into(),
                false => "write the value itself, or have the app read the variable".into(),
            }),
        ),
        _ => {}
    }
}

/// Programs that replace variables.
const SHELLS: [&str; 7] = ["sh", "ash", "bash", "dash", "fish", "ksh", "zsh"];

fn is_shell(program: &str) -> bool {
    SHELLS.contains(&program.rsplit('/').next().unwrap_or(program))
}

/// Whether a command line may pass text to a shell, as in `env bash -c "..."`.
fn has_shell_option(words: &str) -> bool {
    words.split_whitespace().any(|word| {
        let options = word.strip_prefix('-').unwrap_or_default();
        options.ends_with('c') && options.bytes().all(|byte| byte.is_ascii_lowercase())
    })
}

/// A reference to a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reference {
    /// `${NAME}`.
    Braces,
    /// `$NAME`.
    Bare,
}

/// The reference in a text: one with braces, if there is one. Names without braces must be uppercase like those of variables,
/// because passwords and patterns have dollar signs, too.
fn reference_in(text: &str) -> Option<Reference> {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let kind = |rest: &str| {
        let bytes = rest.as_bytes();
        match bytes.first() {
            Some(b'{') => (bytes.get(1).is_some_and(|byte| is_start(*byte)) && rest.contains('}'))
                .then_some(Reference::Braces),
            Some(byte) if byte.is_ascii_uppercase() || *byte == b'_' => {
                let is_name = |byte: &&u8| {
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || **byte == b'_'
                };
                let length = bytes.iter().take_while(is_name).count();
                (length > 1 && !bytes.get(length).is_some_and(u8::is_ascii_alphanumeric))
                    .then_some(Reference::Bare)
            }
            _ => None,
        }
    };
    let found: Vec<Reference> = text.split('$').skip(1).filter_map(kind).collect();
    let braces = found.iter().find(|it| **it == Reference::Braces);
    braces.or(found.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_distinguished_from_dollar_signs() {
        for text in [
            "${A}",
            "x${HOME}/y",
            "$HOME",
            "$HOME/bin",
            "a:$PATH",
            "${a:-b}",
            "$A_1.",
            "$$HOME",
        ] {
            assert!(reference_in(text).is_some(), "{text}");
        }
        for text in [
            "",
            "$",
            "$$",
            "5$",
            "${}",
            "${1}",
            "${A",
            "$1",
            "pa$$word",
            "$x",
            "$Home",
            "$A",
            "$2b$10$N9qo8uLOickgx2ZMRZoMye",
            "^a$",
            "US$",
            "%{A}",
        ] {
            assert_eq!(reference_in(text), None, "{text}");
        }
    }
}
