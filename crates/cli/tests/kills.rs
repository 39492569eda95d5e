//! After a watch is killed at random moments of busy work, one sync repairs everything.
//!
//! `CHAOS_KILLS` sets how often it is killed, `CHAOS_SEED` which moments and edits are drawn; `cargo xtask chaos` runs many rounds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Env, Watch, command_line, sleeper};
use pm2_testbed::{Random, is_alive, wait_for};

const DAEMONS: u64 = 6;
/// A pass over all daemons takes a third of this.
const LONGEST: u64 = 300;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

/// Edits some of the definitions; updates the seconds that each app sleeps.
fn edit(env: &Env, random: &mut Random, seconds: &mut [u32]) {
    for _ in 0..1 + random.below(2 * DAEMONS) {
        let n = random.below(DAEMONS);
        let at = &mut seconds[usize::try_from(n).unwrap()];
        *at += 1;
        env.define(&format!("d{n}"), &sleeper(&format!("app{n}"), *at));
    }
}

#[test]
fn a_watch_killed_at_any_moment_leaves_nothing_behind() {
    end_at_random_moments(|watch| {
        watch.signal(rustix::process::Signal::KILL);
        drop(watch);
    });
}

#[test]
fn a_watch_stopped_at_any_moment_leaves_nothing_behind() {
    end_at_random_moments(|watch| assert_eq!(watch.stop(), 0));
}

fn end_at_random_moments(end: impl Fn(Watch)) {
    let (kills, seed) = (number("CHAOS_KILLS", 3), number("CHAOS_SEED", 1));
    let mut random = Random::new(seed);
    let env = Env::new();
    let stranger = env.start_by_hand("stranger", 5000);
    let mut seconds: Vec<u32> = (1..=6).map(|n| n * 1_000_000).collect();
    for n in 0..DAEMONS {
        edit(&env, &mut random, &mut seconds);
        env.define(
            &format!("d{n}"),
            &sleeper(&format!("app{n}"), seconds[usize::try_from(n).unwrap()]),
        );
    }
    env.sync();
    let mut again = 0;
    for kill in 0..kills {
        let watch = env.watch(&[]);
        let pause = random.below(LONGEST);
        for _ in 0..3 {
            edit(&env, &mut random, &mut seconds);
            // This does not wait for a condition: it varies the moment of the kill.
            std::thread::sleep(Duration::from_millis(pause / 3));
        }
        end(watch);
        let mut files = vec![env.root.join(".generated/pm2")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                let entries = path.read_dir_utf8().unwrap();
                files.extend(entries.map(|entry| entry.unwrap().into_path()));
            } else if path.extension() == Some("json") {
                let text = std::fs::read_to_string(&path).unwrap();
                let whole = serde_json::from_str::<serde_json::Value>(&text).is_ok();
                assert!(whole, "kill {kill} of seed {seed}: {path}: {text}");
            }
        }
        // Requests to PM2 from before the kill may still be in progress.
        let mut syncs = 0;
        wait_for(|| {
            syncs += 1;
            env.run(&["sync"]).code == 0
        });
        again += u32::from(syncs > 1);
        env.sync();
        let list = env.list();
        assert_eq!(list.len(), 7, "kill {kill} of seed {seed}: {list:?}");
        for (n, seconds) in seconds.iter().enumerate() {
            let line = command_line(env.pid(&format!("app{n}")));
            assert_eq!(
                line,
                ["/bin/sleep", &seconds.to_string()],
                "kill {kill} of seed {seed}"
            );
        }
        assert_eq!(env.pid("stranger"), stranger);
        // PM2 knows every process that lives.
        let known: BTreeSet<u32> = list
            .iter()
            .filter_map(|record| record.pid)
            .chain(env.bed.daemons())
            .collect();
        let stray: Vec<_> = env
            .bed
            .processes()
            .into_iter()
            .filter(|pid| !known.contains(pid) && is_alive(*pid))
            .map(|pid| (pid, command_line(pid)))
            .collect();
        assert_eq!(
            stray,
            [],
            "kill {kill} of seed {seed}: {list:?}\n{}",
            std::fs::read_to_string(env.bed.home().join("pm2.log")).unwrap_or_default()
        );
        let artifacts = env.run(&["render", "--check"]);
        assert_eq!(
            artifacts.code, 0,
            "kill {kill} of seed {seed}: {artifacts:?}"
        );
    }
    println!(
        "ended {kills} times, seed {seed}: the first sync put everything right after {}, a later one after {again}",
        kills - u64::from(again)
    );
}
