//! PM2, and the right to change it.
//!
//! Any code may observe a [`Pm2`]. Only a [`Writer`] can change it, and only the holder of the [`Lock`] gets one: each PM2 has one
//! writer, across all workspaces.

mod daemon;
mod events;
mod observed;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use daemon_model::{
    Action, ApplyReport, DaemonId, History, Observed, ObservedProcess, Plan, Processes, Records,
    StepReport,
};
use jiff::Timestamp;
use pm2_client::{
    AdapterError, ApplyContext, Bus, ConnectOptions, Dump, DumpError, LaunchError, Listed, Orphans,
    Pm2Command, ProcessAdapter, ProcessRecord, Progress, SocketAdapter, StepError, StopFlag, apply,
    ensure_running, is_in_lineage,
};

use crate::config::Config;
use crate::definitions::Definitions;
use crate::error::FailureKind;
use crate::lock::Lock;
use crate::pass::{NoLeftovers, PlanMemory};
use crate::rollout::{RecordStore, Undecided};
use crate::state::StateWarning;

pub(crate) use daemon::{daemon_environ, own_pm2_is_gone};

use daemon::daemon_pid;
use events::Events;
use observed::{observed, share};

/// A PM2 instance, running or not.
pub struct Pm2<'a> {
    config: &'a Config,
    stop: StopFlag,
    /// Whether to ask PM2 for its list right after connecting.
    prefetch: bool,
    /// Whether to cache lists for a moment, while PM2 may be changed.
    keeps_lists: bool,
    adapter: Option<Box<dyn ProcessAdapter>>,
    bus: Option<Bus>,
    events: Events,
    records: RecordStore,
    last_plan: PlanMemory,
    no_leftovers: NoLeftovers,
    undecided: Undecided,
    /// What PM2 ran when it was last asked, by its numbers.
    known: Processes,
}

/// PM2 cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no command to start it.
    #[error("PM2 is not running, and no `pm2` command was found to start it")]
    NoCommand,
    /// The command failed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It was started, but cannot be reached.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}

impl StartError {
    /// The kind of the failure, from which the caller chooses an exit status.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Launch(LaunchError::Stopped) => FailureKind::Interrupted,
            Self::NoCommand | Self::Launch(_) => FailureKind::Pm2,
            Self::Adapter(error) => FailureKind::of_call(error),
        }
    }
}

impl<'a> Pm2<'a> {
    /// The PM2 of a configuration, not connected yet. Once `stop` is set, it soon stops waiting for answers.
    #[must_use]
    pub fn new(config: &'a Config, stop: &StopFlag) -> Self {
        Self {
            config,
            stop: stop.clone(),
            prefetch: false,
            keeps_lists: false,
            adapter: None,
            bus: None,
            events: Events::default(),
            records: RecordStore::new(config.state()),
            last_plan: PlanMemory::default(),
            no_leftovers: NoLeftovers::default(),
            undecided: Undecided::default(),
            known: Arc::default(),
        }
    }

    /// Asks PM2 for its list right after connecting, so that it answers while the caller does other work. For callers that observe
    /// once or twice.
    #[must_use]
    pub fn with_prefetch(mut self) -> Self {
        self.prefetch = true;
        self
    }

    /// Uses this connection, for example one to an in-memory PM2. A new connection is made only when it fails.
    #[must_use]
    pub fn with_adapter(mut self, adapter: Box<dyn ProcessAdapter>) -> Self {
        self.adapter = Some(adapter);
        self
    }

    /// What is recorded about the daemons, and those of them that may go back to an earlier spec.
    pub(crate) fn read_records(&mut self) -> (Records, BTreeSet<DaemonId>, Vec<StateWarning>) {
        let (records, warnings) = self.records.read();
        let undecided = self.undecided.update(&records);
        (records, undecided, warnings)
    }

    pub(crate) fn no_leftovers(&mut self) -> &mut NoLeftovers {
        &mut self.no_leftovers
    }

    pub(crate) fn last_plan(&self) -> &PlanMemory {
        &self.last_plan
    }

