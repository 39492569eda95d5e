//! Resource use and recent restarts of processes.

use std::collections::BTreeMap;

use daemon_model::{AppState, ObservedProcess, PmId, Usage};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reconcile::pass::Snapshot;
use reconcile::{Config, RecentStarts};

/// Measurements of all processes.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    usage: BTreeMap<PmId, Usage>,
    starts: RecentStarts,
}

impl Measures {
    /// The measurements for a snapshot, with the restarts of the hour before it.
    #[must_use]
    pub fn take(config: &Config, snapshot: &Snapshot) -> Self {
        let since = snapshot
            .taken_at
            .checked_sub(SignedDuration::from_hours(1))
            .unwrap_or(Timestamp::MIN);
        Self {
            usage: snapshot.observed.usage.clone(),
            starts: RecentStarts::read(&config.pm2_home, since, &TimeZone::system()),
        }
    }

    /// Creates measurements from their parts.
    #[cfg(test)]
    pub fn new(usage: BTreeMap<PmId, Usage>, starts: RecentStarts) -> Self {
        Self { usage, starts }
    }

    /// The resource use of a process; none if it does not run.
    #[must_use]
    pub fn usage(&self, process: &ObservedProcess) -> Option<Usage> {
        let usage = self.usage.get(&process.pm_id).copied();
        usage.filter(|_| process.is_running())
    }

    /// How often PM2 restarted a process within the last hour.
    #[must_use]
    pub fn restarts(&self, process: &ObservedProcess) -> u32 {
        self.starts.restarts(process)
    }

    /// The combined resource use of an app's processes; none if none runs.
    #[must_use]
    pub fn of(&self, app: &AppState) -> Option<Usage> {
        let used = app.processes.iter().filter_map(|one| self.usage(one));
        used.reduce(|sum, one| Usage {
            cpu_percent: sum.cpu_percent + one.cpu_percent,
            memory_bytes: sum.memory_bytes + one.memory_bytes,
        })
    }
}
