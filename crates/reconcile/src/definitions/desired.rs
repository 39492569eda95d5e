//! The desired state of a workspace, for the planner.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use daemon_model::{AppSpec, DaemonId, Desired, DesiredDaemon};
use edn_render::artifact::{ArtifactError, ArtifactStore};
use serde_json::Value;

use super::{Definitions, Renderer};
use crate::config::Config;
use crate::values::ValueSources;

impl Definitions {
    /// The desired state. A daemon with a broken definition keeps its last good apps, as far as `last_good` has them; so does one
    /// in `unseen`, which may have a definition in an unreadable part of the tree.
    #[must_use]
    pub fn desired(
        &self,
        unseen: BTreeSet<DaemonId>,
        mut last_good: BTreeMap<DaemonId, Vec<AppSpec>>,
    ) -> Desired {
        let mut daemons = self.index.desired.clone();
        let broken = self.broken().map(|(id, _)| id);
        for id in broken.cloned().chain(unseen) {
            let last_good = last_good.remove(&id).unwrap_or_default();
            daemons.insert(id, DesiredDaemon::Broken { last_good });
        }
        Desired {
            daemons,
            ..Desired::default()
        }
    }
}

/// The apps of the last good render of a daemon, from its artifact. Empty if there is none, or if it refers to missing values.
///
/// # Errors
/// [`ArtifactError::Read`] and [`ArtifactError::Damaged`] when the artifact cannot be used; the next good render replaces it.
pub fn last_good(
    id: &DaemonId,
    config: &Config,
    values: &ValueSources,
) -> Result<Vec<AppSpec>, ArtifactError> {
    let Some(document) = ArtifactStore::new(&config.layout).read(id)? else {
        return Ok(Vec::new());
    };
    let apps = document.get("apps").and_then(Value::as_array);
    let apps = apps.into_iter().flatten().map(|app| {
        let (values, _) = values.of_app(app, config.root());
        Some((Cow::Borrowed(app), values))
    });
    let renderer = Renderer::new(config, values);
    let placed = renderer.read_apps(id, apps, document.get("deploy"), drop);
    Ok(placed.into_iter().map(|placed| placed.app).collect())
}
