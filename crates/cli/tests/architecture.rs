//! Checks the architecture rules that can be automated.

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

/// The allowed dependencies between our crates, outside of tests.
#[test]
fn crates_only_use_their_allowed_dependencies() {
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
        ("pm2-sync-model", vec![]),
        ("pm2-sync-files", vec![]),
        ("pm2-sync-probe", vec!["pm2-sync-model"]),
        ("pm2-sync-edn", vec!["pm2-sync-files", "pm2-sync-model"]),
        ("pm2-sync-client", vec!["pm2-sync-files", "pm2-sync-model"]),
        ("pm2-sync-watcher", vec!["pm2-sync-files", "pm2-sync-model"]),
        (
            "pm2-sync-reconcile",
            vec![
                "pm2-sync-client",
                "pm2-sync-edn",
                "pm2-sync-files",
                "pm2-sync-model",
                "pm2-sync-probe",
                "pm2-sync-watcher",
            ],
        ),
        (
            "pm2-sync",
            vec![
                "pm2-sync-client",
                "pm2-sync-edn",
                "pm2-sync-files",
                "pm2-sync-model",
                "pm2-sync-reconcile",
                "pm2-sync-watcher",
            ],
        ),
        (
            "pm2-bench",
            vec![
                "pm2-sync-client",
                "pm2-sync-model",
                "pm2-sync-reconcile",
                "pm2-testbed",
            ],
        ),
        (
            "pm2-parity",
            vec!["pm2-sync-edn", "pm2-sync-model", "pm2-sync-reconcile"],
        ),
        ("pm2-soak", vec!["pm2-sync-client", "pm2-testbed"]),
        ("pm2-testbed", vec![]),
        ("xtask", vec!["pm2-sync"]),
    ]
    .map(|(name, uses)| (name, uses.into_iter().collect()))
    .into();
    assert_eq!(edges, expected);
}

/// Crates that only a command line needs.
#[test]
fn only_the_command_line_depends_on_its_crates() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    let libraries = metadata.packages.iter().filter(|package| {
        package.name.as_str() != "pm2-sync" && package.name.starts_with("pm2-sync")
    });
    for package in libraries {
        for dependency in &package.dependencies {
            let is_for_commands =
                ["clap", "indicatif", "signal-hook"].contains(&dependency.name.as_str());
            assert!(
                !is_for_commands || dependency.kind == DependencyKind::Development,
                "{} depends on {}",
                package.name,
                dependency.name
            );
        }
    }
}

/// A source file of a crate's own code: its path below `src`, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Its code without comments and without inline tests.
    fn code(&self) -> impl Iterator<Item = &str> {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {");
        let code = &self.text[..tests.unwrap_or(self.text.len())];
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
    }

    /// Whether the code contains one of these words, not as the end of a longer one.
    fn mentions(&self, words: &[&str]) -> bool {
        let is_in = |line: &str, word: &str| {
            line.match_indices(word).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|char| char.is_alphanumeric() || char == '_')
            })
        };
        self.code()
            .any(|line| words.iter().any(|word| is_in(line, word)))
    }
}

