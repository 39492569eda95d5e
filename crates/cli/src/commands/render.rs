//! `pm2-sync render`

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{Claims, DaemonId, Diagnostic, DocumentPath, SpecContext};
use edn_render::fallback::Fallback;
use edn_render::{Document, Options};
use serde_json::{Value, json};

use crate::args::{GlobalArgs, RenderCommand, RendererChoice, VariantArgs};
use crate::artifacts;
use crate::commands::parity;
use crate::config::{Config, ConfigError};
use crate::definitions::{Definitions, MOST_OF_APP, diagnose, keep, look_at_draft, too_large};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::exit;
use crate::pass;
use crate::pm2_clj::Pm2Clj;
use crate::report::{Printer, json as data, words};

/// Whether an argument is a file rather than an ID.
#[must_use]
pub fn is_file_argument(target: &str) -> bool {
    target.ends_with(".edn")
}

/// Writes, prints or compares the generated configs.
///
/// # Errors
/// [`CommandError`].
pub fn run(
    command: &RenderCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let has_path = |argument: &String| {
        let path = argument.split('=').next().unwrap_or_default();
        path.split('.').any(|segment| !segment.is_empty())
    };
    if !command.set.iter().all(has_path) {
        return Err(CommandError::Usage(
            "`--set` needs a path before the `=`: write `--set path.to.key=value`",
        ));
    }
    let (files, ids): (Vec<&String>, Vec<&String>) = command
        .targets
        .iter()
        .partition(|target| is_file_argument(target));
    if !files.is_empty() {
        if !command.stdout {
            return Err(CommandError::Usage(
                "a file can only be rendered with `--stdout`",
            ));
        }
        if !ids.is_empty() {
            return Err(CommandError::Usage(
                "files and IDs cannot be rendered together",
            ));
        }
        return print_files(&files, command, global, &environment, printer);
    }
    if !(command.set.is_empty() && command.unset.is_empty()) {
        return Err(CommandError::Usage(
            "`--set` and `--unset` need `--stdout FILE.edn`: a generated config is what its definition says",
        ));
    }
    let config = Config::load(global, &command.variant, environment)?;
    let ids: Vec<String> = ids.into_iter().cloned().collect();
    if command.parity {
        return parity::run(config, &ids, printer);
    }
    // This process ends when it is done with them, and the system takes all of them back at once.
    let definitions = ManuallyDrop::new(Definitions::load(&config)?);
    let known: BTreeSet<DaemonId> = definitions.daemons.keys().cloned().collect();
    let only = pass::select(&config, &ids, known)?;
    if command.stdout {
        return Ok(print_all(&definitions, only.as_ref(), printer));
    }
    if command.check {
        return check(&config, &definitions, only.as_ref(), printer);
    }
    write(&config, &definitions, only.as_ref(), command, printer)
}

fn is_partial(definitions: &Definitions, only: Option<&BTreeSet<DaemonId>>) -> bool {
    let broken = definitions
        .broken()
        .any(|(id, _)| only.is_none_or(|only| only.contains(id)));
    broken || (only.is_none() && !definitions.strays.is_empty())
}

