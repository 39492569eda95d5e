//! A checkout that changes many definitions at once.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use pm2_client::Method;

use crate::context::Context;
use crate::measure::{Way, millis_or_none};
use crate::parts::latency::World;
use crate::plain::Replacements;
use crate::section::Section;
use crate::workspace::{Workspace, sleeper, temporary, utf8};

/// The limit of runs, because each takes many seconds.
const MOST_RUNS: usize = 4;

/// Runs git, which must succeed; returns whether git is available.
fn git(root: &Utf8Path, args: &[&str]) -> bool {
    let status = Command::new("git")
        .args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"])
        .args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0"])
        .args(args)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) => {
            assert!(status.success(), "git {args:?}");
            true
        }
        Err(_) => false,
    }
}

/// Runs the measurement.
pub fn run(context: &Context) -> Section {
    let (count, changed) = context.pick((10_000, 500), (60, 6));
    let mut section = context.section(
        "checkout",
        &format!("A checkout that changes {changed} of {count} definitions"),
    );
    context.progress(&format!("checkout: {changed} of {count} definitions"));
    let dir = temporary();
    let workspace = Workspace::new(&utf8(dir.path()).join("w"));
    if !git(workspace.root(), &["init", "-q"]) {
        context.left_out(&mut section, "git");
        return section;
    }
    workspace.define_sleepers(count);
    let edited: Vec<usize> = (0..changed).map(|n| n * (count / changed)).collect();
    std::fs::write(workspace.root().join(".gitignore"), ".generated\n").unwrap();
    git(workspace.root(), &["add", "."]);
    git(workspace.root(), &["commit", "-qm", "before"]);
    git(workspace.root(), &["checkout", "-qb", "after"]);
    for n in &edited {
        workspace.define(*n, &sleeper(*n, 2000));
    }
    git(workspace.root(), &["commit", "-qam", "after"]);

    let world = World::of(workspace, dir);
    let root = world.workspace.root();
    let expected: BTreeSet<String> = edited.iter().map(|n| format!("app{n}")).collect();
    let [mut checkout, mut all, mut rest] = [
        Way::new("`git checkout` alone"),
        Way::new("from its begin until PM2 runs what it changed"),
        Way::new("from its end"),
    ];
    let mut passes = Vec::new();
    let runs = context.runs_at_most(MOST_RUNS);
    for branch in ["main", "after"].into_iter().cycle().take(runs) {
        let began = Instant::now();
        git(root, &["checkout", "-q", branch]);
        let checked_out = Instant::now();
        let (mut steps, mut with_steps, mut last) = (0, 0, began);
        while steps < changed {
            let pass = world.driven.next_with_steps();
            steps += pass.steps;
            with_steps += 1;
            last = pass.at;
        }
        checkout.add(checked_out - began);
        all.add(last - began);
        rest.add(last.saturating_duration_since(checked_out));
        passes.push(with_steps);
        steps += world.driven.steps_within(Duration::from_secs(2));
        assert_eq!(steps, changed, "no step for what is unchanged");
        let calls = world.pm2.calls();
        world.pm2.forget_calls();
        assert_eq!(calls.len(), changed);
        assert!(calls.iter().all(|call| call.method == Method::Restart));
        let names: BTreeSet<String> = calls.into_iter().map(|call| call.name).collect();
        assert_eq!(names, expected, "each of them once, and no other");
    }
    let mut floor = Way::new("(only replacing the files that a pass replaces)");
    let state = world.state();
    let artifacts = edited.iter().map(|n| world.workspace.artifact(*n));
    let histories = edited.iter().map(|n| {
        let id = Workspace::id(*n).as_str().replace('/', "%2F");
        state.join(format!("history/{id}.jsonl"))
    });
    let dump = world.pm2_home().join("dump.pm2");
    let replaced = Replacements::of(artifacts.chain(histories).chain([dump]));
    for _ in 0..runs {
        floor.run(|| replaced.write());
    }
    section.say(
        "The repository is real, PM2 is in memory, and the watcher is that of the library. In brackets: one generated config and one \
         history for each changed definition, and PM2's dump, each written to a new file that is then renamed.",
    );
    let rows: Vec<Vec<String>> = [&checkout, &all, &rest, &floor]
        .into_iter()
        .map(|way| {
            vec![
                way.name.clone(),
                millis_or_none(way.median()),
                way.runs().to_string(),
            ]
        })
        .collect();
    section.table(&["checkout", "median", "runs"], &rows);
    if let Some(end) = rest.median().filter(|_| !context.smoke) {
        section.goal(
            "within 500 ms from its end, the median",
            millis_or_none(Some(end)),
            end <= 500.0,
        );
    }
    passes.sort_unstable();
    section.goal(
        "one step for each changed definition, none for the others",
        format!(
            "{changed} steps in {} passes (median), 0 others",
            passes[passes.len() / 2]
        ),
        true,
    );
    section
}
