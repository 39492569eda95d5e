//! The root of the tree is removed, restored and replaced; the model always follows the disk.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use common::{Engine, World, define};
use watcher::{Cause, Mode, Settings};

#[test]
fn a_root_that_goes_and_comes_back_is_watched_again() {
    let world = World::new();
    world.define("a", "1");
    let settings = Settings {
        root_check: Duration::from_millis(50),
        retry: Duration::from_millis(50),
        ..Settings::default()
    };
    let mut engine = Engine::start(&world, settings);
    let root = world.layout.daemons_dir().to_owned();

    fs::remove_dir_all(&root).unwrap();
    engine.wait("a report that it is gone", |engine| {
        engine
            .seen
            .iter()
            .any(|batch| batch.cause == Cause::RootGone)
    });
    assert!(matches!(engine.watcher.mode(), Mode::RootMissing));
    world.define("b", "2");
    engine.expect("made again", &[("b", "2")]);
    world.define("b", "3");
    engine.expect("and watched", &[("b", "3")]);

    for n in 0..20 {
        fs::remove_dir_all(&root).unwrap();
        world.define("b", &n.to_string());
    }
    engine.expect("made again at once", &[("b", "19")]);
    engine.wait("watched", |engine| {
        matches!(engine.watcher.mode(), Mode::Watching)
    });
    world.define("b", "20");
    engine.expect("and watched", &[("b", "20")]);

    define(world.outside("other/b"), "other");
    fs::rename(&root, world.outside("old")).unwrap();
    fs::rename(world.outside("other"), &root).unwrap();
    engine.expect("replaced", &[("b", "other")]);
    world.define("b", "edited");
    engine.expect("and watched", &[("b", "edited")]);

    // A directory above it moves, which no event reports.
    let above = root.parent().unwrap();
    fs::rename(above, world.outside("above")).unwrap();
    define(root.join("c"), "new");
    engine.expect("under another directory", &[("c", "new")]);
    world.define("c", "newer");
    engine.expect("and watched", &[("c", "newer")]);
}

#[test]
fn a_root_behind_a_link_that_is_swapped_is_followed() {
    let world = World::new();
    let root = world.layout.daemons_dir().to_owned();
    fs::remove_dir(&root).unwrap();
    define(world.outside("rel1/a"), "1");
    define(world.outside("rel2/a"), "2");
    symlink(world.outside("rel1"), &root).unwrap();
    let settings = Settings {
        root_check: Duration::from_millis(50),
        retry: Duration::from_millis(50),
        ..Settings::default()
    };
    let mut engine = Engine::start(&world, settings);
    define(world.outside("rel1/a"), "1a");
    engine.expect("behind the link", &[("a", "1a")]);
    symlink(world.outside("rel2"), world.outside("tmp")).unwrap();
    fs::rename(world.outside("tmp"), &root).unwrap();
    engine.expect("swapped", &[("a", "2")]);
    define(world.outside("rel2/a"), "2a");
    engine.expect("and watched", &[("a", "2a")]);
}

#[test]
fn a_root_that_is_missing_at_first_is_waited_for() {
    let world = World::new();
    fs::remove_dir(world.layout.daemons_dir()).unwrap();
    let settings = Settings {
        root_check: Duration::from_millis(50),
        ..Settings::default()
    };
    let mut engine = Engine::start_unsettled(&world, settings);
    assert!(
        !engine.turn(Duration::from_millis(200)),
        "{:?}",
        engine.seen
    );
    world.define("a", "1");
    engine.expect("it is there", &[("a", "1")]);
    world.define("a", "2");
    engine.expect("and watched", &[("a", "2")]);
}
