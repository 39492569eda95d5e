//! Conflicts between the apps of a workspace: names used twice, names that are also a namespace, shared log files, dependencies.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::finding::{DocumentPath, Finding, FindingLabel, Place};
use crate::paths::file_stem;
use crate::{AppSpec, DaemonId, Findings, Level, Message, Quoted, Severity, dependencies, message};

/// An app and its position in its document.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedApp {
    /// Its index in `apps`.
    pub index: usize,
    /// The app.
    pub app: AppSpec,
}

/// The names and files that an app reserves: no other app may use them.
#[derive(Debug, Clone)]
struct Reserved<'a> {
    name: Cow<'a, str>,
    namespace: Option<Cow<'a, str>>,
    /// Log paths, if they differ from PM2's defaults for this name: default paths of different names differ.
    logs: Option<Box<[Box<str>; 2]>>,
}

impl<'a> Reserved<'a> {
    fn of(app: &'a AppSpec) -> Self {
        // As in `AppSpec::files`, but only for explicit values.
        let own = ["out_file", "error_file"].map(|attribute| app.text(attribute));
        let stem = file_stem(app.name());
        let logs = (own != [None, None] || stem != app.name()).then(|| {
            let [out, error] = default_logs(&stem);
            Box::new([
                own[0].map_or(out, Into::into),
                own[1].map_or(error, Into::into),
            ])
        });
        Self {
            name: app.name().into(),
            namespace: app.text("namespace").map(Into::into),
            logs,
        }
    }

    fn logs(&self) -> [Cow<'_, str>; 2] {
        match &self.logs {
            Some(logs) => logs.each_ref().map(|log| Cow::Borrowed(log.as_ref())),
            None => default_logs(&self.name).map(|log| Cow::Owned(log.into())),
        }
    }
}

fn default_logs(stem: &str) -> [Box<str>; 2] {
    ["out", "error"].map(|kind| format!("/logs/{stem}-{kind}.log").into())
}

/// The most other names in one finding.
const MOST_NAMED: usize = 5;

/// The declarations of one definition.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    /// The daemon.
    pub daemon: &'a DaemonId,
    /// Its apps.
    pub apps: &'a [PlacedApp],
    /// Whether the list is complete. It is not for a definition that cannot be read, or only in part.
    pub is_complete: bool,
}

/// Finds problems that only show across all definitions of a workspace: names used twice, names that are also a namespace (which
/// PM2 prefers), apps that share log files, and dependencies that do not exist or form a cycle. While any definition is incomplete,
/// an unknown name may be one of its apps.
#[must_use]
pub fn find_conflicts<'a>(
    definitions: impl IntoIterator<Item = Declared<'a>>,
) -> BTreeMap<DaemonId, Findings> {
    let definitions: Vec<Declared<'a>> = definitions.into_iter().collect();
    let apps = definitions.iter().flat_map(|definition| {
        let placed = definition.apps.iter();
        placed.map(|placed| (definition.daemon, placed.index, Reserved::of(&placed.app)))
    });
    let mut findings = find_among(apps);
    dependencies::check(&definitions, &mut findings);
    findings
}

/// Whether two versions of a definition claim the same names and log files and have the same dependencies, so that
/// [`find_conflicts`] finds the same in both.
#[must_use]
pub fn have_same_claims(before: &[PlacedApp], now: &[PlacedApp]) -> bool {
    const CLAIMS: [&str; 3] = ["namespace", "out_file", "error_file"];
    let is_same = |(before, now): (&PlacedApp, &PlacedApp)| {
        let (old, new) = (&before.app, &now.app);
        before.index == now.index
            && old.name() == new.name()
            && CLAIMS
                .iter()
                .all(|claim| old.text(claim) == new.text(claim))
            && old.rollout().depends_on == new.rollout().depends_on
    };
    before.len() == now.len() && before.iter().zip(now).all(is_same)
}

