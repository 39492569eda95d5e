//! The interface to another renderer, for definitions that this crate cannot render, and the handling of its answer.
//!
//! It is only asked if every error of a definition is [`Level::Unsupported`]. A definition that is invalid, or that the other
//! renderer would read with silent loss, stays an error.

use std::collections::BTreeSet;

use camino::Utf8Path;
use daemon_model::{
    Diagnostic, DocumentPath, Level, Message, Ours, Quoted, Secrecy, Severity, Span, json_number,
    message,
};
use serde_json::{Map, Value};

use crate::findings::Lines;
use crate::{Document, Options, Rendered};

/// Which renderer to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Renderer {
    /// This crate, and the other renderer for what it does not support.
    #[default]
    Auto,
    /// This crate only.
    Native,
    /// The other renderer, for every valid definition.
    Other,
}

/// Another renderer.
pub trait Fallback {
    /// Its name in messages.
    fn name(&self) -> &str;

    /// Renders a file.
    ///
    /// # Errors
    /// A message that says why there is no answer.
    fn render(&self, file: &Utf8Path, options: &Options) -> Result<Answer, NoAnswer>;
}

/// The output of another renderer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its standard output: JSON with `apps`.
    pub output: Vec<u8>,
    /// Its other output, by line.
    pub remarks: Vec<String>,
}

/// Why another renderer gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAnswer {
    /// The reason, as a lowercase fragment.
    pub message: Message,
    /// Whether the same file may succeed later.
    pub is_transient: bool,
}

/// Renders a definition with this crate, and with the other renderer if that is selected and allowed.
#[must_use]
pub fn read_with(
    source: &[u8],
    file: &Utf8Path,
    options: &Options,
    renderer: Renderer,
    fallback: Option<&dyn Fallback>,
) -> Rendered {
    let native = crate::read(source, options);
    let unsupported = native.is_unsupported();
    let wanted = match renderer {
        Renderer::Native => false,
        Renderer::Auto => unsupported,
        Renderer::Other => unsupported || native.document.is_some(),
    };
    match fallback {
        Some(fallback) if wanted => ask(source, file, options, native, fallback),
        None if unsupported && renderer != Renderer::Native => advise(native),
        _ => native,
    }
}

fn advise(mut native: Rendered) -> Rendered {
    for found in native.diagnostics.iter_mut() {
        if found.level == Level::Unsupported && found.help.is_none() {
            found.help = Some(
                "have pm2-clj render it: name its command as `:pm2-clj` in `pm2-sync.edn`"
                    .to_owned(),
            );
        }
    }
    native
}

/// The document from another renderer, and its remarks.
///
/// # Errors
/// [`NoAnswer`] when the renderer gives no answer, or an unusable one.
pub fn answer(
    fallback: &dyn Fallback,
    file: &Utf8Path,
    options: &Options,
) -> Result<(Map<String, Value>, Vec<String>), NoAnswer> {
    let answer = fallback.render(file, options)?;
    let value = parse(&answer.output).map_err(|message| NoAnswer {
        message,
        is_transient: false,
    })?;
    Ok((value, answer.remarks))
}

