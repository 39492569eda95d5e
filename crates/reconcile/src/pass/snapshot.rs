//! Everything a plan depends on, read once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use daemon_model::{
    Action, AppSpec, DaemonId, Desired, Entry, EntryOutcome, History, LastPlan, Observed,
    ObservedProcess, Plan, Planned, Policy, Records, Scope, Selection, Step,
};
use edn_render::artifact::ArtifactStore;
use jiff::Timestamp;

use super::request::{Removal, Request};
use super::{Labels, PassError, selection};
use crate::artifacts::ArtifactFailures;
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsError, last_good};
use crate::failures::Failures;
use crate::guard::GuardMemory;
use crate::lock::is_dump_unsaved;
use crate::pm2::{Pm2, changed_ms, milliseconds};
use crate::state::StateWarning;
use crate::values::ValueSources;

/// Where a snapshot gets its definitions.
pub trait DefinitionSource {
    /// The current definitions.
    ///
    /// # Errors
    /// [`DefinitionsError`] when the tree cannot be read, or no definition has the chosen mode or environment.
    fn load(&mut self, config: &Config) -> Result<Arc<Definitions>, DefinitionsError>;
}

/// Reads the whole tree each time.
#[derive(Debug, Default)]
pub struct Disk;

impl DefinitionSource for Disk {
    fn load(&mut self, config: &Config) -> Result<Arc<Definitions>, DefinitionsError> {
        Definitions::load(config).map(Arc::new)
    }
}

/// Everything a plan depends on: the definitions, what PM2 runs, what artifacts remember, and the policy. All input happens when it
/// is taken; planning from it is pure.
#[derive(Debug)]
pub struct Snapshot {
    /// The definitions.
    pub definitions: Arc<Definitions>,
    /// What PM2 runs.
    pub observed: Observed,
    /// Whether PM2 runs.
    pub pm2_running: bool,
    /// When the snapshot was taken.
    pub taken_at: Timestamp,
    /// What was applied, with what result, and what users decided.
    pub records: Records,
    /// Unresolved failures.
    pub failures: Failures,
    pub(super) guard: GuardMemory,
    /// Artifacts that are needed in place of a definition and cannot be read.
    pub artifact_failures: ArtifactFailures,
    /// Whether the last pass failed to write PM2's dump.
    pub is_dump_unsaved: bool,
    /// State files that cannot be read.
    pub warnings: Vec<StateWarning>,
    /// What the request's IDs select; none: everything.
    selection: Option<Selection>,
    /// Daemons that may go back to an earlier spec.
    undecided: BTreeSet<DaemonId>,
    desired: Arc<Desired>,
    policy: Policy,
    last_plan: PlanMemory,
    /// The plan, if it was made already and none of its inputs has changed since.
    planned: RefCell<Option<Planned>>,
}

impl Snapshot {
    /// Reads everything.
    ///
    /// # Errors
    /// [`PassError::Definitions`] when the tree cannot be read; [`PassError::Pm2`] when PM2 does not answer;
    /// [`PassError::Select`] for an ID that is unknown or ambiguous.
    pub fn take(
        config: &Config,
        pm2: &mut Pm2<'_>,
        source: &mut dyn DefinitionSource,
        request: &Request,
    ) -> Result<Self, PassError> {
        // PM2 prepares its list while the definitions are read.
        pm2.connect()?;
        let definitions = source.load(config)?;
        let observed = pm2.observe()?;
        let mut snapshot = Self::of(config, pm2, definitions, observed, request)?;
        if request.retry || !request.restart.is_empty() {
            snapshot.policy.restart.clone_from(&request.restart);
            snapshot.policy.retry = request.retry;
            snapshot.planned.take();
        }
        if request.retry {
            snapshot.retry(|_, _, _| true);
        }
        Ok(snapshot)
    }

