//! What was applied to a daemon, and with what result.
//!
//! Applied does not mean working: a spec that was applied is *pending* until its apps are ready, and *failed* if they do not become
//! ready in time. A failed spec is not tried again; the daemon rolls back to the last one that was ready. This module decides all
//! of that; the state directory stores the values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AppSpec, DaemonId, DocumentPath, Revision, SpecContext, SpecDigest, Values};

/// How many entries are kept for each daemon.
pub const KEPT_ENTRIES: usize = 20;

/// The last specs that were applied to one daemon, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History {
    entries: Vec<Entry>,
}

/// One set of specs that was applied to a daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its number: 1 for the first entry of a daemon; never reused.
    pub number: u32,
    /// When it was applied, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The command that applied it, such as `pm2-sync sync`.
    pub command: String,
    /// The user who ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The commit of the workspace, if it is a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The number of the earlier entry that this one restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u32>,
    /// The `env_NAME` block that was merged over `env`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The apps.
    pub apps: Vec<EntryApp>,
    /// The deployments of the definition, for their environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Value>,
    /// The outcome.
    pub outcome: EntryOutcome,
}

/// An app of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryApp {
    /// Its name.
    pub name: String,
    /// The digest of what PM2 gets.
    pub digest: SpecDigest,
    /// The revision, of everything that it declares.
    pub revision: Revision,
    /// The rendered app, as in the artifact.
    pub app: Map<String, Value>,
}

/// The outcome of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
#[non_exhaustive]
pub enum EntryOutcome {
    /// Not decided yet.
    Pending {
        /// The gates of the apps that were changed, by name: each has to become ready. An app that was already running has none.
        gates: BTreeMap<String, Gate>,
    },
    /// All of its apps became ready.
    Ready {
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Some of its apps did not become ready.
    Failed {
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// The apps, and why.
        failures: Vec<AppFailure>,
    },
    /// Another entry was applied before this one was decided, or it is being retried.
    Superseded {
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// A step failed, so not all of its apps were changed. Those that were are ready. It is retried.
    NotApplied {
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// The apps that were not changed.
        apps: BTreeSet<String>,
    },
}

/// The gate of an app of a pending entry: the app becomes ready in time, or the entry fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// When the app was last changed for the entry, in milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// When it fails unless it is ready before, in milliseconds since the Unix epoch.
    pub deadline_ms: u64,
    /// Whether the first new worker of a cluster app is ready, so that the others may follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canary_ready: bool,
    /// Whether it is ready. This stays true until it is changed again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// Whether one of its steps failed, so that there is nothing to wait for until it is retried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unapplied: bool,
}

impl Gate {
    /// The gate of an app that is about to be changed and has `window` to become ready.
    #[must_use]
    pub fn new(began_ms: u64, window: Duration) -> Self {
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        Self {
            began_ms,
            deadline_ms: began_ms.saturating_add(window),
            canary_ready: false,
            ready: false,
            unapplied: false,
        }
    }
}

/// An app that did not become ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppFailure {
    /// Its name.
    pub app: String,
    /// Why, as text: `readiness probe: HTTP 500`.
    pub reason: String,
}

impl EntryOutcome {
    /// Whether the outcome is still open.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Whether apps failed to become ready.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// Whether all apps became ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

impl EntryApp {
    /// An app with this spec and its rendered form.
    #[must_use]
    pub fn new(spec: &AppSpec, app: Map<String, Value>) -> Self {
        Self {
            name: spec.name().to_owned(),
            digest: spec.digest().clone(),
            revision: spec.revision().clone(),
            app,
        }
    }
}

impl Entry {
    /// An undecided entry that is applied now. [`History::begin`] sets its number.
    #[must_use]
    pub fn pending(
        command: &str,
        at_ms: u64,
        apps: Vec<EntryApp>,
        gates: BTreeMap<String, Gate>,
    ) -> Self {
        Self {
            number: 0,
            at_ms,
            command: command.to_owned(),
            user: None,
            commit: None,
            back_to: None,
            env: None,
            apps,
            deploy: None,
            outcome: EntryOutcome::Pending { gates },
        }
    }

    /// The revision of each app.
    #[must_use]
    pub fn revisions(&self) -> BTreeMap<&str, &Revision> {
        let apps = self.apps.iter();
        apps.map(|app| (app.name.as_str(), &app.revision)).collect()
    }

