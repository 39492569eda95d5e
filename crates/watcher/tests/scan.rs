//! The results of full and partial scans of trees on disk.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use common::{World, define, entries, id, model};
use daemon_model::DEFINITION_FILE;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use watcher::{ProblemKind, ScanError, Scanner, Source};

#[test]
fn nested_daemons_count_and_skipped_directories_do_not() {
    let world = World::new();
    world.define("a", "1");
    world.define("a/b/c", "2");
    world.define("a/node_modules/x", "no");
    world.define(".git/x", "no");
    fs::write(world.tree("a/ecosystem.pm2.edn~"), "no").unwrap();
    let tree = world.scan();
    assert_eq!(model(&tree), entries(&[("a", "1"), ("a/b/c", "2")]));
    assert!(tree.problems.is_empty());
    assert!(tree.is_absent(&id("a/b")));
    assert!(!tree.is_absent(&id("a")));
}

#[test]
fn misnamed_definitions_are_found_where_definitions_would_be() {
    let world = World::new();
    world.define("a", "1");
    for file in [
        "ecosystem.edn",
        "a/ecosystem.config.js",
        "a/b/api.pm2.edn",
        "a/node_modules/ecosystem.edn",
        ".git/ecosystem.edn",
    ] {
        let file = world.tree(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    fs::create_dir(world.tree("a/Ecosystem.pm2.edn")).unwrap();
    let expected = ["a/b/api.pm2.edn", "a/ecosystem.config.js", "ecosystem.edn"];
    let mut found = world.scan().misnamed;
    found.sort();
    let expected = expected.map(|file| world.tree(file).into_std_path_buf());
    assert_eq!(found, expected);
}

#[test]
fn the_root_missing_or_no_directory_is_an_error_of_its_own() {
    let world = World::new();
    let root = world.layout.daemons_dir();
    fs::remove_dir(root).unwrap();
    let error = watcher::scan(&world.layout).unwrap_err();
    assert!(matches!(error, ScanError::Missing { .. }), "{error:?}");
    fs::write(root, "").unwrap();
    let error = watcher::scan(&world.layout).unwrap_err();
    assert!(
        matches!(error, ScanError::NotADirectory { .. }),
        "{error:?}"
    );
    fs::remove_file(root).unwrap();
    symlink(root, root).unwrap();
    let error = watcher::scan(&world.layout).unwrap_err();
    assert!(matches!(error, ScanError::Unreadable { .. }), "{error:?}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn names_that_cannot_be_ids_are_problems() {
    let world = World::new();
    world.define("", "in the root");
    world.define("a.json/b", "collides");
    world.define("fine", "1");
    let bytes = std::ffi::OsStr::from_bytes(b"caf\xe9");
    define(world.tree("").as_std_path().join(bytes), "latin 1");
    let tree = world.scan();
    assert_eq!(model(&tree), entries(&[("fine", "1")]));
    let mut kinds: Vec<_> = tree
        .problems
        .iter()
        .map(|problem| match &problem.kind {
            ProblemKind::InvalidId(error) => error.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    kinds.sort();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert_eq!(kinds[0], "NotUtf8");
    assert!(
        tree.problems
            .iter()
            .all(|problem| problem.path.ends_with(DEFINITION_FILE))
    );
}

/// Behaves like a broken disk: Linux opens this file, reports a size, and fails to read it.
const FAILS_WHEN_READ: &str = "/sys/class/net/lo/speed";

#[test]
fn a_file_whose_reading_fails_is_unreadable_and_not_absent() {
    let world = World::new();
    world.define("a", "{:apps []}");
    let path = world.tree("a").join(DEFINITION_FILE);
    let mut scanner = Scanner::new(world.layout.clone());
    scanner.full().unwrap();
    fs::remove_file(&path).unwrap();
    symlink(FAILS_WHEN_READ, &path).unwrap();
    for _ in 0..2 {
        let scan = scanner.full().unwrap();
        match scan.tree.sources.get(&id("a")) {
            Some(Source::Unreadable(error)) => {
                let expected = fs::read(FAILS_WHEN_READ).unwrap_err();
                assert_eq!(error.raw_os_error(), expected.raw_os_error());
            }
            other => panic!("{other:?}"),
        }
        assert!(!scan.tree.is_absent(&id("a")));
    }
    fs::remove_file(&path).unwrap();
    world.define("a", "{:apps []}");
    let scan = scanner.full().unwrap();
    assert!(matches!(
        scan.tree.sources.values().next(),
        Some(Source::Present(_))
    ));
}

#[test]
fn a_special_file_named_like_a_definition_is_unreadable_and_never_blocks() {
    let world = World::new();
    for name in ["fifo", "dir", "dangling", "loop", "large"] {
        fs::create_dir(world.tree(name)).unwrap();
    }
    let at = |name: &str| world.tree(name).join(DEFINITION_FILE);
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(
        CWD,
        at("fifo").as_std_path(),
        FileType::Fifo,
        mode,
        rustix::fs::makedev(0, 0),
    )
    .unwrap();
    fs::create_dir(at("dir")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink(DEFINITION_FILE, at("loop")).unwrap();
    let large = fs::File::create(at("large")).unwrap();
    large.set_len(65 * 1024 * 1024).unwrap();
    let tree = world.scan();
    assert_eq!(
        model(&tree),
        entries(&[
            ("dangling", "!NotFound"),
            ("dir", "!IsADirectory"),
            ("fifo", "!InvalidInput"),
            ("large", "!FileTooLarge"),
            ("loop", "!FilesystemLoop"),
        ])
    );
    assert!(!tree.is_absent(&id("dangling")));
}

#[test]
fn linked_directories_are_followed_once_and_real_ones_win() {
    let world = World::new();
    world.define("m/real", "real");
    define(world.outside("shared"), "shared");
    define(world.outside("shared/sub"), "sub");
    symlink(world.tree("m/real"), world.tree("a-link-to-real")).unwrap();
    symlink(world.outside("shared"), world.tree("one")).unwrap();
    symlink(world.outside("shared"), world.tree("two")).unwrap();
    symlink(".", world.tree("m/loop")).unwrap();
    symlink(world.layout.root(), world.tree("m/up")).unwrap();
    world.define("p/node_modules/tool", "tool");
    symlink("node_modules/tool", world.tree("p/tool")).unwrap();
    let expected = entries(&[
        ("m/real", "real"),
        ("one", "shared"),
        ("one/sub", "sub"),
        ("p/tool", "tool"),
    ]);
    let tree = world.scan();
    assert_eq!(model(&tree), expected);
    assert!(tree.problems.is_empty(), "{:?}", tree.problems);
    // Incremental scans choose the same links.
    let mut scanner = Scanner::new(world.layout.clone());
    scanner.full().unwrap();
    let scan = scanner.dirty(&[world.tree("two")]).unwrap();
    assert_eq!(model(&scan.tree), expected);
    fs::remove_file(world.tree("one")).unwrap();
    let scan = scanner.dirty(&[world.tree("one")]).unwrap();
    assert_eq!(model(&scan.tree), model(&world.scan()));
    assert_eq!(scan.changed.len(), 4, "{:?}", scan.changed);
}

#[test]
fn the_target_of_a_dangling_link_is_unknown_and_not_absent() {
    let world = World::new();
    define(world.outside("shared"), "1");
    symlink(world.outside("shared"), world.tree("a")).unwrap();
    assert_eq!(model(&world.scan()), entries(&[("a", "1")]));
    fs::rename(world.outside("shared"), world.outside("elsewhere")).unwrap();
    let tree = world.scan();
    assert!(tree.sources.is_empty());
    assert!(!tree.is_absent(&id("a")));
    assert!(!tree.is_absent(&id("a/b")));
    assert!(tree.is_absent(&id("ab")));
    assert!(
        tree.problems.is_empty(),
        "most dangling links are none of ours"
    );
    let problem = tree.unknown_because(&id("a")).unwrap();
    assert!(matches!(problem.kind, ProblemKind::DanglingLink(_)));
}

#[test]
fn the_content_of_an_unlistable_directory_is_unknown() {
    let world = World::new();
    world.define("fine", "1");
    // Deeper than a path may be long: the only failure that also affects root.
    let name = "d".repeat(250);
    let mut dir = rustix::fs::open(
        world.layout.daemons_dir().as_std_path(),
        rustix::fs::OFlags::DIRECTORY,
        Mode::empty(),
    )
    .unwrap();
    for _ in 0..17 {
        rustix::fs::mkdirat(&dir, name.as_str(), Mode::RWXU).unwrap();
        dir = rustix::fs::openat(
            &dir,
            name.as_str(),
            rustix::fs::OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
    }
    let tree = world.scan();
    assert_eq!(model(&tree), entries(&[("fine", "1")]));
    assert_eq!(tree.problems.len(), 1);
    let problem = &tree.problems[0];
    assert!(matches!(problem.kind, ProblemKind::UnlistableDir(_)));
    let below = problem
        .path
        .strip_prefix(world.layout.daemons_dir())
        .unwrap();
    let below = below.join("x");
    assert!(!tree.is_absent(&id(below.to_str().unwrap())));
    assert!(tree.is_absent(&id("gone")));
}

#[test]
fn a_stat_only_scan_reads_what_changed_and_shares_what_did_not() {
    let world = World::new();
    world.define("a", "1");
    world.define("b", "1");
    let mut scanner = Scanner::new(world.layout.clone());
    assert_eq!(scanner.full().unwrap().changed.len(), 2);
    // The same size and, within a clock tick, perhaps the same times.
    world.define("a", "2");
    let scan = scanner.stat_only().unwrap();
    assert_eq!(scan.changed, [id("a")].into());
    assert_eq!(model(&scan.tree), entries(&[("a", "2"), ("b", "1")]));
    assert!(scanner.stat_only().unwrap().changed.is_empty());
    fs::remove_dir_all(world.tree("b")).unwrap();
    assert_eq!(scanner.stat_only().unwrap().changed, [id("b")].into());
}

#[test]
fn a_failed_scan_changes_nothing() {
    let world = World::new();
    world.define("a", "1");
    let mut scanner = Scanner::new(world.layout.clone());
    scanner.full().unwrap();
    let aside = world.outside("aside");
    fs::rename(world.layout.daemons_dir(), &aside).unwrap();
    assert!(scanner.dirty(&[world.tree("a")]).is_err());
    assert!(scanner.full().is_err());
    assert_eq!(model(scanner.tree()), entries(&[("a", "1")]));
    fs::rename(&aside, world.layout.daemons_dir()).unwrap();
    assert!(
        scanner
            .dirty(&[world.tree("a")])
            .unwrap()
            .changed
            .is_empty()
    );
}

#[test]
fn dirty_scans_agree_with_whole_ones() {
    let world = World::new();
    world.define("a/x", "1");
    let mut scanner = Scanner::new(world.layout.clone());
    scanner.full().unwrap();
    let mut check = |scopes: &[&str], changed: &[&str]| {
        let scopes: Vec<_> = scopes.iter().map(|scope| world.tree(scope)).collect();
        let scan = scanner.dirty(&scopes).unwrap();
        assert_eq!(model(&scan.tree), model(&world.scan()), "{scopes:?}");
        let expected = changed.iter().map(|text| id(text)).collect();
        assert_eq!(scan.changed, expected, "{scopes:?}");
    };
    world.define("a/x", "2");
    check(&["a/x/ecosystem.pm2.edn"], &["a/x"]);
    world.define("n/e/w", "1");
    check(&["n/e/w/ecosystem.pm2.edn"], &["n/e/w"]);
    fs::rename(world.tree("a"), world.tree("z")).unwrap();
    check(&["a/x/ecosystem.pm2.edn", "z"], &["a/x", "z/x"]);
    fs::remove_dir_all(world.tree("z")).unwrap();
    fs::write(world.tree("z"), "a file now").unwrap();
    check(&["z/x/ecosystem.pm2.edn"], &["z/x"]);
    define(world.outside("dir"), "1");
    define(world.outside("dir/sub"), "1");
    symlink(world.outside("dir"), world.tree("n/link")).unwrap();
    check(&["n/link"], &["n/link", "n/link/sub"]);
    define(world.outside("dir/sub"), "2");
    check(&["n/link/sub/ecosystem.pm2.edn"], &["n/link/sub"]);
    fs::remove_file(world.tree("n/link")).unwrap();
    check(&["n/link"], &["n/link", "n/link/sub"]);
    fs::remove_dir_all(world.tree("n")).unwrap();
    check(&["n", "n/e"], &["n/e/w"]);
    world.define("q", "1");
    check(&[""], &["q"]);
    let misnamed = world.tree("q/ecosystem.edn");
    fs::rename(world.tree("q/ecosystem.pm2.edn"), &misnamed).unwrap();
    check(&["q/ecosystem.pm2.edn"], &["q"]);
    fs::rename(&misnamed, world.tree("q/ecosystem.pm2.edn")).unwrap();
    check(&["q/ecosystem.pm2.edn", "q/ecosystem.edn"], &["q"]);
    fs::write(&misnamed, "").unwrap();
    check(&["q/ecosystem.edn"], &[]);
    fs::rename(world.tree("q"), world.tree("r")).unwrap();
    check(&["q", "r"], &["q", "r"]);
    fs::rename(world.tree("r"), world.tree("q")).unwrap();
    check(&["q/ecosystem.pm2.edn", "r"], &["q", "r"]);
    world.define("q/r", "1");
    check(&["../elsewhere"], &["q/r"]);
}

#[test]
fn one_dirty_directory_among_thousands_is_cheap() {
    let world = World::new();
    for n in 0..2_000 {
        world.define(&format!("g{}/d{n}", n % 10), "1");
    }
    let mut scanner = Scanner::new(world.layout.clone());
    let start = Instant::now();
    scanner.full().unwrap();
    let whole = start.elapsed();
    let mut best = Duration::MAX;
    for n in 0..20 {
        world.define("g3/d3", &n.to_string());
        let start = Instant::now();
        let scan = scanner.dirty(&[world.tree("g3/d3")]).unwrap();
        best = best.min(start.elapsed());
        assert_eq!(scan.changed.len(), 1);
        assert!(matches!(
            scan.tree.sources[&id("g3/d3")],
            Source::Present(_)
        ));
    }
    assert!(best * 4 < whole, "{best:?} of {whole:?}");
}

/// While a directory's times are unchanged it is not listed again. If its modification time is set back, as archivers do, the
/// change time still differs.
#[test]
fn a_daemon_is_found_though_the_times_of_its_directory_were_set_back() {
    let world = World::new();
    world.define("group/a", "1");
    let group = world.tree("group");
    let mut scanner = Scanner::new(world.layout.clone());
    scanner.full().unwrap();
    // Long enough ago that the next scan need not assume a change within the same clock tick.
    std::thread::sleep(Duration::from_millis(50));
    scanner.stat_only().unwrap();
    let before = fs::metadata(&group).unwrap().modified().unwrap();
    world.define("group/b", "2");
    fs::File::open(&group)
        .unwrap()
        .set_modified(before)
        .unwrap();
    assert_eq!(fs::metadata(&group).unwrap().modified().unwrap(), before);
    let scan = scanner.stat_only().unwrap();
    assert_eq!(scan.changed, [id("group/b")].into());
    fs::remove_dir_all(world.tree("group/a")).unwrap();
    let scan = scanner.stat_only().unwrap();
    assert_eq!(scan.changed, [id("group/a")].into());
    assert_eq!(model(&scan.tree), entries(&[("group/b", "2")]));
}
