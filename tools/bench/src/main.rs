//! Benchmarks pm2-sync: against PM2's own command line, against the reference way of rendering and watching, against supervisord,
//! and against the floor, the minimum that any tool must do. All in one run, in alternation.
//!
//! `cargo xtask bench` builds and installs what it needs and runs it.
//!
//! | module | is |
//! | --- | --- |
//! | `parts` | what is measured, a file for each part |
//! | `baselines`, `raw`, `plain` | what it is measured against |
//! | `bed`, `programs`, `engine` | pm2-sync on real PM2, without PM2, and as a library with PM2 in memory |
//! | `workspace` | trees of definitions |
//! | `processes`, `measure` | what the system shows of processes; times |
//! | `section`, `page`, `chart`, `machine` | tables with goals, the file that holds them, its chart, where and with what was measured |
//! | `tools`, `context`, `cleanup` | what is installed, how much is measured, nothing stays behind |

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a development command: what goes wrong ends it, and the table is what it is for"
)]

mod baselines;
mod bed;
mod chart;
mod cleanup;
mod context;
mod engine;
mod machine;
mod measure;
mod page;
mod parts;
mod plain;
mod processes;
mod programs;
mod raw;
mod section;
mod tools;
mod workspace;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use camino::{Utf8Path, Utf8PathBuf};

use context::Context;
use parts::{PARTS, Run};
use tools::Tools;

/// Runs this program as a watch with PM2 in memory.
const WATCH_IN_MEMORY: &str = "watch-in-memory";
/// Runs this program as the code whose instructions are counted.
const COUNT_INSTRUCTIONS: &str = "count-instructions";
/// Runs this program only to read PM2's list.
const READ_LIST: &str = "read-list";

/// The default number of runs per way.
const RUNS: usize = 11;

const USAGE: &str = "usage: pm2-bench [PART...] [--smoke] [--runs N] [--write FILE]";

struct Arguments {
    parts: Vec<(&'static str, Run)>,
    smoke: bool,
    runs: usize,
    write: Option<Utf8PathBuf>,
}

impl Arguments {
    fn read(arguments: &[String]) -> Option<Self> {
        let mut read = Self {
            parts: Vec::new(),
            smoke: false,
            runs: RUNS,
            write: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--smoke" => (read.smoke, read.runs) = (true, 1),
                "--runs" => read.runs = rest.next()?.parse().ok().filter(|runs| *runs > 0)?,
                "--write" => read.write = Some(rest.next()?.into()),
                name => read
                    .parts
                    .push(*PARTS.iter().find(|(part, _)| *part == name)?),
            }
        }
        if read.parts.is_empty() {
            read.parts = PARTS.to_vec();
        }
        Some(read)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [child, root, home] if child == WATCH_IN_MEMORY => {
            parts::watch_in_memory(Utf8Path::new(root), Utf8Path::new(home));
            return ExitCode::SUCCESS;
        }
        [child, home, directories @ ..] if child == READ_LIST => {
            parts::read_list(Utf8Path::new(home), directories);
            return ExitCode::SUCCESS;
        }
        [child, what, count, root] if child == COUNT_INSTRUCTIONS => {
            parts::instructions_child(what, count.parse().unwrap(), Utf8Path::new(root));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let Some(arguments) = Arguments::read(&arguments) else {
        let parts: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        eprintln!("{USAGE}\nparts: {}", parts.join(", "));
        return ExitCode::from(64);
    };
    cleanup::begin();
    let status = measure_all(&arguments);
    cleanup::end();
    status
}

fn measure_all(arguments: &Arguments) -> ExitCode {
    let context = Context {
        tools: Tools::find(),
        smoke: arguments.smoke,
        runs: arguments.runs,
    };
    let about = machine::describe(&context.tools);
    println!("\n{about}");
    let mut sections = Vec::new();
    let mut failed = Vec::new();
    let mut missed = 0;
    for (part, run) in &arguments.parts {
        // Other parts may still work; processes started by this one end with it.
        match catch_unwind(AssertUnwindSafe(|| run(&context))) {
            Ok(mut section) => {
                println!("{}", section.finish());
                missed += section.missed;
                sections.push(section);
            }
            Err(_) => failed.push(*part),
        }
        cleanup::reap();
    }
    if !arguments.smoke {
        println!("{missed} goals missed.");
    }
    if !failed.is_empty() {
        eprintln!("error: failed: {}", failed.join(", "));
        return ExitCode::FAILURE;
    }
    if let Some(file) = &arguments.write {
        if let Err(error) = page::write(file, &about, &mut sections) {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
        println!("wrote {file}");
    }
    ExitCode::SUCCESS
}
