//! Polls PM2 between passes to see whether there is anything to do.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon_model::{AppState, Condition, DaemonId, Observed, Planned, Records};

use super::{PassError, Request, Snapshot};
use crate::config::Config;
use crate::definitions::Definitions;
use crate::pm2::Pm2;

/// The result of a poll.
#[derive(Debug, Clone)]
pub(crate) struct Polled {
    /// How many of our processes run.
    pub(crate) running: usize,
    /// The daemons for which a pass would take steps.
    pub(crate) steps: BTreeSet<DaemonId>,
    /// Apps that a pass would report although it takes no step for them.
    pub(crate) unsettled: Unsettled,
    /// The plan and the records it was made from; none if nothing has changed since the last poll.
    pub(crate) planned: Option<(Planned, Records)>,
    /// Whether the state stays the same until an event occurs.
    pub(crate) is_steady: bool,
    /// When PM2 was asked, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
}

/// The apps that a pass cannot change for now, each with its state.
pub(crate) type Unsettled = BTreeSet<(DaemonId, String, Condition)>;

/// The last poll, if everything was in sync then. While the inputs of its plan stay the same, the plan need not be made again:
/// polls come every few seconds, for months.
#[derive(Debug, Default)]
pub(crate) struct PollCache(Option<Steady>);

#[derive(Debug)]
struct Steady {
    definitions: Arc<Definitions>,
    records: Records,
    observed: Observed,
    running: usize,
    unsettled: Unsettled,
}

impl Steady {
    fn is_same(
        &self,
        definitions: &Arc<Definitions>,
        records: &Records,
        observed: &Observed,
    ) -> bool {
        let next_end = self.records.overrides.next_end(self.observed.at_ms);
        // What is unchanged is shared with the previous poll.
        let (before, now) = (&self.observed.processes, &observed.processes);
        let mut pairs = before.iter().zip(now.iter());
        Arc::ptr_eq(&self.definitions, definitions)
            && self.records.is_shared_with(records)
            && next_end.is_none_or(|end| observed.at_ms < end)
            && self.observed.missing_workspaces == observed.missing_workspaces
            && self.observed.scripts_changed_ms == observed.scripts_changed_ms
            && before.len() == now.len()
            && pairs.all(|(before, now)| Arc::ptr_eq(before, now))
    }
}

/// Compares what PM2 runs now with the definitions. Changes nothing. Steps of daemons that the request excludes do not count, but
/// their state is known.
///
/// # Errors
/// [`PassError::Pm2`] when PM2 does not answer; [`PassError::Artifact`] when the artifacts cannot be listed.
pub(crate) fn poll(
    config: &Config,
    pm2: &mut Pm2<'_>,
    definitions: &Arc<Definitions>,
    request: &Request,
    cache: &mut PollCache,
) -> Result<Polled, PassError> {
    let observed = pm2.observe()?;
    let at_ms = observed.at_ms;
    let (records, _) = pm2.records().read();
    let is_same = |last: &Steady| last.is_same(definitions, &records, &observed);
    if let Some(steady) = cache.0.take().filter(is_same) {
        let polled = Polled {
            running: steady.running,
            steps: BTreeSet::new(),
            unsettled: left_in(&steady.unsettled, &request.except),
            planned: None,
            is_steady: true,
            at_ms,
        };
        cache.0 = Some(steady);
        return Ok(polled);
    }
    let all = Request {
        except: BTreeSet::new(),
        ..request.clone()
    };
    let snapshot = Snapshot::of(config, pm2, Arc::clone(definitions), observed, &all)?;
    let planned = snapshot.plan();
    let (running, unsettled) = (running(&planned), unsettled(&planned));
    let is_steady = is_steady(definitions, &planned);
    if is_steady {
        cache.0 = Some(Steady {
            definitions: Arc::clone(definitions),
            records: snapshot.records.clone(),
            observed: snapshot.observed,
            running,
            unsettled: unsettled.clone(),
        });
    }
    let steps = planned.plan.steps.iter().map(|step| &step.daemon);
    let steps = steps.filter(|id| !request.except.contains(id));
    Ok(Polled {
        running,
        steps: steps.cloned().collect(),
        unsettled: left_in(&unsettled, &request.except),
        planned: Some((planned, snapshot.records)),
        is_steady,
        at_ms,
    })
}

/// The apps whose daemons are not excluded.
fn left_in(unsettled: &Unsettled, except: &BTreeSet<DaemonId>) -> Unsettled {
    let apps = unsettled
        .iter()
        .filter(|(daemon, ..)| !except.contains(daemon));
    apps.cloned().collect()
}

/// The apps of a plan that a pass cannot change for now.
pub(crate) fn unsettled(planned: &Planned) -> Unsettled {
    let is_unsettled = |app: &&AppState| {
        matches!(
            app.condition,
            Condition::Degraded
                | Condition::Starting
                | Condition::Held
                | Condition::Waiting
                | Condition::Failed
                | Condition::RolledBack
        )
    };
    let apps = planned.apps.iter().filter(is_unsettled);
    apps.map(|app| (app.daemon.clone(), app.app.clone(), app.condition))
        .collect()
}

/// Whether the plan stays the same while its inputs do: it did not use artifacts in place of broken or missing definitions, and no
/// process becomes stable merely because time passes.
pub(crate) fn is_steady(definitions: &Definitions, planned: &Planned) -> bool {
    let is_steady = |app: &AppState| match app.condition {
        Condition::InSync
        | Condition::Ended
        | Condition::OnHold
        | Condition::Stopped
        | Condition::Pinned => true,
        Condition::Degraded => app.running() == 0,
        _ => false,
    };
    definitions.is_complete()
        && planned.has_nothing_to_do()
        && planned.broken.is_empty()
        && planned.apps.iter().all(is_steady)
}

/// How many processes of the planned apps run.
pub(crate) fn running(planned: &Planned) -> usize {
    planned.apps.iter().map(AppState::running).sum()
}
