//! Reads the definitions that changed, and keeps the others. An edit seldom changes what conflicts depend on, so these are seldom
//! looked for again.

use std::collections::BTreeMap;
use std::sync::Arc;

use daemon_model::{DaemonId, Declared, Findings, find_conflicts, have_same_claims};
use edn_render::{Document, Options};
use watcher::{Source, Tree};

use super::{Definition, Definitions, Renderer};
use crate::config::Config;
use crate::parallel;

/// Definitions without their conflicts.
pub(super) struct Changed {
    pub(super) daemons: BTreeMap<DaemonId, Arc<Definition>>,
    /// Whether there are no conflicts, because there were none before and all claim what they claimed then.
    has_no_conflicts: bool,
}

/// Reads the definitions of a tree; those that are the same as before are shared.
pub(super) fn read(
    tree: &Tree,
    config: &Config,
    renderer: (&Renderer<'_>, bool),
    previous: Option<&Definitions>,
) -> Changed {
    let mut known = previous.map(|previous| previous.daemons.iter().peekable());
    let mut read: Vec<Option<Arc<Definition>>> = Vec::with_capacity(tree.sources.len());
    let mut changed = Vec::new();
    for (id, source) in &tree.sources {
        let known = known.as_mut().and_then(|known| {
            while known.next_if(|(other, _)| *other < id).is_some() {}
            known.next_if(|(other, _)| *other == id)
        });
        let known = known.map(|(_, known)| known);
        let kept = known.filter(|known| known.stays_for(source));
        if kept.is_none() {
            changed.push((read.len(), id, source, known));
        }
        read.push(kept.cloned());
    }
    let rendered = parallel::map(&changed, |(_, id, source, known)| {
        let known = known.map(AsRef::as_ref);
        Arc::new(Definition::read(id, source, config, renderer, known))
    });
    let mut has_no_conflicts = previous.is_some_and(|previous| {
        previous.daemons.len() == tree.sources.len()
            && previous.tree.is_complete() == tree.is_complete()
    });
    for ((at, _, _, known), rendered) in changed.into_iter().zip(rendered) {
        has_no_conflicts &= known.is_some_and(|known| known.claims_the_same_as(&rendered));
        read[at] = Some(rendered);
    }
    let ids = tree.sources.keys().cloned();
    Changed {
        daemons: ids.zip(read.into_iter().flatten()).collect(),
        has_no_conflicts,
    }
}

impl Changed {
    /// Adds the conflicts between definitions to their findings.
    pub(super) fn add_conflicts(&mut self, tree: &Tree, options: &Options) {
        if self.has_no_conflicts {
            debug_assert!(self.conflicts(tree).is_empty());
            return;
        }
        for (id, findings) in self.conflicts(tree) {
            let definition = self.daemons.get_mut(&id).map(Arc::make_mut);
            if let Some(definition) = definition
                && let Some(source) = &definition.source
            {
                // Rare enough to parse the text again for the positions.
                let document = edn_render::read(source, options)
                    .document
                    .unwrap_or_else(|| Document::unplaced(source));
                document.diagnose_all(&findings, &mut definition.diagnostics);
                definition.diagnostics.omit_all(findings.omitted());
                definition.has_conflicts = true;
            }
        }
    }

    fn conflicts(&self, tree: &Tree) -> BTreeMap<DaemonId, Findings> {
        let is_complete = tree.is_complete();
        let definitions = self.daemons.iter();
        find_conflicts(definitions.map(|(daemon, definition)| Declared {
            daemon,
            apps: definition.apps(),
            is_complete: is_complete && !definition.is_broken(),
        }))
    }
}

impl Definition {
    /// Whether reading this source would give the same.
    fn stays_for(&self, source: &Source) -> bool {
        self.is_independent && !self.has_conflicts && self.is_of(source)
    }

    /// Whether it had no conflicts, and the other one claims the same names and files.
    fn claims_the_same_as(&self, other: &Self) -> bool {
        !self.has_conflicts
            && self.is_broken() == other.is_broken()
            && have_same_claims(self.apps(), other.apps())
    }
}
