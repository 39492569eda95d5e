//! Selects daemons and apps by the IDs of a command line.
//!
//! An ID is a daemon's ID, a folder of daemons (`mcp`, `mcp/`), a glob over both (`jobs/*`), a path to a definition or to a folder,
//! or the name of an app if nothing else matches. An ambiguous ID is an error that lists the candidates.

use std::collections::{BTreeMap, BTreeSet};

use glob::{MatchOptions, Pattern};

use crate::{DEFINITION_FILE, DaemonId, nearest_name};

/// The most candidates in an error.
const MOST_CANDIDATES: usize = 8;

/// One ID, as it was written.
#[derive(Debug, Clone, Copy)]
pub struct Written<'w> {
    /// The text.
    pub text: &'w str,
    /// The path that the text names, relative to the tree of definitions; empty for the tree itself, none if the text is not a path
    /// into it.
    pub path: Option<&'w str>,
}

/// Everything that an ID can select.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The daemons: with a definition, with processes, or with an artifact.
    pub daemons: BTreeSet<DaemonId>,
    /// The daemons that have an app with a given name.
    pub apps: BTreeMap<String, BTreeSet<DaemonId>>,
}

/// The selected daemons and, for those selected by an app name, which apps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection(BTreeMap<DaemonId, Apps>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Apps {
    All,
    Only(BTreeSet<String>),
}

/// Why an ID is unknown, ambiguous or invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Nothing has this ID.
    #[error("unknown daemon `{text}`: it has no definition, no processes and no generated config")]
    Unknown {
        /// The ID as it was written.
        text: String,
        /// IDs that may have been meant.
        near: Vec<String>,
    },
    /// No daemon matches the glob.
    #[error("no daemon matches `{text}`")]
    NoMatch {
        /// The glob.
        text: String,
    },
    /// The glob is not valid.
    #[error("the pattern `{text}` is not valid: {why}")]
    Pattern {
        /// The glob.
        text: String,
        /// The problem.
        why: &'static str,
    },
    /// The ID is ambiguous.
    #[error("`{text}` is ambiguous: it may mean {}", listed(.candidates))]
    Ambiguous {
        /// The ID as it was written.
        text: String,
        /// An ID for each candidate.
        candidates: Vec<String>,
    },
}

fn listed(candidates: &[String]) -> String {
    let candidates: Vec<String> = candidates.iter().map(|it| format!("`{it}`")).collect();
    match candidates.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => candidates.concat(),
    }
}

impl Known {
    /// Adds an app of a daemon, and the daemon.
    pub fn add_app(&mut self, daemon: &DaemonId, app: &str) {
        self.daemons.insert(daemon.clone());
        let daemons = self.apps.entry(app.to_owned()).or_default();
        daemons.insert(daemon.clone());
    }

