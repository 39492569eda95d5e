//! Cases about more than single attributes: scripts, names, modes, logs, variables, directories, users.

use serde_json::json;

use crate::cases::{Cases, Commands};

pub fn scripts(cases: &mut Cases) {
    for script in [
        "./server.js",
        "other.js",
        "sub/server.js",
        "./sub/../other.js",
        "page.mjs",
        "page.cjs",
        "page.ts",
        "page.tsx",
        "tool.py",
        "tool.rb",
        "tool.php",
        "tool.pl",
        "run.sh",
        "./run.sh",
        "plain",
        "./program",
        "program",
        "empty",
        "my.app.v2.js",
        ".hidden",
        "UPPER.JS",
        "my-tool",
        "worker",
        "tool.sh",
        "lonely.js",
        "python3",
        "serve",
        "ключ.js",
        "bash",
        "node",
    ] {
        cases.add(json!({ "script": script }));
    }
    for script in [
        "sleep 10",
        "python -m http.server",
        "./odd file.js",
        "true && false; echo 'a b' \"$HOME\"",
        " server.js",
    ] {
        cases.add(json!({ "script": script }));
        cases.add(json!({ "script": script, "args": ["lost"], "instances": 2 }));
    }
    for (key, script) in [
        ("cmd", "other.js"),
        ("command", "other.js"),
        ("exec", "other.js"),
        ("cmd", "sleep 10"),
        ("command", "sleep 10"),
    ] {
        let mut app = json!({});
        app[key] = json!(script);
        cases.add(app);
    }
    cases.add(json!({ "script": "server.js", "command": "other.js" }));
    cases.add(json!({ "command": "server.js", "cmd": "other.js" }));
    cases.add(json!({ "exec": "server.js", "command": "other.js" }));
    cases.add(json!({ "exec": "server.js", "cmd": "other.js" }));
    cases.add(json!({ "script": "tool.py", "interpreter": "node" }));
    cases.add(json!({ "script": "tool.py", "env": { "PYTHONUNBUFFERED": "0" } }));
    cases.add(json!({ "script": "tool.py", "node_args": "-u -O" }));
    cases.add(json!({ "script": "program", "interpreter": "bash" }));
    cases.add(json!({ "script": "plain", "interpreter": "ruby" }));
    for script in ["tool.py", "sleep 10", "run.sh"] {
        cases.add(json!({ "script": script })).commands = Commands::Python3;
    }
    for script in ["sleep 10", "server.js", "program"] {
        cases.add(json!({ "script": script })).commands = Commands::Few;
    }
    // Names are unique across all cases: the stand-in distinguishes apps by name.
    for (script, name) in [
        ("scripts/server.js", "server"),
        ("my.app.v2.js", "my.app.v2"),
        (".hidden", ".hidden"),
        ("plain", "plain"),
        ("./odd file.js", "odd file"),
        ("sleep 11.5", "sleep 11"),
        ("/bin/sh -c true", "sh -c true"),
        ("ключ.js", "ключ"),
    ] {
        cases.add_unnamed(name, json!({ "script": script }));
    }
    cases.add_unnamed("other", json!({ "script": "other.js", "name": "" }));
    cases.add_unnamed("page", json!({ "cmd": "page.cjs" }));
}

pub fn names(cases: &mut Cases) {
    for name in [
        "a b",
        "devel/opencode",
        "ns:app",
        "a_b",
        "a.b-c",
        "back\\slash",
        "ключ 漢字",
        "emoji 😀",
        "quote'\"`",
        "$HOME",
        "@scope/name",
        "PATH_LIKE",
        "app.cjs",
        "null",
        "__proto",
        "x".repeat(200).as_str(),
    ] {
        cases.add(json!({ "name": name }));
    }
}

