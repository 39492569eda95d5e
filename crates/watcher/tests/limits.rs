//! Failures of the system: limits of watches and instances, mounts. These need root, so they run in separate namespaces, where
//! limits and mounts affect nothing else: `cargo xtask limits`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Engine, World, define, model};
use watcher::{Cause, LostReason, Mode, OpenError, Settings};

const WATCHES: &str = "/proc/sys/user/max_inotify_watches";
const INSTANCES: &str = "/proc/sys/user/max_inotify_instances";

/// A limit of this user namespace, restored on drop.
struct Limit {
    file: &'static str,
    before: String,
}

impl Limit {
    fn set(file: &'static str, limit: u32) -> Self {
        let before = fs::read_to_string(file).unwrap();
        fs::write(file, limit.to_string())
            .unwrap_or_else(|error| panic!("{file}: {error}; run `cargo xtask limits`"));
        Self { file, before }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        fs::write(self.file, self.before.trim()).unwrap();
    }
}

/// A mount, removed on drop.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn tmpfs(on: &'a Path) -> Self {
        run("mount", &["-t", "tmpfs", "none", on.to_str().unwrap()]);
        Self(on)
    }

    fn bind(from: &Path, on: &'a Path) -> Self {
        run(
            "mount",
            &["--bind", from.to_str().unwrap(), on.to_str().unwrap()],
        );
        Self(on)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

fn quick() -> Settings {
    Settings {
        poll: Duration::from_millis(50),
        retry: Duration::from_millis(50),
        max_retry: Duration::from_millis(200),
        root_check: Duration::from_millis(50),
        ..Settings::default()
    }
}

fn polls_for_want_of_watches(engine: &Engine) -> bool {
    matches!(engine.watcher.mode(), Mode::Polling(Some(error)) if matches!(*error, OpenError::Limit(_)))
}

fn many(world: &World, count: u32, text: &str) {
    for n in 0..count {
        world.define(&format!("d{n}"), text);
    }
}

/// Edits each and checks that all edits arrive.
fn all_arrive(engine: &mut Engine, world: &World, count: u32, text: &str) {
    many(world, count, text);
    engine.settle(text);
    let known = model(engine.scanner.tree());
    assert_eq!(known.len(), usize::try_from(count).unwrap());
    assert!(known.values().all(|found| found == text));
}

/// Files are polled until watches are available, and then watched.
fn recovers(engine: &mut Engine, world: &World, count: u32, limit: Limit) {
    engine.wait("polling", polls_for_want_of_watches);
    all_arrive(engine, world, count, "polled");
    drop(limit);
    engine.wait("watching again", |engine| {
        matches!(engine.watcher.mode(), Mode::Watching)
    });
    engine.settle("watching again");
    engine.seen.clear();
    all_arrive(engine, world, count, "watched");
    let causes = |cause| engine.seen.iter().any(|batch| batch.cause == cause);
    assert!(causes(Cause::Event), "{:?}", engine.seen);
}

#[test]
#[ignore = "needs a user namespace: `cargo xtask limits`"]
fn too_few_watches_at_the_start_mean_polling_until_there_are_more() {
    let world = World::new();
    many(&world, 60, "first");
    let limit = Limit::set(WATCHES, 30);
    let mut engine = Engine::start_unsettled(&world, quick());
    recovers(&mut engine, &world, 60, limit);
}

#[test]
#[ignore = "needs a user namespace: `cargo xtask limits`"]
fn too_few_watches_at_run_time_mean_polling_until_there_are_more() {
    let world = World::new();
    many(&world, 10, "first");
    let limit = Limit::set(WATCHES, 30);
    let mut engine = Engine::start(&world, quick());
    assert!(matches!(engine.watcher.mode(), Mode::Watching));
    many(&world, 60, "more");
    engine.settle("what is not watched is found");
    let lost = |batch: &watcher::Batch| batch.cause == Cause::Lost(LostReason::WatchLimit);
    engine.wait("a report", |engine| {
        engine.seen.iter().any(lost) || polls_for_want_of_watches(engine)
    });
    recovers(&mut engine, &world, 60, limit);
}

#[test]
#[ignore = "needs a user namespace: `cargo xtask limits`"]
fn no_instance_left_means_polling_until_there_is_one() {
    let world = World::new();
    many(&world, 10, "first");
    let limit = Limit::set(INSTANCES, 0);
    let mut engine = Engine::start_unsettled(&world, quick());
    recovers(&mut engine, &world, 10, limit);
}

#[test]
#[ignore = "needs a mount namespace: `cargo xtask limits`"]
fn a_root_that_is_unmounted_and_mounted_again_is_followed() {
    let world = World::new();
    world.define("below", "1");
    let root = world.layout.daemons_dir().as_std_path().to_owned();
    let mount = Mount::tmpfs(&root);
    world.define("a", "1");
    let mut engine = Engine::start(&world, quick());
    world.define("a", "2");
    engine.expect("mounted", &[("a", "2")]);
    drop(mount);
    // The files below are found, and the directory is another one: the caller learns that before anything counts as absent.
    engine.expect("unmounted", &[("below", "1")]);
    let is_reported = |batch: &watcher::Batch| batch.cause >= Cause::RootChanged;
    assert!(engine.seen.iter().any(is_reported), "{:?}", engine.seen);
    world.define("below", "2");
    engine.expect("edited", &[("below", "2")]);
    let _mount = Mount::tmpfs(&root);
    world.define("b", "1");
    engine.expect("mounted again", &[("b", "1")]);
    world.define("b", "2");
    engine.expect("and watched", &[("b", "2")]);
}

#[test]
#[ignore = "needs a mount namespace: `cargo xtask limits`"]
fn a_root_that_is_mounted_over_is_followed() {
    let world = World::new();
    world.define("a", "1");
    define(world.outside("other/b"), "other");
    let root = world.layout.daemons_dir().as_std_path().to_owned();
    let mut engine = Engine::start(&world, quick());
    let mount = Mount::bind(&world.outside("other"), &root);
    engine.expect("mounted over", &[("b", "other")]);
    // From either side.
    define(world.outside("other/b"), "edited");
    engine.expect("edited at the source", &[("b", "edited")]);
    world.define("b", "again");
    engine.expect("edited where it is mounted", &[("b", "again")]);
    drop(mount);
    engine.expect("as before", &[("a", "1")]);
    world.define("a", "2");
    engine.expect("and watched", &[("a", "2")]);
}

/// No event reports it, and the root stays the same: the resync finds it.
#[test]
#[ignore = "needs a mount namespace: `cargo xtask limits`"]
fn a_directory_below_the_root_that_is_mounted_over_is_found_by_the_resync() {
    let world = World::new();
    world.define("a", "1");
    world.define("sub/x", "1");
    define(world.outside("other/y"), "other");
    let sub = world.tree("sub").as_std_path().to_owned();
    let settings = Settings {
        resync: Duration::from_millis(200),
        ..quick()
    };
    let mut engine = Engine::start(&world, settings);
    let mount = Mount::bind(&world.outside("other"), &sub);
    engine.expect("mounted over", &[("a", "1"), ("sub/y", "other")]);
    // A scan that finds an unannounced change reports it.
    engine.watcher.resubscribe();
    world.define("sub/y", "edited");
    engine.expect("and watched", &[("a", "1"), ("sub/y", "edited")]);
    drop(mount);
    engine.expect("as before", &[("a", "1"), ("sub/x", "1")]);
}

#[test]
#[ignore = "needs a mount namespace: `cargo xtask limits`"]
fn a_scan_reports_where_file_systems_are_mounted() {
    let world = World::new();
    world.define("plain", "1");
    let dir = world.layout.daemons_dir().join("a/mounted");
    fs::create_dir_all(&dir).unwrap();
    let mut scanner = watcher::Scanner::new(world.layout.clone());
    assert!(scanner.full().unwrap().tree.mounts.is_empty());
    let mount = Mount::tmpfs(dir.as_std_path());
    world.define("a/mounted/x/y", "1");
    let mounts = scanner.stat_only().unwrap().tree.mounts.clone();
    assert_eq!(mounts.into_iter().collect::<Vec<_>>(), ["a/mounted"]);
    // A change below it does not affect the mount.
    world.define("a/mounted/x/z", "1");
    let scan = scanner.dirty(&[dir.join("x/z")]).unwrap();
    assert_eq!(scan.tree.mounts.len(), 1);
    drop(mount);
    assert!(scanner.stat_only().unwrap().tree.mounts.is_empty());
}
