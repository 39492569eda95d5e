//! The order of apps that depend on each other: an app starts once its dependencies are ready, and removals go in reverse order.

use std::collections::BTreeMap;

use crate::dependencies::{Names, Node};
use crate::plan::draft::Draft;
use crate::plan::in_force::Rule;
use crate::plan::world::World;
use crate::plan::{Action, Cause, Condition, Plan, Reason, Step, Unready, UnreadyReason};
use crate::{AppSpec, PmId, ProcessState};

/// Which apps depend on which: indices into one list. A definition with a dependency cycle is invalid. Older specs in force can
/// still form one; then the dependency that closes the cycle is ignored.
struct Graph {
    needs: Vec<Vec<usize>>,
    /// Each app comes after its dependencies.
    sorted: Vec<usize>,
}

impl Graph {
    fn new(nodes: &[Node<'_>]) -> Self {
        let names = Names::new(nodes);
        let needs = |node: &Node<'_>| {
            let needed = node.depends_on.iter();
            needed
                .flat_map(|it| names.resolve(&it.name))
                .copied()
                .collect()
        };
        let needs: Vec<Vec<usize>> = nodes.iter().map(needs).collect();
        let mut graph = Self {
            sorted: Vec::with_capacity(nodes.len()),
            needs,
        };
        graph.sort();
        graph
    }

    /// Sorts the apps, and drops dependencies that close a cycle.
    fn sort(&mut self) {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.needs.len()];
        for start in 0..self.needs.len() {
            let mut path = vec![(start, 0)];
            if marks[start] != Mark::New {
                continue;
            }
            marks[start] = Mark::Open;
            while let Some((at, next)) = path.last_mut() {
                let at = *at;
                match self.needs[at].get(*next).copied() {
                    Some(need) if marks[need] == Mark::Open => {
                        self.needs[at].remove(*next);
                    }
                    Some(need) => {
                        *next += 1;
                        if marks[need] == Mark::New {
                            marks[need] = Mark::Open;
                            path.push((need, 0));
                        }
                    }
                    None => {
                        marks[at] = Mark::Done;
                        self.sorted.push(at);
                        path.pop();
                    }
                }
            }
        }
    }

    /// The length of the longest dependency chain before each app.
    fn depths(&self) -> Vec<u32> {
        let mut depths = vec![0; self.needs.len()];
        for at in &self.sorted {
            let needs = self.needs[*at].iter();
            depths[*at] = needs.map(|need| depths[*need] + 1).max().unwrap_or(0);
        }
        depths
    }
}

