//! Failures are remembered until they are resolved, whichever command met them.

use camino::Utf8PathBuf;
use pm2_testbed::wait_for;
use rustix::process::Signal;

use crate::common::{Done, Env, sleeper};

/// A script that ignores SIGINT.
const STUBBORN: &str = "#!/bin/bash\ntrap '' INT\nwhile :; do sleep 0.1; done\n";
const SCRIPT_MISSING: &str = "script not found";

fn missing_script(name: &str) -> String {
    format!("{{:apps [{{:name \"{name}\" :script \"./later.sh\"}}]}}")
}

/// The state directory of the only workspace of this PM2.
fn state_dir(env: &Env) -> Utf8PathBuf {
    let top = env.bed.home().join("pm2-sync");
    let mut entries = top.read_dir_utf8().unwrap();
    entries.next().unwrap().unwrap().into_path()
}

#[test]
fn a_failed_step_is_in_status_doctor_and_json_until_it_is_mended() {
    let env = Env::with_sleepers(1);
    env.define("jobs/late", &missing_script("late"));
    // A dry run on this machine predicts the failure.
    let plan = env.json(3, &["plan"]);
    let obstacle = &plan["obstacles"][0];
    assert_eq!(obstacle["app"], "late");
    let error = obstacle["error"].as_str().unwrap();
    assert!(error.contains(SCRIPT_MISSING), "{error}");
    let done = env.expect(3, &["plan"]);
    assert!(
        done.err.contains("`late` of jobs/late would fail"),
        "{}",
        done.err
    );
    // A dry run records nothing.
    assert!(!env.bed.home().join("pm2-sync").exists());

    env.expect(3, &["sync"]);
    let report = env.json(3, &["sync"]);
    assert_eq!(report["failures"][0]["attempts"], 2, "{report}");
    let status = env.json(3, &["status"]);
    let failure = &status["failures"][0];
    assert_eq!(failure["daemon"], "jobs/late");
    assert_eq!(failure["app"], "late");
    assert_eq!(failure["attempts"], 2);
    assert!(failure["retry_at"].is_null(), "no watcher runs");
    let done = env.expect(3, &["status"]);
    let first = "`late` of jobs/late failed 2 times since ";
    assert!(
        done.err.contains(first) && done.err.contains(SCRIPT_MISSING),
        "{}",
        done.err
    );
    let done = env.run(&["doctor"]);
    let said = format!("{}{}", done.out, done.err);
    assert!(said.contains("`late` of jobs/late failed"), "{said}");

    // A pass over other daemons forgets nothing.
    env.expect(0, &["sync", "d0"]);
    assert_eq!(env.json(3, &["status"])["failures"][0]["attempts"], 2);

    env.write("later.sh", "#!/bin/sh\nexec sleep 1000\n");
    env.sync();
    assert_eq!(
        env.json(0, &["status"])["failures"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    env.sync();
}

#[test]
fn a_watch_records_when_it_tries_again_and_repeats_no_identical_failure() {
    let env = Env::with_sleepers(1);
    let watch = env.watch(&[]);
    env.define("jobs/late", &missing_script("late"));
    watch.wait_for_line("jobs/late: retrying in 2.0 s (attempt 4)");
    let lines = watch.lines();
    let said = lines
        .iter()
        .filter(|line| line.contains(SCRIPT_MISSING))
        .count();
    assert_eq!(said, 1, "{lines:?}");
    let status = env.json(3, &["status"]);
    let failure = &status["failures"][0];
    assert!(failure["retry_at"].is_string(), "{status}");
    assert!(failure["attempts"].as_u64().unwrap() >= 3, "{status}");
    // The watch need not repair what a one-shot sync has repaired.
    env.write("later.sh", "#!/bin/sh\nexec sleep 1000\n");
    env.sync();
    assert_eq!(
        env.json(0, &["status"])["failures"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(watch.stop(), 0);
}

#[test]
fn an_artifact_that_cannot_be_written_is_a_recorded_failure() {
    let env = Env::with_sleepers(2);
    env.sync();
    let artifact = env.artifact("d0");
    std::fs::remove_file(&artifact).unwrap();
    std::fs::create_dir_all(artifact.join("full")).unwrap();
    env.define("d0", &sleeper("app0", 2000));
    env.expect(3, &["sync"]);
    env.wait_for_args("app0", &["2000"]);
    let failure = &env.json(3, &["status"])["failures"][0];
    assert_eq!(failure["daemon"], "d0");
    assert!(failure["app"].is_null());
    std::fs::remove_dir_all(&artifact).unwrap();
    env.sync();
    env.expect(0, &["status"]);
}

#[test]
fn a_damaged_state_file_is_set_aside_and_stops_nothing() {
    let env = Env::with_sleepers(1);
    env.define("late", &missing_script("late"));
    env.expect(3, &["sync"]);
    let file = state_dir(&env).join("failures.json");
    std::fs::write(&file, "{\"version\": 1, \"fail").unwrap();
    let damaged = format!("`{file}` is damaged");
    // A command that only reads leaves it in place.
    let done = env.expect(3, &["status"]);
    assert!(done.err.contains(&damaged), "{}", done.err);
    assert!(file.exists());
    let done = env.expect(3, &["sync"]);
    assert!(done.err.contains(&damaged), "{}", done.err);
    assert!(file.with_file_name("failures.json.damaged").exists());
    let done = env.expect(3, &["sync"]);
    assert!(!done.err.contains(&damaged), "{}", done.err);
    assert_eq!(env.json(3, &["status"])["failures"][0]["attempts"], 2);
}

#[test]
fn damaged_histories_and_overrides_are_set_aside_and_stop_nothing() {
    let env = Env::with_sleepers(2);
    env.sync();
    let state = state_dir(&env);
    let files = [state.join("history/d0.jsonl"), state.join("overrides.json")];
    for file in &files {
        std::fs::write(file, "{\"number\": 1, \"at").unwrap();
        let damaged = format!("`{file}` is damaged");
        let done = env.run(&["status"]);
        assert!(done.err.contains(&damaged), "{}", done.err);
        env.define("d0", &sleeper("app0", 2000));
        let done = env.expect(0, &["sync"]);
        assert!(done.err.contains(&damaged), "{}", done.err);
        assert!(
            file.with_file_name(format!("{}.damaged", file.file_name().unwrap()))
                .exists()
        );
        env.sync();
    }
    // The history of that daemon starts over; the other one is unaffected.
    let entries = |id: &str| {
        let text = std::fs::read_to_string(state.join(format!("history/{id}.jsonl"))).unwrap();
        text.lines().count()
    };
    assert_eq!((entries("d0"), entries("d1")), (1, 1));
}

#[test]
fn a_state_directory_that_cannot_be_made_is_a_warning() {
    let env = Env::with_sleepers(1);
    env.define("late", &missing_script("late"));
    std::fs::create_dir_all(env.bed.home()).unwrap();
    std::fs::write(env.bed.home().join("pm2-sync"), "").unwrap();
    let done = env.expect(3, &["sync"]);
    assert!(done.err.contains("cannot write `"), "{}", done.err);
    env.pid("app0");
}

/// The first connection to a newly started PM2 makes no call of its own: its step fails before.
#[test]
fn a_first_sync_starts_apps_once_although_another_step_fails() {
    let env = Env::with_sleepers(2);
    env.define("late", &missing_script("late"));
    let report = env.json(3, &["sync"]);
    assert_eq!(report["steps"].as_array().unwrap().len(), 3, "{report}");
    assert_eq!(env.list().len(), 2);
}

#[test]
fn a_pm2_whose_home_is_full_is_not_started() {
    let env = Env::with_sleepers(1);
    // No file may be larger than 8 KiB.
    let full = "trap '' XFSZ; ulimit -f 16";
    let done = env.run_limited(full, &["sync"]);
    assert_eq!(done.code, 4, "{done:?}");
    let home = format!("cannot write to its home `{}`", env.bed.home());
    assert!(done.err.contains(&home), "{}", done.err);
    assert!(!done.err.contains("started it"), "{}", done.err);
    assert!(env.bed.daemon_pid().is_none());
    let done = env.run_limited(full, &["doctor"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("cannot write to it"), "{}", done.out);
    env.sync();
}

#[test]
fn a_pm2_that_ends_while_steps_are_taken_is_reported_as_such() {
    let env = Env::with_sleepers(1);
    env.write("slow.sh", STUBBORN);
    let slow = |n: u32| {
        format!(
            "{{:apps [{{:name \"slow\" :script \"./slow.sh\" :args [\"{n}\"] :kill_timeout 5000}}]}}"
        )
    };
    env.define("slow", &slow(1));
    env.sync();
    env.define("slow", &slow(2));
    let sync = env.command(&["sync"]).spawn_piped().unwrap();
    wait_for(|| env.named("slow")[0].status == pm2_client::Status::Stopping);
    env.bed.kill_daemon();
    let done = Done::wait(sync);
    let said = done.err;
    assert_eq!(done.code, 4, "{said}");
    assert!(said.contains("PM2 ended during the sync"), "{said}");
    assert!(said.contains("pm2.log` may say why"), "{said}");
    env.sync();
    env.pid("slow");
    env.pid("app0");
}

/// Another program changes PM2 during a slow step.
#[test]
fn a_sync_undoes_outside_changes_while_it_waits() {
    let env = Env::with_sleepers(2);
    env.write("stubborn.sh", STUBBORN);
    let stubborn = |seconds: u32| {
        format!(
            "{{:apps [{{:name \"stubborn\" :script \"./stubborn.sh\" :args [\"{seconds}\"] :kill_timeout 1600}}]}}"
        )
    };
    env.define("slow", &stubborn(1));
    env.sync();
    env.define("slow", &stubborn(2));
    let sync = env.command(&["sync"]).spawn_piped().unwrap();
    // Its only step waits for the process that ignores the signal.
    wait_for(|| env.named("stubborn")[0].status == pm2_client::Status::Stopping);
    assert!(env.bed.cli(&["delete", "app0"]).status.success());
    let done = Done::wait(sync);
    assert_eq!(done.code, 0, "{}", done.err);
    env.pid("app0");
    env.sync();
}

/// An app that edits its own definition on each start.
#[test]
fn a_daemon_that_keeps_changing_is_restarted_less_and_less_often_and_its_last_state_wins() {
    let env = Env::with_sleepers(1);
    env.write(
        "restless.sh",
        "#!/bin/bash\nn=$(($1 + 1))\nf=system/daemons/restless/ecosystem.pm2.edn\n\
         echo \"{:apps [{:name \\\"restless\\\" :script \\\"./restless.sh\\\" :args [\\\"$n\\\"]}]}\" > $f.new\n\
         mv $f.new $f\nexec sleep 1000\n",
    );
    let restless = |n: u32| {
        format!("{{:apps [{{:name \"restless\" :script \"./restless.sh\" :args [\"{n}\"]}}]}}")
    };
    let watch = env.watch(&[]);
    env.define("restless", &restless(0));
    watch.wait_for_line(
        "restless keeps changing: its next change is applied in 4.0 s at the earliest",
    );
    let lines = watch.lines();
    let restarts = lines.iter().filter(|line| line.contains("restart")).count();
    assert!(restarts <= 4, "{lines:?}");
    let warnings = lines
        .iter()
        .filter(|line| line.contains("keeps changing"))
        .count();
    assert_eq!(warnings, 1, "{lines:?}");
    // Other daemons are not delayed.
    env.define("d0", &sleeper("app0", 2000));
    env.wait_for_args("app0", &["2000"]);
    // Finally, the last state is applied.
    env.define("restless", &sleeper("restless", 5000));
    env.wait_for_args("restless", &["5000"]);
    watch.signal(Signal::TERM);
}
