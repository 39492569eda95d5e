//! Carries out a plan: one outcome for each step, no decisions of its own, and never an early return.
//!
//! Steps of one daemon follow each other; daemons proceed side by side, each worker on a connection of its
//! own. What takes processes away comes first, for what starts may want its port.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    Action, AppSpec, ApplyReport, DaemonId, Label, Outcome, Plan, Step, StepReport, Surroundings,
    Target,
};

use crate::adapter::{AdapterError, ProcessAdapter};
use crate::host::Host;
use crate::observe::label_of;
use crate::payload::{Launch, ResolveError};
use crate::record::{PmId, ProcessRecord, Status};
use crate::socket::KILL_TIMEOUT;
use crate::verify::{Before, VerifyError, verify_process};

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
    /// It was done, but the process is not as defined.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The process is not the one that the step was planned for; it was left alone.
    #[error("process {pm_id} is not `{name}` any more, so it was left alone")]
    TargetChanged {
        /// PM2's number.
        pm_id: PmId,
        /// The name it had.
        name: String,
    },
    /// The app's name belongs to processes of somebody else.
    #[error("the name `{name}` is taken by process {pm_id}, which pm2-sync did not start")]
    NameTaken {
        /// The name.
        name: String,
        /// PM2's number of the first of them.
        pm_id: u32,
    },
    /// The app's name belongs to another workspace.
    #[error("the name `{name}` is taken by the workspace `{workspace}` (process {pm_id})")]
    OtherWorkspace {
        /// The name.
        name: String,
        /// PM2's number of the first of them.
        pm_id: u32,
        /// The other workspace.
        workspace: Utf8PathBuf,
    },
}

