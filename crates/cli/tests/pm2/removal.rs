//! Removal: its effect, and what holds it.

use std::time::Duration;

use pm2_testbed::{is_alive, wait_for};
use serde_json::json;

use crate::common::{Env, sleeper};

#[test]
fn a_removed_definition_goes_with_its_process_and_artifact() {
    let env = Env::with_group_of_eight();
    env.sync();
    let gone = env.pid("app5");
    let stays = env.pid("app4");
    env.undefine("group/d5");
    let done = env.sync();
    assert!(done.out.contains("definition removed"), "{}", done.out);
    assert!(env.named("app5").is_empty());
    assert!(!is_alive(gone));
    assert!(!env.artifact("group/d5").exists());
    assert_eq!(env.pid("app4"), stays);
}

#[test]
fn a_mass_removal_is_held_until_it_is_confirmed() {
    let env = Env::with_group_of_eight();
    env.sync();
    for n in 0..3 {
        env.undefine(&format!("group/d{n}"));
    }
    let held = env.expect(3, &["sync"]);
    assert_eq!(env.list().len(), 8);
    assert!(env.artifact("group/d0").exists());
    let plan = env.json(2, &["plan"]);
    let code = plan["held"]["confirm"].as_str().unwrap().to_owned();
    assert!(
        held.err
            .contains(&format!("pm2-sync sync --confirm {code}")),
        "{}",
        held.err
    );
    // Another edit does not change the code; another set does.
    env.define("group/d7", &sleeper("app7", 9999));
    assert_eq!(env.json(2, &["plan"])["held"]["confirm"], json!(code));
    let refused = env.expect(64, &["sync", "--confirm", "00000000"]);
    assert!(refused.err.contains(&code), "{}", refused.err);
    assert_eq!(env.list().len(), 8);
    env.expect(0, &["sync", "--confirm", &code]);
    assert_eq!(env.list().len(), 5);
    assert!(!env.artifact("group/d0").exists());
    env.sync();
}

#[test]
fn a_missing_or_empty_tree_removes_nothing() {
    let env = Env::with_group_of_eight();
    env.sync();
    let daemons = env.root.join("system/daemons");
    let away = env.root.join("away");
    std::fs::rename(&daemons, &away).unwrap();
    let done = env.expect(1, &["sync", "--workspace", env.root.as_str()]);
    assert!(done.err.contains("nothing was changed"), "{}", done.err);
    assert_eq!(env.list().len(), 8);
    std::fs::create_dir(&daemons).unwrap();
    env.expect(3, &["sync"]);
    assert_eq!(env.list().len(), 8);
    assert!(env.artifact("group/d0").exists());
    std::fs::remove_dir(&daemons).unwrap();
    std::fs::rename(&away, &daemons).unwrap();
    env.sync();
}

#[test]
fn no_typo_removes_a_daemon() {
    let env = Env::new();
    let app = "{:name \"a\" :script \"/bin/sleep\" :args [\"9999\"]}";
    env.define("a", &format!("{{:apps [{app}]}}"));
    env.sync();
    let pid = env.pid("a");
    for (slip, hint) in [
        ("".to_owned(), "restore its contents"),
        (" ; soon\n".to_owned(), "restore its contents"),
        ("nil".to_owned(), "restore its contents"),
        ("{}".to_owned(), "to remove the daemon, delete the file"),
        (
            format!("#_{{:apps [{app}]}}"),
            "to remove the daemon, delete the file",
        ),
        (
            format!("{{#_:apps #_[{app}]}}"),
            "to remove the daemon, delete the file",
        ),
        (app.to_owned(), "write `{:apps [{...}]}`"),
        (format!("[{app}]"), "write `{:apps [...]}`"),
        (format!("{{:apps {app}}}"), "put it into a vector"),
        (format!("{{:app [{app}]}}"), "write `:apps`"),
        (format!("{{:Apps [{app}]}}"), "write `:apps`"),
        (format!("{{:daemons [{app}]}}"), "write `:apps`"),
        (format!("{{\"apps\" [{app}]}}"), "write `:apps`"),
        (format!("{{:x/apps [{app}]}}"), "write `:apps`"),
        (
            format!("{{:profiles {{:dev {{:apps [{app}]}}}}}}"),
            "beside `:profiles`",
        ),
        ("{:apps nil}".to_owned(), "an empty vector"),
        ("{:apps {}}".to_owned(), "an empty vector"),
        ("{:apps \"\"}".to_owned(), "an empty vector"),
        ("{:apps}".to_owned(), ""),
    ] {
        env.define("a", &slip);
        let check = env.expect(1, &["check"]);
        assert!(check.err.contains(hint), "{slip}: {}", check.err);
        assert!(!check.err.contains("{:apps []}"), "{slip}: {}", check.err);
        env.expect(3, &["plan"]);
        env.expect(3, &["sync"]);
        assert_eq!(env.pid("a"), pid, "{slip}");
        assert!(env.artifact("a").exists(), "{slip}");
    }
    // This is how a definition declares that nothing should run.
    env.define("a", "{:apps []}");
    env.sync();
    assert!(env.list().is_empty());
}