    /// A snapshot of these definitions and of what PM2 was just seen to run.
    ///
    /// # Errors
    /// [`PassError::Select`] for an ID that is unknown or ambiguous.
    pub(super) fn of(
        config: &Config,
        pm2: &mut Pm2<'_>,
        definitions: Arc<Definitions>,
        observed: Observed,
        request: &Request,
    ) -> Result<Self, PassError> {
        let labels = Labels {
            workspace: config.root(),
            processes: &observed.processes,
        };
        let selection = selection::select(config, &request.ids, &definitions, labels.iter())?;
        let only = selection::daemons(selection.as_ref(), request);
        let unseen = unseen(config, &definitions, labels);
        let leftovers = pm2.no_leftovers().leftovers(&definitions, labels);
        let mut artifact_failures = ArtifactFailures::default();
        let last_good = last_good_apps(
            config,
            &definitions,
            leftovers,
            &unseen,
            &mut artifact_failures,
        );
        let mut policy = config.policy();
        policy.prune = request.removal != Removal::Never;
        policy.defer_removal = request.removal == Removal::Defer;
        policy.adopt = request.adopt;
        policy.confirmed.clone_from(&request.confirm);
        policy.scope = Scope {
            only,
            except: request.except.clone(),
        };
        let scope = &policy.scope;
        artifact_failures.daemons.retain(|id, _| scope.includes(id));
        policy.last_specs = last_specs(&definitions, &last_good);
        let mut desired = definitions.desired(unseen, last_good);
        let taken_at = Timestamp::now();
        let (records, undecided, record_warnings) = pm2.read_records();
        desired.records = Some(records.at(milliseconds(taken_at)));
        let entries = undecided.iter().map(|id| records.history(id).entries());
        let entries = entries.flatten();
        let apps = entries.flat_map(|entry| &entry.apps).map(|app| &app.app);
        policy.values = definitions.values().of_apps(apps, config.root());
        let (failures, failures_warning) = Failures::read(&config.state());
        let (guard, guard_warning) = GuardMemory::read(&config.state());
        policy.removed_lately = guard.removed_lately(&definitions, labels, taken_at);
        policy.unmounted = guard.unmounted(&definitions, labels);
        let mut snapshot = Self {
            pm2_running: pm2.is_connected(),
            definitions,
            observed,
            taken_at,
            failures,
            guard,
            artifact_failures,
            is_dump_unsaved: is_dump_unsaved(&config.pm2_home),
            warnings: failures_warning
                .into_iter()
                .chain(guard_warning)
                .chain(record_warnings)
                .collect(),
            records,
            undecided,
            selection,
            desired: Arc::new(desired),
            policy,
            last_plan: pm2.last_plan().clone(),
            planned: RefCell::default(),
        };
        snapshot.retry(Self::is_repaired);
        // Processes that survived a killed PM2 must end first, or the app would run twice.
        let planned = (!request.search_orphans).then(|| snapshot.plan());
        let starts = |planned: &Planned| starts_something(&planned.plan);
        let known = snapshot.observed.orphans.clone();
        if planned.as_ref().is_none_or(starts) {
            pm2.search_orphans(&mut snapshot.observed);
        }
        if snapshot.observed.orphans == known {
            snapshot.planned = RefCell::new(planned);
        }
        Ok(snapshot)
    }

    /// The steps that turn what PM2 runs into what the definitions declare.
    #[must_use]
    pub fn plan(&self) -> Planned {
        let made = self.planned.take();
        made.unwrap_or_else(|| {
            let (desired, observed) = (&self.desired, &self.observed);
            self.last_plan.plan(desired, observed, &self.policy)
        })
    }

    /// When the snapshot was taken, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        milliseconds(self.taken_at)
    }

    /// The apps that a daemon's definition declares; none when it has no valid definition.
    pub(crate) fn defined(&self, daemon: &DaemonId) -> Option<&[AppSpec]> {
        let daemon = self.desired.daemons.get(daemon)?;
        (!daemon.is_broken()).then(|| daemon.apps())
    }

    /// Replaces histories.
    pub(super) fn set_histories(&mut self, changed: BTreeMap<DaemonId, Arc<History>>) {
        self.planned.take();
        for (daemon, history) in changed {
            self.records.set_history(&daemon, history);
        }
        let records = self.records.at(self.now_ms());
        Arc::make_mut(&mut self.desired).records = Some(records);
    }

    /// Forgets failures of daemons in scope whose failed entry is `due` for a retry.
    fn retry(&mut self, due: impl Fn(&Self, &DaemonId, &Entry) -> bool) {
        let now_ms = self.now_ms();
        let is_due = |(id, history): &(&DaemonId, &Arc<History>)| {
            let mut failed = history.entries().iter().filter(|it| it.outcome.is_failed());
            failed.any(|entry| self.policy.scope.includes(id) && due(self, id, entry))
        };
        let histories = self.undecided.iter();
        let histories = histories.map(|id| (id, self.records.history(id)));
        let retried = histories.filter(is_due);
        let retried = retried.map(|(id, history)| {
            let mut history = History::clone(history);
            history.retry(now_ms);
            (id.clone(), Arc::new(history))
        });
        let retried: BTreeMap<_, _> = retried.collect();
        if !retried.is_empty() {
            self.set_histories(retried);
        }
    }

    /// Whether the script of a failed app has changed since it was applied: it may work now.
    fn is_repaired(&self, daemon: &DaemonId, failed: &Entry) -> bool {
        let EntryOutcome::Failed { failures, .. } = &failed.outcome else {
            return false;
        };
        let mut apps = self.defined(daemon).into_iter().flatten();
        apps.any(|app| {
            let script = daemon_model::paths::resolve(app.cwd(), app.script());
            failures.iter().any(|failure| failure.app == app.name())
                && changed_ms(script.as_str()).is_some_and(|changed| changed > failed.at_ms)
        })
    }

    /// The same snapshot for a pass that removes nothing.
    pub(super) fn defer_removals(&mut self) {
        self.planned.take();
        self.policy.defer_removal = true;
    }

    /// What the request's IDs select; none: everything.
    #[must_use]
    pub fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// Whether the request covers the app: it names the app or its daemon, or nothing at all.
    #[must_use]
    pub fn includes_app(&self, daemon: &DaemonId, app: &str) -> bool {
        let selection = self.selection.as_ref();
        selection.is_none_or(|selection| selection.includes(daemon, app))
    }

    /// The daemons that the request names; none: all.
    pub(crate) fn chosen(&self) -> Option<&BTreeSet<DaemonId>> {
        self.policy.scope.only.as_ref()
    }

    /// Whether the pass may change a daemon.
    pub(super) fn includes(&self, daemon: &DaemonId) -> bool {
        self.policy.scope.includes(daemon)
    }

    /// Whether anything may be removed.
    pub(super) fn removes(&self) -> bool {
        self.policy.prune
    }

    /// Whether the plan leaves removals to a later pass.
    pub(super) fn defers_removals(&self) -> bool {
        self.policy.defer_removal
    }

    /// The watcher process that PM2 runs for this workspace.
    #[must_use]
    pub fn watcher(&self) -> Option<&Arc<ObservedProcess>> {
        let name = crate::watcher_module::process_name(&self.policy.workspace);
        let is_watcher =
            |process: &&Arc<ObservedProcess>| process.is_module && process.name == name;
        self.observed.processes.iter().find(is_watcher)
    }
}

