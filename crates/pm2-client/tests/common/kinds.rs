//! Every kind of app, with the scripts that they run.

use camino::Utf8Path;
use serde_json::{Value, json};

const SERVE: &str = "if (process.send) process.send('ready'); setInterval(() => {}, 1000);";

/// Writes the scripts of all kinds into a directory.
pub fn write_scripts(root: &Utf8Path) {
    std::fs::create_dir_all(root.join("watched")).unwrap();
    for (file, text) in [
        ("app.js", SERVE),
        ("app.py", "import time\nwhile True: time.sleep(1)\n"),
        ("app.sh", "while true; do sleep 1; done\n"),
        ("crash.js", "setTimeout(() => process.exit(1), 50);\n"),
        ("end.js", "setTimeout(() => process.exit(0), 50);\n"),
    ] {
        std::fs::write(root.join(file), text).unwrap();
    }
}

/// One app of every kind.
pub fn kinds(dir: &Utf8Path) -> Vec<Value> {
    let js = |name: &str, more: Value| {
        let mut app =
            json!({ "name": name, "script": "app.js", "kill_timeout": 500, "listen_timeout": 200 });
        for (key, value) in more.as_object().unwrap() {
            app[key] = value.clone();
        }
        app
    };
    vec![
        js("fork", json!({})),
        js("fork-one", json!({ "instances": 1, "exec_mode": "fork" })),
        js("fork-two", json!({ "instances": 2, "exec_mode": "fork" })),
        js("cluster", json!({ "exec_mode": "cluster" })),
        js(
            "cluster-two",
            json!({ "exec_mode": "cluster", "instances": 2 }),
        ),
        js("inferred-one", json!({ "instances": 1 })),
        js("inferred-two", json!({ "instances": 2 })),
        js("inferred-max", json!({ "instances": "max" })),
        js("inferred-zero", json!({ "instances": 0 })),
        js("inferred-less", json!({ "instances": -1 })),
        js(
            "merged",
            json!({ "merge_logs": true, "instances": 2, "exec_mode": "cluster" }),
        ),
        js("unmerged", json!({ "merge_logs": false })),
        js(
            "logs",
            json!({ "out_file": dir.join("o.log"), "error_file": dir.join("e.log"), "log_file": dir.join("l.log"), "pid_file": dir.join("p.pid") }),
        ),
        js(
            "logs-unmerged",
            json!({ "out_file": dir.join("o2.log"), "error_file": "/dev/null", "merge_logs": false }),
        ),
        js("time", json!({ "time": true })),
        js("cron", json!({ "cron_restart": "0 0 1 1 *" })),
        js("watch", json!({ "watch": [dir.join("watched")] })),
        js("ready", json!({ "wait_ready": true })),
        js(
            "ready-cluster",
            json!({ "wait_ready": true, "exec_mode": "cluster" }),
        ),
        js("space", json!({ "namespace": "other" })),
        js("once", json!({ "autorestart": false })),
        js("off", json!({ "autostart": false })),
        js(
            "env",
            json!({ "env": { "A": "1", "B": { "c": 1 }, "N": null } }),
        ),
        js("port", json!({ "port": 4000 })),
        js(
            "args",
            json!({ "args": ["--x", "a b"], "node_args": ["--trace-warnings"] }),
        ),
        js(
            "limits",
            json!({ "max_memory_restart": "500M", "max_restarts": 0, "restart_delay": 100, "min_uptime": "5s", "kill_timeout": 300, "listen_timeout": 2000, "stop_exit_codes": [5] }),
        ),
        js(
            "switches",
            json!({ "treekill": false, "vizion": false, "pmx": false, "source_map_support": true, "shutdown_with_message": false }),
        ),
        js(
            "increment",
            json!({ "increment_var": "PORT", "instance_var": "N", "instances": 2, "exec_mode": "fork", "env": { "PORT": 5000 } }),
        ),
        js("filter", json!({ "filter_env": ["TZ"] })),
        json!({ "name": "python", "script": "app.py" }),
        json!({ "name": "bash", "script": "app.sh" }),
        json!({ "name": "command", "script": "sleep 1000" }),
        json!({ "name": "binary", "script": "/bin/sleep", "args": "1000" }),
    ]
}
