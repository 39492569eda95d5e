//! The time until the watch has undone a manual change to PM2.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bed::Bed;
use crate::context::Context;
use crate::measure::{Way, millis_or_none};
use crate::processes::{Newcomers, Running, sleepers};
use crate::raw::Raw;
use crate::section::Section;
use crate::workspace::sleeper;

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("heal", "Undone by hand, until it runs again");
    section.say(
        "A watcher runs on real PM2. One process is stopped or deleted through PM2's socket; the time ends when the system shows the new \
         process. In the last rows, every process is deleted at once, until as many run again. The watcher waits half a second first, \
         because PM2 may be about to end.",
    );
    let mut rows = Vec::new();
    let mut goals = Vec::new();
    for &count in context.pick(&[10, 100][..], &[3]) {
        context.progress(&format!("heal: {count} processes"));
        let [stopped, deleted, all] = heal(context, count);
        let longest = [stopped.longest(), deleted.longest()];
        let longest = longest.into_iter().flatten().reduce(f64::max);
        let medians = [stopped.median(), deleted.median()];
        let median = medians.into_iter().flatten().reduce(f64::max);
        for way in [&stopped, &deleted, &all] {
            rows.push(vec![
                count.to_string(),
                way.name.clone(),
                way.runs().to_string(),
                millis_or_none(way.median()),
                millis_or_none(way.longest()),
            ]);
        }
        goals.push((count, median, longest));
    }
    section.table(
        &["processes", "by hand", "times", "median", "longest"],
        &rows,
    );
    for (count, median, longest) in goals {
        if count == 100 {
            section.goal(
                "100 processes: one is back within 80 ms, the median",
                millis_or_none(median),
                median.is_some_and(|median| median <= 80.0),
            );
        }
        section.goal(
            &format!("{count} processes: one is back within 2 s, the longest"),
            millis_or_none(longest),
            longest.is_some_and(|longest| longest <= 2000.0),
        );
    }
    section
}

fn heal(context: &Context, count: usize) -> [Way; 3] {
    let bed = Bed::new(&context.tools);
    let seconds = |n: usize| 3000 + u32::try_from(n).unwrap();
    for n in 0..count {
        bed.workspace.define(n, &sleeper(n, seconds(n)));
    }
    bed.sync();
    bed.expect_running(count);
    let watch = Running(bed.pm2_sync(&["watch"]).spawn().unwrap());
    std::thread::sleep(Duration::from_secs(2));
    let mut new = Newcomers::of(bed.daemon());
    let mut ways = [
        Way::new("one stopped"),
        Way::new("one deleted"),
        Way::new("all deleted"),
    ];
    for run in 0..context.pick(20, 1) {
        let calls = [("stopProcessId", 0), ("deleteProcessId", count / 2)];
        for (way, (method, offset)) in ways.iter_mut().zip(calls) {
            // Not the same one twice in a row: an app that keeps changing is paused.
            let n = (run * 7 + offset) % count;
            std::thread::sleep(Duration::from_millis(300 + 37 * run as u64));
            let id = bed.pm_id(&format!("app{n}"));
            let began = Instant::now();
            Raw::connect(bed.home()).pipelined(method, vec![json!(id)]);
            way.add(new.wait(seconds(n)) - began);
        }
    }
    for _ in 0..context.pick(3, 1) {
        std::thread::sleep(Duration::from_secs(2));
        let list = bed.numbers();
        let began = Instant::now();
        Raw::connect(bed.home()).pipelined("deleteProcessId", list);
        let deadline = began + Duration::from_secs(60);
        while sleepers(bed.daemon()) < count {
            assert!(Instant::now() < deadline, "all of them run again");
            std::thread::sleep(Duration::from_millis(2));
        }
        ways[2].add(began.elapsed());
    }
    drop(watch);
    bed.expect_running(count);
    ways
}
