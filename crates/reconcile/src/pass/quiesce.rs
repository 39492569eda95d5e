//! Waits for PM2 operations that another process started: a writer that was killed before they ended, or a command that is shutting
//! PM2 down.
//!
//! If PM2 gets two requests for one process number at the same time, it executes both: two processes run, and PM2 lists one. PM2's
//! list does not show postponed work: it polls every `kill_retry_time` (100 ms) whether a process has ended, and waits 250 ms
//! before it stops one that has just been started (PM2 7.0.4, lib/God/ActionMethods.js, `stopProcessId`).

use std::time::{Duration, Instant};

use camino::Utf8Path;
use pm2_client::{AdapterError, StopFlag, is_being_ended};

use crate::pm2::Pm2;

/// Two equal lists this far apart mean that PM2 is idle.
const IDLE: Duration = Duration::from_millis(600);
/// Give up after this many lists.
const LISTS: u32 = 8;

/// How long to wait for a `pm2 kill` to end.
const END: Duration = Duration::from_secs(30);

/// Whether PM2 is being shut down.
pub(super) fn is_ending(pm2_home: &Utf8Path) -> bool {
    is_being_ended(pm2_home)
}

/// Waits until no command is shutting PM2 down.
pub(super) fn wait_until_not_ending(pm2_home: &Utf8Path, stop: &StopFlag) {
    let began = Instant::now();
    while is_being_ended(pm2_home) && began.elapsed() < END && !stop.is_set() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until PM2's list no longer changes.
pub(super) fn wait_until_idle(pm2: &mut Pm2<'_>, stop: &StopFlag) -> Result<(), AdapterError> {
    let mut list = || -> Result<Vec<_>, AdapterError> {
        let observed = pm2.observe()?;
        Ok(observed
            .processes
            .iter()
            .map(|process| {
                let status = process.status;
                (process.pm_id, process.pid, status, process.restarts)
            })
            .collect())
    };
    let mut before = list()?;
    for _ in 0..LISTS {
        std::thread::sleep(IDLE);
        let now = list()?;
        if now == before || stop.is_set() {
            break;
        }
        before = now;
    }
    Ok(())
}
