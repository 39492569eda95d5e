//! One pass: scan, render, observe, plan, apply, verify, save. `plan` is a pass minus apply, so a dry run
//! cannot drift from the real thing.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use daemon_model::{
    Action, AppPolicy, ApplyReport, DaemonId, Label, Observed, ObservedProcess, Plan, Policy,
    Reason, Step, plan,
};
use edn_render::artifact::{self, ArtifactError};
use pm2_client::{
    AdapterError, ApplyContext, Deadlines, DumpError, LaunchError, Pm2Command, ProcessAdapter,
    ProcessRecord, Progress, SocketAdapter, StepError, apply, ensure_running, label_of, observe,
    orphans, save,
};

use crate::artifacts::{self, ArtifactReport};
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsError, last_good};
use crate::environment::Machine;
use crate::lock::{Holder, Lock, LockError};

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
}

/// What was found: definitions, processes, and the plan between them.
#[derive(Debug)]
pub struct Survey {
    /// The definitions.
    pub definitions: Definitions,
    /// Whether PM2 runs.
    pub pm2_running: bool,
    /// The watcher that PM2 runs for this workspace.
    pub watcher: Option<ObservedProcess>,
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

/// A connection to PM2, if it runs.
///
/// # Errors
/// [`AdapterError`] when it runs but does not answer.
pub fn connect(config: &Config) -> Result<Option<Box<dyn ProcessAdapter>>, AdapterError> {
    match SocketAdapter::connect(&config.pm2_home, Deadlines::default()) {
        Ok(adapter) => Ok(Some(Box::new(adapter))),
        Err(AdapterError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error),
    }
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
    let is_watcher = |process: &ObservedProcess| process.is_module && process.name == name;
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
    should_stop: &(dyn Fn() -> bool + Sync),
    observer: &mut dyn FnMut(PassEvent<'_>),
) -> Result<SyncReport, PassError> {
    let lock = Lock::take(
        &config.pm2_home,
        "pm2-sync sync",
        options.lock_timeout,
        &|| should_stop(),
        &mut |holder| observer(PassEvent::Waiting(holder)),
    )?;
    let definitions = Arc::new(Definitions::load(config)?);
    sync_locked(
        config,
        options,
        definitions,
        &lock,
        &mut connect(config)?,
        should_stop,
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
    lock: &Lock,
    adapter: &mut Option<Box<dyn ProcessAdapter>>,
    should_stop: &(dyn Fn() -> bool + Sync),
    observer: &mut dyn FnMut(PassEvent<'_>),
) -> Result<SyncReport, PassError> {
    let began = Instant::now();
    let mut definitions = definitions;
    let mut observed = observe_all(borrow(adapter))?;
    let only = resolve_ids(config, options, &definitions, &observed)?;
    let mut plan =
        make_plan_with_orphans(config, options, &definitions, &mut observed, only.as_ref())?;
    let loses_definition = |step: &Step| step.reasons.contains(&Reason::DefinitionRemoved);
    if plan.steps.iter().any(loses_definition) {
        // An editor or a checkout may have a file away for a moment: what goes must be gone twice.
        std::thread::sleep(options.removal_delay);
        definitions = Arc::new(Definitions::load(config)?);
        observed = observe_all(borrow(adapter))?;
        plan = make_plan_with_orphans(config, options, &definitions, &mut observed, only.as_ref())?;
    }

    let stale = options.stale.as_ref().or(only.as_ref());
    let mut artifacts = artifacts::write(config, &definitions, stale)?;
    let starts = plan
        .steps
        .iter()
        .any(|step| matches!(step.action, Action::Start { .. }));
    let pm2_started = adapter.is_none() && starts;
    if pm2_started {
        *adapter = Some(start_pm2(config, lock)?);
        observer(PassEvent::Pm2Started);
    }
    observer(PassEvent::Planned(&plan, &definitions));
    let mut applied = ApplyReport { steps: Vec::new() };
    let mut after = plan.clone();
    let mut save_error = None;
    if let Some(adapter) = borrow(adapter)
        && !plan.steps.is_empty()
    {
        let around = config.surroundings();
        let machine = Machine::new(config.environment.base_env(&around), config.pm2.as_deref());
        let context = ApplyContext {
            workspace: config.root(),
            around: &around,
            host: &machine,
            jobs: options.jobs,
            should_stop,
        };
        // What ends this very process comes when all else is done and saved.
        let own = config.own_pm_id();
        let (last, first): (Vec<Step>, Vec<Step>) =
            plan.steps.iter().cloned().partition(|step| step.ends(own));
        let mut run = |steps: Vec<Step>, adapter: &mut dyn ProcessAdapter| {
            let part = Plan {
                steps,
                ..Plan::default()
            };
            apply(&part, adapter, &context, &mut |progress| {
                observer(PassEvent::Step(progress));
            })
        };
        applied = run(first, adapter);
        let mut records = adapter.list()?;
        if applied.changed_anything() && options.save {
            save_error = save_dump(config, &definitions, &records).err();
        }
        if !last.is_empty() {
            applied.steps.extend(run(last, adapter).steps);
            records = adapter.list()?;
        }
        // The removal was confirmed for this pass only; the second look needs no confirmation.
        let unconfirmed = PassOptions {
            confirm: None,
            ..options.clone()
        };
        after = make_plan(
            config,
            &unconfirmed,
            &definitions,
            &observe_records(&records),
            only.clone(),
        )?;
    }
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

/// A connection as a pass uses it.
pub(crate) fn borrow(
    adapter: &mut Option<Box<dyn ProcessAdapter>>,
) -> Option<&mut dyn ProcessAdapter> {
    match adapter {
        Some(adapter) => Some(adapter.as_mut()),
        None => None,
    }
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
    if !options.prune || options.defer_removal {
        return Ok(());
    }
    let left: BTreeSet<&DaemonId> = after.apps.iter().map(|app| &app.daemon).collect();
    let gone: Vec<DaemonId> = artifacts::orphaned(config, definitions, only)?
        .into_iter()
        .filter(|id| !left.contains(id))
        .collect();
    // A removal that waits is the moment to keep everything.
    if after.held.is_none() && !definitions.daemons.is_empty() {
        artifacts::remove(config, &gone)?;
        report.removed = gone;
    }
    Ok(())
}

/// The plan for what PM2 runs at this moment. Touches nothing.
///
/// # Errors
/// [`PassError`].
pub(crate) fn look(
    config: &Config,
    options: &PassOptions,
    definitions: &Definitions,
    adapter: Option<&mut dyn ProcessAdapter>,
) -> Result<Plan, PassError> {
    let observed = observe_all(adapter)?;
    make_plan(
        config,
        options,
        definitions,
        &observed,
        options.only.clone(),
    )
}

/// The plan, with what lives on without PM2 in it. To look for that takes a look at every process of the machine, so it
/// is done only when something is about to start.
fn make_plan_with_orphans(
    config: &Config,
    options: &PassOptions,
    definitions: &Definitions,
    observed: &mut Observed,
    only: Option<&BTreeSet<DaemonId>>,
) -> Result<Plan, PassError> {
    let plan = make_plan(config, options, definitions, observed, only.cloned())?;
    if !plan
        .steps
        .iter()
        .any(|step| matches!(step.action, Action::Start { .. }))
    {
        return Ok(plan);
    }
    let known: Vec<u32> = observed
        .processes
        .iter()
        .filter_map(|process| process.pid)
        .collect();
    let daemon = std::fs::read_to_string(config.pm2_home.join("pm2.pid"))
        .ok()
        .and_then(|pid| pid.trim().parse().ok());
    observed.orphans = orphans(&config.pm2_home, daemon, &known);
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
    let with_processes: Vec<&DaemonId> = observed
        .processes
        .iter()
        .filter_map(|process| process.label.as_ref())
        .filter(|label| label.workspace == config.root())
        .map(|label| &label.daemon)
        .collect();
    let with_artifact = artifact::list(&config.layout)?;
    let desired = definitions.desired(config, with_processes.into_iter().chain(&with_artifact));
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

/// What the artifacts of daemons that may be gone say about their removal.
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
    let gone: BTreeSet<&DaemonId> = ours
        .map(|label| &label.daemon)
        .filter(|id| !definitions.daemons.contains_key(*id))
        .collect();
    gone.into_iter()
        .flat_map(|id| last_good(id, config))
        .map(|app| ((app.daemon().clone(), app.name().to_owned()), app.policy()))
        .collect()
}

/// The daemons that were asked for; none: all of them.
fn resolve_ids(
    config: &Config,
    options: &PassOptions,
    definitions: &Definitions,
    observed: &Observed,
) -> Result<Option<BTreeSet<DaemonId>>, PassError> {
    let mut known: BTreeSet<DaemonId> = definitions.daemons.keys().cloned().collect();
    known.extend(
        observed
            .processes
            .iter()
            .filter_map(|process| process.label.as_ref())
            .filter(|label| label.workspace == config.root())
            .map(|label| label.daemon.clone()),
    );
    let chosen = select(config, &options.ids, known)?;
    Ok(match (chosen, &options.only) {
        (Some(chosen), Some(only)) => Some(chosen.intersection(only).cloned().collect()),
        (chosen, only) => chosen.or_else(|| only.clone()),
    })
}

/// The daemons named by `ids`, each of which must be known or have an artifact; none: all.
///
/// # Errors
/// [`PassError::UnknownId`].
pub fn select(
    config: &Config,
    ids: &[String],
    mut known: BTreeSet<DaemonId>,
) -> Result<Option<BTreeSet<DaemonId>>, PassError> {
    if ids.is_empty() {
        return Ok(None);
    }
    known.extend(artifact::list(&config.layout)?);
    ids.iter()
        .map(|given| {
            DaemonId::new(given)
                .ok()
                .filter(|id| known.contains(id))
                .ok_or_else(|| PassError::UnknownId {
                    id: given.clone(),
                    near: nearest(given, &known),
                })
        })
        .collect::<Result<BTreeSet<_>, _>>()
        .map(Some)
}

fn nearest(given: &str, known: &BTreeSet<DaemonId>) -> Option<DaemonId> {
    known
        .iter()
        .find(|id| id.as_str().rsplit('/').next() == Some(given))
        .or_else(|| {
            known
                .iter()
                .map(|id| (strsim::damerau_levenshtein(id.as_str(), given), id))
                .filter(|(distance, _)| *distance <= 2 + given.len() / 5)
                .min_by_key(|(distance, _)| *distance)
                .map(|(_, id)| id)
        })
        .cloned()
}

fn observe_all(adapter: Option<&mut dyn ProcessAdapter>) -> Result<Observed, AdapterError> {
    Ok(match adapter {
        Some(adapter) => observe_records(&adapter.list()?),
        None => Observed::default(),
    })
}

fn observe_records(records: &[ProcessRecord]) -> Observed {
    let processes: Vec<_> = records.iter().map(observe).collect();
    let workspaces: BTreeSet<&Utf8PathBuf> = processes
        .iter()
        .filter_map(|process| process.label.as_ref())
        .map(|label: &Label| &label.workspace)
        .collect();
    let missing_workspaces = workspaces
        .into_iter()
        .filter(|workspace| {
            // Only a plain "it is not there" counts: what cannot be looked at may well exist.
            std::fs::symlink_metadata(workspace)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        })
        .cloned()
        .collect();
    Observed {
        processes,
        missing_workspaces,
        ..Observed::default()
    }
}

/// A connection to PM2, which is started if it does not run.
///
/// # Errors
/// [`PassError`].
pub(crate) fn connect_or_start(config: &Config) -> Result<Box<dyn ProcessAdapter>, PassError> {
    if let Some(adapter) = connect(config)? {
        return Ok(adapter);
    }
    let lock = Lock::take(
        &config.pm2_home,
        "pm2-sync up",
        PassOptions::default().lock_timeout,
        &|| false,
        &mut |_| {},
    )?;
    match connect(config)? {
        Some(adapter) => Ok(adapter),
        None => start_pm2(config, &lock),
    }
}

fn start_pm2(config: &Config, lock: &Lock) -> Result<Box<dyn ProcessAdapter>, PassError> {
    let pm2 = config.pm2.as_ref().ok_or(PassError::NoPm2Command)?;
    let env = config.environment.base_env(&config.surroundings());
    ensure_running(&Pm2Command::new(pm2), &config.pm2_home, &env, lock.share())?;
    connect(config)?.ok_or_else(|| {
        PassError::Pm2(AdapterError::NotRunning {
            path: config.pm2_home.join("rpc.sock"),
        })
    })
}

fn save_dump(
    config: &Config,
    definitions: &Definitions,
    records: &[ProcessRecord],
) -> Result<(), DumpError> {
    let ours = |label: Option<Label>| label.is_some_and(|label| label.workspace == config.root());
    let managed: Vec<ProcessRecord> = records
        .iter()
        .filter(|record| ours(label_of(&record.pm2_env)))
        .cloned()
        .collect();
    let names: BTreeSet<&str> = definitions
        .daemons
        .values()
        .flat_map(|definition| definition.apps())
        .map(|(_, app)| app.name())
        .collect();
    save(&config.pm2_home, &managed, |pm2_env| {
        // What was adopted stands in an old dump without a label, under its name.
        let name = pm2_env.get("name").and_then(serde_json::Value::as_str);
        ours(label_of(pm2_env)) || name.is_some_and(|name| names.contains(name))
    })?;
    Ok(())
}
