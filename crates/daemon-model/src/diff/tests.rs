use serde_json::json;

use super::*;
use crate::{DaemonId, DocumentPath, SpecContext};

/// An app in `/w`, the workspace's root.
fn spec(app: Value) -> AppSpec {
    let context = SpecContext {
        root: Utf8Path::new("/w"),
        home: Utf8Path::new("/home/me"),
        env_name: None,
        deploy: None,
    };
    let id = DaemonId::new("d").unwrap();
    let (spec, findings) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
    spec.unwrap_or_else(|| panic!("{app}: {findings:?}"))
}

fn script(script: &str) -> AppSpec {
    spec(json!({ "name": "a", "script": script }))
}

#[test]
fn globs_name_inherited_variables() {
    let env_policy = EnvPolicy {
        pm2_home: "/p".into(),
        pass_env: vec!["NVM_*".into(), "X*Y".into()],
    };
    for name in ["PATH", "LC_ALL", "NVM_DIR", "XY", "XaY"] {
        assert!(env_policy.inherits(name), "{name}");
    }
    for name in ["PATHS", "NVM", "XYZ", "TOKEN"] {
        assert!(!env_policy.inherits(name), "{name}");
    }
}

#[test]
fn variables_that_pm2_sets_are_no_drift() {
    for name in [
        "PM2_HOME",
        "NODE_CHANNEL_FD",
        "NODE_CHANNEL_SERIALIZATION_MODE",
        "PWD",
        "PYTHONUNBUFFERED",
        "unique_id",
        "PM2_USAGE",
        "PM2_JSON_PROCESSING",
        "updateEnv",
    ] {
        assert!(is_set_by_pm2(name), "{name}");
    }
    for name in ["TOKEN", "PM2", "pwd", "UPDATEENV", ""] {
        assert!(!is_set_by_pm2(name), "{name}");
    }
}

#[test]
fn a_script_is_a_path_or_the_name_of_a_command() {
    let cases = [
        ("./run.js", "/w/run.js", true),
        ("./run.js", "/v/run.js", false),
        ("/bin/sleep", "/bin/sleep", true),
        ("/bin/sleep", "/usr/bin/sleep", false),
        ("sleep", "/usr/bin/sleep", true),
        ("sleep", "/usr/bin/sleeper", false),
        ("sleep", "", false),
        // A script with a space is run by bash, or by sh if there is no bash.
        ("echo a", "/bin/bash", true),
        ("echo a", "/bin/sh", true),
        ("echo a", "/bin/zsh", false),
        ("sleep", "/bin/sh", false),
    ];
    for (written, exec_path, expected) in cases {
        let matches = script_matches(&script(written), exec_path);
        assert_eq!(matches, expected, "{written}, {exec_path}");
    }
}

#[test]
fn an_interpreter_that_pm2_chooses_is_no_drift() {
    let of = |written: &str, interpreter: Option<&str>| {
        let mut app = json!({ "name": "a", "script": written });
        if let Some(interpreter) = interpreter {
            app["interpreter"] = json!(interpreter);
        }
        spec(app)
    };
    let cases = [
        ("./a.js", None, "node", true),
        ("./a.js", None, "/usr/bin/node", true),
        ("./a.js", None, "bash", false),
        ("./a.py", None, "python", true),
        ("./a.py", None, "python3", true),
        ("./a.py", None, "node", false),
        ("./a.py", None, "python2", false),
        ("./a.ts", None, "bun", true),
        ("./a.ts", None, "/opt/node", true),
        ("./a.tsx", None, "bun", true),
        ("./a.tsx", None, "node", false),
        ("./a.sh", None, "bash", true),
        ("./a.sh", None, "sh", false),
        ("./a.rb", None, "ruby", true),
        // Without a known extension: a binary, or a node script.
        ("./a", None, "none", true),
        ("./a", None, "node", true),
        ("./a", None, "python", false),
        ("./a", None, "", false),
        // A path inside of PM2's own package.
        ("./a.coffee", None, "/pm2/coffee", true),
        ("./a.ls", None, "/pm2/lsc", true),
        // PM2 replaces these names with a path.
        ("./a.js", Some("node@18"), "/nvm/v18/bin/node", true),
        ("./a.js", Some("lsc"), "/pm2/lsc", true),
        ("./a.js", Some("coffee"), "/pm2/coffee", true),
        ("./a.js", Some("bun"), "node", false),
    ];
    for (written, interpreter, has, expected) in cases {
        let chosen = interpreter_is_as_chosen(&of(written, interpreter), Some(&json!(has)));
        assert_eq!(chosen, expected, "{written}, {interpreter:?}, {has}");
    }
    assert!(!interpreter_is_as_chosen(&of("./a.js", None), None));
}

