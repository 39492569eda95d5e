//! How often PM2 restarted processes recently. Its list counts all restarts; only its log has their times.

use std::collections::BTreeMap;

use camino::Utf8Path;
use daemon_model::{ObservedProcess, PmId};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::logs::lines_since;

/// What PM2 logs when a process is online.
///
/// Source: PM2 7.0.4, `lib/God.js` (`executeApp`).
const STARTED: (&str, &str) = ("PM2 log: App [", "] online");

/// How often PM2 started its processes since a given time, as far back as its log goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentStarts {
    since: Timestamp,
    starts: BTreeMap<PmId, u32>,
}

impl RecentStarts {
    /// Reads PM2's log. An unreadable log counts as empty. The times in it are in `zone`.
    #[must_use]
    pub fn read(pm2_home: &Utf8Path, since: Timestamp, zone: &TimeZone) -> Self {
        let lines = lines_since(&pm2_home.join("pm2.log"), since, zone);
        Self::of(since, lines.unwrap_or_default().iter().map(String::as_str))
    }

    fn of<'l>(since: Timestamp, lines: impl Iterator<Item = &'l str>) -> Self {
        let mut starts = BTreeMap::new();
        for pm_id in lines.filter_map(started) {
            *starts.entry(pm_id).or_insert(0) += 1;
        }
        Self { since, starts }
    }

    /// How often PM2 restarted a process since then; a lower bound if the log does not go back that far.
    #[must_use]
    pub fn restarts(&self, process: &ObservedProcess) -> u32 {
        let since = u64::try_from(self.since.as_millisecond()).unwrap_or(0);
        if process.started_at_ms.is_none_or(|at| at < since) {
            return 0;
        }
        let starts = self.starts.get(&process.pm_id).copied().unwrap_or(0);
        // The first start is not a restart.
        starts.max(1).min(process.restarts)
    }
}

/// The process that a line reports as started.
fn started(line: &str) -> Option<PmId> {
    let (_, rest) = line.split_once(STARTED.0)?;
    let (_, pm_id) = rest.strip_suffix(STARTED.1)?.rsplit_once(':')?;
    pm_id.parse().ok().map(PmId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pm2s_log_says_when_a_process_was_started() {
        for (line, expected) in [
            ("2026-11-29T18:25:54: PM2 log: App [api:7] online", Some(7)),
            (
                "2026-11-29T18:25:54: PM2 log: App [a]:b:12] online",
                Some(12),
            ),
            (
                "2026-11-29T18:25:54: PM2 log: App [api:7] starting in -fork mode-",
                None,
            ),
            ("2026-11-29T18:25:54: PM2 log: App [api:x] online", None),
            ("", None),
        ] {
            assert_eq!(started(line), expected.map(PmId), "{line}");
        }
        let lines = ["PM2 log: App [a:1] online"; 5];
        let starts = RecentStarts::of(Timestamp::UNIX_EPOCH, lines.into_iter());
        assert_eq!(starts.starts, [(PmId(1), 5)].into());
    }
}