    /// Selects everything that these IDs name.
    ///
    /// # Errors
    /// [`SelectError`] for the first one that is unknown, ambiguous or invalid.
    pub fn select<'w>(
        &self,
        written: impl IntoIterator<Item = Written<'w>>,
    ) -> Result<Selection, SelectError> {
        let mut selection = Selection::default();
        for one in written {
            selection.add(self.meaning(one)?);
        }
        Ok(selection)
    }

    fn meaning(&self, written: Written<'_>) -> Result<Selection, SelectError> {
        let text = written.text;
        let path = || written.path.and_then(|path| self.below(path));
        let is_path =
            text.starts_with(['.', '/']) || text.split('/').next_back() == Some(DEFINITION_FILE);
        if is_path {
            return path()
                .map(Meaning::into_selection)
                .ok_or_else(|| self.unknown(text));
        }
        if let Some(id) = self.daemon(text) {
            return Ok(Selection::of([id]));
        }
        if text.contains(['*', '?', '[']) {
            return self.matching(text);
        }
        let mut meanings: Vec<Meaning> = Vec::new();
        for meaning in [self.below(text), path()]
            .into_iter()
            .flatten()
            .chain(self.with_app(text))
        {
            // A daemon and its own app are not ambiguous: the daemon is selected.
            let daemons = meaning.selection.daemons();
            let mut others = meanings.iter();
            if !others.any(|other| other.selection.daemons() == daemons) {
                meanings.push(meaning);
            }
        }
        match meanings.len() {
            0 => Err(self.unknown(text)),
            1 => Ok(meanings.into_iter().map(Meaning::into_selection).collect()),
            _ => Err(SelectError::Ambiguous {
                text: text.to_owned(),
                candidates: meanings.into_iter().map(|it| it.written).collect(),
            }),
        }
    }

    /// The daemon with exactly this ID. A trailing slash denotes a folder.
    fn daemon(&self, text: &str) -> Option<&DaemonId> {
        let id = DaemonId::new(text).ok().filter(|_| !text.ends_with('/'));
        self.daemons.get(&id?)
    }

    /// The daemon at a path, or else all daemons below it.
    fn below(&self, path: &str) -> Option<Meaning> {
        if let Some(id) = self.daemon(path) {
            return Some(Meaning::new(id.to_string(), [id]));
        }
        let folder = path.trim_end_matches('/');
        let lies_below = |id: &&DaemonId| {
            let rest = id.as_str().strip_prefix(folder);
            folder.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let below: Vec<&DaemonId> = self.daemons.iter().filter(lies_below).collect();
        (!below.is_empty()).then(|| Meaning::new(format!("{folder}/"), below))
    }

    /// The daemons with an app of this name, each as a separate candidate.
    fn with_app(&self, name: &str) -> impl Iterator<Item = Meaning> {
        let daemons = self.apps.get(name).into_iter().flatten();
        daemons.map(move |daemon| {
            let apps = Apps::Only([name.to_owned()].into());
            Meaning {
                written: daemon.to_string(),
                selection: Selection([(daemon.clone(), apps)].into()),
            }
        })
    }

    /// The daemons that match a glob, and all daemons in matching folders. `*` matches any text without a slash.
    fn matching(&self, text: &str) -> Result<Selection, SelectError> {
        const OPTIONS: MatchOptions = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let pattern =
            Pattern::new(text.trim_end_matches('/')).map_err(|error| SelectError::Pattern {
                text: text.to_owned(),
                why: error.msg,
            })?;
        let fits = |id: &&DaemonId| {
            let id = id.as_str();
            let folders = id.match_indices('/').map(|(at, _)| &id[..at]);
            let mut names = folders.chain((!text.ends_with('/')).then_some(id));
            names.any(|name| pattern.matches_with(name, OPTIONS))
        };
        let found = Selection::of(self.daemons.iter().filter(fits));
        match found.0.is_empty() {
            true => Err(SelectError::NoMatch {
                text: text.to_owned(),
            }),
            false => Ok(found),
        }
    }

    fn unknown(&self, text: &str) -> SelectError {
        let name = text.trim_end_matches('/');
        let is_last = |id: &&DaemonId| id.as_str().rsplit('/').next() == Some(name);
        let ends: Vec<String> = self
            .daemons
            .iter()
            .filter(is_last)
            .take(MOST_CANDIDATES)
            .map(ToString::to_string)
            .collect();
        let nearest = || {
            let ids = self.daemons.iter().map(DaemonId::as_str);
            let folders = ids
                .clone()
                .flat_map(|id| id.match_indices('/').map(move |(at, _)| &id[..at]));
            let apps = self.apps.keys().map(String::as_str);
            let known: BTreeSet<&str> = ids.chain(folders).chain(apps).collect();
            let near = nearest_name(name, known);
            near.map(ToOwned::to_owned).into_iter().collect()
        };
        SelectError::Unknown {
            text: text.to_owned(),
            near: if ends.is_empty() { nearest() } else { ends },
        }
    }
}

/// One candidate for an ID.
#[derive(Debug)]
struct Meaning {
    /// An unambiguous ID for it.
    written: String,
    selection: Selection,
}

impl Meaning {
    fn new<'d>(written: String, daemons: impl IntoIterator<Item = &'d DaemonId>) -> Self {
        Self {
            written,
            selection: Selection::of(daemons),
        }
    }

    fn into_selection(self) -> Selection {
        self.selection
    }
}

impl Selection {
    /// These daemons with all their apps.
    fn of<'d>(daemons: impl IntoIterator<Item = &'d DaemonId>) -> Self {
        let daemons = daemons.into_iter().map(|id| (id.clone(), Apps::All));
        Self(daemons.collect())
    }

    fn add(&mut self, other: Self) {
        for (daemon, apps) in other.0 {
            match (self.0.get_mut(&daemon), apps) {
                (Some(Apps::Only(known)), Apps::Only(more)) => known.extend(more),
                (Some(Apps::All), _) => {}
                (_, apps) => drop(self.0.insert(daemon, apps)),
            }
        }
    }

    /// The selected daemons.
    #[must_use]
    pub fn daemons(&self) -> BTreeSet<DaemonId> {
        self.0.keys().cloned().collect()
    }

    /// The apps by which a daemon was selected; none if it is not selected, or was selected itself.
    #[must_use]
    pub fn apps_of(&self, daemon: &DaemonId) -> Option<&BTreeSet<String>> {
        match self.0.get(daemon)? {
            Apps::All => None,
            Apps::Only(apps) => Some(apps),
        }
    }

    /// Whether an app is selected, by itself or with its daemon.
    #[must_use]
    pub fn includes(&self, daemon: &DaemonId, app: &str) -> bool {
        match self.0.get(daemon) {
            None => false,
            Some(Apps::All) => true,
            Some(Apps::Only(apps)) => apps.contains(app),
        }
    }
}

