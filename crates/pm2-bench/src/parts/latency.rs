//! From many saves to PM2, with few and many definitions.

use std::time::{Duration, Instant};

use pm2_client::{MemoryAdapter, ProcessAdapter};
use tempfile::TempDir;

use crate::bed::Bed;
use crate::context::Context;
use crate::engine::{Driven, Log, Stamped, Told, config_of};
use crate::measure::{Way, millis_or_none};
use crate::processes::Newcomers;
use crate::section::Section;
use crate::workspace::{Workspace, sleeper, temporary, utf8};

/// Measures it.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("latency", "From the save to PM2");
    let edits = context.pick(200, 3);
    section.say(&format!(
        "{edits} edits, one after the other, each of another definition. *Told*: the message has been sent to PM2. \
         *Online*: the system shows the new process; in memory, PM2 has answered. 30 ms of each time are the wait for \
         quiet."
    ));
    let mut rows = Vec::new();
    let mut at_thousand = None;
    for &count in context.pick(&[10, 100][..], &[3]) {
        context.progress(&format!("latency: {count} definitions, real PM2"));
        rows.push(row(count, "real", &real(context, count, edits)));
    }
    for &count in context.pick(&[10, 1000, 10_000][..], &[5]) {
        context.progress(&format!("latency: {count} definitions, PM2 in memory"));
        let found = in_memory(count, edits);
        if count == 1000 {
            at_thousand = found[0].median();
        }
        rows.push(row(count, "in memory", &found));
    }
    section.table(
        &[
            "definitions",
            "PM2",
            "told, median",
            "told, p99",
            "online, median",
            "online, p99",
        ],
        &rows,
    );
    if let Some(median) = at_thousand {
        section.goal(
            "1,000 definitions: told within 60 ms, median",
            format!("{median:.1} ms"),
            median <= 60.0,
        );
    }
    section
}

fn row(count: usize, pm2: &str, [told, online]: &[Way; 2]) -> Vec<String> {
    vec![
        count.to_string(),
        pm2.to_owned(),
        millis_or_none(told.median()),
        millis_or_none(told.p99()),
        millis_or_none(online.median()),
        millis_or_none(online.p99()),
    ]
}

fn ways() -> [Way; 2] {
    [Way::new("told"), Way::new("online")]
}

/// The one call since the last time.
fn only_call(log: &Log) -> Told {
    let calls = std::mem::take(&mut *log.lock().unwrap());
    assert_eq!(calls.len(), 1, "one edit, one message");
    calls[0]
}

fn real(context: &Context, count: usize, edits: usize) -> [Way; 2] {
    let bed = Bed::new(&context.tools);
    bed.workspace.define_sleepers(count);
    bed.sync();
    let config = bed.config();
    let adapter = pm2_sync::connect(&config).unwrap().unwrap();
    let (adapter, log) = Stamped::new(adapter);
    let driven = Driven::start(config, Box::new(adapter));
    let mut new = Newcomers::of(bed.daemon());
    let mut ways = ways();
    for (n, seconds) in (0..edits).zip(2000..) {
        std::thread::sleep(pause(n));
        let began = Instant::now();
        bed.workspace
            .define(n % count, &sleeper(n % count, seconds));
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
        let edited = n % count;
        world.workspace.define(edited, &sleeper(edited, seconds));
        assert_eq!(world.driven.next_with_steps().steps, 1);
        let told = only_call(&world.log);
        ways[0].add(told.at - began);
        ways[1].add(told.answered - began);
    }
    assert_eq!(world.pm2.clone().list().unwrap().len(), count);
    ways
}

/// Different moments of the second in which the watch looks at PM2 once.
fn pause(n: usize) -> Duration {
    Duration::from_millis(40 + 7 * (n as u64 % 10))
}

/// A watch of a workspace, with PM2 in memory.
pub struct World {
    /// The workspace.
    pub workspace: Workspace,
    /// The watch.
    pub driven: Driven,
    /// What PM2 was told since the first pass.
    pub log: Log,
    /// PM2.
    pub pm2: MemoryAdapter,
    /// Where all of it lies: it goes last.
    _dir: TempDir,
}

impl World {
    /// A watch whose first pass has started that many processes.
    pub fn start(count: usize) -> Self {
        let dir = temporary();
        let workspace = Workspace::new(&utf8(dir.path()).join("w"));
        workspace.define_sleepers(count);
        Self::of(workspace, dir)
    }

    /// The same, of a workspace that exists.
    pub fn of(workspace: Workspace, dir: TempDir) -> Self {
        let config = config_of(workspace.root(), &utf8(dir.path()).join("home"));
        let pm2 = MemoryAdapter::new();
        let (adapter, log) = Stamped::new(Box::new(pm2.clone()));
        let driven = Driven::start(config, Box::new(adapter));
        log.lock().unwrap().clear();
        pm2.forget_calls();
        Self {
            workspace,
            driven,
            log,
            pm2,
            _dir: dir,
        }
    }
}
