//! `pm2-sync render`

mod artifacts;
mod stdout;

use std::collections::BTreeSet;

use daemon_model::DaemonId;

use crate::args::{GlobalArgs, RenderCommand};
use crate::commands::{files, until_exit};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::Printer;
use reconcile::definitions::Definitions;
use reconcile::pass;
use reconcile::{Config, Environment};

/// Writes, prints or compares the generated configs.
///
/// # Errors
/// [`CommandError::Usage`] for conflicting arguments, [`CommandError::ReadFile`] for a file that cannot be read,
/// [`CommandError::Config`] without a usable workspace, [`CommandError::Pass`] when the definitions cannot be read or an ID is
/// unknown.
pub fn run(
    command: &RenderCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let has_path = |argument: &String| {
        let path = argument.split('=').next().unwrap_or_default();
        path.split('.').any(|segment| !segment.is_empty())
    };
    if !command.set.iter().all(has_path) {
        return Err(CommandError::Usage(
            "`--set` needs a path before the `=`: write `--set path.to.key=value`",
        ));
    }
    let (files, ids) = files::split(&command.targets);
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
        return stdout::print_files(&files, command, global, &environment, printer);
    }
    if !(command.set.is_empty() && command.unset.is_empty()) {
        return Err(CommandError::Usage(
            "`--set` and `--unset` need `--stdout FILE.edn`: generated configs always follow their definitions",
        ));
    }
    let overrides = global.overrides(&command.variant);
    let mut config = Config::resolve_without_pm2(&overrides, environment)?;
    // Generated configs contain references, not this machine's values.
    config.assume_values = true;
    let definitions = until_exit(Definitions::load(&config)?);
    let only = pass::select(&config, &ids, definitions, &[])?;
    let only = only.map(|only| only.daemons());
    let chosen = Chosen {
        definitions,
        only: only.as_ref(),
    };
    Ok(if command.stdout {
        stdout::print_all(&chosen, printer)
    } else if command.check {
        artifacts::check(&config, &chosen, printer)
    } else {
        artifacts::write(&config, &chosen, command.confirm.as_ref(), printer)
    })
}

/// The selected definitions.
struct Chosen<'a> {
    definitions: &'a Definitions,
    /// None: all.
    only: Option<&'a BTreeSet<DaemonId>>,
}

impl Chosen<'_> {
    fn includes(&self, id: &DaemonId) -> bool {
        self.only.is_none_or(|only| only.contains(id))
    }

    /// Whether one of them is not valid.
    fn has_invalid(&self) -> bool {
        let mut broken = self.definitions.broken();
        broken.any(|(id, _)| self.includes(id))
            || (self.only.is_none() && self.definitions.tree_errors().next().is_some())
    }
}
