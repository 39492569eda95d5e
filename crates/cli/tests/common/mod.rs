//! A workspace, a private PM2 and the binary in a hermetic environment.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod checked;
pub mod contract;
pub mod planted;
pub mod proxy;
pub mod server;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use checked::Checked;
use pm2_client::{ConnectOptions, ProcessAdapter, ProcessRecord, SocketAdapter};
use pm2_testbed::Testbed;
use serde_json::Value;

/// A workspace on a private PM2, which starts when something needs it.
pub struct Env {
    pub bed: Testbed,
    pub root: Utf8PathBuf,
}

/// The output of a command and its exit status.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Waits for a spawned command, and checks its output from pipes.
    #[track_caller]
    pub fn wait(child: Child) -> Self {
        let done = Self::from(child.wait_with_output().unwrap());
        planted::check(&done.out);
        planted::check(&done.err);
        done
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Env {
    /// An empty workspace.
    pub fn new() -> Self {
        let bed = Testbed::home_only();
        let root = bed.dir().join("w");
        std::fs::create_dir_all(root.join("system/daemons")).unwrap();
        let env = Self { bed, root };
        let planted = format!("PLANTED_OUTSIDE=\"{}\"\n", planted::OUTSIDE);
        env.write_private(planted::ENV_FILE, &planted);
        env
    }

    /// A workspace with this many daemons, `d0` and so on, each with one app that sleeps, `app0` and so on.
    pub fn with_sleepers(count: u32) -> Self {
        let env = Self::new();
        for n in 0..count {
            env.define(&format!("d{n}"), &sleeper(&format!("app{n}"), 1000));
        }
        env
    }

    /// A workspace with eight daemons in a folder, `group/d0` and so on; each app sleeps for a different time.
    pub fn with_group_of_eight() -> Self {
        let env = Self::new();
        for n in 0..8 {
            env.define(
                &format!("group/d{n}"),
                &sleeper(&format!("app{n}"), 1000 + n),
            );
        }
        env
    }

    /// Writes a definition in place, like an editor that truncates.
    pub fn define(&self, id: &str, edn: &str) {
        self.write(&format!("system/daemons/{id}/ecosystem.pm2.edn"), edn);
    }

    /// Writes any file of the workspace.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a file of the workspace with mode 0600.
    pub fn write_private(&self, path: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let to = self.root.join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        // Replaced, as an editor does: the file is private before it has its name.
        let beside = to.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(beside, to).unwrap();
    }

    /// Removes a daemon's directory.
    pub fn undefine(&self, id: &str) {
        std::fs::remove_dir_all(self.root.join("system/daemons").join(id)).unwrap();
    }

    /// The binary with an environment that contains only PATH from the caller's.
    pub fn command(&self, args: &[&str]) -> Checked {
        let mut command = self.checked(assert_cmd::cargo::cargo_bin!("pm2-sync"));
        command
            .args(args)
            .current_dir(&self.root)
            .env_clear()
            .envs(self.bed.env())
            .env("PM2_HOME", self.bed.home())
            .env("PM2_SYNC_PM2", pm2_testbed::pm2_bin())
            .env("PLANTED_CALLER", planted::OUTSIDE)
            .stdin(Stdio::null());
        command
    }

    fn checked(&self, program: impl AsRef<OsStr>) -> Checked {
        Checked::new(Command::new(program), self.printed())
    }

    /// Where commands write output that no test reads.
    fn printed(&self) -> Utf8PathBuf {
        self.bed.dir().join("printed")
    }

    /// A program that finds this build's pm2-sync and the pinned PM2 in PATH.
    pub fn program(&self, name: &str) -> Checked {
        let binary = Utf8PathBuf::from_path_buf(assert_cmd::cargo::cargo_bin!("pm2-sync").into());
        let pm2 = pm2_testbed::pm2_bin();
        let path = format!(
            "{}:{}:{}",
            binary.unwrap().parent().unwrap(),
            pm2.parent().unwrap(),
            std::env::var("PATH").unwrap()
        );
        let mut command = self.checked(name);
        command
            .current_dir(&self.root)
            .env_clear()
            .envs(self.bed.env())
            .env("PATH", path)
            .env("PM2_HOME", self.bed.home())
            .env("PM2_SYNC_PM2", pm2)
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Done {
        Self::finish(self.command(args))
    }

    /// Runs it in a shell after the command `limit`.
    pub fn run_limited(&self, limit: &str, args: &[&str]) -> Done {
        let mut shell = self.program("/bin/sh");
        shell
            .args(["-c", &format!("{limit}; exec pm2-sync \"$@\""), "sh"])
            .args(args);
        Self::finish(shell)
    }

    #[track_caller]
    fn finish(mut command: Checked) -> Done {
        Done::from(command.output().unwrap())
    }

    /// Runs it and asserts its exit status.
    #[track_caller]
    pub fn expect(&self, code: i32, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, code, "{args:?}\n{}\n{}", done.out, done.err);
        done
    }

    /// As [`expect`](Self::expect) with `--format json`; returns the printed object after validating it.
    #[track_caller]
    pub fn json(&self, code: i32, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
        let done = self.expect(code, &args);
        let value: Value =
            serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        assert_eq!(value["exit_status"], code);
        contract::check(&value);
        value
    }

    /// A sync that must succeed; a second sync must do nothing.
    #[track_caller]
    pub fn sync(&self) -> Done {
        let done = self.expect(0, &["sync"]);
        self.expect(0, &["plan"]);
        let again = self.expect(0, &["sync"]);
        assert_eq!(again.out, "", "the second sync did something");
        done
    }

    /// What PM2 lists.
    pub fn list(&self) -> Vec<ProcessRecord> {
        SocketAdapter::connect(self.bed.home(), ConnectOptions::default())
            .unwrap()
            .list()
            .unwrap()
    }

    /// What PM2 lists, if it runs.
    pub fn try_list(&self) -> Option<Vec<ProcessRecord>> {
        SocketAdapter::connect(self.bed.home(), ConnectOptions::default())
            .ok()?
            .list()
            .ok()
    }

    /// The processes of one name.
    pub fn named(&self, name: &str) -> Vec<ProcessRecord> {
        let mut list = self.list();
        list.retain(|record| record.name == name);
        list
    }

    /// Starts a sleep of this many seconds with PM2's own command line; returns its pid.
    #[track_caller]
    pub fn start_by_hand(&self, name: &str, seconds: u32) -> u32 {
        let seconds = seconds.to_string();
        let started = self
            .bed
            .cli(&["start", "/bin/sleep", "--name", name, "--", &seconds]);
        assert!(started.status.success(), "{started:?}");
        self.pid(name)
    }

    /// The pid of the only process of a name.
    #[track_caller]
    pub fn pid(&self, name: &str) -> u32 {
        let list = self.named(name);
        assert_eq!(list.len(), 1, "processes called {name}: {list:?}");
        list[0]
            .pid
            .unwrap_or_else(|| panic!("{name} does not run: {list:?}"))
    }

    /// Waits until the only process of a name runs with these arguments.
    #[track_caller]
    pub fn wait_for_args(&self, name: &str, args: &[&str]) {
        pm2_testbed::wait_for(|| match &self.named(name)[..] {
            [only] => only
                .pid
                .is_some_and(|pid| command_line(pid).get(1..).is_some_and(|has| has == args)),
            _ => false,
        });
    }

    pub fn artifact(&self, id: &str) -> Utf8PathBuf {
        self.root.join(format!(".generated/pm2/{id}.json"))
    }

    /// Deletes the histories in the state directory.
    pub fn forget_history(&self) {
        let state = self.bed.home().join("pm2-sync");
        for dir in state.read_dir_utf8().unwrap() {
            let history = dir.unwrap().path().join("history");
            if history.exists() {
                std::fs::remove_dir_all(history).unwrap();
            }
        }
    }

    /// Waits until a watcher has judged an app to be ready.
    pub fn wait_until_ready(&self, app: &str) {
        pm2_testbed::wait_for(|| {
            let done = self.run(&["status", "--format", "json"]);
            let status: serde_json::Value = serde_json::from_str(&done.out).unwrap();
            let mut apps = status["apps"].as_array().unwrap().iter();
            apps.any(|it| it["app"] == app && it["condition"] == "in-sync")
        });
    }

    /// Text with the paths of this test replaced, so that snapshots are the same everywhere.
    pub fn redact(&self, text: &str) -> String {
        text.replace(self.root.as_str(), "[WORKSPACE]")
            .replace(self.bed.home().as_str(), "[PM2_HOME]")
    }

    /// Starts `watch`, which ends when the value is dropped.
    pub fn watch(&self, args: &[&str]) -> Watch {
        let args: Vec<&str> = ["watch"].into_iter().chain(args.iter().copied()).collect();
        let mut child = self.command(&args).spawn_piped().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            });
        }
        let watch = Watch { child, lines };
        let json = args.contains(&"json");
        watch.wait_for_line(if json {
            "\"event\":\"pass\""
        } else {
            "watching"
        });
        watch
    }
}

