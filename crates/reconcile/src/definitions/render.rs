//! Renders one definition. `check`, `render`, `sync` and `watch` all use it.
//!
//! ```text
//! bytes ─ edn-render, or another renderer ─> document ─ daemon-model ─> apps
//!              │                                             │
//!              └────────────────> diagnostics <──────────────┘
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    AppSpec, DaemonId, Declared, Diagnostics, DocumentPath, EnvFileState, Finding, Level, Place,
    PlacedApp, Severity, SpecContext, Values, env_file_problems, find_conflicts,
};
use edn_render::fallback::{self, Fallback};
use edn_render::{Document, Options};
use serde_json::Value;

use crate::config::Config;
use crate::pm2_clj::Pm2Clj;
use crate::values::ValueSources;

/// The limit for the values of one app, in bytes: with more, no process can be started.
///
/// Source: Linux, `fs/exec.c` (`bprm_stack_limits`): arguments and environment get at most 6 MiB.
const MAX_APP_BYTES: usize = 6 << 20;

/// Renders definitions, independently of each other.
#[derive(Debug, Clone)]
pub struct Renderer<'a> {
    /// The directory that relative paths start from.
    pub root: &'a Utf8Path,
    /// The user's home, for `~` in log paths.
    pub home: &'a Utf8Path,
    /// The `env_NAME` block that is merged over `env`.
    pub env_name: Option<&'a str>,
    /// The variant to render.
    pub options: Options,
    /// The renderer to use.
    pub choice: fallback::Renderer,
    /// The other renderer, if one is configured.
    pub other: Option<&'a Pm2Clj>,
    /// The values of references.
    pub values: &'a ValueSources,
}

/// One rendered definition.
#[derive(Debug, Default)]
pub struct RenderedDefinition {
    /// The document for PM2; none if the definition cannot be rendered.
    pub document: Option<Document>,
    /// Its apps, without those that have errors.
    pub apps: Vec<PlacedApp>,
    /// The findings about it, sorted by position.
    pub diagnostics: Diagnostics,
    /// The modes that it has.
    pub modes: BTreeSet<String>,
    /// Whether it has the requested mode.
    pub has_mode: bool,
    /// The names that `--env` may choose.
    pub envs: BTreeSet<String>,
    /// Whether the same bytes may render later: the other renderer gave no answer.
    pub is_transient: bool,
    /// The env files that its apps name, in the state in which they were read.
    pub env_files: Vec<(Utf8PathBuf, Arc<EnvFileState>)>,
    /// The findings about these files, with lines in the files.
    pub of_env_files: Vec<EnvFileFinding>,
}

/// A finding about an env file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvFileFinding {
    /// The file, as spelled in the definition.
    pub file: String,
    /// The line, from 1; none for the whole file.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// Whether the file cannot be used.
    pub is_error: bool,
}

impl<'a> Renderer<'a> {
    /// The renderer of a workspace's definitions. A missing mode is not an error of one definition: all of them must be rendered to
    /// tell whether any has it.
    #[must_use]
    pub fn new(config: &'a Config, values: &'a ValueSources) -> Self {
        Self {
            root: config.root(),
            home: &config.home,
            env_name: config.env_name.as_deref(),
            options: Options {
                mode: config.mode.clone(),
                allow_missing_mode: true,
                ..Options::default()
            },
            choice: config.renderer,
            other: config.pm2_clj.as_ref(),
            values,
        }
    }

    /// Renders the definition of a daemon. `file` is its path, for the other renderer.
    #[must_use]
    pub fn render(&self, id: &DaemonId, file: &Utf8Path, source: &[u8]) -> RenderedDefinition {
        let rendered = fallback::read_with(
            source,
            file,
            &self.options,
            self.choice,
            self.other.map(|other| other as &dyn Fallback),
        );
        let mut definition = RenderedDefinition {
            diagnostics: rendered.diagnostics,
            modes: rendered.modes,
            has_mode: rendered.has_mode,
            is_transient: rendered.is_transient,
            ..RenderedDefinition::default()
        };
        if let Some(document) = rendered.document {
            self.read_document(id, &document, &mut definition);
            definition.document = Some(document);
        }
        if let Some(partial) = rendered.partial {
            self.check_partial(id, &partial, &mut definition.diagnostics);
        }
        definition
    }