/// All crates except the tools.
fn crates() -> Vec<String> {
    let dirs = root().join("crates").read_dir().unwrap();
    let mut names: Vec<String> = dirs
        .map(|dir| dir.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Every source file of a crate, except those that contain only tests.
fn sources(krate: &str) -> Vec<Source> {
    let src = root().join("crates").join(krate).join("src");
    let mut found = Vec::new();
    let mut dirs = vec![src.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_name().is_some_and(|name| name != "tests.rs")
            {
                let below = path.strip_prefix(&src).unwrap();
                found.push(Source {
                    path: below.to_str().unwrap().to_owned(),
                    text: std::fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The files of a crate that may have an effect.
enum Rooms {
    Any,
    /// Exactly these, below `src`.
    Files(&'static [&'static str]),
}

use Rooms::{Any, Files};

/// An effect, the words that reveal it, and the crates that may have it. No others may.
struct Effect {
    name: &'static str,
    words: &'static [&'static str],
    rooms: &'static [(&'static str, Rooms)],
}

/// The table "Who may touch what" of ARCHITECTURE.md.
const EFFECTS: &[Effect] = &[
    Effect {
        name: "files",
        words: &["std::fs", "fs::", "File::", "tempfile"],
        rooms: &[
            (
                "cli",
                Files(&[
                    "commands/doctor/artifacts.rs",
                    "commands/doctor/platform.rs",
                    "commands/doctor/pm2.rs",
                    "commands/doctor/tree.rs",
                ]),
            ),
            ("edn-render", Files(&["artifact.rs"])),
            ("files", Any),
            // In `launch.rs` only for the output of a command.
            (
                "pm2-client",
                Files(&[
                    "dump.rs",
                    "host/local.rs",
                    "launch.rs",
                    "module.rs",
                    "proc/linux.rs",
                ]),
            ),
            ("reconcile", Any),
            ("watcher", Any),
        ],
    },
    // The crate `files` opens, writes and renames files defensively. The exceptions read files that only the kernel or root can
    // write, or capture the output of a command.
    Effect {
        name: "opened files",
        words: &[
            "File::open",
            "File::create",
            "File::options",
            "OpenOptions",
            "fs::open",
            "fs::read(",
            "fs::read_to_string(",
            "fs::write(",
            "fs::copy(",
            "fs::rename(",
            "fs::hard_link(",
            "fs::symlink(",
            "tempfile",
            "tempdir",
        ],
        rooms: &[
            ("files", Any),
            // Directories.
            ("watcher", Files(&["listing.rs"])),
            // `/proc` and `/etc`; the output of `pm2 ping`.
            (
                "pm2-client",
                Files(&["host/local.rs", "launch.rs", "proc/linux.rs"]),
            ),
            // `/proc`; the output of programs; setting a damaged file aside.
            (
                "reconcile",
                Files(&["environment.rs", "state.rs", "subprocess.rs"]),
            ),
            // `/proc`.
            ("cli", Files(&["commands/doctor/tree.rs"])),
        ],
    },
    Effect {
        name: "sockets",
        words: &[
            "UnixStream",
            "TcpStream",
            "UnixListener",
            "TcpListener",
            "UdpSocket",
            "ToSocketAddrs",
        ],
        rooms: &[
            ("pm2-client", Files(&["bus.rs", "connect.rs", "socket.rs"])),
            ("probe", Files(&["connect.rs", "http.rs", "lookup.rs"])),
        ],
    },
    Effect {
        name: "subprocesses",
        words: &["process::Command", "process::{Command"],
        rooms: &[
            ("pm2-client", Files(&["launch.rs"])),
            ("probe", Files(&["command.rs"])),
            ("reconcile", Files(&["subprocess.rs"])),
        ],
    },
    // For subprocesses, this sets the child's directory and environment.
    Effect {
        name: "environment, working directory and home",
        words: &["std::env", "env::var", "current_dir(", "home_dir("],
        rooms: &[
            // The name of the system.
            ("cli", Files(&["commands/doctor/platform.rs"])),
            ("probe", Files(&["command.rs"])),
            ("reconcile", Files(&["environment.rs", "subprocess.rs"])),
        ],
    },
    Effect {
        name: "clock",
        words: &[
            "Instant::now",
            "SystemTime",
            "Timestamp::now",
            "Zoned::now",
            ".elapsed()",
        ],
        rooms: &[
            ("cli", Any),
            ("files", Files(&["write.rs"])),
            ("pm2-client", Any),
            ("probe", Any),
            ("reconcile", Any),
            ("watcher", Any),
        ],
    },
    // Setting the clock does not affect timers. Times of files are compared with the time of reading them, from the same clock.
    Effect {
        name: "wall clock",
        words: &["SystemTime", "Timestamp::now", "Zoned::now"],
        rooms: &[
            ("cli", Any),
            ("files", Files(&["write.rs"])),
            ("pm2-client", Any),
            // Times recorded for people, for a window that outlives the process, and those that PM2 records.
            (
                "reconcile",
                Files(&["lock.rs", "pass/snapshot.rs", "pm2.rs", "rollout/store.rs"]),
            ),
            ("watcher", Files(&["file.rs", "read.rs", "walk.rs"])),
        ],
    },
    Effect {
        name: "threads",
        words: &["thread::spawn", "thread::Builder", "thread::scope"],
        rooms: &[
            ("cli", Files(&["report/prompt.rs", "signals.rs"])),
            ("pm2-client", Files(&["apply.rs", "bus.rs"])),
            ("probe", Files(&["lookup.rs", "prober.rs"])),
            ("reconcile", Files(&["parallel.rs"])),
            ("watcher", Files(&["walk.rs", "watch.rs"])),
        ],
    },
    Effect {
        name: "standard output and standard error",
        words: &[
            "io::stdout()",
            "io::stderr()",
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
        ],
        rooms: &[("cli", Files(&["report.rs"]))],
    },
    Effect {
        name: "signals and the end of the process",
        words: &["signal_hook", "process::exit", "process::abort"],
        rooms: &[("cli", Files(&["signals.rs"]))],
    },
    Effect {
        name: "types of notify",
        words: &["notify::"],
        rooms: &[("watcher", Files(&["notify_source.rs"]))],
    },
    Effect {
        name: "types of edn-format",
        words: &["edn_format::"],
        rooms: &[("edn-render", Files(&["leaf.rs"]))],
    },
    Effect {
        name: "types of glob",
        words: &["glob::{", "Pattern::"],
        rooms: &[("daemon-model", Files(&["selector.rs"]))],
    },
    Effect {
        name: "types of httparse",
        words: &["httparse::"],
        rooms: &[("probe", Files(&["http.rs"]))],
    },
    Effect {
        name: "types of http",
        words: &["http::Uri", "http::uri"],
        rooms: &[("daemon-model", Files(&["probe/url.rs"]))],
    },
];

#[test]
fn each_effect_is_confined_to_its_files() {
    for krate in crates() {
        let sources = sources(&krate);
        for effect in EFFECTS {
            let found: BTreeSet<&str> = sources
                .iter()
                .filter(|source| source.mentions(effect.words))
                .map(|source| source.path.as_str())
                .collect();
            let rooms = effect.rooms.iter().find(|(name, _)| *name == krate);
            let expected = match rooms {
                Some((_, Any)) => continue,
                Some((_, Files(files))) => files.iter().copied().collect(),
                None => BTreeSet::new(),
            };
            assert_eq!(found, expected, "{}: {krate}", effect.name);
        }
    }
}

/// Only code counts, not comments and tests.
#[test]
fn an_effect_is_found_in_code() {
    let source = |text: &str| Source {
        path: "lib.rs".to_owned(),
        text: text.to_owned(),
    };
    let opens = |text: &str| source(text).mentions(&["File::open"]);
    assert!(opens("fn read() {\n    let file = File::open(path);\n}\n"));
    assert!(!opens(
        "fn read() {\n    let file = OpenFile::open(path);\n}\n"
    ));
    assert!(!opens("/// Unlike `File::open`.\nfn read() {}\n"));
    assert!(!opens(
        "fn read() {}\n\n#[cfg(test)]\nmod tests {\n    File::open(path);\n}\n"
    ));
    // Code after other code that is only for tests.
    assert!(opens(
        "struct A {\n    #[cfg(test)]\n    seen: u8,\n}\nfn read() {\n    File::open(path);\n}\n"
    ));
}

/// The promises of docs/embedding.md about the libraries.
#[test]
fn libraries_have_an_example_and_errors_that_may_grow() {
    for krate in crates().into_iter().filter(|krate| krate != "cli") {
        let sources = sources(&krate);
        let root = sources.iter().find(|it| it.path == "lib.rs").unwrap();
        let mut docs = root.text.lines().take_while(|line| line.starts_with("//!"));
        assert!(
            docs.any(|line| line.starts_with("//! use ") || line.starts_with("//! let ")),
            "{krate} has no example"
        );
        for Source { path, text } in &sources {
            for (at, _) in text.match_indices("Error {") {
                let (before, line) = text[..at].rsplit_once('\n').unwrap_or_default();
                let is_enum = line.trim_start().starts_with("pub enum ");
                let grows = before.lines().next_back() == Some("#[non_exhaustive]");
                assert!(!is_enum || grows, "{krate}/{path}: {line}Error");
            }
        }
    }
}

/// The most lines in a source file, without its tests.
const LONGEST_FILE: usize = 500;

/// The most lines in a command.
const LONGEST_COMMAND: usize = 150;

#[test]
fn source_files_are_short() {
    for krate in crates() {
        for source in sources(&krate) {
            let name = format!("{krate}/{}", source.path);
            let longest = match name.starts_with("cli/commands/") {
                true => LONGEST_COMMAND,
                false => LONGEST_FILE,
            };
            let lines = source.text.lines().count();
            assert!(
                lines <= longest,
                "{name} has {lines} lines, {longest} at most"
            );
        }
    }
}
