//! Random definitions, rendered by us and by the reference's own reader: `cargo xtask differential`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compare;
#[path = "differential/generate.rs"]
mod generate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use compare::{same, sorted};
use daemon_model::{Diagnostic, Level};
use edn_render::{Options, read};
use generate::{Random, definition};
use serde_json::Value;

/// Intended cases in which we are stricter, by a part of the message. `docs/differences.md` gives the reasons.
const STRICTER: &[&str] = &[
    "text after the first form",
    "the file ends where a value should follow",
    "there is nothing here for `#_` to discard",
    "is not a namespace for a map",
    "becomes the same JSON key",
    "the key `__proto__` would be lost",
    "has no form in JSON",
    "is too large for JSON",
    "divides by zero",
    "has a digit that its radix does not have",
    "cannot be a key of a JSON object",
    "half of a surrogate pair",
    "`#uuid` cannot be rendered reliably",
    "`#js` with a keyword, a symbol or a collection inside",
    "only the keyword `:apps` is read",
    "the file is empty",
    "the file contains only `nil`",
    "this is DSL code",
    "expected a map, got nil",
    "more findings are not shown",
];

/// Intended cases in which we are more lenient, by a part of the reference's message and of the text.
const MORE_LENIENT: &[(&str, &str)] = &[
    ("No reader function for tag inst", "#_"),
    ("No reader function for tag uuid", "#_"),
    ("No reader function for tag js", "#_"),
];

/// How many texts one process of the reference gets.
const BATCH: usize = 2000;

fn variable(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}

/// The reference's result for each text: a document, or its message.
fn reference(nbb: &Path, dir: &Path, texts: &[String]) -> Vec<Result<Value, String>> {
    let (from, to) = (dir.join("from.json"), dir.join("to.json"));
    std::fs::write(&from, serde_json::to_vec(texts).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/reference.cljs");
    let output = Command::new(nbb)
        .args([&script, &from, &to])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let answers: Value = serde_json::from_slice(&std::fs::read(&to).unwrap()).unwrap();
    answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| match answer["json"].as_str() {
            // Half of a surrogate pair is not valid text here.
            Some(text) => serde_json::from_str(text)
                .or_else(|error| Ok(Value::String(format!("unreadable: {error}")))),
            None => Err(answer["error"].as_str().unwrap().to_owned()),
        })
        .collect()
}

/// The difference between both results, if there is one.
fn difference(text: &str, theirs: &Result<Value, String>) -> Option<String> {
    let rendered = read(text.as_bytes(), &Options::default());
    let faults: Vec<&Diagnostic> = rendered
        .diagnostics
        .iter()
        .filter(|found| found.is_error() && found.level != Level::Definition)
        .collect();
    let ours = rendered
        .document
        .as_ref()
        .map(|document| Value::Object(document.value().clone()));
    match (ours, theirs) {
        (None, Err(_)) => None,
        (Some(ours), Ok(theirs)) => {
            // In the reference, the order of sets depends on hashes.
            let equal =
                same(&ours, theirs) || text.contains("#{") && same(&sorted(&ours), &sorted(theirs));
            (!equal).then(|| format!("we give        {ours}\nthey give      {theirs}"))
        }
        (None, Ok(theirs)) => {
            let accidents: Vec<&str> = faults
                .iter()
                .map(|found| found.message.as_str())
                .filter(|message| !STRICTER.iter().any(|known| message.contains(known)))
                .collect();
            (!accidents.is_empty()).then(|| {
                format!(
                    "we reject      {}\nthey give      {theirs}",
                    accidents.join("; ")
                )
            })
        }
        (Some(_), Err(message))
            if MORE_LENIENT
                .iter()
                .any(|(part, of_text)| message.contains(part) && text.contains(of_text)) =>
        {
            None
        }
        (Some(ours), Err(message)) => {
            Some(format!("we give        {ours}\nthey reject    {message}"))
        }
    }
}

#[test]
#[ignore = "needs nbb: run `cargo xtask differential`"]
fn definitions_render_as_the_reference_renders_them() {
    let nbb = PathBuf::from(std::env::var("DIFFERENTIAL_NBB").unwrap());
    let count = usize::try_from(variable("DIFFERENTIAL_COUNT", 20_000)).unwrap();
    let mut random = Random::new(variable("DIFFERENTIAL_SEED", 1));
    let texts: Vec<String> = (0..count).map(|_| definition(&mut random)).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut wrong: BTreeMap<usize, String> = BTreeMap::new();
    let (mut rendered, mut rejected) = (0, 0);
    for (batch, texts) in texts.chunks(BATCH).enumerate() {
        for (n, (text, theirs)) in texts
            .iter()
            .zip(reference(&nbb, dir.path(), texts))
            .enumerate()
        {
            match &theirs {
                Ok(_) => rendered += 1,
                Err(_) => rejected += 1,
            }
            if let Some(found) = difference(text, &theirs) {
                wrong.insert(batch * BATCH + n, format!("{text:?}\n{found}"));
            }
        }
    }
    println!("{count} definitions: the reference rendered {rendered} and rejected {rejected}");
    let shown: Vec<String> = wrong
        .iter()
        .take(20)
        .map(|(n, found)| format!("definition {n}: {found}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        shown.join("\n\n")
    );
}
