//! The desired and the observed state, with each process assigned to the app that owns it.
//!
//! An app owns the managed processes of its name, whichever daemon their label names, so a definition that moved keeps its
//! processes. If the label of a process names another app than its name does, it was renamed, or copied with the record of another.
//! Such a process fills a gap of an app it may belong to; otherwise it is left alone and reported.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::plan::Policy;
use crate::plan::in_force::InForce;
use crate::{AppSpec, DaemonId, Desired, Label, Observed, ObservedProcess};

/// The app of each name.
type ByName<'a> = FxHashMap<&'a str, &'a AppSpec>;
type Process<'a> = &'a Arc<ObservedProcess>;

/// The desired and the observed state.
pub(super) struct World<'a> {
    pub(super) desired: &'a Desired,
    pub(super) in_force: &'a InForce<'a>,
    pub(super) policy: &'a Policy,
    by_name: ByName<'a>,
    /// Processes of each defined app, by the app's name.
    assigned: FxHashMap<&'a str, Vec<Process<'a>>>,
    /// Unmanaged processes with the name of a defined app.
    strangers: FxHashMap<&'a str, Vec<Process<'a>>>,
    pub(super) observed: &'a Observed,
    /// Our processes that no app declares.
    pub(super) unwanted: Vec<(&'a Label, Process<'a>)>,
    /// Our processes that a broken definition may declare: they stay as they are.
    pub(super) undecided: Vec<(&'a Label, Process<'a>)>,
    /// Processes whose name and label name different apps, and which fill no gap.
    pub(super) mislabelled: Vec<(&'a Label, Process<'a>)>,
    /// Every daemon with at least one process of ours.
    pub(super) managed: FxHashSet<&'a DaemonId>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        desired: &'a Desired,
        in_force: &'a InForce<'a>,
        observed: &'a Observed,
        policy: &'a Policy,
    ) -> Self {
        let mut world = Self {
            desired,
            in_force,
            policy,
            by_name: by_name(in_force),
            assigned: FxHashMap::default(),
            strangers: FxHashMap::default(),
            observed,
            unwanted: Vec::new(),
            undecided: Vec::new(),
            mislabelled: Vec::new(),
            managed: FxHashSet::default(),
        };
        let mut doubtful: FxHashMap<&'a str, Vec<(&'a Label, Process<'a>)>> = FxHashMap::default();
        let own_apps = observed.processes.iter().filter(|it| !it.is_module);
        for process in own_apps {
            let name = process.name.as_str();
            let named = world.by_name.get_key_value(name).map(|(name, _)| *name);
            let Some(label) = world.own_label(process) else {
                if let Some(name) = named {
                    world.strangers.entry(name).or_default().push(process);
                }
                continue;
            };
            let labelled = world.by_name.get_key_value(label.app.as_str());
            let agree = label.app == name;
            match named.or(labelled.map(|(name, _)| *name)) {
                Some(app) if agree => world.assigned.entry(app).or_default().push(process),
                Some(app) => doubtful.entry(app).or_default().push((label, process)),
                None if world.is_broken(&label.daemon) => {
                    world.undecided.push((label, process));
                    world.managed.insert(&label.daemon);
                }
                None if agree => {
                    world.unwanted.push((label, process));
                    world.managed.insert(&label.daemon);
                }
                None => world.mislabelled.push((label, process)),
            }
        }
        for (app, candidates) in doubtful {
            world.fill_gap(app, candidates);
        }
        let managed = world
            .assigned
            .keys()
            .filter_map(|app| world.by_name.get(app));
        world.managed.extend(managed.map(|app| app.daemon()));
        world
    }

    /// The label of a process of this workspace, or of one that this workspace takes over because the original workspace no longer
    /// exists.
    fn own_label(&self, process: &'a ObservedProcess) -> Option<&'a Label> {
        let label = process.label.as_ref()?;
        let is_abandoned = || {
            let app = self.by_name.get(label.app.as_str());
            self.observed.missing_workspaces.contains(&label.workspace)
                && app.is_some_and(|app| *app.daemon() == label.daemon)
        };
        (label.workspace == self.policy.workspace || is_abandoned()).then_some(label)
    }

    fn is_broken(&self, daemon: &DaemonId) -> bool {
        let daemon = self.desired.daemons.get(daemon);
        daemon.is_some_and(|daemon| daemon.is_broken())
    }

    /// Assigns mislabelled processes to an app that lacks some, those with its name first.
    fn fill_gap(&mut self, app: &'a str, mut candidates: Vec<(&'a Label, Process<'a>)>) {
        candidates.sort_by_key(|(_, process)| (process.name != app, process.pm_id));
        let want = self
            .by_name
            .get(app)
            .map_or(0, |app| self.want(app) as usize);
        let adopted = match self.policy.adopt {
            true => self.strangers(app).len(),
            false => 0,
        };
        let has = self.assigned.get(app).map_or(0, Vec::len) + adopted;
        let rest = candidates.split_off(want.saturating_sub(has).min(candidates.len()));
        if !candidates.is_empty() {
            let filled = candidates.into_iter().map(|(_, process)| process);
            self.assigned.entry(app).or_default().extend(filled);
        }
        self.mislabelled.extend(rest);
    }

    /// Whether the app owns its name: a valid definition has precedence over the last render of a broken one.
    pub(super) fn is_owner(&self, app: &AppSpec) -> bool {
        self.owner(app.name())
            .is_some_and(|owner| std::ptr::eq(owner, app))
    }

    /// The app that owns this name.
    pub(super) fn owner(&self, app: &str) -> Option<&'a AppSpec> {
        self.by_name.get(app).copied()
    }

    /// How many processes the app wants on this machine.
    pub(super) fn want(&self, app: &AppSpec) -> u32 {
        app.instances().on(self.policy.cpus)
    }

    /// The processes of the app of this name.
    pub(super) fn processes(&self, app: &str) -> &[Process<'a>] {
        self.assigned.get(app).map_or(&[], Vec::as_slice)
    }

    /// Unmanaged processes with the name of this app.
    pub(super) fn strangers(&self, app: &str) -> &[Process<'a>] {
        self.strangers.get(app).map_or(&[], Vec::as_slice)
    }
}

fn by_name<'a>(in_force: &'a InForce<'a>) -> ByName<'a> {
    let mut by_name = ByName::default();
    for daemon in in_force.daemons.values() {
        for app in &daemon.apps {
            let app = &app.spec;
            if !daemon.is_broken || !by_name.contains_key(app.name()) {
                by_name.insert(app.name(), app);
            }
        }
    }
    by_name
}