    /// The gate of an app, if the entry is pending and the app was changed for it.
    #[must_use]
    pub fn gate(&self, app: &str) -> Option<&Gate> {
        match &self.outcome {
            EntryOutcome::Pending { gates } => gates.get(app),
            _ => None,
        }
    }

    /// Its apps as specs of a daemon of the workspace at `root`, for a user with the given `home`. References resolve to the
    /// current `values`, because old values are not kept. None if any app can no longer be read: a subset of the daemon was never
    /// ready by itself.
    #[must_use]
    pub fn specs(
        &self,
        daemon: &DaemonId,
        root: &Utf8Path,
        home: &Utf8Path,
        values: &Values,
    ) -> Option<Vec<AppSpec>> {
        let context = SpecContext {
            root,
            home,
            env_name: self.env.as_deref(),
            deploy: self.deploy.as_ref().and_then(Value::as_object),
        };
        let read = |app: &EntryApp| {
            let app = Value::Object(app.app.clone());
            AppSpec::resolve(daemon, &app, &DocumentPath::root(), &context, values).0
        };
        self.apps.iter().map(read).collect()
    }
}

impl History {
    /// A history of these entries, oldest first.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The entry of this number.
    #[must_use]
    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    /// The newest entry.
    #[must_use]
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// The newest entry, if it is not decided yet.
    #[must_use]
    pub fn pending(&self) -> Option<&Entry> {
        self.last().filter(|entry| entry.outcome.is_pending())
    }

    /// The newest entry that was ready.
    #[must_use]
    pub fn last_ready(&self) -> Option<&Entry> {
        let mut entries = self.entries.iter().rev();
        entries.find(|entry| entry.outcome.is_ready())
    }

    /// The entry that this one restored, if it still exists; else the entry itself.
    #[must_use]
    pub fn origin<'e>(&'e self, entry: &'e Entry) -> &'e Entry {
        let origin = entry.back_to.and_then(|number| self.entry(number));
        let origin = origin.filter(|origin| origin.revisions() == entry.revisions());
        origin.unwrap_or(entry)
    }

    /// The newest entry with exactly these revisions, if it failed. A definition with a corrected probe has another revision, and
    /// is tried again.
    #[must_use]
    pub fn rejection(&self, apps: &BTreeMap<&str, &Revision>) -> Option<&Entry> {
        let mut entries = self.entries.iter().rev();
        let entry = entries.find(|entry| entry.revisions() == *apps)?;
        entry.outcome.is_failed().then_some(entry)
    }

    /// Whether a revision of the app was ready once, or its canary is.
    #[must_use]
    pub fn is_proven(&self, app: &str, revision: &Revision) -> bool {
        self.entries.iter().any(|entry| {
            let mut apps = entry.apps.iter();
            let has_it = apps.any(|it| it.name == app && it.revision == *revision);
            has_it
                && match &entry.outcome {
                    EntryOutcome::Ready { .. } => true,
                    EntryOutcome::NotApplied { apps, .. } => !apps.contains(app),
                    EntryOutcome::Pending { gates } => gates
                        .get(app)
                        .is_some_and(|gate| gate.canary_ready || gate.ready),
                    _ => false,
                }
        })
    }

    /// Records that an entry is about to be applied, and returns the pending entry. That is the existing pending entry if it has
    /// the same revisions; otherwise the new entry is added with the next number and supersedes a pending one. Apps with the same
    /// revision keep their gates, unless they have new ones. The oldest entries are dropped, except the last one that was ready.
    pub fn begin(&mut self, mut entry: Entry) -> &mut Entry {
        let mut is_same = false;
        if let Some(last) = self.entries.last_mut()
            && let EntryOutcome::Pending { gates: old } = &last.outcome
            && let EntryOutcome::Pending { gates } = &mut entry.outcome
        {
            let (before, now) = (last.revisions(), entry.apps.iter());
            let kept = now.filter(|app| before.get(app.name.as_str()) == Some(&&app.revision));
            for (app, old) in kept.filter_map(|app| old.get_key_value(&app.name)) {
                let gate = gates.entry(app.clone()).or_insert_with(|| old.clone());
                gate.canary_ready |= old.canary_ready;
            }
            is_same = before == entry.revisions();
            if is_same {
                last.outcome = entry.outcome.clone();
            } else {
                last.outcome = EntryOutcome::Superseded { at_ms: entry.at_ms };
            }
        }
        if !is_same {
            let number = self.last().map_or(0, |last| last.number).saturating_add(1);
            self.drop_repetition(&entry);
            let ready = self.last_ready().map(|entry| entry.number);
            self.entries.push(Entry { number, ..entry });
            while self.entries.len() > KEPT_ENTRIES {
                let is_ready = self.entries.first().map(|entry| entry.number) == ready;
                self.entries.remove(usize::from(is_ready));
            }
        }
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }

