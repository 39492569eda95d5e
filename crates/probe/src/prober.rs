//! The thread that runs many probes repeatedly.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use daemon_model::{Check, Probe};
use rustix::event::PollFlags;
use rustix::io::ioctl_fionbio;

use crate::attempt::Attempt;
use crate::wait::{Interest, wait};
use crate::{Health, ProbeResult, ProbeState};

/// How many probes run at a time: each needs a descriptor or a process.
const MOST_RUNNING: usize = 256;

/// A failure of a probe, a change of its health, or a run that was not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report<K> {
    /// The probe.
    pub key: K,
    /// The result of its last run.
    pub result: ProbeResult,
    /// Its health according to all results.
    pub health: Health,
    /// Consecutive failures so far.
    pub failures: u32,
}

/// Runs probes on their schedules until it is dropped.
///
/// All probes share one thread, on which nothing blocks: a hanging probe delays no other, and a thousand probes need no more
/// threads than one. At most 256 run at a time.
pub struct Prober<K> {
    inbox: Arc<Mutex<Vec<Change<K>>>>,
    /// A byte wakes the thread; closing it stops the thread.
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

enum Change<K> {
    Add(K, Box<Added>),
    Remove(K),
}

struct Added {
    check: Check,
    timeout: Duration,
    state: ProbeState,
}

struct Job {
    added: Added,
    /// The run in progress.
    attempt: Option<Attempt>,
    /// Whether the event that the run waits for has occurred.
    is_met: bool,
}

impl<K: Ord + Clone + Send + 'static> Prober<K> {
    /// Starts the thread. `report` is called on it for each failure, each change of health and each run that was not possible, but
    /// not for a success that changes nothing. It must neither block nor panic, or no probe proceeds.
    ///
    /// # Errors
    /// I/O errors of creating a pipe or starting the thread.
    pub fn start(report: impl FnMut(Report<K>) + Send + 'static) -> io::Result<Self> {
        let (woken, wake) = pipe()?;
        ioctl_fionbio(&woken, true)?;
        let inbox = Arc::default();
        let mut jobs = Jobs {
            inbox: Arc::clone(&inbox),
            woken,
            by_key: BTreeMap::new(),
            report,
        };
        let thread = thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || while jobs.turn() {})?;
        Ok(Self {
            inbox,
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Adds a probe of a process that was started at `started`. It replaces a probe with the same key, whose last report may still
    /// arrive: use a key that identifies the process, not only the app.
    pub fn add(&self, key: K, probe: &Probe, check: Check, started: Instant) {
        let added = Added {
            check,
            timeout: probe.timeout,
            state: ProbeState::new(probe, started),
        };
        self.change(Change::Add(key, Box::new(added)));
    }

    /// Removes a probe. A run in progress is abandoned, and its command killed. One more report may arrive.
    pub fn remove(&self, key: K) {
        self.change(Change::Remove(key));
    }

    /// Ends the thread and waits for it. Runs in progress are abandoned, so this takes no longer than killing their commands.
    /// Dropping the prober does the same.
    pub fn stop(self) {}

    fn change(&self, change: Change<K>) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.push(change);
        // One byte wakes the thread for all changes until it takes them. Fails only if the thread is gone.
        if inbox.len() == 1
            && let Some(mut wake) = self.wake.as_ref()
        {
            let _ = wake.write(&[0]);
        }
    }
}

/// Shows no checks, because they contain variables of processes.
impl<K> fmt::Debug for Prober<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

impl<K> Drop for Prober<K> {
    fn drop(&mut self) {
        self.wake = None;
        // If its own callback drops it, the thread cannot wait for itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

struct Jobs<K, R> {
    inbox: Arc<Mutex<Vec<Change<K>>>>,
    woken: PipeReader,
    by_key: BTreeMap<K, Job>,
    report: R,
}

impl<K: Ord + Clone, R: FnMut(Report<K>)> Jobs<K, R> {
    /// Does all pending work, waits, and returns whether to continue.
    fn turn(&mut self) -> bool {
        self.take_changes();
        self.start_due(Instant::now());
        self.step();
        self.wait()
    }

    fn take_changes(&mut self) {
        let changes = mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for change in changes {
            match change {
                Change::Add(key, added) => {
                    let job = Job {
                        added: *added,
                        attempt: None,
                        is_met: false,
                    };
                    self.by_key.insert(key, job);
                }
                Change::Remove(key) => {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    fn start_due(&mut self, now: Instant) {
        let running = self
            .by_key
            .values()
            .filter(|job| job.attempt.is_some())
            .count();
        let jobs = self.by_key.values_mut();
        let mut due: Vec<&mut Job> = jobs
            .filter(|job| job.attempt.is_none() && job.added.state.due() <= now)
            .collect();
        due.sort_by_key(|job| job.added.state.due());
        for job in due.into_iter().take(MOST_RUNNING.saturating_sub(running)) {
            job.attempt = Some(Attempt::start(&job.added.check, job.added.timeout, now));
            job.is_met = true;
        }
    }

    fn step(&mut self) {
        for (key, job) in &mut self.by_key {
            if !mem::take(&mut job.is_met) {
                continue;
            }
            let now = Instant::now();
            let Some(result) = job.attempt.as_mut().and_then(|attempt| attempt.step(now)) else {
                continue;
            };
            job.attempt = None;
            let state = &mut job.added.state;
            let before = state.health();
            let health = state.record(&result, now);
            if !result.is_ready() || health != before {
                (self.report)(Report {
                    key: key.clone(),
                    result,
                    health,
                    failures: state.failures(),
                });
            }
        }
    }

    /// Waits for a run, a time or a change; false if the prober was dropped.
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        let running = self
            .by_key
            .values()
            .filter(|job| job.attempt.is_some())
            .count();
        let mut interests = vec![Interest {
            fd: Some((self.woken.as_fd(), PollFlags::IN)),
            until: None,
        }];
        let waiting = self.by_key.values().filter_map(|job| match &job.attempt {
            Some(attempt) => Some(attempt.interest()),
            // At the limit, the next run starts when another ends.
            None if running >= MOST_RUNNING => None,
            None => Some(Interest {
                fd: None,
                until: Some(job.added.state.due()),
            }),
        });
        interests.extend(waiting);
        let met = wait(&interests, now);
        let is_woken = met.first().copied().unwrap_or(false);
        // The jobs with an interest, in the same order.
        let runs = self
            .by_key
            .values_mut()
            .filter(|job| job.attempt.is_some() || running < MOST_RUNNING);
        for (job, is_met) in runs.zip(met.into_iter().skip(1)) {
            job.is_met = is_met && job.attempt.is_some();
        }
        !is_woken || !matches!((&self.woken).read(&mut [0; 64]), Ok(0))
    }
}
