//! An idle watcher.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use pm2_client::MemoryAdapter;

use crate::baselines::chokidar::Chokidar;
use crate::bed::Bed;
use crate::context::Context;
use crate::engine::{Driven, config_of};
use crate::processes::{Running, cpu, resident};
use crate::section::Section;

/// The most processes on a real PM2.
const MOST_PROCESSES: usize = 1000;

/// How long to measure: long enough for the timers that scan the tree, and for several polls of PM2. Fewer runs than usual mean a
/// short measurement.
fn window(context: &Context, count: usize) -> Duration {
    let full = if count < 1000 { 65 } else { 300 };
    let quick = full * context.runs as u64 / 10;
    Duration::from_secs(context.pick(quick.min(full), 1))
}

/// The cost of an idle process.
#[derive(Clone, Copy)]
struct Cost {
    /// MiB resident.
    memory: f64,
    /// Percent of a core.
    cpu: f64,
}

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("idle", "A watcher with nothing to do");
    section.say(
        "Each size is measured once, with all watchers at the same time. While PM2's events arrive, the watcher lists PM2's \
         processes every ten seconds, or more rarely if that takes long. A busy moment takes more than 2 ms of CPU. Chokidar watches files only, as `watch \
         --no-heal` does. PM2's share is the additional CPU that PM2 takes while pm2-sync watches; a negative share is noise. \
         PM2 in memory is part of the watcher's process.",
    );
    let mut rows = Vec::new();
    let mut goals = Vec::new();
    for &count in context.pick(&[10, 100, 1000, 10_000][..], &[3, 2000]) {
        context.progress(&format!("idle: {count} definitions"));
        let found = idle(context, count, window(context, count));
        let cell = |cost: Option<Cost>| {
            cost.map_or(["-".to_owned(), "-".to_owned()], |cost| {
                [
                    format!("{:.1} MiB", cost.memory),
                    format!("{:.3} %", cost.cpu),
                ]
            })
        };
        let [memory, cpu] = cell(Some(found.ours));
        let [edits_memory, edits_cpu] = cell(found.edits_only);
        let [their_memory, their_cpu] = cell(found.chokidar);
        let pm2 = found
            .pm2
            .map_or("in memory".to_owned(), |more| format!("{more:+.3} %"));
        rows.push(vec![
            count.to_string(),
            format!("{} s", window(context, count).as_secs()),
            memory,
            cpu,
            found.busy.to_string(),
            pm2,
            edits_memory,
            edits_cpu,
            their_memory,
            their_cpu,
        ]);
        goals.push((count, found));
    }
    section.table(
        &[
            "definitions",
            "time",
            "pm2-sync memory",
            "CPU",
            "busy moments",
            "PM2's share of CPU",
            "with `--no-heal`: memory",
            "CPU",
            "chokidar memory",
            "CPU",
        ],
        &rows,
    );
    for (_, found) in goals.iter().filter(|(count, _)| *count == 1000) {
        let ours = found.ours;
        section.goal(
            "1,000 definitions: at most 20 MiB",
            format!("{:.1} MiB", ours.memory),
            ours.memory <= 20.0,
        );
        // Without polls of PM2 the figure has another meaning, and counts as missed.
        let never_polls = found.edits_only;
        let looked = never_polls.is_none_or(|never_polls| ours.cpu > never_polls.cpu);
        section.goal(
            "1,000 definitions: at most 0.07 % of a core",
            format!("{:.3} %, {} busy moments", ours.cpu, found.busy),
            looked && ours.cpu <= 0.07,
        );
        if let Some(more) = found.pm2 {
            section.goal(
                "1,000 definitions: PM2 takes at most 0.2 % of a core more",
                format!("{more:+.3} %"),
                more <= 0.2,
            );
        }
        if let Some(theirs) = found.chokidar {
            section.summary([
                "memory of a watcher of 1,000 daemons",
                &format!("{:.1} MiB", ours.memory),
                "chokidar",
                &format!("{:.1} MiB", theirs.memory),
                &format!("{:.1}x less", theirs.memory / ours.memory),
            ]);
            section.goal(
                "1,000 definitions: at most 1/4 of chokidar's memory",
                format!("{:.1}x less", theirs.memory / ours.memory),
                ours.memory <= theirs.memory / 4.0,
            );
            if let Some(edits) = found.edits_only {
                section.goal(
                    "1,000 definitions, `--no-heal`: no more CPU than chokidar",
                    format!("{:.3} % and {:.3} %", edits.cpu, theirs.cpu),
                    edits.cpu <= theirs.cpu,
                );
            }
            section.goal(
                "1,000 definitions: no more CPU than chokidar",
                format!("{:.3} % and {:.3} %", ours.cpu, theirs.cpu),
                looked && ours.cpu <= theirs.cpu,
            );
        }
    }
    if context.tools.chokidar().is_none() {
        context.left_out(&mut section, "chokidar");
    }
    section
}

