//! Manual use of PM2's own command line: the plan stays empty if nothing effective changed, and is not empty if something did.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/kinds.rs"]
mod kinds;

use std::process::Command;

use common::{World, host};
use daemon_model::{Planned, Reason};
use kinds::{kinds, write_scripts};
use pm2_client::{ConnectOptions, SocketAdapter, Status};
use pm2_testbed::{Testbed, wait_for};
use serde_json::{Value, json};

/// Apps on a PM2, started from their definitions.
struct Bench {
    bed: Testbed,
    world: World,
    apps: Vec<Value>,
}

impl Bench {
    fn new(is_wanted: impl Fn(&str) -> bool) -> Self {
        let bed = Testbed::start();
        let root = bed.dir().join("apps");
        write_scripts(&root);
        let mut apps = kinds(&root);
        apps.retain(|app| is_wanted(app["name"].as_str().unwrap()));
        std::fs::write(root.join("apps.json"), json!({ "apps": apps }).to_string()).unwrap();
        let world = World {
            root,
            pm2_home: bed.home().to_owned(),
            host: host(bed.env()),
            adapter: Box::new(
                SocketAdapter::connect(bed.home(), ConnectOptions::default()).unwrap(),
            ),
        };
        let mut bench = Self { bed, world, apps };
        bench.converge();
        bench
    }

    fn names(&self) -> Vec<String> {
        let names = self.apps.iter().map(|app| app["name"].as_str().unwrap());
        names.map(ToOwned::to_owned).collect()
    }

    /// PM2's command line, with only those variables that apps get anyway.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bed.command(args);
        command.current_dir(&self.world.root).env_remove("_");
        command
    }

    /// Runs PM2's command line and waits until PM2 has done what it was asked.
    #[track_caller]
    fn pm2(&mut self, args: &[&str]) {
        self.run(self.command(args));
    }

    #[track_caller]
    fn run(&mut self, mut command: Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        if let Ok(adapter) = SocketAdapter::connect(self.bed.home(), ConnectOptions::default()) {
            self.world.adapter = Box::new(adapter);
            let world = &mut self.world;
            wait_for(|| {
                let list = world.list();
                list.iter().all(|record| match record.status {
                    Status::Online => record.pid.is_some(),
                    status => status == Status::Stopped && record.pid.is_none(),
                })
            });
        }
    }

    fn plan(&mut self) -> Planned {
        let mut policy = self.world.policy();
        let cpus = std::thread::available_parallelism().unwrap();
        policy.cpus = u32::try_from(cpus.get()).unwrap();
        self.world.plan_with(&[("d", &self.apps)], &policy)
    }

    /// The steps of the plan, one per line: the action, the app, and what changed.
    fn drift(&mut self) -> Vec<String> {
        let steps = self.plan().plan.steps;
        let lines = steps.iter().map(|step| {
            let changes = step.reasons.iter().flat_map(|reason| match reason {
                Reason::Drifted { changes } | Reason::Edited { changes } => changes
                    .iter()
                    .map(|change| change.field.to_string())
                    .collect(),
                other => vec![json!(other)["reason"].as_str().unwrap().to_owned()],
            });
            let changes: Vec<String> = changes.collect();
            format!(
                "{} {}: {}",
                step.action.kind(),
                step.app,
                changes.join(", ")
            )
        });
        lines.collect()
    }

    #[track_caller]
    fn converge(&mut self) {
        let policy = self.world.policy();
        self.world.pass_with(&[("d", &self.apps)], &policy);
        assert_eq!(self.drift(), Vec::<String>::new());
    }
}

