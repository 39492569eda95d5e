//! Shows steps as they start and end: a spinner for each on a terminal, lines elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use daemon_model::{DaemonId, Outcome, Step, StepReport};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pm2_client::{Progress, StepError};
use reconcile::rollout::WaitingApp;

use super::Printer;
use super::json::{ResultOutput, StepOutput};
use super::words;

/// The progress display of one pass.
pub struct StepProgress<'p> {
    printer: &'p Printer,
    running: BTreeMap<(DaemonId, String), ProgressBar>,
    waiting: BTreeMap<(DaemonId, String), Waiting>,
}

/// An app that is not ready yet.
struct Waiting {
    since: Instant,
    /// The text that was last shown.
    shown: Option<String>,
    spinner: Option<ProgressBar>,
}

/// Most apps are ready before this, and need no line.
const WAIT_BEFORE_NOTE: Duration = Duration::from_secs(2);

impl<'p> StepProgress<'p> {
    pub(super) fn new(printer: &'p Printer) -> Self {
        Self {
            printer,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Shows apps that are not ready: a spinner for each on a terminal; elsewhere a line for each that takes long, and another when
    /// the reason changes.
    pub fn wait_for(&mut self, apps: &[WaitingApp]) {
        let key = |app: &WaitingApp| (app.daemon.clone(), app.app.clone());
        let now: BTreeSet<_> = apps.iter().map(key).collect();
        self.waiting.retain(|key, _| now.contains(key));
        for app in apps {
            let is_animated = self.printer.is_animated();
            let known = self.waiting.entry(key(app)).or_insert_with(|| Waiting {
                since: Instant::now(),
                shown: None,
                spinner: is_animated.then(|| spinner(self.printer)),
            });
            let message = words::rollout::waiting(app);
            if known.shown.as_ref() == Some(&message) {
                continue;
            }
            if let Some(spinner) = &known.spinner {
                spinner.set_message(super::text::escape(&message).into_owned());
            } else if known.since.elapsed() < WAIT_BEFORE_NOTE || self.printer.is_json() {
                continue;
            } else {
                self.printer.note(&message);
            }
            known.shown = Some(message);
        }
    }

    /// Shows that a step has started or ended.
    pub fn show(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Started(step) => self.begin(step),
            Progress::Ended(report) => self.end(report),
            _ => {}
        }
    }

    fn begin(&mut self, step: &Step) {
        let shared = &self.printer.shared;
        shared.steps_under_way.fetch_add(1, Ordering::Relaxed);
        if !self.printer.is_animated() {
            return;
        }
        let spinner = spinner(self.printer);
        let output = StepOutput::new(step, false);
        let name = words::name(&output.daemon, &output.app);
        let message = format!("{} {name}", output.verb());
        spinner.set_message(super::text::escape(&message).into_owned());
        self.running
            .insert((step.daemon.clone(), step.app.clone()), spinner);
    }

    fn end(&mut self, report: &StepReport<StepError>) {
        if !matches!(report.outcome, Outcome::Skipped) {
            let shared = &self.printer.shared;
            shared.steps_under_way.fetch_sub(1, Ordering::Relaxed);
        }
        let key = (report.step.daemon.clone(), report.step.app.clone());
        if let Some(spinner) = self.running.remove(&key) {
            spinner.finish_and_clear();
        }
        if !self.printer.is_json() {
            let result = ResultOutput::new(report, self.printer.shows_values());
            let line = words::steps::result(&result, self.printer.verbose);
            self.printer.line(&line);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn spinner(printer: &Printer) -> ProgressBar {
    let spinners = printer.shared.spinners.get_or_init(MultiProgress::new);
    let spinner = spinners.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(80));
    spinner
}
