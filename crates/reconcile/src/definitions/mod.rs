//! All definitions of a workspace, rendered and checked: the half of a pass that needs no PM2.

mod changed;
mod desired;
mod index;
mod render;
mod tree_finding;

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    AppSpec, DaemonId, DaemonMap, Diagnostic, Diagnostics, EnvFileState, Level, PlacedApp,
};
use watcher::{ScanError, Source, Tree};

use crate::config::Config;
use crate::error::FailureKind;
use crate::values::ValueSources;

use index::Index;

pub use desired::last_good;
pub use render::{EnvFileFinding, RenderedDefinition, Renderer};
pub use tree_finding::TreeFinding;

/// One definition.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its path relative to the workspace, for messages.
    pub name: Utf8PathBuf,
    /// Its bytes, if they could be read.
    pub source: Option<Arc<[u8]>>,
    /// The findings about it, sorted by position.
    pub diagnostics: Diagnostics,
    /// Whether its render depends on nothing but its bytes.
    is_independent: bool,
    /// Whether some of the findings are conflicts with other definitions.
    has_conflicts: bool,
    cached: Arc<CachedRender>,
}

/// The part of a definition that is cached while its bytes stay the same.
#[derive(Debug, Default)]
struct CachedRender {
    artifact: Option<Arc<str>>,
    specs: Arc<[AppSpec]>,
    /// The render, without its document.
    rendered: RenderedDefinition,
}

impl Definition {
    /// Renders the bytes, unless `known` is the render of the same bytes.
    fn read(
        id: &DaemonId,
        source: &Source,
        config: &Config,
        (renderer, with_artifact): (&Renderer<'_>, bool),
        known: Option<&Self>,
    ) -> Self {
        let name = config.layout.definition_name(id);
        let (source, cached) = match source {
            Source::Present(bytes) => {
                let is_same = |known: &&Self| {
                    known.is_of(source)
                        && !known.cached.rendered.is_transient
                        && renderer.values.are_same(known.env_files())
                };
                let cached = match known.filter(is_same) {
                    Some(known) => Arc::clone(&known.cached),
                    None => {
                        let file = config.layout.definition_path(id);
                        let name = with_artifact.then_some(&*name);
                        Arc::new(CachedRender::new(id, &file, bytes, renderer, name))
                    }
                };
                (Some(Arc::clone(bytes)), cached)
            }
            Source::Unreadable(why) => {
                let rendered = RenderedDefinition::unreadable(why);
                let cached = CachedRender {
                    rendered,
                    ..CachedRender::default()
                };
                (None, Arc::new(cached))
            }
        };
        let rendered = &cached.rendered;
        Self {
            name,
            source,
            diagnostics: rendered.diagnostics.clone(),
            is_independent: !rendered.is_transient && rendered.env_files.is_empty(),
            has_conflicts: false,
            cached,
        }
    }

    /// Whether it was read from these very bytes.
    fn is_of(&self, source: &Source) -> bool {
        match (&self.source, source) {
            (Some(known), Source::Present(bytes)) => Arc::ptr_eq(known, bytes),
            _ => false,
        }
    }

    /// Whether the definition has errors, so PM2 must not get it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.diagnostics.has_errors()
    }

    /// Its artifact's text, unless it is broken or was loaded without artifacts.
    #[must_use]
    pub fn artifact(&self) -> Option<&Arc<str>> {
        self.cached.artifact.as_ref().filter(|_| !self.is_broken())
    }

    /// The env files that its apps name, in the state in which they were read.
    #[must_use]
    pub fn env_files(&self) -> &[(Utf8PathBuf, Arc<EnvFileState>)] {
        &self.cached.rendered.env_files
    }

    /// Its apps without their positions; if it is broken, those that could be read.
    #[must_use]
    pub fn specs(&self) -> &Arc<[AppSpec]> {
        &self.cached.specs
    }

    /// Its apps; if it is broken, those that could be read.
    #[must_use]
    pub fn apps(&self) -> &[PlacedApp] {
        &self.cached.rendered.apps
    }
}

impl CachedRender {
    /// Makes the artifact here because it starts with the definition's name.
    fn new(
        id: &DaemonId,
        file: &Utf8Path,
        source: &[u8],
        renderer: &Renderer<'_>,
        name: Option<&Utf8Path>,
    ) -> Self {
        let mut rendered = renderer.render(id, file, source);
        let is_good = !rendered.diagnostics.has_errors();
        let document = rendered.document.take().filter(|_| is_good);
        let artifact = document.zip(name).map(|(document, name)| {
            let header = edn_render::header(name);
            document.to_json(Some(&header)).into()
        });
        let specs = rendered.apps.iter().map(|placed| placed.app.clone());
        Self {
            artifact,
            specs: specs.collect(),
            rendered,
        }
    }
}

