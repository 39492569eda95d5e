//! Collects hints until a quiet period. Pure: the time is an argument.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use crate::source::Scope;

/// With more paths than this, scanning everything is cheaper, and memory stays bounded.
const MAX_PATHS: usize = 4096;

/// Hints collected for one batch.
///
/// A batch is due when no hint has arrived for `quiet`, because saving in an editor causes several events and only the last one
/// matters; and at the latest `max_wait` after its first hint, because a file may be written to without end.
///
/// Files whose writing has ended need no quiet period: [`Debounce::push_written`] says when they may be reported at once. They are
/// still part of the next batch, so that an early report never replaces the one after the quiet period.
#[derive(Debug)]
pub struct Debounce {
    quiet: Duration,
    max_wait: Duration,
    burst: Duration,
    pending: Option<Pending>,
    /// Until when a hint belongs to the burst that has already been reported.
    burst_until: Option<Instant>,
}

#[derive(Debug)]
struct Pending {
    first: Instant,
    last: Instant,
    /// None for everything.
    paths: Option<BTreeSet<Utf8PathBuf>>,
}

impl Debounce {
    /// A debounce without hints.
    #[must_use]
    pub fn new(quiet: Duration, max_wait: Duration, burst: Duration) -> Self {
        Self {
            quiet,
            max_wait,
            burst,
            pending: None,
            burst_until: None,
        }
    }

    /// Adds files whose writing ended at `now`. Returns whether they may be reported at once: nothing else is pending, and there
    /// has been a pause of `burst` since the last report and the last hint. So a checkout of many files reports only its first file
    /// at once.
    #[must_use]
    pub fn push_written(&mut self, paths: &[Utf8PathBuf], now: Instant) -> bool {
        // An editor may have removed the file before writing it again.
        let is_alone = self.pending.as_ref().is_none_or(|pending| {
            let known = pending.paths.as_ref();
            known.is_some_and(|known| known.iter().all(|path| paths.contains(path)))
        });
        let is_first = is_alone && !self.is_in_burst(now);
        self.push(Scope::Dirty(paths.to_vec()), now);
        if is_first {
            self.burst_until = Some(now + self.burst);
        }
        is_first
    }

    fn is_in_burst(&self, now: Instant) -> bool {
        self.burst_until.is_some_and(|until| now < until)
    }

    /// Adds a hint that arrived at `now`.
    pub fn push(&mut self, scope: Scope, now: Instant) {
        if self.is_in_burst(now) {
            self.burst_until = Some(now + self.burst);
        }
        let pending = self.pending.get_or_insert_with(|| Pending {
            first: now,
            last: now,
            paths: Some(BTreeSet::new()),
        });
        pending.last = pending.last.max(now);
        match scope {
            Scope::Everything => pending.paths = None,
            Scope::Dirty(new) => {
                if let Some(paths) = &mut pending.paths {
                    paths.extend(new);
                    if paths.len() > MAX_PATHS {
                        pending.paths = None;
                    }
                }
            }
        }
    }

