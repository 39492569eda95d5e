//! Steps as they begin and end: a spinner for each on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon_model::{DaemonId, Outcome, Step, StepReport};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pm2_client::{Progress, StepError};

use super::words::{self, Detail};
use super::{Printer, Tone, chain};

/// The display of one pass.
pub struct StepProgress {
    printer: Printer,
    detail: Detail,
    spinners: Option<MultiProgress>,
    running: BTreeMap<(DaemonId, String), ProgressBar>,
}

impl StepProgress {
    pub(super) fn new(printer: Printer, animated: bool, show_values: bool) -> Self {
        Self {
            detail: Detail {
                verbose: printer.verbose,
                show_values,
            },
            spinners: animated.then(MultiProgress::new),
            running: BTreeMap::new(),
            printer,
        }
    }

    /// Shows that a step has begun or ended.
    pub fn show(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Started(step) => self.begin(step),
            Progress::Ended(report) => self.end(report),
            _ => {}
        }
    }

    fn begin(&mut self, step: &Step) {
        let Some(spinners) = &self.spinners else {
            return;
        };
        let spinner = spinners.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.set_message(format!(
            "{} {} ({})",
            words::action(&step.action),
            step.app,
            step.daemon
        ));
        spinner.enable_steady_tick(Duration::from_millis(80));
        self.running
            .insert((step.daemon.clone(), step.app.clone()), spinner);
    }

    fn end(&mut self, report: &StepReport<StepError>) {
        let step = &report.step;
        if let Some(spinner) = self
            .running
            .remove(&(step.daemon.clone(), step.app.clone()))
        {
            spinner.finish_and_clear();
        }
        if self.printer.is_json() {
            return;
        }
        let line = self.line(report);
        match &self.spinners {
            Some(spinners) => spinners.suspend(|| self.printer.data(&line)),
            None => self.printer.data(&line),
        }
    }

    fn line(&self, report: &StepReport<StepError>) -> String {
        let color = self.printer.out_color();
        let step = &report.step;
        let action = format!("{:<9}", words::action(&step.action));
        let (action, end) = match &report.outcome {
            Outcome::Done => (
                words::tone(&step.action).paint(&action, color),
                format!(
                    "{} ({})",
                    words::reasons(step, self.detail),
                    words::took(report.took)
                ),
            ),
            Outcome::Failed(error) => (
                Tone::Bad.paint(&action, color),
                format!(
                    "{} {} ({}; {})",
                    Tone::Bad.paint("failed:", color),
                    chain(error),
                    words::reasons(step, self.detail),
                    words::took(report.took)
                ),
            ),
            _ => (Tone::Faint.paint(&action, color), "left undone".to_owned()),
        };
        let name = if step.daemon.as_str().rsplit('/').next() == Some(step.app.as_str()) {
            step.daemon.to_string()
        } else {
            format!("{} {}", step.daemon, step.app)
        };
        let time = self.printer.clock(self.printer.out_width.is_some(), color);
        format!("{time}{action} {name}: {end}\n")
    }
}
