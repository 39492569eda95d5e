//! Renders each definition of a workspace with edn-render and with the pm2-clj configured there, and prints the differences. Writes
//! nothing.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore prints what it finds"
)]

mod compare;

use std::process::ExitCode;

use camino::Utf8Path;
use daemon_model::{DaemonId, PathSegment};
use edn_render::fallback::{self, NoAnswer, Renderer};
use edn_render::{Options, Rendered};
use reconcile::definitions::Definitions;
use reconcile::{Config, ConfigError, Environment, Overrides};
use serde_json::{Map, Value};

use compare::{Difference, differences};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(root), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: pm2-parity WORKSPACE");
        return ExitCode::from(64);
    };
    match run(Utf8Path::new(&root), Environment::read()) {
        Ok(parity) => {
            parity.lines.iter().for_each(|line| println!("{line}"));
            println!("compared {}: {} differ", parity.compared, parity.differ);
            ExitCode::from(u8::from(parity.differ > 0))
        }
        Err(error) => {
            eprintln!("error: {}", reconcile::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Parity {
    lines: Vec<String>,
    compared: usize,
    differ: usize,
}

/// Compares all definitions of the workspace at `root`.
///
/// # Errors
/// [`ConfigError`] without a usable workspace that configures pm2-clj; `DefinitionsError` when the definitions cannot be read.
fn run(root: &Utf8Path, environment: Environment) -> Result<Parity, Box<dyn std::error::Error>> {
    let overrides = Overrides {
        workspace: Some(root.to_owned()),
        ..Overrides::default()
    };
    let mut config = Config::resolve_without_pm2(&overrides, environment)?;
    config.renderer = Renderer::Native;
    let other = config.pm2_clj.clone().ok_or(ConfigError::NoPm2Clj)?;
    let definitions = Definitions::load(&config)?;
    let options = Options {
        mode: config.mode.clone(),
        allow_missing_mode: true,
        ..Options::default()
    };
    let mut parity = Parity::default();
    for (id, definition) in &definitions.daemons {
        let Some(source) = &definition.source else {
            continue;
        };
        let native = edn_render::read(source, &options);
        let file = config.layout.definition_path(id);
        let other = fallback::answer(&other, &file, &options).map(|(value, _)| value);
        parity.compared += 1;
        if let Some(lines) = compared(id, &native, other) {
            parity.differ += 1;
            parity.lines.extend(lines);
        }
    }
    Ok(parity)
}

/// The differences between the renderings of a definition; none if they agree, including errors.
fn compared(
    id: &DaemonId,
    native: &Rendered,
    other: Result<Map<String, Value>, NoAnswer>,
) -> Option<Vec<String>> {
    match (&native.document, other) {
        (Some(document), Ok(value)) => {
            let found = differences(document.value(), &value);
            let line = |found: &Difference| {
                format!(
                    "{id}: {}: pm2-sync {}, pm2-clj {}",
                    found.path,
                    shown(found, found.first.as_ref()),
                    shown(found, found.second.as_ref())
                )
            };
            (!found.is_empty()).then(|| found.iter().map(line).collect())
        }
        (Some(_), Err(none)) => {
            let reason = none.message.redacted();
            Some(vec![format!(
                "{id}: only pm2-sync renders it: pm2-clj {reason}"
            )])
        }
        (None, Ok(_)) => {
            let error = native.diagnostics.iter().find(|found| found.is_error());
            let reason = error.map_or("", |error| &error.message);
            Some(vec![format!("{id}: only pm2-clj renders it: {reason}")])
        }
        (None, Err(_)) => None,
    }
}

/// A value, shortened. Values of environment variables are not shown.
fn shown(found: &Difference, value: Option<&Value>) -> String {
    let is_env = found.path.0.iter().any(
        |segment| matches!(segment, PathSegment::Key(key) if key == "env" || key.starts_with("env_")),
    );
    match value {
        None => "nothing".to_owned(),
        Some(Value::Object(_)) => "a map".to_owned(),
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(_) if is_env => "***".to_owned(),
        Some(value) => {
            let text = value.to_string();
            if text.chars().count() <= 60 {
                return text;
            }
            text.chars().take(57).chain("...".chars()).collect()
        }
    }
}

#[cfg(test)]
mod tests;