fn write(
    config: &Config,
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
    command: &RenderCommand,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let mut report = artifacts::write(config, definitions, only)?;
    let orphaned = artifacts::orphaned(config, definitions, only)?;
    report.held = artifacts::guard(config, definitions, &orphaned, command.confirm.as_deref())?;
    if report.held.is_none() {
        artifacts::remove(config, &orphaned)?;
        report.removed = orphaned;
    }
    let partial = is_partial(definitions, only) || report.held.is_some();
    if printer.is_json() {
        printer.json(&data::document(
            "render",
            json!({
                "written": report.written,
                "unchanged": report.unchanged,
                "removed": report.removed,
                "held": report.held.as_ref().map(|held| json!({
                    "daemons": held.daemons,
                    "confirm": held.code,
                })),
                "diagnostics": data::diagnostics(definitions),
            }),
        ));
    } else {
        printer.diagnostics(definitions, false);
        for id in &report.written {
            printer.data(&format!("wrote {}\n", artifact_name(config, id)));
        }
        for id in &report.removed {
            printer.data(&format!("removed {}\n", artifact_name(config, id)));
        }
        if let Some(held) = &report.held {
            printer.warn(&format!(
                "{} of {} generated configs have no definition any more: this is held, none was removed",
                held.daemons.len(),
                held.managed
            ));
            printer.hint(&format!(
                "confirm it with `{}`",
                printer.command(&format!("render --confirm {}", held.code))
            ));
        }
        printer.note(&format!(
            "{} written, {} unchanged, {} removed",
            words::counted(
                report.written.len(),
                "generated config",
                "generated configs"
            ),
            report.unchanged.len(),
            report.removed.len()
        ));
    }
    Ok(if partial { exit::PARTIAL } else { exit::OK })
}

fn artifact_name(config: &Config, id: &DaemonId) -> Utf8PathBuf {
    let path = config.layout.artifact_path(id);
    path.strip_prefix(config.root())
        .map_or_else(|_| path.clone(), Utf8Path::to_owned)
}

fn check(
    config: &Config,
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let found = artifacts::check(config, definitions, only)?;
    if printer.is_json() {
        printer.json(&data::document(
            "render",
            json!({
                "fresh": found.is_fresh(),
                "missing": found.missing,
                "stale": found.stale,
                "orphaned": found.orphaned,
                "diagnostics": data::diagnostics(definitions),
            }),
        ));
    } else {
        printer.diagnostics(definitions, false);
        for (word, ids) in [
            ("missing", &found.missing),
            ("stale", &found.stale),
            ("without definition", &found.orphaned),
        ] {
            for id in ids {
                printer.data(&format!("{word}: {}\n", artifact_name(config, id)));
            }
        }
        if found.is_fresh() && is_partial(definitions, only) {
            printer.note("the other generated configs are as their definitions say");
        } else if found.is_fresh() {
            printer.note("all generated configs are as their definitions say");
        } else {
            printer.note("run `pm2-sync render` to write them");
        }
    }
    Ok(if is_partial(definitions, only) {
        exit::PARTIAL
    } else if found.is_fresh() {
        exit::OK
    } else {
        exit::PENDING
    })
}

/// Prints generated configs, or a JSON object of them by ID.
fn print_all(
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
    printer: &Printer,
) -> u8 {
    let chosen = || {
        definitions
            .daemons
            .iter()
            .filter(|(id, _)| only.is_none_or(|only| only.contains(id)))
            .filter_map(|(id, definition)| Some((id, definition.artifact()?)))
    };
    if printer.is_json() {
        let all: serde_json::Map<String, Value> = chosen()
            .filter_map(|(id, text)| Some((id.to_string(), serde_json::from_str(text).ok()?)))
            .collect();
        printer.json(&data::document("render", json!({ "configs": all })));
    } else {
        for (_, text) in chosen() {
            printer.data(text);
        }
    }
    printer.diagnostics(definitions, false);
    if is_partial(definitions, only) {
        exit::FAILED
    } else {
        exit::OK
    }
}

/// Prints what files render to, in or out of a workspace.
fn print_files(
    files: &[&String],
    command: &RenderCommand,
    global: &GlobalArgs,
    environment: &Environment,
    printer: &Printer,
) -> Result<u8, CommandError> {
    let files_of = FileReader::new(global, &command.variant, environment)?;
    let mut status = exit::OK;
    for file in files {
        let path = Utf8Path::new(file);
        let options = Options {
            mode: command.variant.mode.clone(),
            set: command.set.clone(),
            unset: command.unset.clone(),
            ..Options::default()
        };
        let (source, document, diagnostics) = files_of.read(path, &options)?;
        match document {
            Some(document) => {
                printer.data_of(|out| document.write_json(out, None));
                for diagnostic in diagnostics {
                    // It renders all the same, so what PM2 would misread is only a warning here.
                    let warning = Diagnostic {
                        severity: daemon_model::Severity::Warning,
                        ..diagnostic
                    };
                    printer.say(&printer.draw(&warning, file, &source));
                }
            }
            None => {
                status = exit::FAILED;
                for diagnostic in &diagnostics {
                    printer.say(&printer.draw(diagnostic, file, &source));
                }
            }
        }
    }
    Ok(status)
}

