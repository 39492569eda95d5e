//! Executes a plan: one outcome for each step, no decisions of its own, and no early return.
//!
//! The stages of a plan run in sequence. Within a stage, the steps of a daemon run in sequence and daemons in parallel, each
//! worker with its own connection.

mod remove;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    Action, AppSpec, ApplyReport, ChangeMethod, DaemonId, EnvPolicy, Outcome, Plan, PmId,
    RemoveMethod, Status, Step, StepReport, Target,
};
use serde_json::Value;

use crate::StopFlag;
use crate::adapter::{AdapterError, ProcessAdapter};
use crate::host::Host;
use crate::message::CurrentConf;
use crate::observe::label_of;
use crate::orphans::KillError;
use crate::payload::{ResolveError, ResolvedApp};
use crate::record::ProcessRecord;
use crate::socket::{KILL_TIMEOUT, timeout_in};
use crate::verify::{Previous, Verification, VerifyError};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The app cannot be started on this machine.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// PM2 refused or did not answer.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A process that would run twice cannot be killed.
    #[error(transparent)]
    Kill(#[from] KillError),
    /// The step was taken, but the process is not as defined.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The process is not the one that the step was planned for, so it was left alone.
    #[error("process {pm_id} is not `{name}` any more, so it was left alone")]
    TargetChanged {
        /// PM2's number.
        pm_id: PmId,
        /// The name it had.
        name: String,
    },
    /// Unmanaged processes have the app's name.
    #[error("the name `{name}` is taken by process {pm_id}, which pm2-sync did not start")]
    NameTaken {
        /// The name.
        name: String,
        /// PM2's number of the first of them.
        pm_id: PmId,
    },
    /// The app's name belongs to another workspace.
    #[error("the name `{name}` is taken by the workspace `{workspace}` (process {pm_id})")]
    OtherWorkspace {
        /// The name.
        name: String,
        /// PM2's number of the first of them.
        pm_id: PmId,
        /// The other workspace.
        workspace: Utf8PathBuf,
    },
}

/// What happens while a plan is applied.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A step is about to begin. It begins when the observer returns.
    Started(&'a Step),
    /// A step has ended.
    Ended(&'a StepReport<StepError>),
}

/// How often to retry a reload while another one is in progress.
const RELOAD_POLL: Duration = Duration::from_millis(100);

/// What applying a plan needs in addition to PM2.
pub struct ApplyContext<'a> {
    /// Canonical path of the workspace's root, for labels.
    pub workspace: &'a Utf8Path,
    /// PM2's home, and which variables apps inherit.
    pub env_policy: &'a EnvPolicy,
    /// The machine that the processes run on.
    pub host: &'a dyn Host,
    /// How many daemons proceed in parallel.
    pub jobs: NonZeroUsize,
    /// Checked before each step: when set, the remaining steps are skipped.
    pub stop: &'a StopFlag,
}

/// Executes `plan`.
pub fn apply(
    plan: &Plan,
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    observer: &mut dyn FnMut(Progress<'_>),
) -> ApplyReport<StepError> {
    let mut stages: BTreeMap<u32, BTreeMap<&DaemonId, Vec<&Step>>> = BTreeMap::new();
    for step in &plan.steps {
        let groups = stages.entry(step.stage).or_default();
        groups.entry(&step.daemon).or_default().push(step);
    }
    let mut report = ApplyReport { steps: Vec::new() };
    for groups in stages.into_values() {
        let groups: Vec<Vec<&Step>> = groups.into_values().collect();
        run_stage(groups, adapter, context, observer, &mut report);
    }
    report
}

enum Message<'a> {
    /// The worker waits until the sender is dropped.
    Started(&'a Step, mpsc::Sender<()>),
    Ended(StepReport<StepError>),
}

fn run_stage<'a>(
    groups: Vec<Vec<&'a Step>>,
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    observer: &mut dyn FnMut(Progress<'_>),
    report: &mut ApplyReport<StepError>,
) {
    let workers = context.jobs.get().min(groups.len());
    let mut connections: Vec<Box<dyn ProcessAdapter>> = Vec::new();
    for _ in 1..workers {
        // Fewer connections only reduce parallelism.
        match adapter.another() {
            Ok(connection) => connections.push(connection),
            Err(_) => break,
        }
    }
    let queue = Mutex::new(groups.into_iter());
    let (sender, receiver) = mpsc::channel::<Message<'a>>();
    std::thread::scope(|scope| {
        let queue = &queue;
        for mut connection in connections {
            let sender = sender.clone();
            scope.spawn(move || work(queue, connection.as_mut(), context, &sender));
        }
        scope.spawn(move || work(queue, adapter, context, &sender));
        for message in receiver {
            match message {
                Message::Started(step, _waiting) => observer(Progress::Started(step)),
                Message::Ended(ended) => {
                    observer(Progress::Ended(&ended));
                    report.steps.push(ended);
                }
            }
        }
    });
}

fn work<'a>(
    queue: &Mutex<std::vec::IntoIter<Vec<&'a Step>>>,
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    sender: &mpsc::Sender<Message<'a>>,
) {
    loop {
        let group = match queue.lock() {
            Ok(mut queue) => queue.next(),
            Err(poisoned) => poisoned.into_inner().next(),
        };
        let Some(group) = group else {
            return;
        };
        for step in group {
            let ended = if context.stop.is_set() {
                StepReport {
                    step: step.clone(),
                    outcome: Outcome::Skipped,
                    took: Duration::ZERO,
                }
            } else {
                let (observed, wait) = mpsc::channel();
                // Cannot fail: the receiver outlives every worker.
                let _ = sender.send(Message::Started(step, observed));
                let _ = wait.recv();
                let started = Instant::now();
                let outcome = match take(step, adapter, context) {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::Failed(error),
                };
                StepReport {
                    step: step.clone(),
                    outcome,
                    took: started.elapsed(),
                }
            };
            let _ = sender.send(Message::Ended(ended));
        }
    }
}

