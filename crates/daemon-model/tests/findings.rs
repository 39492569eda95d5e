//! What is found about an app that PM2 would misread, ignore or lose.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use daemon_model::{AppSpec, DaemonId, DocumentPath, Severity, SpecContext};
use serde_json::{Value, json};

/// The findings about an app, one on a line.
fn findings(mut app: Value) -> String {
    app["name"] = json!("x");
    if app.get("script").is_none() {
        app["script"] = json!("s.js");
    }
    findings_as_it_is(&app)
}

/// The same about an app that nothing is added to.
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
            let help = help.map_or_else(String::new, |help| format!(" ({help})"));
            let labels: String = finding
                .labels
                .iter()
                .map(|label| format!(" [{} {}]", label.path, label.message))
                .collect();
            format!(
                "{word}: {}: {}{help}{labels}",
                finding.path, finding.message
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn what_pm2_ignores_or_loses_is_told() {
    insta::assert_snapshot!(
        findings(json!({
            "env_file": ".env",
            "env-production": {},
            "username": "deploy",
            "max-restarts": 3,
            "execMod": "fork",
            "interpeter": "python3",
            "colour": "red",
        })),
        @"
        warning: env_file: unknown attribute `env_file`: PM2 ignores it (PM2 reads no environment files: write the variables in `env`)
        warning: env-production: unknown attribute `env-production`: PM2 ignores it (did you mean `env_production`?)
        warning: username: PM2 overwrites this with the name of the user it runs as (to run the app as another user set `uid`)
        warning: max-restarts: unknown attribute `max-restarts`: PM2 ignores it (did you mean `max_restarts`?)
        warning: execMod: unknown attribute `execMod`: PM2 ignores it (did you mean `execMode`?)
        warning: interpeter: unknown attribute `interpeter`: PM2 ignores it (did you mean `interpreter`?)
        warning: colour: unknown attribute `colour`: PM2 ignores it
        "
    );
    insta::assert_snapshot!(
        findings(json!({ "max_restarts": 0, "kill_timeout": "0", "listen_timeout": 0, "kill_retry_time": 0 })),
        @"
        warning: max_restarts: PM2's own command line would lose this 0 and take 16; pm2-sync honours it
        warning: kill_timeout: PM2 takes a 0 here for its default of 1600
        warning: listen_timeout: PM2 takes a 0 here for its default of 3000
        warning: kill_retry_time: PM2 takes a 0 here for its default of 100
        "
    );
}

#[test]
fn what_ends_pm2_is_told_before_anything_is_sent() {
    insta::assert_snapshot!(
        findings(json!({
            "watch": ["src", "{1..5000}"],
            "ignore_watch": "x".repeat(5000),
            "watch_options": { "cwd": 5 },
            "instance_var": "status",
            "increment_var": "toString",
        })),
        @"
        error: watch: PM2 would die of this; expected paths or patterns of at most 4096 bytes, whose braces stand for at most 1000 paths
        error: ignore_watch: PM2 would die of this; expected paths or patterns of at most 4096 bytes, whose braces stand for at most 1000 paths
        error: watch_options: PM2 would die of this; expected a map whose `cwd` is a string, whose `ignored` holds patterns, and whose `awaitWriteFinish` is true, false or a map
        error: instance_var: PM2 would die of this; expected a name that is not one of PM2's own settings
        error: increment_var: PM2 would die of this; expected a name that is not one of PM2's own settings
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
fn a_time_that_no_timer_holds_is_told() {
    insta::assert_snapshot!(
        findings(json!({ "kill_timeout": 2_147_483_648_u64, "restart_delay": 2_147_483_647 })),
        @"warning: kill_timeout: PM2 waits 1 ms instead: its timers hold at most 2147483647 ms, which is 24 days"
    );
}

#[test]
fn cluster_mode_runs_nothing_but_pm2s_own_node() {
    for app in [
        json!({ "exec_mode": "cluster", "interpreter": "python3" }),
        json!({ "exec_mode": "cluster_mode", "exec_interpreter": "none" }),
    ] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(
                findings(app).replace("exec_interpreter", "interpreter"),
                @r#"warning: interpreter: has no effect in cluster mode: PM2 runs the script with its own node (write `:exec_mode "fork"`)"#
            );
        }
    }
    for app in [
        json!({ "exec_mode": "cluster", "interpreter": "/usr/bin/node" }),
        json!({ "exec_mode": "cluster", "interpreter": "bun" }),
        json!({ "exec_mode": "cluster" }),
        json!({ "exec_mode": "fork", "interpreter": "python3" }),
        json!({ "instances": 4, "interpreter": "python3" }),
        json!({ "exec_mode": "cluster", "execute_command": true, "interpreter": "python3" }),
    ] {
        assert_eq!(findings(app), "");
    }
}

#[test]
fn a_zero_that_is_as_good_as_none_is_no_matter() {
    let app = json!({
        "maxRestarts": 0, "restart_delay": 0, "merge_logs": false, "wait_ready": false, "max_memory_restart": 0,
        "cron_restart": 0, "autorestart": false, "instances": 0, "port": 0,
    });
    assert_eq!(findings(app), "");
}

#[test]
fn what_is_refused_is_not_told_to_be_missing() {
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
        @"error: name: contains U+0000, which no process can be given"
    );
    // What hides nothing is told as before, and all of it.
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
fn numbers_beyond_all_that_can_be_are_told() {
    insta::assert_snapshot!(
        findings(json!({ "port": 65_536, "stop_exit_codes": [0, 256] })),
        @"
    warning: port: no port has this number: they are whole and end at 65535
    warning: stop_exit_codes: no process ends with such a code: they end at 255
    "
    );
    insta::assert_snapshot!(
        findings(json!({ "port": 80.5, "stop_exit_codes": 300 })),
        @"
    warning: port: no port has this number: they are whole and end at 65535
    warning: stop_exit_codes: no process ends with such a code: they end at 255
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
    warning: env_production.D: PM2 gives the process the text `null` (leave the variable out, or write an empty string)
    warning: env.A: PM2 gives the process the text `null` (leave the variable out, or write an empty string)
    "
    );
}
