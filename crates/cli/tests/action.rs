//! Runs the steps of `action.yml` as GitHub's runner does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::Env;
use serde_json::Value;

/// The condition of the last step.
const PLAN_IS_WANTED: &str = "${{ inputs.plan == 'true' && (success() || failure()) }}";

/// The result of a run of the action.
struct Run {
    /// The output of all steps.
    output: String,
    /// The job summary.
    summary: String,
    /// The steps that failed.
    failed: Vec<String>,
}

fn action() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../action.yml");
    serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Runs all steps with these inputs instead of the defaults, with the binary of this build in PATH.
fn run_with(env: &Env, given: &[(&str, &str)]) -> Run {
    let action = action();
    let input = |name: &str| {
        let default = action["inputs"][name]["default"].as_str();
        let given = given.iter().find(|(known, _)| *known == name);
        given.map(|(_, value)| *value).or(default).unwrap()
    };
    let summary = env.bed.dir().join("summary.md");
    std::fs::write(&summary, "").unwrap();
    let mut run = Run {
        output: String::new(),
        summary: String::new(),
        failed: Vec::new(),
    };
    for step in action["runs"]["steps"].as_array().unwrap() {
        // A step without a condition runs if none has failed; the only other condition asks for an input.
        match step["if"].as_str() {
            None if run.failed.is_empty() => {}
            Some(PLAN_IS_WANTED) if input("plan") == "true" => {}
            None | Some(PLAN_IS_WANTED) => continue,
            Some(condition) => unreachable!("unknown condition {condition}"),
        }
        assert_eq!(step["shell"], "bash");
        let mut bash = env.program("bash");
        bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c"])
            .arg(step["run"].as_str().unwrap())
            .env("GITHUB_STEP_SUMMARY", &summary);
        for (name, value) in step["env"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            let name_of_input = value
                .strip_prefix("${{ inputs.")
                .and_then(|rest| rest.strip_suffix(" }}"))
                .unwrap();
            bash.env(name, input(name_of_input));
        }
        let done = bash.output().unwrap();
        run.output
            .push_str(&String::from_utf8(done.stdout).unwrap());
        run.output
            .push_str(&String::from_utf8(done.stderr).unwrap());
        if !done.status.success() {
            run.failed.push(step["name"].as_str().unwrap().to_owned());
        }
    }
    run.summary = std::fs::read_to_string(&summary).unwrap();
    run
}

#[test]
fn the_action_checks_and_shows_the_plan() {
    let env = Env::with_sleepers(2);
    let run = run_with(&env, &[]);
    assert!(run.failed.is_empty(), "{:?}\n{}", run.failed, run.output);
    assert!(run.output.contains("pm2-sync 0."), "{}", run.output);
    let plan = "    start   d0      app0  not running\n    start   d1      app1  not running\n";
    assert!(run.summary.starts_with("### pm2-sync plan\n\n"));
    assert!(run.summary.contains(plan), "{}", run.summary);
    assert!(env.try_list().is_none(), "a plan starts no PM2");
}

#[test]
fn the_action_annotates_errors_and_fails() {
    let env = Env::with_sleepers(1);
    env.define("broken", "{:apps [{:name \"x\" :script 7}]}");
    let run = run_with(&env, &[]);
    assert_eq!(run.failed, ["Check the definitions"]);
    let annotation = "::error file=system/daemons/broken/ecosystem.pm2.edn,line=1,col=28,";
    assert!(run.output.contains(annotation), "{}", run.output);
    assert!(run.summary.contains("app0"), "{}", run.summary);
}

#[test]
fn the_inputs_of_the_action_are_heard() {
    let env = Env::new();
    env.write(
        "shop/system/daemons/a/ecosystem.pm2.edn",
        "{:apps [{:name \"a\" :script \"/bin/sleep\" :colour 1}]}",
    );
    let run = run_with(&env, &[("workspace", "shop"), ("plan", "false")]);
    assert!(run.failed.is_empty(), "{}", run.output);
    assert!(run.output.contains("::warning "), "{}", run.output);
    assert_eq!(run.summary, "");
    let run = run_with(&env, &[("workspace", "shop"), ("strict", "true")]);
    assert_eq!(run.failed, ["Check the definitions"], "{}", run.output);
}
