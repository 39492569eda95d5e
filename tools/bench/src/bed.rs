//! A private PM2 with a workspace.

use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::attribute::RUNTIME_KEYS;
use pm2_client::{ConnectOptions, ProcessAdapter, SocketAdapter, Status};
use pm2_testbed::{Testbed, pm2_bin, wait_for};
use reconcile::{Config, Environment};
use serde_json::{Value, json};

use crate::processes;
use crate::raw::Raw;
use crate::tools::Tools;
use crate::workspace::{Workspace, sleeper_app};

/// A running PM2, and a workspace beside it.
pub struct Bed {
    testbed: Testbed,
    /// The workspace.
    pub workspace: Workspace,
    pm2_sync: Utf8PathBuf,
}

impl Bed {
    /// Creates an empty one.
    pub fn new(tools: &Tools) -> Self {
        let testbed = Testbed::start();
        Self {
            workspace: Workspace::new(&testbed.dir().join("w")),
            testbed,
            pm2_sync: tools.pm2_sync.clone(),
        }
    }

    /// PM2's home.
    pub fn home(&self) -> &Utf8Path {
        self.testbed.home()
    }

    /// The pid of PM2's daemon.
    pub fn daemon(&self) -> u32 {
        self.testbed.daemon_pid().unwrap()
    }

    /// The path for a file other than a definition.
    pub fn file(&self, name: &str) -> Utf8PathBuf {
        self.testbed.dir().join(name)
    }

    /// A command in the environment of this PM2, silent.
    pub fn run_in(&self, program: &Utf8Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.workspace.root())
            .env_clear()
            .envs(self.testbed.env())
            .env("PM2_HOME", self.home())
            .env("PM2_SYNC_PM2", pm2_bin())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// A pm2-sync command in the workspace, silent.
    pub fn pm2_sync(&self, args: &[&str]) -> Command {
        let mut command = self.run_in(&self.pm2_sync);
        command.args(args);
        command
    }

    /// Runs `pm2-sync sync`, which must succeed.
    pub fn sync(&self) {
        assert!(self.pm2_sync(&["sync"]).status().unwrap().success());
    }

    /// Runs `pm2-sync sync --no-wait`: everything is started, but not known to be ready.
    pub fn sync_without_waiting(&self) {
        let status = self.pm2_sync(&["sync", "--no-wait"]).status().unwrap();
        assert!(matches!(status.code(), Some(0 | 3)));
    }

    /// Runs PM2's own command line, which must succeed.
    pub fn pm2(&self, args: &[&str]) {
        let output = self.testbed.cli(args);
        assert!(output.status.success(), "{output:?}");
    }

    /// A configuration of this workspace for the library.
    pub fn config(&self) -> Config {
        let mut vars = self.testbed.env();
        vars.insert("PM2_HOME".to_owned(), self.home().to_string());
        vars.insert("PM2_SYNC_PM2".to_owned(), pm2_bin().to_string());
        let environment = Environment::new(vars, Some(self.workspace.root().to_owned()));
        Config::for_workspace(self.workspace.root(), environment).unwrap()
    }

    /// A connection to PM2.
    pub fn adapter(&self) -> SocketAdapter {
        SocketAdapter::connect(self.home(), ConnectOptions::default()).unwrap()
    }

    /// Asserts that exactly `count` processes run, according to both PM2 and the system.
    pub fn expect_running(&self, count: usize) {
        let list = self.adapter().list().unwrap();
        let online = list
            .iter()
            .filter(|record| record.status == Status::Online && record.pid.is_some());
        assert_eq!((list.len(), online.count()), (count, count));
        assert_eq!(processes::sleepers(self.daemon()), count);
    }

    /// PM2's number of a process.
    pub fn pm_id(&self, name: &str) -> u32 {
        let list = self.adapter().list().unwrap();
        let record = list.iter().find(|record| record.name == name);
        record.unwrap().pm_id.0
    }

    /// The pids of all processes.
    pub fn pids(&self) -> Vec<Option<u32>> {
        let list = self.adapter().list().unwrap();
        list.iter().map(|record| record.pid).collect()
    }

    /// PM2's numbers of all processes, as arguments of calls.
    pub fn numbers(&self) -> Vec<Value> {
        let list = self.adapter().list().unwrap();
        list.iter().map(|record| json!(record.pm_id.0)).collect()
    }

    /// Deletes every process from PM2.
    pub fn clear(&self) {
        Raw::connect(self.home()).pipelined("deleteProcessId", self.numbers());
        wait_for(|| self.adapter().list().unwrap().is_empty());
    }

    /// The argument for `prepare` for each process that currently runs.
    pub fn payloads(&self) -> Vec<Value> {
        let list = self.adapter().list().unwrap();
        list.into_iter()
            .map(|record| {
                let mut env = record.pm2_env;
                // Keys that PM2 adds to a process's record.
                for key in RUNTIME_KEYS {
                    if !matches!(*key, "env" | "unique_id") {
                        env.shift_remove(*key);
                    }
                }
                env.insert("instances".into(), json!(1));
                Value::Object(env)
            })
            .collect()
    }

    /// A file for `pm2 start` with these apps.
    pub fn start_file(&self, name: &str, apps: impl IntoIterator<Item = usize>) -> Utf8PathBuf {
        let file = self.file(name);
        let apps: Vec<Value> = apps.into_iter().map(|n| sleeper_app(n, 1000)).collect();
        std::fs::write(&file, json!({ "apps": apps }).to_string()).unwrap();
        file
    }
}
