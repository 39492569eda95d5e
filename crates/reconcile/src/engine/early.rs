//! Files that are read as soon as they are written, without waiting for a quiet period.
//!
//! The watcher reports them again after a quiet period. An invalid or missing file counts only then: its editor may save in several
//! steps, or another file of the same edit may not be written yet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use watcher::{Batch, Cause, Scope};

use super::run::{Run, Scanned};
use crate::definitions::{Definition, Definitions};

/// The longest delay that an invalid file may cause: the watcher waits no longer than this for a quiet period.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Files that were read early and are not valid.
pub(super) struct Early {
    scanned: Scanned,
    /// The files that will be reported again.
    paths: BTreeSet<Utf8PathBuf>,
    /// The latest time to act on them.
    pub(super) until: Instant,
}

/// Whether everything in these batches was written just now.
pub(super) fn are_early(batches: &[Batch]) -> bool {
    !batches.is_empty() && batches.iter().all(is_early)
}

fn is_early(batch: &Batch) -> bool {
    batch.cause == Cause::Written
}

impl Run<'_, '_> {
    /// Whether to postpone the work until it is quiet, because a file that was just written is not valid. Work that was postponed
    /// before and is due now is added to `scanned`.
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

    /// Whether the edited definitions are valid and invalidate no others.
    fn reads_well(&mut self, paths: &BTreeSet<Utf8PathBuf>, scanned: &Scanned) -> bool {
        let Some(known) = &self.definitions else {
            // The first pass is still to come.
            return true;
        };
        if scanned.edited.is_empty() {
            return true;
        }
        // A truncated definition is invalid. A truncated env file is not, and may have been emptied just before being rewritten.
        if paths.iter().any(|path| is_empty(path)) {
            return false;
        }
        let tree = Arc::clone(self.scanner.tree());
        let Ok(definitions) = Definitions::of_tree(tree, self.config, Some(known)) else {
            return true;
        };
        let is_good =
            |definition: Option<&Arc<Definition>>| definition.is_some_and(|it| !it.is_broken());
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
