//! Random workspaces, edits and kills on real PM2: the last ready spec always serves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use common::Env;
use common::server::{Load, SERVER, Server};
use pm2_testbed::{Random, wait_for};

/// How many workspaces the gate tests; `cargo xtask chaos` tests more.
const WORLDS: usize = 6;

/// How many of them at a time.
const AT_A_TIME: usize = 2;

const BEHAVIOURS: [&str; 6] = ["good", "slow", "good", "crash", "flapping", "never"];

fn worlds() -> usize {
    let chosen = std::env::var("ROLLOUT_WORLDS");
    chosen.map_or(WORLDS, |count| count.parse().unwrap())
}

/// One app of a workspace, and its expected state.
struct App {
    server: Server,
    /// The version that was ready last.
    ready: Option<u32>,
    /// Whether the defined version is ready, or was superseded before it was tried.
    is_in_sync: bool,
}

fn define(env: &Env, app: &App, behaviour: &str, version: u32) {
    let text = app.server.app(
        behaviour,
        version,
        ":min_uptime 2500 :pm2-sync {:within \"6s\"}",
    );
    env.define(&app.server.name, &format!("{{:apps [{text}]}}"));
}

/// The versions of the running processes.
fn serving(env: &Env, app: &App) -> Vec<String> {
    let records = env.named(&app.server.name).into_iter();
    let versions = records.map(|record| record.pm2_env["V"].to_string());
    let mut versions: Vec<_> = versions.map(|text| text.replace('"', "")).collect();
    versions.sort();
    versions.dedup();
    versions
}

/// Edits one workspace; returns how many requests were answered.
fn world(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let env = Env::new();
    env.write("app.js", SERVER);
    let mut apps: Vec<App> = ["fork", "cluster", "other"]
        .iter()
        .map(|name| {
            let workers = match *name {
                "fork" => 0,
                "cluster" => 2,
                _ => 2 * (random.below(2)),
            };
            App {
                server: Server::new(name, u32::try_from(workers).unwrap()),
                ready: None,
                is_in_sync: true,
            }
        })
        .collect();
    for app in &mut apps {
        define(&env, app, "good", 1);
        app.ready = Some(1);
    }
    env.sync();
    let load = Load::on(apps[1].server.port);
    for version in 2..5 {
        for app in &mut apps {
            if random.below(3) > 0 {
                let behaviour = BEHAVIOURS[random.below(BEHAVIOURS.len() as u64) as usize];
                define(&env, app, behaviour, version);
                app.is_in_sync = matches!(behaviour, "good" | "slow");
                if app.is_in_sync {
                    app.ready = Some(version);
                }
            }
        }
        let before = load.count();
        let is_in_sync = apps.iter().all(|app| app.is_in_sync);
        let done = env.run(&["sync"]);
        assert_eq!(done.code == 0, is_in_sync, "seed {seed}: {done:?}");
        for app in &apps {
            let ready = app.ready.unwrap().to_string();
            assert_eq!(serving(&env, app), [ready], "seed {seed}: {done:?}");
        }
        assert_eq!(
            load.count().1,
            before.1,
            "seed {seed}: requests failed: {done:?}"
        );
        let again = env.run(&["sync"]);
        assert_eq!(again.out, "", "seed {seed}: the second sync did something");
        assert_eq!(again.code == 0, is_in_sync, "seed {seed}: {again:?}");
    }
    load.wait_for(1000);
    let (answered, failed) = load.stop();
    assert_eq!(failed, 0, "seed {seed}: of {answered}");
    answered
}

#[test]
fn the_last_ready_spec_keeps_serving_after_any_edit() {
    let next = AtomicUsize::new(0);
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= worlds() {
                        break;
                    }
                    answered.fetch_add(world(seed as u64), Ordering::Relaxed);
                }
            });
        }
    });
    let answered = answered.into_inner();
    assert!(answered >= 6_000, "{answered}");
}

/// An edit whose command is killed at a random moment; the next command repairs everything.
fn killed(command: &[&str], round: u64) {
    let mut random = Random::new(round);
    let env = Env::new();
    env.write("app.js", SERVER);
    let workers = 2 * u32::try_from(round % 2).unwrap();
    let mut app = App {
        server: Server::new("api", workers),
        ready: Some(1),
        is_in_sync: true,
    };
    define(&env, &app, "good", 1);
    env.sync();
    for version in 2..5 {
        let behaviour = BEHAVIOURS[random.below(BEHAVIOURS.len() as u64) as usize];
        define(&env, &app, behaviour, version);
        let mut child = env.command(command).spawn().unwrap();
        // From before the first step to after the decision.
        std::thread::sleep(Duration::from_millis(random.below(5000)));
        child.kill().unwrap();
        child.wait().unwrap();
        app.is_in_sync = matches!(behaviour, "good" | "slow");
        if app.is_in_sync {
            app.ready = Some(version);
        }
        let done = env.run(&["sync"]);
        let what = format!("{command:?} {round}: {behaviour} {done:?}");
        assert_eq!(done.code == 0, app.is_in_sync, "{what}");
        let ready = app.ready.unwrap().to_string();
        assert_eq!(serving(&env, &app), [ready], "{what}");
        let again = env.run(&["sync"]);
        assert_eq!(
            again.out, "",
            "{what}: the second sync did something: {again:?}"
        );
        let count = usize::try_from(workers.max(1)).unwrap();
        wait_for(|| env.named("api").len() == count);
    }
}

#[test]
fn after_any_kill_in_a_rollout_the_next_sync_converges() {
    std::thread::scope(|scope| {
        for command in [&["sync"][..], &["watch"][..]] {
            scope.spawn(|| (0..5).for_each(|round| killed(command, round)));
        }
    });
}
