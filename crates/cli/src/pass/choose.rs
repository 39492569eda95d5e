//! Which daemons a pass is about.

use std::collections::BTreeSet;

use daemon_model::{DaemonId, Observed};
use edn_render::artifact;

use super::{PassError, PassOptions};
use crate::config::Config;
use crate::definitions::Definitions;

/// The daemons that were asked for; none: all of them.
pub(super) fn resolve_ids(
    config: &Config,
    options: &PassOptions,
    definitions: &Definitions,
    observed: &Observed,
) -> Result<Option<BTreeSet<DaemonId>>, PassError> {
    if options.ids.is_empty() {
        return Ok(options.only.clone());
    }
    let mut known: BTreeSet<DaemonId> = definitions.daemons.keys().cloned().collect();
    known.extend(
        observed
            .processes
            .iter()
            .filter_map(|process| process.label.as_ref())
            .filter(|label| label.workspace == config.root())
            .map(|label| label.daemon.clone()),
    );
    let chosen = select(config, &options.ids, known)?;
    Ok(match (chosen, &options.only) {
        (Some(chosen), Some(only)) => Some(chosen.intersection(only).cloned().collect()),
        (chosen, only) => chosen.or_else(|| only.clone()),
    })
}

/// The daemons named by `ids`, each of which must be known or have an artifact; none: all.
///
/// # Errors
/// [`PassError::UnknownId`].
pub fn select(
    config: &Config,
    ids: &[String],
    mut known: BTreeSet<DaemonId>,
) -> Result<Option<BTreeSet<DaemonId>>, PassError> {
    if ids.is_empty() {
        return Ok(None);
    }
    let others = artifact::list_others(&config.layout, |id| known.contains(id))?;
    known.extend(others);
    ids.iter()
        .map(|given| {
            DaemonId::new(given)
                .ok()
                .filter(|id| known.contains(id))
                .ok_or_else(|| PassError::UnknownId {
                    id: given.clone(),
                    near: nearest(given, &known),
                })
        })
        .collect::<Result<BTreeSet<_>, _>>()
        .map(Some)
}

fn nearest(given: &str, known: &BTreeSet<DaemonId>) -> Option<DaemonId> {
    known
        .iter()
        .find(|id| id.as_str().rsplit('/').next() == Some(given))
        .or_else(|| {
            known
                .iter()
                .map(|id| (strsim::damerau_levenshtein(id.as_str(), given), id))
                .filter(|(distance, _)| *distance <= 2 + given.len() / 5)
                .min_by_key(|(distance, _)| *distance)
                .map(|(_, id)| id)
        })
        .cloned()
}
