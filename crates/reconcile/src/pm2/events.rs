//! Checks whether PM2's events arrive: a subscription may be silent although its connection is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How late the events of a change may be.
const LATEST: Duration = Duration::from_millis(500);

/// The events received from PM2.
#[derive(Debug, Default)]
pub(super) struct Events {
    heard: Arc<AtomicU64>,
    expected: Option<Expected>,
}

/// Events that a change of this program must cause.
#[derive(Debug)]
struct Expected {
    /// How many events had been received before the change.
    after: u64,
    since: Instant,
    has_given_up: bool,
}

impl Events {
    /// Wraps `hint` to count the events.
    pub(super) fn counted(&self, hint: impl Fn() + Send + 'static) -> impl Fn() + Send + 'static {
        let heard = Arc::clone(&self.heard);
        move || {
            heard.fetch_add(1, Ordering::AcqRel);
            hint();
        }
    }

    /// How many events have been received.
    pub(super) fn count(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    /// Notes a change that was made after `count` events had been received.
    pub(super) fn expect_after(&mut self, count: u64) {
        self.expected = Some(Expected {
            after: count,
            since: Instant::now(),
            has_given_up: false,
        });
    }

    /// Whether no event has been received since the last change.
    pub(super) fn are_awaited(&mut self) -> bool {
        let count = self.count();
        self.expected.take_if(|expected| count > expected.after);
        self.expected.is_some()
    }

    /// The subscription has ended. That woke the subscriber too, but was not an event.
    pub(super) fn begin_anew(&mut self) {
        let count = self.count();
        if let Some(expected) = &mut self.expected {
            expected.after = count;
        }
    }

    /// Whether expected events are overdue. Returns true only once.
    pub(super) fn gives_up(&mut self) -> bool {
        self.expected.as_mut().is_some_and(|expected| {
            let is_late = expected.since.elapsed() > LATEST;
            is_late && !std::mem::replace(&mut expected.has_given_up, is_late)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_without_an_event_is_noticed_once() {
        let mut events = Events::default();
        let hint = events.counted(|| {});
        assert!(!events.are_awaited(), "nothing was changed");
        events.expect_after(events.count());
        assert!(events.are_awaited());
        assert!(!events.gives_up(), "it is not late yet");
        if let Some(expected) = &mut events.expected {
            expected.since -= LATEST * 2;
        }
        assert!(events.gives_up());
        hint();
        events.begin_anew();
        assert!(!events.gives_up());
        assert!(events.are_awaited(), "whatever is subscribed to");
        hint();
        assert!(!events.are_awaited());
    }

    #[test]
    fn events_during_a_change_count() {
        let mut events = Events::default();
        let before = events.count();
        events.counted(|| {})();
        events.expect_after(before);
        assert!(!events.are_awaited());
    }
}