/// A running `watch`.
pub struct Watch {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Its JSON lines of one event kind, validated against the schema.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let lines = self.lines();
        let events = lines.iter().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        events
            .inspect(contract::check)
            .filter(|event| event["event"] == kind)
            .collect()
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !self.lines().iter().any(|line| line.contains(text)) {
            assert!(
                std::time::Instant::now() < deadline,
                "no line with `{text}`:\n{}",
                self.lines().join("\n")
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks it to stop; returns its exit status.
    pub fn stop(mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            planted::check_files(&self.root, self.bed.home(), &self.printed());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            planted::check(&self.lines().join("\n"));
        }
    }
}

/// One app that sleeps, as EDN.
pub fn sleeper(name: &str, seconds: u32) -> String {
    let planted = planted::IN_DEFINITION;
    format!(
        "{{:apps [{{:name \"{name}\" :script \"/bin/sleep\" :args [\"{seconds}\"] :env {{:PLANTED \"{planted}\"}}}}]}}"
    )
}

/// The command line of a live process.
pub fn command_line(pid: u32) -> Vec<String> {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .unwrap_or_default()
        .split_terminator('\0')
        .map(ToOwned::to_owned)
        .collect()
}

/// The environment of a live process.
pub fn environ(pid: u32) -> std::collections::BTreeMap<String, String> {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default())
        .split_terminator('\0')
        .filter_map(|variable| variable.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The working directory of a live process.
pub fn cwd(pid: u32) -> Utf8PathBuf {
    let path = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    Utf8Path::from_path(&path).unwrap().to_owned()
}