fn take(
    step: &Step,
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
) -> Result<(), StepError> {
    let app = |spec: &AppSpec| {
        let launch = ResolvedApp::resolve(
            spec,
            context.workspace,
            &context.env_policy.pm2_home,
            context.host,
        )?;
        launch.make_log_dirs(context.host)?;
        Ok::<_, ResolveError>(launch)
    };
    match &step.action {
        Action::Start { spec, count } => {
            let launch = app(spec)?;
            let started = adapter.prepare(&launch.prepare(*count)?)?;
            // PM2's answer contains the record, so no further request is needed.
            verification(spec, context).check(&started, &BTreeMap::new())
        }
        Action::Change { spec, targets, how } => {
            let launch = app(spec)?;
            match how {
                ChangeMethod::Replace => replace(spec, targets, adapter, context, &launch),
                _ => change(spec, targets, adapter, context, &launch, *how),
            }
        }
        Action::Remove { targets, how } => match how {
            RemoveMethod::Delete => remove::delete_all(targets, adapter),
            _ => remove::stop_all(targets, adapter, context),
        },
        Action::KillOrphans { spec, orphans } => {
            let patience = spec.attribute("kill_timeout").and_then(Value::as_u64);
            let patience = patience.map_or(KILL_TIMEOUT, Duration::from_millis);
            for orphan in orphans {
                crate::orphans::end(orphan, patience)?;
            }
            Ok(())
        }
        Action::Blocked { by } => Err(blocked(step, by)),
        _ => Ok(()),
    }
}

fn verification<'a>(spec: &'a AppSpec, context: &'a ApplyContext<'_>) -> Verification<'a> {
    Verification {
        spec,
        label: spec.label(context.workspace),
        env_policy: context.env_policy,
        host: context.host,
    }
}

fn blocked(step: &Step, by: &[Target]) -> StepError {
    let name = step.app.clone();
    let pm_id = by.first().map(|target| target.pm_id).unwrap_or_default();
    match by.iter().find_map(|target| target.label.as_ref()) {
        Some(label) => StepError::OtherWorkspace {
            name,
            pm_id,
            workspace: label.workspace.clone(),
        },
        None => StepError::NameTaken { name, pm_id },
    }
}

fn change(
    spec: &AppSpec,
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    launch: &ResolvedApp,
    how: ChangeMethod,
) -> Result<(), StepError> {
    let verification = verification(spec, context);
    for target in targets {
        let record = match find_running(target, adapter, context.host) {
            Some(record) => record,
            None => find(target, adapter)?,
        };
        let conf = launch.current_conf(&record)?;
        if spec.attribute("watch").is_none() && is_watching(&record) {
            adapter.stop_watch(record.pm_id)?;
        }
        let now = match how {
            ChangeMethod::Reload if record.status == Status::Online => {
                reload(&record, conf, adapter)?;
                None
            }
            _ => {
                // PM2 refuses to restart a process that has a pid but does not run, for example during its restart delay, but it
                // can stop such a process first.
                let is_running = matches!(record.status, Status::Online | Status::Launching);
                if record.pid.is_some() && !is_running && record.status != Status::Stopping {
                    adapter.stop(record.pm_id)?;
                } else if remove::is_awaited(&record) {
                    remove::retire(&record, adapter)?;
                }
                adapter.restart(record.pm_id, &conf)?
            }
        };
        let id = record.pm_id;
        let before = BTreeMap::from([(id, Previous::new(record, spec, context.env_policy))]);
        match now {
            // PM2's answer contains the record of the new process.
            Some(now) => verification.check(&[now], &before)?,
            None => verification.run(&[id], &before, adapter)?,
        }
    }
    Ok(())
}