    /// Reads the apps of a document, with the findings about each.
    fn read_document(
        &self,
        id: &DaemonId,
        document: &Document,
        definition: &mut RenderedDefinition,
    ) {
        let deploy = document.get("deploy");
        definition.envs.extend(envs_of_deploy(deploy.as_deref()));
        let envs = &mut definition.envs;
        let (env_files, of_env_files) = (&mut definition.env_files, &mut definition.of_env_files);
        let apps = document.apps(MAX_APP_BYTES).map(|app| {
            envs.extend(envs_of_app(app.as_deref()));
            let app = app?;
            let (values, files) = self.values.of_app(&app, self.root);
            env_files.extend(files);
            of_env_files.extend(env_file_findings(&app, self.root, &values));
            Some((app, values))
        });
        let diagnostics = &mut definition.diagnostics;
        definition.apps = self.read_apps(id, apps, deploy.as_deref(), |findings| {
            document.diagnose_all(&findings, diagnostics);
        });
    }

    /// Reads apps with the values of their references, and adds their position in the document.
    pub(super) fn read_apps<'v>(
        &self,
        id: &DaemonId,
        apps: impl Iterator<Item = Option<(Cow<'v, Value>, Values)>>,
        deploy: Option<&Value>,
        mut found: impl FnMut(Vec<Finding>),
    ) -> Vec<PlacedApp> {
        let context = self.context(deploy);
        let path = DocumentPath::root().key("apps");
        let mut placed = Vec::new();
        for (index, app) in apps.enumerate() {
            let place = path.index(index);
            let (app, findings) = match app {
                Some((app, values)) => AppSpec::resolve(id, &app, &place, &context, &values),
                None => (None, vec![too_large(place)]),
            };
            placed.extend(app.map(|app| PlacedApp { index, app }));
            if !findings.is_empty() {
                found(findings);
            }
        }
        placed
    }

    /// Checks the apps of a definition that cannot be rendered, as far as they could be read. Returns no apps, because the rest of
    /// their content is not known.
    fn check_partial(&self, id: &DaemonId, partial: &Document, diagnostics: &mut Diagnostics) {
        let context = self.context(None);
        let path = DocumentPath::root().key("apps");
        for (index, app) in partial.partial_apps(MAX_APP_BYTES) {
            let place = path.index(index);
            let (values, _) = self.values.of_app(&app.value, self.root);
            let findings = if app.is_whole {
                AppSpec::resolve(id, &app.value, &place, &context, &values).1
            } else {
                AppSpec::look_at_part(&app.value, &place, &context, &values)
            };
            partial.diagnose_all(&findings, diagnostics);
        }
    }

    fn context<'c>(&'c self, deploy: Option<&'c Value>) -> SpecContext<'c> {
        SpecContext {
            root: self.root,
            home: self.home,
            env_name: self.env_name,
            deploy: deploy.and_then(Value::as_object),
        }
    }
}

impl RenderedDefinition {
    /// The result for a definition that cannot be read.
    pub(super) fn unreadable(why: &std::io::Error) -> Self {
        let message = format!("cannot be read: {why}");
        let found = daemon_model::Diagnostic::new(Severity::Error, Level::Render, message);
        Self {
            diagnostics: Diagnostics::from_iter([found]),
            ..Self::default()
        }
    }

    /// Checks its apps against each other, for a definition outside of a workspace.
    pub fn check_alone(&mut self, id: &DaemonId) {
        let Some(document) = &self.document else {
            return;
        };
        let alone = Declared {
            daemon: id,
            apps: &self.apps,
            is_complete: false,
        };
        let found: BTreeMap<_, _> = find_conflicts([alone]);
        for findings in found.into_values() {
            document.diagnose_all(&findings, &mut self.diagnostics);
            self.diagnostics.omit_all(findings.omitted());
        }
    }
}

/// Problems of the env files of an app, with lines in the files.
fn env_file_findings(app: &Value, root: &Utf8Path, values: &Values) -> Vec<EnvFileFinding> {
    let problems = env_file_problems(app, root, values).into_iter();
    problems
        .map(|(file, problem, is_error)| EnvFileFinding {
            file,
            line: problem.line,
            message: problem.message,
            is_error,
        })
        .collect()
}

fn too_large(path: DocumentPath) -> Finding {
    Finding {
        path,
        place: Place::Value,
        severity: Severity::Error,
        level: Level::Definition,
        message: "is larger than 6 MiB, too large to pass to a process".into(),
        help: Some("put large values into a file, and pass its path".into()),
        labels: Vec::new(),
    }
}

/// Names that `--env` may choose, from `env_NAME` maps.
fn envs_of_app(app: Option<&Value>) -> impl Iterator<Item = String> {
    app.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_object())
        .filter_map(|(key, _)| key.strip_prefix("env_"))
        .map(ToOwned::to_owned)
}

/// Names that `--env` may choose, from deployments with an `env`.
fn envs_of_deploy(deploy: Option<&Value>) -> impl Iterator<Item = String> {
    deploy
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, target)| target.get("env").is_some_and(Value::is_object))
        .map(|(name, _)| name.to_owned())
}
