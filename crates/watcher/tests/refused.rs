//! Unreadable files. Root may read everything, so as root each test runs again in a user namespace without privileges.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Engine, World, id, model};
use daemon_model::DEFINITION_FILE;
use watcher::{ProblemKind, ScanError, Scanner, Settings};

/// Runs a test as a user without privileges.
fn unprivileged(name: &str, test: impl FnOnce()) {
    if !rustix::process::geteuid().is_root() {
        return test();
    }
    let done = Command::new("unshare")
        .arg("--user")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .output();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match done {
        Ok(done) if words(&done.stderr).starts_with("unshare:") => {
            eprintln!("not run: {}", words(&done.stderr));
        }
        Ok(done) => assert!(
            done.status.success() && words(&done.stdout).contains("1 passed"),
            "{}{}",
            words(&done.stdout),
            words(&done.stderr)
        ),
        Err(error) => eprintln!("not run: unshare: {error}"),
    }
}

/// Permissions removed by a test, restored on drop, so that its directory can be removed.
struct Closed<'a>(&'a Path, u32);

impl<'a> Closed<'a> {
    fn new(path: &'a Path) -> Self {
        let before = fs::metadata(path).unwrap().permissions().mode();
        fs::set_permissions(path, Permissions::from_mode(0o0)).unwrap();
        Self(path, before)
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        fs::set_permissions(self.0, Permissions::from_mode(self.1)).unwrap();
    }
}

fn world() -> World {
    let world = World::new();
    world.define("fine", "1");
    world.define("closed/x", "1");
    world.define("file", "1");
    world
}

#[test]
fn the_content_of_an_unreadable_directory_is_unknown_and_not_absent() {
    let name = "the_content_of_an_unreadable_directory_is_unknown_and_not_absent";
    unprivileged(name, || {
        let world = world();
        let mut scanner = Scanner::new(world.layout.clone());
        scanner.full().unwrap();
        let closed = world.tree("closed").into_std_path_buf();
        let guard = Closed::new(&closed);
        for _ in 0..2 {
            let scan = scanner.full().unwrap();
            assert!(!scan.tree.is_absent(&id("closed/x")));
            assert!(scan.tree.is_absent(&id("gone")));
            let problem = scan.tree.unknown_because(&id("closed/x")).unwrap();
            assert!(matches!(problem.kind, ProblemKind::UnlistableDir(_)));
        }
        drop(guard);
        let scan = scanner.full().unwrap();
        assert_eq!(model(&scan.tree)["closed/x"], "1");
    });
}

#[test]
fn an_unreadable_root_is_an_error_and_not_an_empty_tree() {
    let name = "an_unreadable_root_is_an_error_and_not_an_empty_tree";
    unprivileged(name, || {
        let world = world();
        let root = world.layout.daemons_dir().as_std_path();
        let guard = Closed::new(root);
        let error = watcher::scan(&world.layout).unwrap_err();
        assert!(matches!(error, ScanError::Unreadable { .. }), "{error:?}");
        drop(guard);
        assert_eq!(model(&world.scan()).len(), 3);
    });
}

#[test]
fn a_temporarily_unreadable_directory_is_watched_afterwards() {
    let name = "a_temporarily_unreadable_directory_is_watched_afterwards";
    unprivileged(name, || {
        let world = world();
        let settings = Settings {
            retry: Duration::from_millis(50),
            root_check: Duration::from_millis(50),
            ..Settings::default()
        };
        let mut engine = Engine::start(&world, settings);
        let file = world.tree("file").join(DEFINITION_FILE).into_std_path_buf();
        let (dir, root) = (
            world.tree("closed").into_std_path_buf(),
            world.layout.daemons_dir().as_std_path().to_owned(),
        );
        let guard = Closed::new(&file);
        engine.wait("a file may not be read", |engine| {
            model(engine.scanner.tree())["file"] == "!PermissionDenied"
        });
        drop(guard);
        engine.settle("a file may be read again");

        let guard = Closed::new(&dir);
        engine.wait("a directory may not be read", |engine| {
            engine
                .scanner
                .tree()
                .unknown_because(&id("closed/x"))
                .is_some()
        });
        drop(guard);
        engine.settle("a directory may be read again");
        world.define("closed/x", "2");
        engine.settle("and is watched");

        let guard = Closed::new(&root);
        while engine.turn(Duration::from_millis(200)) {}
        assert_eq!(model(engine.scanner.tree()).len(), 3);
        drop(guard);
        world.define("closed/x", "3");
        world.define("new", "1");
        engine.settle("the root may be read again");
        assert_eq!(model(engine.scanner.tree())["new"], "1");
    });
}
