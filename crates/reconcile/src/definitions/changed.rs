//! Reads the definitions that changed, and keeps the others. An edit seldom changes what conflicts depend on, so these are seldom
//! looked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use daemon_model::{DaemonId, DaemonMap, Declared, Findings, find_conflicts, have_same_claims};
use edn_render::{Document, Options};
use watcher::{Source, Tree};

use super::{Definition, Definitions, Renderer};
use crate::config::Config;
use crate::parallel;

/// Definitions, and what changed.
pub(super) struct Changed {
    pub(super) daemons: DaemonMap<Arc<Definition>>,
    /// The daemons whose definition differs from the earlier one, or is gone.
    pub(super) changed: BTreeSet<DaemonId>,
    /// Whether there are no conflicts, because there were none before and all claim what they claimed then.
    has_no_conflicts: bool,
}

/// Reads the definitions of a tree, without their conflicts; those that are the same as before are shared.
pub(super) fn read(
    tree: &Tree,
    config: &Config,
    renderer: (&Renderer<'_>, bool),
    previous: Option<&Definitions>,
) -> Changed {
    let mut daemons = previous.map_or_else(DaemonMap::default, |it| it.daemons.clone());
    let candidates: BTreeSet<&DaemonId> = match previous {
        Some(previous) => {
            let sources = &previous.tree.sources;
            let changed = sources.differences(&tree.sources, Source::is_shared_with);
            changed.into_iter().chain(&previous.index.special).collect()
        }
        None => tree.sources.keys().collect(),
    };
    let mut changed = BTreeSet::new();
    let mut to_read = Vec::new();
    for id in candidates {
        let known = daemons.get(id);
        match tree.sources.get(id) {
            Some(source) if known.is_some_and(|known| known.stays_for(source)) => {}
            Some(source) => to_read.push((id, source, known.cloned())),
            None => {
                daemons.remove(id);
                changed.insert(id.clone());
            }
        }
    }
    let mut has_no_conflicts = changed.is_empty()
        && previous.is_some_and(|previous| previous.is_complete() == tree.is_complete());
    let read = parallel::map(&to_read, |(id, source, known)| {
        let known = known.as_deref();
        Arc::new(Definition::read(id, source, config, renderer, known))
    });
    for ((_, _, known), read) in to_read.iter().zip(&read) {
        has_no_conflicts &= known
            .as_ref()
            .is_some_and(|known| known.claims_the_same_as(read));
    }
    let ids: Vec<DaemonId> = to_read.into_iter().map(|(id, ..)| id.clone()).collect();
    changed.extend(ids.iter().cloned());
    daemons.extend(ids.into_iter().zip(read));
    Changed {
        daemons,
        changed,
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
                self.changed.insert(id);
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