    /// Connects, unless connected. Returns whether PM2 runs.
    ///
    /// # Errors
    /// [`AdapterError`] when PM2 runs but does not answer, is not supported, or belongs to another user.
    pub fn connect(&mut self) -> Result<bool, AdapterError> {
        self.connect_with(self.prefetch)
    }

    fn connect_with(&mut self, prefetch_list: bool) -> Result<bool, AdapterError> {
        if self.adapter.is_none() {
            let options = ConnectOptions {
                stop: self.stop.clone(),
                prefetch_list,
                ..ConnectOptions::default()
            };
            self.adapter = match SocketAdapter::connect(&self.config.pm2_home, options) {
                Ok(mut adapter) => {
                    adapter.keep_lists(self.keeps_lists);
                    Some(Box::new(adapter))
                }
                Err(AdapterError::NotRunning { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(self.is_connected())
    }

    /// Whether there is a connection. PM2 may have ended since it was made.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.adapter.is_some()
    }

    /// Drops the connection: the next [`connect`](Self::connect) makes a new one.
    pub fn disconnect(&mut self) {
        self.adapter = None;
    }

    /// Calls `hint` for each event of PM2, from another thread, if PM2 accepts subscriptions. Does nothing while an earlier
    /// subscription is alive.
    pub(crate) fn subscribe(&mut self, hint: impl Fn() + Send + 'static) {
        if self.adapter.is_some() && !self.bus.as_ref().is_some_and(Bus::is_alive) {
            let hint = self.events.counted(hint);
            // Without a subscription, the timer suffices.
            self.bus = Bus::subscribe(&self.config.pm2_home, hint).ok();
        }
    }

    /// Whether PM2's events arrive: there is a subscription, and it reported the last change of this program. A silent subscription
    /// is dropped; the next [`connect`](Self::connect) makes another.
    pub(crate) fn hears_events(&mut self) -> bool {
        if self.events.are_awaited() {
            if self.events.gives_up() {
                self.bus = None;
                self.events.begin_anew();
            }
            return false;
        }
        self.bus.as_ref().is_some_and(Bus::is_alive)
    }

    /// What PM2 runs; nothing when there is no connection.
    ///
    /// # Errors
    /// [`AdapterError`] when PM2 does not answer.
    pub fn observe(&mut self) -> Result<Observed, AdapterError> {
        Ok(match &mut self.adapter {
            Some(adapter) => {
                let mut observed = observed(adapter.observe()?);
                observed.usage = adapter.usage().iter().copied().collect();
                self.known = Arc::clone(&observed.processes);
                observed
            }
            None => Observed::default(),
        })
    }

    /// PM2's records of all processes; none when there is no connection.
    ///
    /// # Errors
    /// [`AdapterError`] when PM2 does not answer.
    pub(crate) fn list(&mut self) -> Result<Vec<ProcessRecord>, AdapterError> {
        match &mut self.adapter {
            Some(adapter) => adapter.list(),
            None => Ok(Vec::new()),
        }
    }

    /// Adds the processes that PM2 started but does not list. Reads the environment of every process on the machine.
    pub(crate) fn search_orphans(&mut self, observed: &mut Observed) {
        let pids = |processes: &[Arc<ObservedProcess>]| -> Vec<u32> {
            processes.iter().filter_map(|process| process.pid).collect()
        };
        let listed = pids(&observed.processes);
        let found = Orphans::search(&self.config.pm2_home, daemon_pid(self.config), &listed);
        observed.orphans = match &mut self.adapter {
            Some(adapter) if !found.if_unlisted.is_empty() => match adapter.observe() {
                Ok(processes) => found.unlisted(&pids(&processes)),
                // Leave uncertain matches alone.
                Err(_) => found.certain,
            },
            _ => found.certain,
        };
    }

    /// What is recorded about the daemons of this workspace in this PM2's home.
    pub(crate) fn records(&mut self) -> &mut RecordStore {
        &mut self.records
    }

    /// The right to change PM2, for as long as the lock is held.
    pub fn write(&mut self, lock: Lock) -> Writer<'_, 'a> {
        self.keep_lists(true);
        Writer { pm2: self, lock }
    }

    fn keep_lists(&mut self, keep: bool) {
        self.keeps_lists = keep;
        if let Some(adapter) = &mut self.adapter {
            adapter.keep_lists(keep);
        }
    }

    /// Whether PM2 runs another process with the same name as this one.
    ///
    /// # Errors
    /// [`AdapterError`] when PM2 does not answer.
    pub(crate) fn replacement_runs(&mut self) -> Result<bool, AdapterError> {
        let (Some(name), Some(adapter)) = (self.config.own_name(), &mut self.adapter) else {
            return Ok(false);
        };
        let others: Vec<u32> = adapter
            .observe()?
            .iter()
            .filter(|process| process.name == name)
            .filter_map(|process| process.pid)
            .collect();
        Ok(!others.is_empty() && is_in_lineage(&others) == Some(false))
    }
}

/// The right to change a PM2. It keeps the lock for as long as it exists.
pub struct Writer<'w, 'a> {
    pm2: &'w mut Pm2<'a>,
    lock: Lock,
}

impl Drop for Writer<'_, '_> {
    fn drop(&mut self) {
        self.pm2.keep_lists(false);
    }
}

impl<'a> Writer<'_, 'a> {
    /// The PM2, for reading.
    pub fn pm2(&mut self) -> &mut Pm2<'a> {
        self.pm2
    }

    /// The lock.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The right to write histories.
    pub(crate) fn recorder(&mut self) -> Recorder<'_> {
        Recorder {
            records: &mut self.pm2.records,
            lock: &self.lock,
        }
    }