/// Leaves out steps that have to wait until other apps are ready.
pub(super) fn hold_back(drafts: &mut [Draft<'_>], world: &World<'_>) {
    let depends = |draft: &Draft<'_>| !draft.app.spec.rollout().depends_on.is_empty();
    if !drafts.iter().any(depends) {
        return;
    }
    let nodes: Vec<Node<'_>> = drafts
        .iter()
        .map(|draft| Node {
            daemon: draft.id,
            app: draft.app.spec.name(),
            depends_on: &draft.app.spec.rollout().depends_on,
        })
        .collect();
    let graph = Graph::new(&nodes);
    drop(nodes);
    let mut states: Vec<Option<UnreadyReason>> = vec![None; drafts.len()];
    for at in &graph.sorted {
        let on: Vec<Unready> = graph.needs[*at]
            .iter()
            .filter_map(|need| {
                let why = states[*need]?;
                let draft = &drafts[*need];
                Some(Unready {
                    daemon: draft.id.clone(),
                    app: draft.app.spec.name().to_owned(),
                    why,
                })
            })
            .collect();
        let may_come = on.iter().all(|unready| unready.why.is_temporary());
        if !on.is_empty() {
            wait(&mut drafts[*at], on, world);
        }
        states[*at] = unready(&drafts[*at], may_come, world);
    }
}

/// Leaves out the steps of an app that start processes. Steps that change running processes are left out only while a dependency
/// may soon become ready: an app restarted now would not find it.
fn wait(draft: &mut Draft<'_>, on: Vec<Unready>, world: &World<'_>) {
    let is_soon = on.iter().any(|unready| unready.why.is_temporary());
    let runs = |pm_id: PmId| {
        let mut processes = world.observed.processes.iter();
        processes.any(|process| process.pm_id == pm_id && process.is_running())
    };
    let starts_missing = |(action, reasons): &(Action, Vec<Reason>)| {
        matches!(action, Action::Start { .. }) && !reasons.contains(&Reason::Canary)
    };
    let is_start_held = draft.steps.iter().any(starts_missing);
    let (mut left, mut held) = (Vec::new(), Vec::new());
    for (action, reasons) in std::mem::take(&mut draft.steps) {
        match action {
            Action::Start { .. } if is_soon || !reasons.contains(&Reason::Canary) => {
                held.push((action, reasons));
            }
            Action::KillOrphans { .. } if is_start_held => held.push((action, reasons)),
            Action::Change { spec, targets, how } if spec.starts_by_itself() => {
                let goes_on = |pm_id| !is_soon && runs(pm_id);
                let (now, later): (Vec<_>, Vec<_>) = targets
                    .into_iter()
                    .partition(|target| goes_on(target.pm_id));
                for (targets, list) in [(now, &mut left), (later, &mut held)] {
                    if !targets.is_empty() {
                        let spec = spec.clone();
                        list.push((Action::Change { spec, targets, how }, reasons.clone()));
                    }
                }
            }
            action => left.push((action, reasons)),
        }
    }
    draft.steps = left;
    if !held.is_empty() {
        let steps = held.into_iter().map(|step| draft.step(step)).collect();
        draft.wait(Cause::Waiting { on, steps });
    }
}

/// Why an app is not ready for its dependents, if it is not.
fn unready(draft: &Draft<'_>, may_come: bool, world: &World<'_>) -> Option<UnreadyReason> {
    let app = &draft.app.spec;
    let runs = || {
        let processes = world.processes(app.name());
        let at_ms = world.observed.at_ms;
        let is_up = |state| matches!(state, ProcessState::Running | ProcessState::Ended);
        !processes.is_empty() && processes.iter().all(|it| is_up(it.state(at_ms)))
    };
    let not_running = || (!runs()).then_some(UnreadyReason::NotRunning);
    let condition = draft.condition();
    if !world.policy.scope.includes(draft.id) && condition == Condition::Pending {
        return not_running();
    }
    match condition {
        Condition::InSync | Condition::Ended | Condition::RolledBack | Condition::Pinned => None,
        Condition::Pending | Condition::Starting | Condition::Stopping => {
            Some(match draft.app.rule {
                Rule::Run => UnreadyReason::Starting,
                Rule::Leave => UnreadyReason::Failed,
                Rule::Stop => UnreadyReason::Stopped,
            })
        }
        Condition::Waiting => Some(match may_come {
            true => UnreadyReason::Waiting,
            false => UnreadyReason::Blocked,
        }),
        Condition::Failed | Condition::Degraded => Some(UnreadyReason::Failed),
        Condition::Stopped => Some(UnreadyReason::Stopped),
        Condition::Broken if !draft.steps.is_empty() => Some(UnreadyReason::Starting),
        _ => not_running(),
    }
}

/// Sets the stage of each step: removals of dependents come before those of their dependencies, then everything else is started and
/// changed.
pub(super) fn set_stages(plan: &mut Plan, world: &World<'_>) {
    if plan.steps.is_empty() {
        return;
    }
    let in_force = world.in_force.daemons.values();
    let in_force = in_force.flat_map(|daemon| daemon.apps.iter().map(|app| &app.spec));
    let gone = world.policy.last_specs.values();
    let is_gone = |app: &&AppSpec| world.owner(app.name()).is_none();
    let apps: Vec<&AppSpec> = in_force.chain(gone.filter(is_gone)).collect();
    let nodes: Vec<Node<'_>> = apps
        .iter()
        .map(|app| Node {
            daemon: app.daemon(),
            app: app.name(),
            depends_on: &app.rollout().depends_on,
        })
        .collect();
    let depths = Graph::new(&nodes).depths();
    let depths: BTreeMap<&str, u32> = nodes.iter().map(|node| node.app).zip(depths).collect();
    let deepest = depths.values().copied().max().unwrap_or(0);
    let order = |step: &Step| match step.action {
        Action::Remove { .. } => deepest - depths.get(step.app.as_str()).copied().unwrap_or(0),
        _ => deepest + 1,
    };
    let mut stages: Vec<u32> = plan.steps.iter().map(order).collect();
    stages.sort_unstable();
    stages.dedup();
    for step in &mut plan.steps {
        let place = stages.binary_search(&order(step)).unwrap_or(0);
        step.stage = u32::try_from(place).unwrap_or(u32::MAX);
    }
    plan.steps.sort_by_key(|step| step.stage);
}
