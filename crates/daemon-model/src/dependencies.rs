//! Resolves and checks dependencies of apps.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::conflicts::Declared;
use crate::finding::{Finding, Place};
use crate::nearest::nearest_name;
use crate::{DaemonId, Dependency, Findings, Level, Message, Quoted, Severity, message};

/// An app and its dependencies.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) daemon: &'a DaemonId,
    pub(crate) app: &'a str,
    pub(crate) depends_on: &'a [Dependency],
}

/// The apps behind names, as indices into the list of nodes.
pub(crate) struct Names<'a> {
    by_app: HashMap<&'a str, usize>,
    by_daemon: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(nodes: &[Node<'a>]) -> Self {
        let mut names = Self {
            by_app: HashMap::new(),
            by_daemon: HashMap::new(),
        };
        // Hardly any app depends on others.
        if nodes.iter().any(|node| !node.depends_on.is_empty()) {
            for (at, node) in nodes.iter().enumerate() {
                names.by_app.insert(node.app, at);
                let of_daemon = names.by_daemon.entry(node.daemon.as_str());
                of_daemon.or_default().push(at);
            }
        }
        names
    }

    /// The app with this name, or else all apps of the daemon with this ID.
    pub(crate) fn resolve(&self, name: &str) -> &[usize] {
        match self.by_app.get(name) {
            Some(at) => std::slice::from_ref(at),
            None => self.by_daemon.get(name).map_or(&[], Vec::as_slice),
        }
    }
}

/// The most names of a cycle in a message.
const MOST_NAMED: usize = 6;

/// Adds an error for each dependency on an unknown name, on the app itself, and on an app that depends on it in turn. Every
/// dependency in a cycle is reported, at its own position.
pub(crate) fn check(definitions: &[Declared<'_>], findings: &mut BTreeMap<DaemonId, Findings>) {
    let nodes: Vec<Node<'_>> = definitions
        .iter()
        .flat_map(|definition| {
            definition.apps.iter().map(|placed| Node {
                daemon: definition.daemon,
                app: placed.app.name(),
                depends_on: &placed.app.rollout().depends_on,
            })
        })
        .collect();
    let dependents = || nodes.iter().filter(|node| !node.depends_on.is_empty());
    if dependents().next().is_none() {
        return;
    }
    let names = Names::new(&nodes);
    let ids: HashSet<&str> = definitions.iter().map(|it| it.daemon.as_str()).collect();
    let is_complete = definitions.iter().all(|definition| definition.is_complete);
    let cycles = Cycles::new(&nodes, &names);
    for (at, node) in nodes.iter().enumerate() {
        for dependency in node.depends_on {
            // Further findings would not be shown.
            let known = findings.get(node.daemon);
            if known.is_some_and(|known| known.is_full(Severity::Error)) {
                break;
            }
            let name = dependency.name.as_str();
            let needed = names.resolve(name);
            let mut add = |message: Message, help: Option<Message>| {
                let findings = findings.entry(node.daemon.clone()).or_default();
                findings.push(Finding {
                    path: dependency.path.clone(),
                    place: Place::Value,
                    severity: Severity::Error,
                    level: Level::Definition,
                    message,
                    help,
                    labels: Vec::new(),
                });
            };
            if needed.contains(&at) {
                let (message, help) = itself(node, name);
                add(message, Some(help));
            } else if let Some(cycle) = cycles.through(at, needed) {
                let message = message!("dependency cycle: {}", Quoted(shown(&cycle, &nodes)));
                add(message, Some("remove one of these dependencies".into()));
            } else if needed.is_empty() && !ids.contains(name) && is_complete {
                let message = message!(
                    "`{}` is neither an app nor a daemon of this workspace",
                    Quoted(name)
                );
                let ids = definitions.iter().map(|it| it.daemon.as_str());
                let known = nodes.iter().map(|node| node.app).chain(ids.clone());
                let folder = |id: &&str| id.rsplit('/').next() == Some(name);
                let near = ids.clone().find(folder);
                let near = near.or_else(|| nearest_name(name, known));
                let help = near.map(|near| message!("did you mean `{}`?", Quoted(near)));
                add(message, help);
            }
        }
    }
}

fn itself(node: &Node<'_>, name: &str) -> (Message, Message) {
    if node.app == name {
        let message = "the app depends on itself".into();
        return (message, "take it out".into());
    }
    (
        message!(
            "`{}` is the app's own daemon, so it would depend on itself",
            Quoted(name)
        ),
        "name those of its apps that must be ready".into(),
    )
}

/// The names of a cycle, from an app to itself.
fn shown(cycle: &[usize], nodes: &[Node<'_>]) -> String {
    let name = |at: &usize| format!("`{}`", nodes[*at].app);
    let mut names: Vec<String> = cycle.iter().map(name).collect();
    if names.len() > MOST_NAMED {
        names.splice(MOST_NAMED - 1..names.len() - 1, ["...".to_owned()]);
    }
    names.join(" -> ")
}

/// Finds dependencies that lead back to their start.
struct Cycles {
    /// The dependencies of each app, without those that cannot be part of a cycle.
    needs: Vec<Vec<usize>>,
}

impl Cycles {
    fn new(nodes: &[Node<'_>], names: &Names<'_>) -> Self {
        let resolve = |node: &Node<'_>| -> Vec<usize> {
            let needed = node.depends_on.iter();
            needed
                .flat_map(|it| names.resolve(&it.name))
                .copied()
                .collect()
        };
        let mut cycles = Self {
            needs: nodes.iter().map(resolve).collect(),
        };
        cycles.trim();
        cycles
    }

    /// Repeatedly drops apps without dependencies, until none is left.
    fn trim(&mut self) {
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); self.needs.len()];
        for (at, needs) in self.needs.iter().enumerate() {
            for need in needs {
                needed_by[*need].push(at);
            }
        }
        let mut left: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut done: Vec<usize> = (0..left.len()).filter(|at| left[*at] == 0).collect();
        while let Some(at) = done.pop() {
            for by in &needed_by[at] {
                left[*by] -= 1;
                if left[*by] == 0 {
                    done.push(*by);
                }
            }
        }
        for needs in &mut self.needs {
            needs.retain(|need| left[*need] > 0);
        }
    }

    /// The shortest cycle from an app through one of its `needed` dependencies back to itself.
    fn through(&self, start: usize, needed: &[usize]) -> Option<Vec<usize>> {
        let mut came_from: HashMap<usize, usize> = HashMap::new();
        let mut queue = VecDeque::new();
        let own = self.needs[start]
            .iter()
            .filter(|need| needed.contains(need));
        for need in own {
            if came_from.insert(*need, start).is_none() {
                queue.push_back(*need);
            }
        }
        while let Some(at) = queue.pop_front() {
            if at == start {
                let mut cycle = vec![start];
                let mut back = at;
                loop {
                    back = *came_from.get(&back)?;
                    cycle.push(back);
                    if back == start {
                        cycle.reverse();
                        return Some(cycle);
                    }
                }
            }
            for need in &self.needs[at] {
                if !came_from.contains_key(need) {
                    came_from.insert(*need, at);
                    queue.push_back(*need);
                }
            }
        }
        None
    }
}
