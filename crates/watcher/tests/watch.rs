//! Changes by users, editors and tools are detected: each test changes files and waits until an engine that only scans where
//! batches say has a correct model. No test relies on particular events, and none on resyncs, whose periods are longer than any
//! deadline here.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use common::{Engine, World, define, model};
use daemon_model::DEFINITION_FILE;
use rustix::fs::{CWD, FileType, Mode as FileMode, RenameFlags, mknodat, renameat_with};
use watcher::{Cause, Mode, Scope, Settings};

fn start(world: &World) -> Engine {
    Engine::start(world, Settings::default())
}

#[test]
fn saves_of_all_kinds_arrive() {
    let world = World::new();
    world.define("a", "0");
    world.define("b", "same");
    let mut engine = start(&world);
    let file = world.tree("a").join(DEFINITION_FILE);

    fs::write(&file, "in place").unwrap();
    engine.expect("in place", &[("a", "in place"), ("b", "same")]);

    let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    open.write_all(b", more").unwrap();
    open.write_all(b", and more").unwrap();
    drop(open);
    engine.expect(
        "appended",
        &[("a", "in place, more, and more"), ("b", "same")],
    );

    let beside = world.tree("a/.tmp");
    fs::write(&beside, "renamed").unwrap();
    fs::rename(&beside, &file).unwrap();
    engine.expect("renamed over", &[("a", "renamed"), ("b", "same")]);

    fs::write(world.outside("new"), "from outside").unwrap();
    fs::rename(world.outside("new"), &file).unwrap();
    engine.expect("from outside", &[("a", "from outside"), ("b", "same")]);

    let backup = world.tree("a").join("ecosystem.pm2.edn~");
    fs::write(world.tree("a/4913"), "").unwrap();
    fs::remove_file(world.tree("a/4913")).unwrap();
    fs::rename(&file, &backup).unwrap();
    fs::write(&file, "vim").unwrap();
    fs::remove_file(&backup).unwrap();
    engine.expect("as vim does", &[("a", "vim"), ("b", "same")]);

    fs::write(world.outside("hard"), "linked").unwrap();
    fs::remove_file(&file).unwrap();
    fs::hard_link(world.outside("hard"), &file).unwrap();
    engine.expect("a hard link", &[("a", "linked"), ("b", "same")]);

    fs::remove_file(&file).unwrap();
    engine.expect("removed", &[("b", "same")]);
}

#[test]
fn directories_that_come_go_and_move_arrive() {
    let world = World::new();
    world.define("a/x", "1");
    let mut engine = start(&world);

    define(world.outside("n"), "n");
    define(world.outside("n/deep/er"), "er");
    fs::rename(world.outside("n"), world.tree("n")).unwrap();
    engine.expect("moved in", &[("a/x", "1"), ("n", "n"), ("n/deep/er", "er")]);
    world.define("n/deep/er", "edited");
    engine.expect(
        "edited where it moved to",
        &[("a/x", "1"), ("n", "n"), ("n/deep/er", "edited")],
    );

    fs::rename(world.tree("n"), world.tree("m")).unwrap();
    engine.expect(
        "renamed",
        &[("a/x", "1"), ("m", "n"), ("m/deep/er", "edited")],
    );
    world.define("m/deep/er", "again");
    engine.expect(
        "edited under its new name",
        &[("a/x", "1"), ("m", "n"), ("m/deep/er", "again")],
    );

    let (a, m) = (world.tree("a"), world.tree("m"));
    renameat_with(
        CWD,
        a.as_std_path(),
        CWD,
        m.as_std_path(),
        RenameFlags::EXCHANGE,
    )
    .unwrap();
    engine.expect(
        "exchanged",
        &[("m/x", "1"), ("a", "n"), ("a/deep/er", "again")],
    );
    world.define("a/deep/er", "3");
    world.define("m/x", "4");
    engine.expect(
        "both edited",
        &[("m/x", "4"), ("a", "n"), ("a/deep/er", "3")],
    );

    fs::rename(world.tree("a"), world.outside("away")).unwrap();
    engine.expect("moved out", &[("m/x", "4")]);

    for n in 0..50 {
        fs::remove_dir_all(world.tree("m")).unwrap();
        world.define("m/x", &n.to_string());
    }
    engine.expect("removed and made again", &[("m/x", "49")]);
    world.define("m/x", "last");
    engine.expect("and edited", &[("m/x", "last")]);
    fs::remove_dir_all(world.tree("m")).unwrap();
    engine.expect("all gone", &[]);
}

