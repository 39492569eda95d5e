//! Runs `pm2-sync watch` on real PM2 while definitions, PM2's processes and PM2 itself change at random, and checks every few
//! seconds whether PM2 matches the definitions.
//!
//! `cargo xtask soak` builds what it needs and runs it. The same seed makes the same changes in the same order; their timing
//! depends on the machine.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a development command: its table is what it is for"
)]

mod check;
mod edits;
mod hands;
mod journal;
mod memory;
mod run;
mod workspace;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::Utf8PathBuf;

/// The arguments.
struct Arguments {
    minutes: f64,
    seed: u64,
    /// Excludes changes to PM2 with this word in their name.
    without: Option<String>,
}

impl Arguments {
    fn read() -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let mut arguments = Self {
            minutes: 30.0,
            seed: now.as_secs(),
            without: None,
        };
        let words: Vec<String> = std::env::args().skip(1).collect();
        for pair in words.chunks(2) {
            match pair {
                [flag, value] if flag == "--minutes" => arguments.minutes = value.parse().ok()?,
                [flag, value] if flag == "--seed" => arguments.seed = value.parse().ok()?,
                [flag, value] if flag == "--without" => arguments.without = Some(value.clone()),
                _ => return None,
            }
        }
        Some(arguments)
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::read() else {
        eprintln!("usage: pm2-soak [--minutes N] [--seed N] [--without WORD]");
        return ExitCode::from(64);
    };
    let Ok(own) = std::env::current_exe() else {
        eprintln!("error: cannot find out where this program lies");
        return ExitCode::FAILURE;
    };
    let Arguments {
        minutes,
        seed,
        without,
    } = arguments;
    // Logs are beside the build: those of target/release/pm2-soak are in target/soak.
    let binary = own.with_file_name("pm2-sync");
    let logs = own
        .ancestors()
        .nth(2)
        .map(|target| target.join(format!("soak/seed-{seed}")));
    let (Ok(binary), Some(Ok(logs))) = (
        Utf8PathBuf::from_path_buf(binary),
        logs.map(Utf8PathBuf::from_path_buf),
    ) else {
        eprintln!("error: the path of this program is not UTF-8");
        return ExitCode::FAILURE;
    };
    let length = Duration::from_secs_f64(minutes.max(0.1) * 60.0);
    println!("seed {seed}, {minutes} minutes; log in {logs}");
    match run::run(binary, logs, seed, length, without) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
