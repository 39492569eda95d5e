//! Decisions of users about daemons: holds, stops and pins. They take effect with the next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use daemon_model::{AppSpec, DaemonId, Entry, History, Override, Overrides, Pin};
use pm2_client::StopFlag;

use crate::config::Config;
use crate::error::FailureKind;
use crate::lock::Lock;
use crate::pass::{Disk, Observer, PassError, PassEvent, Request, Snapshot};
use crate::pm2::Pm2;
use crate::state::{StateDir, StateWarning};

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decree {
    /// Edits and drift are reported, not applied.
    Hold(Terms),
    /// Ends holds and pins.
    Release,
    /// The daemon stays stopped although it is defined.
    Stop(Terms),
    /// Ends a stop.
    Start,
    /// An older entry of the history is applied and kept until it is released or the definition changes.
    Pin {
        /// The number of the entry; none: the newest one that was ready and differs from the one in force.
        number: Option<u32>,
        /// Why and for how long.
        terms: Terms,
    },
}

/// Why and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// For how long; none: until a user ends it.
    pub duration: Option<Duration>,
    /// Why.
    pub reason: Option<String>,
}

/// The outcome of a decree.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Decreed {
    /// By daemon.
    pub daemons: BTreeMap<DaemonId, DecreedDaemon>,
    /// State files that cannot be used.
    pub warnings: Vec<StateWarning>,
}

/// The outcome of a decree for one daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecreedDaemon {
    /// Whether anything changed: repeating a decision changes nothing.
    pub is_changed: bool,
    /// The entry that the daemon is now pinned to.
    pub pinned: Option<u32>,
}

/// Why a decision was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecreeError {
    /// The daemons are unknown, or the lock or PM2 is not available.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The daemon is on hold, so it can only be released.
    #[error("`{daemon}` is on hold{}", said_of(.by))]
    OnHold {
        /// The daemon.
        daemon: DaemonId,
        /// Who, why and for how long.
        by: Box<Override>,
    },
    /// The decision cannot be recorded.
    #[error("the decision cannot be recorded")]
    State(#[from] StateWarning),
    /// The definition is broken or absent, so a pin could not tell when it changes.
    #[error("`{daemon}` has no valid definition, so it cannot be pinned to an older entry")]
    NoDefinition {
        /// The daemon.
        daemon: DaemonId,
    },
    /// There is no such entry.
    #[error("the history of `{daemon}` has no entry {number}")]
    NoEntry {
        /// The daemon.
        daemon: DaemonId,
        /// The number that was given.
        number: u32,
    },
    /// The history has no entry to go back to.
    #[error("the history of `{daemon}` has no earlier ready entry")]
    NothingToGoBackTo {
        /// The daemon.
        daemon: DaemonId,
    },
}

impl DecreeError {
    /// The kind of the failure, from which the caller chooses an exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Pass(error) => error.kind(),
            Self::State(_) | Self::OnHold { .. } => FailureKind::Other,
            Self::NoDefinition { .. } | Self::NoEntry { .. } | Self::NothingToGoBackTo { .. } => {
                FailureKind::Usage
            }
        }
    }
}

/// Describes who decided something, and why.
fn said_of(by: &Override) -> String {
    let user = by.user.as_ref().map(|user| format!(" by {user}"));
    let reason = by.reason.as_ref().map(|reason| format!(": {reason}"));
    [user, reason].into_iter().flatten().collect()
}

/// Records a decision about the daemons named by `ids`, or about all of them if `ids` is empty.
///
/// # Errors
/// [`DecreeError::Pass`] when an ID is unknown, the lock is held for longer than `lock_timeout`, or the definitions or PM2 cannot
/// be read; [`DecreeError::OnHold`] when a daemon is on hold, except for [`Decree::Hold`] and [`Decree::Release`];
/// [`DecreeError::State`] when the decision cannot be recorded; the others for [`Decree::Pin`]. After an error, no decision is made
/// for any daemon.
pub fn decree(
    config: &Config,
    ids: &[String],
    decree: &Decree,
    lock_timeout: Duration,
    stop: &StopFlag,
    observer: &mut Observer<'_>,
) -> Result<Decreed, DecreeError> {
    let mut pm2 = Pm2::new(config, stop).with_prefetch();
    let lock = Lock::take(
        &config.pm2_home,
        "pm2-sync",
        lock_timeout,
        stop,
        &mut |holder| observer(PassEvent::Waiting(holder)),
    )
    .map_err(PassError::from)?;
    let request = Request {
        ids: ids.to_vec(),
        ..Request::default()
    };
    let snapshot = Snapshot::take(config, &mut pm2, &mut Disk, &request)?;
    let now_ms = snapshot.now_ms();
    let mut overrides = Overrides::clone(&snapshot.records.overrides);
    overrides.drop_ended(now_ms);
    let before = overrides.clone();
    let mut decreed = Decreed::default();
    let all = || snapshot.definitions.daemons.keys().cloned().collect();
    for daemon in snapshot.chosen().cloned().unwrap_or_else(all) {
        let decision = Decision {
            config,
            daemon: &daemon,
            snapshot: &snapshot,
            now_ms,
        };
        let done = decision.take(decree, &mut overrides)?;
        decreed.daemons.insert(daemon, done);
    }
    for warning in &snapshot.warnings {
        StateDir::set_aside(warning, &lock);
    }
    decreed.warnings = snapshot.warnings;
    if overrides != before {
        pm2.records().write_overrides(overrides, &lock)?;
    }
    Ok(decreed)
}