pub fn modes(cases: &mut Cases) {
    let counts = [
        None,
        Some(json!(1)),
        Some(json!(3)),
        Some(json!(0)),
        Some(json!(-1)),
        Some(json!(-2)),
        Some(json!("max")),
        Some(json!("2")),
        Some(json!("-1")),
        Some(json!("0")),
    ];
    for mode in [
        None,
        Some("fork"),
        Some("cluster"),
        Some("fork_mode"),
        Some("cluster_mode"),
    ] {
        for count in &counts {
            let mut app = json!({});
            if let Some(mode) = mode {
                app["exec_mode"] = json!(mode);
            }
            if let Some(count) = count {
                app["instances"] = count.clone();
            }
            // The spellings with `_mode` are equivalent; a few suffice.
            if !mode.is_some_and(|mode| mode.ends_with("_mode")) || count.is_none() {
                cases.add(app);
            }
        }
    }
    for app in [
        json!({ "script": "tool.py" }),
        json!({ "script": "program" }),
        json!({ "script": "plain" }),
        json!({ "script": "page.ts" }),
        json!({ "interpreter": "bun" }),
        json!({ "interpreter": "ts-node" }),
        json!({ "interpreter": "none" }),
        json!({ "interpreter": "./bin-all/node" }),
        json!({ "interpreter": "python3" }),
        json!({ "script": "tool.py", "interpreter": "node" }),
        json!({ "merge_logs": false }),
        json!({ "merge_logs": true }),
        json!({ "execute_command": true }),
        json!({ "autostart": false }),
    ] {
        for more in [
            json!({ "instances": 2 }),
            json!({ "instances": -2 }),
            json!({ "instances": 2, "exec_mode": "cluster" }),
            json!({ "exec_mode": "fork" }),
        ] {
            let mut app = app.clone();
            for (key, value) in more.as_object().unwrap() {
                app[key] = value.clone();
            }
            cases.add(app);
        }
    }
    cases.add(json!({ "execMode": "cluster" }));
    cases.add(json!({ "execMode": "fork", "instances": 2 }));
    cases.add(json!({ "execute_command": false, "exec_mode": "cluster" }));
    cases.add(json!({ "executeCommand": true, "exec_mode": "cluster" }));
    cases.add(json!({ "combine_logs": false }));
    cases.add(json!({ "combine_logs": false, "exec_mode": "cluster" }));
    cases.add(json!({ "mergeLogs": false, "instances": 1 }));
    cases.add(
        json!({ "instances": 2, "instance_var": "WORKER", "increment_var": "PORT", "port": 3000 }),
    );
}

pub fn logs(cases: &mut Cases) {
    for app in [
        json!({ "out_file": "./one.log", "error_file": "./one.log", "log_file": "./one.log" }),
        json!({ "out_file": "NULL", "error_file": "NULL", "pid_file": "NULL", "log_file": "NULL" }),
        json!({ "out_file": "/dev/null", "log_file": true }),
        json!({ "name": "odd/name log", "log_file": true, "merge_logs": false }),
        json!({ "disable_logs": true, "log_type": "json", "time": true }),
        json!({ "out": "./zz-2024.log", "instances": 2 }),
    ] {
        cases.add(app);
    }
}

