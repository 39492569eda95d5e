//! Waiting: the one place that blocks.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a run waits for: something on a descriptor or a time, whichever comes first.
pub(crate) struct Interest<'a> {
    /// Errors and the end of the other side are waited for with any flags.
    pub(crate) fd: Option<(BorrowedFd<'a>, PollFlags)>,
    /// No later than this.
    pub(crate) until: Option<Instant>,
}

/// Waits until one of the interests is met, and says for each whether it is.
pub(crate) fn wait(interests: &[Interest<'_>], now: Instant) -> Vec<bool> {
    let fds = interests.iter().filter_map(|interest| interest.fd.as_ref());
    let mut fds: Vec<PollFd<'_>> = fds
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    let until = interests.iter().filter_map(|interest| interest.until).min();
    let timeout = until.map(|until| until.saturating_duration_since(now));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Interrupted by a signal, or out of memory. All of them count as met: to ask them costs a moment and loses nothing.
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
