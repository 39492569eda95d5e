//! Developer commands of this repository. `cargo xtask demo` shows pm2-sync at work on `fixtures/workspace`, with its own PM2;
//! `cargo xtask matrix` tests another version of PM2; `cargo xtask differential` compares with the reference renderer; `cargo xtask
//! soak`, `chaos` and `limits` are stress tests.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore tells the person at the terminal what it does"
)]

mod bench;
mod chaos;
mod command;
mod demo;
mod differential;
mod dist;
mod install;
mod limits;
mod man;
mod matrix;
mod mutants;
mod package;
mod parity;
mod soak;

use std::process::ExitCode;

use chaos::Chaos;
use demo::Demo;
use differential::Draw;

const USAGE: &str = "\
usage:
  cargo xtask demo          run pm2-sync on fixtures/workspace, with a PM2 of its own
  cargo xtask demo --stop   end that PM2 and what runs in it
  cargo xtask dist [--target TRIPLE | --profile dev]
                            build pm2-sync, and write its packages to target/dist: an archive, npm and Debian
  cargo xtask package [--no-verify]
                            package every crate as the registry would get it, and build each from its package
  cargo xtask bench [PART...] [--runs N] [--write]
                            measure pm2-sync against PM2's own command line, the reference way, supervisord and the
                            floor; parts: edit, nothing, first, render, check, idle, latency, heal, checkout,
                            growth, instructions; --write puts the tables into docs/benchmarks.md
  cargo xtask bench --smoke only show that the measuring still runs
  cargo xtask matrix --pm2 5|6|7
                            install the latest PM2 of that major in target/ and try every change of every attribute
                            on it; MATRIX=text tries those whose description contains the text
  cargo xtask records --pm2 5|6|7
                            let the latest PM2 of that major do what people do, and write the records that it gives
                            then to fixtures/records, with paths, numbers and times replaced
  cargo xtask man DIR       write man pages to DIR/man and shell completions to DIR/completions, for packages
  cargo xtask mutants [--file GLOB]
                            change the model in thousands of places, one at a time, and print how many of the changes
                            its own tests find; needs `cargo install cargo-mutants`
  cargo xtask differential [--count N] [--seed S]
                            render N (20000) definitions drawn at random with edn-render and with the reader of the
                            reference renderer, and print what differs; docs/differences.md lists what may
  cargo xtask parity WORKSPACE
                            render each definition of a workspace with pm2-sync and with the pm2-clj that its settings
                            name, and print what differs
  cargo xtask soak [--minutes N] [--seed S] [--without WORD]
                            run the watch on real PM2 for N (30) minutes while definitions, processes and PM2 itself
                            change at random, and compare PM2 with the definitions every few seconds; WORD leaves out
                            what is done to PM2 by a command that has it in its name
  cargo xtask chaos [--rounds N] [--kills N] [--seed S]
                            compare what the watcher knows with the disk after N (20) rounds of 1,500 random file
                            operations, and kill a busy watch N (50) times
  cargo xtask limits        run the watcher where the system refuses watches, instances or a long queue, and on mounts;
                            needs root and sets a limit of the whole machine, for as long as it runs";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["demo"] => Demo::new().and_then(|demo| demo.run()),
        ["demo", "--stop"] => Demo::new().and_then(|demo| demo.stop()),
        ["dist", ref rest @ ..] => match dist::run_with(rest) {
            Some(done) => done,
            None => return usage(),
        },
        ["package"] => package::package(true),
        ["package", "--no-verify"] => package::package(false),
        ["bench", ref rest @ ..] => bench::run_with(rest),
        ["matrix", "--pm2", major @ ("5" | "6" | "7")] => matrix::run_on(major),
        ["records", "--pm2", major @ ("5" | "6" | "7")] => matrix::capture_on(major),
        ["man", dir] => man::write_to(dir),
        ["mutants", ref rest @ ..] => mutants::run_with(rest),
        ["differential", ref rest @ ..] => match Draw::from_arguments(rest) {
            Some(draw) => draw.run(),
            None => return usage(),
        },
        ["soak", ref rest @ ..] => soak::run_with(rest),
        ["chaos", ref rest @ ..] => match Chaos::from_arguments(rest) {
            Some(chaos) => chaos.run(),
            None => return usage(),
        },
        ["parity", workspace] => parity::run_on(workspace),
        ["limits"] => limits::run_all(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
