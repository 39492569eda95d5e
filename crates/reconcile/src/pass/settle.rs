//! Takes snapshots until the plan of the last one may be executed.

use std::collections::BTreeSet;
use std::time::Duration;

use daemon_model::{Action, ChangeMethod, DaemonId, Plan, Planned, Reason, Step};

use super::request::Removal;
use super::{Pass, PassError, PassEvent, Snapshot, quiesce};
use crate::pm2::Writer;

/// Why a plan is not executed at once.
enum Unsettled {
    /// PM2 may still be busy with requests from a writer that was killed.
    Pm2Busy,
    /// PM2 is shutting down: a process started now would never be stopped.
    Pm2Ending,
    /// A definition has been absent in only one snapshot. Holds the daemons that would lose processes, and how long to wait.
    RemovalUnconfirmed(BTreeSet<DaemonId>, Duration),
}

/// Returns a snapshot and its plan, ready to be executed.
pub(super) fn settle(
    pass: &mut Pass<'_>,
    writer: &mut Writer<'_, '_>,
) -> Result<(Snapshot, Planned), PassError> {
    let mut absent_before = None;
    let mut waited_for_end = false;
    loop {
        let mut snapshot = pass.snapshot(writer.pm2())?;
        let planned = pass.judged(writer, &mut snapshot)?;
        let plan = &planned.plan;
        match unsettled(pass, writer, plan, waited_for_end, absent_before.as_ref()) {
            None => return Ok((snapshot, planned)),
            Some(Unsettled::Pm2Busy) => {
                if planned.has_stopping() {
                    (pass.observer)(PassEvent::Settling(&planned));
                }
                quiesce::wait_until_idle(writer.pm2(), pass.stop)?;
                writer.end_work();
            }
            Some(Unsettled::Pm2Ending) => {
                waited_for_end = true;
                quiesce::wait_until_not_ending(&pass.config.pm2_home, pass.stop);
                writer.pm2().disconnect();
            }
            Some(Unsettled::RemovalUnconfirmed(absent, delay)) => {
                let is_second = absent_before.is_some();
                if is_second && (pass.request.removal == Removal::Now || pass.stop.is_set()) {
                    snapshot.defer_removals();
                    let planned = pass.plan(&snapshot)?;
                    return Ok((snapshot, planned));
                }
                std::thread::sleep(delay);
                absent_before = Some(absent);
            }
        }
    }
}

fn unsettled(
    pass: &Pass<'_>,
    writer: &mut Writer<'_, '_>,
    plan: &Plan,
    waited_for_end: bool,
    absent_before: Option<&BTreeSet<DaemonId>>,
) -> Option<Unsettled> {
    if writer.is_pm2_busy() {
        if writer.pm2().is_connected() {
            return Some(Unsettled::Pm2Busy);
        }
        writer.end_work();
    }
    if !waited_for_end
        && writer.pm2().is_connected()
        && plan.steps.iter().any(starts_processes)
        && quiesce::is_ending(&pass.config.pm2_home)
    {
        return Some(Unsettled::Pm2Ending);
    }
    let absent = absent_definitions(plan);
    let is_confirmed = absent_before.is_some_and(|before| absent.is_subset(before));
    if absent.is_empty() || is_confirmed {
        return None;
    }
    let delay = match pass.request.removal {
        Removal::ConfirmAfter(delay) => delay,
        Removal::Now | Removal::Never | Removal::Defer => Duration::ZERO,
    };
    Some(Unsettled::RemovalUnconfirmed(absent, delay))
}

fn starts_processes(step: &Step) -> bool {
    match step.action {
        Action::Start { .. } => true,
        Action::Change { how, .. } => how == ChangeMethod::Resume,
        _ => false,
    }
}

/// The daemons that lose processes because they have no definition.
fn absent_definitions(plan: &Plan) -> BTreeSet<DaemonId> {
    let is_removal = |step: &&Step| step.reasons.contains(&Reason::DefinitionRemoved);
    let steps = plan.steps.iter().filter(is_removal);
    steps.map(|step| step.daemon.clone()).collect()
}
