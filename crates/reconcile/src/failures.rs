//! Unresolved failures, and apps that are no longer ready: `failures.json` of the state directory.
//!
//! Every command that reconciles records here what failed, why, how often, and when it is retried. `status` and `doctor` show it.
//! An entry is removed when a later pass finds no work left for its app.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon_model::{ApplyReport, Condition, DaemonId, Outcome, Planned};
use jiff::Timestamp;
use pm2_client::StepError;
use serde::{Deserialize, Serialize};

use crate::artifacts::ArtifactFailures;
use crate::error::chain;
use crate::lock::Lock;
use crate::state::{StateDir, StateWarning};

/// The name of the file.
const FILE: &str = "failures.json";

/// Unresolved failures, one per app, sorted by daemon and app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    version: u32,
    failures: Vec<Failure>,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            version: 1,
            failures: Vec::new(),
        }
    }
}

/// The last failure of an app, or of the artifact of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its daemon.
    pub daemon: DaemonId,
    /// Its name; none when the daemon's artifact failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Why it failed.
    pub error: String,
    /// When it first failed, without success since.
    pub since: Timestamp,
    /// When it last failed.
    pub last: Timestamp,
    /// How often it has failed in that time.
    pub attempts: u32,
    /// Whether no step failed: the app runs, but its readiness probe fails in the watcher.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unready: bool,
    /// When the watcher retries; none if no watcher does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl Failure {
    /// When the watcher retries; none if that time has passed, because the watcher was stopped or is retrying now.
    #[must_use]
    pub fn next_attempt(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry_at.filter(|at| *at > now)
    }
}

/// Why each app, by daemon and name, is no longer ready.
pub(crate) type Unready = BTreeMap<(DaemonId, String), String>;

impl Failures {
    /// Reads the failures. Changes nothing.
    pub(crate) fn read(state: &StateDir) -> (Self, Option<StateWarning>) {
        state.read(FILE)
    }

    /// Writes the failures.
    pub(crate) fn write(&self, state: &StateDir, lock: &Lock) -> Result<(), StateWarning> {
        state.write(FILE, self, lock)
    }

