//! One edit saved, until the new process runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::baselines::chokidar::Chokidar;
use crate::bed::Bed;
use crate::context::Context;
use crate::measure::Way;
use crate::processes::{Newcomers, Running};
use crate::raw::{Calls, Raw};
use crate::section::Section;
use crate::workspace::{sleeper, sleeper_app};

/// How long the watcher waits for quiet before it looks.
pub const QUIET: Duration = Duration::from_millis(30);

/// Measures it.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("edit", "One edit saved, until the new process runs");
    section.say(
        "A watcher runs; each way has a PM2 of its own. The time ends when the system shows the new process under PM2.",
    );
    for count in context.pick(&[10, 100][..], &[3]) {
        edits(context, &mut section, *count);
    }
    if context.tools.chokidar().is_none() || context.tools.nbb().is_none() {
        context.left_out(&mut section, "chokidar or nbb");
    }
    section
}

/// A PM2 on which so many processes run.
fn bed(context: &Context, count: usize) -> Bed {
    let bed = Bed::new(&context.tools);
    bed.workspace.define_sleepers(count);
    bed.sync();
    bed.expect_running(count);
    bed
}

/// The message that restarts the first app with another argument.
fn prepared(bed: &Bed, seconds: u32) -> Calls {
    let payload = bed
        .payloads()
        .into_iter()
        .find(|payload| payload["name"] == "app0");
    let mut conf = payload.unwrap();
    conf["args"] = json!([seconds.to_string()]);
    let id = bed.pm_id("app0");
    let call: Value = json!({ "id": id, "env": { "current_conf": conf } });
    Calls::new("restartProcessId", vec![call])
}

fn edits(context: &Context, section: &mut Section, count: usize) {
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
        Way::new("floor: 30 ms of quiet, one prepared message"),
        Way::new("`pm2 start one.json` by hand, no watcher"),
        Way::new("chokidar, then nbb, then `pm2 start`"),
    ];
    let file = by_hand.file("edited.json");
    // The first pass of the watch is over when it is silent.
    std::thread::sleep(Duration::from_millis(1500));
    for (round, seconds) in (0..context.runs).zip(2000..) {
        let text = sleeper(0, seconds);
        let mut new = Newcomers::of(ours.daemon());
        let began = Instant::now();
        ours.workspace.define(0, &text);
        ways[0].add(new.wait(seconds) - began);

        let message = prepared(&floor, seconds);
        let mut raw = Raw::connect(floor.home());
        let mut new = Newcomers::of(floor.daemon());
        let began = Instant::now();
        std::thread::sleep(QUIET);
        raw.send(&message);
        ways[1].add(new.wait(seconds) - began);

        let app = sleeper_app(0, seconds);
        std::fs::write(&file, json!({ "apps": [app] }).to_string()).unwrap();
        let mut new = Newcomers::of(by_hand.daemon());
        let began = Instant::now();
        by_hand.pm2(&["start", file.as_str()]);
        ways[2].add(new.wait(seconds) - began);

        if let Some(chokidar) = &chokidar {
            let mut new = Newcomers::of(reference.daemon());
            let began = Instant::now();
            reference.workspace.define(0, &text);
            ways[3].add(new.wait(seconds) - began);
            chokidar.settle();
        }
        // The watch looks at PM2 once a second: let edits fall on different moments of that second.
        std::thread::sleep(Duration::from_millis(100 + 37 * (round as u64 % 10)));
    }
    for bed in [&ours, &floor, &by_hand, &reference] {
        bed.expect_running(count);
    }
    drop(watch);
    section.ways(
        &format!("one edit among {count} daemons"),
        &ways.iter().collect::<Vec<_>>(),
    );
    let times = ways.each_ref().map(Way::median);
    section.at_most(
        "at most 1.5 x the floor with its 30 ms of quiet",
        1.5,
        times[0],
        times[1],
    );
    section.at_most(
        "at least 10 x faster than chokidar, nbb and `pm2 start`",
        0.1,
        times[0],
        times[3],
    );
}