/// All definitions of a workspace.
#[derive(Debug)]
pub struct Definitions {
    /// By daemon. Those that stay the same are shared with earlier definitions.
    pub daemons: DaemonMap<Arc<Definition>>,
    /// Findings about paths of the tree: errors, then warnings.
    pub of_tree: Vec<TreeFinding>,
    index: Index,
    tree: Arc<Tree>,
    values: ValueSources,
}

/// Why the definitions cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionsError {
    /// The tree cannot be read. Nothing was changed.
    #[error("the definitions cannot be read, so nothing was changed")]
    Scan(#[from] ScanError),
    /// No definition has the mode.
    #[error("no definition has the mode `{mode}`{}", known_names(.known, "any `:profiles`"))]
    UnknownMode {
        /// The mode.
        mode: String,
        /// The available modes.
        known: BTreeSet<String>,
    },
    /// No app has the environment.
    #[error("no app has an `:env_{env}`{}", known_names(.known, "any `:env_NAME`"))]
    UnknownEnv {
        /// The environment's name.
        env: String,
        /// The available names.
        known: BTreeSet<String>,
    },
}

impl DefinitionsError {
    /// The kind of the failure, from which the caller chooses an exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Scan(_) => FailureKind::Other,
            Self::UnknownMode { .. } | Self::UnknownEnv { .. } => FailureKind::Usage,
        }
    }
}

