//! One pass: scan, render, observe, plan, apply, verify, save. `plan` is a pass minus apply, so a dry run
//! cannot drift from the real thing.

mod carry;
mod choose;
mod look;
mod pm2;
mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon_model::{
    Action, AppPolicy, ApplyReport, DaemonId, Label, Observed, ObservedProcess, Plan, Policy,
    Reason, Step, plan,
};
use edn_render::artifact::{self, ArtifactError};
use pm2_client::{
    AdapterError, DumpError, LaunchError, ProcessAdapter, Progress, StepError, orphans,
};

use crate::artifacts::{self, ArtifactReport};
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsError, last_good};
use crate::lock::{Holder, Lock, LockError};
use crate::signals::StopFlag;

pub use choose::select;
pub(crate) use look::{LastLook, held, look, running};
pub use pm2::connect;
pub(crate) use pm2::{
    borrow, connect_asking, connect_or_start, connect_until, has_successor, is_left_over,
};

use carry::{Carried, Carrier};
use choose::resolve_ids;
use pm2::{daemon_pid, observe_all, start_pm2};

/// Why a pass ended before it could do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// There are no definitions to work with.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// An artifact cannot be read or written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// PM2 cannot be talked to.
    #[error(transparent)]
    Pm2(#[from] AdapterError),
    /// PM2 is not running and cannot be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// PM2 is not running and there is no command to start it.
    #[error("PM2 is not running, and no `pm2` command was found to start it")]
    NoPm2Command,
    /// Another pm2-sync is at work.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// PM2's dump cannot be written.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// An ID that nothing knows.
    #[error("unknown daemon `{id}`: it has no definition, no processes and no generated config")]
    UnknownId {
        /// The ID.
        id: String,
        /// A known one that is spelt alike.
        near: Option<DaemonId>,
    },
    /// A confirmation of another removal than the one that is held.
    #[error("`--confirm {given}` does not confirm this removal")]
    WrongConfirmation {
        /// What was given.
        given: String,
        /// What would confirm it, if anything is held.
        code: Option<String>,
    },
}

/// What a pass may do and how.
#[derive(Debug, Clone)]
pub struct PassOptions {
    /// Daemons to touch, as given; empty: all.
    pub ids: Vec<String>,
    /// Of those, only these; none: all.
    pub only: Option<BTreeSet<DaemonId>>,
    /// Daemons not to touch.
    pub except: BTreeSet<DaemonId>,
    /// Daemons whose artifact may have to be written; none: all.
    pub stale: Option<BTreeSet<DaemonId>>,
    /// Whether processes without a definition are removed.
    pub prune: bool,
    /// Whether what lost its definition is left for a later pass.
    pub defer_removal: bool,
    /// Whether strangers of a declared name are taken over.
    pub adopt: bool,
    /// The removal code that the user confirmed.
    pub confirm: Option<String>,
    /// How many daemons proceed side by side.
    pub jobs: NonZeroUsize,
    /// Whether PM2's dump is written after changes.
    pub save: bool,
    /// How long to wait for another pm2-sync.
    pub lock_timeout: Duration,
    /// How long after the first look a second one must agree before anything is removed.
    pub removal_delay: Duration,
    /// Whether to look for processes that PM2 does not know of, though nothing is about to start.
    pub seek_orphans: bool,
    /// Whether to wait for what PM2 is stopping at this moment, as it does after a sync that was killed, and then to
    /// look again.
    pub settle: bool,
}

impl Default for PassOptions {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            only: None,
            except: BTreeSet::new(),
            stale: None,
            prune: true,
            defer_removal: false,
            adopt: true,
            confirm: None,
            jobs: NonZeroUsize::MIN.saturating_add(3),
            save: true,
            lock_timeout: Duration::from_secs(60),
            removal_delay: Duration::from_millis(100),
            seek_orphans: false,
            settle: true,
        }
    }
}