    /// When the batch is due, if there is one.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        let pending = self.pending.as_ref()?;
        Some((pending.last + self.quiet).min(pending.first + self.max_wait))
    }

    /// The batch, if it is due. Its paths are sorted and unique.
    pub fn take(&mut self, now: Instant) -> Option<Scope> {
        if self.due_at()? > now {
            return None;
        }
        self.burst_until = Some(now + self.burst);
        Some(match self.pending.take()?.paths {
            None => Scope::Everything,
            Some(paths) => Scope::Dirty(paths.into_iter().collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(30);
    const MAX_WAIT: Duration = Duration::from_millis(250);
    const BURST: Duration = Duration::from_millis(300);

    fn dirty(paths: &[&str]) -> Scope {
        Scope::Dirty(paths.iter().map(Utf8PathBuf::from).collect())
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    fn written(debounce: &mut Debounce, path: &str, now: Instant) -> bool {
        debounce.push_written(&[Utf8PathBuf::from(path)], now)
    }

    /// Feeds in the ends of writes, as (millisecond, file); returns when which files are reported, and whether at once.
    fn reports(hints: &[(u64, &str)], until: u64) -> Vec<(u64, bool, String)> {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, MAX_WAIT, BURST);
        let mut reports = Vec::new();
        for millis in 0..=until {
            let now = at(start, millis);
            for (_, path) in hints.iter().filter(|(at, _)| *at == millis) {
                if written(&mut debounce, path, now) {
                    reports.push((millis, true, (*path).to_owned()));
                }
            }
            if let Some(Scope::Dirty(paths)) = debounce.take(now) {
                let paths: Vec<_> = paths.into_iter().map(String::from).collect();
                reports.push((millis, false, paths.join(" ")));
            }
        }
        reports
    }

    #[track_caller]
    fn assert_reports(hints: &[(u64, &str)], expected: &[(u64, bool, &str)]) {
        let until = hints.last().map_or(0, |(at, _)| at + 1000);
        let found = reports(hints, until);
        let found: Vec<_> = found
            .iter()
            .map(|(at, is_early, paths)| (*at, *is_early, paths.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_that_was_written_is_reported_at_once_and_when_it_is_quiet() {
        assert_reports(&[(0, "/a")], &[(0, true, "/a"), (30, false, "/a")]);
        // After a pause, so is the next edit.
        assert_reports(
            &[(0, "/a"), (330, "/a"), (1000, "/b")],
            &[
                (0, true, "/a"),
                (30, false, "/a"),
                (330, true, "/a"),
                (360, false, "/a"),
                (1000, true, "/b"),
                (1030, false, "/b"),
            ],
        );
    }

    #[test]
    fn later_writes_of_a_burst_form_one_batch() {
        assert_reports(
            &[(0, "/a"), (5, "/a"), (20, "/a"), (100, "/a"), (120, "/b")],
            &[(0, true, "/a"), (50, false, "/a"), (150, false, "/a /b")],
        );
    }

    #[test]
    fn only_the_first_file_of_a_checkout_is_reported_at_once() {
        let paths: Vec<String> = (0..500).map(|n| format!("/{n:03}")).collect();
        let hints: Vec<(u64, &str)> = (0..)
            .map(|n| n / 2)
            .zip(paths.iter().map(String::as_str))
            .collect();
        let found = reports(&hints, 1000);
        let early: Vec<_> = found.iter().filter(|(_, is_early, _)| *is_early).collect();
        assert_eq!(early, [&(0, true, "/000".to_owned())]);
        let batches = found.iter().filter(|(_, is_early, _)| !is_early);
        let batches: Vec<_> = batches
            .map(|(at, _, paths)| (*at, paths.split(' ').count()))
            .collect();
        assert_eq!(batches, [(250, 500)]);
    }

    #[test]
    fn a_file_that_is_gone_for_a_moment_is_reported_once_it_is_written() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, MAX_WAIT, BURST);
        debounce.push(dirty(&["/a"]), start);
        assert!(written(&mut debounce, "/a", at(start, 1)));
        assert_eq!(debounce.due_at(), Some(at(start, 31)));
    }

    #[test]
    fn a_file_that_was_written_waits_with_others() {
        let start = Instant::now();
        for other in [dirty(&["/b"]), dirty(&["/a", "/b"]), Scope::Everything] {
            let mut debounce = Debounce::new(QUIET, MAX_WAIT, BURST);
            debounce.push(other, start);
            assert!(!written(&mut debounce, "/a", at(start, 1)));
        }
    }

    #[test]
    fn a_batch_is_due_when_it_is_quiet() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, MAX_WAIT, BURST);
        assert_eq!(debounce.due_at(), None);
        debounce.push(dirty(&["/b", "/a"]), start);
        debounce.push(dirty(&["/a"]), at(start, 20));
        assert_eq!(debounce.take(at(start, 49)), None);
        assert_eq!(debounce.due_at(), Some(at(start, 50)));
        assert_eq!(debounce.take(at(start, 50)), Some(dirty(&["/a", "/b"])));
        assert_eq!(debounce.take(at(start, 500)), None);
    }

    #[test]
    fn a_batch_that_never_falls_quiet_is_due_all_the_same() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, MAX_WAIT, BURST);
        let mut batches = Vec::new();
        for millis in (0..=600).step_by(5) {
            debounce.push(dirty(&["/a"]), at(start, millis));
            batches.extend(debounce.take(at(start, millis)).map(|_| millis));
        }
        assert_eq!(batches, [250, 505]);
    }

    #[test]
    fn everything_absorbs_paths_and_so_do_too_many_of_them() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, MAX_WAIT, BURST);
        debounce.push(Scope::Everything, start);
        debounce.push(dirty(&["/a"]), start);
        assert_eq!(debounce.take(at(start, 30)), Some(Scope::Everything));
        for n in 0..=MAX_PATHS {
            debounce.push(dirty(&[&format!("/{n}")]), start);
        }
        assert_eq!(debounce.take(at(start, 30)), Some(Scope::Everything));
    }

    #[test]
    fn a_clock_that_does_not_move_is_no_trouble() {
        let start = Instant::now();
        let mut debounce = Debounce::new(Duration::ZERO, Duration::ZERO, Duration::ZERO);
        debounce.push(dirty(&["/a"]), start);
        assert_eq!(debounce.take(start), Some(dirty(&["/a"])));
    }
}
