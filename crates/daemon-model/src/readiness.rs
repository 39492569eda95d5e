//! Decides whether an app is ready after a change, not ready yet, or has failed. A pure function of the observed state, probe
//! results and the time.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::{AppSpec, Gate, ObservedProcess, PmId, ProbeKind, ProcessState, Status, Stored};

/// How many exits count as failure, regardless of the remaining time.
const MOST_EXITS: u32 = 3;

/// The combined result of the runs of a probe of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The success threshold was reached.
    Succeeded,
    /// The success threshold was not reached yet.
    Unknown {
        /// Why the last run failed: `connection refused`. None when no run has ended yet.
        why: Option<String>,
    },
}

/// What a gate needs in addition to PM2's list.
#[derive(Clone, Copy)]
pub struct GateInput<'a> {
    /// The probe results of a process.
    pub probes: &'a dyn Fn(PmId, ProbeKind) -> ProbeOutcome,
    /// How often PM2 had restarted each process when the app was changed. A process that is missing here is new.
    pub restarts_before: &'a BTreeMap<PmId, u32>,
    /// When an app was first judged, in milliseconds since the Unix epoch. That may be after its deadline.
    pub judged_since_ms: &'a dyn Fn(&AppSpec) -> u64,
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// The readiness of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It is ready.
    Ready,
    /// It may become ready.
    Waiting(NotReady),
    /// It failed to become ready.
    Failed(NotReady),
}

/// Why an app is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "lacks")]
#[non_exhaustive]
pub enum NotReady {
    /// One of its steps has not been taken, or failed.
    NotApplied,
    /// Too few of its processes have the current spec.
    Processes {
        /// How many have it.
        have: u32,
        /// How many must have it.
        want: u32,
    },
    /// PM2 is starting it.
    Launching {
        /// Whether PM2 waits until the app reports that it is ready.
        wait_ready: bool,
    },
    /// It ended, and PM2 restarts it.
    Restarting {
        /// The exit code.
        exit_code: Option<i64>,
    },
    /// It has not been up for long enough.
    Uptime {
        /// The required time, in milliseconds.
        min_ms: u64,
    },
    /// A probe has not succeeded.
    Probe {
        /// The kind of probe.
        kind: ProbeKind,
        /// Why its last run failed; none when no run has ended yet.
        why: Option<String>,
    },
    /// It ended too often, or restarts too late.
    Exited {
        /// How often.
        times: u32,
        /// The last exit code.
        exit_code: Option<i64>,
    },
    /// PM2 gave it up.
    GaveUp {
        /// The number of unstable restarts before that.
        restarts: u64,
    },
    /// PM2 says `online`, but there is no process.
    NoProcess,
    /// It is being stopped, or was stopped.
    Stopped,
    /// PM2 could not stop it.
    Unstoppable,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // PM2 records an end by a signal as exit code 0.
        let code = |code: &Option<i64>, before: &str| match code {
            None | Some(0) => String::new(),
            Some(code) => format!("{before} with code {code}"),
        };
        match self {
            Self::NotApplied => f.write_str("is not changed yet"),
            Self::Processes { have, want } => write!(f, "{have} of {want} processes started"),
            Self::Launching { wait_ready: true } => f.write_str("has not sent `ready`"),
            Self::Launching { wait_ready: false } => f.write_str("PM2 is starting it"),
            Self::Restarting { exit_code } => {
                write!(f, "exited{}; PM2 starts it again", code(exit_code, ""))
            }
            Self::Uptime { min_ms } => match min_ms % 1000 {
                0 => write!(f, "has not been up for {} s", min_ms / 1000),
                _ => write!(f, "has not been up for {min_ms} ms"),
            },
            Self::Probe { kind, why: None } => write!(f, "{kind}: no result yet"),
            Self::Probe {
                kind,
                why: Some(why),
            } => write!(f, "{kind}: {why}"),
            Self::Exited {
                times: 1,
                exit_code,
            } => write!(f, "exited{}", code(exit_code, "")),
            Self::Exited { times, exit_code } => {
                write!(f, "exited {times} times{}", code(exit_code, ", last"))
            }
            Self::GaveUp { restarts: 1 } => f.write_str("PM2 gave up after 1 unstable restart"),
            Self::GaveUp { restarts } => {
                write!(f, "PM2 gave up after {restarts} unstable restarts")
            }
            Self::NoProcess => f.write_str("PM2 says `online`, but there is no process"),
            Self::Stopped => f.write_str("is stopped"),
            Self::Unstoppable => f.write_str("PM2 could not stop it"),
        }
    }
}

