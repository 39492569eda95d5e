//! `watch`: one object for each event.

use daemon_model::{AppFailure, EntryOutcome};
use pm2_client::Progress;
use reconcile::pass::PassEvent;
use reconcile::{EngineEvent, Holder, SyncReport, chain};
use schemars::JsonSchema;
use serde::Serialize;
use watcher::Mode;

use super::plan::problems;
use super::{
    DiagnosticOutput, ErrorOutput, HeldOutput, Output, ProblemOutput, ResultOutput, SeverityOutput,
    milliseconds,
};
use crate::error::CommandError;
use crate::report::Printer;
use crate::verdict::Verdict;

/// One event of a watch.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WatchOutput {
    /// What happened.
    #[serde(flatten)]
    pub event: WatchEvent,
    /// When (RFC 3339).
    pub time: String,
}

/// What happened.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum WatchEvent {
    /// A step ended.
    Step(ResultOutput),
    /// A pass ended that took steps or changed the state.
    Pass(PassOutput),
    /// PM2 was not running, and was started.
    Pm2Started,
    /// The watcher waits for another pm2-sync.
    Waiting {
        /// Which one, if it is known.
        holder: Option<HolderOutput>,
    },
    /// A definition is not valid, or has different errors than before.
    Broken {
        /// The daemon's ID.
        daemon: String,
        /// What was found.
        diagnostics: Vec<DiagnosticOutput>,
    },
    /// A definition has new warnings.
    Warned {
        /// The daemon's ID.
        daemon: String,
        /// The new warnings.
        diagnostics: Vec<DiagnosticOutput>,
    },
    /// What was found about paths below `system/daemons` has changed: invalid ones, and files that are not read because of
    /// their names.
    InvalidPaths {
        /// The paths; empty if all are valid again.
        paths: Vec<InvalidPathOutput>,
    },
    /// A definition is valid again.
    Repaired {
        /// The daemon's ID.
        daemon: String,
    },
    /// A pass failed as a whole, or with a different error than before.
    Failed {
        /// Why.
        error: String,
        /// The time until the next attempt, in milliseconds.
        milliseconds: u64,
    },
    /// Steps of a daemon failed, and will be retried.
    Retrying {
        /// The daemon's ID.
        daemon: String,
        /// The number of the next attempt.
        attempt: u32,
        /// The time until then, in milliseconds.
        milliseconds: u64,
    },
    /// A daemon keeps changing, so its changes are delayed.
    Flapping {
        /// The daemon's ID.
        daemon: String,
        /// The time until its next change is applied, in milliseconds.
        milliseconds: u64,
    },
    /// All apps that were changed for an entry of a daemon's history are ready.
    Ready {
        /// The daemon's ID.
        daemon: String,
    },
    /// Apps of a daemon did not become ready. The next pass shows what happens to them.
    NotReady {
        /// The daemon's ID.
        daemon: String,
        /// Which apps, and why.
        failures: Vec<NotReadyOutput>,
    },
    /// How file changes are detected.
    WatchMode {
        /// How.
        mode: WatchModeOutput,
        /// Why files are polled, if that is not by choice.
        why: Option<String>,
    },
    /// Passes succeed again.
    Recovered,
    /// PM2 is not running any more.
    Pm2Gone,
    /// The settings were read again.
    Reloaded {
        /// Why they are not valid; the previous ones stay in effect.
        error: Option<String>,
        /// What is wrong with the settings file, if that is the reason.
        diagnostics: Vec<DiagnosticOutput>,
    },
}

/// An app that did not become ready.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NotReadyOutput {
    /// Its name.
    pub app: String,
    /// Why.
    pub reason: String,
}

/// The state after a pass.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PassOutput {
    /// Whether everything runs as defined.
    pub in_sync: bool,
    /// Why it is not in sync.
    pub problems: Vec<ProblemOutput>,
    /// The removal that waits for confirmation.
    pub held: Option<HeldOutput>,
    /// The names of apps that PM2 gave up or keeps restarting.
    pub degraded: Vec<String>,
    /// Why PM2's process list could not be saved.
    pub save_error: Option<String>,
    /// How many steps were taken or tried.
    pub steps: usize,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl From<&AppFailure> for NotReadyOutput {
    fn from(failure: &AppFailure) -> Self {
        Self {
            app: failure.app.clone(),
            reason: failure.reason.clone(),
        }
    }
}

impl PassOutput {
    /// The state of everything after a pass.
    #[must_use]
    pub fn new(report: &SyncReport, verdict: &Verdict, printer: &Printer) -> Self {
        let held = report.after.plan.held.as_ref();
        Self {
            in_sync: verdict.is_in_sync(),
            problems: problems(verdict),
            held: held.map(|held| HeldOutput::new(held, printer)),
            degraded: verdict.degraded().map(ToOwned::to_owned).collect(),
            save_error: report.save_error.as_ref().map(|error| chain(error)),
            steps: report.applied.steps.len(),
            milliseconds: milliseconds(report.took),
        }
    }

