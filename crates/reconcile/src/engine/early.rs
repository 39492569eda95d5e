//! Files that were read as soon as they were written, without a wait for quiet.
//!
//! The watcher reports them a second time when all is quiet. So a file that is broken or absent counts only then: its
//! editor may save in several steps, or another file of the same edit may not be written yet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use watcher::{Batch, Cause, Scope};

use super::run::{Run, Scanned};
use crate::definitions::{Definition, Definitions};

/// How long a file that did not read well delays everything: the watcher waits for quiet no longer than this.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// What was read early and did not read well.
pub(super) struct Early {
    scanned: Scanned,
    /// The files that will be reported again.
    paths: BTreeSet<Utf8PathBuf>,
    /// When it counts at the latest.
    pub(super) until: Instant,
}

/// Whether all that these batches report has just been written.
pub(super) fn are_early(batches: &[Batch]) -> bool {
    !batches.is_empty() && batches.iter().all(is_early)
}

fn is_early(batch: &Batch) -> bool {
    batch.cause == Cause::Written
}

impl Run<'_, '_> {
    /// Whether nothing is done before it is quiet, because what was just written does not read well. What was put off before and
    /// counts now is added to `scanned`.
    pub(super) fn puts_off(&mut self, batches: &[Batch], scanned: &mut Scanned) -> bool {
        let now = Instant::now();
        let mut early = self.early.take().unwrap_or_else(|| Early {
            scanned: Scanned::default(),
            paths: BTreeSet::new(),
            until: now + LONGEST_WAIT,
        });
        scanned.add(early.scanned);
        let written = batches.iter().filter(|batch| is_early(batch));
        let written = written.flat_map(|batch| dirty(&batch.scope));
        early.paths.extend(written.cloned());
        let is_quiet = |path: &Utf8PathBuf| {
            let mut others = batches.iter().filter(|batch| !is_early(batch));
            others.any(|batch| {
                let mut dirty = dirty(&batch.scope);
                batch.scope == Scope::Everything || dirty.any(|it| path.starts_with(it))
            })
        };
        early.paths.retain(|path| !is_quiet(path));
        if early.paths.is_empty()
            || early.until <= now
            || (batches.iter().any(is_early) && self.reads_well(&early.paths, scanned))
        {
            return false;
        }
        early.scanned = std::mem::take(scanned);
        self.early = Some(early);
        true
    }

    /// Whether what was edited can be applied as it is, and breaks no other definition.
    fn reads_well(&mut self, paths: &BTreeSet<Utf8PathBuf>, scanned: &Scanned) -> bool {
        let Some(known) = &self.definitions else {
            // The first pass is still due.
            return true;
        };
        if scanned.edited.is_empty() {
            return true;
        }
        // A definition that is cut short is broken. An env file is not, and may have been emptied to be written again.
        if paths.iter().any(|path| is_empty(path)) {
            return false;
        }
        let tree = Arc::clone(self.scanner.tree());
        let Ok(definitions) = Definitions::of_tree(tree, self.config, Some(known)) else {
            return true;
        };
        let is_good =
            |definition: Option<&Definition>| definition.is_some_and(|it| !it.is_broken());
        let mut edited = scanned.edited.iter();
        let reads_well = edited.all(|id| is_good(definitions.daemons.get(id)))
            && definitions
                .broken()
                .all(|(id, _)| !is_good(known.daemons.get(id)));
        if reads_well {
            self.loaded = Some(Arc::new(definitions));
        }
        reads_well
    }
}

fn dirty(scope: &Scope) -> impl Iterator<Item = &Utf8PathBuf> {
    let paths: &[Utf8PathBuf] = match scope {
        Scope::Dirty(paths) => paths,
        Scope::Everything => &[],
    };
    paths.iter()
}

fn is_empty(path: &Utf8Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0)
}
