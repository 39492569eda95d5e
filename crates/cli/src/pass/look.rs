//! A look at PM2 between passes: is there anything to do?

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon_model::{AppState, Condition, DaemonId, Observed, Plan};
use pm2_client::ProcessAdapter;

use super::pm2::observe_all;
use super::{PassError, PassOptions, make_plan};
use crate::config::Config;
use crate::definitions::Definitions;

/// What a look found.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    /// How many of our processes run.
    pub(crate) running: usize,
    /// Whether a pass would take a step.
    pub(crate) has_steps: bool,
    /// The daemons whose removal waits for confirmation.
    pub(crate) held: BTreeSet<DaemonId>,
}

/// The last look, if it found all as defined. A plan depends on nothing but what it is made of, so as long as that is the
/// same there is no need to make it again: looks come every second, for months.
#[derive(Debug, Default)]
pub(crate) struct LastLook(Option<Calm>);

#[derive(Debug)]
struct Calm {
    definitions: Arc<Definitions>,
    except: BTreeSet<DaemonId>,
    observed: Observed,
    running: usize,
}

impl Calm {
    fn holds(
        &self,
        definitions: &Arc<Definitions>,
        except: &BTreeSet<DaemonId>,
        observed: &Observed,
    ) -> bool {
        // What PM2 says unchanged of a process is shared with the look before.
        let mut pairs = self.observed.processes.iter().zip(&observed.processes);
        Arc::ptr_eq(&self.definitions, definitions)
            && self.except == *except
            && self.observed.missing_workspaces == observed.missing_workspaces
            && self.observed.processes.len() == observed.processes.len()
            && pairs.all(|(before, now)| Arc::ptr_eq(before, now))
    }
}

/// Compares what PM2 runs at this moment with the definitions. Touches nothing.
///
/// # Errors
/// [`PassError`].
pub(crate) fn look(
    config: &Config,
    options: &PassOptions,
    definitions: &Arc<Definitions>,
    adapter: Option<&mut dyn ProcessAdapter>,
    last: &mut LastLook,
) -> Result<Looked, PassError> {
    let observed = observe_all(adapter)?;
    let calm = last.0.take();
    if let Some(calm) = calm.filter(|calm| calm.holds(definitions, &options.except, &observed)) {
        let running = calm.running;
        last.0 = Some(calm);
        return Ok(Looked {
            running,
            has_steps: false,
            held: BTreeSet::new(),
        });
    }
    let only = options.only.clone();
    let plan = make_plan(config, options, definitions, &observed, only)?;
    let running = running(&plan);
    if definitions.is_complete() && is_calm(&plan) {
        last.0 = Some(Calm {
            definitions: Arc::clone(definitions),
            except: options.except.clone(),
            observed,
            running,
        });
    }
    Ok(Looked {
        running,
        has_steps: !plan.steps.is_empty(),
        held: held(&plan),
    })
}

/// The daemons of a plan whose removal waits for confirmation.
pub(crate) fn held(plan: &Plan) -> BTreeSet<DaemonId> {
    let held = plan.held.iter().flat_map(|held| &held.daemons);
    held.cloned().collect()
}

/// Whether nothing of the plan came from files that a look does not see: generated configs stand in for what is broken or
/// gone.
fn is_calm(plan: &Plan) -> bool {
    let settled = |app: &AppState| {
        matches!(
            app.condition,
            Condition::InSync | Condition::Ended | Condition::Degraded | Condition::OnHold
        )
    };
    plan.is_in_sync() && plan.broken.is_empty() && plan.apps.iter().all(settled)
}

/// How many processes of a plan's apps run.
pub(crate) fn running(plan: &Plan) -> usize {
    plan.apps.iter().map(AppState::running).sum()
}
