//! Turns processes that PM2 runs into managed apps: the same processes, and nothing left to do.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use daemon_model::attribute;
use pm2_client::{ProcessRecord, Status};
use serde_json::Value;

use crate::common::{Env, command_line, cwd, environ};

/// Variables of the shell in which everything is started and imported.
const SHELL: &[(&str, &str)] = &[
    ("EDITOR", "vi"),
    ("SSH_CLIENT", "10.0.0.1 5000 22"),
    ("SHELL_TOKEN", "from-the-shell"),
];

/// Apps that are given to `pm2 start` with flags.
const BY_FLAGS: &[&[&str]] = &[
    &["/bin/sleep", "--name", "sleep-path", "--", "1000"],
    &["sleep", "--name", "sleep-command", "--", "1001"],
    &["idle.js", "--name", "node"],
    &["idle.js", "--name", "node-cluster", "-i", "2"],
    &[
        "idle.js",
        "--name",
        "node-args",
        "--",
        "--port",
        "80",
        "a b",
        "--x=y",
    ],
    &["./idle.sh", "--name", "bash"],
    &["idle.py", "--name", "python"],
    &["sleep 1002", "--name", "shell"],
    &[
        "idle.js",
        "--name",
        "memory",
        "--max-memory-restart",
        "300M",
    ],
    &[
        "idle.js",
        "--name",
        "two-files",
        "-o",
        "logs/out.log",
        "-e",
        "/tmp/pm2-sync-test-err.log",
    ],
    &[
        "idle.js",
        "--name",
        "one-file",
        "-l",
        "logs/both.log",
        "--merge-logs",
    ],
    &["idle.js", "--name", "timed", "--time"],
    &[
        "idle.js",
        "--name",
        "delays",
        "--kill-timeout",
        "3000",
        "--restart-delay",
        "500",
    ],
    &["idle.js", "--name", "cron", "--cron-restart", "0 3 * * *"],
    &["idle.js", "--name", "once", "--no-autorestart"],
    &[
        "idle.js",
        "--name",
        "flags",
        "--node-args",
        "--no-warnings --max-old-space-size=128",
    ],
    &["idle.sh", "--name", "sh", "--interpreter", "sh"],
    &["./idle", "--name", "none", "--interpreter", "none"],
    &["idle.js", "--name", "namespace", "--namespace", "back"],
    &[
        "idle.js",
        "--name",
        "watch",
        "--watch",
        "--ignore-watch",
        "logs node_modules",
    ],
    &["inner.js", "--name", "elsewhere", "--cwd", "sub"],
    &[
        "idle.js",
        "--name",
        "backoff",
        "--exp-backoff-restart-delay",
        "100",
        "--max-restarts",
        "5",
    ],
    &[
        "idle.js",
        "--name",
        "off",
        "--no-vizion",
        "--no-treekill",
        "--no-pmx",
    ],
    &[
        "ready.js",
        "--name",
        "ready",
        "--wait-ready",
        "--listen-timeout",
        "5000",
    ],
];

/// Apps that are defined in a file.
const FILE: &str = "module.exports = { apps: [
    { name: 'env', script: './idle.js', env: { NODE_ENV: 'production', PORT: 8080, EMPTY: '', SPACE: 'a b', FLAG: true } },
    { name: 'env-map', script: './idle.js', env: { SETTINGS: { a: [1] } } },
    { name: 'zone', script: './idle.js', env: { TZ: 'UTC', LANG: 'C' } },
    { name: 'ported', script: './idle.js', port: 8123 },
    { name: 'two', script: '/bin/sleep', args: '1003', instances: 2, exec_mode: 'fork' },
    { name: 'cluster-env', script: './idle.js', instances: 2, env: { A: 'x' }, instance_var: 'N' },
    { name: 'counting', script: './idle.js', instances: 2, increment_var: 'PORT', env: { PORT: 9000 } },
    { name: 'cluster-one', script: './idle.js', exec_mode: 'cluster' },
    { name: 'filtered', script: './idle.js', filter_env: ['SSH_'] },
    { name: 'codes', script: './idle.js', stop_exit_codes: [0, 7] },
    { name: 'stamped', script: './idle.js', log_date_format: 'HH:mm', combine_logs: true },
    { name: 'quiet', script: './idle.js', out_file: '/dev/null', error_file: 'NULL' },
    { name: 'pid', script: './idle.js', pid_file: './run/own.pid' },
    { name: 'words', script: '/bin/sh', args: `-c 'while :; do sleep 1000; done' \"x y\"` },
    { name: 'message', script: './idle.js', shutdown_with_message: true, source_map_support: true },
    { name: 'group/inner', script: './idle.js' },
    { name: 'With Blank', script: './idle.js', log_type: 'json' },
    { script: './unnamed.js' },
    { name: 'sub', script: './inner.js', cwd: './sub' },
    { name: 'unbuffered', script: './idle.sh', env: { PYTHONUNBUFFERED: '1', PATH_INFO: '/x' } },
] };";