impl FromIterator<Selection> for Selection {
    fn from_iter<I: IntoIterator<Item = Selection>>(selections: I) -> Self {
        let mut all = Self::default();
        selections.into_iter().for_each(|one| all.add(one));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DaemonId {
        DaemonId::new(text).unwrap()
    }

    fn known() -> Known {
        let mut known = Known::default();
        for (daemon, app) in [
            ("mcp/serena", "serena"),
            ("mcp/search", "web-search"),
            ("jobs", "cron"),
            ("jobs/nightly/report", "report"),
            ("jobs/nightly/backup", "backup"),
            ("shop", "web"),
            ("shop", "api"),
            ("old/shop", "web"),
            ("tools", "mcp"),
        ] {
            known.add_app(&id(daemon), app);
        }
        known.daemons.insert(id("gone"));
        known
    }

    fn daemons(written: Written<'_>) -> Vec<String> {
        let selection = known().select([written]).unwrap();
        let daemons = selection.daemons();
        daemons.iter().map(ToString::to_string).collect()
    }

    fn error(text: &str) -> SelectError {
        let written = Written { text, path: None };
        known().select([written]).unwrap_err()
    }

    #[test]
    fn an_id_is_a_daemon_a_folder_or_a_glob() {
        let jobs = ["jobs", "jobs/nightly/backup", "jobs/nightly/report"];
        for (text, expected) in [
            ("mcp/serena", &["mcp/serena"][..]),
            ("gone", &["gone"]),
            // A daemon that is also a folder of daemons: a slash selects the folder.
            ("jobs", &["jobs"]),
            ("jobs/", &jobs),
            ("mcp/", &["mcp/search", "mcp/serena"]),
            (
                "jobs/nightly",
                &["jobs/nightly/backup", "jobs/nightly/report"],
            ),
            ("jobs/*", &["jobs/nightly/backup", "jobs/nightly/report"]),
            ("jobs*", &jobs),
            ("*/se?ena", &["mcp/serena"]),
            (
                "**/[br]*p*",
                &["jobs/nightly/backup", "jobs/nightly/report"],
            ),
            ("old", &["old/shop"]),
        ] {
            assert_eq!(daemons(Written { text, path: None }), expected, "{text}");
        }
        let all = Written {
            text: "*",
            path: None,
        };
        assert_eq!(daemons(all).len(), known().daemons.len());
    }

    #[test]
    fn an_id_is_a_path() {
        for (text, path, expected) in [
            ("./serena", "mcp/serena", &["mcp/serena"][..]),
            ("serena/ecosystem.pm2.edn", "mcp/serena", &["mcp/serena"]),
            (
                "nightly",
                "jobs/nightly",
                &["jobs/nightly/backup", "jobs/nightly/report"],
            ),
            (".", "mcp", &["mcp/search", "mcp/serena"]),
        ] {
            let path = Some(path);
            assert_eq!(daemons(Written { text, path }), expected, "{text}");
        }
        let tree = Written {
            text: ".",
            path: Some(""),
        };
        assert_eq!(daemons(tree).len(), known().daemons.len());
        let below = Written {
            text: "./x",
            path: Some("mcp/x"),
        };
        assert!(matches!(
            known().select([below]),
            Err(SelectError::Unknown { .. })
        ));
    }

    #[test]
    fn an_id_is_the_name_of_an_app() {
        let select = |texts: &[&str]| {
            let written = texts.iter().map(|text| Written { text, path: None });
            known().select(written).unwrap()
        };
        let named = select(&["api", "report"]);
        assert!(named.includes(&id("shop"), "api"));
        assert!(!named.includes(&id("shop"), "web"));
        assert!(!named.includes(&id("mcp/serena"), "serena"));
        let apps = named.apps_of(&id("shop")).unwrap();
        assert_eq!(apps.iter().collect::<Vec<_>>(), ["api"]);
        for both in [["api", "shop"], ["shop", "api"]] {
            let named = select(&both);
            assert!(named.includes(&id("shop"), "web"), "{both:?}");
            assert_eq!(named.apps_of(&id("shop")), None);
        }
    }

    #[test]
    fn an_ambiguous_id_is_an_error() {
        for (text, path, message) in [
            (
                "web",
                None,
                "`web` is ambiguous: it may mean `old/shop` or `shop`",
            ),
            (
                "mcp",
                None,
                "`mcp` is ambiguous: it may mean `mcp/` or `tools`",
            ),
            (
                "backup",
                Some("shop"),
                "`backup` is ambiguous: it may mean `shop` or `jobs/nightly/backup`",
            ),
        ] {
            let written = Written { text, path };
            let error = known().select([written]).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        // A daemon and its own app are not ambiguous.
        let report = Written {
            text: "report",
            path: Some("jobs/nightly/report"),
        };
        assert_eq!(daemons(report), ["jobs/nightly/report"]);
    }

    #[test]
    fn an_unknown_id_suggests_similar_ones() {
        let near = |text: &str| match error(text) {
            SelectError::Unknown { near, .. } => near,
            other => panic!("{other}"),
        };
        assert_eq!(near("shops"), ["shop"]);
        assert_eq!(near("jobs/nightli"), ["jobs/nightly"]);
        assert_eq!(near("web-serch"), ["web-search"]);
        assert_eq!(near("search"), ["mcp/search"]);
        assert_eq!(near("x/y"), [""; 0]);
        assert_eq!(error("x*").to_string(), "no daemon matches `x*`");
        assert!(matches!(error("[x"), SelectError::Pattern { .. }));
        assert!(matches!(error("a\u{0}"), SelectError::Unknown { .. }));
    }
}
