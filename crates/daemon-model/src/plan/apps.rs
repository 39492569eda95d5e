//! Which process belongs to which app, and the gentlest step that makes it right.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::attribute::Cost;
use crate::diff::{Change, diff, is_orphan_of};
use crate::plan::{Action, AppState, Condition, Plan, Policy, Reason, Step, Target};
use crate::{
    AppSpec, DaemonId, Desired, ExecMode, Label, Observed, ObservedProcess, OnChange, Orphan,
    ProcessStatus,
};

/// Whose a process is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owner<'a> {
    /// An app of this workspace, whether it is still defined or not.
    Ours(&'a Label),
    /// Somebody else's.
    Other,
}

/// The app of each name.
type ByName<'a> = FxHashMap<&'a str, &'a AppSpec>;

/// What is wanted and what runs, with each process given to its app.
pub(super) struct World<'a> {
    pub(super) desired: &'a Desired,
    pub(super) policy: &'a Policy,
    /// Processes of each defined app.
    assigned: FxHashMap<(&'a DaemonId, &'a str), Vec<&'a Arc<ObservedProcess>>>,
    /// Processes of somebody else under the name of a defined app.
    in_the_way: FxHashMap<&'a str, Vec<&'a Arc<ObservedProcess>>>,
    /// Processes that lived on when their PM2 was killed.
    orphans: &'a [Orphan],
    /// Our processes that no app wants.
    pub(super) unwanted: Vec<(&'a Label, &'a Arc<ObservedProcess>)>,
    /// Our processes that a broken definition may want: nobody can say, so they stay.
    undecided: Vec<(&'a Label, &'a Arc<ObservedProcess>)>,
    /// Every daemon with at least one process of ours.
    pub(super) managed: FxHashSet<&'a DaemonId>,
}

impl<'a> World<'a> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, policy: &'a Policy) -> Self {
        let mut by_name: ByName<'_> = ByName::default();
        for daemon in desired.daemons.values() {
            for app in daemon.apps() {
                // A usable definition wins over what a broken one wanted last.
                if !daemon.is_broken() || !by_name.contains_key(app.name()) {
                    by_name.insert(app.name(), app);
                }
            }
        }
        let mut world = Self {
            desired,
            policy,
            assigned: FxHashMap::default(),
            in_the_way: FxHashMap::default(),
            orphans: &observed.orphans,
            unwanted: Vec::new(),
            undecided: Vec::new(),
            managed: FxHashSet::default(),
        };
        for process in observed
            .processes
            .iter()
            .filter(|process| !process.is_module)
        {
            match owner(process, observed, policy, &by_name) {
                Owner::Ours(label) => {
                    world.managed.insert(&label.daemon);
                    match world.app_of(label, process, &by_name) {
                        Some(app) => world
                            .assigned
                            .entry((app.daemon(), app.name()))
                            .or_default()
                            .push(process),
                        None if desired
                            .daemons
                            .get(&label.daemon)
                            .is_some_and(|d| d.is_broken()) => {}
                        None => world.unwanted.push((label, process)),
                    }
                }
                Owner::Other => {
                    if let Some((name, _)) = by_name.get_key_value(process.name.as_str()) {
                        world.in_the_way.entry(*name).or_default().push(process);
                    }
                }
            }
        }
        world
    }

    /// The app that one of our processes belongs to: the one of its label, else the one of its name.
    fn app_of(
        &self,
        label: &Label,
        process: &ObservedProcess,
        by_name: &ByName<'a>,
    ) -> Option<&'a AppSpec> {
        // Nearly always the one app of that name is the one.
        let named = by_name.get(label.app.as_str()).copied();
        if let Some(app) = named
            && *app.daemon() == label.daemon
        {
            return Some(app);
        }
        let labelled = self
            .desired
            .daemons
            .get(&label.daemon)
            .and_then(|daemon| daemon.apps().iter().find(|app| app.name() == label.app));
        labelled
            .or(named)
            .or_else(|| by_name.get(process.name.as_str()).copied())
    }
}