#[test]
fn a_protected_app_stays_until_its_removal_is_confirmed() {
    let env = Env::with_sleepers(8);
    env.define(
        "precious",
        "{:apps [{:name \"precious\" :script \"/bin/sleep\" :args [\"1000\"] :pm2-sync {:protect true}}]}",
    );
    env.sync();
    let pid = env.pid("precious");
    env.undefine("precious");
    env.undefine("d0");
    let done = env.expect(3, &["sync"]);
    assert!(done.err.contains("--confirm"), "{}", done.err);
    assert_eq!(env.pid("precious"), pid);
    assert!(
        env.named("app0").is_empty(),
        "another removal was held, too"
    );
    // Even without generated files, its label remembers.
    std::fs::remove_dir_all(env.root.join(".generated")).unwrap();
    let plan = env.json(2, &["plan"]);
    let code = plan["held"]["confirm"].as_str().unwrap().to_owned();
    env.expect(0, &["sync", "--confirm", &code]);
    assert!(env.named("precious").is_empty());
    env.sync();
}

#[test]
fn the_settings_and_each_app_decide_how_removal_works() {
    let env = Env::new();
    env.write("pm2-sync.edn", "{:on-remove :keep}");
    for n in 0..3 {
        env.define(&format!("d{n}"), &sleeper(&format!("app{n}"), 1000));
    }
    env.define(
        "stopped",
        "{:apps [{:name \"stopped\" :script \"/bin/sleep\" :args [\"1000\"] :pm2-sync {:on-remove :stop}}]}",
    );
    env.sync();
    let kept = env.pid("app0");
    for id in ["d0", "d1", "stopped"] {
        env.undefine(id);
    }
    env.sync();
    assert_eq!(env.pid("app0"), kept);
    let stopped = env.named("stopped");
    assert_eq!((stopped.len(), stopped[0].pid), (1, None));
    let status = env.expect(0, &["status"]);
    assert!(status.out.contains("no definition, kept"), "{}", status.out);
}

#[test]
fn a_confirmation_of_nothing_is_refused() {
    let env = Env::with_sleepers(6);
    env.sync();
    env.undefine("d0");
    let done = env.expect(64, &["sync", "--confirm", "deadbeef"]);
    assert!(done.err.contains("no removal is on hold"), "{}", done.err);
    assert_eq!(env.list().len(), 6);
}

#[test]
fn the_command_that_confirms_works_as_it_is_printed() {
    let env = Env::new();
    for n in 0..4 {
        env.define(&format!("d {n}"), &sleeper(&format!("app{n}"), 1000));
    }
    env.sync();
    for n in 0..2 {
        env.undefine(&format!("d {n}"));
    }
    let done = env.run(&["plan", "d 0", "d 1", "--workspace", env.root.as_str()]);
    let printed = done
        .err
        .split("`pm2-sync ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap();
    assert!(
        printed.contains("'d 0'") && printed.contains("--workspace"),
        "{printed}"
    );
    let line = format!("pm2-sync {printed}");
    let mut shell = env.program("sh");
    let done = shell.args(["-c", &line]).current_dir("/").output().unwrap();
    assert!(done.status.success(), "{line}: {done:?}");
    assert_eq!(env.list().len(), 2);
}

#[test]
fn a_watch_does_not_delete_nearly_everything_one_by_one() {
    let env = Env::with_sleepers(12);
    let watch = env.watch(&[]);
    for n in 0..3 {
        env.undefine(&format!("d{n}"));
        wait_for(|| env.list().len() == 11 - n);
    }
    for n in 3..11 {
        env.undefine(&format!("d{n}"));
        // The grace period of a removal is a second.
        std::thread::sleep(Duration::from_millis(300));
    }
    watch.wait_for_line("sync --confirm ");
    // A daemon that is defined afterwards is started in a later pass.
    env.define("fence", &sleeper("fence", 1000));
    wait_for(|| env.named("fence").len() == 1);
    assert_eq!(env.list().len(), 10);
    env.wait_until_ready("fence");
    assert_eq!(watch.stop(), 0);
    let held = env.json(2, &["plan"])["held"].clone();
    assert_eq!(held["daemons"].as_array().unwrap().len(), 8, "{held}");
    assert_eq!(held["removed_lately"], 3, "{held}");
}

#[test]
fn everything_of_the_workspace_is_removed_and_nothing_else() {
    let env = Env::with_sleepers(3);
    env.sync();
    let stranger = env.start_by_hand("stranger", 1000);
    // There is no terminal to ask on.
    let done = env.expect(64, &["down", "--all"]);
    assert!(done.err.contains("--yes"), "{}", done.err);
    env.pid("app0");
    let down = env.json(0, &["down", "--all", "--yes"]);
    assert_eq!(down["removed"].as_array().unwrap().len(), 3);
    let names: Vec<String> = env.list().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["stranger"]);
    assert_eq!(env.pid("stranger"), stranger);
    let again = env.json(0, &["down", "--all", "--yes"]);
    assert_eq!(again["removed"].as_array().unwrap().len(), 0);
    env.sync();
    env.pid("app0");
    let done = env.expect(0, &["down", "--all", "--yes"]);
    let lines = format!("{}{}", done.out, done.err);
    assert!(lines.contains(": as requested\n"), "{lines}");
}
