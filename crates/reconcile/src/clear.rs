//! Removes every managed process of a workspace from PM2, regardless of its definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use daemon_model::{AppSpec, ApplyReport, Desired, Observed, Planned, plan};
use pm2_client::{AdapterError, DumpError, Progress, StepError};

use crate::config::Config;
use crate::definitions::Definitions;
use crate::pm2::{Pm2, Writer};

/// The result of removing everything.
#[derive(Debug)]
pub struct Cleared {
    /// The outcome of each step.
    pub applied: ApplyReport<StepError>,
    /// What PM2 still lists for the workspace.
    pub after: Planned,
    /// Why PM2's dump could not be written, if so.
    pub save_error: Option<DumpError>,
}

/// The steps that remove every managed process of the workspace from PM2. Changes nothing.
///
/// # Errors
/// [`AdapterError`] when PM2 does not answer.
pub fn plan_clear(config: &Config, pm2: &mut Pm2<'_>) -> Result<Planned, AdapterError> {
    pm2.connect()?;
    Ok(removal(config, &pm2.observe()?))
}

/// Removes every managed process of the workspace from PM2 and from its dump.
///
/// # Errors
/// [`AdapterError`] when PM2 does not answer. Failures of single steps are in the report.
pub fn clear(
    config: &Config,
    writer: &mut Writer<'_, '_>,
    observer: &mut dyn FnMut(Progress<'_>),
) -> Result<Cleared, AdapterError> {
    let planned = plan_clear(config, writer.pm2())?;
    if planned.plan.steps.is_empty() {
        return Ok(Cleared {
            applied: ApplyReport { steps: Vec::new() },
            after: planned,
            save_error: None,
        });
    }
    let names: BTreeSet<&str> = planned.apps.iter().map(|app| app.app.as_str()).collect();
    writer.begin_work(true);
    let applied = writer.apply(&planned.plan, NonZeroUsize::MIN, &mut |progress, _| {
        observer(progress);
    });
    let (observed, dump) = writer.observe_with_dump()?;
    let save_error = writer.save_as(&names, dump).err();
    writer.end_work();
    Ok(Cleared {
        after: removal(config, &observed),
        applied,
        save_error,
    })
}

fn removal(config: &Config, observed: &Observed) -> Planned {
    let mut policy = config.policy();
    policy.remove_all = true;
    // Dependents are removed before their dependencies, as far as the definitions still declare them.
    let definitions = Definitions::load(config).ok();
    let defined = definitions.iter().flat_map(|it| it.daemons.values());
    let specs = defined.flat_map(|definition| definition.apps());
    let named = |app: &AppSpec| (app.name().to_owned(), app.clone());
    policy.last_specs = specs
        .map(|placed| named(&placed.app))
        .collect::<BTreeMap<_, _>>();
    let held = plan(&Desired::default(), observed, &policy).plan.held;
    policy.confirmed = held.map(|held| held.code);
    plan(&Desired::default(), observed, &policy)
}