fn owner<'a>(
    process: &'a ObservedProcess,
    observed: &Observed,
    policy: &Policy,
    by_name: &ByName<'_>,
) -> Owner<'a> {
    let Some(label) = &process.label else {
        return Owner::Other;
    };
    let abandoned = || {
        observed.missing_workspaces.contains(&label.workspace)
            && by_name
                .get(label.app.as_str())
                .is_some_and(|app| *app.daemon() == label.daemon)
    };
    if label.workspace == policy.workspace || abandoned() {
        Owner::Ours(label)
    } else {
        Owner::Other
    }
}

/// Plans every defined app.
pub(super) fn plan_apps(world: &World<'_>, plan: &mut Plan) {
    let mut undecided: BTreeMap<(&DaemonId, &str), Vec<Arc<ObservedProcess>>> = BTreeMap::new();
    for (label, process) in &world.undecided {
        if world.policy.includes(&label.daemon) {
            undecided
                .entry((&label.daemon, &label.app))
                .or_default()
                .push(Arc::clone(process));
        }
    }
    for ((daemon, app), processes) in undecided {
        plan.apps.push(AppState {
            daemon: daemon.clone(),
            app: app.to_owned(),
            wanted: None,
            processes,
            condition: Condition::Broken,
        });
    }
    for (id, daemon) in &world.desired.daemons {
        if !world.policy.includes(id) {
            continue;
        }
        for app in daemon.apps() {
            let processes = world
                .assigned
                .get(&(id, app.name()))
                .map_or(&[][..], Vec::as_slice);
            let strangers = world
                .in_the_way
                .get(app.name())
                .map_or(&[][..], Vec::as_slice);
            let mut steps = Vec::new();
            end_orphans(world, app, &mut steps);
            let condition = if daemon.is_broken() {
                keep_last_good(world, app, processes, strangers, &mut steps);
                Condition::Broken
            } else {
                plan_app(world, app, processes, strangers, &mut steps)
            };
            plan.apps.push(AppState {
                daemon: id.clone(),
                app: app.name().to_owned(),
                wanted: Some(app.instances().on(world.policy.cpus)),
                processes: processes
                    .iter()
                    .map(|process| Arc::clone(process))
                    .collect(),
                condition,
            });
            plan.steps
                .extend(steps.into_iter().map(|(action, reasons)| Step {
                    daemon: id.clone(),
                    app: app.name().to_owned(),
                    action,
                    reasons,
                }));
        }
    }
}

/// What lives on without PM2 has to end before its app starts again.
fn end_orphans(world: &World<'_>, app: &AppSpec, steps: &mut Steps) {
    let orphans: Vec<Orphan> = world
        .orphans
        .iter()
        .filter(|orphan| is_orphan_of(app, orphan))
        .cloned()
        .collect();
    if !orphans.is_empty() {
        let pids = orphans.iter().map(|orphan| orphan.pid).collect();
        let spec = Box::new(app.clone());
        steps.push((
            Action::End { spec, orphans },
            vec![Reason::Orphaned { pids }],
        ));
    }
}

type Steps = Vec<(Action, Vec<Reason>)>;

/// A broken definition changes nothing, but what PM2 has lost of it comes back.
fn keep_last_good(
    world: &World<'_>,
    app: &AppSpec,
    processes: &[&Arc<ObservedProcess>],
    strangers: &[&Arc<ObservedProcess>],
    steps: &mut Steps,
) {
    let want = app.instances().on(world.policy.cpus);
    let have = count(processes);
    if strangers.is_empty()
        && let Some((action, reason)) = start_missing(app, have, want)
    {
        steps.push((action, vec![Reason::LastGood, reason]));
    }
}

/// The start of the processes that an app lacks.
fn start_missing(app: &AppSpec, have: u32, want: u32) -> Option<(Action, Reason)> {
    let count = want.checked_sub(have).filter(|count| *count > 0)?;
    let reason = if have == 0 {
        Reason::New
    } else {
        Reason::TooFew { have, want }
    };
    let spec = Box::new(app.clone());
    Some((Action::Start { spec, count }, reason))
}

