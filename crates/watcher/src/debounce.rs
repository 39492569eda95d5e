//! Gathers hints until they fall quiet. Pure: the time is an argument.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use crate::source::Scope;

/// More paths than this are not worth telling apart: looking at everything is cheaper, and memory stays bounded.
const MAX_PATHS: usize = 4096;

/// Hints on their way to one batch.
///
/// A batch is due when nothing new came for `quiet`, since an editor's save is several events of which the last
/// one matters; and at the latest `max_wait` after its first hint, since a file may be written to without end.
#[derive(Debug)]
pub struct Debounce {
    quiet: Duration,
    max_wait: Duration,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    first: Instant,
    last: Instant,
    /// None for everything.
    paths: Option<BTreeSet<Utf8PathBuf>>,
}

impl Debounce {
    /// A debounce with nothing in it.
    #[must_use]
    pub fn new(quiet: Duration, max_wait: Duration) -> Self {
        Self {
            quiet,
            max_wait,
            pending: None,
        }
    }

    /// Takes in a hint that came at `now`.
    pub fn push(&mut self, scope: Scope, now: Instant) {
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

    /// The batch, once it is due: its paths sorted, none of them twice.
    pub fn take(&mut self, now: Instant) -> Option<Scope> {
        if self.due_at()? > now {
            return None;
        }
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

    fn dirty(paths: &[&str]) -> Scope {
        Scope::Dirty(paths.iter().map(Utf8PathBuf::from).collect())
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_batch_is_due_when_it_is_quiet() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, MAX_WAIT);
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
        let mut debounce = Debounce::new(QUIET, MAX_WAIT);
        let mut batches = Vec::new();
        for millis in (0..=600).step_by(5) {
            debounce.push(dirty(&["/a"]), at(start, millis));
            batches.extend(debounce.take(at(start, millis)).map(|_| millis));
        }
        assert_eq!(batches, [250, 505]);
    }

    #[test]
    fn everything_swallows_paths_and_so_do_too_many_of_them() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, MAX_WAIT);
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
        let mut debounce = Debounce::new(Duration::ZERO, Duration::ZERO);
        debounce.push(dirty(&["/a"]), start);
        assert_eq!(debounce.take(start), Some(dirty(&["/a"])));
    }
}
