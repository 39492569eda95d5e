//! What the definitions of a workspace want.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::finding::{DocumentPath, Finding, FindingLabel, Place};
use crate::paths::file_stem;
use crate::{AppSpec, DaemonId, Level, Severity, SpecContext};

/// What one definition wants.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredDaemon {
    /// These apps. None at all is a definition that wants nothing.
    Apps(Vec<AppSpec>),
    /// The definition cannot be used. Its processes stay as they are; one that is missing is started again
    /// from the last good render.
    Broken {
        /// The apps of the last good render, if there is one.
        last_good: Vec<AppSpec>,
    },
}

impl DesiredDaemon {
    /// The apps it wants, or wanted last.
    #[must_use]
    pub fn apps(&self) -> &[AppSpec] {
        match self {
            Self::Apps(apps) => apps,
            Self::Broken { last_good } => last_good,
        }
    }

    /// Whether the definition cannot be used.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// What all definitions of a workspace want.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By daemon. A daemon that is not here has no definition.
    pub daemons: BTreeMap<DaemonId, DesiredDaemon>,
}

/// What an app takes for itself that no other may have.
#[derive(Debug, Clone)]
pub struct Claims<'a> {
    name: Cow<'a, str>,
    namespace: Option<Cow<'a, str>>,
    /// Where they are not those that PM2 would name after just this app: nearly all are, and then nobody shares them.
    logs: Option<Box<[Box<str>; 2]>>,
}

impl<'a> Claims<'a> {
    /// Reads one app of a rendered document as [`AppSpec::read`] does, for what it claims only.
    #[must_use]
    pub fn read(
        daemon: &DaemonId,
        app: &Value,
        path: &DocumentPath,
        context: &SpecContext<'_>,
    ) -> (Option<Claims<'static>>, Vec<Finding>) {
        let (spec, findings) = AppSpec::read(daemon, app, path, context);
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let claims = spec.as_ref().map(Claims::of).map(|claims| Claims {
            name: own(claims.name),
            namespace: claims.namespace.map(own),
            logs: claims.logs,
        });
        (claims, findings)
    }

    /// Those of an app.
    #[must_use]
    pub fn of(app: &'a AppSpec) -> Self {
        // As `AppSpec::files` has them: all the others are not asked for here.
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

/// How many others a finding names, and how many findings of one severity there are for one daemon at most: as many as
/// anybody reads. Nobody should have to wait for a list of each app beside each other.
const MOST_NAMED: usize = 5;
const MOST_FINDINGS: usize = 200;

/// Findings that need all definitions of a workspace at once: names used twice, names that are also a
/// namespace (PM2 takes them for it), apps that share log files.
///
/// `daemons` are the apps of each daemon with their place in its document.
#[must_use]
pub fn check_together<'a>(
    daemons: impl IntoIterator<Item = (&'a DaemonId, &'a [(usize, AppSpec)])>,
) -> BTreeMap<DaemonId, Vec<Finding>> {
    check_claims(daemons.into_iter().flat_map(|(id, apps)| {
        apps.iter()
            .map(move |(index, app)| (id, *index, Claims::of(app)))
    }))
}

/// The same for apps of which only the claims are known.
#[must_use]
pub fn check_claims<'a>(
    apps: impl IntoIterator<Item = (&'a DaemonId, usize, Claims<'a>)>,
) -> BTreeMap<DaemonId, Vec<Finding>> {
    let apps: Vec<(&DaemonId, usize, Claims<'_>)> = apps.into_iter().collect();
    // Most names and files have one owner, who is kept by number; lists are only for the others.
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
            // Two more than are named: one of them may be the app itself, one tells that there are more.
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

    let mut findings: BTreeMap<DaemonId, Vec<Finding>> = BTreeMap::new();
    let mut counts: BTreeMap<(&DaemonId, Severity), usize> = BTreeMap::new();
    for (number, (id, index, app)) in apps.iter().enumerate() {
        let name_of = |index: &usize| DocumentPath::root().key("apps").index(*index).key("name");
        let mut add = |severity, message: &dyn Fn() -> String, help: &str, twins: &[usize]| {
            let count = counts.entry((id, severity)).or_default();
            *count += 1;
            if *count > MOST_FINDINGS {
                return;
            }
            findings.entry((*id).clone()).or_default().push(Finding {
                path: name_of(index),
                place: Place::Value,
                severity,
                level: Level::Definition,
                message: message(),
                help: Some(help.to_owned()),
                labels: twins
                    .iter()
                    .map(|twin| FindingLabel {
                        path: name_of(&apps[*twin].1),
                        place: Place::Value,
                        message: "used here too".to_owned(),
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
                format!("the name `{}` is used again by {}", app.name, list(others))
            };
            // Of those in the same file the text can be shown.
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
                format!(
                    "`{}` is also a namespace (of `{other}`{}): PM2 takes it for the whole namespace",
                    app.name,
                    of_daemon(owner, "in")
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
                format!("writes to the same log file as {}", list(names))
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
            assert_eq!(Claims::of(&spec).logs()[0], files.out);
            assert_eq!(Claims::of(&spec).logs()[1], files.err);
        }
    }

    #[test]
    fn many_of_one_name_are_not_all_told() {
        let id = DaemonId::new("d").unwrap();
        let claims = Claims {
            name: "a".into(),
            namespace: None,
            logs: Some(Box::new(["/x".into(), "/y".into()])),
        };
        let apps = (0..10_000).map(|index| (&id, index, claims.clone()));
        let findings = &check_claims(apps)[&id];
        assert_eq!(findings.len(), MOST_FINDINGS);
        assert_eq!(
            findings[1].message,
            "the name `a` is used again by apps[0], apps[2], apps[3], apps[4], apps[5], others"
        );
    }
}
