//! Rollouts of random workspaces with random edits, in a simulated PM2.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod simulation;

use std::collections::BTreeSet;

use common::id;
use daemon_model::{
    Action, AppSpec, EntryOutcome, ObservedProcess, Reason, Revision, Step, UnreadyReason,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use simulation::{Simulation, app, behaviour};

/// What an app may do.
const BEHAVIOURS: [&str; 6] = ["good", "slow", "never", "bad", "crash", "flap"];

/// Whether an app with this behaviour becomes ready.
fn works(behaviour: &str) -> bool {
    matches!(behaviour, "good" | "slow")
}

/// The parts of an app that never change.
#[derive(Debug, Clone)]
struct Fixed {
    workers: Option<u8>,
    together: bool,
    daemon: u8,
}

fn fixed() -> impl Strategy<Value = Fixed> {
    let workers = prop_oneof![Just(None), (1..4_u8).prop_map(Some)];
    (workers, any::<bool>(), 0..2_u8).prop_map(|(workers, together, daemon)| Fixed {
        workers,
        together,
        daemon,
    })
}

/// An edit: an app, its new behaviour, and how many rounds pass before the next one.
type Edit = (Index, usize, u8);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let rounds = prop_oneof![Just(80_u8), 0..6_u8];
    prop::collection::vec((any::<Index>(), 0..BEHAVIOURS.len(), rounds), 1..6)
}

struct World {
    sim: Simulation,
    apps: Vec<(Fixed, &'static str, u8)>,
}

impl World {
    /// All apps work, and are ready.
    fn new(apps: Vec<Fixed>) -> Self {
        let mut world = Self {
            sim: Simulation::default(),
            apps: apps.into_iter().map(|app| (app, "good", 0)).collect(),
        };
        world.define();
        world.sim.settle();
        world.sim.watch = is_not_rejected;
        world
    }

    fn define(&mut self) {
        for daemon in 0..2 {
            let apps = self.apps.iter().enumerate();
            let apps = apps.filter(|(_, (fixed, ..))| fixed.daemon == daemon);
            let apps = apps.map(|(n, (fixed, behaviour, version))| {
                let mut more = json!({ "pm2-sync": { "together": fixed.together } });
                if let Some(workers) = fixed.workers {
                    more["exec_mode"] = json!("cluster");
                    more["instances"] = json!(workers);
                }
                app(&format!("app{n}"), behaviour, *version, &more)
            });
            self.sim.define(&id(&format!("d{daemon}")), apps.collect());
        }
    }

    fn edit(&mut self, app: Index, behaviour: usize) {
        let at = app.index(self.apps.len());
        let (_, now, version) = &mut self.apps[at];
        *now = BEHAVIOURS[behaviour];
        *version += 1;
        self.define();
    }

    /// A cluster app always has its full number of serving workers, from a spec that works.
    fn workers_serve(&self) {
        for (n, (fixed, ..)) in self.apps.iter().enumerate() {
            let Some(workers) = fixed.workers else {
                continue;
            };
            let serves = |process: &&ObservedProcess| {
                process.name == format!("app{n}")
                    && process.is_running()
                    && works(behaviour(process))
            };
            let serving = self.sim.processes.values().filter(serves).count();
            assert!(serving >= usize::from(workers), "app{n}: {serving} serve");
        }
    }