fn known_names(known: &BTreeSet<String>, kind: &str) -> String {
    if known.is_empty() {
        return format!("; none has {kind}");
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("; known names are {}", names.join(", "))
}

impl Definitions {
    /// Reads and renders all definitions.
    ///
    /// # Errors
    /// [`DefinitionsError`] when the tree cannot be read, or no definition has the mode or environment. An invalid definition is no
    /// error: it is in the result, with its findings.
    pub fn load(config: &Config) -> Result<Self, DefinitionsError> {
        Self::of_tree(Arc::new(watcher::scan(&config.layout)?), config, None)
    }

    /// As [`load`](Self::load), without artifacts, for callers that only need the findings.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn look(config: &Config) -> Result<Self, DefinitionsError> {
        Self::read(
            Arc::new(watcher::scan(&config.layout)?),
            config,
            None,
            false,
        )
    }

    /// Renders the definitions of a scan, and reuses renders of the same bytes from `previous`.
    ///
    /// # Errors
    /// [`DefinitionsError::UnknownMode`] and [`DefinitionsError::UnknownEnv`] when no definition has the chosen mode or
    /// environment.
    pub fn of_tree(
        tree: Arc<Tree>,
        config: &Config,
        previous: Option<&Self>,
    ) -> Result<Self, DefinitionsError> {
        Self::read(tree, config, previous, true)
    }

    fn read(
        tree: Arc<Tree>,
        config: &Config,
        previous: Option<&Self>,
        with_artifacts: bool,
    ) -> Result<Self, DefinitionsError> {
        let values = ValueSources::new(config, previous.map(|previous| &previous.values));
        let renderer = (&Renderer::new(config, &values), with_artifacts);
        let mut changed = changed::read(&tree, config, renderer, previous);
        if previous.is_none() {
            // Checked only here: once the last definition with the variant is gone, the others must not fail.
            check_variant(&changed.daemons, config)?;
        }
        changed.add_conflicts(&tree, &renderer.0.options);
        let daemons = changed.daemons;
        let mut index = previous.map_or_else(Index::default, |previous| previous.index.clone());
        index.update(&daemons, &changed.changed);
        let errors = tree.problems.iter();
        let errors = errors.map(|problem| TreeFinding::error(problem, config));
        let warnings = tree.misnamed.iter();
        let warnings = warnings.map(|path| TreeFinding::misnamed(path, config));
        // A file named by several apps is reported once.
        let special = index.special.iter().filter_map(|id| daemons.get(id));
        let of_env_files: BTreeSet<&EnvFileFinding> = special
            .flat_map(|definition| &definition.cached.rendered.of_env_files)
            .collect();
        let (errors_of_files, warnings_of_files): (Vec<_>, Vec<_>) = of_env_files
            .into_iter()
            .map(TreeFinding::env_file)
            .partition(TreeFinding::is_error);
        let errors = errors.chain(errors_of_files);
        let of_tree = errors.chain(warnings).chain(warnings_of_files).collect();
        Ok(Self {
            daemons,
            of_tree,
            index,
            tree,
            values,
        })
    }

    /// Whether they were loaded from this tree.
    pub(crate) fn are_of(&self, tree: &Arc<Tree>) -> bool {
        Arc::ptr_eq(&self.tree, tree)
    }

    /// Keeps these daemons only, with the findings about env files that they name.
    pub fn retain(&mut self, only: &BTreeSet<DaemonId>) {
        let kept = only.iter().filter_map(|id| self.daemons.get_key_value(id));
        self.daemons = kept.map(|(id, it)| (id.clone(), Arc::clone(it))).collect();
        self.index = Index::default();
        self.index.update(&self.daemons, only);
        let kept = self.daemons.values();
        let kept = kept.flat_map(|definition| &definition.cached.rendered.of_env_files);
        let kept: Vec<TreeFinding> = kept.map(TreeFinding::env_file).collect();
        self.of_tree.retain(|found| kept.contains(found));
    }

    /// The absolute paths of the env files that they name; repeated if several definitions name the same file.
    pub fn env_files(&self) -> impl Iterator<Item = &Utf8PathBuf> {
        let files = self.special().flat_map(|(_, it)| it.env_files());
        files.map(|(path, _)| path)
    }

    /// The daemons that name an env file which has changed since it was read for them.
    #[must_use]
    pub fn with_edited_env_files(&self, config: &Config) -> BTreeSet<DaemonId> {
        let values = ValueSources::new(config, Some(&self.values));
        let edited = self.special();
        let edited = edited.filter(|(_, it)| !values.are_same(it.env_files()));
        edited.map(|(id, _)| id.clone()).collect()
    }

    /// The texts of the artifacts of all valid definitions, unless they were loaded without artifacts.
    pub(crate) fn artifacts(&self) -> &DaemonMap<Arc<str>> {
        &self.index.artifacts
    }

    /// The values of references.
    pub(crate) fn values(&self) -> &ValueSources {
        &self.values
    }

    /// Directories below the tree on which another file system is mounted.
    pub(crate) fn mounts(&self) -> &BTreeSet<Utf8PathBuf> {
        &self.tree.mounts
    }

    /// Whether the whole tree could be read, so that a definition that was not found certainly does not exist.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tree.is_complete()
    }

    /// Whether a daemon certainly has no definition. An unreadable one is not absent.
    #[must_use]
    pub fn is_absent(&self, id: &DaemonId) -> bool {
        self.tree.is_absent(id)
    }

    /// Errors about paths of the tree itself.
    pub fn tree_errors(&self) -> impl Iterator<Item = &TreeFinding> {
        let all = self.of_tree.iter();
        all.filter(|found| found.is_error() && !found.is_env_file)
    }

    /// Daemons whose definition is broken.
    pub fn broken(&self) -> impl Iterator<Item = (&DaemonId, &Definition)> {
        self.special()
            .filter(|(_, definition)| definition.is_broken())
    }

    fn special(&self) -> impl Iterator<Item = (&DaemonId, &Definition)> {
        let all = self.index.special.iter();
        let all = all.filter_map(|id| self.daemons.get_key_value(id));
        all.map(|(id, definition)| (id, definition.as_ref()))
    }
}

/// Checks that at least one definition has the mode or environment: otherwise the name is a typo.
fn check_variant(
    daemons: &DaemonMap<Arc<Definition>>,
    config: &Config,
) -> Result<(), DefinitionsError> {
    let is_unread = |definition: &Arc<Definition>| {
        let at_render = |found: &Diagnostic| found.is_error() && found.level == Level::Render;
        definition.diagnostics.iter().any(at_render)
    };
    // The definition that has it may be temporarily unreadable.
    if daemons.is_empty() || daemons.values().any(is_unread) {
        return Ok(());
    }
    let all = || {
        daemons
            .values()
            .map(|definition| &definition.cached.rendered)
    };
    if let Some(mode) = &config.mode
        && !all().any(|rendered| rendered.has_mode)
    {
        return Err(DefinitionsError::UnknownMode {
            mode: mode.clone(),
            known: all().flat_map(|rendered| rendered.modes.clone()).collect(),
        });
    }
    if let Some(env) = &config.env_name
        && !all().any(|rendered| rendered.envs.contains(env))
    {
        return Err(DefinitionsError::UnknownEnv {
            env: env.clone(),
            known: all().flat_map(|rendered| rendered.envs.clone()).collect(),
        });
    }
    Ok(())
}
