//! Resolves IDs to daemons and apps, for every command that takes them.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, DaemonId, Known, Label, Selection, Written, paths};
use edn_render::artifact::ArtifactStore;

use super::{PassError, Request};
use crate::config::Config;
use crate::definitions::Definitions;

/// The daemons that a selection covers; none: all.
pub(super) fn daemons(
    selection: Option<&Selection>,
    request: &Request,
) -> Option<BTreeSet<DaemonId>> {
    let chosen = selection.map(Selection::daemons);
    match (chosen, &request.only) {
        (Some(chosen), Some(only)) => Some(chosen.intersection(only).cloned().collect()),
        (chosen, only) => chosen.or_else(|| only.clone()),
    }
}

/// Resolves `ids` among the daemons that have a definition, processes with one of these labels, or an artifact; none: all.
///
/// # Errors
/// [`PassError::Select`] for an ID that is unknown or ambiguous.
pub fn select<'l>(
    config: &Config,
    ids: &[String],
    definitions: &Definitions,
    labels: impl IntoIterator<Item = &'l Label>,
) -> Result<Option<Selection>, PassError> {
    if ids.is_empty() {
        return Ok(None);
    }
    let mut known = Known::default();
    for (id, definition) in &definitions.daemons {
        known.daemons.insert(id.clone());
        for placed in definition.apps() {
            known.add_app(id, placed.app.name());
        }
    }
    for label in labels {
        known.add_app(&label.daemon, &label.app);
    }
    // If artifacts cannot be listed, an ID known only from an artifact is reported as unknown.
    let others = ArtifactStore::new(&config.layout).list(|id| known.daemons.contains(id));
    known.daemons.extend(others.unwrap_or_default());
    let paths: Vec<Option<Utf8PathBuf>> = ids.iter().map(|id| path_in_tree(config, id)).collect();
    let written = ids.iter().zip(&paths).map(|(text, path)| Written {
        text,
        path: path.as_deref().map(Utf8Path::as_str),
    });
    Ok(Some(known.select(written)?))
}

/// The folder that `text` names as a path, relative to the tree of definitions. The path is resolved from the current directory, or
/// else from the workspace's root.
fn path_in_tree(config: &Config, text: &str) -> Option<Utf8PathBuf> {
    let tree = config.layout.daemons_dir();
    let real_tree = tree.canonicalize_utf8();
    let from = |base: &Utf8Path| {
        let path = paths::resolve(base, text);
        let in_tree = path.strip_prefix(tree).map(Utf8Path::to_owned).ok();
        // The path, the current directory or the tree may contain a symbolic link.
        in_tree.or_else(|| {
            let real = path.canonicalize_utf8().ok()?;
            let relative = real.strip_prefix(real_tree.as_deref().ok()?).ok()?;
            Some(relative.to_owned())
        })
    };
    let here = config.environment.cwd().and_then(from);
    let path = here.or_else(|| from(config.root()))?;
    match path.file_name() == Some(DEFINITION_FILE) {
        true => path.parent().map(Utf8Path::to_owned),
        false => Some(path),
    }
}
