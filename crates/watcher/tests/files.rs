//! Files watched in addition to the tree: each test changes one, at any location, and waits until a batch says where to scan. The
//! periods of resyncs are longer than any deadline here.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camino::Utf8PathBuf;
use common::{Engine, World};
use pm2_testbed::Random;
use watcher::{FoundFile, Scope, SeenFile, Settings};

/// The files, and the known content of each: it is only read when a batch reports it.
struct Files {
    engine: Engine,
    paths: Vec<Utf8PathBuf>,
    known: Vec<Option<String>>,
    taken: usize,
}

fn read(path: &Utf8PathBuf) -> Option<String> {
    match SeenFile::read(path.as_std_path(), None, 1 << 20).found {
        FoundFile::Present { bytes, .. } => Some(String::from_utf8_lossy(&bytes).into_owned()),
        FoundFile::Absent => None,
        FoundFile::Unknown(error) => Some(format!("!{:?}", error.kind())),
    }
}

impl Files {
    fn watch(world: &World, paths: &[PathBuf]) -> Self {
        let engine = Engine::start(world, Settings::default());
        let paths: Vec<_> = paths
            .iter()
            .map(|path| Utf8PathBuf::from_path_buf(path.clone()).unwrap())
            .collect();
        engine.watcher.watch_files(paths.iter().cloned().collect());
        let mut files = Self {
            engine,
            known: vec![Some("not looked at yet".to_owned()); paths.len()],
            paths,
            taken: 0,
        };
        files.settle("the watch begins");
        files
    }

    fn take(&mut self) {
        for batch in self.engine.seen.drain(..) {
            for (path, known) in self.paths.iter().zip(&mut self.known) {
                let is_dirty = match &batch.scope {
                    Scope::Everything => true,
                    Scope::Dirty(dirty) => dirty.contains(path),
                };
                if is_dirty {
                    *known = read(path);
                    self.taken += 1;
                }
            }
        }
    }

    /// Waits until the known content of each equals the disk.
    #[track_caller]
    fn settle(&mut self, what: &str) {
        let deadline = std::time::Instant::now() + common::DEADLINE;
        loop {
            self.take();
            let truth: Vec<_> = self.paths.iter().map(read).collect();
            if truth == self.known {
                return;
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            assert!(
                self.engine.turn(left),
                "in vain: {what}; {truth:?} is known as {:?}",
                self.known
            );
        }
    }

    /// As [`settle`](Self::settle), and the disk has this content.
    #[track_caller]
    fn expect(&mut self, what: &str, expected: &[Option<&str>]) {
        self.settle(what);
        let known: Vec<_> = self.known.iter().map(Option::as_deref).collect();
        assert_eq!(known, expected, "{what}");
    }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn saves_of_all_kinds_arrive_wherever_the_file_lies() {
    let world = World::new();
    world.define("a", "0");
    let inside = world.tree("a/.env").into_std_path_buf();
    let outside = world.outside("app.env");
    fs::write(&inside, "1").unwrap();
    fs::write(&outside, "1").unwrap();
    let mut files = Files::watch(&world, &[inside.clone(), outside.clone()]);
    fs::write(&inside, "2").unwrap();
    fs::write(&outside, "2").unwrap();
    files.expect("in place", &[Some("2"), Some("2")]);
    replace(&inside, "3");
    replace(&outside, "3");
    files.expect("renamed over", &[Some("3"), Some("3")]);
    fs::remove_file(&inside).unwrap();
    fs::remove_file(&outside).unwrap();
    files.expect("removed", &[None, None]);
    fs::write(&inside, "4").unwrap();
    fs::write(&outside, "4").unwrap();
    files.expect("made again", &[Some("4"), Some("4")]);
    fs::remove_dir_all(world.tree("a")).unwrap();
    files.expect("its daemon is gone", &[None, Some("4")]);
    world.define("a", "1");
    fs::write(&inside, "5").unwrap();
    files.expect("and back", &[Some("5"), Some("4")]);
    // Files that are no longer needed are not reported.
    files.engine.watcher.watch_files(BTreeSet::new());
    world.define("b", "0");
    files.engine.wait("a batch of the tree", |engine| {
        let tells = |scope: &Scope| matches!(scope, Scope::Dirty(paths) if paths.iter().any(|path| path.ends_with("b")));
        engine.seen.iter().any(|batch| tells(&batch.scope))
    });
    files.engine.seen.clear();
    fs::write(&outside, "6").unwrap();
    assert!(!files.engine.turn(Duration::from_millis(400)));
}

#[test]
fn a_file_and_its_directories_may_appear_and_vanish() {
    let world = World::new();
    let file = world.outside("x/y/z/app.env");
    let mut files = Files::watch(&world, std::slice::from_ref(&file));
    files.expect("nothing", &[None]);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "1").unwrap();
    files.expect("appeared with its directories", &[Some("1")]);
    for n in 0..20 {
        fs::remove_dir_all(world.outside("x")).unwrap();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, n.to_string()).unwrap();
    }
    files.expect("removed and made again", &[Some("19")]);
    fs::write(&file, "edited").unwrap();
    files.expect("and edited", &[Some("edited")]);
    // No event reports that a directory above it was moved.
    fs::rename(world.outside("x"), world.outside("old")).unwrap();
    files.expect("moved away", &[None]);
    fs::write(world.outside("old/y/z/app.env"), "elsewhere").unwrap();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "new").unwrap();
    files.expect("another in its place", &[Some("new")]);
    fs::write(&file, "newer").unwrap();
    files.expect("which is watched", &[Some("newer")]);
    fs::remove_dir_all(world.outside("x")).unwrap();
    fs::rename(world.outside("old"), world.outside("x")).unwrap();
    files.expect("the first is back", &[Some("elsewhere")]);
    fs::write(&file, "last").unwrap();
    files.expect("and watched", &[Some("last")]);
}

