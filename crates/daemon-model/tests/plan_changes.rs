//! An incremental plan equals a full plan.

mod common;

use std::sync::Arc;

use common::{id, policy, running, spec};
use daemon_model::{
    AppFailure, AppSpec, DaemonId, DaemonOverrides, Desired, DesiredDaemon, Entry, EntryApp,
    EntryOutcome, History, LastPlan, Observed, ObservedProcess, Override, Pin, PmId, Policy,
    Status, plan,
};
use proptest::prelude::*;
use serde_json::json;

/// How many daemons there are.
const DAEMONS: u8 = 8;

/// A workspace, and what PM2 runs.
struct World {
    desired: Desired,
    observed: Observed,
    policy: Policy,
    versions: u32,
}

fn daemon(n: u8) -> DaemonId {
    id(&format!("d{}", n % DAEMONS))
}

impl World {
    /// Every daemon has an app, which runs and is known to be ready.
    fn new() -> Self {
        let observed = Observed {
            at_ms: 100_000,
            ..Observed::default()
        };
        let mut world = Self {
            desired: Desired::default(),
            observed,
            policy: policy(),
            versions: 0,
        };
        for n in 0..DAEMONS {
            world.define(n, n, None);
            world.converge(n);
        }
        world
    }

    /// Edits a definition: one app, with the name of any daemon that no other definition uses.
    fn define(&mut self, n: u8, name: u8, needs: Option<String>) {
        self.versions += 1;
        let name = match self.is_free(n, name) {
            true => name,
            false => n,
        };
        if !self.is_free(n, name) {
            return;
        }
        let app = json!({
            "name": format!("app{}", name % DAEMONS), "script": "./app.js", "args": [self.versions.to_string()],
            "depends_on": needs.into_iter().collect::<Vec<_>>(),
        });
        let app = spec(daemon(n).as_str(), &app);
        let apps = DesiredDaemon::Apps([app].into());
        self.desired.daemons.insert(daemon(n), apps);
    }

    fn is_free(&self, n: u8, name: u8) -> bool {
        let name = format!("app{}", name % DAEMONS);
        let mut others = self
            .desired
            .daemons
            .iter()
            .filter(|(id, _)| **id != daemon(n));
        others.all(|(_, it)| it.is_broken() || it.apps().iter().all(|app| app.name() != name))
    }

    fn apps(&self, n: u8) -> Vec<AppSpec> {
        let daemon = self.desired.daemons.get(&daemon(n));
        daemon.map_or_else(Vec::new, |it| it.apps().to_vec())
    }

    /// Everything of a daemon runs as defined, and was ready.
    fn converge(&mut self, n: u8) {
        for app in self.apps(n) {
            let mut processes = Arc::make_mut(&mut self.observed.processes).iter_mut();
            match processes.find(|it| it.name == app.name()) {
                Some(process) => *process = Arc::new(running(&app, process.pm_id)),
                None => self.start(&app),
            }
        }
        self.record(n, EntryOutcome::Ready { at_ms: 50_000 });
    }

    fn start(&mut self, app: &AppSpec) {
        let last = self.observed.processes.last();
        let pm_id = PmId(last.map_or(0, |last| last.pm_id.0 + 1));
        let new = Arc::new(running(app, pm_id));
        let all = self.observed.processes.iter().cloned();
        self.observed.processes = all.chain([new]).collect();
    }

    /// Records the outcome of a daemon's definition.
    fn record(&mut self, n: u8, outcome: EntryOutcome) {
        let apps = self.apps(n);
        let records = self.desired.records.get_or_insert_default();
        let mut history = History::clone(records.history(&daemon(n)));
        let of_entry = |app: &AppSpec| {
            let rendered = json!({
                "name": app.name(), "script": "./app.js",
                "args": app.attributes().find(|(name, _)| *name == "args").map(|(_, args)| args),
            });
            let rendered = rendered.as_object().cloned().unwrap_or_default();
            EntryApp::new(app, rendered)
        };
        let apps = apps.iter().map(of_entry).collect();
        let mut entry = Entry::pending("test", 40_000, apps, [].into());
        entry.outcome = outcome;
        history.begin(entry);
        records.set_history(&daemon(n), Arc::new(history));
    }

    fn process(&mut self, n: u8, change: impl FnOnce(&mut ObservedProcess)) {
        let count = self.observed.processes.len();
        if count > 0 {
            let processes = Arc::make_mut(&mut self.observed.processes);
            change(Arc::make_mut(&mut processes[usize::from(n) % count]));
        }
    }

