//! Remembers what was reported, so that only changes are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::Discriminant;
use std::path::PathBuf;
use std::time::Duration;

use daemon_model::{DaemonId, Diagnostic, Diagnostics, Outcome};
use pm2_client::Progress;
use watcher::{Mode, Tree};

use super::{EngineEvent, EngineObserver, PassReason};
use crate::definitions::{Definition, Definitions, TreeFinding};
use crate::error::chain;
use crate::pass::{PassError, PassEvent, SyncReport};

/// Reports to an observer what has changed since the last report.
pub(super) struct Announcer<'o> {
    observer: &'o mut EngineObserver<'o>,
    diagnostics: BTreeMap<DaemonId, Diagnostics>,
    /// The warnings of definitions; none before the first pass.
    warnings: Option<BTreeMap<DaemonId, Diagnostics>>,
    of_tree: Vec<TreeFinding>,
    /// What is wrong with the tree itself.
    problems: BTreeSet<(PathBuf, String)>,
    /// Why passes fail as a whole.
    failure: Option<String>,
    /// Why steps fail, by daemon and app.
    step_failures: BTreeMap<(DaemonId, String), String>,
    /// Whether PM2 is known to be gone.
    pm2_gone: bool,
    mode: Option<(Discriminant<Mode>, String)>,
}

impl<'o> Announcer<'o> {
    pub(super) fn new(observer: &'o mut EngineObserver<'o>) -> Self {
        Self {
            observer,
            diagnostics: BTreeMap::new(),
            warnings: None,
            of_tree: Vec::new(),
            problems: BTreeSet::new(),
            failure: None,
            step_failures: BTreeMap::new(),
            pm2_gone: false,
            mode: None,
        }
    }

    pub(super) fn emit(&mut self, event: EngineEvent<'_>) {
        (self.observer)(event);
    }

    pub(super) fn started(&mut self, reason: &PassReason) {
        self.emit(EngineEvent::Started(reason));
    }

    /// Reports an event inside a pass, except a step that fails with the same message as before.
    pub(super) fn pass(&mut self, event: PassEvent<'_>) {
        if let PassEvent::Step(Progress::Ended(ended)) = &event {
            let key = (ended.step.daemon.clone(), ended.step.app.clone());
            match &ended.outcome {
                Outcome::Failed(error) => {
                    let words = chain(error);
                    if self.step_failures.get(&key) == Some(&words) {
                        return;
                    }
                    self.step_failures.insert(key, words);
                }
                _ => drop(self.step_failures.remove(&key)),
            }
        }
        self.emit(EngineEvent::Pass(event));
    }

    /// Reports the end of a pass and new findings about the definitions.
    pub(super) fn passed(&mut self, report: &SyncReport) {
        self.pm2_gone = false;
        if self.failure.take().is_some() {
            self.emit(EngineEvent::Recovered);
        }
        self.definitions(&report.definitions);
        self.emit(EngineEvent::Ended(report));
    }

    fn definitions(&mut self, definitions: &Definitions) {
        for (id, definition) in &definitions.daemons {
            if definition.is_broken() {
                if self.diagnostics.get(id) != Some(&definition.diagnostics) {
                    self.emit(EngineEvent::Broken(id, definition));
                    self.diagnostics
                        .insert(id.clone(), definition.diagnostics.clone());
                }
            } else if self.diagnostics.remove(id).is_some() {
                self.emit(EngineEvent::Mended(id));
            }
        }
        self.warnings(definitions);
        if self.of_tree != definitions.of_tree {
            self.emit(EngineEvent::Tree(&definitions.of_tree));
            self.of_tree.clone_from(&definitions.of_tree);
        }
        self.diagnostics
            .retain(|id, _| definitions.daemons.contains_key(id));
        self.step_failures
            .retain(|(id, _), _| definitions.daemons.contains_key(id));
    }

    /// Reports that a pass failed as a whole.
    pub(super) fn failed(&mut self, error: &PassError, delay: Duration) {
        let words = chain(error);
        if self.failure.as_ref() != Some(&words) {
            self.emit(EngineEvent::Failed(error, delay));
            self.failure = Some(words);
        }
    }

    /// Reports that PM2 is gone, once until a pass succeeds.
    pub(super) fn pm2_gone(&mut self) {
        if !std::mem::replace(&mut self.pm2_gone, true) {
            self.emit(EngineEvent::Pm2Gone);
        }
    }

    /// Reports warnings of definitions that are new since the previous pass. Those that exist from the start are counted by the
    /// report of the first pass.
    fn warnings(&mut self, definitions: &Definitions) {
        let mut known = self.warnings.take();
        let mut now = BTreeMap::new();
        for (id, definition) in &definitions.daemons {
            if let Some(known) = &mut known {
                let before = known.remove(id).unwrap_or_default();
                let new = new_warnings(definition, &before);
                if !new.is_empty() {
                    self.emit(EngineEvent::Warned(id, definition, &new));
                }
            }
            if definition.diagnostics.warnings() > 0 {
                now.insert(id.clone(), definition.diagnostics.clone());
            }
        }
        self.warnings = Some(now);
    }

    /// Remembers problems of the tree itself; returns whether they have changed.
    pub(super) fn tree_changed(&mut self, tree: &Tree) -> bool {
        let problems = tree.problems.iter();
        let problems =
            problems.map(|problem| (problem.path.clone(), format!("{:?}", problem.kind)));
        let misnamed = tree.misnamed.iter();
        let misnamed = misnamed.map(|path| (path.clone(), "misnamed".to_owned()));
        let problems = problems.chain(misnamed).collect();
        let changed = problems != self.problems;
        self.problems = problems;
        changed
    }

    /// Reports how files are watched.
    pub(super) fn watch_mode(&mut self, mode: &Mode) {
        let why = match mode {
            Mode::Polling(Some(error)) => chain(error.as_ref()),
            _ => String::new(),
        };
        let key = (std::mem::discriminant(mode), why);
        if self.mode.as_ref() != Some(&key) {
            self.emit(EngineEvent::WatchMode(mode));
            self.mode = Some(key);
        }
    }
}

/// The warnings of a definition that it did not have before; their position does not matter.
fn new_warnings(definition: &Definition, before: &Diagnostics) -> Diagnostics {
    let is_new = |found: &&Diagnostic| {
        !found.is_error()
            && !before
                .iter()
                .any(|known| known.path == found.path && known.message == found.message)
    };
    definition
        .diagnostics
        .iter()
        .filter(is_new)
        .cloned()
        .collect()
}
