//! Artifacts of a pass: written where they changed, removed where nothing defines them any more.

use std::collections::BTreeSet;

use daemon_model::{DaemonId, HeldRemoval, is_mass_removal, removal_code};
use edn_render::artifact::{self, ArtifactError, Outcome};

use crate::config::Config;
use crate::definitions::Definitions;
use crate::parallel;

/// What became of the artifacts.
#[derive(Debug, Default)]
pub struct ArtifactReport {
    /// Written, because missing or different.
    pub written: Vec<DaemonId>,
    /// As they should be.
    pub unchanged: Vec<DaemonId>,
    /// Removed, because nothing defines them.
    pub removed: Vec<DaemonId>,
    /// Removed later, if nothing defines them then.
    pub leaving: Vec<DaemonId>,
    /// What would be removed, but is too much at once.
    pub held: Option<HeldRemoval>,
}

/// Which artifacts are missing or differ, and which belong to nothing.
#[derive(Debug, Default)]
pub struct ArtifactCheck {
    /// Not there.
    pub missing: Vec<DaemonId>,
    /// There, but with other content.
    pub stale: Vec<DaemonId>,
    /// There, but nothing defines them.
    pub orphaned: Vec<DaemonId>,
}

impl ArtifactCheck {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.missing.is_empty() && self.stale.is_empty() && self.orphaned.is_empty()
    }
}

fn included(only: Option<&BTreeSet<DaemonId>>, id: &DaemonId) -> bool {
    only.is_none_or(|only| only.contains(id))
}

/// Those that [`write`] would write.
///
/// # Errors
/// [`ArtifactError`] of the first that cannot be read.
pub fn unwritten(
    config: &Config,
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
) -> Result<BTreeSet<DaemonId>, ArtifactError> {
    let texts: Vec<(&DaemonId, &str)> = texts(definitions, only).collect();
    let written = parallel::map(&texts, |(id, text)| {
        artifact::is_written(&config.layout.artifact_path(id), text.as_bytes())
    });
    let mut unwritten = BTreeSet::new();
    for ((id, _), written) in texts.into_iter().zip(written) {
        if !written? {
            unwritten.insert(id.clone());
        }
    }
    Ok(unwritten)
}

/// What is to be written for each.
fn texts<'a>(
    definitions: &'a Definitions,
    only: Option<&BTreeSet<DaemonId>>,
) -> impl Iterator<Item = (&'a DaemonId, &'a str)> {
    definitions
        .daemons
        .iter()
        .filter(move |(id, _)| included(only, id))
        .filter_map(|(id, definition)| Some((id, definition.artifact()?)))
}

/// Writes the artifacts of every definition that is not broken.
///
/// # Errors
/// [`ArtifactError`] of the first that cannot be written.
pub fn write(
    config: &Config,
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
) -> Result<ArtifactReport, ArtifactError> {
    let mut report = ArtifactReport::default();
    artifact::ensure_ignored(&config.layout)?;
    let unwritten = unwritten(config, definitions, only)?;
    let (written, unchanged): (Vec<_>, Vec<_>) =
        texts(definitions, only).partition(|(id, _)| unwritten.contains(*id));
    report.unchanged = unchanged.into_iter().map(|(id, _)| id.clone()).collect();
    let outcomes = parallel::map(&written, |(id, text)| {
        let path = config.layout.artifact_path(id);
        artifact::write(&config.layout, &path, text.as_bytes())
    });
    for ((id, _), outcome) in written.into_iter().zip(outcomes) {
        match outcome? {
            Outcome::Unchanged => report.unchanged.push(id.clone()),
            _ => report.written.push(id.clone()),
        }
    }
    Ok(report)
}

/// Artifacts of daemons that surely have no definition any more.
///
/// # Errors
/// [`ArtifactError`] when the directory cannot be listed.
pub fn orphaned(
    config: &Config,
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
) -> Result<Vec<DaemonId>, ArtifactError> {
    let defined = |id: &DaemonId| definitions.daemons.contains_key(id);
    Ok(artifact::list_others(&config.layout, defined)?
        .into_iter()
        .filter(|id| included(only, id) && definitions.is_absent(id))
        .collect())
}

/// Removes these artifacts.
///
/// # Errors
/// [`ArtifactError`] of the first that cannot be removed.
pub fn remove(config: &Config, ids: &[DaemonId]) -> Result<(), ArtifactError> {
    ids.iter()
        .try_for_each(|id| artifact::remove(&config.layout, &config.layout.artifact_path(id)))
}

/// Whether removing `orphaned` out of all artifacts is too much at once, as the guard for processes has it.
///
/// # Errors
/// [`ArtifactError`] when the directory cannot be listed.
pub fn guard(
    config: &Config,
    definitions: &Definitions,
    orphaned: &[DaemonId],
    confirmed: Option<&str>,
) -> Result<Option<HeldRemoval>, ArtifactError> {
    if orphaned.is_empty() {
        return Ok(None);
    }
    let all = artifact::list(&config.layout)?.len();
    let too_much = is_mass_removal(orphaned.len(), all, definitions.daemons.len());
    let code = removal_code(config.root(), orphaned);
    Ok((too_much && confirmed != Some(&code)).then(|| HeldRemoval {
        daemons: orphaned.to_vec(),
        managed: all,
        code,
    }))
}

/// Compares artifacts with what would be written.
///
/// # Errors
/// [`ArtifactError`] when one cannot be read.
pub fn check(
    config: &Config,
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
) -> Result<ArtifactCheck, ArtifactError> {
    let mut check = ArtifactCheck::default();
    for (id, text) in texts(definitions, only) {
        match artifact::read(&config.layout.artifact_path(id))? {
            None => check.missing.push(id.clone()),
            Some(bytes) if bytes != text.as_bytes() => check.stale.push(id.clone()),
            Some(_) => {}
        }
    }
    check.orphaned = orphaned(config, definitions, only)?;
    Ok(check)
}