#[test]
fn a_file_in_a_directory_made_an_instant_before_is_never_missed() {
    let world = World::new();
    let mut engine = start(&world);
    for n in 0..300 {
        world.define(&format!("d{n}/e/f"), "1");
    }
    engine.settle("made");
    assert_eq!(engine.scanner.tree().sources.len(), 300);
    for n in 0..300 {
        world.define(&format!("d{n}/e/f"), "2");
    }
    engine.settle("each is watched");
}

#[test]
fn targets_of_links_are_watched() {
    let world = World::new();
    define(world.outside("one"), "1");
    define(world.outside("two"), "2");
    fs::write(world.outside("file"), "f").unwrap();
    symlink(world.outside("one"), world.tree("early")).unwrap();
    let mut engine = start(&world);

    define(world.outside("one"), "1a");
    engine.expect("the target of a link", &[("early", "1a")]);
    define(world.outside("one/sub"), "sub");
    engine.expect(
        "a new directory in it",
        &[("early", "1a"), ("early/sub", "sub")],
    );
    define(world.outside("one/sub"), "sub2");
    engine.expect(
        "which is watched",
        &[("early", "1a"), ("early/sub", "sub2")],
    );

    symlink(world.outside("two"), world.tree("late")).unwrap();
    let subs = [("early", "1a"), ("early/sub", "sub2")];
    engine.expect("a new link", &[subs[0], subs[1], ("late", "2")]);
    define(world.outside("two"), "2a");
    engine.expect("and its target", &[subs[0], subs[1], ("late", "2a")]);

    fs::create_dir(world.tree("c")).unwrap();
    symlink(world.outside("file"), world.tree("c").join(DEFINITION_FILE)).unwrap();
    fs::remove_file(world.tree("early")).unwrap();
    engine.expect("a linked file", &[("c", "f"), ("late", "2a")]);
    fs::write(world.outside("file"), "g").unwrap();
    engine.expect("edited outside", &[("c", "g"), ("late", "2a")]);
    fs::write(world.outside("tmp"), "h").unwrap();
    fs::rename(world.outside("tmp"), world.outside("file")).unwrap();
    engine.expect("replaced outside", &[("c", "h"), ("late", "2a")]);

    symlink(world.outside("one"), world.tree("c/tmp")).unwrap();
    fs::rename(world.tree("c/tmp"), world.tree("late")).unwrap();
    engine.expect(
        "retargeted",
        &[("c", "h"), ("late", "1a"), ("late/sub", "sub2")],
    );
    define(world.outside("one/sub"), "sub3");
    engine.expect(
        "and edited",
        &[("c", "h"), ("late", "1a"), ("late/sub", "sub3")],
    );

    fs::rename(world.outside("one"), world.outside("old")).unwrap();
    engine.settle("the target went away");
    define(world.outside("one"), "back");
    engine.expect("and is back", &[("c", "h"), ("late", "back")]);
    define(world.outside("one"), "edited");
    engine.expect("and watched", &[("c", "h"), ("late", "edited")]);
}

