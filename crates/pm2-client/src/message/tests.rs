use serde_json::json;

use super::*;

fn app() -> Map<String, Value> {
    let app = json!({
        "name": "a", "namespace": "default", "pm_exec_path": "/bin/sleep", "pm_cwd": "/",
        "pm_out_log_path": "/tmp/o.log", "pm_err_log_path": "/tmp/e.log", "pm_pid_path": "/tmp/p.pid",
        "exec_mode": "fork_mode", "exec_interpreter": "none", "instance_var": "NODE_APP_INSTANCE",
        "autostart": true, "autorestart": true, "treekill": true, "kill_retry_time": 100,
        "node_args": [], "instances": 1, "env": { "A": "1" },
    });
    app.as_object().unwrap().clone()
}

fn with(key: &str, value: Value) -> Map<String, Value> {
    let mut map = app();
    map.insert(key.into(), value);
    map
}

#[test]
fn a_whole_app_passes() {
    assert!(Prepare::new(app()).is_ok());
    assert!(CurrentConf::new(with("cron_restart", json!("null"))).is_ok());
}

#[test]
fn messages_that_crash_the_daemon_cannot_be_made() {
    for (key, _) in REQUIRED {
        let mut map = app();
        map.remove(*key);
        assert_eq!(Prepare::new(map), Err(InvalidMessage::Missing(key)));
    }
    for (key, value) in [
        ("instances", json!("max")),
        ("instances", json!(0)),
        ("instances", json!(-1)),
        ("instances", json!(1.5)),
        ("env", json!("A=1")),
        ("env", json!({ "A": { "b": 1 } })),
        ("env", json!({ "pm_cwd": "/evil" })),
        ("env", json!({ "A": "x\0y" })),
        ("env", json!({ "toString": "x" })),
        ("io", json!({ "a": [{ "toString": 1 }] })),
        ("__proto__", json!([])),
        ("pm_pid_path", json!(1)),
        ("pm_cwd", json!("relative")),
        ("node_args", json!("--x")),
        ("args", json!([1])),
        ("cron_restart", json!("nonsense")),
        ("cron_restart", json!("99 99 99 99 99")),
        ("cron_restart", json!(0)),
        ("kill_timeout", json!("soon")),
        ("max_restarts", json!(-1)),
        ("uid", json!("root")),
        ("cron_restart", json!("0 9,12-15 * * *")),
        ("watch_options", json!("x")),
        ("watch_options", json!({ "cwd": 5 })),
        ("watch_options", json!({ "ignored": "" })),
        ("watch_options", json!({ "awaitWriteFinish": 5 })),
        ("ignore_watch", json!(["x".repeat(4097)])),
        ("instance_var", json!("pm_pid_path")),
        ("increment_var", json!("pm_pid_path")),
        ("pm_id", json!(0)),
        ("axm_actions", json!({})),
        ("name", json!("")),
    ] {
        assert!(
            Prepare::new(with(key, value.clone())).is_err(),
            "{key}: {value}"
        );
    }
    for (key, value) in [
        ("env", json!({})),
        ("name", json!("null")),
        ("node_args", json!(["null"])),
        (TREE_PIDS, json!([1])),
    ] {
        assert!(CurrentConf::new(with(key, value)).is_err(), "{key}");
    }
    assert!(CurrentConf::new(with(TREE_PIDS, json!("null"))).is_ok());
    assert!(Prepare::new(with(TREE_PIDS, json!("null"))).is_err());
    let stays = CurrentConf::new(with("autostart", json!(false))).unwrap();
    assert_eq!(
        stays.for_reload(),
        Err(InvalidMessage::ReloadWithoutAutostart)
    );
}
