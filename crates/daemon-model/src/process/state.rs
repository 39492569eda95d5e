//! The actual state of a process, from everything that PM2 records. PM2's status word is only one of the inputs.
//!
//! Source of the rules: PM2 5.4.3, 6.0.14 and 7.0.4, `lib/God.js` (`executeApp`, `handleExit`) and
//! `lib/God/ActionMethods.js` (`stopProcessId`, `resetMetaProcessId`); measured on all three.

use serde::Serialize;

use super::{ObservedProcess, Status, Stored};

/// The actual state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It was started and is not ready yet, or PM2 is about to start it again.
    Starting,
    /// It ended with an error, and PM2 keeps restarting it.
    Crashing,
    /// It ended without an error, and PM2 restarts it after the app's restart delay.
    Waiting,
    /// It is being stopped.
    Stopping,
    /// It was stopped, but the app should run.
    Stopped,
    /// It ended, or was never started, as the app asks for.
    Ended,
    /// PM2 gave it up after too many unstable restarts.
    GaveUp,
    /// PM2 could not stop it.
    Unstoppable,
    /// PM2 says `online`, but there is no process.
    NoProcess,
}

/// The default time that a process must run to count as stable, in milliseconds.
pub(crate) const MIN_UPTIME_MS: u64 = 1000;

/// PM2's default limit of unstable restarts.
const MAX_RESTARTS: u64 = 16;

impl ObservedProcess {
    /// The actual state at the time `now_ms`, in milliseconds since the Unix epoch.
    ///
    /// PM2 keeps the pid of an ended process if it is going to restart it, and clears it otherwise. So nothing restarts a `waiting
    /// restart` process without a pid.
    #[must_use]
    pub fn state(&self, now_ms: u64) -> ProcessState {
        let has_pid = self.pid.is_some();
        match self.status {
            Status::Online if !has_pid => ProcessState::NoProcess,
            Status::Online if self.is_crashing(now_ms) => ProcessState::Crashing,
            Status::Online => ProcessState::Running,
            Status::Launching if self.is_crashing(now_ms) => ProcessState::Crashing,
            Status::Launching => ProcessState::Starting,
            Status::Stopping => ProcessState::Stopping,
            Status::Errored if has_pid => ProcessState::Unstoppable,
            Status::WaitingRestart | Status::Errored if !has_pid => match self.ends_by_design() {
                true => ProcessState::Ended,
                false => ProcessState::GaveUp,
            },
            Status::WaitingRestart if self.ended_badly() => ProcessState::Crashing,
            Status::WaitingRestart => ProcessState::Waiting,
            // Between its end and a restart without a delay.
            Status::Stopped if has_pid && self.ended_badly() => ProcessState::Crashing,
            Status::Stopped if has_pid => ProcessState::Starting,
            Status::Stopped if self.ends_by_design() => ProcessState::Ended,
            Status::Stopped => ProcessState::Stopped,
            Status::Errored | Status::Unknown if has_pid => ProcessState::Running,
            Status::Errored | Status::Unknown => ProcessState::Starting,
        }
    }

