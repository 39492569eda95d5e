//! All definitions of a workspace, rendered and checked: the half of a pass that needs no PM2.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    AppSpec, DaemonId, Desired, DesiredDaemon, Diagnostic, DocumentPath, Finding, Level, Place,
    Severity, SpecContext, check_together,
};
use edn_render::Document;
use edn_render::fallback::Fallback;
use serde_json::Value;
use watcher::{ProblemKind, ScanError, Source, Tree};

use crate::config::Config;
use crate::parallel;

/// One definition.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its path relative to the workspace, for messages.
    pub name: Utf8PathBuf,
    /// Its bytes, if they could be read.
    pub source: Option<Arc<[u8]>>,
    /// What was found about it, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    unit: Arc<Unit>,
}

/// What one definition gives by itself, whatever the others say: kept from pass to pass while its bytes stay.
#[derive(Debug, Default)]
struct Unit {
    artifact: Option<Box<str>>,
    apps: Vec<(usize, AppSpec)>,
    diagnostics: Vec<Diagnostic>,
    modes: BTreeSet<String>,
    has_mode: bool,
    /// The names that `--env` may choose here.
    envs: BTreeSet<String>,
    /// Another renderer gave no answer, and may give one to the same bytes.
    may_pass: bool,
}

impl Definition {
    /// Renders it, unless `previous` did that to the same bytes.
    fn read(
        id: &DaemonId,
        source: &Source,
        config: &Config,
        previous: Option<&Definitions>,
    ) -> Self {
        let name = config.layout.definition_name(id);
        let (source, unit) = match source {
            Source::Present(bytes) => {
                let is_same = |known: &&Self| {
                    let source = known.source.as_ref();
                    source.is_some_and(|known| Arc::ptr_eq(known, bytes)) && !known.unit.may_pass
                };
                let known = previous.and_then(|previous| previous.daemons.get(id));
                let unit = match known.filter(is_same) {
                    Some(known) => Arc::clone(&known.unit),
                    None => Arc::new(Unit::read(id, &name, bytes, config)),
                };
                (Some(Arc::clone(bytes)), unit)
            }
            Source::Unreadable(why) => (None, Arc::new(Unit::unreadable(why))),
        };
        Self {
            name,
            source,
            diagnostics: unit.diagnostics.clone(),
            unit,
        }
    }

    /// Whether PM2 must not be given it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Its artifact's text, unless it is broken.
    #[must_use]
    pub fn artifact(&self) -> Option<&str> {
        self.unit.artifact.as_deref().filter(|_| !self.is_broken())
    }

    /// Its apps; of a broken one those that could be read.
    #[must_use]
    pub fn apps(&self) -> &[(usize, AppSpec)] {
        &self.unit.apps
    }
}

impl Unit {
    fn unreadable(why: &std::io::Error) -> Self {
        Self {
            diagnostics: vec![Diagnostic::new(
                Severity::Error,
                Level::Render,
                format!("cannot be read: {why}"),
            )],
            ..Self::default()
        }
    }

    fn read(id: &DaemonId, name: &Utf8Path, source: &[u8], config: &Config) -> Self {
        let rendered = edn_render::fallback::read_with(
            source,
            &config.layout.definition_path(id),
            // Whether any definition has the mode is known at the end.
            &options(config),
            config.renderer,
            config.pm2_clj.as_ref().map(|other| other as &dyn Fallback),
        );
        let mut unit = Self {
            diagnostics: rendered.diagnostics,
            modes: rendered.modes,
            has_mode: rendered.has_mode,
            may_pass: rendered.may_pass,
            ..Self::default()
        };
        if let Some(document) = &rendered.document {
            let deploy = document.get("deploy");
            unit.envs.extend(envs_of_deploy(deploy.as_deref()));
            let apps = document
                .apps(MOST_OF_APP)
                .inspect(|app| unit.envs.extend(envs_of_app(app.as_deref())));
            let (apps, findings) = read_apps(id, apps, deploy.as_deref(), config);
            unit.apps = apps;
            diagnose(&mut unit.diagnostics, document, &findings);
            if !unit.diagnostics.iter().any(Diagnostic::is_error) {
                let header = edn_render::header(name);
                unit.artifact = Some(document.to_json(Some(&header)).into_boxed_str());
            }
        }
        if let Some(draft) = &rendered.draft {
            let findings = look_at_draft(id, draft, &context_of(config, None));
            diagnose(&mut unit.diagnostics, draft, &findings);
        }
        unit
    }
}

fn options(config: &Config) -> edn_render::Options {
    edn_render::Options {
        mode: config.mode.clone(),
        allow_missing_mode: true,
        ..edn_render::Options::default()
    }
}