    /// Iterates over all failures.
    pub fn iter(&self) -> std::slice::Iter<'_, Failure> {
        self.failures.iter()
    }

    /// The failure of an app.
    #[must_use]
    pub fn of(&self, daemon: &DaemonId, app: &str) -> Option<&Failure> {
        let mut all = self.failures.iter();
        all.find(|failure| failure.daemon == *daemon && failure.app.as_deref() == Some(app))
    }

    /// Updates the failures with the results of a pass for the daemons that it `includes`, and with the work that was left
    /// afterwards.
    pub(crate) fn update(
        &mut self,
        applied: &ApplyReport<StepError>,
        artifacts: &ArtifactFailures,
        after: &Planned,
        includes: &dyn Fn(&DaemonId) -> bool,
        now: Timestamp,
    ) {
        self.failures.retain(|failure| {
            let mut apps = after.apps.of(&failure.daemon);
            !includes(&failure.daemon)
                || apps.any(|app| {
                    Some(&app.app) == failure.app.as_ref()
                        && (failure.is_unready || app.condition == Condition::Pending)
                })
        });
        for step in &applied.steps {
            if let Outcome::Failed(error) = &step.outcome {
                self.add(&step.step.daemon, Some(&step.step.app), chain(error), now);
            }
        }
        for (daemon, error) in &artifacts.daemons {
            self.add(daemon, None, chain(error), now);
        }
        self.failures
            .sort_by(|a, b| (&a.daemon, &a.app).cmp(&(&b.daemon, &b.app)));
    }

    fn add(&mut self, daemon: &DaemonId, app: Option<&str>, error: String, now: Timestamp) {
        let mut all = self.failures.iter_mut();
        let known = all.find(|known| known.daemon == *daemon && known.app.as_deref() == app);
        match known {
            // Several failed steps of one pass are one failure.
            Some(known) if known.last == now => {}
            Some(known) => {
                known.error = error;
                known.last = now;
                known.attempts = known.attempts.saturating_add(1);
                known.retry_at = None;
            }
            None => self.failures.push(Failure {
                daemon: daemon.clone(),
                app: app.map(ToOwned::to_owned),
                error,
                since: now,
                last: now,
                attempts: 1,
                is_unready: false,
                retry_at: None,
            }),
        }
    }

    /// Records exactly these apps as no longer ready, with the reasons.
    pub(crate) fn set_unready(&mut self, unready: &Unready, now: Timestamp) {
        let key = |failure: &Failure| Some((failure.daemon.clone(), failure.app.clone()?));
        let is_known =
            |failure: &Failure| key(failure).is_some_and(|key| unready.contains_key(&key));
        self.failures.retain(|it| !it.is_unready || is_known(it));
        for ((daemon, app), why) in unready {
            let mut all = self.failures.iter_mut();
            let known = all.find(|it| it.daemon == *daemon && it.app.as_ref() == Some(app));
            match known {
                Some(known) if known.is_unready => known.error.clone_from(why),
                // Keep a failed step: it is worse.
                Some(_) => {}
                None => {
                    self.add(daemon, Some(app), why.clone(), now);
                    if let Some(added) = self.failures.last_mut() {
                        added.is_unready = true;
                    }
                }
            }
        }
    }

    /// Records when the watcher will retry a daemon that has just failed.
    pub(crate) fn set_retry(&mut self, daemon: &DaemonId, delay: Duration) {
        for failure in &mut self.failures {
            if failure.daemon == *daemon {
                failure.retry_at = failure.last.checked_add(delay).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon_model::{AppState, Step, StepReport};
    use pm2_client::VerifyError;

    use super::*;

    fn id(name: &str) -> DaemonId {
        DaemonId::new(name).unwrap()
    }

    fn failed(name: &str) -> StepReport<StepError> {
        StepReport {
            step: Step {
                daemon: id(name),
                app: name.to_owned(),
                action: daemon_model::Action::Blocked { by: Vec::new() },
                reasons: Vec::new(),
                stage: 0,
            },
            outcome: Outcome::Failed(VerifyError::NotListed(pm2_client::PmId(7)).into()),
            took: Duration::ZERO,
        }
    }

    /// A plan with work left for these apps.
    fn left(names: &[&str]) -> Planned {
        let apps = names
            .iter()
            .map(|name| AppState::new(&id(name), name, Some(1), [], Condition::Pending, 0));
        Planned {
            apps: apps.collect(),
            ..Planned::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_failure_is_counted_until_nothing_is_left_to_do() {
        let mut failures = Failures::default();
        let steps = |names: &[&str]| ApplyReport {
            steps: names.iter().map(|name| failed(name)).collect(),
        };
        let none = ArtifactFailures::default();
        let all = |_: &DaemonId| true;
        failures.update(
            &steps(&["b", "a", "a"]),
            &none,
            &left(&["a", "b"]),
            &all,
            at(1),
        );
        failures.update(&steps(&["a"]), &none, &left(&["a"]), &all, at(5));
        failures.set_retry(&id("a"), Duration::from_secs(8));
        let [failure] = &failures.failures[..] else {
            panic!("{failures:?}");
        };
        assert_eq!(failure.app.as_deref(), Some("a"));
        assert_eq!(failure.error, "PM2 does not list process 7 any more");
        assert_eq!((failure.since, failure.last), (at(1), at(5)));
        assert_eq!(failure.attempts, 2);
        assert_eq!(failure.retry_at, Some(at(13)));
        // A pass over other daemons does not change the entry, nor does one that was stopped first.
        failures.update(
            &steps(&[]),
            &none,
            &left(&[]),
            &|id| id.as_str() != "a",
            at(6),
        );
        failures.update(&steps(&[]), &none, &left(&["a"]), &all, at(7));
        assert_eq!(failures.iter().count(), 1);
        failures.update(&steps(&[]), &none, &left(&[]), &all, at(8));
        assert_eq!(failures.iter().count(), 0);
    }
}
