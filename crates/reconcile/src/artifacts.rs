//! Artifacts of a pass: written if they changed, removed if they no longer have a definition.
//!
//! If an artifact cannot be written or read, that is a failure of its daemon alone and does not prevent a sync: PM2 gets the
//! content of the definition, not that of the artifact.

use std::collections::BTreeMap;
use std::sync::Arc;

use daemon_model::{DaemonId, HeldRemoval, Loss, RemovalCode, guard_removal};
use edn_render::artifact::{ArtifactError, ArtifactStore, OnDisk, Outcome};

use crate::config::Config;
use crate::definitions::Definitions;
use crate::lock::Lock;
use crate::parallel;

/// Failures of artifacts.
#[derive(Debug, Clone, Default)]
pub struct ArtifactFailures {
    /// Artifacts that could not be written, read or removed.
    pub daemons: BTreeMap<DaemonId, Arc<ArtifactError>>,
    /// Why the directory of artifacts cannot be used. All artifacts are left as they are then.
    pub directory: Option<Arc<ArtifactError>>,
}

impl ArtifactFailures {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.daemons.is_empty() && self.directory.is_none()
    }

    /// Adds the failure of a daemon's artifact.
    pub(crate) fn add(&mut self, id: DaemonId, error: ArtifactError) {
        self.daemons.insert(id, Arc::new(error));
    }
}

/// The outcome for all artifacts.
#[derive(Debug, Default)]
pub struct ArtifactReport {
    /// Written, because missing or out of date.
    pub written: Vec<DaemonId>,
    /// Compared with their files, and up to date. A watcher compares them once.
    pub unchanged: Vec<DaemonId>,
    /// Removed, because they have no definition.
    pub removed: Vec<DaemonId>,
    /// To be removed by a later pass, if they still have no definition.
    pub leaving: Vec<DaemonId>,
    /// What failed.
    pub failures: ArtifactFailures,
    /// The artifacts whose removal is held because they are too many at once.
    pub held: Option<HeldRemoval>,
}

impl ArtifactReport {
    /// Adds the results of a further round of the same sync.
    pub(crate) fn add(&mut self, round: Self) {
        self.written.extend(round.written);
        self.removed.extend(round.removed);
        self.unchanged = round.unchanged;
        self.leaving = round.leaving;
        self.failures = round.failures;
        self.held = round.held;
    }
}

/// Which artifacts are missing, out of date, or without a definition.
#[derive(Debug, Default)]
pub struct ArtifactCheck {
    /// The file does not exist.
    pub missing: Vec<DaemonId>,
    /// The file has other content.
    pub stale: Vec<DaemonId>,
    /// The file has no definition.
    pub orphaned: Vec<DaemonId>,
    /// Artifacts that could not be read or listed.
    pub failures: ArtifactFailures,
}

impl ArtifactCheck {
    /// Whether all artifacts are up to date.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.missing.is_empty()
            && self.stale.is_empty()
            && self.orphaned.is_empty()
            && self.failures.is_empty()
    }
}

/// Compares artifacts with the files on disk ahead of [`write()`], so that it need not.
pub fn preload(store: &ArtifactStore, definitions: &Definitions) {
    let texts = store.unknown(definitions.artifacts());
    // An unreadable artifact is written again, which may fail.
    parallel::map(&texts, |(id, text)| drop(store.compare(id, text)));
}

/// Writes the artifacts of every valid definition that `include` accepts.
pub fn write(
    store: &ArtifactStore,
    definitions: &Definitions,
    include: &dyn Fn(&DaemonId) -> bool,
) -> ArtifactReport {
    let mut report = ArtifactReport::default();
    if let Err(error) = store.prepare() {
        report.failures.directory = Some(error.into());
        return report;
    }
    let all = definitions.artifacts();
    let unknown = store.unknown(all);
    let texts = unknown.iter().filter(|(id, _)| include(id));
    let texts: Vec<_> = texts.copied().collect();
    let is_complete = texts.len() == unknown.len();
    let outcomes = parallel::write(&texts, |(id, text)| store.write(id, text));
    for ((id, _), outcome) in texts.into_iter().zip(outcomes) {
        match outcome {
            Ok(Outcome::Unchanged) => report.unchanged.push(id.clone()),
            Ok(Outcome::Written) => report.written.push(id.clone()),
            Err(error) => report.failures.add(id.clone(), error),
        }
    }
    if is_complete && report.failures.is_empty() {
        store.note_all(all);
    }
    report
}

/// Artifacts of daemons that certainly have no definition any more. With the lock, removes temporary files of killed runs.
///
/// # Errors
/// [`ArtifactError::Directory`] when the directory cannot be listed.
pub fn orphaned(
    store: &ArtifactStore,
    definitions: &Definitions,
    include: &dyn Fn(&DaemonId) -> bool,
    lock: Option<&Lock>,
) -> Result<Vec<DaemonId>, ArtifactError> {
    let defined = |id: &DaemonId| definitions.daemons.contains_key(id);
    let others = match lock {
        Some(_) => store.sweep(defined),
        None => store.list(defined),
    };
    let is_orphaned = |id: &DaemonId| include(id) && definitions.is_absent(id);
    Ok(others?.into_iter().filter(is_orphaned).collect())
}

/// Removes these artifacts.
pub fn remove(store: &ArtifactStore, ids: Vec<DaemonId>, report: &mut ArtifactReport) {
    for id in ids {
        match store.remove(&id) {
            Ok(()) => report.removed.push(id),
            Err(error) => report.failures.add(id, error),
        }
    }
}

/// The held removal of `orphaned` artifacts, if the guard for processes would hold as many daemons.
///
/// # Errors
/// [`ArtifactError::Directory`] when the directory cannot be listed.
pub fn guard(
    config: &Config,
    store: &ArtifactStore,
    definitions: &Definitions,
    orphaned: &[DaemonId],
    confirmed: Option<&RemovalCode>,
) -> Result<Option<HeldRemoval>, ArtifactError> {
    if orphaned.is_empty() {
        return Ok(None);
    }
    let loss = Loss {
        losing: orphaned.iter().cloned().collect(),
        managed: store.list(|_| false)?.len(),
        defined: definitions.daemons.len(),
        ..Loss::default()
    };
    let held = guard_removal(config.root(), &loss);
    Ok(held.filter(|held| confirmed != Some(&held.code)))
}

/// Compares artifacts with what would be written.
#[must_use]
pub fn check(
    store: &ArtifactStore,
    definitions: &Definitions,
    include: &dyn Fn(&DaemonId) -> bool,
) -> ArtifactCheck {
    let mut check = ArtifactCheck::default();
    let all = definitions.artifacts().iter();
    for (id, text) in all.filter(|(id, _)| include(id)) {
        match store.compare(id, text) {
            Ok(OnDisk::Missing) => check.missing.push(id.clone()),
            Ok(OnDisk::Different) => check.stale.push(id.clone()),
            Ok(OnDisk::Same) => {}
            Err(error) => check.failures.add(id.clone(), error),
        }
    }
    match orphaned(store, definitions, include, None) {
        Ok(orphaned) => check.orphaned = orphaned,
        Err(error) => check.failures.directory = Some(error.into()),
    }
    check
}