/// A file or directory in the tree that is no definition of any daemon, but should be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    #[error("no definition has the mode `{mode}`{}", known_names(.known, "any `:profiles`"))]
    UnknownMode {
        /// The mode.
        mode: String,
        /// The modes there are.
        known: BTreeSet<String>,
    },
    /// No app has the environment.
    #[error("no app has an `:env_{env}`{}", known_names(.known, "any `:env_NAME`"))]
    UnknownEnv {
        /// The environment's name.
        env: String,
        /// The names there are.
        known: BTreeSet<String>,
    },
}

fn known_names(known: &BTreeSet<String>, kind: &str) -> String {
    if known.is_empty() {
        return format!("; none has {kind}");
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("; there are {}", names.join(", "))
}

impl Definitions {
    /// Reads and renders all of them.
    ///
    /// # Errors
    /// [`DefinitionsError`] when the tree cannot be read, or the mode or environment is in none of them. A definition that
    /// cannot be used is no error: it is in the result, with its findings.
    pub fn load(config: &Config) -> Result<Self, DefinitionsError> {
        let tree = watcher::scan(&config.layout)?;
        Self::of_tree(Arc::new(tree), config, None)
    }

    /// Renders what a scan found; what has the same bytes as in `previous` is taken from there.
    ///
    /// # Errors
    /// [`DefinitionsError::UnknownMode`], [`DefinitionsError::UnknownEnv`].
    pub fn of_tree(
        tree: Arc<Tree>,
        config: &Config,
        previous: Option<&Self>,
    ) -> Result<Self, DefinitionsError> {
        let sources: Vec<(&DaemonId, &Source)> = tree.sources.iter().collect();
        let definitions = parallel::map(&sources, |(id, source)| {
            Definition::read(id, source, config, previous)
        });
        let ids = tree.sources.keys().cloned();
        let mut daemons: BTreeMap<DaemonId, Definition> = ids.zip(definitions).collect();
        if previous.is_none() {
            // Later, when the last definition that has it goes, the others must not suffer for it.
            check_variant(&daemons, config)?;
        }
        let together = check_together(
            daemons
                .iter()
                .map(|(id, definition)| (id, definition.apps())),
        );
        for (id, findings) in together {
            let definition = daemons.get_mut(&id);
            if let Some(definition) = definition
                && let Some(source) = &definition.source
            {
                // Rare enough to read the file's text again for the places.
                let document = edn_render::read(source, &options(config))
                    .document
                    .unwrap_or_else(|| Document::unplaced(source));
                diagnose(&mut definition.diagnostics, &document, &findings);
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

    /// Whether all of the tree could be looked into, so that what was not found does not exist.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tree.is_complete()
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
                DesiredDaemon::Apps(
                    definition
                        .apps()
                        .iter()
                        .map(|(_, app)| app.clone())
                        .collect(),
                )
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

/// A mode or an environment has to be in one definition at least: in none, it is a slip of the pen.
fn check_variant(
    daemons: &BTreeMap<DaemonId, Definition>,
    config: &Config,
) -> Result<(), DefinitionsError> {
    let is_unread = |definition: &Definition| {
        let at_render = |found: &Diagnostic| found.is_error() && found.level == Level::Render;
        definition.diagnostics.iter().any(at_render)
    };
    // The one that has it may be the one that cannot be read right now.
    if daemons.is_empty() || daemons.values().any(is_unread) {
        return Ok(());
    }
    let units = || daemons.values().map(|definition| &definition.unit);
    if let Some(mode) = &config.mode
        && !units().any(|unit| unit.has_mode)
    {
        return Err(DefinitionsError::UnknownMode {
            mode: mode.clone(),
            known: units().flat_map(|unit| unit.modes.clone()).collect(),
        });
    }
    if let Some(env) = &config.env_name
        && !units().any(|unit| unit.envs.contains(env))
    {
        return Err(DefinitionsError::UnknownEnv {
            env: env.clone(),
            known: units().flat_map(|unit| unit.envs.clone()).collect(),
        });
    }
    Ok(())
}

/// Names that `--env` may choose: those of `env_NAME` maps.
fn envs_of_app(app: Option<&Value>) -> impl Iterator<Item = String> {
    app.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_object())
        .filter_map(|(key, _)| key.strip_prefix("env_"))
        .map(ToOwned::to_owned)
}

/// The others that it may choose: those of deployments with an `env`.
fn envs_of_deploy(deploy: Option<&Value>) -> impl Iterator<Item = String> {
    deploy
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, target)| target.get("env").is_some_and(Value::is_object))
        .map(|(name, _)| name.to_owned())
}

/// Adds findings with their places: errors first, and no more than anybody reads.
pub(crate) fn diagnose(
    diagnostics: &mut Vec<Diagnostic>,
    document: &Document,
    findings: &[Finding],
) {
    let mut order: Vec<&Finding> = findings.iter().collect();
    order.sort_by_key(|finding| finding.severity);
    let is_more = |found: &Diagnostic| found.span.is_none() && found.message.ends_with(MORE);
    let told = diagnostics.iter().filter(|found| !is_more(found)).count();
    // One error has to be told, or nobody knows that there are any.
    let is_broken = diagnostics.iter().any(Diagnostic::is_error);
    let room = edn_render::MAX_FINDINGS
        .saturating_sub(told)
        .max(usize::from(!is_broken));
    let left_out = order.get(room).map(|finding| finding.severity);
    diagnostics.extend(
        order
            .into_iter()
            .take(room)
            .map(|finding| document.diagnose(finding)),
    );
    if let Some(severity) = left_out {
        match diagnostics.iter_mut().find(|found| is_more(found)) {
            Some(more) => {
                // Its count, if it has one, is not that of all.
                MORE.clone_into(&mut more.message);
                more.severity = more.severity.min(severity);
            }
            None => diagnostics.push(Diagnostic::new(severity, Level::Definition, MORE)),
        }
    }
    // What is about no place comes last.
    let place = |found: &Diagnostic| found.span.map(|span| (span.start, span.end));
    diagnostics.sort_by_key(|found| place(found).unwrap_or((usize::MAX, 0)));
}

/// What is said in the place of findings beyond those that anybody reads.
const MORE: &str = "more findings are not shown";

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

/// How many bytes the values of one app may come to: with more, no process can be started, whatever PM2 is told.
///
/// Source: Linux, `fs/exec.c` (`bprm_stack_limits`): arguments and environment get at most 6 MiB.
pub(crate) const MOST_OF_APP: usize = 6 << 20;

/// What is found about an app that is larger than any may be.
pub(crate) fn too_large(path: &DocumentPath) -> Vec<Finding> {
    vec![Finding {
        path: path.clone(),
        place: Place::Value,
        severity: Severity::Error,
        level: Level::Definition,
        message: "is larger than 6 MiB, which no process can be given".to_owned(),
        help: Some("put large values into a file and name that".to_owned()),
        labels: Vec::new(),
    }]
}

/// Adds findings, but of each severity no more than anybody reads, and one that tells that there are more.
pub(crate) fn keep(findings: &mut Vec<Finding>, found: Vec<Finding>) {
    for finding in found {
        let same = |known: &&Finding| known.severity == finding.severity;
        if findings.iter().filter(same).count() <= edn_render::MAX_FINDINGS {
            findings.push(finding);
        }
    }
}

fn context_of<'a>(config: &'a Config, deploy: Option<&'a Value>) -> SpecContext<'a> {
    SpecContext {
        root: config.root(),
        home: &config.home,
        env_name: config.env_name.as_deref(),
        deploy: deploy.and_then(Value::as_object),
    }
}

/// What is found about the apps of a definition that cannot be rendered. It gives no apps: what else they hold is not known.
pub(crate) fn look_at_draft(
    id: &DaemonId,
    draft: &Document,
    context: &SpecContext<'_>,
) -> Vec<Finding> {
    let path = DocumentPath::root().key("apps");
    let mut findings = Vec::new();
    for (index, app) in draft.parts(MOST_OF_APP) {
        let place = path.index(index);
        let found = if app.is_whole {
            AppSpec::read(id, &app.value, &place, context).1
        } else {
            AppSpec::look_at_part(&app.value, &place, context)
        };
        keep(&mut findings, found);
    }
    findings
}

/// The apps of a rendered document, with their place in it.
fn read_apps<'a>(
    id: &DaemonId,
    apps: impl Iterator<Item = Option<Cow<'a, Value>>>,
    deploy: Option<&Value>,
    config: &Config,
) -> (Vec<(usize, AppSpec)>, Vec<Finding>) {
    let context = context_of(config, deploy);
    let path = DocumentPath::root().key("apps");
    let mut specs = Vec::new();
    let mut findings = Vec::new();
    for (index, app) in apps.enumerate() {
        let place = path.index(index);
        let (spec, found) = match app {
            Some(app) => AppSpec::read(id, &app, &place, &context),
            None => (None, too_large(&place)),
        };
        specs.extend(spec.map(|spec| (index, spec)));
        keep(&mut findings, found);
    }
    (specs, findings)
}

/// The apps of the last good render of a daemon: those of its artifact.
pub(crate) fn last_good(id: &DaemonId, config: &Config) -> Vec<AppSpec> {
    // An artifact that is missing or damaged is no last good render; the next good one makes it again.
    edn_render::artifact::read(&config.layout.artifact_path(id))
        .ok()
        .flatten()
        .and_then(|bytes| edn_render::artifact::parse(&bytes).ok())
        .map(|document| {
            let apps = document.get("apps").and_then(Value::as_array);
            let apps = apps
                .into_iter()
                .flatten()
                .map(|app| Some(Cow::Borrowed(app)));
            read_apps(id, apps, document.get("deploy"), config)
                .0
                .into_iter()
                .map(|(_, app)| app)
                .collect()
        })
        .unwrap_or_default()
}
