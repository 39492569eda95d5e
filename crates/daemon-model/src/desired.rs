//! What the definitions of a workspace want.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::finding::{DocumentPath, Finding, Place};
use crate::{AppSpec, DaemonId, Level, Severity};

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

/// Findings that need all definitions of a workspace at once: names used twice, names that are also a
/// namespace (PM2 takes them for it), apps that share log files.
///
/// `daemons` are the apps of each daemon with their place in its document.
#[must_use]
pub fn check_together<'a>(
    daemons: impl IntoIterator<Item = (&'a DaemonId, &'a [(usize, AppSpec)])>,
) -> BTreeMap<DaemonId, Vec<Finding>> {
    let apps: Vec<(&DaemonId, usize, &AppSpec)> = daemons
        .into_iter()
        .flat_map(|(id, apps)| apps.iter().map(move |(index, app)| (id, *index, app)))
        .collect();
    let mut by_name: BTreeMap<&str, Vec<(&DaemonId, usize)>> = BTreeMap::new();
    let mut by_log: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut namespaces: BTreeMap<&str, (&DaemonId, &str)> = BTreeMap::new();
    for (id, index, app) in &apps {
        by_name.entry(app.name()).or_default().push((id, *index));
        let files = app.files(Utf8Path::new("/"), None);
        for log in [files.out, files.err] {
            if log != "/dev/null" {
                by_log.entry(log).or_default().insert(app.name());
            }
        }
        let namespace = app.text("namespace").unwrap_or("default");
        namespaces.entry(namespace).or_insert((id, app.name()));
    }

    let mut findings: BTreeMap<DaemonId, Vec<Finding>> = BTreeMap::new();
    for (id, index, app) in &apps {
        let path = DocumentPath::root().key("apps").index(*index).key("name");
        let mut add = |severity, message: String, help: &str| {
            findings.entry((*id).clone()).or_default().push(Finding {
                path: path.clone(),
                place: Place::Value,
                severity,
                level: Level::Definition,
                message,
                help: Some(help.to_owned()),
            });
        };
        let twins: Vec<String> = by_name[app.name()]
            .iter()
            .filter(|place| **place != (*id, *index))
            .map(|(other, other_index)| format!("apps[{other_index}] of `{other}`"))
            .collect();
        if !twins.is_empty() {
            add(
                Severity::Error,
                format!(
                    "the name `{}` is used again by {}",
                    app.name(),
                    twins.join(", ")
                ),
                "PM2 knows apps by name: give each its own",
            );
        }
        if let Some((owner, other)) = namespaces.get(app.name()) {
            add(
                Severity::Error,
                format!(
                    "`{}` is also a namespace (of `{other}` in `{owner}`): PM2 takes it for the whole namespace",
                    app.name()
                ),
                "choose another name or namespace",
            );
        }
        let files = app.files(Utf8Path::new("/"), None);
        let sharing: BTreeSet<&str> = [&files.out, &files.err]
            .into_iter()
            .filter_map(|log| by_log.get(log))
            .flatten()
            .copied()
            .filter(|name| *name != app.name())
            .collect();
        if !sharing.is_empty() {
            add(
                Severity::Warning,
                format!(
                    "writes to the same log file as {}",
                    sharing
                        .into_iter()
                        .map(|name| format!("`{name}`"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                "set `out_file` and `error_file`, or choose names that differ in more than punctuation",
            );
        }
    }
    findings
}
