//! The output of `pm2-sync watch`.

use std::collections::BTreeSet;

use reconcile::EngineEvent;
use reconcile::pass::{PassEvent, SyncReport};

use super::json::{PassOutput, WatchEvent};
use super::{Printer, StepProgress, Which, words};
use crate::error::CommandError;
use crate::verdict::{Problem, ProblemId, ProblemKind, Verdict};

/// Reports a watch: one line for each step and each other change of state; nothing when idle.
pub struct WatchReporter<'p> {
    printer: &'p Printer,
    steps: StepProgress<'p>,
    is_first: bool,
    /// The reported problems that are not resolved yet.
    known: BTreeSet<ProblemId>,
    /// The last pass that was printed as JSON.
    last: Option<PassOutput>,
}

impl<'p> WatchReporter<'p> {
    /// A reporter for a new watch.
    pub fn new(printer: &'p Printer) -> Self {
        Self {
            printer,
            steps: printer.steps(),
            is_first: true,
            known: BTreeSet::new(),
            last: None,
        }
    }

    /// Reports that the settings were reloaded, or could not be.
    pub fn reloaded(&self, error: Option<&CommandError>) {
        let printer = self.printer;
        if printer.is_json() {
            printer.event(WatchEvent::reloaded(error, printer));
            return;
        }
        match error {
            None => printer.note("the settings were read again"),
            Some(error) => {
                printer.explain(error);
                printer.note("the previous settings stay in effect");
            }
        }
    }

    /// Reports an event of the engine.
    pub fn report(&mut self, event: &EngineEvent<'_>) {
        match event {
            EngineEvent::Ended(report) => self.ended(report),
            event if self.printer.is_json() => {
                if let EngineEvent::Pass(PassEvent::Step(progress)) = event {
                    self.steps.show(progress);
                }
                if let Some(event) = WatchEvent::of(event, self.printer) {
                    self.printer.event(event);
                }
            }
            EngineEvent::Pass(PassEvent::Step(progress)) => self.steps.show(progress),
            EngineEvent::Pass(PassEvent::Planned(plan, _)) => self.printer.not_set_here(plan),
            EngineEvent::Broken(_, definition) => {
                let source = definition.source.as_deref().unwrap_or(b"");
                let (found, file) = (&definition.diagnostics, definition.name.as_str());
                self.printer.findings(found, file, source, Which::Errors);
            }
            EngineEvent::Warned(_, definition, found) => {
                let source = definition.source.as_deref().unwrap_or(b"");
                let file = definition.name.as_str();
                self.printer.findings(found, file, source, Which::All);
            }
            EngineEvent::Tree(found) => self.printer.tree(found),
            EngineEvent::Failed(error, delay) => {
                self.printer.error(*error);
                self.printer.note(words::watch::trying_again(*delay));
            }
            event => {
                if let Some(note) = words::watch::event(event) {
                    note.print(self.printer);
                }
            }
        }
    }

    /// Reports the state after a pass, if it has changed.
    fn ended(&mut self, report: &SyncReport) {
        let printer = self.printer;
        let verdict = Verdict::of_sync(report, false);
        if printer.is_json() {
            let output = PassOutput::new(report, &verdict, printer);
            if output.is_news(self.last.as_ref()) {
                self.last = Some(output.clone());
                printer.event(WatchEvent::Pass(output));
            }
            return;
        }
        if std::mem::take(&mut self.is_first) {
            printer.note(format!("watching; {}", verdict.summary()));
            printer.warnings(&report.definitions);
        } else if !report.applied.steps.is_empty() && verdict.is_in_sync() && printer.verbose {
            printer.summary(&verdict);
        }
        // Starting apps become ready or fail, and that is reported then.
        let problems = verdict.problems().iter();
        let problems = problems.filter(|it| it.kind != ProblemKind::Starting);
        let now: BTreeSet<ProblemId> = problems.clone().map(Problem::id).collect();
        let news = problems.filter(|it| !self.known.contains(&it.id()));
        printer.problems(news);
        for note in words::watch::mended(&self.known, &now) {
            printer.note(note);
        }
        self.known = now;
    }
}
