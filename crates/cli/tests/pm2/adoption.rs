//! Ownership of processes: strangers, adoption, moves, other workspaces.

use pm2_testbed::is_alive;
use serde_json::json;

use crate::common::{Env, command_line, sleeper};

#[test]
fn a_stranger_is_left_alone() {
    let env = Env::new();
    let stranger = env.start_by_hand("stranger", 5000);
    for n in 0..4 {
        env.define(&format!("d{n}"), &sleeper(&format!("mine{n}"), 1000));
    }
    env.sync();
    env.undefine("d0");
    env.sync();
    env.define("d1", &sleeper("mine1", 2000));
    env.sync();
    assert_eq!(env.pid("stranger"), stranger);
}

#[test]
fn a_process_of_a_declared_name_is_taken_over_and_never_duplicated() {
    let env = Env::new();
    let by_hand = env.start_by_hand("app", 5000);
    env.define("a", &sleeper("app", 1000));
    let refused = env.expect(3, &["sync", "--adopt", "never"]);
    assert!(
        refused
            .out
            .contains("blocked a app: the name `app` is taken"),
        "{}",
        refused.out
    );
    assert_eq!(env.pid("app"), by_hand);
    // The failure is remembered until it is resolved.
    let plan = env.expect(3, &["plan"]);
    assert!(plan.out.contains("adopted"), "{}", plan.out);
    env.sync();
    assert_eq!(command_line(env.pid("app")), ["/bin/sleep", "1000"]);
    assert!(!is_alive(by_hand));
}

#[test]
fn an_app_that_moves_to_another_daemon_keeps_its_process() {
    let env = Env::with_sleepers(3);
    env.sync();
    let pids = || [0, 1, 2].map(|n| env.pid(&format!("app{n}")));
    let before = pids();
    env.undefine("d0");
    env.define("moved/here", &sleeper("app0", 1000));
    env.sync();
    assert_eq!(pids(), before, "it was restarted for its label");
    // All of them at once: nothing is removed, so nothing is held.
    let root = env.root.join("system/daemons");
    std::fs::create_dir_all(root.join("all")).unwrap();
    for id in ["d1", "d2", "moved"] {
        std::fs::rename(root.join(id), root.join("all").join(id)).unwrap();
    }
    env.sync();
    assert_eq!(pids(), before);
    // The label is updated by the next restart.
    env.define("all/d1", &sleeper("app1", 2000));
    let done = env.sync();
    assert!(done.out.contains("moved here from d1"), "{}", done.out);
    assert_eq!(env.named("app1")[0].pm2_env["pm2_sync"]["daemon"], "all/d1");
    // It is removed like any other, although its label names an app that no longer exists.
    env.undefine("all/d2");
    env.sync();
    assert_eq!(env.named("app2").len(), 0);
    assert_eq!([env.pid("app0"), env.list().len() as u32], [before[0], 2]);
}

#[test]
fn a_record_that_was_copied_under_another_name_is_left_alone() {
    let env = Env::new();
    env.define("a", &sleeper("app", 1000));
    env.sync();
    assert!(env.bed.cli(&["save"]).status.success());
    let dump = env.bed.home().join("dump.pm2");
    let mut saved: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(&dump).unwrap()).unwrap();
    let mut copy = saved[0].clone();
    copy["name"] = json!("copy");
    saved.push(copy);
    std::fs::write(&dump, json!(saved).to_string()).unwrap();
    assert!(env.bed.cli(&["resurrect"]).status.success());
    let (app, copy) = (env.pid("app"), env.pid("copy"));
    let done = env.expect(3, &["sync"]);
    assert!(
        done.err.contains("carries the label of `app`"),
        "{}",
        done.err
    );
    // Its definition is removed, the copy stays.
    env.undefine("a");
    env.define("b", &sleeper("other", 1000));
    env.expect(3, &["sync"]);
    assert_eq!(env.named("app").len(), 0, "{app}");
    assert_eq!(env.pid("copy"), copy);
    let status = env.json(3, &["status"]);
    let found = status["apps"].as_array().unwrap().iter();
    let found: Vec<&serde_json::Value> = found.filter(|one| one["app"] == "copy").collect();
    assert_eq!(found[0]["condition"], "mislabelled");
}

#[test]
fn two_workspaces_that_want_one_name_are_both_named() {
    let env = Env::new();
    env.define("a", &sleeper("same", 1000));
    env.sync();
    let other = env.bed.dir().join("other");
    std::fs::create_dir_all(other.join("system/daemons/b")).unwrap();
    std::fs::write(
        other.join("system/daemons/b/ecosystem.pm2.edn"),
        sleeper("same", 2000),
    )
    .unwrap();
    let pid = env.pid("same");
    let done = env.expect(3, &["sync", "--workspace", other.as_str()]);
    assert!(done.out.contains(env.root.as_str()), "{}", done.out);
    assert_eq!(env.pid("same"), pid);
    env.sync();
    // Once the first workspace is gone, the second may take the process over only if it defines the same daemon and app.
    let moved = env.bed.dir().join("moved");
    std::fs::rename(&env.root, &moved).unwrap();
    let done = env
        .command(&["sync", "--workspace", moved.as_str()])
        .current_dir(&moved)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(env.named("same").len(), 1);
    std::fs::rename(&moved, &env.root).unwrap();
}