    /// Replaces the history of a daemon.
    pub(crate) fn record(
        &mut self,
        daemon: &DaemonId,
        history: &Arc<History>,
    ) -> Result<(), StateWarning> {
        self.recorder().record(daemon, history)
    }

    /// Starts PM2 unless it runs. Returns whether it was started.
    ///
    /// # Errors
    /// [`StartError::NoCommand`] when no `pm2` command is found; [`StartError::Launch`] when it fails or does not end in
    /// time; [`StartError::Adapter`] when PM2 then does not answer.
    pub fn ensure_running(&mut self) -> Result<bool, StartError> {
        // PM2 is about to be changed, so a list requested now would be stale when it is read.
        if self.pm2.connect_with(false)? {
            return Ok(false);
        }
        let config = self.pm2.config;
        let command = config.pm2.as_ref().ok_or(StartError::NoCommand)?;
        let stop = self.pm2.stop.clone();
        ensure_running(
            &Pm2Command::new(command),
            &config.pm2_home,
            &config.environment.base_env(&config.env_policy()),
            self.lock.share(),
            &stop,
        )?;
        if !self.pm2.connect_with(false)? {
            let path = config.pm2_home.join("rpc.sock");
            return Err(AdapterError::NotRunning { path }.into());
        }
        Ok(true)
    }

    /// The connection, if there is one.
    pub(crate) fn adapter(&mut self) -> Option<&mut dyn ProcessAdapter> {
        match &mut self.pm2.adapter {
            Some(adapter) => Some(adapter.as_mut()),
            None => None,
        }
    }

    /// Takes the steps of a plan. Without a connection, takes none. The observer may write histories before a step begins.
    pub(crate) fn apply(
        &mut self,
        plan: &Plan,
        jobs: NonZeroUsize,
        observer: &mut dyn FnMut(Progress<'_>, &mut Recorder<'_>),
    ) -> ApplyReport<StepError> {
        let config = self.pm2.config;
        let env_policy = config.env_policy();
        let host = config.local_host();
        let stop = self.pm2.stop.clone();
        let context = ApplyContext {
            workspace: config.root(),
            env_policy: &env_policy,
            host: &host,
            jobs,
            stop: &stop,
        };
        let is_subscribed = self.pm2.bus.as_ref().is_some_and(Bus::is_alive);
        let heard = self.pm2.events.count();
        let mut recorder = Recorder {
            records: &mut self.pm2.records,
            lock: &self.lock,
        };
        let report = match &mut self.pm2.adapter {
            Some(adapter) => apply(plan, adapter.as_mut(), &context, &mut |progress| {
                observer(progress, &mut recorder);
            }),
            None => ApplyReport { steps: Vec::new() },
        };
        let restarts = |step: &StepReport<StepError>| {
            matches!(step.step.action, Action::Change { .. }) && step.outcome.is_done()
        };
        if is_subscribed && report.steps.iter().any(restarts) {
            self.pm2.events.expect_after(heard);
        }
        report
    }

