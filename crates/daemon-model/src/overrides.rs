//! Decisions of users that override a definition: hold, stop, or pin to an older spec.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AppSpec, DaemonId, Revision};

/// The overrides of a workspace, by daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    version: u32,
    daemons: BTreeMap<DaemonId, DaemonOverrides>,
}

/// The overrides of one daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonOverrides {
    /// Edits and drift are reported, not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Override>,
    /// It stays stopped although it is defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Override>,
    /// It runs an older spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// Who decided it, why, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Since when, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when, in milliseconds since the Unix epoch; none: until it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// Keeps a daemon at an older entry of its history, until it is released or the definition changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The number of the entry.
    pub number: u32,
    /// The revisions of the definition's apps at the time of the pin, by name.
    pub definition: BTreeMap<String, Revision>,
    /// Who decided it, why, and for how long.
    #[serde(flatten)]
    pub by: Override,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            version: 1,
            daemons: BTreeMap::new(),
        }
    }
}

impl Override {
    /// Whether it is still in force.
    #[must_use]
    pub fn is_active(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms < until)
    }
}

impl Pin {
    /// Whether the definition still has the same apps as when it was pinned. If not, the pin has ended.
    #[must_use]
    pub fn holds_for(&self, definition: &[AppSpec]) -> bool {
        let mut apps = definition.iter();
        self.definition.len() == definition.len()
            && apps.all(|app| self.definition.get(app.name()) == Some(app.revision()))
    }
}

impl DaemonOverrides {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hold.is_none() && self.stop.is_none() && self.pin.is_none()
    }

    /// The overrides in force at `now_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn active(&self, now_ms: u64) -> Self {
        let active = |it: &Option<Override>| it.clone().filter(|it| it.is_active(now_ms));
        Self {
            hold: active(&self.hold),
            stop: active(&self.stop),
            pin: self.pin.clone().filter(|pin| pin.by.is_active(now_ms)),
        }
    }
}

impl Overrides {
    /// All daemons with overrides.
    pub fn iter(&self) -> impl Iterator<Item = (&DaemonId, &DaemonOverrides)> {
        self.daemons.iter()
    }

    /// The overrides of one daemon in force at `now_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn of(&self, daemon: &DaemonId, now_ms: u64) -> DaemonOverrides {
        let found = self.daemons.get(daemon);
        found.map(|found| found.active(now_ms)).unwrap_or_default()
    }

    /// Changes the overrides of one daemon.
    pub fn change(&mut self, daemon: &DaemonId, change: impl FnOnce(&mut DaemonOverrides)) {
        let overrides = self.daemons.entry(daemon.clone()).or_default();
        change(overrides);
        if overrides.is_empty() {
            self.daemons.remove(daemon);
        }
    }

    /// When the next override expires, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn next_end(&self, now_ms: u64) -> Option<u64> {
        self.ends().filter(|until| *until > now_ms).min()
    }

    /// The overrides of one daemon, whether they are in force or not; none if there are none.
    #[must_use]
    pub fn get(&self, daemon: &DaemonId) -> Option<&DaemonOverrides> {
        self.daemons.get(daemon)
    }

    /// Whether any override has expired by `now_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn has_ended(&self, now_ms: u64) -> bool {
        self.ends().any(|until| until <= now_ms)
    }

    /// When the overrides expire.
    fn ends(&self) -> impl Iterator<Item = u64> {
        let all = self.daemons.values().flat_map(|it| {
            let pin = it.pin.as_ref().map(|pin| &pin.by);
            [it.hold.as_ref(), it.stop.as_ref(), pin]
        });
        all.flatten().filter_map(|it| it.until_ms)
    }

    /// Drops expired overrides.
    pub fn drop_ended(&mut self, now_ms: u64) {
        for overrides in self.daemons.values_mut() {
            *overrides = overrides.active(now_ms);
        }
        self.daemons.retain(|_, overrides| !overrides.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_ends_at_its_time_or_when_it_is_released() {
        let id = DaemonId::new("a").unwrap();
        let mut overrides = Overrides::default();
        overrides.change(&id, |it| {
            it.hold = Some(Override {
                until_ms: Some(100),
                ..Override::default()
            });
            it.stop = Some(Override::default());
        });
        assert!(overrides.of(&id, 99).hold.is_some());
        assert!(overrides.of(&id, 100).hold.is_none());
        assert!(overrides.of(&id, u64::MAX).stop.is_some());
        assert_eq!(overrides.next_end(50), Some(100));
        assert_eq!(overrides.next_end(100), None);
        overrides.drop_ended(100);
        overrides.change(&id, |it| it.stop = None);
        assert_eq!(overrides, Overrides::default());
    }
}
