//! The rules of the house, as far as they can be executed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Which of our crates each of our crates uses, outside of its tests.
#[test]
fn crates_know_only_whom_they_may_know() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let edges: BTreeMap<&str, BTreeSet<&str>> = metadata
        .packages
        .iter()
        .map(|package| {
            let uses = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .map(|dependency| dependency.name.as_str())
                .filter(|name| ours.contains(name))
                .collect();
            (package.name.as_str(), uses)
        })
        .collect();
    let expected: BTreeMap<&str, BTreeSet<&str>> = [
        ("daemon-model", vec![]),
        ("edn-render", vec!["daemon-model"]),
        ("pm2-client", vec!["daemon-model"]),
        ("watcher", vec!["daemon-model"]),
        (
            "pm2-sync",
            vec!["daemon-model", "edn-render", "pm2-client", "watcher"],
        ),
        (
            "pm2-bench",
            vec!["daemon-model", "pm2-client", "pm2-sync", "pm2-testbed"],
        ),
        ("pm2-soak", vec!["pm2-client", "pm2-testbed"]),
        ("pm2-testbed", vec![]),
        ("xtask", vec![]),
    ]
    .map(|(name, uses)| (name, uses.into_iter().collect()))
    .into();
    assert_eq!(edges, expected);
}

/// Every source file of a crate's own code, with its tests cut off.
fn sources(krate: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join("crates").join(krate).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or("").to_owned();
                found.push((path, code));
            }
        }
    }
    found.sort();
    found
}

/// Files of a crate that mention one of these words outside of comments.
fn mentions(krate: &str, words: &[&str]) -> BTreeSet<String> {
    sources(krate)
        .into_iter()
        .filter(|(_, code)| {
            code.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| words.iter().any(|word| line.contains(word)))
        })
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn each_effect_has_its_room() {
    let files = ["std::fs", "fs::", "File::", "tempfile::"];
    assert_eq!(mentions("daemon-model", &files), names(&[]));
    assert_eq!(mentions("edn-render", &files), names(&["artifact.rs"]));
    assert_eq!(
        mentions("pm2-client", &files),
        // In the last for the output of a command only.
        names(&["dump.rs", "proc.rs", "launch.rs"])
    );

    let sockets = ["UnixStream", "TcpStream", "UnixListener"];
    for krate in ["daemon-model", "edn-render", "watcher", "cli"] {
        assert_eq!(mentions(krate, &sockets), names(&[]), "{krate}");
    }
    assert_eq!(
        mentions("pm2-client", &sockets),
        names(&["bus.rs", "socket.rs"])
    );

    let commands = ["process::Command", "process::{Command"];
    for krate in ["daemon-model", "edn-render", "watcher"] {
        assert_eq!(mentions(krate, &commands), names(&[]), "{krate}");
    }
    assert_eq!(mentions("cli", &commands), names(&["pm2_clj.rs"]));
    assert_eq!(mentions("pm2-client", &commands), names(&["launch.rs"]));

    let ambient = ["std::env", "env::var", "current_dir("];
    for krate in ["daemon-model", "edn-render", "pm2-client", "watcher"] {
        let found: BTreeSet<String> = mentions(krate, &ambient)
            .into_iter()
            // The child's directory and environment are set there, not this process's read.
            .filter(|file| file != "launch.rs")
            .collect();
        assert_eq!(found, names(&[]), "{krate}");
    }
    let mut found = mentions("cli", &ambient);
    // The child's directory, here too.
    found.remove("pm2_clj.rs");
    assert_eq!(found, names(&["environment.rs"]));

    assert_eq!(
        mentions("watcher", &["notify::"]),
        names(&["notify_source.rs"])
    );
    assert_eq!(
        mentions("edn-render", &["edn_format::"]),
        names(&["leaf.rs"])
    );
    assert_eq!(
        mentions("cli", &["io::stdout()", "io::stderr()", "println!"]),
        names(&["report.rs"])
    );
}

#[test]
fn threads_are_where_they_may_be() {
    let threads = ["thread::spawn", "thread::Builder", "thread::scope"];
    assert_eq!(mentions("daemon-model", &threads), names(&[]));
    assert_eq!(mentions("edn-render", &threads), names(&[]));
    assert_eq!(
        mentions("pm2-client", &threads),
        names(&["apply.rs", "bus.rs"])
    );
}

/// A clock that is set moves no timer. Where the time of a file is compared with that of its reading, it is the same clock.
#[test]
fn timers_are_monotonic() {
    let wall = ["SystemTime", "Timestamp::now"];
    assert_eq!(mentions("watcher", &wall), names(&["read.rs", "walk.rs"]));
    for file in ["engine.rs", "schedule.rs", "pass.rs", "carry.rs", "rest.rs"] {
        assert!(!mentions("cli", &wall).contains(file), "{file}");
    }
}
