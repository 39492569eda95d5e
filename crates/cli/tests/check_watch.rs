//! `check` as used by an editor: on one file, and with `--watch`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};

use common::{Env, planted, sleeper};
use rustix::process::{Pid, Signal, kill_process};

/// A running `check --watch`.
struct Check {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Check {
    fn start(env: &Env, args: &[&str]) -> Self {
        let args: Vec<&str> = ["check", "--watch"].iter().chain(args).copied().collect();
        let mut command = env.command(&args);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The lines of the next round: from `checking` to the summary.
    fn round(&mut self) -> Vec<String> {
        let mut round = Vec::new();
        for line in self.lines.by_ref().map(Result::unwrap) {
            planted::check(&line);
            let is_last = line.contains("checked ");
            round.push(line);
            if is_last {
                break;
            }
        }
        assert_eq!(round.first().map(String::as_str), Some("checking"));
        round
    }

    fn stop(mut self) -> i32 {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_save_that_changes_findings_is_a_round() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1));
    let mut check = Check::start(&env, &[]);
    let clean = ["checking", "checked 1 definition: 0 errors, 0 warnings"];
    assert_eq!(check.round(), clean);

    env.define("a", "{:apps [{:name \"a\" :scrip \"./a.js\"}]}");
    let round = check.round().join("\n");
    assert!(
        round.contains(" --> system/daemons/a/ecosystem.pm2.edn:1:"),
        "{round}"
    );
    assert!(round.contains("did you mean `script`?"), "{round}");

    env.define("a", &sleeper("a", 2));
    assert_eq!(check.round(), clean);
    assert_eq!(check.stop(), 0);
}

/// A definition that names an env file.
const WITH_ENV_FILE: &str =
    "{:apps [{:name \"a\" :script \"/bin/sleep\"\n :env_file \"conf/app.env\"}]}";

#[test]
fn each_save_of_an_env_file_that_changes_findings_is_a_round() {
    let env = Env::new();
    env.define("a", WITH_ENV_FILE);
    env.write_private("conf/app.env", "A=1\n");
    let mut check = Check::start(&env, &["a"]);
    let clean = ["checking", "checked 1 definition: 0 errors, 0 warnings"];
    assert_eq!(check.round(), clean);

    // At the line of the file, and where the definition names it.
    env.write_private("conf/app.env", "A=1\nB=\"no end\n");
    let round = check.round().join("\n");
    assert!(round.contains("error: conf/app.env:2: "), "{round}");
    let named = " --> system/daemons/a/ecosystem.pm2.edn:2:";
    assert!(round.contains(named), "{round}");
    assert!(!round.contains("no end"), "{round}");

    env.write_private("conf/app.env", "A=2\n");
    assert_eq!(check.round(), clean);

    let file = env.root.join("conf/app.env");
    std::fs::remove_file(&file).unwrap();
    let round = check.round().join("\n");
    assert!(round.contains("`conf/app.env` does not exist"), "{round}");
    env.write_private("conf/app.env", "A=3\n");
    assert_eq!(check.round(), clean);
    assert_eq!(check.stop(), 0);
}

#[test]
fn a_file_of_a_workspace_is_checked_with_its_env_files() {
    let env = Env::new();
    env.define("a", WITH_ENV_FILE);
    env.write_private("conf/app.env", "A=1\nB=\"no end\n");
    let file = "system/daemons/a/ecosystem.pm2.edn";
    let done = env.expect(1, &["check", file]);
    assert!(done.err.contains("error: conf/app.env:2: "), "{}", done.err);
    assert!(
        done.err.contains(&format!(" --> {file}:2:")),
        "{}",
        done.err
    );
    assert!(!done.err.contains("no end"), "{}", done.err);
    // As in the check by ID.
    let by_id = env.json(1, &["check", "a"]);
    let by_file = env.json(1, &["check", file]);
    assert_eq!(by_file["errors"], by_id["errors"]);
    let about = |found: &serde_json::Value| {
        let found = found["diagnostics"].as_array().unwrap().iter();
        let found = found.map(|it| {
            (
                it["message"].clone(),
                it["path"].clone(),
                it["span"].clone(),
            )
        });
        found.collect::<Vec<_>>()
    };
    assert_eq!(about(&by_file), about(&by_id));
    let annotated = env.run(&["check", file, "--format", "github"]).out;
    assert!(
        annotated.contains("file=conf/app.env,line=2,"),
        "{annotated}"
    );
    env.expect(0, &["check", file, "--no-env-files"]);

    // Paths are relative to the workspace, whatever the current directory.
    let mut command = env.command(&["check", "ecosystem.pm2.edn"]);
    command.current_dir(env.root.join("system/daemons/a"));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: conf/app.env:2: "), "{text}");

    // For a file elsewhere, the base of its paths is not known.
    let elsewhere = env.bed.dir().join("elsewhere.edn");
    std::fs::write(&elsewhere, WITH_ENV_FILE).unwrap();
    env.expect(0, &["check", elsewhere.as_str()]);
}

#[test]
fn it_ends_as_the_last_round_and_takes_no_files() {
    let env = Env::new();
    env.define("a", "{:apps [");
    let mut check = Check::start(&env, &["a"]);
    assert_eq!(
        check.round().last().unwrap(),
        "checked 1 definition: 1 error, 0 warnings"
    );
    assert_eq!(check.stop(), 1);

    let done = env.expect(64, &["check", "--watch", "a.edn"]);
    assert!(
        done.err.contains("`--watch` is for the definitions"),
        "{}",
        done.err
    );
}