/// The readiness of an app, `want` processes of which have to be ready: all of them, or one while a canary is tried. Only those of
/// its `processes` count that have the current spec.
#[must_use]
pub fn readiness<'p>(
    app: &AppSpec,
    want: u32,
    gate: &Gate,
    processes: impl IntoIterator<Item = &'p ObservedProcess>,
    input: &GateInput<'_>,
) -> Readiness {
    let mut have = 0;
    let mut waiting = None;
    for process in processes.into_iter().filter(|it| it.is_from(app)) {
        have += 1;
        match process_readiness(app, gate, process, input) {
            Readiness::Ready => {}
            Readiness::Waiting(lacks) => waiting = waiting.or(Some(lacks)),
            failed @ Readiness::Failed(_) => return failed,
        }
    }
    if waiting.is_none() && have < want {
        waiting = Some(NotReady::Processes { have, want });
    }
    match waiting {
        None => Readiness::Ready,
        Some(lacks) if input.now_ms >= deadline_ms(app, gate, &lacks, input) => {
            Readiness::Failed(lacks)
        }
        Some(lacks) => Readiness::Waiting(lacks),
    }
}

/// When an app that is not ready for this reason fails, in milliseconds since the Unix epoch. An app that is first judged near or
/// after its deadline gets the time that its probes need: a probe that has not run yet is not a failure.
fn deadline_ms(app: &AppSpec, gate: &Gate, lacks: &NotReady, input: &GateInput<'_>) -> u64 {
    if matches!(lacks, NotReady::Probe { why: Some(_), .. }) {
        return gate.deadline_ms;
    }
    let time = app.judging_time().min(app.window()).as_millis();
    let time = u64::try_from(time).unwrap_or(u64::MAX);
    let since = (input.judged_since_ms)(app);
    gate.deadline_ms.max(since.saturating_add(time))
}

fn process_readiness(
    app: &AppSpec,
    gate: &Gate,
    process: &ObservedProcess,
    input: &GateInput<'_>,
) -> Readiness {
    let state = process.state(input.now_ms);
    let exit_code = process.exit_code;
    match state {
        // It ended as the app asks for. A run that failed before the change does not count.
        ProcessState::Ended | ProcessState::Waiting
            if !process.ended_in_failure() || process.started_at_ms < Some(gate.began_ms) =>
        {
            return Readiness::Ready;
        }
        ProcessState::Ended => {
            return Readiness::Failed(NotReady::Exited {
                times: 1,
                exit_code,
            });
        }
        ProcessState::GaveUp => {
            let restarts = process.max_restarts();
            return Readiness::Failed(NotReady::GaveUp { restarts });
        }
        _ => {}
    }
    let before = input.restarts_before.get(&process.pm_id);
    let exits = process
        .restarts
        .saturating_sub(before.copied().unwrap_or(0));
    let window = gate.deadline_ms.saturating_sub(gate.began_ms);
    let delay = process.attributes.get("restart_delay");
    let is_too_late = process.status == Status::WaitingRestart
        && delay
            .and_then(Stored::as_u64)
            .is_some_and(|delay| delay >= window);
    if exits >= MOST_EXITS || is_too_late {
        return Readiness::Failed(NotReady::Exited {
            times: exits.max(1),
            exit_code,
        });
    }
    let lacks = match state {
        ProcessState::Running => return running_readiness(app, process, input),
        ProcessState::Crashing => NotReady::Restarting { exit_code },
        ProcessState::NoProcess => NotReady::NoProcess,
        ProcessState::Stopping | ProcessState::Stopped => NotReady::Stopped,
        ProcessState::Unstoppable => NotReady::Unstoppable,
        _ => NotReady::Launching {
            wait_ready: app.switch("wait_ready"),
        },
    };
    Readiness::Waiting(lacks)
}

/// The readiness of a running process.
fn running_readiness(app: &AppSpec, process: &ObservedProcess, input: &GateInput<'_>) -> Readiness {
    for kind in [ProbeKind::Startup, ProbeKind::Readiness] {
        if app.rollout().probe(kind).is_some()
            && let ProbeOutcome::Unknown { why } = (input.probes)(process.pm_id, kind)
        {
            return Readiness::Waiting(NotReady::Probe { kind, why });
        }
    }
    let min_ms = process.min_uptime();
    let uptime = process
        .started_at_ms
        .map(|started| input.now_ms.saturating_sub(started));
    match uptime.is_some_and(|uptime| uptime >= min_ms) {
        true => Readiness::Ready,
        false => Readiness::Waiting(NotReady::Uptime { min_ms }),
    }
}
