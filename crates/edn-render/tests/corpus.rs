//! The reference renderer's answers: what it renders, and what it rejects.

#![expect(clippy::print_stdout, reason = "a skip has to be seen")]

mod compare;

use std::path::{Path, PathBuf};

use compare::{same, sorted};
use edn_render::{Options, read};
use serde_json::Value;

/// The corpus beside the project, which is not part of it: only CI requires it.
fn corpus(part: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpus")
        .join(part);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing",
        path.display()
    );
    println!("skipped: {} is missing", path.display());
    None
}

#[test]
fn definitions_render_as_the_reference_renders_them() {
    let Some(dir) = corpus("edn") else { return };
    let mut files: Vec<PathBuf> = dir
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "edn"))
        .collect();
    files.sort();
    assert!(files.len() > 100, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let source = std::fs::read(file).unwrap();
        let rendered = read(&source, &Options::default());
        let ours = rendered
            .document
            .map(|document| Value::Object(document.value().clone()));
        let expected = file.with_extension("expected.json");
        let expected: Option<Value> = expected
            .exists()
            .then(|| serde_json::from_slice(&std::fs::read(&expected).unwrap()).unwrap());
        let case = name.split_once('-').map_or(name, |(_, case)| case);
        let fits = match (&ours, &expected) {
            (None, None) => true,
            (Some(ours), Some(expected)) if case.starts_with("set-") => {
                same(&sorted(ours), &sorted(expected))
            }
            (Some(ours), Some(expected)) => same(ours, expected),
            (None, Some(_)) => case.starts_with("policy-"),
            (Some(_), None) => false,
        };
        if !fits {
            wrong.push(format!("{name}: {ours:?} {:?}", rendered.diagnostics));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        files.len(),
        wrong.join("\n")
    );
}

/// Each rendered config is printed as a definition, which renders to it again.
#[test]
fn printed_definitions_of_the_corpus_and_the_fixtures_render_the_same() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut dirs = vec![fixtures.clone()];
    dirs.extend(corpus("edn"));
    dirs.extend(corpus("real-daemons"));
    let mut printed = 0;
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let is_edn = path.extension().is_some_and(|extension| extension == "edn");
            let document = is_edn
                .then(|| read(&std::fs::read(&path).unwrap(), &Options::default()).document)
                .flatten();
            let Some(document) = document else { continue };
            let text = edn_render::print(document.value()).unwrap();
            let again = read(text.as_bytes(), &Options::default()).document;
            let again = again.unwrap_or_else(|| panic!("{}: {text}", path.display()));
            assert_eq!(
                again.value(),
                document.value(),
                "{}: {text}",
                path.display()
            );
            printed += 1;
        }
    }
    assert!(printed > 20, "{printed}");
}

#[test]
fn modes_sets_and_unsets_render_like_the_reference() {
    let Some(dir) = corpus("modes") else { return };
    let cases: Value =
        serde_json::from_slice(&std::fs::read(dir.join("cases.json")).unwrap()).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let source = std::fs::read(dir.join(case["file"].as_str().unwrap())).unwrap();
        let options = Options {
            mode: case["mode"].as_str().map(ToOwned::to_owned),
            set: texts(&case["set"]),
            unset: texts(&case["unset"]),
            allow_missing_mode: false,
        };
        let rendered = read(&source, &options);
        let ours = rendered.document.map_or(Value::Null, |document| {
            Value::Object(document.value().clone())
        });
        if !same(&ours, &case["expected"]) {
            wrong.push(format!(
                "{case}\n  gave {ours}\n  {:?}",
                rendered.diagnostics
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
