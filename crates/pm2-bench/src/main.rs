//! Measures pm2-sync on real PM2: against PM2's own command line, and against the floor, which is the same messages to
//! PM2 with everything prepared. All in one run, taking turns; medians.
//!
//! `cargo xtask bench` builds what it needs and runs it; `--smoke` only shows that it still runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a development command: what goes wrong ends it, and the table is what it is for"
)]

mod raw;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use pm2_client::{Deadlines, ProcessAdapter, SocketAdapter};
use pm2_testbed::{Testbed, pm2_bin, wait_for};
use serde_json::{Value, json};

use raw::Raw;

struct Bench {
    bed: Testbed,
    root: Utf8PathBuf,
    binary: Utf8PathBuf,
    rounds: usize,
}

/// One way of doing a piece of work, with its times.
struct Way {
    name: String,
    times: Vec<Duration>,
}

impl Way {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            times: Vec::new(),
        }
    }

    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() / 2]
    }
}

/// A table of ways, with ratios to pm2-sync, which comes first.
fn table(work: &str, ways: &[Way]) {
    println!("\n### {work}\n");
    println!("| way | median | runs | pm2-sync takes |");
    println!("| --- | ---: | ---: | ---: |");
    let ours = ways[0].median().as_secs_f64();
    for (n, way) in ways.iter().enumerate() {
        let ratio = ours / way.median().as_secs_f64();
        let ratio = match n {
            0 => String::new(),
            _ if ratio >= 1.0 => format!("{ratio:.2} x as long"),
            _ => format!("1/{:.1} of it", 1.0 / ratio),
        };
        println!(
            "| {} | {:.1} ms | {} | {ratio} |",
            way.name,
            way.median().as_secs_f64() * 1000.0,
            way.times.len()
        );
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

impl Bench {
    fn new(rounds: usize) -> Self {
        let bed = Testbed::start();
        let root = bed.dir().join("w");
        std::fs::create_dir_all(root.join("system/daemons")).unwrap();
        let own = Utf8PathBuf::from_path_buf(std::env::current_exe().unwrap()).unwrap();
        Self {
            root,
            bed,
            binary: own.parent().unwrap().join("pm2-sync"),
            rounds,
        }
    }

    fn app(n: usize, seconds: u32) -> Value {
        json!({
            "name": format!("app{n}"), "script": "/bin/sleep", "args": [seconds.to_string()], "vizion": false,
            "kill_retry_time": 10,
        })
    }

    fn define(&self, n: usize, seconds: u32) {
        let dir = self.root.join(format!("system/daemons/d{n}"));
        std::fs::create_dir_all(&dir).unwrap();
        let edn = format!(
            "{{:apps [{{:name \"app{n}\" :script \"/bin/sleep\" :args [\"{seconds}\"] :vizion false :kill_retry_time 10}}]}}\n"
        );
        std::fs::write(dir.join("ecosystem.pm2.edn"), edn).unwrap();
    }

    fn undefine_all(&self) {
        std::fs::remove_dir_all(self.root.join("system/daemons")).unwrap();
        std::fs::create_dir_all(self.root.join("system/daemons")).unwrap();
    }

    fn sync(&self, args: &[&str]) {
        let status = self.command("sync").args(args).status().unwrap();
        assert!(status.success());
    }

    fn command(&self, command: &str) -> Command {
        let mut process = Command::new(&self.binary);
        process
            .arg(command)
            .current_dir(&self.root)
            .env_clear()
            .envs(self.bed.env())
            .env("PM2_HOME", self.bed.home())
            .env("PM2_SYNC_PM2", pm2_bin())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process
    }

    fn pm2(&self, args: &[&str]) {
        let output = self.bed.cli(args);
        assert!(output.status.success(), "{output:?}");
    }

    fn adapter(&self) -> SocketAdapter {
        SocketAdapter::connect(self.bed.home(), Deadlines::default()).unwrap()
    }

    /// Takes every process out of PM2.
    fn clear(&self) {
        let mut raw = Raw::connect(self.bed.home());
        let ids: Vec<Value> = self
            .adapter()
            .list()
            .unwrap()
            .iter()
            .map(|record| json!(record.pm_id.0))
            .collect();
        raw.pipelined("deleteProcessId", ids);
        wait_for(|| self.adapter().list().unwrap().is_empty());
    }

    /// What `prepare` was called with for each process that runs now.
    fn payloads(&self) -> Vec<Value> {
        const RUNTIME: [&str; 8] = [
            "pm_id",
            "status",
            "pm_uptime",
            "created_at",
            "restart_time",
            "unstable_restarts",
            "version",
            "exit_code",
        ];
        self.adapter()
            .list()
            .unwrap()
            .into_iter()
            .map(|record| {
                let mut env = record.pm2_env;
                for key in RUNTIME {
                    env.remove(key);
                }
                env.insert("instances".into(), json!(1));
                Value::Object(env)
            })
            .collect()
    }

    fn first_sync(&self, count: usize) {
        self.undefine_all();
        for n in 0..count {
            self.define(n, 1000);
        }
        let file = self.root.join("all.json");
        let apps: Vec<Value> = (0..count).map(|n| Self::app(n, 1000)).collect();
        std::fs::write(&file, json!({ "apps": apps }).to_string()).unwrap();
        let mut single = Vec::new();
        for (n, app) in apps.iter().enumerate() {
            let file = self.root.join(format!("one{n}.json"));
            std::fs::write(&file, json!({ "apps": [app] }).to_string()).unwrap();
            single.push(file);
        }
        self.sync(&[]);
        let payloads = self.payloads();
        let mut ways = [
            Way::new("`pm2-sync sync`"),
            Way::new("floor: prepared messages, pipelined"),
            Way::new("`pm2 start all.json`"),
            Way::new("`pm2 start one.json` for each"),
        ];
        for round in 0..self.rounds {
            self.clear();
            ways[0].times.push(timed(|| self.sync(&[])));
            self.clear();
            let mut raw = Raw::connect(self.bed.home());
            let messages = payloads.clone();
            ways[1]
                .times
                .push(timed(|| raw.pipelined("prepare", messages)));
            self.clear();
            ways[2]
                .times
                .push(timed(|| self.pm2(&["start", file.as_str()])));
            // It takes long, and does not vary much.
            if round < 2 {
                self.clear();
                ways[3].times.push(timed(|| {
                    for file in &single {
                        self.pm2(&["start", file.as_str()]);
                    }
                }));
            }
        }
        self.clear();
        table(
            &format!("First sync of {count} daemons of one process"),
            &ways,
        );
    }

    fn nothing_to_do(&self, count: usize) {
        self.undefine_all();
        for n in 0..count {
            self.define(n, 1000);
        }
        self.sync(&[]);
        let mut ways = [
            Way::new("`pm2-sync sync`"),
            Way::new("floor: one raw list and a stat of each definition"),
            Way::new("`pm2 jlist`"),
        ];
        for _ in 0..self.rounds {
            ways[0].times.push(timed(|| self.sync(&[])));
            ways[1].times.push(timed(|| {
                let mut raw = Raw::connect(self.bed.home());
                raw.pipelined("getMonitorData", vec![json!({})]);
                stat_all(&self.root.join("system/daemons"));
            }));
            ways[2].times.push(timed(|| self.pm2(&["jlist"])));
        }
        table(
            &format!("Sync with nothing to do, {count} processes"),
            &ways,
        );
        self.clear();
    }

    fn one_edit(&self, count: usize) {
        self.undefine_all();
        for n in 0..count {
            self.define(n, 1000);
        }
        let mut watch = self.command("watch").arg("--no-save").spawn().unwrap();
        let mut adapter = self.adapter();
        wait_for(|| {
            let list = adapter.list().unwrap();
            list.len() == count && list.iter().all(|record| record.pid.is_some())
        });
        let mut ways = [
            Way::new("`pm2-sync watch`: saved to new process running"),
            Way::new("floor: 30 ms of quiet, and one restart message"),
            Way::new("`pm2 start one.json` by hand"),
        ];
        let file = self.root.join("edited.json");
        let is = |adapter: &mut SocketAdapter, args: &str| {
            let list = adapter.list().unwrap();
            list.iter().any(|record| {
                record.name == "app0"
                    && record.pid.is_some()
                    && record.pm2_env["args"] == json!([args])
            })
        };
        for round in 0..self.rounds {
            // The watch has looked at PM2 since the last change.
            std::thread::sleep(Duration::from_millis(100));
            let seconds = 2000 + u32::try_from(round).unwrap();
            ways[0].times.push(timed(|| {
                self.define(0, seconds);
                while !is(&mut adapter, &seconds.to_string()) {
                    std::thread::sleep(Duration::from_micros(500));
                }
            }));
        }
        // Without the watch, which would undo what follows.
        let pid = rustix::process::Pid::from_raw(i32::try_from(watch.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        watch.wait().unwrap();
        let id = adapter
            .list()
            .unwrap()
            .iter()
            .find(|record| record.name == "app0")
            .unwrap()
            .pm_id
            .0;
        for round in 0..self.rounds {
            let mut raw = Raw::connect(self.bed.home());
            ways[1].times.push(timed(|| {
                std::thread::sleep(Duration::from_millis(30));
                raw.pipelined(
                    "restartProcessId",
                    vec![json!({ "id": id, "env": { "X": round.to_string() } })],
                );
            }));
            let app = Self::app(0, 3000 + u32::try_from(round).unwrap());
            std::fs::write(&file, json!({ "apps": [app] }).to_string()).unwrap();
            ways[2]
                .times
                .push(timed(|| self.pm2(&["start", file.as_str()])));
        }
        table(&format!("One edit saved, {count} daemons"), &ways);
        self.clear();
    }
}

fn stat_all(dir: &Utf8Path) {
    for entry in dir.read_dir_utf8().unwrap() {
        let file = entry.unwrap().path().join("ecosystem.pm2.edn");
        std::fs::metadata(file).unwrap();
    }
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let bench = Bench::new(if smoke { 1 } else { 11 });
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |model| {
            model.trim_start_matches([' ', '\t', ':'])
        });
    let cpus = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let version = bench.adapter().daemon_version().unwrap();
    println!("{cpus} CPUs ({model}), PM2 {version}.");
    if smoke {
        bench.first_sync(3);
        bench.nothing_to_do(3);
        bench.one_edit(3);
        return;
    }
    bench.first_sync(50);
    for count in [12, 100] {
        bench.nothing_to_do(count);
    }
    for count in [10, 100] {
        bench.one_edit(count);
    }
}