/// Reloads a process, once a reload by another program is done: PM2 refuses a second one until then.
///
/// Source: PM2 7.0.4, `lib/God/Reload.js`.
fn reload(
    record: &ProcessRecord,
    conf: CurrentConf,
    adapter: &mut dyn ProcessAdapter,
) -> Result<(), StepError> {
    let conf = conf.for_reload().map_err(ResolveError::from)?;
    let deadline = Instant::now() + timeout_in(&record.pm2_env);
    loop {
        match adapter.reload(record.pm_id, &conf) {
            Err(AdapterError::Refused { message, .. })
                if message.contains("Reload already in progress") && Instant::now() < deadline =>
            {
                std::thread::sleep(RELOAD_POLL);
            }
            answer => return Ok(answer?),
        }
    }
}

/// Removes each process and starts a new one in its place.
fn replace(
    spec: &AppSpec,
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    launch: &ResolvedApp,
) -> Result<(), StepError> {
    let verification = verification(spec, context);
    let records = find_all(targets, adapter)?;
    let serves = |record: &ProcessRecord| {
        record.status == Status::Online
            && record.pm2_env.get("exec_mode").and_then(Value::as_str) == Some("cluster_mode")
    };
    let mut started = Vec::new();
    if launch.is_cluster()
        && spec.starts_by_itself()
        && spec.survives_merging()
        && records.iter().all(serves)
    {
        roll(&records, adapter, launch, &mut started)?;
    } else {
        let payload = launch.prepare(1)?;
        for record in &records {
            remove::delete(record, adapter)?;
            started.extend(ids(&adapter.prepare(&payload)?));
        }
    }
    verification.run(&started, &BTreeMap::new(), adapter)
}

/// Starts the new worker of a cluster app before the old one stops, so that one of them always listens. Each new worker is then
/// reloaded to correct its record: it was started with `wait_ready`, and its instance number follows those of the old ones.
fn roll(
    records: &[ProcessRecord],
    adapter: &mut dyn ProcessAdapter,
    launch: &ResolvedApp,
    started: &mut Vec<PmId>,
) -> Result<(), StepError> {
    let payload = launch.prepare_ready()?;
    for record in records {
        started.extend(ids(&adapter.prepare(&payload)?));
        remove::delete(record, adapter)?;
    }
    let list = adapter.records(started)?;
    for (id, number) in started.iter().zip(0..) {
        let Some(record) = list.iter().find(|record| record.pm_id == *id) else {
            return Err(VerifyError::NotListed(*id).into());
        };
        let conf = launch.current_conf_as(record, number)?.for_reload();
        adapter.reload(*id, &conf.map_err(ResolveError::from)?)?;
    }
    Ok(())
}

/// The process of a step from a recent list, if it certainly is still the one that the step was planned for: it was online, and
/// that operating-system process still runs. PM2 changes the name or label of a process only by restarting it.
fn find_running(
    target: &Target,
    adapter: &mut dyn ProcessAdapter,
    host: &dyn Host,
) -> Option<ProcessRecord> {
    let mut found = None;
    let is_recent = adapter.visit_recent(Some(&[target.pm_id]), &mut |listed| {
        found = Some(listed.into_record());
    });
    let runs = |record: &ProcessRecord| {
        let live = record.pid.map(|pid| host.inspect(pid));
        record.status == Status::Online && matches!(live, Some(Ok(Some(_))))
    };
    found.filter(|record| is_recent && is_same(record, target) && runs(record))
}

/// The current process of a step, if it is still the one that the step was planned for.
fn find(target: &Target, adapter: &mut dyn ProcessAdapter) -> Result<ProcessRecord, StepError> {
    let mut found = find_all(std::slice::from_ref(target), adapter)?;
    found.pop().ok_or_else(|| changed(target))
}

fn find_all(
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
) -> Result<Vec<ProcessRecord>, StepError> {
    let ids: Vec<PmId> = targets.iter().map(|target| target.pm_id).collect();
    let list = adapter.records(&ids)?;
    targets
        .iter()
        .map(|target| {
            let found = list.iter().find(|record| is_same(record, target));
            found.cloned().ok_or_else(|| changed(target))
        })
        .collect()
}

fn changed(target: &Target) -> StepError {
    StepError::TargetChanged {
        pm_id: target.pm_id,
        name: target.name.clone(),
    }
}

fn ids(records: &[ProcessRecord]) -> Vec<PmId> {
    records.iter().map(|record| record.pm_id).collect()
}

fn is_same(record: &ProcessRecord, target: &Target) -> bool {
    record.pm_id == target.pm_id
        && record.name == target.name
        && label_of(&record.pm2_env) == target.label
}

fn is_watching(record: &ProcessRecord) -> bool {
    record.pm2_env.get("watch").is_some_and(is_truthy)
}

fn is_truthy(value: &Value) -> bool {
    !matches!(value, Value::Bool(false) | Value::Null)
}
