//! No value of an environment variable is printed: a secret in every position and form that a definition allows, and in some that
//! it does not allow, through every command that prints diagnostics.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::collections::BTreeSet;

use common::planted::{self, OUTSIDE};
use common::{Done, Env};

/// The text that must not appear. Each case has a variation of it, so that a leak identifies the case.
const SECRET: &str = "hunter2x";

/// Texts with `SECRET` in place of a variable's value, or of what is meant as one.
fn values() -> Vec<String> {
    let plain = [
        // Every kind of value.
        "\"SECRET\"",
        "SECRET",
        ":SECRET",
        ":a/SECRET",
        "SECRET/a",
        "'SECRET",
        "'SECRET'",
        "`SECRET`",
        "@SECRET",
        "~SECRET",
        "0SECRET",
        "-0SECRET",
        "1/SECRET",
        "0xSECRET",
        "36rSECRETZ",
        "\\SECRET",
        "\\uSECRET",
        "#inst \"SECRET\"",
        "#uuid \"SECRET\"",
        "#SECRET 1",
        "#SECRET \"x\"",
        "#a SECRET",
        "##SECRET",
        "#:SECRET{:a 1}",
        "#js {:a SECRET}",
        "#js [\"SECRET\"]",
        "#queue [SECRET]",
        // Collections.
        "[SECRET]",
        "[\"SECRET\" 08]",
        "(SECRET)",
        "(SECRET \"x\")",
        "(str \"SECRET\")",
        "#{SECRET}",
        "#{SECRET SECRET}",
        "{:a \"SECRET\"}",
        "{:SECRET 1}",
        "{\"SECRET\" 1}",
        "{SECRET 1 SECRET 2}",
        "{:a SECRET :a SECRET}",
        "{:a SECRET :b}",
        "{[SECRET] 1}",
        "{:toString \"SECRET\"}",
        "{:x {:toString SECRET}}",
        "{:__proto__ SECRET}",
        // Invalid strings, and long strings.
        "\"SECRET\\q\"",
        "\"\\qSECRET\"",
        "\"SECRET\\ud83d\"",
        "\"a\\nSECRET\"",
        "\"a\nSECRET\n\"",
        "\"NUL SECRET\"",
        "\"SECRET\" \"SECRET\"",
        "\"SECRET",
        "SECRET\"",
        "\"x SECRET\" y\"",
        "\"a\"SECRET\"b\"",
        "\"a\":SECRET\"b\"",
        "\"a\"'SECRET\"b\"",
        "\"a\"0SECRET\"b\"",
        "\"a\"(SECRET)\"b\"",
        "\"\"\"SECRET\"\"\"",
        "\"\"SECRET\"\"",
        "\"x=\" SECRET",
        "\"x=\" :SECRET",
        "SECRET=",
        ":SECRET=",
        // Beside values.
        "1 ; SECRET\n",
        "1 #! SECRET\n",
        "1 ;; \"SECRET\"\n",
        "#_SECRET 1",
        "#_\"SECRET\" 1",
        "#_#_:A \"SECRET\" 1",
        "#_{:a SECRET} 1",
        "1 #_SECRET",
        "^SECRET {}",
        "^{:a \"SECRET\"} {}",
        "^\"SECRET\" []",
        "^:SECRET 1",
        "##NaN ; SECRET\n",
        "1e400 ; SECRET\n",
        "nil ; SECRET\n",
        "SECRET]",
        "SECRET)",
        "[SECRET",
        "{SECRET",
        "#_",
    ];
    plain.iter().map(|&text| text.to_owned()).collect()
}

/// Positions for such a text, which replaces `VALUE`.
const POSITIONS: &[&str] = &[
    // Variables: alone, before and after others, on separate lines.
    ":env {:PW VALUE}",
    ":env {:A \"x\" :PW VALUE :B \"y\"}",
    ":env {:A 08 :PW VALUE}",
    ":env {:PW VALUE :A 08}",
    ":env {:cwd \"x\" :PW VALUE}",
    ":env {:PW VALUE :A nil}",
    ":env {:A nil\n :PW VALUE\n :name 1}",
    ":env {\"PW\" VALUE, \"A=\" 1}",
    ":env {PW VALUE}",
    // A quote is missing or extra, earlier on the line.
    ":env {:A \"x :PW VALUE :B \"y\"}",
    ":env {:A x\" :PW VALUE :B \"y\"}",
    ":cwd \"x :env {:PW VALUE}",
    ":cwd x\" :env {:PW VALUE}",
    ":args [\"a \"b\"] :env {:PW VALUE}",
    // Together with its name. A separate name is shown.
    ":env {\"PW=SECRET\" VALUE}",
    ":env {:PW=SECRET nil}",
    // Not a map.
    ":env VALUE",
    ":env \"PW=SECRET\"",
    ":env [\"PW=SECRET\" VALUE]",
    ":env [[\"PW\" VALUE]]",
    ":env [{:PW VALUE}]",
    ":env #{VALUE}",
    // The content of an env file in place of its path.
    ":env_file \"PW=SECRET\"",
    ":env_file [\"a=1\" {:path \"PW=SECRET\" :required 1}]",
    ":env_file {:PW VALUE}",
    ":env_file {:PW=SECRET 1}",
    ":env_file [{:path 1 :required VALUE}]",
    // Other environments, and misspelt ones.
    ":env_production {:PW VALUE}",
    ":env_production VALUE",
    ":env-production {:PW VALUE :A nil}",
    ":environment {:PW VALUE}",
    ":Env {:PW VALUE}",
    ":env {} :env {:PW VALUE}",
    ":env {} \"env\" {:PW VALUE}",
    "\"env\" {:PW VALUE}",
    "\"\\u0065nv\" {:PW VALUE}",
    "\"\\145nv\" {:PW VALUE}",
    "env {:PW VALUE}",
    ":x/env {:PW VALUE}",
    "#_:env #_{:PW VALUE}",
    "; :env {:PW \"SECRET\"}\n",
    "^{:env {:PW VALUE}} x y",
];

