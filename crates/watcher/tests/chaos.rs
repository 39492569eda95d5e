//! After random operations on the tree, the model equals the disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use common::scrambled::ScrambledOpener;
use common::{Engine, World, model};
use daemon_model::DEFINITION_FILE;
use pm2_testbed::Random;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use watcher::{Batch, Cause, NotifyOpener, OpenSource, Scanner, Settings};

const OPERATIONS: u64 = 1_500;

/// A directory that may or may not exist, up to three deep.
fn dir(random: &mut Random) -> String {
    let depth = random.below(3);
    let mut path = format!("d{}", random.below(8));
    for _ in 0..depth {
        path.push_str(&format!("/s{}", random.below(3)));
    }
    path
}
/// Runs one operation. It may fail because its paths do not exist; that is part of the chaos.
fn operate(world: &World, random: &mut Random, n: u64) -> [Utf8PathBuf; 2] {
    let path = world.tree(&dir(random));
    let other = world.tree(&dir(random));
    let file = path.join(DEFINITION_FILE);
    let text = format!("{n}");
    let _ = match random.below(15) {
        0..=2 => fs::write(&file, &text),
        3 => fs::write(path.join("tmp"), &text).and_then(|()| fs::rename(path.join("tmp"), &file)),
        4 => {
            let backup = path.join("ecosystem.pm2.edn~");
            fs::rename(&file, &backup).and_then(|()| fs::write(&file, &text))
        }
        5 | 6 => fs::create_dir_all(&path).and_then(|()| fs::write(&file, &text)),
        7 => fs::remove_dir_all(&path),
        8 => fs::remove_dir_all(&path)
            .and_then(|()| fs::create_dir_all(&path))
            .and_then(|()| fs::write(&file, &text)),
        9 => fs::rename(&path, &other),
        10 => fs::rename(&path, world.outside(&format!("m{}", random.below(4)))),
        11 => {
            let source = world.outside(&format!("m{}", random.below(4)));
            if random.below(2) == 0 {
                let _ = fs::create_dir_all(&source);
                let _ = fs::write(source.join(DEFINITION_FILE), &text);
            }
            fs::rename(source, &path)
        }
        12 => {
            let (a, b) = (path.as_std_path(), other.as_std_path());
            renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).map_err(Into::into)
        }
        13 => {
            let misnamed = path.join("ecosystem.edn");
            match random.below(4) {
                0 => fs::write(&misnamed, &text),
                1 => fs::remove_file(&misnamed),
                2 => fs::rename(&file, &misnamed),
                _ => fs::rename(&misnamed, &file),
            }
        }
        _ => match random.below(5) {
            0 => symlink(world.outside("m0"), &path),
            1 => symlink(&other, &path),
            2 => fs::write(world.outside("file"), &text)
                .and_then(|()| symlink(world.outside("file"), &file)),
            3 => fs::remove_file(&path),
            _ => fs::remove_file(&file),
        },
    };
    [path, other]
}

/// The real location of a path through links, and its target.
fn real(path: &Utf8Path) -> Vec<Utf8PathBuf> {
    let entry = path
        .parent()
        .and_then(|parent| Some(parent.canonicalize_utf8().ok()?.join(path.file_name()?)));
    entry.into_iter().chain(path.canonicalize_utf8()).collect()
}

/// All symbolic links of a directory, without following any.
fn links(dir: &Utf8Path, found: &mut Vec<Utf8PathBuf>) {
    for entry in dir.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            found.push(entry.path().to_owned());
        } else if kind.is_dir() {
            links(entry.path(), found);
        }
    }
}

#[test]
fn scans_of_the_dirty_parts_alone_find_what_a_whole_scan_does() {
    for seed in 0..4 {
        let world = World::new();
        let mut scanner = Scanner::new(world.layout.clone());
        scanner.full().unwrap();
        let mut random = Random::new(seed);
        let mut dirty = Vec::new();
        for n in 0..OPERATIONS {
            links(world.layout.daemons_dir(), &mut dirty);
            let mut after = random.clone();
            let before = [dir(&mut after), dir(&mut after)].map(|dir| real(&world.tree(&dir)));
            let paths = operate(&world, &mut random, n);
            dirty.extend(
                before
                    .into_iter()
                    .chain(paths.clone().map(|path| real(&path)))
                    .flatten(),
            );
            dirty.extend(paths);
            if random.below(4) == 0 {
                links(world.layout.daemons_dir(), &mut dirty);
                let scan = scanner.dirty(&dirty).unwrap();
                let truth = world.scan();
                assert_eq!(model(&scan.tree), model(&truth), "{seed} {n} {dirty:?}");
                assert_eq!(scan.tree.problems.len(), truth.problems.len());
                dirty.clear();
            }
        }
    }
}

/// The number of rounds, and their first seed. `cargo xtask chaos` runs more.
fn rounds(default: u64) -> std::ops::Range<u64> {
    let number = |variable: &str, default: u64| match std::env::var(variable) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    };
    let first = number("CHAOS_SEED", 1);
    first..first + number("CHAOS_ROUNDS", default)
}

/// Runs one round; returns how often hints were lost.
fn round(seed: u64, settings: Settings, opener: Box<dyn OpenSource>) -> usize {
    let world = World::new();
    for n in 0..8 {
        world.define(&format!("d{n}"), "0");
    }
    let mut engine = Engine::start_with(&world, settings, opener);
    let mut random = Random::new(seed);
    for n in 0..OPERATIONS {
        operate(&world, &mut random, n);
        if random.below(16) == 0 {
            // Let the engine see some of the intermediate states.
            engine.turn(Duration::from_millis(random.below(40)));
        }
    }
    engine.settle(&format!("the end of round {seed}"));
    let batches = engine.seen.len();
    let is_lost = |batch: &Batch| matches!(batch.cause, Cause::Lost(_));
    let lost = engine.seen.iter().filter(|batch| is_lost(batch)).count();
    // Everything is still watched.
    let ids: Vec<_> = world.scan().sources.keys().cloned().collect();
    let count = ids.len();
    for id in ids {
        // The path may be a dangling link, or a link to a directory.
        let _ = fs::write(world.layout.definition_path(&id), "last");
    }
    engine.settle(&format!("an edit of each after round {seed}"));
    println!(
        "round {seed}: {OPERATIONS} operations, {batches} batches, hints lost in {lost} of them, \
         {count} definitions at the end, equal"
    );
    lost
}

#[test]
fn the_model_equals_the_disk_after_each_round() {
    let mut lost = 0;
    for seed in rounds(2) {
        lost += round(seed, Settings::default(), Box::new(NotifyOpener));
    }
    // If the queue is too short, losing nothing would mean that nothing was tested.
    assert!(lost > 0 || std::env::var_os("CHAOS_MUST_LOSE").is_none());
}

/// Hints that are lost, duplicated, late and out of order: the resync, whose period is shorter than a round, repairs the rest.
#[test]
fn the_model_equals_the_disk_though_hints_are_scrambled() {
    for seed in rounds(3) {
        let settings = Settings {
            resync: Duration::from_millis(500),
            ..Settings::default()
        };
        round(seed, settings, Box::new(ScrambledOpener { seed }));
    }
}
