//! Removes processes.

use std::time::{Duration, Instant};

use daemon_model::{Status, Target};
use serde_json::Value;

use super::{ApplyContext, StepError, find, find_all, is_same, is_truthy};
use crate::adapter::{AdapterError, ProcessAdapter};
use crate::message::CurrentConf;
use crate::record::ProcessRecord;
use crate::socket::LISTEN_TIMEOUT;
use crate::verify::VerifyError;

/// How long to wait until a process to be stopped is ready, and how often to check.
const LONGEST_AWAIT: Duration = Duration::from_secs(10);
const AWAIT_POLL: Duration = Duration::from_millis(50);

/// Whether PM2 waits for the process to report that it is ready.
///
/// When such a process ends for any reason, PM2 takes that for the end of its wait, calls it `online`, and so starts it again. This
/// happens even while it is being stopped or deleted, and then PM2 loses track of the new process (PM2 7.0.4, lib/God.js,
/// `executeApp` and `handleExit`; measured in fork and cluster mode, with and without a `restart_delay`).
pub(super) fn is_awaited(record: &ProcessRecord) -> bool {
    record.status == Status::Launching && waits_for_ready(record)
}

fn waits_for_ready(record: &ProcessRecord) -> bool {
    record.pm2_env.get("wait_ready").is_some_and(is_truthy)
}

/// Stops a process and makes PM2 forget that it may restart it. Stopping alone does not always do that: see [`is_awaited`].
pub(super) fn retire(
    record: &ProcessRecord,
    adapter: &mut dyn ProcessAdapter,
) -> Result<(), StepError> {
    let conf = CurrentConf::retired(&record.pm2_env);
    match adapter.restart(record.pm_id, &conf) {
        // PM2 refuses to restart a process in its restart delay, but has merged the settings.
        Ok(_) | Err(AdapterError::Refused { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a process.
pub(super) fn delete(
    record: &ProcessRecord,
    adapter: &mut dyn ProcessAdapter,
) -> Result<(), StepError> {
    // PM2's file watcher outlives the process and would restart a later one of the same name.
    adapter.stop_watch(record.pm_id)?;
    // PM2 may wait for it again by now, if it has just ended.
    if waits_for_ready(record) && record.status != Status::Stopped {
        retire(record, adapter)?;
    }
    Ok(adapter.delete(record.pm_id)?)
}

/// Stops a process and keeps it in PM2's list.
fn stop(
    record: &ProcessRecord,
    target: &Target,
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
) -> Result<(), StepError> {
    adapter.stop_watch(record.pm_id)?;
    let limit = record.pm2_env.get("listen_timeout").and_then(Value::as_u64);
    let limit = limit.map_or(LISTEN_TIMEOUT, Duration::from_millis);
    let deadline = Instant::now() + limit.min(LONGEST_AWAIT) + AWAIT_POLL;
    let mut is_now = record.clone();
    while is_awaited(&is_now) && Instant::now() < deadline && !context.stop.is_set() {
        std::thread::sleep(AWAIT_POLL);
        is_now = find(target, adapter)?;
    }
    // A process that never gets ready is retired: `pm2 start` no longer starts it, but the next sync does.
    if is_awaited(&is_now) {
        return retire(&is_now, adapter);
    }
    Ok(adapter.stop(record.pm_id)?)
}

/// Deletes processes, and checks that they are gone.
pub(super) fn delete_all(
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
) -> Result<(), StepError> {
    let records = find_all(targets, adapter)?;
    for record in &records {
        delete(record, adapter)?;
    }
    let ids: Vec<_> = records.iter().map(|record| record.pm_id).collect();
    for record in adapter.records(&ids)? {
        // The number may belong to another process by now.
        if targets.iter().any(|target| is_same(&record, target)) {
            return Err(VerifyError::StillListed(record.pm_id).into());
        }
    }
    Ok(())
}

/// Stops processes, and checks that they are stopped.
pub(super) fn stop_all(
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
) -> Result<(), StepError> {
    let records = find_all(targets, adapter)?;
    for (record, target) in records.iter().zip(targets) {
        stop(record, target, adapter, context)?;
    }
    let ids: Vec<_> = records.iter().map(|record| record.pm_id).collect();
    for record in adapter.records(&ids)? {
        if record.status != Status::Stopped {
            let ProcessRecord { pm_id, status, .. } = record;
            return Err(VerifyError::NotStopped { pm_id, status }.into());
        }
    }
    Ok(())
}