/// Kubernetes mounts secrets as links into a directory behind a link `..data`, and replaces that link.
#[test]
fn a_secret_that_is_rotated_by_a_link_arrives() {
    let world = World::new();
    let at = |path: &str| world.outside(path);
    let mount = |version: &str, text: &str| {
        let dir = at("secret").join(version);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("app.env"), text).unwrap();
        symlink(version, at("secret/..data_tmp")).unwrap();
        fs::rename(at("secret/..data_tmp"), at("secret/..data")).unwrap();
    };
    mount("..2026_1", "1");
    symlink("..data/app.env", at("secret/app.env")).unwrap();
    // The same again through a link of our own.
    symlink(at("secret/app.env"), at("mine.env")).unwrap();
    let mut files = Files::watch(&world, &[at("secret/app.env"), at("mine.env")]);
    for n in 2..6 {
        let text = n.to_string();
        mount(&format!("..2026_{n}"), &text);
        fs::remove_dir_all(at(&format!("secret/..2026_{}", n - 1))).unwrap();
        files.expect("rotated", &[Some(&text), Some(&text)]);
    }
    fs::write(at("secret/..2026_5/app.env"), "edited").unwrap();
    files.expect("edited in place", &[Some("edited"), Some("edited")]);
    fs::remove_file(at("mine.env")).unwrap();
    fs::write(at("mine.env"), "own").unwrap();
    files.expect("no link any more", &[Some("edited"), Some("own")]);
}

#[test]
fn permissions_count_as_a_change() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let file = world.outside("app.env");
    fs::write(&file, "1").unwrap();
    let mut files = Files::watch(&world, std::slice::from_ref(&file));
    files.engine.seen.clear();
    let taken = files.taken;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    files
        .engine
        .wait("a batch", |engine| !engine.seen.is_empty());
    files.take();
    assert!(files.taken > taken);
}

/// Random operations on files, their directories and links to them; afterwards the known content equals the disk.
#[test]
fn all_changes_of_files_are_eventually_reported() {
    let number = |name: &str, default: u64| {
        let given = std::env::var(name).ok();
        given
            .and_then(|given| given.parse().ok())
            .unwrap_or(default)
    };
    let first = number("CHAOS_SEED", 1);
    for seed in first..first + number("CHAOS_ROUNDS", 2) {
        let world = World::new();
        world.define("a", "0");
        let dirs = [
            world.outside("one"),
            world.outside("two/deep"),
            world.tree("a/conf").into_std_path_buf(),
        ];
        let paths: Vec<PathBuf> = dirs
            .iter()
            .flat_map(|dir| [dir.join("a.env"), dir.join("b.env")])
            .collect();
        let mut files = Files::watch(&world, &paths);
        let mut random = Random::new(seed);
        let pick = |random: &mut Random, below: usize| {
            usize::try_from(random.below(u64::try_from(below).unwrap())).unwrap()
        };
        for n in 0..400 {
            let dir = &dirs[pick(&mut random, dirs.len())];
            let path = &paths[pick(&mut random, paths.len())];
            let other = &paths[pick(&mut random, paths.len())];
            // Many of these fail because of missing paths.
            let _ = match random.below(8) {
                0 => fs::remove_dir_all(dir),
                1 | 2 => fs::create_dir_all(dir),
                3 => fs::write(path, n.to_string()),
                4 => fs::write(path.with_extension("tmp"), n.to_string())
                    .and_then(|()| fs::rename(path.with_extension("tmp"), path)),
                5 => fs::remove_file(path),
                6 => {
                    let _ = fs::remove_file(path);
                    symlink(other, path)
                }
                _ => fs::rename(dir, world.outside("away"))
                    .and_then(|()| fs::remove_dir_all(world.outside("away"))),
            };
            if random.below(20) == 0 {
                files.engine.turn(Duration::from_millis(random.below(60)));
                files.take();
            }
        }
        files.settle(&format!("seed {seed}"));
        for dir in &dirs {
            let _ = fs::remove_dir_all(dir);
            fs::create_dir_all(dir).unwrap();
        }
        for path in &paths {
            fs::write(path, "last").unwrap();
        }
        files.expect(&format!("after seed {seed}"), &[Some("last"); 6]);
    }
}
