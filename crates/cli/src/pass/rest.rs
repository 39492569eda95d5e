//! What PM2 still does for somebody else: for one who was killed before he saw its end, and for one who ends PM2 itself.
//!
//! PM2 does two things with one process number at the same time, if it is asked to: then two processes run, and PM2 knows of
//! one. And it shows no sign of what it has put off: it looks every `kill_retry_time` (100 ms) whether a process has ended,
//! and waits 250 ms before it stops one that has just been started (PM2 7.0.4, lib/God/ActionMethods.js, `stopProcessId`).

use std::time::{Duration, Instant};

use camino::Utf8Path;
use pm2_client::{ProcessAdapter, is_being_ended};

use super::PassError;
use super::pm2::observe_all;

/// When two looks this far apart find the same, nothing is under way.
const CALM: Duration = Duration::from_millis(600);
/// Whatever goes on for longer is not waited for.
const LOOKS: u32 = 8;

/// How long somebody's `pm2 kill` may take that is waited for.
const END: Duration = Duration::from_secs(30);

/// Waits until nobody is about to end PM2; whether somebody was.
pub(super) fn wait_for_its_end(pm2_home: &Utf8Path, should_stop: &dyn Fn() -> bool) -> bool {
    let began = Instant::now();
    let mut waited = false;
    while is_being_ended(pm2_home) && began.elapsed() < END && !should_stop() {
        waited = true;
        std::thread::sleep(Duration::from_millis(20));
    }
    waited
}

/// Waits until PM2's list stays as it is.
pub(super) fn wait_for_calm(
    adapter: &mut dyn ProcessAdapter,
    should_stop: &dyn Fn() -> bool,
) -> Result<(), PassError> {
    let mut look = || -> Result<Vec<_>, PassError> {
        let observed = observe_all(Some(&mut *adapter))?;
        let processes = observed.processes.into_iter();
        Ok(processes
            .map(|process| {
                let status = process.status;
                (process.pm_id, process.pid, status, process.restarts)
            })
            .collect())
    };
    let mut before = look()?;
    for _ in 0..LOOKS {
        std::thread::sleep(CALM);
        let now = look()?;
        if now == before || should_stop() {
            break;
        }
        before = now;
    }
    Ok(())
}
