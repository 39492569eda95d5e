//! A workspace with its history, and a PM2 in which each app has the behaviour of the variable `B` in its definition: `good`,
//! `slow` (ready after 3 s), `never` (runs, but is never ready), `bad` (PM2 gives it up at once), `crash` (ends at once, until PM2
//! gives it up) or `flap` (ends every 800 ms).
//!
//! [`Simulation::round`] does the work of a pass: it plans, records what it is about to apply, applies it, and judges it.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use daemon_model::{
    Action, AppSpec, ChangeMethod, DaemonId, Desired, DesiredDaemon, Entry, EntryApp, GateInput,
    History, Observed, ObservedProcess, Overrides, Planned, PmId, Policy, ProbeKind, ProbeOutcome,
    Records, RemoveMethod, Status, Step, plan,
};
use serde_json::{Map, Value, json};

use crate::common::{policy, resolved, running};

/// How long a simulated round takes, in milliseconds.
const ROUND_MS: u64 = 500;

pub struct Simulation {
    /// The apps of each definition; none: the definition is broken.
    pub definitions: BTreeMap<DaemonId, Option<Vec<Value>>>,
    pub last_good: BTreeMap<DaemonId, Vec<Value>>,
    pub histories: BTreeMap<DaemonId, History>,
    pub overrides: Overrides,
    pub processes: BTreeMap<PmId, ObservedProcess>,
    pub policy: Policy,
    pub now_ms: u64,
    /// Every app that was ever rendered, as in a history entry.
    rendered: BTreeMap<(String, String), Map<String, Value>>,
    next_id: u32,
    /// How often each process had been restarted when it was last changed.
    restarts_before: BTreeMap<PmId, u32>,
    /// PM2 refuses every step for these apps.
    pub refuses: BTreeSet<String>,
    /// Called with each step before it is taken.
    pub watch: fn(&Simulation, &Step),
}

/// An app: its name, its behaviour, its version, and further keys.
pub fn app(name: &str, behaviour: &str, version: u8, more: &Value) -> Value {
    let mut app = json!({
        "name": name,
        "script": "./app.js",
        "env": { "B": behaviour, "V": version },
    });
    if matches!(behaviour, "slow" | "never") {
        app["readiness_probe"] = json!({ "tcp_socket": { "port": 1 } });
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        app[key] = value.clone();
    }
    app
}

pub fn behaviour(process: &ObservedProcess) -> &str {
    process.env.get("B").unwrap_or("good")
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            definitions: BTreeMap::new(),
            last_good: BTreeMap::new(),
            histories: BTreeMap::new(),
            overrides: Overrides::default(),
            processes: BTreeMap::new(),
            policy: policy(),
            now_ms: 1_000_000,
            rendered: BTreeMap::new(),
            next_id: 0,
            restarts_before: BTreeMap::new(),
            refuses: BTreeSet::new(),
            watch: |_, _| {},
        }
    }
}

impl Simulation {
    /// Writes a definition.
    pub fn define(&mut self, id: &DaemonId, apps: Vec<Value>) {
        for app in &apps {
            let key = (
                app["name"].to_string(),
                resolved(id.as_str(), app, &self.policy.values)
                    .revision()
                    .to_string(),
            );
            let map = app.as_object().cloned().unwrap_or_default();
            self.rendered.insert(key, map);
        }
        self.last_good.insert(id.clone(), apps.clone());
        self.definitions.insert(id.clone(), Some(apps));
    }

    /// The apps that a definition declares.
    pub fn defined(&self, id: &DaemonId) -> Vec<AppSpec> {
        let apps = self.definitions.get(id).into_iter().flatten().flatten();
        apps.map(|app| resolved(id.as_str(), app, &self.policy.values))
            .collect()
    }

    pub fn desired(&self) -> Desired {
        let specs = |id: &DaemonId, apps: &[Value]| -> Vec<AppSpec> {
            apps.iter()
                .map(|app| resolved(id.as_str(), app, &self.policy.values))
                .collect()
        };
        let daemons = self.definitions.iter().map(|(id, apps)| {
            let daemon = match apps {
                Some(apps) => DesiredDaemon::Apps(specs(id, apps).into()),
                None => DesiredDaemon::Broken {
                    last_good: specs(id, self.last_good.get(id).map_or(&[], Vec::as_slice)),
                },
            };
            (id.clone(), daemon)
        });
        let histories = self.histories.iter();
        let histories = histories.map(|(id, history)| (id.clone(), Arc::new(history.clone())));
        let records = Records {
            histories: histories.collect(),
            overrides: Arc::new(self.overrides.clone()),
        };
        Desired {
            daemons: daemons.collect(),
            records: Some(records.at(self.now_ms)),
        }
    }

    pub fn observed(&self) -> Observed {
        Observed {
            processes: self.processes.values().cloned().map(Arc::new).collect(),
            at_ms: self.now_ms,
            ..Observed::default()
        }
    }

    pub fn plan(&self) -> Planned {
        plan(&self.desired(), &self.observed(), &self.policy)
    }

    /// Runs one pass, and advances by half a second. Returns whether it did anything.
    pub fn round(&mut self) -> bool {
        let mut planned = self.plan();
        let mut is_busy = self.gate(&planned);
        if is_busy {
            planned = self.plan();
        }
        is_busy |= self.apply(&planned);
        self.pass_time();
        is_busy
    }

    /// Runs rounds until nothing is left to do and every gate is decided. Returns the last plan.
    pub fn settle(&mut self) -> Planned {
        for _ in 0..400 {
            let is_busy = self.round();
            let mut histories = self.histories.values();
            let is_open = |history: &History| {
                let gates = history.pending().into_iter().flat_map(|entry| {
                    let apps = entry.apps.iter();
                    apps.filter_map(|app| entry.gate(&app.name))
                });
                gates.into_iter().any(|gate| !gate.ready)
            };
            if !is_busy && !histories.any(is_open) {
                return self.plan();
            }
        }
        unsettled(&self.plan())
    }