    /// PM2's processes, with the records for its dump.
    pub(crate) fn observe_with_dump(&mut self) -> Result<(Observed, Dump), AdapterError> {
        let config = self.pm2.config;
        let mut processes = Vec::new();
        let mut dump = Dump::of(config.root());
        let known = std::mem::take(&mut self.pm2.known);
        if let Some(adapter) = self.adapter() {
            let add = &mut |listed: Listed<'_>| {
                let process = listed.observed();
                dump.add(listed.record(), &process);
                processes.push(share(&known, process));
            };
            // The same list was used to verify the latest steps.
            if !adapter.visit_recent(None, add) {
                adapter.visit(None, add)?;
            }
        }
        processes.sort_by_key(|process| process.pm_id);
        let processes: Arc<[_]> = processes.into();
        self.pm2.known = Arc::clone(&processes);
        Ok((observed(processes), dump))
    }

    /// Whether PM2 may still be busy with requests from a writer that was killed.
    pub(crate) fn is_pm2_busy(&self) -> bool {
        self.lock.is_in_progress()
    }

    /// Whether PM2 has been changed since its dump was written.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.lock.is_dirty()
    }

    /// Notes that PM2 is about to be changed, and whether its dump is to be written afterwards.
    pub(crate) fn begin_work(&mut self, save: bool) {
        self.lock.begin_work(save);
    }

    /// Notes that PM2 has done what it was asked to do.
    pub(crate) fn end_work(&mut self) {
        self.lock.end_work();
    }

    /// Notes that the dump is up to date.
    pub(crate) fn note_saved(&mut self) {
        self.lock.note_saved();
    }

    /// Writes PM2's dump.
    pub(crate) fn save(&mut self, definitions: &Definitions, dump: Dump) -> Result<(), DumpError> {
        let names: BTreeSet<&str> = definitions
            .daemons
            .values()
            .flat_map(|definition| definition.apps())
            .map(|placed| placed.app.name())
            .collect();
        self.save_as(&names, dump)
    }

    /// Writes PM2's dump, without its entries for unlabelled processes of these names.
    pub(crate) fn save_as(&mut self, names: &BTreeSet<&str>, dump: Dump) -> Result<(), DumpError> {
        dump.save(&self.pm2.config.pm2_home, names)?;
        self.lock.note_saved();
        Ok(())
    }
}

/// The right to write histories.
pub(crate) struct Recorder<'r> {
    records: &'r mut RecordStore,
    lock: &'r Lock,
}

impl Recorder<'_> {
    /// Replaces the history of a daemon.
    pub(crate) fn record(
        &mut self,
        daemon: &DaemonId,
        history: &Arc<History>,
    ) -> Result<(), StateWarning> {
        self.records.write_history(daemon, history, self.lock)
    }
}

/// The time, in milliseconds since the Unix epoch. PM2 records when it started a process by this clock.
pub(crate) fn now_ms() -> u64 {
    milliseconds(Timestamp::now())
}

/// A time in milliseconds since the Unix epoch.
pub(crate) fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// When a file last changed, in milliseconds since the Unix epoch: its content, its mode, or its replacement. No tool can set this
/// time back.
pub(crate) fn changed_ms(path: &str) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.is_dir() {
        return changed_ms(&format!("{path}/index.js"));
    }
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    Some(seconds * 1000 + u64::try_from(metadata.ctime_nsec()).unwrap_or(0) / 1_000_000)
}