#[test]
fn a_link_through_a_link_that_is_swapped_arrives() {
    let world = World::new();
    define(world.outside("v1/conf"), "1");
    define(world.outside("v2/conf"), "2");
    symlink("v1", world.outside("..data")).unwrap();
    fs::create_dir(world.tree("a")).unwrap();
    let target = world.outside("..data/conf").join(DEFINITION_FILE);
    symlink(target, world.tree("a").join(DEFINITION_FILE)).unwrap();
    symlink(world.outside("..data/conf"), world.tree("b")).unwrap();
    let mut engine = start(&world);
    assert_eq!(
        model(engine.scanner.tree()),
        common::entries(&[("a", "1"), ("b", "1")])
    );
    symlink("v2", world.outside("tmp")).unwrap();
    fs::rename(world.outside("tmp"), world.outside("..data")).unwrap();
    engine.expect("swapped", &[("a", "2"), ("b", "2")]);
    define(world.outside("v2/conf"), "3");
    engine.expect("edited", &[("a", "3"), ("b", "3")]);
}

#[test]
fn two_links_to_one_directory_and_to_one_in_the_tree_are_no_trouble() {
    let world = World::new();
    define(world.outside("shared"), "1");
    world.define("real", "r");
    symlink(world.outside("shared"), world.tree("one")).unwrap();
    symlink(world.outside("shared"), world.tree("two")).unwrap();
    symlink("real", world.tree("alias")).unwrap();
    symlink("..", world.tree("real/loop")).unwrap();
    let mut engine = start(&world);
    define(world.outside("shared"), "2");
    engine.expect("shared", &[("one", "2"), ("real", "r")]);
    fs::remove_file(world.tree("one")).unwrap();
    engine.expect("the other takes over", &[("two", "2"), ("real", "r")]);
    define(world.outside("shared"), "3");
    engine.expect("edited", &[("two", "3"), ("real", "r")]);
    fs::remove_file(world.tree("alias")).unwrap();
    engine.settle("the alias is gone");
    world.define("real", "s");
    engine.expect(
        "the real one is still watched",
        &[("two", "3"), ("real", "s")],
    );
    // The target of a link moves into the tree.
    fs::rename(world.outside("shared"), world.tree("moved")).unwrap();
    engine.expect("moved", &[("moved", "3"), ("real", "s")]);
    world.define("moved", "4");
    engine.expect("and edited", &[("moved", "4"), ("real", "s")]);
}

