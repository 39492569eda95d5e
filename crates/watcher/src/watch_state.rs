//! Decides what a watch does next: when to open or replace a source, and when to request a scan without a hint. It has no thread
//! and no clock, so tests can cover every path.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use daemon_model::Layout;

use crate::debounce::Debounce;
use crate::read::Ident;
use crate::settings::Settings;
use crate::source::{
    DeadReason, Hint, HintSource, LostReason, OpenError, OpenSource, Scope, Waker,
};

/// A request to scan again: where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where to scan.
    pub scope: Scope,
    /// Why to scan.
    pub cause: Cause,
}

/// Why a batch was made. If there are several causes, the last one in this list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// Files have just been written, after a quiet period. They are reported at once, and again after the next quiet period: later
    /// writes, and files that cannot be used yet, are left for that batch.
    Written,
    /// Files changed.
    Event,
    /// Files are scanned on a timer because they cannot be watched.
    Poll,
    /// A timer. Files that `stat` shows to be unchanged need not be read.
    Resync,
    /// Watching began. Earlier changes were not seen.
    Started,
    /// A scan found a change without a hint.
    ChangeMissed,
    /// Hints were lost.
    Lost(LostReason),
    /// The source of hints ended.
    Dead(DeadReason),
    /// A slow timer. Everything has to be read.
    FullResync,
    /// The root was replaced or has reappeared.
    RootChanged,
    /// The root is gone. That says nothing about any daemon.
    RootGone,
}

/// How files are currently watched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Mode {
    /// Not yet: the first attempt is in progress.
    Starting,
    /// By events.
    Watching,
    /// On a timer: because of this error, or because the settings say so.
    Polling(Option<Arc<OpenError>>),
    /// Not at all, until the root reappears.
    RootMissing,
}

/// Returns the identity of the root directory; none if it does not exist.
pub(crate) type ProbeRoot = Box<dyn FnMut() -> Option<Ident> + Send>;

pub(crate) struct WatchState {
    layout: Layout,
    settings: Settings,
    opener: Box<dyn OpenSource>,
    probe: ProbeRoot,
    waker: Waker,
    source: Option<Box<dyn HintSource>>,
    /// The files to watch in addition to the tree.
    files: BTreeSet<Utf8PathBuf>,
    /// Those on file systems that do not report changes made elsewhere.
    remote_files: BTreeSet<Utf8PathBuf>,
    debounce: Debounce,
    /// The cause of the batch that is being collected.
    cause: Option<Cause>,
    /// Files to report before the quiet period.
    written: Vec<Utf8PathBuf>,
    root: Option<Ident>,
    /// Set while files are polled, with the error that is the reason.
    polling: Option<Option<Arc<OpenError>>>,
    backoff: Duration,
    opened_at: Option<Instant>,
    reopen_at: Option<Instant>,
    root_check_at: Instant,
    resync_at: Instant,
    full_resync_at: Instant,
    poll_at: Instant,
    beat_at: Instant,
    /// When the last heartbeat must have been seen.
    beat_limit_at: Option<Instant>,
}