#[test]
fn forty_apps_go_on_as_they_are() {
    let env = Env::new();
    for (file, text) in [
        ("idle.js", "setInterval(() => {}, 100000);"),
        ("unnamed.js", "setInterval(() => {}, 100000);"),
        ("sub/inner.js", "setInterval(() => {}, 100000);"),
        (
            "ready.js",
            "process.send('ready'); setInterval(() => {}, 100000);",
        ),
        ("idle.sh", "exec sleep 1000\n"),
        ("idle", "#!/bin/sh\nexec sleep 1000\n"),
        ("idle.py", "import time\ntime.sleep(1000)\n"),
        ("ecosystem.config.js", FILE),
    ] {
        env.write(file, text);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(env.root.join(file), mode).unwrap();
    }
    pm2(&env, &["start", "ecosystem.config.js"]);
    for flags in BY_FLAGS {
        let args: Vec<&str> = ["start"].into_iter().chain(flags.iter().copied()).collect();
        pm2(&env, &args);
    }
    pm2(&env, &["scale", "node-cluster", "3"]);
    pm2(&env, &["start", "idle.js", "--name", "stopped"]);
    pm2(&env, &["stop", "stopped"]);
    let before = live(&env);
    assert_eq!(
        before
            .keys()
            .map(|(name, _)| name)
            .collect::<BTreeSet<_>>()
            .len(),
        44
    );

    let import = |args: &[&str]| {
        let mut command = env.command(args);
        let done = command.envs(SHELL.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{}", text(&done.stderr));
        (text(&done.stdout), text(&done.stderr))
    };
    let (printed, _) = import(&["import", "--running", "--dry-run"]);
    pm2(&env, &["save"]);
    let dump = env.bed.home().join("dump.pm2");
    let (of_dump, _) = import(&["import", "--dump", dump.as_str(), "--dry-run"]);
    assert_eq!(of_dump, printed);
    insta::assert_snapshot!("import_running", env.redact(&printed));
    let (_, said) = import(&["import", "--running", "-v"]);
    assert!(
        said.contains("`stopped` is left out, because it is stopped"),
        "{said}"
    );
    assert!(said.contains("left out of `node`, because the shell that started it passed them on: `SHELL_TOKEN`, `EDITOR`"), "{said}");
    assert!(!said.contains("from-the-shell"), "{said}");
    assert!(!said.contains("runs with other values"), "{said}");

    let stopped = "stopped".to_owned();
    assert_eq!(env.expect(0, &["check"]).code, 0);
    env.sync();
    assert_eq!(env.named(&stopped)[0].status, Status::Stopped);
    let after = settled(&env, &before);
    for ((name, number), was) in &before {
        let is = &after[&(name.clone(), *number)];
        assert_eq!(is, was, "{name}");
    }
    assert_eq!(after.len(), before.len());

    // Managed processes are not imported again.
    let (again, said) = import(&["import", "--running"]);
    assert_eq!(again, "");
    assert!(said.contains("`node` is left out"), "{said}");
}

fn pm2(env: &Env, args: &[&str]) {
    let mut command = env.bed.command(args);
    let command = command.current_dir(&env.root).envs(SHELL.iter().copied());
    let done = command.output().unwrap();
    assert!(done.status.success(), "{args:?}: {done:?}");
}

/// The properties of a process that adoption promises to keep.
#[derive(Debug, PartialEq, Eq)]
struct Live {
    command_line: Vec<String>,
    cwd: Utf8PathBuf,
    environ: BTreeMap<String, String>,
    record: BTreeMap<&'static str, Value>,
}

/// Every running process, by name and number.
fn live(env: &Env) -> BTreeMap<(String, u32), Live> {
    let list = env.list();
    let running = list
        .iter()
        .filter(|record| record.status != Status::Stopped);
    running
        .map(|record| ((record.name.clone(), record.pm_id.0), live_of(record)))
        .collect()
}

fn live_of(record: &ProcessRecord) -> Live {
    let pid = record.pid.unwrap();
    // Its directory can be read once it runs.
    pm2_testbed::wait_for(|| !command_line(pid).is_empty());
    let mut environ = environ(pid);
    let inherited: Vec<&str> = SHELL.iter().map(|(name, _)| *name).collect();
    environ.retain(|name, _| {
        let of_pm2 = attribute::is_record_key(name)
            || [
                "PWD",
                "_",
                "SHLVL",
                "OLDPWD",
                "PM2_USAGE",
                "PM2_INTERACTOR_PROCESSING",
                // For cluster workers: everything that PM2 keeps about them, and how often a worker was started.
                "pm2_env",
                "NODE_UNIQUE_ID",
                "PM2_JSON_PROCESSING",
                "pm2_sync",
            ]
            .contains(&name.as_str())
            || *name == record.name;
        !of_pm2 && !inherited.contains(&name.as_str())
    });
    let kept = [
        "args",
        "node_args",
        "exec_interpreter",
        "exec_mode",
        "pm_exec_path",
        "pm_cwd",
        "pm_out_log_path",
        "pm_err_log_path",
        "pm_log_path",
        "pm_pid_path",
        "namespace",
        "watch",
        "ignore_watch",
        "cron_restart",
        "max_memory_restart",
        "kill_timeout",
        "autorestart",
        "treekill",
        "vizion",
        "wait_ready",
        "stop_exit_codes",
        "log_type",
        "log_date_format",
        "unique_id",
    ];
    let value = |key: &'static str| Some((key, record.pm2_env.get(key)?.clone()));
    // PM2's default, and an empty list, count as absent.
    let is_any = |(key, value): &(&str, Value)| {
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        let is_default = attribute::by_own_name(key).is_some_and(|it| it.is_default(value));
        !value.is_null() && !is_empty && !is_default
    };
    Live {
        // After the title that Node sets, remains of the previous text follow.
        command_line: command_line(pid)
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect(),
        cwd: cwd(pid),
        environ,
        record: kept.into_iter().filter_map(value).filter(is_any).collect(),
    }
}

/// The running processes, once they equal those of before. Node sets a process title a moment after the start.
fn settled(env: &Env, before: &BTreeMap<(String, u32), Live>) -> BTreeMap<(String, u32), Live> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let now = live(env);
        if now == *before || std::time::Instant::now() > deadline {
            return now;
        }
    }
}
