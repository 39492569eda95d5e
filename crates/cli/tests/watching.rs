//! How a watch handles files that are saved, made invalid, removed and restored in various ways, on real PM2: how many steps each
//! takes, and that nothing else changes.

mod common;

use std::time::{Duration, Instant};

use common::{Env, Watch, command_line, sleeper};
use pm2_testbed::wait_for;
use serde_json::json;

fn pids(env: &Env, count: u32) -> Vec<u32> {
    (0..count).map(|n| env.pid(&format!("app{n}"))).collect()
}

/// The steps that were taken for an app, once there are `count`; steps are reported when they end.
#[track_caller]
fn steps(watch: &Watch, app: &str, count: usize) -> Vec<String> {
    wait_for(|| reported(watch, app).len() >= count);
    let steps = reported(watch, app);
    assert_eq!(steps.len(), count, "{steps:#?}");
    steps
}

fn reported(watch: &Watch, app: &str) -> Vec<String> {
    let mut lines = watch.lines();
    let is_step = |line: &String| {
        [" in ", ": "]
            .iter()
            .any(|after| line.contains(&format!(" {app}{after}")))
    };
    lines.retain(is_step);
    lines
}

/// Makes an edit and waits until it is fully applied, so that all earlier ones are, too.
fn fence(env: &Env, seconds: u32) {
    env.define("fence", &sleeper("fence", seconds));
    env.wait_for_args("fence", &[&seconds.to_string()]);
}