#[test]
fn non_files_in_place_of_definitions_are_reported_as_unreadable() {
    let world = World::new();
    world.define("a", "1");
    let mut engine = start(&world);
    world.define("x.json/y", "collides");
    engine.settle("an invalid name");
    assert_eq!(engine.scanner.tree().problems.len(), 1);
    fs::remove_dir_all(world.tree("x.json")).unwrap();
    engine.settle("it is gone");

    fs::write(world.tree("a/ecosystem.edn"), "").unwrap();
    engine.settle("a misnamed file");
    assert_eq!(engine.scanner.tree().misnamed.len(), 1);
    fs::rename(world.tree("a/ecosystem.edn"), world.tree("a/notes.edn")).unwrap();
    engine.settle("it is renamed");
    assert!(engine.scanner.tree().misnamed.is_empty());

    let file = world.tree("a").join(DEFINITION_FILE);
    fs::remove_file(&file).unwrap();
    let mode = FileMode::RUSR | FileMode::WUSR;
    let device = rustix::fs::makedev(0, 0);
    mknodat(CWD, file.as_std_path(), FileType::Fifo, mode, device).unwrap();
    engine.expect("a FIFO", &[("a", "!InvalidInput")]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    engine.expect("a directory", &[("a", "!IsADirectory")]);
    fs::remove_dir(&file).unwrap();
    symlink("nowhere", &file).unwrap();
    engine.expect("a dangling link", &[("a", "!NotFound")]);
    fs::write(world.tree("a/nowhere"), "there now").unwrap();
    engine.expect("its target appears", &[("a", "there now")]);
    fs::remove_dir_all(world.tree("a")).unwrap();
    fs::write(world.tree("a"), "a file").unwrap();
    engine.expect("a file in place of the directory", &[]);
    fs::remove_file(world.tree("a")).unwrap();
    world.define("a", "2");
    engine.expect("a directory again", &[("a", "2")]);
}

#[test]
fn irrelevant_files_cause_no_batch() {
    let world = World::new();
    world.define("a", "1");
    world.define("a/node_modules/x", "no");
    let mut engine = start(&world);
    while engine.turn(Duration::from_millis(300)) {}
    engine.seen.clear();
    for n in 0..200 {
        fs::write(world.tree("a/log"), n.to_string()).unwrap();
        fs::write(world.tree("a/.swp"), n.to_string()).unwrap();
        fs::rename(world.tree("a/log"), world.tree("a/log.1")).unwrap();
        world.define("a/node_modules/x", "still no");
        world.define("a/.git/x", "nor this");
        world.scan();
    }
    world.define("a", "2");
    engine.expect("the one change", &[("a", "2")]);
    let file = world.tree("a").join(DEFINITION_FILE);
    for batch in &engine.seen {
        assert_eq!(batch.scope, Scope::Dirty(vec![file.clone()]));
        assert!(matches!(batch.cause, Cause::Written | Cause::Event));
    }
}

#[test]
fn polling_finds_the_same_as_watching() {
    let world = World::new();
    world.define("a", "1");
    let settings = Settings {
        force_poll: true,
        poll: Duration::from_millis(20),
        ..Settings::default()
    };
    let mut engine = Engine::start_unsettled(&world, settings);
    engine.expect("at first", &[("a", "1")]);
    assert!(matches!(engine.watcher.mode(), Mode::Polling(None)));
    world.define("a", "2");
    engine.expect("edited", &[("a", "2")]);
    assert!(engine.seen.iter().all(|batch| batch.cause == Cause::Poll));
}

#[test]
fn heartbeats_come_back_and_resubscribing_sets_the_watches_anew() {
    let world = World::new();
    world.define("a", "1");
    let settings = Settings {
        heartbeat: Duration::from_millis(20),
        heartbeat_limit: Duration::from_secs(2),
        retry: Duration::from_millis(1),
        ..Settings::default()
    };
    let mut engine = Engine::start(&world, settings);
    let quiet = !engine.turn(Duration::from_millis(500));
    assert!(quiet, "nothing changed: {:?}", engine.seen);
    engine.watcher.resubscribe();
    engine.wait("resubscribed", |engine| !engine.seen.is_empty());
    world.define("a", "2");
    engine.expect("still watched", &[("a", "2")]);
}

#[test]
fn dropping_it_ends_its_thread_at_once() {
    // Take the fastest of five runs: a busy machine can delay any single run.
    let took = (0..5).map(|_| time_to_drop()).min().unwrap();
    assert!(took < Duration::from_millis(100), "{took:?}");
}

fn time_to_drop() -> Duration {
    let world = World::new();
    world.define("a", "1");
    let engine = start(&world);
    assert!(engine.watcher.is_running());
    let start = Instant::now();
    drop(engine.watcher);
    let took = start.elapsed();
    // Only the thread holds the sender.
    while engine.batches.try_recv().is_ok() {}
    let left = engine.batches.try_recv().unwrap_err();
    assert_eq!(left, std::sync::mpsc::TryRecvError::Disconnected);
    took
}

#[test]
fn an_edit_is_reported_within_a_fraction_of_a_second() {
    let world = World::new();
    for n in 0..200 {
        world.define(&format!("d{n}"), "1");
    }
    let mut engine = start(&world);
    let mut times = Vec::new();
    for n in 0..50 {
        let text = n.to_string();
        let edited = Instant::now();
        world.define("d7", &text);
        let id = common::id("d7").to_string();
        engine.wait("edited", |engine| model(engine.scanner.tree())[&id] == text);
        times.push(edited.elapsed());
    }
    times.sort();
    assert!(times[25] < Duration::from_millis(100), "{times:?}");
}

#[test]
fn modules_that_are_installed_and_removed_delay_no_edit() {
    let world = World::new();
    world.define("a", "0");
    let mut engine = start(&world);
    let modules = world.tree("a/node_modules");
    std::thread::scope(|scope| {
        let npm = scope.spawn(|| {
            for n in 0..5_000 {
                fs::create_dir_all(modules.join(format!("m{}/n{n}", n % 100))).unwrap();
            }
            fs::remove_dir_all(&modules).unwrap();
        });
        let mut times = Vec::new();
        while !npm.is_finished() || times.is_empty() {
            let text = times.len().to_string() + "th";
            let edited = Instant::now();
            world.define("a", &text);
            engine.wait("edited", |engine| model(engine.scanner.tree())["a"] == text);
            times.push(edited.elapsed());
        }
        times.sort();
        assert!(
            times[times.len() / 2] < Duration::from_millis(500),
            "{times:?}"
        );
    });
}

/// The causes of the batches for one file until it is quiet, which may take a second.
fn causes(engine: &mut Engine, what: &str, file: &Utf8PathBuf) -> Vec<Cause> {
    engine.wait(what, |engine| {
        engine
            .seen
            .last()
            .is_some_and(|batch| batch.cause > Cause::Written)
    });
    let seen = std::mem::take(&mut engine.seen);
    for batch in &seen {
        assert_eq!(batch.scope, Scope::Dirty(vec![file.clone()]), "{what}");
    }
    seen.iter().map(|batch| batch.cause).collect()
}

#[test]
fn a_file_is_reported_when_its_writing_ends_and_again_when_it_is_quiet() {
    let world = World::new();
    for name in ["a", "linked"] {
        world.define(name, "0");
    }
    let link = world.tree("linked").join(DEFINITION_FILE);
    fs::write(world.outside("file"), "0").unwrap();
    fs::remove_file(&link).unwrap();
    symlink(world.outside("file"), &link).unwrap();
    let env_file = Utf8PathBuf::from_path_buf(world.outside("a.env")).unwrap();
    // Long enough on every machine to see all events of the previous save.
    let settings = Settings {
        quiet: Duration::from_secs(1),
        max_wait: Duration::from_secs(60),
        burst: Duration::ZERO,
        ..Settings::default()
    };
    let mut engine = Engine::start(&world, settings);
    engine.watcher.watch_files([env_file.clone()].into());
    assert_eq!(causes(&mut engine, "watched", &env_file), [Cause::Event]);
    let file = world.tree("a").join(DEFINITION_FILE);
    let early = [Cause::Written, Cause::Event];

    fs::write(&file, "1").unwrap();
    assert_eq!(causes(&mut engine, "in place", &file), early);
    fs::write(world.tree("a/new"), "2").unwrap();
    fs::rename(world.tree("a/new"), &file).unwrap();
    assert_eq!(causes(&mut engine, "renamed over", &file), early);
    let backup = world.tree("a").join("ecosystem.pm2.edn~");
    fs::rename(&file, &backup).unwrap();
    fs::write(&file, "3").unwrap();
    fs::remove_file(&backup).unwrap();
    assert_eq!(causes(&mut engine, "as vim does", &file), early);
    fs::write(world.outside("file"), "1").unwrap();
    assert_eq!(causes(&mut engine, "through a link", &link), early);
    fs::write(&env_file, "A=1").unwrap();
    assert_eq!(causes(&mut engine, "a further file", &env_file), early);

    let late = [Cause::Event];
    fs::remove_file(&file).unwrap();
    fs::write(&file, "4").unwrap();
    assert_eq!(causes(&mut engine, "as git does", &file), late);
    fs::write(&file, "5").unwrap();
    assert_eq!(causes(&mut engine, "in place after that", &file), early);

    // These cause no event when the write ends.
    fs::hard_link(&file, world.tree("a/other")).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(causes(&mut engine, "removed", &file), late);
    fs::hard_link(world.tree("a/other"), &file).unwrap();
    assert_eq!(causes(&mut engine, "a hard link", &file), late);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, mode).unwrap();
    assert_eq!(causes(&mut engine, "its mode", &file), late);
    // Created outside of the tree, because inside the watch might see it under its first name.
    symlink(world.outside("file"), world.outside("new")).unwrap();
    fs::rename(world.outside("new"), &link).unwrap();
    assert_eq!(causes(&mut engine, "another link", &link), late);
}
