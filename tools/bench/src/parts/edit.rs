//! One edit saved, until the new process runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::baselines::chokidar::Chokidar;
use crate::bed::Bed;
use crate::chart::{Chart, Group};
use crate::context::Context;
use crate::measure::Way;
use crate::processes::{Newcomers, Running};
use crate::raw::{Calls, Raw};
use crate::section::Section;
use crate::workspace::{sleeper, sleeper_app};

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("edit", "One edit saved, until the new process runs");
    section.say(
        "A watcher runs; each way has a PM2 of its own. The time ends when the system shows the new process under PM2.",
    );
    let groups = context.pick(&[(10, 1.2, 11.0), (100, 1.3, 7.0)][..], &[(3, 1.0, 1.0)]);
    let groups: Vec<Group> = groups
        .iter()
        .map(|(count, floor, reference)| edits(context, &mut section, *count, (*floor, *reference)))
        .collect();
    section.chart = Some(Chart {
        title: "One edit saved, until the new process runs".to_owned(),
        groups,
    });
    if context.tools.chokidar().is_none() || context.tools.nbb().is_none() {
        context.left_out(&mut section, "chokidar or nbb");
    }
    section
}

/// A PM2 that runs `count` processes.
fn bed(context: &Context, count: usize) -> Bed {
    let bed = Bed::new(&context.tools);
    bed.workspace.define_sleepers(count);
    bed.sync();
    bed.expect_running(count);
    bed
}

/// The message that restarts an app with another argument.
fn prepared(bed: &Bed, n: usize, seconds: u32) -> Calls {
    let name = format!("app{n}");
    let payload = bed
        .payloads()
        .into_iter()
        .find(|payload| payload["name"] == name);
    let mut conf = payload.unwrap();
    conf["args"] = json!([seconds.to_string()]);
    let id = bed.pm_id(&name);
    let call: Value = json!({ "id": id, "env": { "current_conf": conf } });
    Calls::new("restartProcessId", vec![call])
}

/// `goals`: the largest allowed multiple of the floor, and the required speed-up over chokidar.
fn edits(context: &Context, section: &mut Section, count: usize, goals: (f64, f64)) -> Group {
    context.progress(&format!("edit: {count} daemons"));
    let (ours, floor, by_hand, reference) = (
        bed(context, count),
        bed(context, count),
        bed(context, count),
        bed(context, count),
    );
    let watch = Running(ours.pm2_sync(&["watch", "--no-save"]).spawn().unwrap());
    let chokidar = context
        .tools
        .nbb()
        .and_then(|_| Chokidar::start(&context.tools, &reference));
    let mut ways = [
        Way::new("`pm2-sync watch`"),
        Way::new("floor: one prepared message"),
        Way::new("`pm2 start one.json` by hand, no watcher"),
        Way::new("chokidar, then nbb, then `pm2 start`"),
    ];
    let file = by_hand.file("edited.json");
    // The first pass of the watch is over once it prints nothing more.
    std::thread::sleep(Duration::from_millis(1500));
    for (round, seconds) in (0..context.runs).zip(2000..) {
        // Edit one daemon after the other: an app that keeps changing is paused.
        let n = round % count;
        let text = sleeper(n, seconds);
        let mut new = Newcomers::of(ours.daemon());
        let began = Instant::now();
        ours.workspace.define(n, &text);
        ways[0].add(new.wait(seconds) - began);

        let message = prepared(&floor, n, seconds);
        let mut raw = Raw::connect(floor.home());
        let mut new = Newcomers::of(floor.daemon());
        let began = Instant::now();
        raw.send(&message);
        ways[1].add(new.wait(seconds) - began);

        let app = sleeper_app(n, seconds);
        std::fs::write(&file, json!({ "apps": [app] }).to_string()).unwrap();
        let mut new = Newcomers::of(by_hand.daemon());
        let began = Instant::now();
        by_hand.pm2(&["start", file.as_str()]);
        ways[2].add(new.wait(seconds) - began);

        if let Some(chokidar) = &chokidar {
            let mut new = Newcomers::of(reference.daemon());
            let began = Instant::now();
            reference.workspace.define(n, &text);
            ways[3].add(new.wait(seconds) - began);
            chokidar.settle();
        }
        // The watch polls PM2 once a second, so spread the edits over that second.
        std::thread::sleep(Duration::from_millis(100 + 37 * (round as u64 % 10)));
    }
    for bed in [&ours, &floor, &by_hand, &reference] {
        bed.expect_running(count);
    }
    drop(watch);
    let work = format!("one edit among {count} daemons");
    section.ways(&work, &ways.iter().collect::<Vec<_>>());
    let times = ways.each_ref().map(Way::median);
    let (floor, reference) = goals;
    section.at_most(
        &format!("at most {floor}x the floor"),
        floor,
        times[0],
        times[1],
    );
    section.at_most(
        &format!("at least {reference}x faster than chokidar, nbb and `pm2 start`"),
        1.0 / reference,
        times[0],
        times[3],
    );
    section.summary_of(&work, times[0], &ways[3].name, times[3]);
    Group::of(&work, &ways)
}
