//! All definitions of a workspace, rendered and checked: the half of a pass that needs no PM2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::Utf8PathBuf;
use daemon_model::{
    AppSpec, DaemonId, Desired, DesiredDaemon, Diagnostic, DocumentPath, Finding, Level, Severity,
    SpecContext, check_together,
};
use edn_render::Document;
use serde_json::{Map, Value};
use watcher::{ProblemKind, ScanError, Source, Tree};

use crate::config::Config;

/// One definition.
#[derive(Debug)]
pub struct Definition {
    /// Its path relative to the workspace, for messages.
    pub name: Utf8PathBuf,
    /// Its bytes, if they could be read.
    pub source: Option<Arc<[u8]>>,
    /// What was found about it, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Its artifact's text, unless it is broken.
    pub artifact: Option<String>,
    /// Its apps; of a broken one those that could be read.
    pub apps: Vec<(usize, AppSpec)>,
}

impl Definition {
    /// Whether PM2 must not be given it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    fn unreadable(name: Utf8PathBuf, why: &std::io::Error) -> Self {
        Self {
            name,
            source: None,
            diagnostics: vec![Diagnostic::new(
                Severity::Error,
                Level::Render,
                format!("cannot be read: {why}"),
            )],
            artifact: None,
            apps: Vec::new(),
        }
    }
}

/// A file or directory in the tree that is no definition of any daemon, but should be looked at.
#[derive(Debug)]
pub struct Stray {
    /// Where, relative to the workspace where it lies below it.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// All definitions of a workspace.
#[derive(Debug)]
pub struct Definitions {
    /// By daemon.
    pub daemons: BTreeMap<DaemonId, Definition>,
    /// What is broken without belonging to a daemon.
    pub strays: Vec<Stray>,
    tree: Arc<Tree>,
}

/// Why there are no definitions to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionsError {
    /// The tree cannot be read. Nothing was changed.
    #[error("the definitions cannot be read, so nothing was changed")]
    Scan(#[from] ScanError),
    /// No definition has the mode.
    #[error("no definition has the mode `{mode}`{}", known_modes(.known))]
    UnknownMode {
        /// The mode.
        mode: String,
        /// The modes there are.
        known: BTreeSet<String>,
    },
}

fn known_modes(known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return "; none has any `:profiles`".to_owned();
    }
    let names: Vec<String> = known.iter().map(|mode| format!("`{mode}`")).collect();
    format!("; there are {}", names.join(", "))
}

impl Definitions {
    /// Reads and renders all of them.
    ///
    /// # Errors
    /// [`DefinitionsError`] when the tree cannot be read, or the mode is in none of them. A definition that
    /// cannot be used is no error: it is in the result, with its findings.
    pub fn load(config: &Config) -> Result<Self, DefinitionsError> {
        let tree = watcher::scan(&config.layout)?;
        Self::of_tree(Arc::new(tree), config)
    }

    /// Renders what a scan found.
    ///
    /// # Errors
    /// [`DefinitionsError::UnknownMode`].
    pub fn of_tree(tree: Arc<Tree>, config: &Config) -> Result<Self, DefinitionsError> {
        let mut daemons = BTreeMap::new();
        let mut documents: BTreeMap<DaemonId, Document> = BTreeMap::new();
        let mut modes = BTreeSet::new();
        let mut some_has_mode = false;
        for (id, source) in &tree.sources {
            let name = config.layout.definition_name(id);
            let definition = match source {
                Source::Present(bytes) => {
                    let rendered = edn_render::read(
                        bytes,
                        &edn_render::Options {
                            mode: config.mode.clone(),
                            // Whether any definition has the mode is known at the end.
                            allow_missing_mode: true,
                            ..edn_render::Options::default()
                        },
                    );
                    some_has_mode |= rendered.has_mode;
                    modes.extend(rendered.modes);
                    let mut definition = Definition {
                        name,
                        source: Some(Arc::clone(bytes)),
                        diagnostics: rendered.diagnostics,
                        artifact: None,
                        apps: Vec::new(),
                    };
                    if let Some(document) = rendered.document {
                        let (apps, findings) = read_apps(id, document.value(), config);
                        definition.apps = apps;
                        diagnose(&mut definition.diagnostics, &document, &findings);
                        documents.insert(id.clone(), document);
                    }
                    definition
                }
                Source::Unreadable(why) => Definition::unreadable(name, why),
            };
            daemons.insert(id.clone(), definition);
        }
        if let Some(mode) = &config.mode
            && !some_has_mode
            && !daemons.is_empty()
        {
            return Err(DefinitionsError::UnknownMode {
                mode: mode.clone(),
                known: modes,
            });
        }

        let together = check_together(
            daemons
                .iter()
                .map(|(id, definition)| (id, &definition.apps[..])),
        );
        for (id, findings) in together {
            if let (Some(definition), Some(document)) = (daemons.get_mut(&id), documents.get(&id)) {
                diagnose(&mut definition.diagnostics, document, &findings);
            }
        }
        for (id, definition) in &mut daemons {
            definition.diagnostics.sort_by_key(|diagnostic| {
                diagnostic
                    .span
                    .map_or((0, 0), |span| (span.start, span.end))
            });
            if !definition.is_broken()
                && let Some(document) = documents.get(id)
            {
                let header = edn_render::header(&definition.name);
                definition.artifact = Some(edn_render::to_json(document.value(), Some(&header)));
            }
        }
        let strays = tree
            .problems
            .iter()
            .map(|problem| Stray {
                path: problem
                    .path
                    .strip_prefix(config.root().as_std_path())
                    .unwrap_or(&problem.path)
                    .display()
                    .to_string(),
                message: describe(&problem.kind),
            })
            .collect();
        Ok(Self {
            daemons,
            strays,
            tree,
        })
    }