impl WatchState {
    pub(crate) fn new(
        layout: Layout,
        settings: Settings,
        opener: Box<dyn OpenSource>,
        mut probe: ProbeRoot,
        waker: Waker,
        now: Instant,
    ) -> Self {
        let root = probe();
        Self {
            debounce: debounce(&settings),
            source: None,
            files: BTreeSet::new(),
            remote_files: BTreeSet::new(),
            cause: None,
            written: Vec::new(),
            root,
            polling: settings.force_poll.then_some(None),
            backoff: settings.retry,
            opened_at: None,
            reopen_at: root.map(|_| now).filter(|_| !settings.force_poll),
            root_check_at: now + settings.root_check,
            resync_at: now + settings.resync,
            full_resync_at: now + settings.full_resync,
            poll_at: now + settings.poll,
            beat_at: now + settings.heartbeat,
            beat_limit_at: None,
            layout,
            settings,
            opener,
            probe,
            waker,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        match (&self.root, &self.source, &self.polling) {
            (None, ..) => Mode::RootMissing,
            (_, Some(_), _) => Mode::Watching,
            (_, None, Some(trouble)) => Mode::Polling(trouble.clone()),
            (_, None, None) => Mode::Starting,
        }
    }

    /// Sets the files to watch in addition to the tree. `remote` are those of them on file systems that do not report changes made
    /// elsewhere.
    pub(crate) fn set_files(
        &mut self,
        files: BTreeSet<Utf8PathBuf>,
        remote: BTreeSet<Utf8PathBuf>,
        now: Instant,
    ) {
        let new: Vec<Utf8PathBuf> = files.difference(&self.files).cloned().collect();
        if !remote.is_empty() && self.remote_files.is_empty() && !self.is_polling() {
            self.poll_at = now + self.settings.poll;
        }
        self.files = files;
        self.remote_files = remote;
        if let Some(source) = &mut self.source {
            source.watch_files(&self.files);
        }
        if !new.is_empty() {
            // Changes before they were watched had no hint.
            self.debounce.push(Scope::Dirty(new), now);
            self.cause = self.cause.max(Some(Cause::Event));
        }
    }

    /// When to call [`WatchState::step`] again at the latest.
    pub(crate) fn next_at(&self) -> Instant {
        let polls = self.is_polling() || !self.remote_files.is_empty();
        let polling = polls.then_some(self.poll_at);
        let beat = self.source.is_some().then_some(self.beat_at);
        [
            self.debounce.due_at(),
            self.reopen_at,
            self.beat_limit_at,
            beat,
            polling,
            Some(self.resync_at),
            Some(self.full_resync_at),
        ]
        .into_iter()
        .flatten()
        .fold(self.root_check_at, Instant::min)
    }

    /// Handles everything up to `now`, and returns the batches that are due.
    pub(crate) fn step(&mut self, now: Instant) -> Vec<Batch> {
        let mut batches = Vec::new();
        self.drain(now);
        self.heartbeat(now);
        if now >= self.root_check_at {
            self.check_root(now, &mut batches);
        }
        self.reopen(now);
        self.timers(now, &mut batches);
        if !self.written.is_empty() {
            let scope = Scope::Dirty(std::mem::take(&mut self.written));
            let cause = Cause::Written;
            batches.push(Batch { scope, cause });
        }
        if let Some(scope) = self.debounce.take(now) {
            let cause = self.cause.take().unwrap_or(Cause::Event);
            batches.push(Batch { scope, cause });
        }
        batches
    }

    /// Opens a new source as soon as the back-off allows it, because this one missed a change.
    pub(crate) fn resubscribe(&mut self, now: Instant) {
        if self.source.is_some() {
            self.everything(Cause::ChangeMissed, now);
            self.want_reopen(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        let hints = self.source.as_mut().map(|source| source.drain());
        self.take(hints.unwrap_or_default(), now);
    }

    fn take(&mut self, hints: Vec<Hint>, now: Instant) {
        for hint in hints {
            match hint {
                Hint::Dirty(paths) => {
                    self.debounce.push(Scope::Dirty(paths), now);
                    self.cause = self.cause.max(Some(Cause::Event));
                }
                Hint::Written(paths) => {
                    if self.debounce.push_written(&paths, now) {
                        self.written = paths;
                    }
                    self.cause = self.cause.max(Some(Cause::Event));
                }
                // Keep the source until another has replaced it: some hints are better than none.
                Hint::Lost(reason) => {
                    self.everything(Cause::Lost(reason), now);
                    self.want_reopen(now);
                }
                Hint::Dead(reason) => self.source_died(reason, now),
            }
        }
    }

    fn source_died(&mut self, reason: DeadReason, now: Instant) {
        self.source = None;
        self.beat_limit_at = None;
        self.everything(Cause::Dead(reason), now);
        self.want_reopen(now);
        // Check the root at once: the source may have ended because the root is gone.
        self.root_check_at = now;
    }

    fn everything(&mut self, cause: Cause, now: Instant) {
        self.debounce.push(Scope::Everything, now);
        self.cause = self.cause.max(Some(cause));
    }

    fn heartbeat(&mut self, now: Instant) {
        let Some(source) = &mut self.source else {
            return;
        };
        if source.beat_seen() {
            self.beat_limit_at = None;
        } else if self.beat_limit_at.is_some_and(|limit| now >= limit) {
            return self.source_died(DeadReason::Silent, now);
        }
        if now >= self.beat_at {
            self.beat_at = now + self.settings.heartbeat;
            if self.beat_limit_at.is_none() && source.beat() {
                self.beat_limit_at = Some(now + self.settings.heartbeat_limit);
            }
        }
    }

    fn check_root(&mut self, now: Instant, batches: &mut Vec<Batch>) {
        self.root_check_at = now + self.settings.root_check;
        let found = (self.probe)();
        if found == self.root {
            let hints = self.source.as_mut().map(|source| source.check_files());
            self.take(hints.unwrap_or_default(), now);
            return;
        }
        self.root = found;
        self.source = None;
        self.beat_limit_at = None;
        // The collected hints are about a root that no longer exists.
        let gathered = self.debounce.due_at().is_some();
        if gathered {
            self.debounce = debounce(&self.settings);
            self.written.clear();
            self.cause = None;
        }
        if found.is_some() {
            self.everything(Cause::RootChanged, now);
            self.backoff = self.settings.retry;
            self.reopen_at = Some(now).filter(|_| !self.settings.force_poll);
        } else {
            self.reopen_at = None;
            batches.push(Batch {
                scope: Scope::Everything,
                cause: Cause::RootGone,
            });
        }
    }

    fn want_reopen(&mut self, now: Instant) {
        if self.settings.force_poll || self.root.is_none() {
            return;
        }
        // A source that worked for long enough resets the back-off.
        let served = self
            .opened_at
            .map(|opened| now.saturating_duration_since(opened));
        if served.is_some_and(|served| served >= 2 * self.settings.max_retry) {
            self.backoff = self.settings.retry;
        }
        let earliest = self.opened_at.map_or(now, |opened| opened + self.backoff);
        let at = earliest.max(now);
        self.reopen_at = Some(self.reopen_at.map_or(at, |planned| planned.min(at)));
    }

    fn reopen(&mut self, now: Instant) {
        if self.reopen_at.is_none_or(|at| now < at) {
            return;
        }
        let again = self.opened_at.is_some() || self.polling.is_some();
        if again {
            self.backoff = (self.backoff * 2).min(self.settings.max_retry);
        }
        self.opened_at = Some(now);
        match self.opener.open(&self.layout, self.waker.clone()) {
            Ok(mut source) => {
                source.watch_files(&self.files);
                // The old one is dropped only now that the new one runs.
                self.source = Some(source);
                self.polling = None;
                self.reopen_at = None;
                self.beat_limit_at = None;
                self.beat_at = now + self.settings.heartbeat;
                self.everything(Cause::Started, now);
            }
            Err(error) => {
                self.source = None;
                self.beat_limit_at = None;
                if self.polling.is_none() {
                    self.poll_at = now + self.settings.poll;
                }
                self.polling = Some(Some(Arc::new(error)));
                self.reopen_at = Some(now + self.backoff);
            }
        }
    }

    fn is_polling(&self) -> bool {
        self.polling.is_some() && self.root.is_some() && self.source.is_none()
    }

    fn timers(&mut self, now: Instant, batches: &mut Vec<Batch>) {
        let cause = if now >= self.full_resync_at {
            self.full_resync_at = now + self.settings.full_resync;
            self.resync_at = now + self.settings.resync;
            Cause::FullResync
        } else if now >= self.resync_at {
            self.resync_at = now + self.settings.resync;
            Cause::Resync
        } else if self.is_polling() && now >= self.poll_at {
            Cause::Poll
        } else if !self.remote_files.is_empty() && now >= self.poll_at {
            self.poll_at = now + self.settings.poll;
            let scope = Scope::Dirty(self.remote_files.iter().cloned().collect());
            let cause = Cause::Poll;
            return batches.push(Batch { scope, cause });
        } else {
            return;
        };
        if now >= self.poll_at {
            self.poll_at = now + self.settings.poll;
        }
        batches.push(Batch {
            scope: Scope::Everything,
            cause,
        });
    }
}

fn debounce(settings: &Settings) -> Debounce {
    Debounce::new(settings.quiet, settings.max_wait, settings.burst)
}

#[cfg(test)]
mod tests;