impl Snapshot {
    /// Checks that a daemon is not on hold.
    ///
    /// # Errors
    /// [`DecreeError::OnHold`] when it is.
    pub fn check_hold(&self, daemon: &DaemonId) -> Result<(), DecreeError> {
        let overrides = self.records.overrides.of(daemon, self.now_ms());
        match overrides.hold {
            Some(by) => Err(DecreeError::OnHold {
                daemon: daemon.clone(),
                by: Box::new(by),
            }),
            None => Ok(()),
        }
    }
}

/// A decision about one daemon.
struct Decision<'a> {
    config: &'a Config,
    daemon: &'a DaemonId,
    snapshot: &'a Snapshot,
    now_ms: u64,
}

impl Decision<'_> {
    fn take(
        &self,
        decree: &Decree,
        overrides: &mut Overrides,
    ) -> Result<DecreedDaemon, DecreeError> {
        let now = overrides.of(self.daemon, self.now_ms);
        if !matches!(decree, Decree::Hold(_) | Decree::Release) {
            self.snapshot.check_hold(self.daemon)?;
        }
        let mut done = DecreedDaemon::default();
        match decree {
            Decree::Hold(terms) => {
                done.is_changed = !self.is_as(now.hold.as_ref(), terms);
                if done.is_changed {
                    let hold = Some(self.by(terms));
                    overrides.change(self.daemon, |it| it.hold = hold);
                }
            }
            Decree::Stop(terms) => {
                done.is_changed = !self.is_as(now.stop.as_ref(), terms);
                if done.is_changed {
                    let stop = Some(self.by(terms));
                    overrides.change(self.daemon, |it| it.stop = stop);
                }
            }
            Decree::Release => {
                done.is_changed = now.hold.is_some() || now.pin.is_some();
                overrides.change(self.daemon, |it| {
                    it.hold = None;
                    it.pin = None;
                });
            }
            Decree::Start => {
                done.is_changed = now.stop.is_some();
                overrides.change(self.daemon, |it| it.stop = None);
            }
            Decree::Pin { number, terms } => {
                let defined = self.defined()?;
                let entry = self.entry(*number, defined)?;
                let pin = Pin {
                    number: entry,
                    definition: defined
                        .iter()
                        .map(|app| (app.name().to_owned(), app.revision().clone()))
                        .collect(),
                    by: self.by(terms),
                };
                done.pinned = Some(entry);
                done.is_changed = !now.pin.is_some_and(|old| {
                    (old.number, &old.definition) == (pin.number, &pin.definition)
                        && self.is_as(Some(&old.by), terms)
                });
                if done.is_changed {
                    overrides.change(self.daemon, |it| it.pin = Some(pin));
                }
            }
        }
        Ok(done)
    }

    /// Whether an override already says exactly this, no matter since when.
    fn is_as(&self, now: Option<&Override>, terms: &Terms) -> bool {
        // A deadline starts over each time it is set.
        now.is_some_and(|now| now.until_ms.is_none() && now.reason == terms.reason)
            && terms.duration.is_none()
    }

    fn by(&self, terms: &Terms) -> Override {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis());
        let until = |duration| {
            let duration = milliseconds(duration).unwrap_or(u64::MAX);
            self.now_ms.saturating_add(duration)
        };
        Override {
            at_ms: self.now_ms,
            user: Some(self.config.environment.user()),
            reason: terms.reason.clone(),
            until_ms: terms.duration.map(until),
        }
    }

    fn defined(&self) -> Result<&[AppSpec], DecreeError> {
        let defined = self.snapshot.defined(self.daemon);
        defined.ok_or_else(|| DecreeError::NoDefinition {
            daemon: self.daemon.clone(),
        })
    }

    /// The entry to go back to.
    fn entry(&self, number: Option<u32>, defined: &[AppSpec]) -> Result<u32, DecreeError> {
        let history = self.snapshot.records.history(self.daemon);
        let entry = match number {
            Some(number) => history.entry(number).ok_or(DecreeError::NoEntry {
                daemon: self.daemon.clone(),
                number,
            })?,
            None => earlier(history, defined).ok_or_else(|| DecreeError::NothingToGoBackTo {
                daemon: self.daemon.clone(),
            })?,
        };
        Ok(history.origin(entry).number)
    }
}

/// The newest entry that was ready and differs from both the spec in force and the definition.
fn earlier<'h>(history: &'h History, defined: &[AppSpec]) -> Option<&'h Entry> {
    let defined: BTreeMap<_, _> = defined
        .iter()
        .map(|app| (app.name(), app.revision()))
        .collect();
    let in_force = history.last().map(Entry::revisions).unwrap_or_default();
    let skipped: BTreeSet<_> = [defined, in_force].into();
    let mut entries = history.entries().iter().rev();
    entries.find(|entry| entry.outcome.is_ready() && !skipped.contains(&entry.revisions()))
}
