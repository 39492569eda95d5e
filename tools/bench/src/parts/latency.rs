//! The time from many saves to PM2, with few and with many definitions.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use pm2_client::{ConnectOptions, MemoryAdapter, ProcessAdapter, SocketAdapter};
use reconcile::Config;
use tempfile::TempDir;

use crate::bed::Bed;
use crate::context::Context;
use crate::engine::{Driven, Log, Sent, Stamped, config_of};
use crate::measure::{Way, millis_or_none};
use crate::processes::Newcomers;
use crate::section::Section;
use crate::workspace::{Workspace, sleeper, temporary, utf8};

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("latency", "From the save to PM2");
    let edits = context.pick(200, 3);
    section.say(&format!(
        "{edits} edits, or as many as there are definitions, in sequence, each of another definition. *Sent*: the message \
         is sent to PM2. *Online*: the system shows the new process; with PM2 in memory, PM2 has answered."
    ));
    let mut rows = Vec::new();
    let mut sent = Vec::new();
    for &count in context.pick(&[10, 100][..], &[3]) {
        context.progress(&format!("latency: {count} definitions, real PM2"));
        let found = real(context, count, edits.min(count), Edited::Definition);
        sent.push((count, "real", found[0].median()));
        rows.push(row(count, "real", &found));
    }
    let count = context.pick(100, 3);
    context.progress(&format!("latency: {count} env files, real PM2"));
    let found = real(context, count, edits.min(count), Edited::EnvFile);
    rows.push(row(count, "real; edits of env files", &found));
    for &count in context.pick(&[10, 1000, 10_000][..], &[5]) {
        context.progress(&format!("latency: {count} definitions, PM2 in memory"));
        let found = in_memory(count, edits.min(count));
        sent.push((count, "in memory", found[0].median()));
        rows.push(row(count, "in memory", &found));
    }
    section.table(
        &[
            "definitions",
            "PM2",
            "sent, median",
            "sent, p99",
            "online, median",
            "online, p99",
        ],
        &rows,
    );
    for (count, pm2, limit) in [
        (100, "real", 10.0),
        (1000, "in memory", 8.0),
        (10_000, "in memory", 25.0),
    ] {
        let found = sent.iter().find(|one| (one.0, one.1) == (count, pm2));
        if let Some((.., Some(median))) = found {
            section.goal(
                &format!("{count} definitions, PM2 {pm2}: sent within {limit} ms, median"),
                millis_or_none(Some(*median)),
                *median <= limit,
            );
        }
    }
    section
}

fn row(count: usize, pm2: &str, [sent, online]: &[Way; 2]) -> Vec<String> {
    vec![
        count.to_string(),
        pm2.to_owned(),
        millis_or_none(sent.median()),
        millis_or_none(sent.p99()),
        millis_or_none(online.median()),
        millis_or_none(online.p99()),
    ]
}

fn ways() -> [Way; 2] {
    [Way::new("sent"), Way::new("online")]
}

/// The only call since the last time.
fn only_call(log: &Log) -> Sent {
    let calls = std::mem::take(&mut *log.lock().unwrap());
    assert_eq!(calls.len(), 1, "one edit, one message");
    calls[0]
}

/// What to edit.
#[derive(Clone, Copy)]
enum Edited {
    Definition,
    EnvFile,
}

fn real(context: &Context, count: usize, edits: usize, edited: Edited) -> [Way; 2] {
    let bed = Bed::new(&context.tools);
    let save = |n, seconds| match edited {
        Edited::Definition => bed.workspace.define(n, &sleeper(n, seconds)),
        Edited::EnvFile => bed.workspace.save_env_file(n, seconds),
    };
    for n in 0..count {
        save(n, 1000);
        if matches!(edited, Edited::EnvFile) {
            bed.workspace.define_with_env_file(n);
        }
    }
    bed.sync();
    let config = bed.config();
    let adapter = SocketAdapter::connect(&config.pm2_home, ConnectOptions::default()).unwrap();
    let (adapter, log) = Stamped::new(Box::new(adapter));
    let driven = Driven::start(config, Box::new(adapter));
    let mut new = Newcomers::of(bed.daemon());
    let mut ways = ways();
    for (n, seconds) in (0..edits).zip(2000..) {
        std::thread::sleep(pause(n));
        let began = Instant::now();
        save(n, seconds);
        ways[1].add(new.wait(seconds) - began);
        assert_eq!(driven.next_with_steps().steps, 1);
        ways[0].add(only_call(&log).at - began);
    }
    bed.expect_running(count);
    ways
}

fn in_memory(count: usize, edits: usize) -> [Way; 2] {
    let world = World::start(count);
    let mut ways = ways();
    for (n, seconds) in (0..edits).zip(2000..) {
        std::thread::sleep(pause(n));
        let began = Instant::now();
        world.workspace.define(n, &sleeper(n, seconds));
        assert_eq!(world.driven.next_with_steps().steps, 1);
        let sent = only_call(&world.log);
        ways[0].add(sent.at - began);
        ways[1].add(sent.answered - began);
    }
    assert_eq!(world.pm2.clone().list().unwrap().len(), count);
    ways
}

/// Longer than a burst of changes: of those, only the first is applied as soon as it is written.
fn pause(n: usize) -> Duration {
    Duration::from_millis(320 + 7 * (n as u64 % 10))
}

/// A watch of a workspace, with an in-memory PM2.
pub struct World {
    /// The workspace.
    pub workspace: Workspace,
    /// The watch.
    pub driven: Driven,
    /// The calls sent to PM2 since the first pass.
    pub log: Log,
    /// PM2.
    pub pm2: MemoryAdapter,
    config: Config,
    /// The directory that contains everything. It is dropped last.
    _dir: TempDir,
}

impl World {
    /// A watch whose first pass has started `count` processes.
    pub fn start(count: usize) -> Self {
        let dir = temporary();
        let workspace = Workspace::new(&utf8(dir.path()).join("w"));
        workspace.define_sleepers(count);
        Self::of(workspace, dir)
    }

    /// As [`start`](Self::start), for an existing workspace.
    pub fn of(workspace: Workspace, dir: TempDir) -> Self {
        let config = config_of(workspace.root(), &utf8(dir.path()).join("home"));
        let pm2 = MemoryAdapter::new();
        let (adapter, log) = Stamped::new(Box::new(pm2.clone()));
        let driven = Driven::start(config.clone(), Box::new(adapter));
        log.lock().unwrap().clear();
        pm2.forget_calls();
        Self {
            workspace,
            driven,
            log,
            pm2,
            config,
            _dir: dir,
        }
    }

    /// The home of PM2.
    pub fn pm2_home(&self) -> &Utf8Path {
        &self.config.pm2_home
    }

    /// The state directory of the workspace.
    pub fn state(&self) -> Utf8PathBuf {
        self.config.state().path().to_owned()
    }
}