fn ask(
    source: &[u8],
    file: &Utf8Path,
    options: &Options,
    native: Rendered,
    fallback: &dyn Fallback,
) -> Rendered {
    // Messages about the answer are placed at the value that made it necessary.
    let span = native
        .diagnostics
        .iter()
        .find(|found| found.level == Level::Unsupported);
    let span = span.and_then(|found| found.span).unwrap_or(Span::new(0, 0));
    let lines = Lines::new(source);
    let name = fallback.name();
    // Any quotation may come from an environment.
    let say = |severity, message: Message| {
        let mut found = Diagnostic::of_message(
            severity,
            Level::Render,
            (&message, None),
            &DocumentPath::root(),
            Secrecy::Doubtful,
        );
        found.span = Some(Span::new(span.start, span.end.min(span.start + 1)));
        lines.locate(&mut found, source);
        found
    };
    let mut rendered = Rendered {
        document: None,
        partial: None,
        // A missing `:apps` is an error with either renderer.
        diagnostics: native
            .diagnostics
            .into_iter()
            .filter(|found| found.is_error() && found.level == Level::Definition)
            .collect(),
        modes: native.modes,
        // Only the other renderer knows whether the definition has the mode.
        has_mode: true,
        is_transient: false,
    };
    let (value, remarks) = match answer(fallback, file, options) {
        Ok(answered) => answered,
        Err(none) => {
            rendered.is_transient = none.is_transient;
            rendered.diagnostics.push(say(
                Severity::Error,
                message!("{} {}", Ours(name), none.message),
            ));
            return rendered;
        }
    };
    for remark in remarks {
        rendered.diagnostics.push(say(
            Severity::Warning,
            message!("{}: {}", Ours(name), Quoted(remark)),
        ));
    }
    let apps = value.get("apps").and_then(Value::as_array);
    if apps.is_some_and(Vec::is_empty) && !rendered.diagnostics.has_errors() {
        let mut found = say(Severity::Warning, crate::lower::NO_APPS.into());
        found.level = Level::Definition;
        rendered.diagnostics.push(found);
    }
    let places = native
        .document
        .unwrap_or_else(|| Document::unplaced_at(source, span));
    rendered.document = Some(places.given(value));
    rendered
}

/// Parses the output of another renderer: one JSON object with apps that are objects, with unique names.
fn parse(output: &[u8]) -> Result<Map<String, Value>, Message> {
    if output.iter().all(u8::is_ascii_whitespace) {
        return Err("printed nothing".into());
    }
    let value: Value = serde_json::from_slice(output).map_err(|error| {
        if error.is_eof() {
            "printed JSON that stops in the middle".into()
        } else {
            message!("printed something that is not JSON: {}", Ours(error))
        }
    })?;
    let Value::Object(mut document) = as_doubles(value) else {
        return Err("printed JSON that is not an object".into());
    };
    document.shift_remove("profiles");
    let Some(apps) = document.get("apps").and_then(Value::as_array) else {
        return Err("printed JSON without a list of `apps`".into());
    };
    let mut names = BTreeSet::new();
    for app in apps {
        let Some(app) = app.as_object() else {
            return Err("printed an app that is not an object".into());
        };
        if let Some(name) = app.get("name").and_then(Value::as_str)
            && !names.insert(name)
        {
            return Err(message!("printed two apps named `{}`", Ours(name)));
        }
    }
    Ok(document)
}