/// Definitions around them: `APP` is the rest of an app.
const DEFINITIONS: &[&str] = &[
    "{:apps [{:name \"NAME\" :script \"s\" APP}]}",
    "{:apps [{:name \"NAME\" :script \"s\" :instances \"two\" APP :colour 1}]}",
    "{:apps [{:name \"NAME\" :script \"s\" :kill_timeout 08 APP :kill_timeout 09}]}",
    "{:apps [{APP :name \"all\"}\n {:name \"NAME\" :script 7}]}",
    "{:apps [{:name \"NAME\" APP}",
    "{:name \"NAME\" :script \"s\" APP}",
    "[{:name \"NAME\" :script \"s\" APP}]",
    "{:apps [{:name \"NAME\" :script \"s\"}] :profiles {:dev {:apps [{:name \"NAME\" APP :x 1/0}]}}}",
    "{:apps [{:name \"NAME\" :script \"s\" :colour 1}] :deploy {:production {APP :x 1/0}}}",
    "#:x{:apps [{:name \"NAME\" :script \"s\" APP}]}",
    "(apps {:name \"NAME\" APP})",
];

/// Every definition, each with a different secret.
fn cases() -> Vec<(String, String)> {
    let mut cases = Vec::new();
    let mut add = |definition: &str, position: &str, value: &str| {
        let number = cases.len();
        let app = position.replace("VALUE", value);
        let text = definition
            .replace("APP", &app)
            .replace("NAME", &format!("n{number}"))
            .replace("NUL", "\u{0}")
            .replace("SECRET", SECRET);
        cases.push((format!("d{number}"), text));
    };
    // Not all 40,000 combinations, but each with many of the others.
    for (n, value) in values().iter().enumerate() {
        for position in POSITIONS.iter().skip(n % 3).step_by(3) {
            add(DEFINITIONS[0], position, value);
        }
        for definition in DEFINITIONS {
            add(definition, POSITIONS[1], value);
        }
    }
    for position in POSITIONS {
        for definition in DEFINITIONS {
            for value in ["\"SECRET\"", "SECRET", "0SECRET", "\"SECRET"] {
                add(definition, position, value);
            }
        }
    }
    cases
}

/// The output of a plan, without the names of variables of new apps: in some definitions the secret is such a name, and names are
/// shown.
fn without_names(plan: Done) -> Done {
    let Ok(mut data) = serde_json::from_str::<serde_json::Value>(&plan.out) else {
        let lines = plan.out.lines();
        let kept = lines.filter(|line| !line.trim_start().starts_with("env: "));
        let out = kept.collect::<Vec<_>>().join("\n");
        return Done { out, ..plan };
    };
    for step in data["steps"].as_array_mut().unwrap() {
        if let Some(env) = step.pointer_mut("/starts/env") {
            let values = env.as_object().unwrap().values().cloned().collect();
            *env = serde_json::Value::Array(values);
        }
    }
    Done {
        out: data.to_string(),
        ..plan
    }
}

/// Asserts that the output contains no secret.
#[track_caller]
fn assert_silent(cases: &[(String, String)], args: &[&str], done: &Done) {
    for text in [&done.out, &done.err] {
        let Some(at) = text.find(SECRET) else {
            continue;
        };
        let start = text[..at]
            .rfind("ecosystem.pm2.edn")
            .unwrap_or(at)
            .saturating_sub(60);
        let start = (0..=start)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        let end = (at + 100..)
            .find(|at| text.is_char_boundary((*at).min(text.len())))
            .unwrap_or(at);
        let excerpt = &text[start..end.min(text.len())];
        let case = cases
            .iter()
            .find(|(id, _)| excerpt.contains(&format!("/{id}/")));
        panic!("{args:?} shows a secret:\n{excerpt}\nof {case:?}");
    }
}

