//! Definitions inside or outside of a workspace.

use camino::Utf8Path;
use daemon_model::{DaemonId, paths};
use edn_render::Options;
use files::Links;

use crate::args::{GlobalArgs, RendererChoice, VariantArgs};
use crate::error::CommandError;
use reconcile::definitions::{RenderedDefinition, Renderer};
use reconcile::{Config, ConfigError, Environment, Pm2Clj, ValueSources};

/// The largest file that is rendered, in bytes.
const LIMIT: u64 = 64 << 20;

/// Splits arguments into files and IDs.
pub fn split(targets: &[String]) -> (Vec<&str>, Vec<String>) {
    let (files, ids): (Vec<&String>, Vec<&String>) =
        targets.iter().partition(|target| target.ends_with(".edn"));
    (
        files.into_iter().map(String::as_str).collect(),
        ids.into_iter().cloned().collect(),
    )
}

/// Reads files that need not be in a workspace.
pub struct FileReader<'a> {
    variant: &'a VariantArgs,
    environment: &'a Environment,
    pm2_clj: Option<Pm2Clj>,
    /// Treats references as present.
    assumed: ValueSources,
    /// The workspace for which references of files are resolved, and their values there.
    workspace: Option<(Config, ValueSources)>,
}

impl<'a> FileReader<'a> {
    /// A reader configured by the arguments and the environment.
    ///
    /// # Errors
    /// [`ConfigError::NoPm2Clj`] when pm2-clj is requested and its command is not known.
    pub fn new(
        global: &GlobalArgs,
        variant: &'a VariantArgs,
        environment: &'a Environment,
    ) -> Result<Self, CommandError> {
        let here = environment.cwd().unwrap_or(Utf8Path::new("/"));
        // Files render outside of a workspace too, so a missing one is not an error.
        let overrides = global.overrides(&VariantArgs::default());
        let (pm2_clj, interpolate) = Config::resolve_without_pm2(&overrides, environment.clone())
            .map_or_else(
                |_| (Pm2Clj::find(None, here, environment), false),
                |config| (config.pm2_clj, config.interpolate),
            );
        if variant.renderer == RendererChoice::Pm2Clj && pm2_clj.is_none() {
            return Err(ConfigError::NoPm2Clj.into());
        }
        Ok(Self {
            variant,
            environment,
            pm2_clj,
            assumed: ValueSources::assumed(interpolate),
            workspace: None,
        })
    }

    /// Resolves references of definitions in this workspace. Files outside of it keep theirs, because the base of their relative
    /// paths is not known.
    #[must_use]
    pub fn with_values_of(mut self, config: Config) -> Self {
        let values = ValueSources::of(&config);
        self.workspace = Some((config, values));
        self
    }

    /// Renders a file as configured, and returns its findings.
    ///
    /// # Errors
    /// [`CommandError::ReadFile`] when the file cannot be read.
    pub fn read(
        &self,
        path: &Utf8Path,
        options: &Options,
    ) -> Result<(Vec<u8>, RenderedDefinition), CommandError> {
        let source = files::read(path.as_std_path(), Links::Follow, LIMIT).map_err(|source| {
            CommandError::ReadFile {
                path: path.to_owned(),
                source,
            }
        })?;
        let here = self.environment.cwd().unwrap_or(Utf8Path::new("/"));
        let file = paths::resolve(here, path.as_str());
        let workspace = self.workspace.as_ref();
        let workspace = workspace.filter(|(config, _)| file.starts_with(config.root()));
        let (root, values) = match workspace {
            Some((config, values)) => (config.root(), values),
            None => (here, &self.assumed),
        };
        let home = self.environment.home();
        let renderer = Renderer {
            root,
            home: home.as_deref().unwrap_or(root),
            env_name: self.variant.env.as_deref(),
            options: Options {
                mode: self.variant.mode.clone(),
                ..options.clone()
            },
            choice: self.variant.renderer.into(),
            other: self.pm2_clj.as_ref(),
            values,
        };
        let id = DaemonId::of_file();
        let mut rendered = renderer.render(&id, &file, &source);
        rendered.check_alone(&id);
        Ok((source, rendered))
    }
}