    /// Records what is about to be applied, and applies it.
    fn apply(&mut self, planned: &Planned) -> bool {
        for attempt in &planned.attempts {
            let apps = attempt.apps.iter().map(|app| {
                let key = (json!(app.name()).to_string(), app.revision().to_string());
                EntryApp::new(app, self.rendered[&key].clone())
            });
            let gates = attempt.gates(self.now_ms);
            let mut entry = Entry::pending("test", self.now_ms, apps.collect(), gates);
            entry.back_to = attempt.back_to;
            let history = self.histories.entry(attempt.daemon.clone()).or_default();
            history.begin(entry);
        }
        let mut last = 0;
        let mut refused: BTreeMap<&DaemonId, BTreeSet<&str>> = BTreeMap::new();
        for step in &planned.plan.steps {
            assert!(step.stage >= last, "steps are in the order of their stages");
            last = step.stage;
            if self.refuses.contains(&step.app) {
                let apps = refused.entry(&step.daemon).or_default();
                apps.insert(&step.app);
                continue;
            }
            (self.watch)(self, step);
            self.take(step);
        }
        for (daemon, apps) in &refused {
            if let Some(history) = self.histories.get_mut(*daemon) {
                history.unapplied(apps, self.now_ms);
            }
        }
        !planned.plan.steps.is_empty() || !planned.attempts.is_empty()
    }

    fn take(&mut self, step: &Step) {
        match &step.action {
            Action::Start { spec, count } => {
                for _ in 0..*count {
                    let pm_id = PmId(self.next_id);
                    self.next_id += 1;
                    self.start(spec, pm_id, 0);
                }
            }
            Action::Change { spec, targets, how } => {
                for target in targets {
                    let old = self.processes.remove(&target.pm_id);
                    let mut pm_id = target.pm_id;
                    if *how == ChangeMethod::Replace {
                        pm_id = PmId(self.next_id);
                        self.next_id += 1;
                    }
                    self.start(spec, pm_id, old.map_or(0, |old| old.restarts + 1));
                }
            }
            Action::Remove { targets, how } => {
                for target in targets {
                    match how {
                        RemoveMethod::Stop => {
                            let process = self.processes.get_mut(&target.pm_id);
                            process.into_iter().for_each(stop);
                        }
                        _ => {
                            self.processes.remove(&target.pm_id);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, spec: &AppSpec, pm_id: PmId, restarts: u32) {
        let mut process = ObservedProcess {
            started_at_ms: Some(self.now_ms),
            restarts,
            ..running(spec, pm_id)
        };
        if behaviour(&process) == "bad" {
            process.status = Status::Errored;
            process.pid = None;
            process.exit_code = Some(1);
        }
        self.restarts_before.insert(pm_id, restarts);
        self.processes.insert(pm_id, process);
    }

    /// Advances the time by one round.
    fn pass_time(&mut self) {
        self.now_ms += ROUND_MS;
        for process in self.processes.values_mut() {
            let (every, unstable) = match behaviour(process) {
                "crash" => (100, 5),
                "flap" => (800, 1),
                _ => continue,
            };
            let age = self.now_ms - process.started_at_ms.unwrap_or(self.now_ms);
            if process.status == Status::Online && age >= every {
                process.restarts += unstable;
                process.unstable_restarts += unstable;
                process.started_at_ms = Some(self.now_ms);
                process.exit_code = Some(1);
                if u64::from(process.unstable_restarts) >= process.max_restarts() {
                    process.status = Status::Errored;
                    process.pid = None;
                }
            }
        }
    }

    /// Whether a process is actually ready, whatever is known about it.
    pub fn is_ready(&self, process: &ObservedProcess) -> bool {
        let age = self.now_ms - process.started_at_ms.unwrap_or(self.now_ms);
        process.is_running()
            && match behaviour(process) {
                "good" => age >= 1000,
                "slow" => age >= 3000,
                _ => false,
            }
    }

    /// Judges pending entries. Returns whether one was decided.
    fn gate(&mut self, planned: &Planned) -> bool {
        let mut is_changed = false;
        let histories = std::mem::take(&mut self.histories);
        let histories = histories.into_iter().map(|(id, mut history)| {
            is_changed |= self.gate_daemon(planned, &id, &mut history);
            (id, history)
        });
        self.histories = histories.collect();
        is_changed
    }

    fn gate_daemon(&self, planned: &Planned, id: &DaemonId, history: &mut History) -> bool {
        let probes = |pm_id: PmId, _: ProbeKind| match self.is_ready(&self.processes[&pm_id]) {
            true => ProbeOutcome::Succeeded,
            false => ProbeOutcome::Unknown {
                why: Some("connection refused".to_owned()),
            },
        };
        let input = GateInput {
            probes: &probes,
            restarts_before: &self.restarts_before,
            judged_since_ms: &|_| 0,
            now_ms: self.now_ms,
        };
        let pending = history.last().map_or(0, |last| last.number);
        let report = history.judge(id, planned, &input);
        let outcome = report.outcome;
        report.is_changed || outcome.is_some_and(|it| history.decide(pending, it))
    }
}

fn stop(process: &mut ObservedProcess) {
    process.status = Status::Stopped;
    process.pid = None;
}

#[track_caller]
#[expect(clippy::panic, reason = "a test that cannot go on fails")]
fn unsettled(planned: &Planned) -> ! {
    panic!("does not settle: {planned:#?}");
}