    fn overrides(&mut self, n: u8, which: u8) {
        let by = Override {
            at_ms: 60_000,
            user: None,
            reason: None,
            until_ms: None,
        };
        let apps = self.apps(n);
        let records = self.desired.records.get_or_insert_default();
        let entries = records.history(&daemon(n)).entries();
        let first = entries.first().map_or(1, |it| it.number);
        let overrides = Arc::make_mut(&mut records.overrides);
        overrides.change(&daemon(n), |overrides| match which % 4 {
            0 => overrides.hold = Some(by),
            1 => overrides.stop = Some(by),
            2 => *overrides = DaemonOverrides::default(),
            _ => {
                let definition = apps.iter();
                let definition = definition
                    .map(|app| (app.name().to_owned(), app.revision().clone()))
                    .collect();
                overrides.pin = Some(Pin {
                    number: first,
                    definition,
                    by,
                });
            }
        });
    }

    fn change(&mut self, (kind, a, b): (u8, u8, u8)) {
        match kind % 16 {
            0 => self.define(a, a, None),
            1 => self.define(a, b, None),
            2 => self.define(a, a, Some(format!("app{}", b % DAEMONS))),
            3 => self.define(a, a, Some(daemon(b).to_string())),
            // One at a time: this test is not about how many are removed at once.
            4 if self.desired.daemons.len() == usize::from(DAEMONS) => {
                self.desired.daemons.remove(&daemon(a));
            }
            5 => {
                let last_good = self.apps(a);
                let broken = DesiredDaemon::Broken { last_good };
                self.desired.daemons.insert(daemon(a), broken);
            }
            6 => {
                let count = self.observed.processes.len();
                if count > 0 {
                    let mut processes = self.observed.processes.to_vec();
                    processes.remove(usize::from(a) % count);
                    self.observed.processes = processes.into();
                }
            }
            7 => self.process(a, |it| {
                it.status =
                    [Status::Stopped, Status::Errored, Status::Stopping][usize::from(b % 3)];
                it.pid = None;
            }),
            8 => self.process(a, |it| it.name = format!("app{}", b % DAEMONS)),
            9 => self.process(a, |it| {
                if let Some(label) = &mut it.label {
                    label.daemon = daemon(b);
                }
            }),
            10 => self.process(a, |it| {
                it.env = [(Arc::from("A"), Arc::from("x"))].into_iter().collect()
            }),
            11 => {
                for app in self.apps(a) {
                    self.start(&app);
                }
            }
            12 => {
                let failure = AppFailure {
                    app: format!("app{}", a % DAEMONS),
                    reason: "exited".to_owned(),
                };
                let failures = vec![failure];
                self.record(
                    a,
                    EntryOutcome::Failed {
                        at_ms: 60_000,
                        failures,
                    },
                );
            }
            13 => self.overrides(a, b),
            14 => self.observed.at_ms += 300 * u64::from(b),
            _ => self.converge(a),
        }
    }

    fn plan(&self) -> LastPlan {
        let desired = Arc::new(self.desired.clone());
        LastPlan::new(&desired, &self.observed, &self.policy)
    }

    fn plan_changes(&self, last: &LastPlan) -> Option<LastPlan> {
        let desired = Arc::new(self.desired.clone());
        last.plan_changes(&desired, &self.observed, &self.policy)
    }
}

proptest! {
    #[test]
    fn a_plan_of_what_changed_is_the_plan_of_everything(
        changes in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..12),
        keep in any::<u16>(),
    ) {
        let mut world = World::new();
        let mut last = world.plan();
        for (n, change) in changes.into_iter().enumerate() {
            world.change(change);
            let again = world.plan_changes(&last);
            if let Some(again) = &again {
                let full = plan(&world.desired, &world.observed, &world.policy);
                prop_assert_eq!(again.planned(), &full);
            }
            // Otherwise, the next plan has to find two changes.
            if keep & (1 << n) == 0 {
                last = again.unwrap_or_else(|| world.plan());
            }
        }
    }
}

#[test]
fn an_edit_of_one_daemon_is_planned_by_itself() {
    let mut world = World::new();
    let last = world.plan();
    world.define(3, 3, None);
    let again = world.plan_changes(&last);
    let planned = again.as_ref().map(LastPlan::planned);
    let found = planned.map(|it| (it.plan.steps.len(), it.apps.len(), it.apps.is_empty()));
    assert_eq!(found, Some((1, usize::from(DAEMONS), false)));
}

#[test]
fn another_policy_or_a_change_of_everything_is_planned_as_a_whole() {
    let mut world = World::new();
    let last = world.plan();
    let again = |world: &World| world.plan_changes(&last);
    assert!(again(&world).is_some());
    world.policy.cpus += 1;
    assert!(again(&world).is_none());
    world.policy.cpus -= 1;
    (0..DAEMONS).for_each(|n| world.define(n, n, None));
    assert!(again(&world).is_none());
}