fn plan_app(
    world: &World<'_>,
    app: &AppSpec,
    processes: &[&Arc<ObservedProcess>],
    strangers: &[&Arc<ObservedProcess>],
    steps: &mut Steps,
) -> Condition {
    if let Some(blocked) = blocked(world, strangers) {
        steps.push(blocked);
        return Condition::Blocked;
    }
    let mine: Vec<&Arc<ObservedProcess>> = processes.iter().chain(strangers).copied().collect();
    let want = app.instances().on(world.policy.cpus);
    let have = count(&mine);
    // The newest go first: the lowest numbers are what people know an app by.
    let surplus = mine.len().saturating_sub(want as usize);
    let mut kept = mine.clone();
    kept.sort_by_key(|process| (!process.is_alive(), process.pm_id));
    let gone = kept.split_off(kept.len() - surplus);
    kept.sort_by_key(|process| process.pm_id);

    let mut condition = Condition::InSync;
    if !gone.is_empty() {
        steps.push((
            Action::Delete {
                targets: targets(&gone),
            },
            vec![Reason::TooMany { have, want }],
        ));
    }
    let change = changes_of(world, app, &kept);
    if !change.targets.is_empty() {
        if app.policy().on_change == Some(OnChange::Hold) && !change.identity {
            condition = Condition::OnHold;
        } else {
            steps.push(change.into_step(app));
        }
    }
    let (resumed, reasons, degraded) = resumable(app, &kept, steps);
    if !resumed.is_empty() {
        steps.push((
            Action::Resume {
                spec: Box::new(app.clone()),
                targets: targets(&resumed),
            },
            reasons,
        ));
    }
    if let Some((action, reason)) = start_missing(app, have, want) {
        steps.push((action, vec![reason]));
    }
    if !steps.is_empty() {
        Condition::Pending
    } else if condition == Condition::OnHold {
        condition
    } else if degraded {
        Condition::Degraded
    } else if kept
        .iter()
        .any(|process| process.status == ProcessStatus::Stopping)
    {
        Condition::Stopping
    } else if kept.iter().any(|process| !process.is_alive()) {
        Condition::Ended
    } else {
        Condition::InSync
    }
}

/// Strangers under the app's name that may not be taken over.
fn blocked(
    world: &World<'_>,
    strangers: &[&Arc<ObservedProcess>],
) -> Option<(Action, Vec<Reason>)> {
    let foreign: Vec<_> = strangers
        .iter()
        .filter_map(|process| process.label.as_ref())
        .map(|label| Reason::OtherWorkspace {
            workspace: label.workspace.clone(),
        })
        .collect();
    let reasons = if !foreign.is_empty() {
        foreign
    } else if !strangers.is_empty() && !world.policy.adopt {
        vec![Reason::Stranger]
    } else {
        return None;
    };
    let by = targets(strangers);
    Some((Action::Blocked { by }, reasons))
}

/// What has to change about the processes that stay.
struct AppChange {
    targets: Vec<Target>,
    reasons: Vec<Reason>,
    cost: Cost,
    /// Whether whose the processes are has to change, which no author's wish can hold up.
    identity: bool,
    reloadable: bool,
}

impl AppChange {
    fn into_step(self, app: &AppSpec) -> (Action, Vec<Reason>) {
        let spec = Box::new(app.clone());
        let targets = self.targets;
        let cost = if !app.survives_merging() {
            Cost::Replace
        } else {
            self.cost
        };
        let cost = match app.policy().on_change {
            Some(OnChange::Replace) => Cost::Replace,
            Some(OnChange::Restart) => cost.max(Cost::HardRestart),
            _ => cost,
        };
        let action = match cost {
            Cost::Scale | Cost::Restart if self.reloadable => Action::Reload { spec, targets },
            Cost::Scale | Cost::Restart | Cost::HardRestart => Action::Restart { spec, targets },
            Cost::Replace => Action::Replace { spec, targets },
        };
        (action, self.reasons)
    }
}