#[test]
fn commands_without_an_effect_are_no_drift() {
    let mut bench = Bench::new(|_| true);
    bench.pm2(&["scale", "cluster-two", "+1"]);
    assert_eq!(bench.drift(), ["delete cluster-two: too-many"]);
    bench.pm2(&["scale", "cluster-two", "2"]);
    assert_eq!(
        bench.drift(),
        Vec::<String>::new(),
        "scaled up and down again"
    );

    let names = bench.names();
    let with_names = |verb: &str, more: &[&str]| -> Vec<String> {
        let words = std::iter::once(verb).chain(names.iter().map(String::as_str));
        words
            .chain(more.iter().copied())
            .map(ToOwned::to_owned)
            .collect()
    };
    let words = |words: &str| -> Vec<String> { words.split(' ').map(ToOwned::to_owned).collect() };
    let mut verbs = vec![
        with_names("restart", &[]),
        with_names("restart", &["--update-env"]),
        words("restart 0 1 2 3"),
        words("restart all"),
        words("reload all"),
        words("reload all --update-env"),
        words("reload 4"),
        words("reset all"),
        words("flush"),
        words("reloadLogs"),
        words("sendSignal SIGCONT fork"),
        words("sendSignal SIGTERM bash"),
        words("monitor fork"),
        words("restart fork"),
        words("unmonitor fork"),
        words("send 0 hello"),
        words("start apps.json"),
        words("startOrReload apps.json"),
        words("startOrGracefulReload apps.json"),
        words("save"),
        words("update"),
    ];
    verbs.extend(names.iter().map(|name| words(&format!("reload {name}"))));
    for verb in verbs {
        let args: Vec<&str> = verb.iter().map(String::as_str).collect();
        bench.pm2(&args);
        let drift = bench.drift();
        assert_eq!(drift, Vec::<String>::new(), "{verb:?}");
    }

    bench.pm2(&["kill"]);
    bench.pm2(&["resurrect"]);
    assert_eq!(bench.drift(), Vec::<String>::new(), "resurrected");

    // Stopping has an effect; after the start nothing remains of it, except that PM2 no longer watches files.
    let all: Vec<String> = with_names("stop", &[]);
    bench.pm2(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let stopped = bench.drift();
    let resumed: Vec<&String> = stopped
        .iter()
        .filter(|line| line.starts_with("resume "))
        .collect();
    assert_eq!(
        resumed.len(),
        names.len() - 3,
        "all but `off`, `once` and `watch`: {stopped:#?}"
    );
    let all: Vec<String> = with_names("start", &[]);
    bench.pm2(&all.iter().map(String::as_str).collect::<Vec<_>>());
    bench.pm2(&["stop", "off"]);
    assert_eq!(bench.drift(), ["replace watch: watch"]);
    bench.converge();
}

#[test]
fn commands_with_an_effect_are_drift() {
    let kinds = [
        "args",
        "bash",
        "cluster-two",
        "cron",
        "env",
        "fork",
        "fork-one",
        "fork-two",
        "limits",
        "space",
        "time",
        "watch",
    ];
    let mut bench = Bench::new(|name| kinds.contains(&name));
    for (args, expected) in [
        (&["stop", "fork"][..], "resume fork: stopped"),
        (&["delete", "fork"], "start fork: new"),
        (
            &["scale", "cluster-two", "3"],
            "delete cluster-two: too-many",
        ),
        (&["scale", "cluster-two", "1"], "start cluster-two: too-few"),
        (&["restart", "fork", "--watch"], "replace fork: watch"),
        (&["stop", "watch"], "replace watch: watch"),
        (&["restart", "args", "--", "--y"], "restart args: args"),
        (
            &["restart", "args", "--node-args=--trace-exit"],
            "restart args: node_args",
        ),
        (
            &["restart", "limits", "--max-memory-restart", "200M"],
            "restart limits: max_memory_restart",
        ),
        (
            &["restart", "fork-one", "--name", "renamed"],
            "restart fork-one: name",
        ),
        (
            &["restart", "cron", "--cron-restart", "0 0 2 1 *"],
            "restart cron: cron_restart",
        ),
        (
            &["restart", "time", "--log-date-format", "YYYY"],
            "restart time: log_date_format",
        ),
        (
            &["restart", "space", "--no-autorestart"],
            "restart space: autorestart",
        ),
        (
            &["restart", "bash", "--namespace", "other"],
            "restart bash: namespace",
        ),
        (
            &["restart", "fork-two", "--kill-timeout", "700"],
            "restart fork-two: kill_timeout",
        ),
        (
            &["reload", "cluster-two", "--kill-timeout", "700"],
            "reload cluster-two: kill_timeout",
        ),
    ] {
        bench.pm2(args);
        assert_eq!(bench.drift(), [expected], "{args:?}");
        bench.converge();
    }

    for (verb, variables) in [
        (&["restart", "env", "--update-env"][..], &[("A", "2")][..]),
        (&["restart", "env", "--update-env"], &[("NEW", "x")]),
        (&["reload", "env", "--update-env"], &[("NEW", "x")]),
        (&["restart", "apps.json", "--only", "fork"], &[("NEW", "x")]),
    ] {
        let mut command = bench.command(verb);
        command.envs(variables.iter().copied());
        bench.run(command);
        let (app, variable) = (verb[verb.len() - 1], variables[0].0);
        let app = if app.starts_with('-') { verb[1] } else { app };
        assert_eq!(
            bench.drift(),
            [format!("restart {app}: env.{variable}")],
            "{verb:?}"
        );
        bench.converge();
    }
}