    /// Whether its process runs, ready or not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::Online | Status::Launching) && self.pid.is_some()
    }

    /// How many unstable restarts PM2 allows before it gives the process up.
    #[must_use]
    pub fn max_restarts(&self) -> u64 {
        self.number("max_restarts").unwrap_or(MAX_RESTARTS)
    }

    /// How long it must run to count as stable, in milliseconds.
    #[must_use]
    pub fn min_uptime(&self) -> u64 {
        self.number("min_uptime").unwrap_or(MIN_UPTIME_MS)
    }

    /// Whether it was restarted after an unstable run and has not been stable since. PM2 never reduces its count of unstable
    /// restarts; only the uptime shows that a process has recovered.
    fn is_crashing(&self, now_ms: u64) -> bool {
        let uptime = self
            .started_at_ms
            .map(|started| now_ms.saturating_sub(started));
        let is_young = uptime.is_none_or(|uptime| uptime < self.min_uptime());
        is_young && self.unstable_restarts > 0 && self.ended_badly()
    }

    /// Whether the last end was a failure. PM2 records an end by a signal as exit code 0, so several unstable restarts count as
    /// well.
    fn ended_badly(&self) -> bool {
        self.exit_code.is_some_and(|code| code != 0) || self.unstable_restarts > 1
    }

    /// Whether the app asks PM2 not to start it, or not to restart it after this end.
    fn ends_by_design(&self) -> bool {
        let is_off = |name| self.attributes.get(name).is_some_and(Stored::is_false);
        is_off("autostart") || is_off("autorestart") || self.ended_with_stop_code()
    }

    /// Whether its last exit code is neither 0 nor one of the stop codes.
    pub(crate) fn ended_in_failure(&self) -> bool {
        self.exit_code.is_some_and(|code| code != 0) && !self.ended_with_stop_code()
    }

    fn ended_with_stop_code(&self) -> bool {
        let codes = self.attributes.get("stop_exit_codes").map(Stored::to_value);
        let Some((codes, exit_code)) = codes.zip(self.exit_code) else {
            return false;
        };
        let codes = codes.as_array().cloned().unwrap_or_else(|| vec![codes]);
        codes.iter().any(|code| {
            let written = code.as_str().and_then(|text| text.trim().parse().ok());
            code.as_i64().or(written) == Some(exit_code)
        })
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.attributes.get(name)?.as_u64()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::PmId;

    const NOW: u64 = 1_000_000;

    /// A process that was started 500 ms ago, with a status, a pid, unstable restarts, an exit code and attributes.
    fn process(
        (status, has_pid, unstable_restarts, exit_code): (Status, bool, u32, Option<i64>),
        attributes: &[(&'static str, Value)],
    ) -> ObservedProcess {
        ObservedProcess {
            pm_id: PmId(0),
            name: "app".to_owned(),
            pid: has_pid.then_some(100),
            status,
            label: None,
            is_module: false,
            attributes: attributes.iter().cloned().collect(),
            env: std::iter::empty::<(&str, &str)>().collect(),
            restarts: 40,
            unstable_restarts,
            started_at_ms: Some(NOW - 500),
            exit_code,
        }
    }

    #[test]
    fn the_status_word_is_only_one_input() {
        use ProcessState::{
            Crashing, Ended, GaveUp, NoProcess, Running, Starting, Stopped, Stopping, Unstoppable,
            Waiting,
        };
        use Status::{Errored, Launching, Online, Unknown, WaitingRestart};
        let autorestart = ("autorestart", json!(false));
        let autostart = ("autostart", json!(false));
        let codes = |value: Value| ("stop_exit_codes", value);
        let stopped = Status::Stopped;
        let stopping = Status::Stopping;
        for (record, attributes, expected) in [
            ((Online, true, 0, None), vec![], Running),
            // After a manual restart, PM2 resets its count.
            ((Online, true, 0, Some(1)), vec![], Running),
            ((Online, true, 1, Some(0)), vec![], Running),
            ((Online, true, 1, Some(1)), vec![], Crashing),
            // Ended by a signal, twice.
            ((Online, true, 2, Some(0)), vec![], Crashing),
            (
                (Online, true, 9, Some(1)),
                vec![("min_uptime", json!(200))],
                Running,
            ),
            (
                (Online, true, 9, Some(1)),
                vec![("min_uptime", json!(500))],
                Running,
            ),
            (
                (Online, true, 9, Some(1)),
                vec![("min_uptime", json!(501))],
                Crashing,
            ),
            ((Online, false, 0, None), vec![], NoProcess),
            ((Launching, true, 0, None), vec![], Starting),
            ((Launching, true, 3, Some(1)), vec![], Crashing),
            ((Launching, false, 0, None), vec![], Starting),
            ((stopping, true, 0, None), vec![], Stopping),
            // A delay after an end; the pid is that of the ended process.
            ((WaitingRestart, true, 0, Some(0)), vec![], Waiting),
            ((WaitingRestart, true, 1, Some(0)), vec![], Waiting),
            ((WaitingRestart, true, 2, Some(0)), vec![], Crashing),
            ((WaitingRestart, true, 0, Some(1)), vec![], Crashing),
            // No delay: PM2 writes this status if the app asks for a delay.
            ((WaitingRestart, false, 0, Some(1)), vec![], GaveUp),
            (
                (WaitingRestart, false, 0, Some(1)),
                vec![autorestart.clone()],
                Ended,
            ),
            (
                (WaitingRestart, false, 1, Some(3)),
                vec![codes(json!([1, 3]))],
                Ended,
            ),
            (
                (WaitingRestart, false, 1, Some(2)),
                vec![codes(json!([1, 3]))],
                GaveUp,
            ),
            ((Errored, false, 0, Some(1)), vec![], GaveUp),
            (
                (Errored, false, 0, Some(1)),
                vec![autorestart.clone()],
                Ended,
            ),
            ((Errored, false, 0, Some(3)), vec![codes(json!(3))], Ended),
            ((Errored, true, 0, None), vec![], Unstoppable),
            ((stopped, false, 0, None), vec![], Stopped),
            ((stopped, false, 5, Some(1)), vec![], Stopped),
            ((stopped, false, 0, Some(1)), vec![autorestart], Ended),
            ((stopped, false, 0, None), vec![autostart], Ended),
            (
                (stopped, false, 0, Some(3)),
                vec![codes(json!(["3"]))],
                Ended,
            ),
            ((stopped, false, 0, None), vec![codes(json!([3]))], Stopped),
            // The moment between an end and the next start.
            ((stopped, true, 0, Some(0)), vec![], Starting),
            ((stopped, true, 1, Some(1)), vec![], Crashing),
            ((Unknown, true, 0, None), vec![], Running),
            ((Unknown, false, 0, None), vec![], Starting),
        ] {
            let found = process(record, &attributes).state(NOW);
            assert_eq!(found, expected, "{record:?} {attributes:?}");
        }
    }

    #[test]
    fn a_process_recovers_with_time() {
        let mut app = process((Status::Online, true, 9, Some(1)), &[]);
        assert_eq!(app.state(NOW), ProcessState::Crashing);
        assert_eq!(app.state(NOW + 499), ProcessState::Crashing);
        assert_eq!(app.state(NOW + 500), ProcessState::Running);
        app.started_at_ms = None;
        assert_eq!(app.state(NOW + 500), ProcessState::Crashing);
    }

    #[test]
    fn only_a_process_runs() {
        for (status, has_pid, expected) in [
            (Status::Online, true, true),
            (Status::Launching, true, true),
            (Status::Online, false, false),
            (Status::WaitingRestart, true, false),
            (Status::Stopping, true, false),
            (Status::Errored, true, false),
        ] {
            let found = process((status, has_pid, 0, None), &[]).is_running();
            assert_eq!(found, expected, "{status}");
        }
        assert_eq!(
            process((Status::Errored, false, 0, None), &[]).max_restarts(),
            16
        );
        let three = process(
            (Status::Errored, false, 0, None),
            &[("max_restarts", json!(3))],
        );
        assert_eq!(three.max_restarts(), 3);
    }
}