    /// Every app is ready: as defined, or as it was when it was last ready.
    fn everything_is_ready(&self) {
        let planned = self.sim.plan();
        for (n, (fixed, ..)) in self.apps.iter().enumerate() {
            let name = format!("app{n}");
            let state = planned.apps.iter().find(|state| state.app == name).unwrap();
            let wanted = usize::from(fixed.workers.unwrap_or(1));
            assert_eq!(state.processes.len(), wanted, "{state:?}");
            let mut processes = state.processes.iter();
            assert!(processes.all(|it| self.sim.is_ready(it)), "{state:?}");
        }
    }
}

/// No step retries a spec that failed with the current definition.
fn is_not_rejected(sim: &Simulation, step: &Step) {
    let (Action::Start { spec, .. } | Action::Change { spec, .. }) = &step.action else {
        return;
    };
    let defined = sim.defined(&step.daemon);
    let defined = defined.iter().map(|app| (app.name(), app.revision()));
    let rejection = sim.histories[&step.daemon].rejection(&defined.collect());
    if let Some(EntryOutcome::Failed { failures, .. }) = rejection.map(|it| &it.outcome) {
        let revision = |apps: &[(&str, &Revision)]| apps.contains(&(spec.name(), spec.revision()));
        let entry = rejection.into_iter().flat_map(|entry| entry.revisions());
        let is_same = revision(&entry.collect::<Vec<_>>());
        let has_failed = failures.iter().any(|failure| failure.app == spec.name());
        assert!(!(is_same && has_failed), "tried again: {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_last_ready_spec_serves_after_any_edits(
        apps in prop::collection::vec(fixed(), 1..4),
        edits in edits(),
    ) {
        let mut world = World::new(apps);
        let count = edits.len();
        for (app, behaviour, rounds) in edits {
            world.edit(app, behaviour);
            for _ in 0..rounds {
                world.sim.round();
                world.workers_serve();
            }
        }
        let left = world.sim.settle();
        prop_assert_eq!(left.plan.steps, []);
        prop_assert_eq!(left.attempts, []);
        world.everything_is_ready();
        // Each edit is tried once, and rolled back at most once.
        for history in world.sim.histories.values() {
            let last = history.last().map_or(0, |last| last.number);
            prop_assert!(usize::try_from(last).unwrap() <= 1 + 2 * count, "{history:?}");
        }
        // No further steps follow.
        world.sim.watch = |_, step| assert_eq!(None, Some(step), "a step of its own accord");
        for _ in 0..40 {
            world.sim.round();
        }
    }
}

/// The canary of a spec that failed may still be there when another app of its daemon is edited and it is tried again.
#[test]
fn a_spec_that_failed_is_tried_again_by_one_worker_only() {
    let fixed = |workers| Fixed {
        workers,
        together: false,
        daemon: 0,
    };
    let mut world = World::new(vec![fixed(None), fixed(Some(2))]);
    let edits = [(1, "bad", 1), (0, "good", 80), (1, "good", 80)];
    for (app, behaviour, rounds) in edits {
        let (_, now, version) = &mut world.apps[app];
        *now = behaviour;
        *version += 1;
        world.define();
        for _ in 0..rounds {
            world.sim.round();
            world.workers_serve();
        }
    }
    world.everything_is_ready();
}

/// Apps that depend on earlier ones: the behaviour of each, and a bit for each dependency.
fn graph() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let behaviour = prop_oneof![3 => 0..2_usize, 1 => 0..BEHAVIOURS.len()];
    prop::collection::vec((behaviour, any::<u8>()), 1..8)
}

fn needs(graph: &[(usize, u8)], at: usize) -> impl Iterator<Item = usize> {
    let bits = graph[at].1;
    (0..at).filter(move |need| bits & (1 << need) != 0)
}

fn define_graph(sim: &mut Simulation, graph: &[(usize, u8)], version: u8) {
    for at in 0..graph.len() {
        // The names sort differently from the dependencies.
        let name = |at: usize| format!("{}{at}", if at.is_multiple_of(2) { "z" } else { "a" });
        let names: Vec<String> = needs(graph, at).map(name).collect();
        let more = json!({ "depends_on": names });
        let one: Value = app(&name(at), BEHAVIOURS[graph[at].0], version, &more);
        sim.define(&id(&name(at)), vec![one]);
    }
}

/// When a step starts a new process, all its dependencies are ready.
fn needs_are_ready(sim: &Simulation, step: &Step) {
    let is_ready = |name: &str| {
        let of_app = |process: &&ObservedProcess| process.name == name;
        let mut processes = sim.processes.values().filter(of_app).peekable();
        processes.peek().is_some() && processes.all(|process| sim.is_ready(process))
    };
    let unready = |spec: &AppSpec| -> Vec<String> {
        let needs = spec.rollout().depends_on.iter();
        let unready = needs.filter(|need| !is_ready(&need.name));
        unready.map(|need| need.name.clone()).collect()
    };
    if let Action::Start { spec, .. } = &step.action
        && !step.reasons.contains(&Reason::Canary)
    {
        assert_eq!(unready(spec), Vec::<String>::new(), "{step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_app_is_started_before_its_dependencies_are_ready(graph in graph(), mended in any::<bool>()) {
        let mut sim = Simulation::default();
        sim.watch = needs_are_ready;
        define_graph(&mut sim, &graph, 1);
        let left = sim.settle();
        prop_assert_eq!(left.plan.steps, []);
        // An app runs if it and all its direct and indirect dependencies work; the others wait or have failed.
        let mut works_all = Vec::new();
        let mut started = BTreeSet::new();
        for at in 0..graph.len() {
            let may_start = needs(&graph, at).all(|need| works_all[need]);
            works_all.push(may_start && works(BEHAVIOURS[graph[at].0]));
            if may_start {
                started.insert(at);
            }
        }
        let running: BTreeSet<usize> = sim
            .processes
            .values()
            .map(|process| process.name[1..].parse().unwrap())
            .collect();
        prop_assert_eq!(running, started);
        for state in left.apps.iter() {
            let waits = state.causes.iter().flat_map(|cause| match cause {
                daemon_model::Cause::Waiting { on, .. } => on.as_slice(),
                _ => &[],
            });
            for unready in waits {
                prop_assert!(matches!(unready.why, UnreadyReason::Failed | UnreadyReason::Blocked));
            }
        }
        if mended {
            // Once all of them work, all of them run.
            let graph: Vec<_> = graph.iter().map(|(behaviour, bits)| (behaviour % 2, *bits)).collect();
            define_graph(&mut sim, &graph, 2);
            sim.settle();
            prop_assert_eq!(sim.processes.len(), graph.len());
            prop_assert!(sim.plan().is_in_sync());
        }
    }
}
