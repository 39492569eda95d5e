//! Decides when a probe runs next, and derives its health from results. Pure: the time is an argument.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use daemon_model::Probe;

use crate::ProbeResult;

/// The health that the results of a probe add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Not enough results yet.
    Unknown,
    /// The success threshold was reached, and the failure threshold has not been reached since.
    Ready,
    /// The failure threshold was reached, and the success threshold has not been reached since.
    Failed,
}

/// The counts of one probe of one process. When the process is restarted, its probe gets a new state.
///
/// ```
/// use std::time::{Duration, Instant};
/// use daemon_model::{Handler, Probe, ProbeKind, Template};
/// use probe::{Health, ProbeResult, ProbeState};
///
/// let command = vec![Template::literal("pg_isready")];
/// let probe = Probe::new(ProbeKind::Readiness, Handler::Exec { command });
/// let started = Instant::now();
/// let mut state = ProbeState::new(&probe, started);
/// assert_eq!(state.next(started), Duration::ZERO);
///
/// let later = started + Duration::from_millis(200);
/// assert_eq!(state.record(&ProbeResult::Ready, later), Health::Ready);
/// // It runs once a second.
/// assert_eq!(state.next(later), Duration::from_millis(800));
/// ```
#[derive(Debug, Clone)]
pub struct ProbeState {
    period: Duration,
    success_threshold: NonZeroU32,
    failure_threshold: NonZeroU32,
    due: Instant,
    health: Health,
    successes: u32,
    failures: u32,
}

impl ProbeState {
    /// The state of a probe of a process that was started at `started`.
    #[must_use]
    pub fn new(probe: &Probe, started: Instant) -> Self {
        Self {
            period: probe.period,
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
            due: later(started, probe.initial_delay),
            health: Health::Unknown,
            successes: 0,
            failures: 0,
        }
    }

    /// The time from `now` until the next run; zero when it is due.
    #[must_use]
    pub fn next(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// When the probe is or was due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Counts the result of a run that ended at `now`. The next run is due one period after the last one was, or at `now` if that
    /// has passed: a late probe does not run several times to catch up.
    pub fn record(&mut self, result: &ProbeResult, now: Instant) -> Health {
        self.due = later(self.due, self.period).max(now);
        match result {
            ProbeResult::Ready => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes >= self.success_threshold.get() {
                    self.health = Health::Ready;
                }
            }
            ProbeResult::Failed { .. } => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.failure_threshold.get() {
                    self.health = Health::Failed;
                }
            }
            ProbeResult::NotRun { .. } => {}
        }
        self.health
    }

    /// The health according to the results so far.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Consecutive successes so far.
    #[must_use]
    pub fn successes(&self) -> u32 {
        self.successes
    }

    /// Consecutive failures so far.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// `by` after `at`; the latest possible time if the clock cannot represent the sum.
pub(crate) fn later(at: Instant, by: Duration) -> Instant {
    // A hundred years.
    const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    at.checked_add(by.min(FOREVER)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use daemon_model::{Handler, ProbeKind, Template};

    use super::*;

    fn probe(initial_delay: u64, period: u64, success: u32, failure: u32) -> Probe {
        let command = vec![Template::literal("true")];
        Probe {
            initial_delay: Duration::from_millis(initial_delay),
            period: Duration::from_millis(period),
            success_threshold: success.try_into().unwrap(),
            failure_threshold: failure.try_into().unwrap(),
            ..Probe::new(ProbeKind::Readiness, Handler::Exec { command })
        }
    }

    /// One letter for each run: `s`uccess, `f`ailure, `n`ot run; and one for the health after it: `-`, `r`eady, `f`ailed.
    fn healths(probe: &Probe, results: &str) -> String {
        let now = Instant::now();
        let mut state = ProbeState::new(probe, now);
        let health = |result| {
            let result = match result {
                's' => ProbeResult::Ready,
                'f' => ProbeResult::failed("x"),
                _ => ProbeResult::NotRun {
                    why: "x".to_owned(),
                },
            };
            let recorded = state.record(&result, now);
            assert_eq!(recorded, state.health());
            match recorded {
                Health::Unknown => '-',
                Health::Ready => 'r',
                Health::Failed => 'f',
            }
        };
        results.chars().map(health).collect()
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        for (success, failure, results, expected) in [
            (1, 3, "s", "r"),
            (1, 1, "fsfs", "frfr"),
            (1, 3, "fffs", "--fr"),
            (1, 3, "ffsff", "--rrr"),
            (1, 3, "sffff", "rrrff"),
            (2, 3, "sfsfss", "-----r"),
            (3, 2, "sssfsffsss", "--rrrrfffr"),
            (2, 2, "ffs", "-ff"),
            // A run that was not possible neither counts nor breaks a streak.
            (2, 2, "nsnsnfnf", "---rrrrf"),
            (1, 3, "nnnnn", "-----"),
        ] {
            let found = healths(&probe(0, 1000, success, failure), results);
            assert_eq!(found, expected, "{success} {failure} {results}");
        }
    }

    #[test]
    fn counts_are_those_of_the_row() {
        let now = Instant::now();
        let mut state = ProbeState::new(&probe(0, 1000, 1, 3), now);
        state.record(&ProbeResult::failed("x"), now);
        state.record(&ProbeResult::failed("x"), now);
        assert_eq!((state.successes(), state.failures()), (0, 2));
        state.record(&ProbeResult::Ready, now);
        assert_eq!((state.successes(), state.failures()), (1, 0));
    }

    #[test]
    fn a_run_is_due_one_period_after_the_last_was_and_never_twice_at_once() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut state = ProbeState::new(&probe(500, 1000, 1, 3), start);
        let next = |state: &ProbeState, now| state.next(at(now)).as_millis();
        assert_eq!(next(&state, 0), 500);
        assert_eq!(next(&state, 500), 0);
        assert_eq!(next(&state, 700), 0);
        for (ended, due) in [
            // It was late, and the next is due as if it had not been.
            (700, 1500),
            (1510, 2500),
            // It took longer than a period.
            (4000, 4000),
            (4900, 5000),
            // The machine slept.
            (90_000, 90_000),
            (90_001, 91_000),
        ] {
            state.record(&ProbeResult::Ready, at(ended));
            assert_eq!(state.due(), at(due), "{ended}");
            assert_eq!(u64::try_from(next(&state, ended)).unwrap(), due - ended);
        }
    }

    #[test]
    fn no_duration_is_too_long() {
        let mut probe = probe(0, 0, 1, 1);
        probe.initial_delay = Duration::MAX;
        probe.period = Duration::MAX;
        let now = Instant::now();
        let mut state = ProbeState::new(&probe, now);
        state.record(&ProbeResult::Ready, now);
        assert!(state.next(now) > Duration::from_secs(1_000_000_000));
    }
}
