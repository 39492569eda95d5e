//! Tests the watcher at system limits: too few watches and instances, a short event queue, mounts.
//!
//! Limits of watches and instances, and mounts, apply to namespaces that end with the tests, so they affect nothing else. The queue
//! length applies to the whole machine: it is only set for the tests that need it, and always restored.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::chaos;
use crate::command::{Error, cargo, root, run, show};

const QUEUE: &str = "/proc/sys/fs/inotify/max_queued_events";
/// The lengths of the queue, and whether it must overflow: with the first it only does on a busy machine.
const SHORT: [(&str, bool); 2] = [("128", false), ("8", true)];
const ROUNDS: &str = "10";

/// Runs all tests.
pub(crate) fn run_all() -> Result<(), Error> {
    in_namespaces()?;
    with_a_short_queue()
}

fn in_namespaces() -> Result<(), Error> {
    let root = root()?;
    let build = "cargo test --package pm2-sync-watcher --test limits --no-run";
    show(build);
    let mut command = cargo();
    command
        .args(["test", "--package", "pm2-sync-watcher", "--test", "limits"])
        .arg("--no-run")
        .current_dir(root);
    run(build, &mut command, &[0])?;
    let line = "unshare --user --map-root-user --mount \
                cargo test --package pm2-sync-watcher --test limits -- --ignored --test-threads=1";
    show(line);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount"])
        .arg(cargo().get_program())
        .args(["test", "--package", "pm2-sync-watcher", "--test", "limits"])
        .args(["--", "--ignored", "--test-threads=1"])
        .current_dir(root);
    run(line, &mut command, &[0]).map(drop)
}

fn with_a_short_queue() -> Result<(), Error> {
    // Ctrl-C must end the tests, which run in the foreground, and not this program, which has to restore a setting.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(Error::Signals)?;
    }
    for (length, must_lose) in SHORT {
        let queue = Sysctl::set(Path::new(QUEUE), length)?;
        let done = chaos::files(ROUNDS, "1", must_lose);
        queue.restore()?;
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        done?;
    }
    Ok(())
}

/// A kernel setting, restored on drop.
struct Sysctl {
    file: &'static Path,
    before: String,
}

impl Sysctl {
    fn set(file: &'static Path, value: &str) -> Result<Self, Error> {
        let failed = |source| Error::Sysctl { file, source };
        let before = std::fs::read_to_string(file).map_err(failed)?;
        let before = before.trim().to_owned();
        show(&format!(
            "echo {value} > {}   # was {before}",
            file.display()
        ));
        let sysctl = Self { file, before };
        std::fs::write(file, value).map_err(failed)?;
        Ok(sysctl)
    }

    fn restore(self) -> Result<(), Error> {
        show(&format!("echo {} > {}", self.before, self.file.display()));
        std::fs::write(self.file, &self.before).map_err(|source| Error::Sysctl {
            file: self.file,
            source,
        })
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        // A second failure would be the same as the first, which was reported.
        let _ = std::fs::write(self.file, &self.before);
    }
}