/// What happens while a plan is applied.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A step begins.
    Started(&'a Step),
    /// A step has ended.
    Ended(&'a StepReport<StepError>),
}

/// What applying a plan needs besides PM2.
pub struct ApplyContext<'a> {
    /// Canonical path of the workspace's root, for labels.
    pub workspace: &'a Utf8Path,
    /// PM2's surroundings.
    pub around: &'a Surroundings,
    /// The machine.
    pub host: &'a dyn Host,
    /// How many daemons proceed side by side.
    pub jobs: NonZeroUsize,
    /// Asked before each step: whether to leave the rest undone.
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// Carries out `plan`.
pub fn apply(
    plan: &Plan,
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    observer: &mut dyn FnMut(Progress<'_>),
) -> ApplyReport<StepError> {
    let (removing, rest): (Vec<&Step>, Vec<&Step>) =
        plan.steps.iter().partition(|step| step.action.removes());
    let mut report = ApplyReport { steps: Vec::new() };
    for phase in [removing, rest] {
        let mut groups: BTreeMap<&DaemonId, Vec<&Step>> = BTreeMap::new();
        for step in phase {
            groups.entry(&step.daemon).or_default().push(step);
        }
        let groups: Vec<Vec<&Step>> = groups.into_values().collect();
        run_phase(groups, adapter, context, observer, &mut report);
    }
    report
}

enum Message<'a> {
    Started(&'a Step),
    Ended(StepReport<StepError>),
}

fn run_phase<'a>(
    groups: Vec<Vec<&'a Step>>,
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    observer: &mut dyn FnMut(Progress<'_>),
    report: &mut ApplyReport<StepError>,
) {
    let workers = context.jobs.get().min(groups.len());
    let mut connections: Vec<Box<dyn ProcessAdapter>> = Vec::new();
    for _ in 1..workers {
        // Fewer hands are slower, not wrong.
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
                Message::Started(step) => observer(Progress::Started(step)),
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
            let ended = if (context.should_stop)() {
                StepReport {
                    step: step.clone(),
                    outcome: Outcome::Skipped,
                    took: Duration::ZERO,
                }
            } else {
                // The receiver outlives every worker; a send cannot fail.
                let _ = sender.send(Message::Started(step));
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
        Launch::resolve(
            spec,
            context.workspace,
            &context.around.pm2_home,
            context.host,
        )
    };
    match &step.action {
        Action::Start { spec, count } => {
            let launch = app(spec)?;
            let started = adapter.prepare(&launch.prepare(*count)?)?;
            // PM2's answer is its record: nothing more needs to be asked.
            Verification::new(spec, context).check(&started, adapter)
        }
        Action::Resume { spec, targets } | Action::Restart { spec, targets } => {
            change(spec, targets, adapter, context, &app(spec)?, Way::Restart)
        }
        Action::Reload { spec, targets } => {
            change(spec, targets, adapter, context, &app(spec)?, Way::Reload)
        }
        Action::Replace { spec, targets } => replace(spec, targets, adapter, context, &app(spec)?),
        Action::Delete { targets } => remove(targets, adapter, true),
        Action::Stop { targets } => remove(targets, adapter, false),
        Action::End { spec, orphans } => {
            let patience = spec
                .attribute("kill_timeout")
                .and_then(serde_json::Value::as_u64);
            let patience = patience.map_or(KILL_TIMEOUT, Duration::from_millis);
            for orphan in orphans {
                crate::proc::end(orphan, patience)?;
            }
            Ok(())
        }
        Action::Blocked { by } => Err(blocked(step, by)),
        _ => Ok(()),
    }
}

fn blocked(step: &Step, by: &[Target]) -> StepError {
    let name = step.app.clone();
    let pm_id = by.first().map_or(0, |target| target.pm_id);
    match by.iter().find_map(|target| target.label.as_ref()) {
        Some(label) => StepError::OtherWorkspace {
            name,
            pm_id,
            workspace: label.workspace.clone(),
        },
        None => StepError::NameTaken { name, pm_id },
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Restart,
    Reload,
}

fn change(
    spec: &AppSpec,
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    launch: &Launch,
    way: Way,
) -> Result<(), StepError> {
    let verification = Verification::new(spec, context);
    for target in targets {
        let record = find(target, adapter)?;
        let conf = launch.current_conf(&record)?;
        if spec.attribute("watch").is_none() && is_watching(&record) {
            adapter.stop_watch(record.pm_id)?;
        }
        match way {
            Way::Reload if record.status == Status::Online => {
                adapter.reload(record.pm_id, &conf)?
            }
            _ => {
                // PM2 refuses to restart what waits for its own restart, but can stop it first.
                if record.status == Status::WaitingRestart {
                    adapter.stop(record.pm_id)?;
                }
                adapter.restart(record.pm_id, &conf)?;
            }
        }
        let id = record.pm_id;
        let before = Before::new(record, spec, context.around);
        verification.run(&[id], &BTreeMap::from([(id, before)]), adapter)?;
    }
    Ok(())
}

/// Takes each process out and starts a new one in its place.
fn replace(
    spec: &AppSpec,
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
    context: &ApplyContext<'_>,
    launch: &Launch,
) -> Result<(), StepError> {
    let verification = Verification::new(spec, context);
    let records = find_all(targets, adapter)?;
    let serves = |record: &ProcessRecord| {
        record.status == Status::Online
            && record
                .pm2_env
                .get("exec_mode")
                .and_then(serde_json::Value::as_str)
                == Some("cluster_mode")
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
            adapter.stop_watch(record.pm_id)?;
            adapter.delete(record.pm_id)?;
            started.extend(ids(&adapter.prepare(&payload)?));
        }
    }
    verification.run(&started, &BTreeMap::new(), adapter)
}

/// Of a cluster app the new worker comes before the old one goes, so that somebody always listens. Each new worker
/// is then reloaded to be exact: it was started to tell when it is ready, and counts on from the old ones.
fn roll(
    records: &[ProcessRecord],
    adapter: &mut dyn ProcessAdapter,
    launch: &Launch,
    started: &mut Vec<PmId>,
) -> Result<(), StepError> {
    let payload = launch.prepare_ready()?;
    for record in records {
        started.extend(ids(&adapter.prepare(&payload)?));
        adapter.stop_watch(record.pm_id)?;
        adapter.delete(record.pm_id)?;
    }
    let list = adapter.records(started)?;
    for (id, number) in started.iter().zip(0..) {
        let Some(record) = list.iter().find(|record| record.pm_id == *id) else {
            return Err(VerifyError::NotListed(*id).into());
        };
        adapter.reload(*id, &launch.current_conf_as(record, number)?)?;
    }
    Ok(())
}

fn remove(
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
    delete: bool,
) -> Result<(), StepError> {
    let mut ids = Vec::new();
    for record in find_all(targets, adapter)? {
        // PM2's watcher outlives the process and would restart a later one of the same name.
        adapter.stop_watch(record.pm_id)?;
        if delete {
            adapter.delete(record.pm_id)?;
        } else {
            adapter.stop(record.pm_id)?;
        }
        ids.push(record.pm_id);
    }
    let list = adapter.records(&ids)?;
    for (id, target) in ids.into_iter().zip(targets) {
        match list.iter().find(|record| record.pm_id == id) {
            // The number may have been given to another process by now.
            Some(record) if delete && is_same(record, target) => {
                return Err(VerifyError::StillListed(id).into());
            }
            Some(record) if !delete && record.status != Status::Stopped => {
                return Err(VerifyError::NotStopped {
                    pm_id: id,
                    status: record.status.clone(),
                }
                .into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The process of a step as it is now, if it still is the one the step was planned for.
fn find(target: &Target, adapter: &mut dyn ProcessAdapter) -> Result<ProcessRecord, StepError> {
    let mut found = find_all(std::slice::from_ref(target), adapter)?;
    found.pop().ok_or_else(|| changed(target))
}

fn find_all(
    targets: &[Target],
    adapter: &mut dyn ProcessAdapter,
) -> Result<Vec<ProcessRecord>, StepError> {
    let ids: Vec<PmId> = targets.iter().map(|target| PmId(target.pm_id)).collect();
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
        pm_id: PmId(target.pm_id),
        name: target.name.clone(),
    }
}

fn ids(records: &[ProcessRecord]) -> Vec<PmId> {
    records.iter().map(|record| record.pm_id).collect()
}

fn is_same(record: &ProcessRecord, target: &Target) -> bool {
    record.pm_id.0 == target.pm_id
        && record.name == target.name
        && label_of(&record.pm2_env) == target.label
}

fn is_watching(record: &ProcessRecord) -> bool {
    record.pm2_env.get("watch").is_some_and(|watch| {
        !matches!(
            watch,
            serde_json::Value::Bool(false) | serde_json::Value::Null
        )
    })
}

struct Verification<'a> {
    spec: &'a AppSpec,
    label: Label,
    around: &'a Surroundings,
}

impl<'a> Verification<'a> {
    fn new(spec: &'a AppSpec, context: &ApplyContext<'a>) -> Self {
        Self {
            spec,
            label: spec.label(context.workspace),
            around: context.around,
        }
    }

    /// Looks at processes by the records that PM2 has just given of them.
    fn check(
        &self,
        records: &[ProcessRecord],
        adapter: &mut dyn ProcessAdapter,
    ) -> Result<(), StepError> {
        for record in records {
            verify_process(
                record.pm_id,
                self.spec,
                &self.label,
                None,
                records,
                self.around,
                adapter,
            )?;
        }
        Ok(())
    }

    fn run(
        &self,
        ids: &[PmId],
        before: &BTreeMap<PmId, Before>,
        adapter: &mut dyn ProcessAdapter,
    ) -> Result<(), StepError> {
        let list = adapter.records(ids)?;
        for id in ids {
            verify_process(
                *id,
                self.spec,
                &self.label,
                before.get(id),
                &list,
                self.around,
                adapter,
            )?;
        }
        Ok(())
    }
}
