//! Findings about an app that PM2 would misread, ignore or lose.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use daemon_model::{AppSpec, DaemonId, DocumentPath, Severity, SpecContext};
use serde_json::{Value, json};

/// The findings about an app, one per line.
fn findings(mut app: Value) -> String {
    app["name"] = json!("x");
    if app.get("script").is_none() {
        app["script"] = json!("s.js");
    }
    findings_as_it_is(&app)
}

/// As [`findings`], without adding a script.
fn findings_as_it_is(app: &Value) -> String {
    let context = SpecContext {
        root: "/w".into(),
        home: "/home/me".into(),
        env_name: None,
        deploy: None,
    };
    let id = DaemonId::new("a").unwrap();
    let (_, found) = AppSpec::read(&id, app, &DocumentPath::root(), &context);
    let lines: Vec<String> = found
        .iter()
        .map(|finding| {
            let word = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let help = finding.help.as_ref();
            let help = help.map_or_else(String::new, |help| format!(" ({})", help.full()));
            let labels: String = finding
                .labels
                .iter()
                .map(|label| format!(" [{} {}]", label.path, label.message))
                .collect();
            format!(
                "{word}: {}: {}{help}{labels}",
                finding.path,
                finding.message.full()
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn settings_that_pm2_ignores_or_loses_are_reported() {
    insta::assert_snapshot!(
        findings(json!({
            "env-file": ".env",
            "env-production": {},
            "username": "deploy",
            "max-restarts": 3,
            "execMod": "fork",
            "interpeter": "python3",
            "colour": "red",
        })),
        @"
    warning: env-file: unknown attribute `env-file`: PM2 ignores it (write `env_file`, with `_` in place of `-`)
    warning: env-production: unknown attribute `env-production`: PM2 ignores it (write `env_production`, with `_` in place of `-`)
    warning: username: PM2 overwrites this with the name of the user it runs as (to run the app as another user, set `uid`)
    warning: max-restarts: unknown attribute `max-restarts`: PM2 ignores it (write `max_restarts`, with `_` in place of `-`)
    warning: execMod: unknown attribute `execMod`: PM2 ignores it (did you mean `execMode`?)
    warning: interpeter: unknown attribute `interpeter`: PM2 ignores it (did you mean `interpreter`?)
    warning: colour: unknown attribute `colour`: PM2 ignores it
    "
    );
    insta::assert_snapshot!(
        findings(json!({ "max_restarts": 0, "kill_timeout": "0", "listen_timeout": 0, "kill_retry_time": 0 })),
        @"
        warning: max_restarts: PM2's own command line ignores 0 and uses 16; pm2-sync honours it
        warning: kill_timeout: PM2 treats 0 as its default of 1600
        warning: listen_timeout: PM2 treats 0 as its default of 3000
        warning: kill_retry_time: PM2 treats 0 as its default of 100
        "
    );
}

#[test]
fn values_that_crash_pm2_are_reported_before_anything_is_sent() {
    insta::assert_snapshot!(
        findings(json!({
            "watch": ["src", "{1..5000}"],
            "ignore_watch": "x".repeat(5000),
            "watch_options": { "cwd": 5 },
            "instance_var": "status",
            "increment_var": "toString",
        })),
        @"
        error: watch: this would crash PM2; expected paths or patterns of at most 4096 bytes, whose braces stand for at most 1000 paths
        error: ignore_watch: this would crash PM2; expected paths or patterns of at most 4096 bytes, whose braces stand for at most 1000 paths
        error: watch_options: this would crash PM2; expected a map whose `cwd` is a string, whose `ignored` holds patterns, and whose `awaitWriteFinish` is true, false or a map
        error: instance_var: this would crash PM2; expected a name that is not one of PM2's own settings
        error: increment_var: this would crash PM2; expected a name that is not one of PM2's own settings
        "
    );
    let fine = json!({
        "watch": ["src/**/*.{js,ts}"],
        "ignore_watch": "node_modules tmp",
        "watch_options": { "followSymlinks": false, "ignored": ["a"] },
        "instance_var": "NODE_APP_INSTANCE",
        "increment_var": "PORT",
    });
    assert_eq!(findings(fine), "");
}

#[test]
fn a_duration_too_long_for_a_timer_is_reported() {
    insta::assert_snapshot!(
        findings(json!({ "kill_timeout": 2_147_483_648_u64, "restart_delay": 2_147_483_647 })),
        @"warning: kill_timeout: PM2 waits 1 ms instead: its timers allow at most 2147483647 ms, which is 24 days"
    );
}

#[test]
fn cluster_mode_runs_nothing_but_pm2s_own_node() {
    let expected = r#"warning: interpreter: has no effect in cluster mode: PM2 runs the script with its own node (write `:exec_mode "fork"`)"#;
    for app in [
        json!({ "exec_mode": "cluster", "interpreter": "python3" }),
        json!({ "exec_mode": "cluster_mode", "exec_interpreter": "none" }),
        json!({ "exec_mode": "cluster", "interpreter": "/usr/bin/node" }),
        json!({ "exec_mode": "cluster", "interpreter": "ts-node" }),
        // `instances` alone means cluster mode for interpreters that look like node or bun.
        json!({ "instances": 2, "interpreter": "ts-node" }),
        json!({ "instances": "max", "interpreter": "babel-node" }),
        json!({ "instances": 0, "interpreter": "bun" }),
        json!({ "instances": 1, "interpreter": "node@18.20.0", "exec_mode": "cluster" }),
    ] {
        let found = findings(app.clone()).replace("exec_interpreter", "interpreter");
        assert_eq!(found, expected, "{app}");
    }
    for (app, interpreter) in [
        (
            json!({ "exec_mode": "cluster", "script": "a.py" }),
            "python",
        ),
        (
            json!({ "exec_mode": "cluster", "script": "./run.sh" }),
            "bash",
        ),
        (json!({ "exec_mode": "cluster", "script": "a.ts" }), "bun"),
        (json!({ "instances": 4, "script": "a.tsx" }), "bun"),
    ] {
        let expected = format!(
            r#"warning: script: runs with PM2's own node in cluster mode, not with {interpreter} (write `:exec_mode "fork"`)"#
        );
        assert_eq!(findings(app.clone()), expected, "{app}");
    }
    for app in [
        json!({ "exec_mode": "cluster", "interpreter": "node" }),
        json!({ "exec_mode": "cluster" }),
        json!({ "exec_mode": "cluster", "script": "server" }),
        json!({ "exec_mode": "fork", "interpreter": "python3" }),
        json!({ "instances": 4, "interpreter": "python3" }),
        json!({ "instances": 4, "script": "a.py" }),
        json!({ "exec_mode": "cluster", "execute_command": true, "interpreter": "python3" }),
        json!({ "exec_mode": "cluster", "interpreter": "" }),
    ] {
        assert_eq!(findings(app), "");
    }
}

#[test]
fn a_script_with_a_blank_is_a_shell_command() {
    let of = |app: Value| findings(app);
    insta::assert_snapshot!(of(json!({ "script": "node a.js" })), @"warning: script: has a space, so PM2 runs it as a shell command (put the program into `:script`, and its arguments into `:args`)");
    insta::assert_snapshot!(of(json!({ "cmd": "npm run x", "script": "npm run x", "args": "--port 80" })), @"
    warning: script: `script` and `cmd` are the same attribute (keep `script` only) [cmd first defined here]
    warning: script: has a space, so PM2 runs it as a shell command, and `:args` are lost (put the program into `:script`, and its arguments into `:args`)
    ");
    insta::assert_snapshot!(of(json!({ "script": "/opt/my app/a.js", "exec_mode": "cluster" })), @"warning: script: has a space, so PM2 runs it as a shell command, which can only fail in cluster mode (put the program into `:script`, and its arguments into `:args`)");
    assert_eq!(
        of(json!({ "script": "/opt/my-app/a.js", "args": "a b" })),
        ""
    );
}

#[test]
fn an_overridden_setting_is_reported() {
    insta::assert_snapshot!(
        findings(json!({ "time": true, "log_date_format": "HH:mm", "autostart": false, "cron": "0 3 * * *" })),
        @"
    warning: log_date_format: has no effect with `:time true`, which sets its own format (remove one of the two)
    warning: cron: never happens: PM2 does not start an app with `:autostart false`, and restarts only apps that were started (remove `:autostart`)
    "
    );
    for app in [
        json!({ "time": true }),
        json!({ "time": true, "log_date_format": "YYYY-MM-DDTHH:mm:ss" }),
        json!({ "time": false, "log_date_format": "HH:mm" }),
        json!({ "autostart": false }),
        json!({ "autostart": false, "cron_restart": 0 }),
        json!({ "autorestart": false, "cron_restart": "0 3 * * *" }),
    ] {
        assert_eq!(findings(app), "");
    }
}

#[test]
fn an_unreplaced_reference_is_reported_at_its_position() {
    insta::assert_snapshot!(
        findings(json!({
            "script": "$HOME/a.js",
            "cwd": "${APP_DIR}",
            "args": ["--port", "${PORT}"],
            "env": { "URL": "http://${HOST}/", "PATH": "/x:$PATH", "HASH": "$2b$10$N9qo8uLOickgx2ZMRZoMye" },
            "env_production": { "URL": "$URL" },
        })),
        @"
    warning: env_production.URL: refers to a variable, but nothing replaces it: the text is used literally (write the value itself, or have the app read the variable)
    warning: script: refers to a variable, but nothing replaces it: the text is used literally (write the value itself, or have the app read the variable)
    warning: cwd: refers to a variable, but nothing replaces it: the text is used literally (write `:pm2-sync {:interpolate true}` in the app, or `:interpolate true` in `pm2-sync.edn`, to replace it)
    warning: args[1]: refers to a variable, but nothing replaces it: the text is used literally (write `:pm2-sync {:interpolate true}` in the app, or `:interpolate true` in `pm2-sync.edn`, to replace it)
    warning: env.URL: refers to a variable, but nothing replaces it: the text is used literally (write `:pm2-sync {:interpolate true}` in the app, or `:interpolate true` in `pm2-sync.edn`, to replace it)
    warning: env.PATH: refers to a variable, but nothing replaces it: the text is used literally (write the value itself, or have the app read the variable)
    "
    );
    insta::assert_snapshot!(findings(json!({ "args": "--home $HOME" })), @"warning: args: refers to a variable, but nothing replaces it: the text is used literally (write the value itself, or have the app read the variable)");
    // A shell replaces them.
    for app in [
        json!({ "script": "bash", "args": ["-c", "echo $HOME"] }),
        json!({ "script": "/usr/bin/env", "args": "sh -c 'echo $HOME'" }),
        json!({ "script": "x", "interpreter": "/bin/sh", "args": ["$HOME"] }),
    ] {
        assert_eq!(findings(app.clone()), "", "{app}");
    }
}

#[test]
fn text_in_place_of_a_block_of_variables_is_ignored_unless_it_is_chosen() {
    insta::assert_snapshot!(findings(json!({ "env_variable": "TOTO", "env_x": null })), @"warning: env_variable: an `env_NAME` must be a map of environment variables: PM2 ignores this one (write variables in `:env`, or make it a map that `--env` can select)");
    // PM2 refuses these, and the whole file with them.
    for value in [json!(3), json!(true), json!(["A=1"])] {
        let found = findings(json!({ "env_variable": value }));
        assert!(
            found.starts_with("error: env_variable: expected a map of environment variables"),
            "{found}"
        );
    }
    let context = SpecContext {
        root: "/w".into(),
        home: "/home/me".into(),
        env_name: Some("variable"),
        deploy: None,
    };
    let app = json!({ "name": "x", "script": "s", "env_variable": "TOTO" });
    let id = DaemonId::new("a").unwrap();
    let (spec, _) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
    assert!(spec.is_none());
}

#[test]
fn a_zero_that_means_the_same_as_none_is_accepted() {
    let app = json!({
        "maxRestarts": 0, "restart_delay": 0, "merge_logs": false, "wait_ready": false, "max_memory_restart": 0,
        "cron_restart": 0, "autorestart": false, "instances": 0, "port": 0,
    });
    assert_eq!(findings(app), "");
}

#[test]
fn a_refused_attribute_is_not_reported_as_missing() {
    insta::assert_snapshot!(
        findings_as_it_is(&json!({ "name": 5, "script": ["s.js"], "env": { "cwd": "x" }, "instances": "two" })),
        @r#"
    error: name: expected a string, got 5
    error: script: expected a string, got a vector
    error: instances: expected an integer or "max", got "two"
    error: env.cwd: an environment variable named `cwd` would overwrite PM2's attribute of that name (rename the variable, or set the attribute itself)
    "#
    );
    insta::assert_snapshot!(
        findings_as_it_is(&json!({ "name": "a\u{0}b", "script": "s.js" })),
        @"error: name: contains U+0000, which cannot be passed to a process"
    );
    // An error that hides nothing is reported together with the others.
    insta::assert_snapshot!(
        findings_as_it_is(&json!({ "name": "all", "script": "", "cmd": null, "env": { "name": "x" } })),
        @"
    error: : has no `script`, so PM2 has nothing to run
    error: name: PM2 takes the name `all` for every app (choose another name)
    error: env.name: an environment variable named `name` would overwrite PM2's attribute of that name (rename the variable, or set the attribute itself)
    "
    );
}

#[test]
fn an_attribute_by_two_names_is_shown_in_both_places() {
    insta::assert_snapshot!(
        findings(json!({ "log": "a", "log_file": "b" })),
        @"warning: log_file: `log_file` and `log` are the same attribute (keep `log_file` only) [log first defined here]"
    );
}

#[test]
fn impossible_numbers_are_reported() {
    insta::assert_snapshot!(
        findings(json!({ "port": 65_536, "stop_exit_codes": [0, 256] })),
        @"
    warning: port: not a port: expected a whole number up to 65535
    warning: stop_exit_codes: not an exit code: expected at most 255
    "
    );
    insta::assert_snapshot!(
        findings(json!({ "port": 80.5, "stop_exit_codes": 300 })),
        @"
    warning: port: not a port: expected a whole number up to 65535
    warning: stop_exit_codes: not an exit code: expected at most 255
    "
    );
    assert_eq!(
        findings(json!({ "port": "65535", "stop_exit_codes": [0, 255] })),
        ""
    );
}

#[test]
fn a_variable_that_is_nil_is_not_one_that_is_left_out() {
    insta::assert_snapshot!(
        findings(json!({ "env": { "A": null, "B": "null", "C": "" }, "env_production": { "D": null } })),
        @"
    warning: env_production.D: PM2 sets it to the text `null` (leave the variable out, or write an empty string)
    warning: env.A: PM2 sets it to the text `null` (leave the variable out, or write an empty string)
    "
    );
}

#[test]
fn variables_that_pm2_sets_itself_have_no_effect() {
    let env =
        json!({ "PM2_HOME": "/srv", "NODE_CHANNEL_FD": "3", "PYTHONUNBUFFERED": "0", "A": "1" });
    insta::assert_snapshot!(
        findings(json!({ "script": "app.py", "env": env })),
        @"
    warning: env.PM2_HOME: has no effect: PM2 sets this variable itself
    warning: env.NODE_CHANNEL_FD: has no effect: PM2 sets this variable itself
    warning: env.PYTHONUNBUFFERED: has no effect: PM2 sets it to 1 for Python
    "
    );
    for node in [
        json!({ "script": "app.js", "env": { "PYTHONUNBUFFERED": "0" } }),
        json!({ "script": "app.py", "interpreter": "none", "env": { "PYTHONUNBUFFERED": "0" } }),
        json!({ "script": "app.py", "env": { "PYTHONUNBUFFERED": 1 } }),
    ] {
        assert_eq!(findings(node.clone()), "", "{node}");
    }
    let other = json!({ "script": "run", "interpreter": "/opt/python3", "env": { "PYTHONUNBUFFERED": "" } });
    assert!(findings(other).contains("env.PYTHONUNBUFFERED: has no effect"));
}