struct Found {
    ours: Cost,
    /// A watch that never polls PM2; none if PM2 is in memory.
    edits_only: Option<Cost>,
    chokidar: Option<Cost>,
    /// The additional use of a core by PM2, in percent; none if it is in memory.
    pm2: Option<f64>,
    /// How many times pm2-sync was busy.
    busy: usize,
}

fn idle(context: &Context, count: usize, window: Duration) -> Found {
    let bed = Bed::new(&context.tools);
    bed.workspace.define_sleepers(count);
    let real = count <= MOST_PROCESSES;
    let settle = || std::thread::sleep(context.pick(Duration::from_secs(5), Duration::ZERO));
    let mut alone = 0.0;
    if real {
        bed.sync();
        bed.expect_running(count);
        settle();
        alone = shares(&[bed.daemon()], window / 2).0[0];
    }
    let ours = if real {
        Running(bed.pm2_sync(&["watch"]).spawn().unwrap())
    } else {
        in_memory(context, &bed)
    };
    let chokidar = Chokidar::start(&context.tools, &bed);
    settle();
    // The other one has finished its first pass by now.
    let edits_only = real.then(|| Running(bed.pm2_sync(&["watch", "--no-heal"]).spawn().unwrap()));
    settle();
    let mut pids = vec![ours.pid(), bed.daemon()];
    pids.extend(edits_only.as_ref().map(Running::pid));
    pids.extend(chokidar.as_ref().map(Chokidar::pid));
    let (shares, busy) = shares(&pids, window);
    let cost = |at: usize| Cost {
        memory: resident(pids[at]),
        cpu: shares[at],
    };
    if real {
        bed.expect_running(count);
    }
    Found {
        ours: cost(0),
        edits_only: edits_only.is_some().then(|| cost(2)),
        chokidar: chokidar.is_some().then(|| cost(pids.len() - 1)),
        pm2: real.then(|| shares[1] - alone),
        busy,
    }
}

/// How much of a core each process uses within this time, in percent, and how many times the first was busy.
fn shares(pids: &[u32], window: Duration) -> (Vec<f64>, usize) {
    const MOMENT: Duration = Duration::from_millis(250);
    const BUSY: Duration = Duration::from_millis(2);
    let before: Vec<Duration> = pids.iter().map(|pid| cpu(*pid)).collect();
    let began = Instant::now();
    let (mut busy, mut last, mut was) = (0, before[0], false);
    while began.elapsed() < window {
        std::thread::sleep(MOMENT.min(window));
        let now = cpu(pids[0]);
        let is = now.saturating_sub(last) > BUSY;
        // One poll may span two samples.
        busy += usize::from(is && !was);
        (last, was) = (now, is);
    }
    let took = began.elapsed().as_secs_f64();
    let shares = pids
        .iter()
        .zip(before)
        .map(|(pid, before)| cpu(*pid).saturating_sub(before).as_secs_f64() / took * 100.0)
        .collect();
    (shares, busy)
}

/// Runs this program again, as a watch of the workspace with an in-memory PM2.
fn in_memory(context: &Context, bed: &Bed) -> Running {
    let mut child = bed
        .run_in(&context.tools.own)
        .args([
            crate::WATCH_IN_MEMORY,
            bed.workspace.root().as_str(),
            bed.file("memory").as_str(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let running = Running(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    running
}

/// Watches until standard input ends.
pub fn watch_in_memory(root: &Utf8Path, home: &Utf8Path) {
    let pm2 = MemoryAdapter::new();
    let driven = Driven::start(config_of(root, home), Box::new(pm2));
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(driven);
}