/// Reads files that need not lie in a workspace.
pub struct FileReader<'a> {
    variant: &'a VariantArgs,
    environment: &'a Environment,
    pm2_clj: Option<Pm2Clj>,
}

type FileRead = (Vec<u8>, Option<Document>, Vec<Diagnostic>);

impl<'a> FileReader<'a> {
    /// A reader as the arguments and the environment say.
    ///
    /// # Errors
    /// [`ConfigError::NoPm2Clj`].
    pub fn new(
        global: &GlobalArgs,
        variant: &'a VariantArgs,
        environment: &'a Environment,
    ) -> Result<Self, CommandError> {
        let here = environment.cwd().unwrap_or(Utf8Path::new("/"));
        // Files render outside of a workspace too, so having none is no fault.
        let pm2_clj = Config::load(global, &VariantArgs::default(), environment.clone())
            .map_or_else(
                |_| Pm2Clj::find(None, here, environment),
                |config| config.pm2_clj,
            );
        if variant.renderer == RendererChoice::Pm2Clj && pm2_clj.is_none() {
            return Err(ConfigError::NoPm2Clj.into());
        }
        Ok(Self {
            variant,
            environment,
            pm2_clj,
        })
    }

    /// What is found about a file.
    ///
    /// # Errors
    /// [`CommandError::ReadFile`].
    pub fn check(&self, path: &Utf8Path) -> Result<(Vec<u8>, Vec<Diagnostic>), CommandError> {
        let options = Options {
            mode: self.variant.mode.clone(),
            ..Options::default()
        };
        let (source, _, diagnostics) = self.read(path, &options)?;
        Ok((source, diagnostics))
    }

    fn read(&self, path: &Utf8Path, options: &Options) -> Result<FileRead, CommandError> {
        let source = std::fs::read(path).map_err(|source| CommandError::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        let root = self.environment.cwd().unwrap_or(Utf8Path::new("/"));
        let rendered = edn_render::fallback::read_with(
            &source,
            &root.join(path),
            options,
            self.variant.renderer.into(),
            self.pm2_clj.as_ref().map(|other| other as &dyn Fallback),
        );
        let mut diagnostics = rendered.diagnostics;
        let home = self.environment.home();
        let context = SpecContext {
            root,
            home: home.as_deref().unwrap_or(root),
            env_name: self.variant.env.as_deref(),
            deploy: None,
        };
        let id = DaemonId::new("file").ok();
        if let (Some(draft), Some(id)) = (&rendered.draft, &id) {
            let findings = look_at_draft(id, draft, &context);
            diagnose(&mut diagnostics, draft, &findings);
        }
        if let (Some(document), Some(id)) = (&rendered.document, &id) {
            let deploy = document.get("deploy");
            let context = SpecContext {
                deploy: deploy.as_deref().and_then(Value::as_object),
                ..context
            };
            let mut claims = Vec::new();
            let mut all = Vec::new();
            for (index, app) in document.apps(MOST_OF_APP).enumerate() {
                let place = DocumentPath::root().key("apps").index(index);
                // Of an app that nobody starts only what it takes from others is kept.
                let (claim, findings) = match app {
                    Some(app) => Claims::read(id, &app, &place, &context),
                    None => (None, too_large(&place)),
                };
                claims.extend(claim.map(|claim| (id, index, claim)));
                keep(&mut all, findings);
            }
            let together = daemon_model::check_claims(claims);
            all.extend(together.into_values().flatten());
            diagnose(&mut diagnostics, document, &all);
        }
        Ok((source, rendered.document, diagnostics))
    }
}