#[test]
fn each_extension_has_its_interpreters() {
    assert_eq!(default_interpreters("ts"), Some(&["bun", "node"][..]));
    assert_eq!(default_interpreters("pl"), Some(&["perl"][..]));
    assert_eq!(default_interpreters("php"), Some(&["php"][..]));
    assert_eq!(default_interpreters("exe"), None);
    assert_eq!(default_interpreters(""), None);
}

#[test]
fn a_file_may_carry_the_number_that_it_had_before() {
    let id = PmId(7);
    let cases = [
        ("/l/a-3.log", "/l/a-7.log", "log", true),
        ("/l/a-7.log", "/l/a-7.log", "log", true),
        ("/l/a-x.log", "/l/a-7.log", "log", false),
        ("/l/b-3.log", "/l/a-7.log", "log", false),
        ("/l/a-3.pid", "/l/a-7.log", "log", false),
        ("/l/a-3.pid", "/l/a-7.pid", "pid", true),
        // A file without a number.
        ("/l/a-3.log", "/l/a.log", "log", false),
    ];
    for (has, wanted, extension, expected) in cases {
        let same = differs_in_number_only(has, wanted, extension, id);
        assert_eq!(same, expected, "{has}, {wanted}");
    }
}

#[test]
fn an_orphan_is_known_by_name_script_directory_and_command_line() {
    let app = script("./run.js");
    let orphan = || Orphan {
        pid: 10,
        start_time_ticks: 1,
        name: "a".to_owned(),
        script: "/w/run.js".to_owned(),
        cwd: "/w".into(),
        title: "node /w/run.js".to_owned(),
        command_line: vec!["node".to_owned(), "/w/run.js".to_owned()],
    };
    assert!(is_orphan_of(&app, &orphan()));
    let with = |change: fn(&mut Orphan)| {
        let mut orphan = orphan();
        change(&mut orphan);
        is_orphan_of(&app, &orphan)
    };
    assert!(!with(|it| it.name = "b".to_owned()));
    assert!(!with(|it| it.script = "/w/other.js".to_owned()));
    assert!(!with(|it| it.cwd = "/v".into()));
    // Another program reused the pid.
    assert!(!with(|it| it.command_line = vec!["vi".to_owned()]));
    assert!(!with(|it| it.command_line = vec![]));
    // The title as one word, whole or truncated; not with further words, and not truncated to a single word.
    assert!(with(
        |it| it.command_line = vec!["node /w/run.js".to_owned(), String::new()]
    ));
    assert!(with(|it| it.command_line = vec!["node /w/ru".to_owned()]));
    assert!(!with(|it| it.command_line = vec!["node".to_owned()]));
    assert!(!with(
        |it| it.command_line = vec!["node /w/ru".to_owned(), "b".to_owned()]
    ));
    assert!(!with(|it| it.command_line = vec!["vi /w/x".to_owned()]));
    // The command lines before PM2 sets the title.
    for (container, expected) in [
        ("/n/pm2/lib/ProcessContainerFork.js", true),
        ("/n/pm2/lib/ProcessContainerForkBun.js", true),
        ("/n/pm2/lib/ProcessContainer.js", false),
        ("ProcessContainerFork.js", false),
    ] {
        let mut orphan = orphan();
        orphan.command_line = vec!["node".to_owned(), container.to_owned()];
        assert_eq!(is_orphan_of(&app, &orphan), expected, "{container}");
    }
}

#[test]
fn the_interpreter_decides_the_mode_where_the_app_does_not() {
    let by_interpreter = spec(json!({ "name": "a", "script": "./a.js", "instances": 2 }));
    let fork = spec(json!({ "name": "a", "script": "./a.js" }));
    let cluster = spec(json!({ "name": "a", "script": "./a.js", "exec_mode": "cluster" }));
    for (spec, interpreter, expected) in [
        (&by_interpreter, "/usr/bin/node", ExecMode::Cluster),
        (&by_interpreter, "bun", ExecMode::Cluster),
        (&by_interpreter, "python", ExecMode::Fork),
        (&fork, "node", ExecMode::Fork),
        (&cluster, "python", ExecMode::Cluster),
    ] {
        let mode = exec_mode_with(spec, interpreter);
        assert_eq!(mode, expected, "{interpreter}");
    }
}
