//! Makes history entries from planned attempts.

use std::cell::OnceCell;

use daemon_model::{AppSpec, Attempt, Entry, EntryApp, History};
use edn_render::artifact;
use serde_json::{Map, Value};

use super::commit;
use crate::config::Config;
use crate::definitions::{Definition, Definitions};

/// Makes the entries of one pass.
pub(crate) struct EntryMaker<'a> {
    config: &'a Config,
    command: &'a str,
    definitions: &'a Definitions,
    commit: OnceCell<Option<String>>,
}

impl<'a> EntryMaker<'a> {
    pub(crate) fn new(config: &'a Config, command: &'a str, definitions: &'a Definitions) -> Self {
        Self {
            config,
            command,
            definitions,
            commit: OnceCell::new(),
        }
    }

    /// The entry of an attempt that begins at `now_ms`, in milliseconds since the Unix epoch. None if one of its apps is in neither
    /// the definitions nor the history.
    pub(crate) fn entry(&self, history: &History, attempt: &Attempt, now_ms: u64) -> Option<Entry> {
        let definition = self.definitions.daemons.get(&attempt.daemon);
        let definition = definition.map(AsRef::as_ref);
        let defined = Defined::new(definition);
        let known = |app: &AppSpec| {
            let entries = history.entries().iter().rev();
            let mut apps = entries.flat_map(|entry| &entry.apps);
            apps.find(|known| known.name == app.name() && known.revision == *app.revision())
        };
        let entry_app = |app: &AppSpec| match defined.app(app) {
            Some(map) => Some(EntryApp::new(app, map.clone())),
            None => known(app).cloned(),
        };
        let apps = attempt.apps.iter().map(entry_app).collect::<Option<_>>()?;
        let mut entry = Entry::pending(self.command, now_ms, apps, attempt.gates(now_ms));
        entry.user = Some(self.config.environment.user());
        let commit = || commit::checked_out(self.config.root());
        entry.commit.clone_from(self.commit.get_or_init(commit));
        entry.back_to = attempt.back_to;
        match attempt.back_to.and_then(|number| history.entry(number)) {
            Some(origin) => {
                entry.env.clone_from(&origin.env);
                entry.deploy.clone_from(&origin.deploy);
            }
            None => {
                entry.env.clone_from(&self.config.env_name);
                entry.deploy = defined.document.get("deploy").cloned();
            }
        }
        Some(entry)
    }
}

/// A definition, and the document of its artifact.
struct Defined<'d> {
    definition: Option<&'d Definition>,
    document: Map<String, Value>,
}

impl<'d> Defined<'d> {
    fn new(definition: Option<&'d Definition>) -> Self {
        let artifact = definition.and_then(|definition| definition.artifact());
        let document = artifact.and_then(|text| artifact::parse(text.as_bytes()).ok());
        Self {
            definition,
            document: document.unwrap_or_default(),
        }
    }

    /// The rendered app, if the definition declares exactly this spec.
    fn app(&self, app: &AppSpec) -> Option<&Map<String, Value>> {
        let mut placed = self.definition?.apps().iter();
        let placed = placed.find(|placed| {
            placed.app.name() == app.name() && placed.app.revision() == app.revision()
        })?;
        let apps = self.document.get("apps")?;
        apps.get(placed.index)?.as_object()
    }
}
