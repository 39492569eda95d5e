//! Daemons with processes of apps that their definition does not declare.

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::Utf8Path;
use daemon_model::{DaemonId, DaemonMap, Label, ObservedProcess, Processes};

use crate::definitions::{Definition, Definitions};

type Daemons = DaemonMap<Arc<Definition>>;

/// The labels of the processes of a workspace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labels<'a> {
    /// Canonical path of the workspace.
    pub(crate) workspace: &'a Utf8Path,
    /// Everything that PM2 runs.
    pub(crate) processes: &'a Processes,
}

impl<'a> Labels<'a> {
    /// Iterates over them.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a Label> {
        self.of(self.processes.iter())
    }

    fn of(
        self,
        processes: impl Iterator<Item = &'a Arc<ObservedProcess>>,
    ) -> impl Iterator<Item = &'a Label> {
        let labels = processes.filter_map(|process| process.label.as_ref());
        labels.filter(move |label| {
            // Text is much quicker to compare than paths.
            label.workspace.as_str() == self.workspace.as_str()
        })
    }
}

/// The last processes and definitions, if there were no leftovers among them. Most differ little from the next ones.
#[derive(Debug, Default)]
pub(crate) struct NoLeftovers(Option<(Processes, Daemons)>);

impl NoLeftovers {
    /// The daemons with processes of apps that they do not declare.
    pub(super) fn leftovers(
        &mut self,
        definitions: &Definitions,
        labels: Labels<'_>,
    ) -> BTreeSet<DaemonId> {
        let defined = &definitions.daemons;
        let known = self.0.take();
        let known = known.filter(|(_, before)| keep_their_apps(before, defined));
        let found = match known.filter(|(before, _)| before.len() == labels.processes.len()) {
            Some((before, _)) => {
                let pairs = labels.processes.iter().zip(before.iter());
                let changed = pairs.filter(|(now, before)| !Arc::ptr_eq(now, before));
                undeclared(defined, labels.of(changed.map(|(now, _)| now)))
            }
            None => undeclared(defined, labels.iter()),
        };
        if found.is_empty() {
            self.0 = Some((Arc::clone(labels.processes), defined.clone()));
        }
        found
    }
}

/// The daemons of labels that name an app which is not declared.
fn undeclared<'l>(
    defined: &Daemons,
    labels: impl Iterator<Item = &'l Label>,
) -> BTreeSet<DaemonId> {
    let is_declared = |label: &&Label| {
        let definition = defined.get(&label.daemon);
        definition.is_some_and(|definition| declares(definition, &label.app))
    };
    let undeclared = labels.filter(|label| !is_declared(label));
    undeclared.map(|label| label.daemon.clone()).collect()
}

fn declares(definition: &Definition, app: &str) -> bool {
    let mut apps = definition.specs().iter();
    apps.any(|declared| declared.name() == app)
}

/// Whether every app that was declared still is.
fn keep_their_apps(before: &Daemons, now: &Daemons) -> bool {
    let mut changed = before.differences(now, Arc::ptr_eq).into_iter();
    changed.all(|id| {
        let apps = before.get(id).into_iter().flat_map(|it| it.specs().iter());
        let now = now.get(id);
        apps.into_iter()
            .all(|app| now.is_some_and(|now| declares(now, app.name())))
    })
}