/// What a pass tells while it works.
#[derive(Debug)]
#[non_exhaustive]
pub enum PassEvent<'a> {
    /// Another pm2-sync is waited for.
    Waiting(Option<&'a Holder>),
    /// PM2 was started.
    Pm2Started,
    /// The plan is made and will now be carried out.
    Planned(&'a Plan, &'a Definitions),
    /// A step begins or ends.
    Step(Progress<'a>),
    /// All else is done; what PM2 is stopping at this moment is waited for.
    Settling(&'a Plan),
}

/// What was found: definitions, processes, and the plan between them.
#[derive(Debug)]
pub struct Survey {
    /// The definitions.
    pub definitions: Definitions,
    /// Whether PM2 runs.
    pub pm2_running: bool,
    /// The watcher that PM2 runs for this workspace.
    pub watcher: Option<Arc<ObservedProcess>>,
    /// The plan.
    pub plan: Plan,
}

/// What a sync did.
#[derive(Debug)]
pub struct SyncReport {
    /// The definitions.
    pub definitions: Arc<Definitions>,
    /// The plan as it was carried out.
    pub plan: Plan,
    /// What became of each step.
    pub applied: ApplyReport<StepError>,
    /// How every app stands afterwards.
    pub after: Plan,
    /// What became of the artifacts.
    pub artifacts: ArtifactReport,
    /// Whether PM2 had to be started.
    pub pm2_started: bool,
    /// Why PM2's dump could not be written, if so.
    pub save_error: Option<DumpError>,
    /// How long it took.
    pub took: Duration,
}

/// Looks at definitions and PM2 and works out the plan. Touches nothing.
///
/// # Errors
/// [`PassError`].
pub fn survey(
    config: &Config,
    options: &PassOptions,
    adapter: Option<&mut dyn ProcessAdapter>,
) -> Result<Survey, PassError> {
    let definitions = Definitions::load(config)?;
    let pm2_running = adapter.is_some();
    let mut observed = observe_all(adapter)?;
    let only = resolve_ids(config, options, &definitions, &observed)?;
    let plan = make_plan_with_orphans(config, options, &definitions, &mut observed, only.as_ref())?;
    let name = crate::supervised::process_name(config.root());
    let is_watcher = |process: &Arc<ObservedProcess>| process.is_module && process.name == name;
    let watcher = observed.processes.into_iter().find(is_watcher);
    Ok(Survey {
        definitions,
        pm2_running,
        watcher,
        plan,
    })
}

/// Makes PM2 run what the definitions say: one whole pass.
///
/// # Errors
/// [`PassError`] when it could not do its work; what happened to single steps is in the report.
pub fn sync(
    config: &Config,
    options: &PassOptions,
    stop: &StopFlag,
    observer: &mut dyn FnMut(PassEvent<'_>),
) -> Result<SyncReport, PassError> {
    let mut lock = Lock::take(
        &config.pm2_home,
        "pm2-sync sync",
        options.lock_timeout,
        &|| stop.is_set(),
        &mut |holder| observer(PassEvent::Waiting(holder)),
    )?;
    // PM2 makes its list while the definitions are read.
    let mut adapter = connect_asking(config, stop)?;
    let definitions = Arc::new(Definitions::load(config)?);
    sync_locked(
        config,
        options,
        definitions,
        &mut lock,
        &mut adapter,
        stop,
        observer,
    )
}

/// The same, for a caller that holds the lock, has read the definitions, and keeps its connection to PM2.
///
/// # Errors
/// As [`sync`].
pub fn sync_locked(
    config: &Config,
    options: &PassOptions,
    definitions: Arc<Definitions>,
    lock: &mut Lock,
    adapter: &mut Option<Box<dyn ProcessAdapter>>,
    stop: &StopFlag,
    observer: &mut dyn FnMut(PassEvent<'_>),
) -> Result<SyncReport, PassError> {
    let began = Instant::now();
    let mut definitions = definitions;
    let mut unwritten = match options.ids.is_empty() {
        true => {
            let stale = options.stale.as_ref().or(options.only.as_ref());
            Some(artifacts::unwritten(config, &definitions, stale)?)
        }
        // Which ones are meant, only PM2's list can tell.
        false => None,
    };
    let mut observed = observe_all(borrow(adapter))?;
    let only = resolve_ids(config, options, &definitions, &observed)?;
    if lock.is_at_work() {
        if let Some(adapter) = borrow(adapter) {
            let plan = make_plan(config, options, &definitions, &observed, only.clone())?;
            if plan.has_stopping() {
                observer(PassEvent::Settling(&plan));
            }
            rest::wait_for_calm(adapter, &|| stop.is_set())?;
            observed = observe_all(Some(adapter))?;
        }
        lock.end_work();
    }
    let mut plan =
        make_plan_with_orphans(config, options, &definitions, &mut observed, only.as_ref())?;
    let starts = |step: &Step| matches!(step.action, Action::Start { .. } | Action::Resume { .. });
    if adapter.is_some()
        && plan.steps.iter().any(starts)
        && rest::wait_for_its_end(&config.pm2_home, &|| stop.is_set())
    {
        *adapter = connect_until(config, stop)?;
        observed = observe_all(borrow(adapter))?;
        plan = make_plan_with_orphans(config, options, &definitions, &mut observed, only.as_ref())?;
    }
    let mut deferred = None;
    let mut lost = losing(&plan);
    while !lost.is_empty() {
        // An editor or a checkout may have a file away for a moment: what goes must be gone twice.
        std::thread::sleep(options.removal_delay);
        definitions = Arc::new(Definitions::load(config)?);
        unwritten = None;
        observed = observe_all(borrow(adapter))?;
        plan = make_plan_with_orphans(config, options, &definitions, &mut observed, only.as_ref())?;
        let now = losing(&plan);
        if now.is_subset(&lost) {
            break;
        }
        lost = now;
        if options.removal_delay.is_zero() || stop.is_set() {
            // Whoever does not wait here looks again later: nothing goes until then.
            let options = deferred.insert(PassOptions {
                defer_removal: true,
                ..options.clone()
            });
            plan = make_plan_with_orphans(
                config,
                options,
                &definitions,
                &mut observed,
                only.as_ref(),
            )?;
            break;
        }
    }
    let options = deferred.as_ref().unwrap_or(options);

    let mut stale = unwritten
        .or_else(|| options.stale.clone())
        .or_else(|| only.clone());
    if let Some(held) = &plan.held {
        // What goes only when somebody confirms it may have been protected after its processes were started: then nothing
        // else remembers.
        stale
            .get_or_insert_with(|| definitions.daemons.keys().cloned().collect())
            .retain(|id| !held.daemons.contains(id));
    }
    let mut artifacts = artifacts::write(config, &definitions, stale.as_ref())?;
    let starts = plan
        .steps
        .iter()
        .any(|step| matches!(step.action, Action::Start { .. }));
    let pm2_started = adapter.is_none() && starts;
    if pm2_started {
        *adapter = Some(start_pm2(config, lock, stop)?);
        observer(PassEvent::Pm2Started);
    }
    observer(PassEvent::Planned(&plan, &definitions));
    let carrier = Carrier {
        config,
        options,
        definitions: &definitions,
        only: only.as_ref(),
        should_stop: &|| stop.is_set(),
    };
    let Carried {
        applied,
        after,
        save_error,
    } = match borrow(adapter) {
        Some(adapter) => carrier.carry_out(&plan, adapter, lock, observer)?,
        None => Carried::nothing(&plan),
    };
    remove_orphans(
        config,
        options,
        &definitions,
        only.as_ref(),
        &after,
        &mut artifacts,
    )?;
    Ok(SyncReport {
        definitions,
        plan,
        applied,
        after,
        artifacts,
        pm2_started,
        save_error,
        took: began.elapsed(),
    })
}

/// The daemons of which something is removed because they have no definition.
fn losing(plan: &Plan) -> BTreeSet<DaemonId> {
    let loses = |step: &&Step| step.reasons.contains(&Reason::DefinitionRemoved);
    plan.steps
        .iter()
        .filter(loses)
        .map(|step| step.daemon.clone())
        .collect()
}

/// Artifacts go when nothing defines their daemon and none of its processes is left.
fn remove_orphans(
    config: &Config,
    options: &PassOptions,
    definitions: &Definitions,
    only: Option<&BTreeSet<DaemonId>>,
    after: &Plan,
    report: &mut ArtifactReport,
) -> Result<(), PassError> {
    if !options.prune {
        return Ok(());
    }
    let left: BTreeSet<&DaemonId> = after.apps.iter().map(|app| &app.daemon).collect();
    let gone: Vec<DaemonId> = artifacts::orphaned(config, definitions, only)?
        .into_iter()
        .filter(|id| !left.contains(id))
        .collect();
    // A removal that waits is the moment to keep everything.
    if after.held.is_none() && !definitions.daemons.is_empty() {
        if options.defer_removal {
            report.leaving = gone;
        } else {
            artifacts::remove(config, &gone)?;
            report.removed = gone;
        }
    }
    Ok(())
}

/// The plan, with what lives on without PM2 in it. To look for that takes a look at every process of the machine, so it
/// is done only when something is about to start, or when it is asked for.
fn make_plan_with_orphans(
    config: &Config,
    options: &PassOptions,
    definitions: &Definitions,
    observed: &mut Observed,
    only: Option<&BTreeSet<DaemonId>>,
) -> Result<Plan, PassError> {
    let plan = make_plan(config, options, definitions, observed, only.cloned())?;
    let starts = |step: &Step| matches!(step.action, Action::Start { .. });
    if !options.seek_orphans && !plan.steps.iter().any(starts) {
        return Ok(plan);
    }
    let known: Vec<u32> = observed
        .processes
        .iter()
        .filter_map(|process| process.pid)
        .collect();
    observed.orphans = orphans(&config.pm2_home, daemon_pid(config), &known);
    if observed.orphans.is_empty() {
        return Ok(plan);
    }
    make_plan(config, options, definitions, observed, only.cloned())
}

fn make_plan(
    config: &Config,
    options: &PassOptions,
    definitions: &Definitions,
    observed: &Observed,
    only: Option<BTreeSet<DaemonId>>,
) -> Result<Plan, PassError> {
    let mut known = BTreeSet::new();
    if !definitions.is_complete() {
        // What is known to have run may have a definition where nobody can look right now.
        let ours = observed
            .processes
            .iter()
            .filter_map(|process| process.label.as_ref())
            .filter(|label| label.workspace == config.root());
        known.extend(ours.map(|label| label.daemon.clone()));
        known.extend(artifact::list_others(&config.layout, |id| {
            definitions.daemons.contains_key(id)
        })?);
    }
    let desired = definitions.desired(config, &known);
    let policy = Policy {
        prune: options.prune,
        defer_removal: options.defer_removal,
        adopt: options.adopt,
        only,
        except: options.except.clone(),
        last_wishes: last_wishes(config, definitions, observed),
        ..config.policy()
    };
    let unconfirmed = plan(&desired, observed, &policy);
    let Some(given) = &options.confirm else {
        return Ok(unconfirmed);
    };
    match unconfirmed.held {
        Some(held) if held.code == *given => {
            let policy = Policy {
                confirmed: Some(held.code),
                ..policy
            };
            Ok(plan(&desired, observed, &policy))
        }
        held => Err(PassError::WrongConfirmation {
            given: given.clone(),
            code: held.map(|held| held.code),
        }),
    }
}

/// What the artifacts of daemons that may be gone, in whole or in part, say about their removal.
fn last_wishes(
    config: &Config,
    definitions: &Definitions,
    observed: &Observed,
) -> BTreeMap<(DaemonId, String), AppPolicy> {
    let ours = observed
        .processes
        .iter()
        .filter_map(|process| process.label.as_ref())
        .filter(|label| label.workspace == config.root());
    let is_gone = |label: &&Label| match definitions.daemons.get(&label.daemon) {
        None => true,
        // An app that was taken out of its definition.
        Some(definition) => !definition
            .apps()
            .iter()
            .any(|(_, app)| app.name() == label.app),
    };
    let gone: BTreeSet<&DaemonId> = ours.filter(is_gone).map(|label| &label.daemon).collect();
    gone.into_iter()
        .flat_map(|id| last_good(id, config))
        .map(|app| ((app.daemon().clone(), app.name().to_owned()), app.policy()))
        .collect()
}
