//! Leaves no process behind, even if the measurement is interrupted.
//!
//! Each process ends with the value that represents it. Since a signal ends this program without dropping values, it adopts all its
//! descendants, including daemons, and kills them then.

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::processes::children;

/// Makes this program the parent of every descendant whose own parent ends.
pub fn begin() {
    set_child_subreaper(Some(getpid())).unwrap();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).unwrap();
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end();
            std::process::exit(128 + signal);
        }
    });
}

/// Kills the remaining ones.
pub fn end() {
    for _ in 0..100 {
        let left = descendants();
        if left.is_empty() {
            return;
        }
        for pid in left {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Reaps the adopted processes that have ended: thousands of zombies slow down `ps`, which PM2 runs to stop an app. Call it while no
/// process is in use.
pub fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// All living descendants of this program.
fn descendants() -> Vec<Pid> {
    let own = std::process::id();
    let mut found = Vec::new();
    let threads = std::fs::read_dir("/proc/self/task");
    let mut from: Vec<u32> = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| thread.file_name().to_str()?.parse().ok())
        .flat_map(|thread: u32| crate::processes::children_of_thread(own, thread))
        .collect();
    while let Some(pid) = from.pop() {
        from.extend(children(pid));
        found.push(pid);
    }
    found
        .into_iter()
        .filter(|pid| pm2_testbed::is_alive(*pid))
        .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        .collect()
}
