//! Counts instructions instead of time: the result is the same on a busy machine.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use camino::Utf8Path;
use daemon_model::{Observed, plan};
use pm2_client::{MemoryAdapter, ProcessAdapter};
use reconcile::Definitions;

use crate::context::Context;
use crate::engine::{config_of, sync_in_memory};
use crate::programs::Offline;
use crate::section::Section;
use crate::workspace::{Workspace, utf8};

/// The function whose instructions are counted, in callgrind's notation.
const COUNTED: &str = "*counted_by_callgrind*";

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let mut section = context.section("instructions", "Instructions");
    let probe = std::process::Command::new("valgrind")
        .arg("--version")
        .output();
    if !probe.is_ok_and(|done| done.status.success()) {
        context.left_out(&mut section, "valgrind");
        return section;
    }
    section.say(
        "Counted by callgrind, so that they do not depend on what else the machine does. `render` and `check` are the \
         whole program; the others are the library's own work.",
    );
    let mut rows = Vec::new();
    for (what, full, smoke) in [
        ("render", 1000, 5),
        ("check", 1000, 5),
        ("nothing", 100, 5),
        ("plan", 10_000, 5),
    ] {
        let count = context.pick(full, smoke);
        context.progress(&format!("instructions: {what} of {count}"));
        let instructions = count_of(context, what, count);
        let name = match what {
            "render" => "`render`, nothing changed, definitions",
            "check" => "`check`, definitions",
            "nothing" => "sync with nothing to do, PM2 in memory, processes",
            _ => "the plan alone, nothing to do, processes",
        };
        rows.push(vec![
            name.to_owned(),
            count.to_string(),
            format!("{:.1} million", instructions as f64 / 1e6),
            format!("{:.1} thousand", instructions as f64 / 1e3 / count as f64),
        ]);
    }
    section.table(&["work", "size", "instructions", "for each"], &rows);
    section
}

fn count_of(context: &Context, what: &str, count: usize) -> u64 {
    let offline = Offline::new(&context.tools, count);
    let out = offline.file("callgrind");
    let mut command = offline.program("valgrind");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={out}")]);
    if matches!(what, "render" | "check") {
        offline.run(&["render"]);
        command.args([offline.pm2_sync(), what]);
    } else {
        offline.workspace.define_sleepers(count);
        command
            .arg("--collect-atstart=no")
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(&context.tools.own)
            .args([crate::COUNT_INSTRUCTIONS, what, &count.to_string()])
            .arg(offline.workspace.root());
    }
    assert!(command.status().unwrap().success());
    let text = std::fs::read_to_string(&out).unwrap();
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let total = total.unwrap();
    assert!(total > 0, "callgrind has not found the function to count");
    total
}

/// The code that runs under callgrind.
pub fn child(what: &str, count: usize, root: &Utf8Path) {
    let home = tempfile::tempdir().unwrap();
    let config = config_of(root, &utf8(home.path()));
    let pm2 = MemoryAdapter::new();
    assert_eq!(sync_in_memory(&config, &pm2), count);
    if what == "nothing" {
        let mut steps = count;
        counted_by_callgrind(&mut || steps = sync_in_memory(&config, &pm2));
        assert_eq!(steps, 0);
        return;
    }
    let definitions = Definitions::load(&config).unwrap();
    assert!(definitions.daemons.contains_key(&Workspace::id(0)));
    let desired = definitions.desired(BTreeSet::new(), BTreeMap::new());
    let observed = Observed {
        processes: pm2.clone().observe().unwrap(),
        ..Observed::default()
    };
    let policy = config.policy();
    counted_by_callgrind(&mut || {
        let plan = plan(black_box(&desired), black_box(&observed), &policy);
        assert!(plan.is_in_sync());
    });
}

/// Instructions are counted while this runs.
#[inline(never)]
fn counted_by_callgrind(work: &mut dyn FnMut()) {
    work();
}