    /// Drops one of the last two entries if both have the revisions of a new one: an app that is started over and over must not
    /// displace the entries of earlier specs. An entry that was ready is kept.
    fn drop_repetition(&mut self, new: &Entry) {
        if let [.., first, second] = &self.entries[..]
            && first.revisions() == new.revisions()
            && second.revisions() == new.revisions()
        {
            let is_first_ready = first.outcome.is_ready();
            let at = self.entries.len() - if is_first_ready { 1 } else { 2 };
            self.entries.remove(at);
        }
    }

    /// Changes the gate of an app of the pending entry. Returns whether there is one.
    pub fn change_gate(&mut self, app: &str, change: impl FnOnce(&mut Gate)) -> bool {
        let last = self.entries.last_mut();
        let gate = last.and_then(|last| match &mut last.outcome {
            EntryOutcome::Pending { gates } => gates.get_mut(app),
            _ => None,
        });
        gate.map(change).is_some()
    }

    /// Records that the steps of the pending entry have been taken: from now on, changed apps have their full `window` to become
    /// ready. Skipped if that adds less than a fiftieth of it. Returns whether anything has changed.
    pub fn applied(&mut self, now_ms: u64, window: impl Fn(&str) -> Option<Duration>) -> bool {
        let Some(Entry {
            outcome: EntryOutcome::Pending { gates },
            ..
        }) = self.entries.last_mut()
        else {
            return false;
        };
        let mut is_changed = false;
        for (app, gate) in gates.iter_mut().filter(|(_, gate)| !gate.ready) {
            let Some(window) = window(app) else {
                continue;
            };
            let deadline_ms = Gate::new(now_ms, window).deadline_ms;
            let later = Duration::from_millis(deadline_ms.saturating_sub(gate.deadline_ms));
            // Steps are usually quick, and not worth another write of the history.
            if later > window / 50 {
                gate.deadline_ms = deadline_ms;
                is_changed = true;
            }
        }
        is_changed
    }

    /// Records that steps of these apps failed for the pending entry, which leaves the apps unchanged. The entry is decided when
    /// all of its other apps are ready. Returns whether anything has changed.
    pub fn unapplied(&mut self, apps: &BTreeSet<&str>, now_ms: u64) -> bool {
        let Some(Entry { outcome, .. }) = self.entries.last_mut() else {
            return false;
        };
        let EntryOutcome::Pending { gates } = outcome else {
            return false;
        };
        let mut is_changed = false;
        for (app, gate) in gates.iter_mut().filter(|(_, gate)| !gate.ready) {
            gate.unapplied |= apps.contains(app.as_str());
            is_changed |= gate.unapplied;
        }
        if is_changed && gates.values().all(|gate| gate.ready || gate.unapplied) {
            let unapplied = gates.iter().filter(|(_, gate)| !gate.ready);
            *outcome = EntryOutcome::NotApplied {
                at_ms: now_ms,
                apps: unapplied.map(|(app, _)| app.clone()).collect(),
            };
        }
        is_changed
    }

    /// Records the outcome of an entry, unless it is decided already. Returns whether it was changed.
    pub fn decide(&mut self, number: u32, outcome: EntryOutcome) -> bool {
        let entry = self.entries.iter_mut().find(|it| it.number == number);
        match entry {
            Some(entry) if entry.outcome.is_pending() => {
                entry.outcome = outcome;
                true
            }
            _ => false,
        }
    }

    /// Forgets the failures of failed entries, so that they are tried again.
    pub fn retry(&mut self, now_ms: u64) {
        for entry in &mut self.entries {
            if entry.outcome.is_failed() {
                entry.outcome = EntryOutcome::Superseded { at_ms: now_ms };
            }
        }
    }
}

#[cfg(test)]
mod tests;