#[test]
#[should_panic(expected = "a secret is in")]
fn a_secret_in_a_generated_file_fails_every_test() {
    let env = Env::new();
    env.write(
        ".generated/pm2/a.json",
        &format!("{{\"A\": \"{OUTSIDE}\"}}"),
    );
}

#[test]
#[should_panic(expected = "a secret is in")]
fn a_secret_in_the_state_directory_fails_every_test() {
    let env = Env::new();
    let state = env.bed.home().join("pm2-sync/01234567");
    std::fs::create_dir_all(&state).unwrap();
    // Only the history may contain values of a definition.
    std::fs::create_dir(state.join("history")).unwrap();
    std::fs::write(state.join("history/a.jsonl"), planted::IN_DEFINITION).unwrap();
    std::fs::write(state.join("failures.json"), planted::IN_DEFINITION).unwrap();
}

#[test]
#[should_panic(expected = "prints a secret")]
fn a_secret_that_is_printed_fails_every_test() {
    let env = Env::new();
    env.define(OUTSIDE, "{:apps [");
    env.run(&["check"]);
}

#[test]
#[should_panic(expected = "prints a secret")]
fn a_secret_that_is_printed_fails_every_test_however_it_runs_the_command() {
    let env = Env::new();
    env.define(OUTSIDE, "{:apps [");
    let mut command = env.command(&["check"]);
    let _ = command.env("TERM", "dumb").output();
}

#[test]
#[should_panic(expected = "a secret is in")]
fn a_secret_that_is_printed_while_the_test_does_something_else_fails_it() {
    let env = Env::new();
    env.define(OUTSIDE, "{:apps [");
    env.command(&["check"]).spawn().unwrap().wait().unwrap();
}

#[test]
fn no_diagnostic_shows_a_value_of_a_variable() {
    let env = Env::new();
    let cases = cases();
    assert!(cases.len() > 3000, "{}", cases.len());
    for (id, text) in &cases {
        env.define(id, text);
    }
    for command in [
        &["check"][..],
        &["check", "--strict", "-v"],
        &["check", "--format", "json"],
        &["check", "--format", "github"],
        &["check", "--mode", "dev"],
        &["check", "--mode", "dev", "--format", "json"],
        &["check", "--env", "production"],
        &["check", "--color", "always"],
        &["render"],
        &["render", "--format", "json"],
        &["render", "--check"],
        &["render", "--mode", "dev"],
        &["plan"],
        &["status"],
        &["status", "-v"],
        &["doctor"],
        &["doctor", "--format", "json"],
    ] {
        assert_silent(&cases, command, &env.run(command));
    }
    for command in [
        &["plan", "-v"][..],
        &["plan", "--format", "json"],
        &["status", "--format", "json"],
    ] {
        assert_silent(&cases, command, &without_names(env.run(command)));
    }
    // Printed configs contain values on purpose; diagnostics do not.
    let files: Vec<String> = cases
        .iter()
        .map(|(id, _)| format!("system/daemons/{id}/ecosystem.pm2.edn"))
        .collect();
    for part in files.chunks(500) {
        for first in [&["render", "--stdout"][..], &["check"]] {
            let args: Vec<&str> = first
                .iter()
                .copied()
                .chain(part.iter().map(String::as_str))
                .collect();
            let done = env.run(&args);
            let said = Done {
                out: String::new(),
                ..done
            };
            assert_silent(&cases, first, &said);
        }
    }
    // Values are shown on request.
    let shown = env.run(&["check", "--show-values"]);
    assert!(shown.err.contains(SECRET));
    let shown = env.run(&["check", "--show-values", "--format", "json"]);
    assert!(shown.out.contains(SECRET));

    // Valid definitions would be started.
    let data = env.json(1, &["check"]);
    let broken: BTreeSet<&str> = data["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["severity"] == "error")
        .map(|found| found["daemon"].as_str().unwrap())
        .collect();
    assert!(
        broken.len() > cases.len() / 2,
        "{} are broken",
        broken.len()
    );
    for (id, _) in cases.iter().filter(|(id, _)| !broken.contains(id.as_str())) {
        env.undefine(id);
    }
    for command in [
        &["sync"][..],
        &["sync", "-v"],
        &["sync", "--format", "json"],
    ] {
        assert_silent(&cases, command, &env.run(command));
    }
    for format in ["text", "json"] {
        let args = ["-v", "--format", format];
        let watch = env.watch(&args);
        // A definition with a different error is reported again.
        env.define("d0", &format!("{{:apps [{{:env {{:PW 1{SECRET}}}}}]}}"));
        watch.wait_for_line("d0/ecosystem.pm2.edn");
        let said = watch.lines().join("\n");
        assert_eq!(watch.stop(), 0);
        let done = Done {
            code: 0,
            out: said,
            err: String::new(),
        };
        assert_silent(&cases, &args, &done);
    }
}
