//! The probes of processes: which ones run, and their results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use daemon_model::{AppSpec, ObservedProcess, PmId, ProbeKind, ProbeOutcome};
use probe::{Health, ProbeResult, Prober};

/// Identifies one probe of one process: its kind, PM2's number of the process, and the process lifetime, since numbers are reused.
type Key = (PmId, ProbeKind, Life);

/// A process lifetime: the process id and the start time.
type Life = (Option<u32>, Option<u64>);

/// The last result of a probe.
#[derive(Debug, Clone)]
struct Found {
    health: Health,
    failures: u32,
    /// Why the last run failed.
    why: Option<String>,
}

/// Runs the probes of the processes that need them.
pub(crate) struct Probes {
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Created with the first probe.
    prober: Option<Prober<Key>>,
    running: BTreeSet<Key>,
    found: Arc<Mutex<BTreeMap<Key, Found>>>,
    /// The current lifetime of each process.
    lives: BTreeMap<PmId, Life>,
    /// Processes whose startup probe has succeeded: it does not run again.
    started: BTreeSet<(PmId, Life)>,
}

/// A process whose liveness probe has reached its failure threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) pm_id: PmId,
    pub(crate) failures: u32,
    pub(crate) why: String,
}

impl Probes {
    /// Calls `wake` from another thread when a probe has a new result.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            wake: Arc::new(wake),
            prober: None,
            running: BTreeSet::new(),
            found: Arc::default(),
            lives: BTreeMap::new(),
            started: BTreeSet::new(),
        }
    }

    /// From now on, runs the probes of these processes only: for each, the startup probe until it has succeeded, then the other
    /// requested kinds.
    pub(crate) fn run<'p>(
        &mut self,
        wanted: impl IntoIterator<Item = (&'p AppSpec, &'p ObservedProcess, &'p [ProbeKind])>,
        now_ms: u64,
    ) {
        let mut keys = BTreeSet::new();
        self.lives.clear();
        for (app, process, kinds) in wanted {
            let life = (process.pid, process.started_at_ms);
            self.lives.insert(process.pm_id, life);
            if !process.is_running() || kinds.is_empty() {
                continue;
            }
            let has_startup = app.rollout().startup.is_some();
            if has_startup && self.has_succeeded((process.pm_id, ProbeKind::Startup, life)) {
                self.started.insert((process.pm_id, life));
            }
            let is_started = !has_startup || self.started.contains(&(process.pm_id, life));
            let kinds = match is_started {
                true => kinds,
                false => &[ProbeKind::Startup],
            };
            for kind in kinds
                .iter()
                .filter(|kind| app.rollout().probe(**kind).is_some())
            {
                if is_started && *kind == ProbeKind::Startup {
                    continue;
                }
                let key = (process.pm_id, *kind, life);
                keys.insert(key);
                if !self.running.contains(&key) {
                    self.start(key, app, process, now_ms);
                }
            }
        }
        for key in self.running.difference(&keys) {
            if let Some(prober) = &self.prober {
                prober.remove(*key);
            }
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|key, _| keys.contains(key));
        drop(found);
        let lives = &self.lives;
        self.started
            .retain(|(pm_id, life)| lives.get(pm_id) == Some(life));
        self.running = keys;
    }

    fn start(&mut self, key: Key, app: &AppSpec, process: &ObservedProcess, now_ms: u64) {
        let (_, kind, _) = key;
        let Some(probe) = app.rollout().probe(kind) else {
            return;
        };
        let cwd = Utf8Path::new(process.text("pm_cwd").unwrap_or("/"));
        let failed = |why: String| Found {
            health: Health::Unknown,
            failures: 0,
            why: Some(why),
        };
        let check = match probe.handler.check(&process.env, cwd) {
            Ok(check) => check,
            Err(error) => return self.note(key, failed(error.to_string())),
        };
        if self.prober.is_none() {
            let (found, wake) = (Arc::clone(&self.found), Arc::clone(&self.wake));
            let started = Prober::start(move |report: probe::Report<Key>| {
                let why = match report.result {
                    ProbeResult::Failed { why } | ProbeResult::NotRun { why } => Some(why),
                    _ => None,
                };
                let now = Found {
                    health: report.health,
                    failures: report.failures,
                    why,
                };
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.insert(report.key, now);
                drop(found);
                wake();
            });
            match started {
                Ok(prober) => self.prober = Some(prober),
                Err(error) => return self.note(key, failed(error.to_string())),
            }
        }
        // A process that is older than this clock is taken to have started with it.
        let age = process
            .started_at_ms
            .map_or(0, |at| now_ms.saturating_sub(at));
        let now = Instant::now();
        let started = now.checked_sub(Duration::from_millis(age)).unwrap_or(now);
        if let Some(prober) = &self.prober {
            prober.add(key, probe, check, started);
        }
    }

    fn note(&self, key: Key, found: Found) {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, found);
    }

    fn of(&self, key: &Key) -> Option<Found> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(key).cloned()
    }

    fn has_succeeded(&self, key: Key) -> bool {
        self.of(&key)
            .is_some_and(|found| found.health == Health::Ready)
    }

    /// The overall result of a probe of a process.
    pub(crate) fn outcome(&self, pm_id: PmId, kind: ProbeKind) -> ProbeOutcome {
        let Some(life) = self.lives.get(&pm_id) else {
            return ProbeOutcome::Unknown { why: None };
        };
        if kind == ProbeKind::Startup && self.started.contains(&(pm_id, *life)) {
            return ProbeOutcome::Succeeded;
        }
        match self.of(&(pm_id, kind, *life)) {
            Some(found) if found.health == Health::Ready => ProbeOutcome::Succeeded,
            found => ProbeOutcome::Unknown {
                why: found.and_then(|found| found.why),
            },
        }
    }

    /// Why a running process is no longer ready: its readiness probe has reached its failure threshold.
    pub(crate) fn unready(&self, pm_id: PmId) -> Option<String> {
        let life = self.lives.get(&pm_id)?;
        let found = self.of(&(pm_id, ProbeKind::Readiness, *life))?;
        found.why.filter(|_| found.health == Health::Failed)
    }

    /// The processes whose liveness probe has reached its failure threshold.
    pub(crate) fn dead(&self) -> Vec<Dead> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = found.iter().filter(|((_, kind, _), found)| {
            *kind == ProbeKind::Liveness && found.health == Health::Failed
        });
        dead.map(|((pm_id, ..), found)| Dead {
            pm_id: *pm_id,
            failures: found.failures,
            why: found.why.clone().unwrap_or_default(),
        })
        .collect()
    }
}