/// The last plan, kept for the next one.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanMemory(Arc<Mutex<Option<LastPlan>>>);

impl PlanMemory {
    fn plan(&self, desired: &Arc<Desired>, observed: &Observed, policy: &Policy) -> Planned {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let again = last.as_ref();
        let again = again.and_then(|last| last.plan_changes(desired, observed, policy));
        let now = again.unwrap_or_else(|| LastPlan::new(desired, observed, policy));
        let planned = now.planned().clone();
        *last = Some(now);
        planned
    }
}

/// Whether a plan starts new processes.
pub(super) fn starts_something(plan: &Plan) -> bool {
    let starts = |step: &Step| matches!(step.action, Action::Start { .. });
    plan.steps.iter().any(starts)
}

/// Daemons that are known to have run and may still have a definition in an unreadable part of the tree.
fn unseen(config: &Config, definitions: &Definitions, labels: Labels<'_>) -> BTreeSet<DaemonId> {
    if definitions.is_complete() {
        return BTreeSet::new();
    }
    let is_defined = |id: &DaemonId| definitions.daemons.contains_key(id);
    let mut known: BTreeSet<DaemonId> = labels.iter().map(|label| label.daemon.clone()).collect();
    // A daemon known only from an artifact has no processes to remove.
    let listed = ArtifactStore::new(&config.layout).list(is_defined);
    known.extend(listed.unwrap_or_default());
    known.retain(|id| !is_defined(id) && !definitions.is_absent(id));
    known
}

/// The last good render of each daemon that needs it: its definition is broken or unreadable, or it has processes of an app that
/// the definition no longer declares.
fn last_good_apps(
    config: &Config,
    definitions: &Definitions,
    leftovers: BTreeSet<DaemonId>,
    unseen: &BTreeSet<DaemonId>,
    failures: &mut ArtifactFailures,
) -> BTreeMap<DaemonId, Vec<AppSpec>> {
    let broken = definitions.broken().map(|(id, _)| id);
    let mut gone = leftovers;
    if !gone.is_empty() {
        // The label of a moved app names the daemon that started it, not the latest one.
        let is_defined = |id: &DaemonId| definitions.daemons.contains_key(id);
        let listed = ArtifactStore::new(&config.layout).list(is_defined);
        gone.extend(listed.unwrap_or_default());
    }
    let replaced: BTreeSet<&DaemonId> = broken.chain(unseen).collect();
    // A removed daemon starts nothing, so its policy matters but not its env files.
    let assumed = ValueSources::assumed(false);
    let mut found = BTreeMap::new();
    for id in replaced
        .iter()
        .copied()
        .chain(&gone)
        .collect::<BTreeSet<_>>()
    {
        let values = match replaced.contains(id) {
            true => definitions.values(),
            false => &assumed,
        };
        match last_good(id, config, values) {
            Ok(apps) => drop(found.insert(id.clone(), apps)),
            Err(error) => failures.add(id.clone(), error),
        }
    }
    found
}

/// The last good renders of apps that may be gone, by name.
fn last_specs(
    definitions: &Definitions,
    last_good: &BTreeMap<DaemonId, Vec<AppSpec>>,
) -> BTreeMap<String, AppSpec> {
    last_good
        .iter()
        .filter(|(id, _)| {
            let definition = definitions.daemons.get(id);
            definition.is_none_or(|definition| !definition.is_broken())
        })
        .flat_map(|(_, apps)| apps)
        .map(|app| (app.name().to_owned(), app.clone()))
        .collect()
}