    /// Whether a daemon surely has no definition. What cannot be looked at is not absent.
    #[must_use]
    pub fn is_absent(&self, id: &DaemonId) -> bool {
        self.tree.is_absent(id)
    }

    /// Daemons whose definition is broken.
    pub fn broken(&self) -> impl Iterator<Item = (&DaemonId, &Definition)> {
        self.daemons
            .iter()
            .filter(|(_, definition)| definition.is_broken())
    }

    /// What they want. `known` are the daemons that something else knows of (processes, artifacts): those that
    /// may have a definition which cannot be seen right now are broken, not absent.
    #[must_use]
    pub fn desired<'a>(
        &self,
        config: &Config,
        known: impl IntoIterator<Item = &'a DaemonId>,
    ) -> Desired {
        let mut desired = Desired::default();
        for (id, definition) in &self.daemons {
            let daemon = if definition.is_broken() {
                DesiredDaemon::Broken {
                    last_good: last_good(id, config),
                }
            } else {
                DesiredDaemon::Apps(definition.apps.iter().map(|(_, app)| app.clone()).collect())
            };
            desired.daemons.insert(id.clone(), daemon);
        }
        for id in known {
            if !desired.daemons.contains_key(id) && !self.is_absent(id) {
                let last_good = last_good(id, config);
                desired
                    .daemons
                    .insert(id.clone(), DesiredDaemon::Broken { last_good });
            }
        }
        desired
    }
}

/// Adds findings with their places: errors first, and no more than anybody reads.
pub(crate) fn diagnose(
    diagnostics: &mut Vec<Diagnostic>,
    document: &Document,
    findings: &[Finding],
) {
    let mut order: Vec<&Finding> = findings.iter().collect();
    order.sort_by_key(|finding| finding.severity);
    let room = edn_render::MAX_FINDINGS
        .saturating_sub(diagnostics.len())
        .max(1);
    diagnostics.extend(
        order
            .into_iter()
            .take(room)
            .map(|finding| document.diagnose(finding)),
    );
    diagnostics.sort_by_key(|found| found.span.map_or((0, 0), |span| (span.start, span.end)));
}

fn describe(kind: &ProblemKind) -> String {
    match kind {
        ProblemKind::InvalidId(error) => error.to_string(),
        ProblemKind::NotUtf8 => {
            "the path is not UTF-8, so it cannot be the ID of a daemon".to_owned()
        }
        ProblemKind::UnlistableDir(error) => {
            format!("cannot be listed ({error}): what is defined below it is left as it is")
        }
        other => format!("cannot be looked at: {other:?}"),
    }
}

/// The apps of a rendered document, with their place in it.
fn read_apps(
    id: &DaemonId,
    document: &Map<String, Value>,
    config: &Config,
) -> (Vec<(usize, AppSpec)>, Vec<Finding>) {
    let context = SpecContext {
        root: config.root(),
        home: &config.home,
        env_name: config.env_name.as_deref(),
        deploy: document.get("deploy").and_then(Value::as_object),
    };
    let path = DocumentPath::root().key("apps");
    let mut apps = Vec::new();
    let mut findings = Vec::new();
    let list = document.get("apps").and_then(Value::as_array);
    for (index, app) in list.into_iter().flatten().enumerate() {
        let (spec, found) = AppSpec::read(id, app, &path.index(index), &context);
        apps.extend(spec.map(|spec| (index, spec)));
        findings.extend(found);
    }
    (apps, findings)
}

/// The apps of the last good render of a daemon: those of its artifact.
fn last_good(id: &DaemonId, config: &Config) -> Vec<AppSpec> {
    // An artifact that is missing or damaged is no last good render; the next good one makes it again.
    edn_render::artifact::read(&config.layout.artifact_path(id))
        .ok()
        .flatten()
        .and_then(|bytes| edn_render::artifact::parse(&bytes).ok())
        .map(|document| {
            read_apps(id, &document, config)
                .0
                .into_iter()
                .map(|(_, app)| app)
                .collect()
        })
        .unwrap_or_default()
}