fn changes_of(world: &World<'_>, app: &AppSpec, kept: &[&Arc<ObservedProcess>]) -> AppChange {
    let mut change = AppChange {
        targets: Vec::new(),
        reasons: Vec::new(),
        cost: Cost::Scale,
        identity: false,
        reloadable: app.exec_mode() == ExecMode::Cluster && app.starts_by_itself(),
    };
    let mut edited: Vec<Change> = Vec::new();
    let mut drifted: Vec<Change> = Vec::new();
    let mut stale = false;
    for process in kept {
        let found = diff(app, process, &world.policy.around);
        let identity = identity_reason(world, app, process.label.as_ref());
        let outdated = process.label.as_ref().is_some_and(|label| {
            // A digest of another recipe proves nothing either way; the comparison decides.
            let wanted = app.digest();
            label.spec != *wanted && label.spec.version() == wanted.version()
        });
        if found.is_empty() && identity.is_none() && !outdated {
            continue;
        }
        change.targets.push(Target::of(process));
        change.identity |= identity.is_some();
        change.reloadable &= process.text("exec_mode") == Some("cluster_mode")
            && process.status == ProcessStatus::Online;
        for difference in &found {
            change.cost = change.cost.max(difference.cost());
        }
        if let Some(reason) = identity
            && !change.reasons.contains(&reason)
        {
            change.reasons.push(reason);
        }
        stale |= outdated;
        let list = if outdated || process.label.is_none() {
            &mut edited
        } else {
            &mut drifted
        };
        for difference in found {
            if !list.iter().any(|known| known.field == difference.field) {
                list.push(difference);
            }
        }
    }
    if stale || !edited.is_empty() {
        change.reasons.push(Reason::Edited { changes: edited });
    }
    if !drifted.is_empty() {
        change.reasons.push(Reason::Drifted { changes: drifted });
    }
    change
}

/// Why the label must change apart from the definition's content.
fn identity_reason(world: &World<'_>, app: &AppSpec, has: Option<&Label>) -> Option<Reason> {
    match has {
        None => Some(Reason::Adopted),
        Some(has) if has.workspace != world.policy.workspace => Some(Reason::TakenOver {
            from: has.workspace.clone(),
        }),
        Some(has) if has.daemon != *app.daemon() => Some(Reason::Moved {
            from: has.daemon.clone(),
        }),
        _ => None,
    }
}

/// Processes that stand in the list without running and should run, and whether one is past helping.
fn resumable<'a>(
    app: &AppSpec,
    kept: &[&'a Arc<ObservedProcess>],
    steps: &Steps,
) -> (Vec<&'a Arc<ObservedProcess>>, Vec<Reason>, bool) {
    let changing = |process: &ObservedProcess| {
        steps
            .iter()
            .flat_map(|(action, _)| action.targets())
            .any(|target| target.pm_id == process.pm_id)
    };
    let mut resumed = Vec::new();
    let mut reasons = Vec::new();
    let mut degraded = false;
    for process in kept.iter().copied().filter(|process| !changing(process)) {
        let reason = match process.status {
            ProcessStatus::Online if process.pid.is_none() => Reason::NoProcess,
            ProcessStatus::Stopped if should_run(app, process) => Reason::Stopped,
            ProcessStatus::Errored => {
                degraded = true;
                continue;
            }
            _ => {
                degraded |= process.unstable_restarts > 1;
                continue;
            }
        };
        resumed.push(process);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    (resumed, reasons, degraded)
}

/// Whether a stopped process should run: not when it ended as its definition says.
fn should_run(app: &AppSpec, process: &ObservedProcess) -> bool {
    let ended_as_told = match (app.attribute("stop_exit_codes"), process.exit_code) {
        (Some(serde_json::Value::Array(codes)), Some(exit)) => {
            codes.iter().any(|code| code.as_i64() == Some(exit))
        }
        (Some(code), Some(exit)) => code.as_i64() == Some(exit),
        _ => false,
    };
    app.starts_by_itself() && app.switch("autorestart") && !ended_as_told
}

pub(super) fn targets(processes: &[&Arc<ObservedProcess>]) -> Vec<Target> {
    processes
        .iter()
        .map(|process| Target::of(process))
        .collect()
}

fn count(processes: &[&Arc<ObservedProcess>]) -> u32 {
    u32::try_from(processes.len()).unwrap_or(u32::MAX)
}