#[test]
fn each_kind_of_save_is_one_step_of_one_app() {
    let env = Env::with_sleepers(4);
    let watch = env.watch(&[]);
    let before = pids(&env, 4);
    let dir = env.root.join("system/daemons/d0");
    let file = dir.join("ecosystem.pm2.edn");
    let beside = |name: &str| dir.join(name);
    type Save<'a> = Box<dyn Fn(&str) + 'a>;
    let saves: [(&str, Save<'_>); 5] = [
        (
            "in place",
            Box::new(|text| std::fs::write(&file, text).unwrap()),
        ),
        (
            "sed, rsync",
            Box::new(|text| {
                std::fs::write(beside("sedX1"), text).unwrap();
                std::fs::rename(beside("sedX1"), &file).unwrap();
            }),
        ),
        (
            "vim",
            Box::new(|text| {
                std::fs::write(beside("4913"), "").unwrap();
                std::fs::remove_file(beside("4913")).unwrap();
                std::fs::rename(&file, beside("ecosystem.pm2.edn~")).unwrap();
                std::fs::write(&file, text).unwrap();
                std::fs::remove_file(beside("ecosystem.pm2.edn~")).unwrap();
            }),
        ),
        (
            "emacs",
            Box::new(|text| {
                let lock = beside(".#ecosystem.pm2.edn");
                std::os::unix::fs::symlink("user@host.1", &lock).unwrap();
                std::fs::rename(&file, beside("ecosystem.pm2.edn~")).unwrap();
                std::fs::write(&file, text).unwrap();
                std::fs::remove_file(lock).unwrap();
            }),
        ),
        (
            "git",
            Box::new(|text| {
                std::fs::remove_file(&file).unwrap();
                std::fs::write(&file, text).unwrap();
            }),
        ),
    ];
    for (n, (what, save)) in saves.iter().enumerate() {
        let seconds = (2000 + n).to_string();
        save(&sleeper("app0", seconds.parse().unwrap()));
        env.wait_for_args("app0", &[&seconds]);
        fence(&env, 3000 + u32::try_from(n).unwrap());
        let steps = steps(&watch, "app0", 2 + n);
        assert!(steps[1 + n].contains(" restarted "), "{what}: {steps:#?}");
    }
    assert_eq!(pids(&env, 4)[1..], before[1..]);
    assert_eq!(watch.stop(), 0);
}

#[test]
fn no_error_in_a_definition_affects_its_process() {
    let env = Env::with_sleepers(3);
    let watch = env.watch(&[]);
    let file = env.root.join("system/daemons/d0/ecosystem.pm2.edn");
    let whole = sleeper("app0", 1000);
    let half = &whole.as_bytes()[..whole.len() / 2];
    let kinds: [(&str, &[u8]); 5] = [
        ("empty", b""),
        ("half-written", half),
        ("not UTF-8", b"{:apps [\xff\xfe]}"),
        ("not EDN", b"{:apps [08]}"),
        ("not a definition", b"{:apps 7}"),
    ];
    let before = pids(&env, 3);
    for (n, (kind, bytes)) in (1_u32..).zip(kinds) {
        let errors = || {
            let lines = watch.lines();
            lines.iter().filter(|line| line.contains("error:")).count()
        };
        let already = errors();
        std::fs::write(&file, bytes).unwrap();
        wait_for(|| errors() > already);
        fence(&env, 3000 + n);
        assert_eq!(pids(&env, 3), before, "{kind}");
        std::fs::write(&file, &whole).unwrap();
        let usable = || {
            let lines = watch.lines();
            lines
                .iter()
                .filter(|line| line.contains("valid again"))
                .count()
        };
        wait_for(|| usable() == usize::try_from(n).unwrap());
    }
    assert_eq!(pids(&env, 3), before);
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn changes_that_are_undone_at_once_take_no_step() {
    let env = Env::with_sleepers(30);
    let watch = env.watch(&[]);
    let before = pids(&env, 30);
    let all = |text: &dyn Fn(u32) -> String| {
        for n in 0..30 {
            let file = env
                .root
                .join(format!("system/daemons/d{n}/ecosystem.pm2.edn"));
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, text(n)).unwrap();
        }
    };
    let first = |n: u32| sleeper(&format!("app{n}"), 1000);
    // Another branch and back; a directory removed and created again; a file missing for less than a second.
    all(&|n| sleeper(&format!("app{n}"), 2000));
    all(&first);
    for n in 0..10 {
        env.undefine(&format!("d{n}"));
        env.define(&format!("d{n}"), &first(n));
    }
    fence(&env, 2001);
    env.undefine("d0");
    fence(&env, 2002);
    env.define("d0", &first(0));
    fence(&env, 2003);
    assert_eq!(pids(&env, 30), before);
    // Another branch permanently: half of them changed, each once, and nothing else.
    all(&|n| sleeper(&format!("app{n}"), 1000 + 1000 * (n % 2)));
    for n in (1..30).step_by(2) {
        env.wait_for_args(&format!("app{n}"), &["2000"]);
    }
    fence(&env, 2004);
    for n in 0..30 {
        steps(&watch, &format!("app{n}"), 1 + usize::from(n % 2 == 1));
    }
    let after = pids(&env, 30);
    for n in 0..30 {
        assert_eq!(after[n] != before[n], n % 2 == 1, "app{n}");
    }
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn nothing_is_removed_while_the_tree_is_away() {
    let env = Env::with_sleepers(4);
    let watch = env.watch(&[]);
    let before = pids(&env, 4);
    let daemons = env.root.join("system/daemons");
    let away = env.root.join("away");
    std::fs::rename(&daemons, &away).unwrap();
    watch.wait_for_line("does not exist");
    // Longer than the grace period of removals.
    let began = Instant::now();
    wait_for(|| {
        assert_eq!(pids(&env, 4), before);
        began.elapsed() > Duration::from_millis(2500)
    });
    // Another program creates a new, empty tree.
    std::fs::create_dir(&daemons).unwrap();
    watch.wait_for_line("is on hold");
    assert_eq!(pids(&env, 4), before);
    std::fs::remove_dir(&daemons).unwrap();
    std::fs::rename(&away, &daemons).unwrap();
    env.define("d1", &sleeper("app1", 2000));
    env.wait_for_args("app1", &["2000"]);
    for n in [0, 2, 3] {
        assert_eq!(env.pid(&format!("app{n}")), before[n]);
    }
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn an_edit_while_another_is_applied_ends_with_the_newest() {
    let env = Env::with_sleepers(1);
    // It takes half a second to stop.
    env.write(
        "slow.sh",
        "#!/bin/bash\ntrap 'sleep 0.5; exit 0' INT\nwhile :; do read -r -t 3600 <> <(:); done\n",
    );
    let slow = |n: u32| {
        format!(
            "{{:apps [{{:name \"slow\" :script \"./slow.sh\" :args [\"{n}\"] :kill_timeout 5000}}]}}"
        )
    };
    env.define("slow", &slow(0));
    let watch = env.watch(&[]);
    env.define("slow", &slow(1));
    wait_for(|| env.named("slow")[0].status == pm2_client::Status::Stopping);
    for n in 2..10 {
        env.define("slow", &slow(n));
    }
    wait_for(|| {
        let list = env.named("slow");
        let line = list[0].pid.map(command_line).unwrap_or_default();
        line.last().is_some_and(|last| last == "9")
    });
    // The start, the first edit, and one for all edits made while that was applied.
    steps(&watch, "slow", 3);
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn a_definition_that_another_one_mends_gets_its_generated_config() {
    let env = Env::with_sleepers(3);
    let watch = env.watch(&[]);
    // Both declare one name, and the one that changes is not the one that gives it up.
    env.define("d0", &sleeper("app1", 2000));
    watch.wait_for_line("app1");
    wait_for(|| env.run(&["check"]).code == 1);
    fence(&env, 2001);
    env.define("d1", &sleeper("other", 3000));
    env.wait_for_args("app1", &["2000"]);
    env.wait_for_args("other", &["3000"]);
    wait_for(|| {
        let text = std::fs::read_to_string(env.artifact("d0")).unwrap();
        text.contains("\"2000\"")
    });
    assert_eq!(env.run(&["render", "--check"]).code, 0);
    assert_eq!(watch.stop(), 0);
}

#[test]
fn without_healing_removals_and_new_attempts_are_about_their_own_daemons_only() {
    let env = Env::with_sleepers(8);
    let watch = env.watch(&["--no-heal"]);
    assert!(env.bed.cli(&["stop", "app0"]).status.success());
    let is_stopped = || env.named("app0")[0].pid.is_none();
    // A removed daemon is removed after its grace period, although another one is edited meanwhile.
    env.undefine("d1");
    env.undefine("d2");
    fence(&env, 2001);
    wait_for(|| env.list().len() == 7);
    assert!(is_stopped());
    // A failed step is retried.
    env.define("bad", "{:apps [{:name \"bad\" :script \"./missing.sh\"}]}");
    watch.wait_for_line("failed to start bad: script not found");
    env.write("missing.sh", "#!/bin/sh\nexec sleep 1000\n");
    wait_for(|| !env.named("bad").is_empty());
    assert!(is_stopped());
    // A held removal is released when the files are back.
    for n in 3..8 {
        env.undefine(&format!("d{n}"));
    }
    watch.wait_for_line("is on hold");
    for n in 3..8 {
        env.define(&format!("d{n}"), &sleeper(&format!("app{n}"), 1000));
    }
    fence(&env, 2002);
    // Tree problems are reported, too.
    env.write("system/daemons/ecosystem.pm2.edn", "{:apps []}");
    watch.wait_for_line("must be in a directory of its own");
    assert_eq!(env.list().len(), 8);
    assert!(is_stopped());
    assert_eq!(watch.stop(), 0);
}

#[test]
fn settings_that_are_broken_when_they_are_read_again_end_no_watch() {
    for json in [false, true] {
        let env = Env::with_sleepers(1);
        let watch = env.watch(if json { &["--format", "json"] } else { &[] });
        env.write("pm2-sync.edn", "{:on-remov :keep}");
        watch.signal(rustix::process::Signal::HUP);
        watch.wait_for_line("did you mean");
        env.define("d0", &sleeper("app0", 2000));
        env.wait_for_args("app0", &["2000"]);
        env.write("pm2-sync.edn", "{:on-remove :keep}");
        watch.signal(rustix::process::Signal::HUP);
        let read = if json {
            "\"error\":null"
        } else {
            "the settings were read again"
        };
        watch.wait_for_line(read);
        let before = env.pid("app0");
        env.undefine("d0");
        env.define("d1", &sleeper("app1", 1000));
        wait_for(|| env.run(&["status"]).out.contains("no definition, kept"));
        assert_eq!(env.pid("app0"), before);
        assert_eq!(watch.stop(), 0);
    }
}

#[test]
fn a_json_watch_reports_each_step_and_each_change_and_nothing_else() {
    let env = Env::with_sleepers(4);
    let root = env.root.as_str();
    let watch = env.watch(&[
        "--format",
        "json",
        "--workspace",
        root,
        "--renderer",
        "native",
    ]);
    fence(&env, 2001);
    env.undefine("d0");
    env.undefine("d1");
    wait_for(|| {
        watch
            .events("pass")
            .iter()
            .any(|pass| pass["held"] != json!(null))
    });
    env.define("d0", &sleeper("app0", 1000));
    env.define("d1", &sleeper("app1", 1000));
    wait_for(|| watch.events("pass").last().unwrap()["held"] == json!(null));
    fence(&env, 2002);
    env.define("d2", "{:apps [");
    wait_for(|| !watch.events("broken").is_empty());
    env.define("d2", &sleeper("app2", 1000));
    wait_for(|| !watch.events("repaired").is_empty());
    fence(&env, 2003);
    wait_for(|| watch.events("step").len() >= 7);
    assert_eq!(watch.events("step").len(), 7);
    let passes = watch.events("pass");
    let idle = passes.iter().filter(|pass| pass["steps"] == 0);
    // Apps becoming ready is reported separately.
    let problems = |pass: &serde_json::Value| -> Vec<serde_json::Value> {
        let problems = pass["problems"].as_array().unwrap().iter();
        let others = problems.filter(|it| it["kind"] != "starting");
        others.cloned().collect()
    };
    let mut reported: Vec<_> = idle.map(problems).collect();
    reported.dedup();
    reported.retain(|problems| !problems.is_empty());
    // The held removal, and the invalid definition.
    assert_eq!(reported.len(), 2, "{passes:#?}");
    wait_for(|| watch.events("pass").last().unwrap()["in_sync"] == json!(true));
    let held = passes.iter().find(|pass| pass["held"] != json!(null));
    let held = &held.unwrap()["held"];
    let code = held["confirm"].as_str().unwrap();
    // Another mode would change the remaining daemons.
    assert_eq!(
        held["command"],
        format!("pm2-sync sync --confirm {code} --workspace {root} --renderer native")
    );
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_held_removal_and_its_release_are_each_reported_once() {
    let env = Env::with_sleepers(4);
    env.sync();
    env.undefine("d0");
    env.undefine("d1");
    let watch = env.watch(&["--renderer", "native"]);
    let held = || {
        let lines = watch.lines();
        lines
            .iter()
            .filter(|line| line.contains("removal of 2 of 4 daemons is on hold"))
            .count()
    };
    fence(&env, 2001);
    assert_eq!(held(), 1, "{:#?}", watch.lines());
    watch.wait_for_line(" --renderer native`");
    env.define("d0", &sleeper("app0", 1000));
    watch.wait_for_line("no removal is on hold any more");
    assert_eq!(held(), 1);
    assert_eq!(watch.stop(), 0);
}

#[test]
fn every_line_of_a_watch_begins_with_day_and_time_and_every_step_has_a_duration() {
    let env = Env::with_sleepers(2);
    env.define("bad", "{:apps [{:name \"bad\" :script \"./missing.sh\"}]}");
    let watch = env.watch(&[]);
    env.bed.kill_daemon();
    watch.wait_for_line("PM2 is not running any more");
    wait_for(|| env.try_list().is_some_and(|list| list.len() == 2));
    fence(&env, 2001);
    let begins = |line: &String| {
        let time = line.get(..20).unwrap_or_default();
        jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S ", time).is_ok()
    };
    let lines = watch.lines();
    for line in &lines {
        assert!(begins(line), "{line}");
    }
    let line_about = |what: &str| lines.iter().find(|line| line.contains(what)).unwrap();
    let started = line_about(" started d0 app0 in ");
    assert!(started.ends_with(" ms"), "{started}");
    let failed = line_about(" failed to start bad: script not found");
    assert!(failed.ends_with(" ms)"), "{failed}");
    assert_eq!(watch.stop(), 0);
}

/// Nothing else makes the watcher run a pass.
#[test]
fn an_app_that_pm2_gives_up_on_is_reported_at_once_with_its_error() {
    let env = Env::with_sleepers(1);
    let watch = env.watch(&[]);
    env.write(
        "crash.sh",
        "#!/bin/sh\necho the port is taken >&2\nexit 1\n",
    );
    env.define(
        "crash",
        "{:apps [{:name \"crash\" :script \"./crash.sh\" :max_restarts 2}]}",
    );
    watch.wait_for_line("`crash` of crash is degraded");
    watch.wait_for_line("  | the port is taken");
    env.write("crash.sh", "#!/bin/sh\nexec sleep 1000\n");
    watch.wait_for_line("`crash` of crash is not degraded any more");
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_process_that_pm2_starts_again_is_out_of_sync_until_it_is_ready() {
    let env = Env::new();
    env.write(
        "slow.js",
        "setTimeout(() => process.send('ready'), 2000); setInterval(() => {}, 1000);\n",
    );
    env.define(
        "slow",
        "{:apps [{:name \"slow\" :script \"slow.js\" :wait_ready true :listen_timeout 9000 :min_uptime 100}]}",
    );
    let watch = env.watch(&["--format", "json"]);
    let pid = rustix::process::Pid::from_raw(env.pid("slow").try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let last = || watch.events("pass").pop().unwrap();
    wait_for(|| last()["problems"][0]["kind"] == "starting");
    wait_for(|| last()["in_sync"] == true);
    let passes = watch.events("pass");
    let steps: u64 = passes.iter().filter_map(|it| it["steps"].as_u64()).sum();
    assert_eq!(steps, 1, "{passes:#?}");
    assert_eq!(watch.stop(), 0);
}

/// The label of its process does not include it.
#[test]
fn an_app_that_is_protected_while_it_runs_stays_when_it_is_taken_out_of_its_definition() {
    let env = Env::with_sleepers(5);
    let both = |policy: &str, seconds: u32| {
        let app = |name: &str, rest: &str| {
            format!("{{:name \"{name}\" :script \"/bin/sleep\" :args [\"{seconds}\"] {rest}}}")
        };
        let precious = match policy {
            "taken out" => String::new(),
            policy => app("precious", policy),
        };
        format!("{{:apps [{precious} {}]}}", app("side", ""))
    };
    env.define("db", &both("", 1000));
    let watch = env.watch(&[]);
    let before = env.pid("precious");
    env.define("db", &both(":pm2-sync {:protect true}", 1000));
    fence(&env, 2001);
    assert_eq!(env.pid("precious"), before);
    env.define("db", &both("taken out", 1000));
    watch.wait_for_line("is on hold");
    // By any means.
    env.define("db", &both("taken out", 1001));
    env.wait_for_args("side", &["1001"]);
    fence(&env, 2002);
    env.expect(3, &["sync"]);
    env.expect(3, &["sync"]);
    assert_eq!(env.pid("precious"), before);
    let plan = env.json(2, &["plan"]);
    let code = plan["held"]["confirm"].as_str().unwrap().to_owned();
    env.expect(0, &["sync", "--confirm", &code]);
    assert!(env.named("precious").is_empty());
    watch.wait_for_line("no removal is on hold any more");
    assert_eq!(env.run(&["render", "--check"]).code, 0);
    assert_eq!(watch.stop(), 0);
    env.sync();
}
