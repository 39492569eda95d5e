//! Waits for events. No other place blocks.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a run waits for: an event on a descriptor or a time, whichever comes first.
pub(crate) struct Interest<'a> {
    /// Errors and hang-ups are reported with any flags.
    pub(crate) fd: Option<(BorrowedFd<'a>, PollFlags)>,
    /// The latest time.
    pub(crate) until: Option<Instant>,
}

/// Waits until one of the interests is met, and returns for each whether it is.
pub(crate) fn wait(interests: &[Interest<'_>], now: Instant) -> Vec<bool> {
    let fds = interests.iter().filter_map(|interest| interest.fd.as_ref());
    let mut fds: Vec<PollFd<'_>> = fds
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    let until = interests.iter().filter_map(|interest| interest.until).min();
    let timeout = until.map(|until| until.saturating_duration_since(now));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Interrupted by a signal, or out of memory: treat all as met. Checking them costs a moment and loses nothing.
    let all = poll(&mut fds, timeout.as_ref()).is_err();
    let now = Instant::now();
    let mut polled = fds.iter();
    let is_met = |interest: &Interest<'_>| {
        let happened =
            interest.fd.is_some() && polled.next().is_some_and(|fd| !fd.revents().is_empty());
        all || happened || interest.until.is_some_and(|until| until <= now)
    };
    interests.iter().map(is_met).collect()
}