/// The same value with every number as a double, as in the rest of this crate.
fn as_doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, json_number),
        Value::Array(items) => items.into_iter().map(as_doubles).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, as_doubles(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Scripted {
        answer: Result<Answer, NoAnswer>,
        asked: Cell<u32>,
    }

    impl Fallback for Scripted {
        fn name(&self) -> &str {
            "pm2-clj"
        }

        fn render(&self, _: &Utf8Path, _: &Options) -> Result<Answer, NoAnswer> {
            self.asked.set(self.asked.get() + 1);
            self.answer.clone()
        }
    }

    fn rendered(source: &str, renderer: Renderer, output: &str) -> (u32, Result<String, String>) {
        let fallback = Scripted {
            answer: Ok(Answer {
                output: output.into(),
                remarks: Vec::new(),
            }),
            asked: Cell::new(0),
        };
        let done = read_with(
            source.as_bytes(),
            "x.edn".into(),
            &Options::default(),
            renderer,
            Some(&fallback),
        );
        let first = done
            .diagnostics
            .iter()
            .next()
            .map(|found| found.in_full().message.clone());
        let value = done
            .document
            .map(|document| Value::Object(document.value().clone()).to_string())
            .ok_or(first.unwrap_or_default());
        (fallback.asked.get(), value)
    }

    const ONE: &str = r#"{"apps":[{"name":"x"}]}"#;

    #[test]
    fn only_unsupported_definitions_are_passed_to_the_other_renderer() {
        let answered = (1, Ok(ONE.to_owned()));
        for source in [
            "(apps)",
            "(ns x (:require [y]))\n(def a #(b %)) @c",
            "; code\n(let [",
            "{:apps (concat a b)}",
            "{:apps [{:name \"x\" :id #uuid \"97bda55b-6175-4c39-9e04-7c0205c709dc\"}]}",
            "{:apps [{:name \"x\" [1] 2}]}",
        ] {
            assert_eq!(rendered(source, Renderer::Auto, ONE), answered, "{source}");
            assert_eq!(rendered(source, Renderer::Native, ONE).0, 0, "{source}");
        }
        for source in [
            "",
            "nil",
            "{:apps [",
            "{:apps (concat a b) :x 08}",
            "[(apps)]",
            "{:apps [{:name \"x\" :name \"y\"}]}",
        ] {
            for renderer in [Renderer::Auto, Renderer::Other] {
                let (asked, value) = rendered(source, renderer, ONE);
                assert_eq!(asked, 0, "{source}");
                assert!(value.is_err(), "{source}");
            }
        }
        let plain = "{:apps [{:name \"y\"}]}";
        assert_eq!(rendered(plain, Renderer::Auto, ONE).0, 0);
        assert_eq!(rendered(plain, Renderer::Other, ONE), answered);
    }

    #[test]
    fn a_map_without_apps_is_refused_with_either_renderer() {
        let fallback = Scripted {
            answer: Ok(Answer {
                output: br#"{"apps": []}"#.to_vec(),
                remarks: Vec::new(),
            }),
            asked: Cell::new(0),
        };
        for renderer in [Renderer::Auto, Renderer::Native, Renderer::Other] {
            let done = read_with(
                b"{:app [{:name \"x\"}]}",
                "x.edn".into(),
                &Options::default(),
                renderer,
                Some(&fallback),
            );
            let messages: Vec<&str> = done
                .diagnostics
                .iter()
                .map(|found| &*found.message)
                .collect();
            assert_eq!(messages, ["has no `:apps`, but `:app`"], "{renderer:?}");
            assert!(done.document.is_some());
        }
        assert_eq!(fallback.asked.get(), 1);
    }

    #[test]
    fn an_answer_is_accepted_completely_or_not_at_all() {
        let of = |output: &str| rendered("(x)", Renderer::Auto, output).1;
        for (output, message) in [
            ("", "pm2-clj printed nothing"),
            (
                r#"{"apps": [{"na"#,
                "pm2-clj printed JSON that stops in the middle",
            ),
            ("[]", "pm2-clj printed JSON that is not an object"),
            ("{}", "pm2-clj printed JSON without a list of `apps`"),
            (
                r#"{"apps": {}}"#,
                "pm2-clj printed JSON without a list of `apps`",
            ),
            (
                r#"{"apps": [null]}"#,
                "pm2-clj printed an app that is not an object",
            ),
            (
                r#"{"apps": [{"name": "a"}, {"name": "a"}]}"#,
                "pm2-clj printed two apps named `a`",
            ),
        ] {
            assert_eq!(of(output), Err(message.to_owned()), "{output}");
        }
        for output in [
            "[PM2] Spawning PM2 daemon",
            r#"{"apps": []} {}"#,
            "{'apps': []}",
        ] {
            let message = of(output).unwrap_err();
            assert!(
                message.starts_with("pm2-clj printed something that is not JSON"),
                "{message}"
            );
        }
        assert_eq!(
            of(r#"{"apps": [{"n": 10.0}], "profiles": {}}"#),
            Ok(r#"{"apps":[{"n":10}]}"#.to_owned())
        );
    }
}
