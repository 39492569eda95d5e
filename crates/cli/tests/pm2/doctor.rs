//! `doctor`: what it finds. It never aborts, and changes nothing.

use std::collections::BTreeSet;

use camino::Utf8Path;
use pm2_testbed::wait_for;
use serde_json::Value;

use crate::common::{Env, sleeper};

/// The topics of the findings with this grade.
fn about(report: &Value, grade: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .filter(|finding| finding["grade"] == grade)
        .map(|finding| finding["about"].as_str().unwrap().to_owned())
        .collect()
}

/// Every path below a directory.
fn tree(dir: &Utf8Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir_utf8().into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path().to_owned());
            }
            found.insert(entry.path().to_string());
        }
    }
    found
}

#[test]
fn doctor_reports_problems_and_gives_advice() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    assert_eq!(about(&env.json(0, &["doctor"]), "fault"), [""; 0]);
    assert!(env.bed.daemon_pid().is_none(), "`doctor` started PM2");
    env.sync();
    let done = env.expect(0, &["doctor"]);
    assert!(done.out.contains("running, version 7."), "{}", done.out);
    env.bed.kill_daemon();
    let done = env.expect(0, &["doctor"]);
    assert!(
        done.out
            .contains("started by PM2, still running, but not in its list: a (pid"),
        "{}",
        done.out
    );
    let long = env.bed.dir().join("x".repeat(100));
    let faults = env.json(
        1,
        &[
            "doctor",
            "--pm2-home",
            long.as_str(),
            "--pm2",
            "/nowhere/pm2",
        ],
    );
    assert_eq!(about(&faults, "fault"), ["pm2 command", "PM2's home"]);
}

#[test]
fn doctor_changes_nothing() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let before = tree(env.bed.dir());
    env.expect(0, &["doctor"]);
    assert_eq!(tree(env.bed.dir()), before);
}

#[test]
fn doctor_examines_the_rest_when_the_settings_are_not_valid() {
    let env = Env::new();
    env.write("pm2-sync.edn", "{:on-remov :stop}");
    let report = env.json(1, &["doctor"]);
    assert_eq!(report["ok"], false);
    assert_eq!(about(&report, "fault"), ["settings"]);
    let settings = &report["findings"][0];
    assert!(
        settings["found"]
            .as_str()
            .unwrap()
            .contains("line 1: unknown setting `:on-remov`"),
        "{settings}"
    );
    assert_eq!(settings["advice"], "did you mean `:on-remove`?");
    for part in ["pm2 command", "PM2's home", "PM2 daemon"] {
        assert!(about(&report, "ok").contains(&part.to_owned()), "{report}");
    }
}

#[test]
fn doctor_examines_the_rest_outside_of_a_workspace() {
    let env = Env::new();
    std::fs::remove_dir_all(&env.root).unwrap();
    std::fs::create_dir(&env.root).unwrap();
    let report = env.json(1, &["doctor"]);
    assert_eq!(about(&report, "fault"), ["workspace"]);
    assert!(
        about(&report, "ok").contains(&"PM2 daemon".to_owned()),
        "{report}"
    );
    let text = env.expect(1, &["doctor"]);
    assert!(text.out.contains("--workspace DIR"), "{}", text.out);
}

#[test]
fn doctor_examines_the_rest_when_no_home_is_known() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let output = env
        .command(&["doctor", "--format", "json"])
        .env_remove("HOME")
        .env_remove("PM2_HOME")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(about(&report, "fault"), ["PM2's home"]);
}

#[test]
fn a_command_other_than_pm2_is_a_fault() {
    let env = Env::new();
    env.define("a", &sleeper("a", 1000));
    let script = |name: &str, text: &str| {
        env.write(name, text);
        let path = env.root.join(name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        path
    };
    let fake = script("fake", "#!/bin/sh\necho hello\n");
    let report = env.json(1, &["doctor", "--pm2", fake.as_str()]);
    assert_eq!(about(&report, "fault"), ["pm2 command"]);
    // A wrapper works as well as the command itself.
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", pm2_testbed::pm2_bin());
    let wrapper = script("wrapper", &text);
    let report = env.json(0, &["doctor", "--pm2", wrapper.as_str()]);
    assert!(
        about(&report, "ok").contains(&"pm2 command".to_owned()),
        "{report}"
    );
}

#[test]
fn doctor_names_invalid_definitions_and_degraded_apps() {
    let env = Env::new();
    env.define(
        "a",
        "{:apps [{:name \"dies\" :script \"/bin/false\" :max_restarts 1 :min_uptime 5000}]}",
    );
    env.run(&["sync"]);
    wait_for(|| env.named("dies")[0].status == pm2_client::Status::Errored);
    env.forget_history();
    env.define("b", "{:apps [");
    let done = env.expect(0, &["doctor"]);
    assert!(done.out.contains("not valid: b"), "{}", done.out);
    assert!(done.out.contains("degraded: dies"), "{}", done.out);
}
