//! How each piece of work grows with the number of definitions.

use std::time::Instant;

use pm2_client::{MemoryAdapter, ProcessAdapter};

use crate::context::Context;
use crate::engine::{config_of, sync_in_memory};
use crate::measure::{Way, millis_or_none};
use crate::parts::latency::World;
use crate::parts::render;
use crate::programs::Offline;
use crate::section::Section;
use crate::workspace::{Workspace, sleeper, temporary, utf8};

/// Ten times the work may take at most this many times as long.
const NEAR_LINEAR: f64 = 12.0;

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("growth", "Growth");
    let sizes = context.pick(&[10, 100, 1000, 10_000][..], &[3, 30]);
    section.say(
        "`render` and `check` are the program, with its start; the others are the library with PM2 in memory. An edit \
         counts until the message is sent to PM2. A watcher with nothing to do has a table of its own.",
    );
    let columns: Vec<Vec<Way>> = sizes.iter().map(|size| column(context, *size)).collect();
    let mut head = vec!["median at".to_owned()];
    head.extend(sizes.iter().map(|size| format!("{size} definitions")));
    head.push("worst growth for 10 times as many".to_owned());
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut rows = Vec::new();
    for n in 0..columns[0].len() {
        let medians: Vec<Option<f64>> = columns.iter().map(|column| column[n].median()).collect();
        let worst = medians
            .windows(2)
            .filter_map(|pair| Some(pair[1]? / pair[0]?))
            .fold(0.0, f64::max);
        let name = columns[0][n].name.clone();
        let mut row = vec![name.clone()];
        row.extend(medians.into_iter().map(millis_or_none));
        row.push(format!("{worst:.1}x"));
        rows.push((row, name, worst));
    }
    let table: Vec<Vec<String>> = rows.iter().map(|(row, ..)| row.clone()).collect();
    section.table(&head, &table);
    for (_, name, worst) in rows {
        section.goal(
            &format!("{name}: near linear (at most {NEAR_LINEAR}x)"),
            format!("{worst:.1}x"),
            worst <= NEAR_LINEAR,
        );
    }
    section
}

/// All kinds of work at one size.
fn column(context: &Context, count: usize) -> Vec<Way> {
    context.progress(&format!("growth: {count} definitions"));
    let offline = Offline::new(&context.tools, count);
    let mut check = Way::new("`check`");
    for _ in 0..context.runs {
        check.run(|| offline.run(&["check"]));
    }
    let mut rendered = render::measure(context, &offline, count);
    rendered.unchanged.name = "`render`, nothing changed".to_owned();
    rendered.new.name = "`render`, all new".to_owned();
    drop(offline);
    let [first, nothing] = syncs(context, count);
    vec![
        check,
        rendered.unchanged,
        rendered.new,
        first,
        nothing,
        edits(context, count),
    ]
}

/// First syncs, and no-op syncs.
fn syncs(context: &Context, count: usize) -> [Way; 2] {
    let dir = temporary();
    let workspace = Workspace::new(&utf8(dir.path()).join("w"));
    workspace.define_sleepers(count);
    let config = config_of(workspace.root(), &utf8(dir.path()).join("home"));
    let mut first = Way::new("first sync");
    let mut nothing = Way::new("sync with nothing to do");
    let runs = if count > 1000 {
        context.runs_at_most(3)
    } else {
        context.runs
    };
    for _ in 0..runs {
        let pm2 = MemoryAdapter::new();
        first.run(|| assert_eq!(sync_in_memory(&config, &pm2), count));
        assert_eq!(pm2.clone().list().unwrap().len(), count);
        nothing.run(|| assert_eq!(sync_in_memory(&config, &pm2), 0));
    }
    [first, nothing]
}

fn edits(context: &Context, count: usize) -> Way {
    let world = World::start(count);
    let mut sent = Way::new("one edit, until the message is sent");
    // Never the same definition twice: one that keeps changing is paused.
    for (n, seconds) in (0..context.runs.min(count)).zip(2000..) {
        let began = Instant::now();
        world.workspace.define(n, &sleeper(n, seconds));
        assert_eq!(world.driven.next_with_steps().steps, 1);
        let calls = std::mem::take(&mut *world.log.lock().unwrap());
        assert_eq!(calls.len(), 1);
        sent.add(calls[0].at - began);
    }
    sent
}
