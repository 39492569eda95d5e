//! What the definitions of a workspace want.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::finding::{DocumentPath, Finding, Place};
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
pub struct Claims {
    name: Box<str>,
    namespace: Option<Box<str>>,
    logs: [Box<str>; 2],
}

impl Claims {
    /// Reads one app of a rendered document as [`AppSpec::read`] does, for what it claims only.
    #[must_use]
    pub fn read(
        daemon: &DaemonId,
        app: &Value,
        path: &DocumentPath,
        context: &SpecContext<'_>,
    ) -> (Option<Self>, Vec<Finding>) {
        let (spec, findings) = AppSpec::read_undigested(daemon, app, path, context);
        (spec.as_ref().map(Self::of), findings)
    }

    /// Those of an app.
    #[must_use]
    pub fn of(app: &AppSpec) -> Self {
        // As `AppSpec::files` has them: all the others are not asked for here.
        let stem = file_stem(app.name());
        let log = |attribute, kind| match app.text(attribute) {
            Some(path) => path.into(),
            None => format!("/logs/{stem}-{kind}.log").into(),
        };
        Self {
            name: app.name().into(),
            namespace: app.text("namespace").map(Into::into),
            logs: [log("out_file", "out"), log("error_file", "error")],
        }
    }

    fn logs(&self) -> impl Iterator<Item = &str> {
        self.logs
            .iter()
            .map(AsRef::as_ref)
            .filter(|log| *log != "/dev/null")
    }
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
    apps: impl IntoIterator<Item = (&'a DaemonId, usize, Claims)>,
) -> BTreeMap<DaemonId, Vec<Finding>> {
    let apps: Vec<(&DaemonId, usize, Claims)> = apps.into_iter().collect();
    // Most names and files have one owner, who is kept by number; lists are only for the others.
    let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(apps.len());
    let mut twins: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut by_log: HashMap<&str, usize> = HashMap::with_capacity(apps.len());
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
        for log in app.logs() {
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
        let mut add = |severity, message: &dyn Fn() -> String, help: &str| {
            let count = counts.entry((id, severity)).or_default();
            *count += 1;
            if *count > MOST_FINDINGS {
                return;
            }
            findings.entry((*id).clone()).or_default().push(Finding {
                path: DocumentPath::root().key("apps").index(*index).key("name"),
                place: Place::Value,
                severity,
                level: Level::Definition,
                message: message(),
                help: Some(help.to_owned()),
            });
        };
        if let Some(all) = twins.get(&*app.name) {
            let message = || {
                let others = all
                    .iter()
                    .filter(|other| **other != number)
                    .map(|other| format!("apps[{}] of `{}`", apps[*other].1, apps[*other].0));
                format!("the name `{}` is used again by {}", app.name, list(others))
            };
            add(
                Severity::Error,
                &message,
                "PM2 knows apps by name: give each its own",
            );
        }
        if let Some((owner, other)) = namespaces.get(&*app.name) {
            let message = || {
                format!(
                    "`{}` is also a namespace (of `{other}` in `{owner}`): PM2 takes it for the whole namespace",
                    app.name
                )
            };
            add(
                Severity::Error,
                &message,
                "choose another name or namespace",
            );
        }
        let sharing = || -> BTreeSet<&str> {
            app.logs()
                .filter_map(|log| sharers.get(log))
                .flatten()
                .copied()
                .filter(|name| *name != &*app.name)
                .collect()
        };
        if app.logs().any(|log| sharers.contains_key(log)) {
            let message = || {
                let names = sharing().into_iter().map(|name| format!("`{name}`"));
                format!("writes to the same log file as {}", list(names))
            };
            add(
                Severity::Warning,
                &message,
                "set `out_file` and `error_file`, or choose names that differ in more than punctuation",
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
            json!({ "name": "a b/c", "script": "a.js" }),
            json!({ "name": "a", "script": "a.js", "out_file": "x.log", "error_file": "/dev/null" }),
        ] {
            let (spec, _) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
            let spec = spec.unwrap();
            let files = spec.files("/".into(), None);
            assert_eq!(*Claims::of(&spec).logs[0], files.out);
            assert_eq!(*Claims::of(&spec).logs[1], files.err);
        }
    }

    #[test]
    fn many_of_one_name_are_not_all_told() {
        let id = DaemonId::new("d").unwrap();
        let claims = Claims {
            name: "a".into(),
            namespace: None,
            logs: ["/x".into(), "/y".into()],
        };
        let apps = (0..10_000).map(|index| (&id, index, claims.clone()));
        let findings = &check_claims(apps)[&id];
        assert_eq!(findings.len(), MOST_FINDINGS);
        assert_eq!(
            findings[1].message,
            "the name `a` is used again by apps[0] of `d`, apps[2] of `d`, apps[3] of `d`, apps[4] of `d`, apps[5] of `d`, others"
        );
    }
}
