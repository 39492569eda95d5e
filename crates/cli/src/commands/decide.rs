//! `pm2-sync hold`, and the shared code of commands that override definitions.

use std::time::Duration;

use crate::args::{GlobalArgs, HoldCommand, TermsArgs, VariantArgs};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::report::json::{DecidedOutput, DecisionOutput, Verb};
use crate::report::{Printer, words};
use reconcile::pass::PassEvent;
use reconcile::rollout::{Decree, Terms, decree};
use reconcile::{Config, Environment, StopFlag, chain};

impl TermsArgs {
    /// The library's equivalent.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms {
            duration: self.duration,
            reason: self.reason.clone(),
        }
    }
}

/// Holds daemons: edits and drift are reported, not applied. Changes nothing else.
///
/// # Errors
/// [`CommandError::Config`] without a usable workspace; [`CommandError::Decree`] when an ID is unknown or the decision cannot be
/// recorded.
pub fn hold(
    command: &HoldCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let stop = StopFlag::default();
    let config = Config::resolve(&global.overrides(&VariantArgs::default()), environment)?;
    let decision = Decree::Hold(command.terms.terms());
    let daemons = decide(
        &decision,
        &command.ids,
        Verb::Hold,
        Duration::from_secs(command.lock_timeout),
        &config,
        &stop,
        printer,
    )?;
    if printer.is_json() {
        let sync = None;
        let output = DecisionOutput {
            verb: Verb::Hold,
            daemons,
            sync,
        };
        printer.json(&output, Exit::Ok);
    }
    Ok(Exit::Ok)
}

/// Records a decision and reports it.
pub(super) fn decide(
    decision: &Decree,
    ids: &[String],
    verb: Verb,
    lock_timeout: Duration,
    config: &Config,
    stop: &StopFlag,
    printer: &Printer,
) -> Result<Vec<DecidedOutput>, CommandError> {
    let mut observer = |event: PassEvent<'_>| {
        if let PassEvent::Waiting(holder) = event {
            printer.note(words::waiting(holder));
        }
    };
    let decided = decree(config, ids, decision, lock_timeout, stop, &mut observer)?;
    for warning in &decided.warnings {
        printer.warn(chain(warning));
    }
    let daemons = decided.daemons.iter();
    let daemons: Vec<_> = daemons
        .map(|(daemon, decided)| DecidedOutput::new(daemon, decided))
        .collect();
    for daemon in &daemons {
        printer.note(words::decision::decided(verb, daemon));
    }
    Ok(daemons)
}
