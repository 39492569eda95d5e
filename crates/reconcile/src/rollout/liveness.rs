//! When to restart processes whose liveness probe fails.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use daemon_model::{DaemonId, Planned, RestartRequest};

use super::probes::Dead;

/// The shortest and the longest time between two liveness restarts of an app.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Restarts of apps for their liveness probes.
#[derive(Debug, Default)]
pub(crate) struct Liveness(BTreeMap<(DaemonId, String), BackOff>);

#[derive(Debug, Clone, Copy)]
struct BackOff {
    until: Instant,
    delay: Duration,
}

impl Liveness {
    /// Those of the `dead` processes to restart now: one per app, and none while its app waits after the last restart. Also returns
    /// when others may be restarted.
    pub(crate) fn due(
        &self,
        dead: &[Dead],
        planned: &Planned,
        now: Instant,
    ) -> (Vec<RestartRequest>, Option<Instant>) {
        let mut due: BTreeMap<(&DaemonId, &str), RestartRequest> = BTreeMap::new();
        let mut next = None;
        for dead in dead {
            let Some(owner) = planned.owner(dead.pm_id) else {
                continue;
            };
            let (daemon, app) = (&owner.daemon, owner.app.as_str());
            let known = self.0.get(&(daemon.clone(), app.to_owned()));
            match known.filter(|back_off| back_off.until > now) {
                Some(back_off) => {
                    let earliest = next.unwrap_or(back_off.until);
                    next = Some(earliest.min(back_off.until));
                }
                None => {
                    due.entry((daemon, app))
                        .or_insert_with(|| RestartRequest::Unhealthy {
                            pm_id: dead.pm_id,
                            why: dead.why.clone(),
                            failures: dead.failures,
                        });
                }
            }
        }
        (due.into_values().collect(), next)
    }

    /// Notes a restart of a process of this app. The next one is delayed by 10 s at first, then by twice as long for each restart
    /// that follows soon, up to 5 min.
    pub(crate) fn restarted(&mut self, daemon: &DaemonId, app: &str, now: Instant) {
        self.0.retain(|_, known| now < known.until + known.delay);
        let key = (daemon.clone(), app.to_owned());
        let delay = match self.0.get(&key) {
            Some(known) => (known.delay * 2).min(BACK_OFF.1),
            None => BACK_OFF.0,
        };
        let until = now + delay;
        self.0.insert(key, BackOff { until, delay });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_for_a_liveness_probe_come_less_and_less_often() {
        let id = DaemonId::new("a").unwrap();
        let mut liveness = Liveness::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            liveness.restarted(&id, "a", now);
            let until = liveness.0[&(id.clone(), "a".to_owned())].until;
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        // After a long time without restarts, the delay starts over.
        now += BACK_OFF.1 * 2;
        liveness.restarted(&id, "a", now);
        let until = liveness.0[&(id, "a".to_owned())].until;
        assert_eq!(until - now, BACK_OFF.0);
    }
}