    /// Whether it took steps, or differs from the last one in more than its duration.
    #[must_use]
    pub fn is_news(&self, last: Option<&Self>) -> bool {
        let stands = |it: &Self| Self {
            steps: 0,
            milliseconds: 0,
            ..it.clone()
        };
        self.steps > 0 || last.map(stands) != Some(stands(self))
    }
}

/// A path below `system/daemons` that is not valid.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InvalidPathOutput {
    /// The path.
    pub file: String,
    /// Whether it is an error: a file that is only misnamed is a warning.
    pub severity: SeverityOutput,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How file changes are detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchModeOutput {
    /// By file events.
    Events,
    /// By reading them every 2 seconds.
    Polling,
    /// The directory of definitions is missing.
    RootMissing,
}

/// A command that holds the lock.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HolderOutput {
    /// Its process ID.
    pub pid: u32,
    /// The command.
    pub command: String,
    /// Since when.
    pub since: String,
}

impl From<&Holder> for HolderOutput {
    fn from(holder: &Holder) -> Self {
        Self {
            pid: holder.pid,
            command: holder.command.clone(),
            since: holder.since.clone(),
        }
    }
}

impl Output for WatchOutput {
    const COMMAND: &'static str = "watch";
}

impl WatchOutput {
    /// An event, now.
    #[must_use]
    pub fn now(event: WatchEvent) -> Self {
        Self {
            event,
            time: jiff::Timestamp::now().to_string(),
        }
    }
}

impl WatchEvent {
    /// The event for settings that were reloaded, or could not be.
    #[must_use]
    pub fn reloaded(error: Option<&CommandError>, printer: &Printer) -> Self {
        let error = error.map(|error| ErrorOutput::new(error, printer));
        let (error, diagnostics) = error.map(|it| (it.error, it.diagnostics)).unzip();
        Self::Reloaded {
            error,
            diagnostics: diagnostics.unwrap_or_default(),
        }
    }

    /// An event of the engine; none if it is not printed. The end of a pass is handled separately: see [`PassOutput`].
    #[must_use]
    pub fn of(event: &EngineEvent<'_>, printer: &Printer) -> Option<Self> {
        Some(match event {
            EngineEvent::Pass(PassEvent::Step(Progress::Ended(report))) => {
                Self::Step(ResultOutput::new(report, printer.shows_values()))
            }
            EngineEvent::Pass(PassEvent::Pm2Started) => Self::Pm2Started,
            EngineEvent::Pass(PassEvent::Waiting(holder)) => Self::Waiting {
                holder: holder.map(HolderOutput::from),
            },
            EngineEvent::Pass(PassEvent::Judged(daemon, outcome)) => {
                let daemon = daemon.to_string();
                match outcome {
                    EntryOutcome::Ready { .. } => Self::Ready { daemon },
                    EntryOutcome::Failed { failures, .. } => Self::NotReady {
                        daemon,
                        failures: failures.iter().map(NotReadyOutput::from).collect(),
                    },
                    _ => return None,
                }
            }
            EngineEvent::Broken(id, definition) => Self::Broken {
                daemon: id.to_string(),
                diagnostics: DiagnosticOutput::all(
                    &definition.diagnostics,
                    definition.name.as_str(),
                    None,
                    printer,
                ),
            },
            EngineEvent::Warned(id, definition, found) => Self::Warned {
                daemon: id.to_string(),
                diagnostics: DiagnosticOutput::all(found, definition.name.as_str(), None, printer),
            },
            EngineEvent::Tree(found) => Self::InvalidPaths {
                paths: found
                    .iter()
                    .map(|found| InvalidPathOutput {
                        file: found.path.clone(),
                        severity: found.severity.into(),
                        message: found.message.clone(),
                        help: found.help.map(ToOwned::to_owned),
                    })
                    .collect(),
            },
            EngineEvent::Mended(id) => Self::Repaired {
                daemon: id.to_string(),
            },
            EngineEvent::Failed(error, delay) => Self::Failed {
                error: chain(*error),
                milliseconds: milliseconds(*delay),
            },
            EngineEvent::Retrying {
                daemon,
                attempt,
                delay,
            } => Self::Retrying {
                daemon: daemon.to_string(),
                attempt: attempt + 1,
                milliseconds: milliseconds(*delay),
            },
            EngineEvent::Flapping { daemon, pause } => Self::Flapping {
                daemon: daemon.to_string(),
                milliseconds: milliseconds(*pause),
            },
            EngineEvent::WatchMode(mode) => Self::watch_mode(mode)?,
            EngineEvent::Recovered => Self::Recovered,
            EngineEvent::Pm2Gone => Self::Pm2Gone,
            _ => return None,
        })
    }

    fn watch_mode(mode: &Mode) -> Option<Self> {
        let (mode, why) = match mode {
            Mode::Starting => return None,
            Mode::Watching => (WatchModeOutput::Events, None),
            Mode::Polling(why) => (WatchModeOutput::Polling, why.as_ref()),
            _ => (WatchModeOutput::RootMissing, None),
        };
        Some(Self::WatchMode {
            mode,
            why: why.map(|why| chain(why.as_ref())),
        })
    }
}