fn find_among<'a>(
    apps: impl IntoIterator<Item = (&'a DaemonId, usize, Reserved<'a>)>,
) -> BTreeMap<DaemonId, Findings> {
    let apps: Vec<(&DaemonId, usize, Reserved<'_>)> = apps.into_iter().collect();
    // Most names and files have one owner, stored by its index; only the others need a list.
    let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(apps.len());
    let mut twins: HashMap<&str, Vec<usize>> = HashMap::new();
    let is_shared_perhaps = apps.iter().any(|(_, _, app)| app.logs.is_some());
    let logs: Vec<[Cow<'_, str>; 2]> = match is_shared_perhaps {
        true => apps.iter().map(|(_, _, app)| app.logs()).collect(),
        false => Vec::new(),
    };
    let logs_of = |number: usize| {
        let logs = logs.get(number).into_iter().flatten();
        logs.map(AsRef::as_ref).filter(|log| *log != "/dev/null")
    };
    let mut by_log: HashMap<&str, usize> = HashMap::new();
    let mut sharers: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut namespaces: BTreeMap<&str, (&DaemonId, &str)> = BTreeMap::new();
    for (number, (id, _, app)) in apps.iter().enumerate() {
        let first = *by_name.entry(&app.name).or_insert(number);
        if first != number {
            let all = twins.entry(&app.name).or_insert_with(|| vec![first]);
            // Two more than are named: one may be the app itself, and one shows that there are more.
            if all.len() <= MOST_NAMED + 1 {
                all.push(number);
            }
        }
        for log in logs_of(number) {
            let first = *by_log.entry(log).or_insert(number);
            let first_name: &str = &apps[first].2.name;
            if first_name != &*app.name {
                let all = sharers
                    .entry(log)
                    .or_insert_with(|| BTreeSet::from([first_name]));
                if all.len() <= MOST_NAMED + 1 {
                    all.insert(&app.name);
                }
            }
        }
        let namespace = app.namespace.as_deref().unwrap_or("default");
        namespaces.entry(namespace).or_insert((id, &app.name));
    }

    let mut findings: BTreeMap<DaemonId, Findings> = BTreeMap::new();
    for (number, (id, index, app)) in apps.iter().enumerate() {
        let name_of = |index: &usize| DocumentPath::root().key("apps").index(*index).key("name");
        let mut add =
            |severity, message: &dyn Fn() -> Message, help: &'static str, twins: &[usize]| {
                let findings = findings.entry((*id).clone()).or_default();
                if findings.is_full(severity) {
                    findings.omit(severity);
                    return;
                }
                findings.push(Finding {
                    path: name_of(index),
                    place: Place::Value,
                    severity,
                    level: Level::Definition,
                    message: message(),
                    help: Some(help.into()),
                    labels: twins
                        .iter()
                        .map(|twin| FindingLabel {
                            path: name_of(&apps[*twin].1),
                            place: Place::Value,
                            message: "used here too",
                        })
                        .collect(),
                });
            };
        let of_daemon = |other: &DaemonId, word: &str| match other == *id {
            true => String::new(),
            false => format!(" {word} `{other}`"),
        };
        if let Some(all) = twins.get(&*app.name) {
            let others = || all.iter().filter(|other| **other != number);
            let message = || {
                let others = others().map(|other| {
                    let (daemon, index, _) = &apps[*other];
                    format!("apps[{index}]{}", of_daemon(daemon, "of"))
                });
                message!(
                    "the name `{}` is used again by {}",
                    Quoted(&app.name),
                    Quoted(list(others))
                )
            };
            // Only positions in the same file can be labelled.
            let beside = others().filter(|other| apps[**other].0 == *id).copied();
            let beside: Vec<usize> = beside.take(MOST_NAMED).collect();
            add(
                Severity::Error,
                &message,
                "PM2 knows apps by name: give each its own",
                &beside,
            );
        }
        if let Some((owner, other)) = namespaces.get(&*app.name) {
            let message = || {
                message!(
                    "`{}` is also a namespace (of `{}`{}): PM2 takes it for the whole namespace",
                    Quoted(&app.name),
                    Quoted(other),
                    Quoted(of_daemon(owner, "in"))
                )
            };
            add(
                Severity::Error,
                &message,
                "choose another name or namespace",
                &[],
            );
        }
        let sharing = || -> BTreeSet<&str> {
            logs_of(number)
                .filter_map(|log| sharers.get(log))
                .flatten()
                .copied()
                .filter(|name| *name != &*app.name)
                .collect()
        };
        if logs_of(number).any(|log| sharers.contains_key(log)) {
            let message = || {
                let names = sharing().into_iter().map(|name| format!("`{name}`"));
                message!("writes to the same log file as {}", Quoted(list(names)))
            };
            add(
                Severity::Warning,
                &message,
                "set `out_file` and `error_file`, or choose names that differ in more than punctuation",
                &[],
            );
        }
    }
    findings
}

/// The first few of them, and whether there are more.
fn list(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.take(MOST_NAMED + 1).collect();
    if words.len() > MOST_NAMED {
        words.truncate(MOST_NAMED);
        words.push("others".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{MAX_FINDINGS, SpecContext};

    #[test]
    fn logs_are_those_of_the_files() {
        let context = SpecContext {
            root: "/w".into(),
            home: "/h".into(),
            env_name: None,
            deploy: None,
        };
        let id = DaemonId::new("d").unwrap();
        for app in [
            json!({ "name": "plain", "script": "a.js" }),
            json!({ "name": "a b/c", "script": "a.js" }),
            json!({ "name": "a", "script": "a.js", "out_file": "x.log", "error_file": "/dev/null" }),
        ] {
            let (spec, _) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
            let spec = spec.unwrap();
            let files = spec.files("/".into(), None);
            assert_eq!(Reserved::of(&spec).logs()[0], files.out);
            assert_eq!(Reserved::of(&spec).logs()[1], files.err);
        }
    }

    #[test]
    fn the_number_of_findings_and_of_names_is_limited() {
        let id = DaemonId::new("d").unwrap();
        let reserved = Reserved {
            name: "a".into(),
            namespace: None,
            logs: Some(Box::new(["/x".into(), "/y".into()])),
        };
        let apps = (0..10_000).map(|index| (&id, index, reserved.clone()));
        let findings = &find_among(apps)[&id];
        assert_eq!(findings.iter().count(), MAX_FINDINGS);
        assert_eq!(findings.errors(), 10_000);
        assert_eq!(
            findings.iter().nth(1).unwrap().message.full(),
            "the name `a` is used again by apps[0], apps[2], apps[3], apps[4], apps[5], others"
        );
    }
}
