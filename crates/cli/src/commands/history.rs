//! `pm2-sync history`

use std::collections::BTreeSet;

use daemon_model::DaemonId;

use crate::args::{GlobalArgs, HistoryCommand, VariantArgs};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{DaemonHistoryOutput, HistoryOutput};
use crate::report::{Printer, words};
use reconcile::definitions::Definitions;
use reconcile::{Config, Environment, chain, pass, rollout};

/// Shows what was applied to each daemon, and with what result.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Pass`] when an ID is unknown.
pub fn run(
    command: &HistoryCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let config = Config::resolve(&global.overrides(&VariantArgs::default()), environment)?;
    let (records, warnings) = rollout::records(&config);
    let known = |id: &String| {
        let id = DaemonId::new(id).ok()?;
        records.histories.contains_key(&id).then_some(id)
    };
    // A daemon without a definition is known only by its ID.
    let mut chosen: BTreeSet<DaemonId> = command.ids.iter().filter_map(known).collect();
    let others: Vec<String> = command
        .ids
        .iter()
        .filter(|id| known(id).is_none())
        .cloned()
        .collect();
    if !others.is_empty() {
        let definitions = Definitions::load(&config)?;
        let others = pass::select(&config, &others, &definitions, &[])?;
        chosen.extend(others.into_iter().flat_map(|it| it.daemons()));
    } else if command.ids.is_empty() {
        chosen.extend(records.histories.keys().cloned());
    }
    chosen.retain(|id| records.histories.contains_key(id));
    let show_values = command.show_values;
    let daemons = chosen.iter();
    let output = HistoryOutput {
        daemons: daemons
            .map(|id| DaemonHistoryOutput::new(id, records.history(id), show_values))
            .collect(),
    };
    for warning in &warnings {
        printer.warn(chain(warning));
    }
    if printer.is_json() {
        printer.json(&output, Exit::Ok);
    } else if output.daemons.is_empty() {
        printer.note("nothing has been applied yet");
    } else {
        printer.table(&words::history::table(
            &output,
            printer.verbose || show_values,
            printer.width(),
        ));
    }
    Ok(Exit::Ok)
}