pub fn environments(cases: &mut Cases) {
    for env in [
        json!({}),
        json!(null),
        json!({ "A": "1", "B": "" }),
        json!({ "A": 1, "B": 1.5, "C": -0.25, "D": 10_000_000_000_u64 }),
        json!({ "A": 2.0, "B": 1e21, "C": 1e-7, "D": 9_007_199_254_740_993_i64 }),
        json!({ "A": true, "B": false, "C": null }),
        json!({ "A": { "b": [1, null, "x y", { "c": true }] }, "B": [], "C": {}, "D": [1, 2] }),
        json!({ "A": { "b": 1.0, "c": [2.0, 1e21, 1e-7, 0.1] } }),
        json!({ "A": { "b": 1, "2": "two", "1": "one", "01": "text" } }),
        json!({ "A": { "quote\"": "\u{7f}\u{1}\u{8}\u{b}\u{c}\n\t\\/ é漢😀\u{2028}" } }),
        json!({ "A": "null", "B": "undefined", "C": "[object Object]" }),
        json!({ "A": "é漢😀\n\t\"'\\ $HOME" }),
        json!({ "PATH": "/own/bin", "LANG": "de_DE", "HOME": "/own/home" }),
        json!({ "PORT": "1", "NODE_ENV": "production", "with-dash": "x", "with.dot": "y", "ключ": "z" }),
        json!({ "PWD": "/own/pwd", "PM2_HOME": "/own/pm2", "_": "own", "SECRET_TOKEN": "own" }),
        json!({ "PM2_USAGE": "own" }),
        json!({ "valueOf": "1", "constructor": "2", "hasOwnProperty": "3" }),
        json!({ "BIG": "x".repeat(20_000) }),
    ] {
        let own_pwd = env.get("PWD").is_some();
        let case = cases.add(json!({ "env": env }));
        case.alone = own_pwd;
    }
    cases.add(json!({ "env": { "PORT": "1" }, "port": 8080 }));
    cases.add(
        json!({ "env_production": { "A": "1" }, "env_staging": { "A": "2" }, "env": { "A": "0" } }),
    );
    let chosen = [
        json!({ "env": { "A": "0", "B": "0" }, "env_production": { "A": "1", "C": 2 }, "env_other": { "A": "9" } }),
        json!({ "env_production": { "A": true, "B": "text", "C": 1.5 } }),
        json!({ "env_production": { "A": { "b": 1 }, "B": [1, "x"] } }),
        json!({ "env_production": { "A": null }, "env": { "A": "0" } }),
        json!({ "env_production": {} }),
        json!({ "port": 8080, "env": { "PORT": "1" }, "env_production": { "PORT": "2" } }),
        json!({ "append_env_to_name": true, "name": "suffixed" }),
        json!({ "append_env_to_name": false }),
        json!({ "script": "tool.py", "env_production": { "PYTHONUNBUFFERED": "0" } }),
        json!({ "env_production": { "PM2_HOME": "/own/pm2", "LANG": "de" } }),
        json!({ "filter_env": ["LANG"], "env_production": { "LANG": "own" } }),
    ];
    for app in chosen {
        let case = cases.add(app);
        case.env_name = Some("production");
        if case.name == "suffixed" {
            case.name = "suffixed-production".into();
        }
    }
    for env in [json!({}), json!({ "A": "app", "C": "app" })] {
        let case = cases.add(json!({ "env": env, "env_production": { "C": "block" } }));
        case.env_name = Some("production");
        case.deploy = Some(json!({
            "production": { "env": { "A": "deploy", "B": "deploy", "C": "deploy" } },
            "staging": { "env": { "A": "staging" } },
        }));
    }
}

pub fn directories(cases: &mut Cases) {
    for cwd in [
        "sub",
        "./sub",
        "sub/",
        "./sub/../sub",
        ".",
        "sub/deeper",
        "/",
        "",
    ] {
        let script = if cwd == "/" { "my-tool" } else { "server.js" };
        cases.add(json!({ "cwd": cwd, "script": script }));
    }
    for app in [
        json!({ "cwd": "sub", "script": "./deeper/server.js" }),
        json!({ "cwd": "sub", "script": "../other.js" }),
        json!({ "cwd": "sub", "script": "my-tool" }),
        json!({ "cwd": "sub", "script": "sleep 10" }),
        json!({ "cwd": "sub", "out_file": "./out.log", "error_file": "~/err.log", "pid_file": "../x.pid" }),
        json!({ "cwd": "sub", "log_file": true }),
        json!({ "cwd": "sub", "filter_env": ["PWD"] }),
        json!({ "cwd": "sub", "env": { "PWD": "/own" } }),
        json!({ "cwd": "sub", "instances": 2, "watch": true }),
    ] {
        cases.add(app);
    }
}

pub fn accounts(cases: &mut Cases) {
    for app in [
        json!({ "uid": "nobody" }),
        json!({ "uid": 65_534 }),
        json!({ "uid": "65534", "gid": "daemon" }),
        json!({ "uid": "daemon", "gid": 2 }),
        json!({ "user": "nobody" }),
        json!({ "user": "daemon", "gid": "0", "cwd": "." }),
        json!({ "uid": "daemon", "env": { "HOME": "/own/home" } }),
        json!({ "uid": 0 }),
        json!({ "uid": "0" }),
    ] {
        cases.add(app);
    }
}
