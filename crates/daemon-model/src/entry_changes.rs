//! Differences between two entries of a history.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::finding::is_env_like;
use crate::{ChangeKind, Entry};

/// One difference between two entries of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryChange {
    /// The app.
    pub app: String,
    /// What differs, with dots between keys: `readiness_probe.period`. None for the whole app.
    pub field: Option<String>,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The older entry's value; none for a whole app.
    pub from: Option<Value>,
    /// The newer entry's value; none for a whole app.
    pub to: Option<Value>,
    /// Whether the values are those of an environment variable.
    pub is_variable: bool,
}

impl Entry {
    /// The differences from an older entry, by app and key.
    #[must_use]
    pub fn changes_since(&self, older: &Self) -> Vec<EntryChange> {
        let app = |entry: &'_ Self, name: &str| {
            let mut apps = entry.apps.iter();
            apps.find(|app| app.name == name).map(|app| app.app.clone())
        };
        let apps = older.apps.iter().chain(&self.apps);
        let names: BTreeSet<&str> = apps.map(|app| app.name.as_str()).collect();
        let mut changes = Vec::new();
        for name in names {
            let whole = |kind| EntryChange {
                app: name.to_owned(),
                field: None,
                kind,
                from: None,
                to: None,
                is_variable: false,
            };
            match (app(older, name), app(self, name)) {
                (Some(from), Some(to)) => compare(name, "", &from, &to, false, &mut changes),
                (None, Some(_)) => changes.push(whole(ChangeKind::Added)),
                _ => changes.push(whole(ChangeKind::Removed)),
            }
        }
        changes
    }
}

/// Compares two maps, and nested maps key by key.
fn compare(
    app: &str,
    path: &str,
    from: &Map<String, Value>,
    to: &Map<String, Value>,
    is_variable: bool,
    changes: &mut Vec<EntryChange>,
) {
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    for key in keys {
        let (old, new) = (from.get(key), to.get(key));
        if old == new {
            continue;
        }
        let path = format!("{path}{key}");
        let is_variable = is_variable || is_env_like(key);
        // A new environment consists of new variables.
        let map = |value: Option<&Value>| match value {
            None if is_variable => Some(Map::new()),
            Some(Value::Object(map)) => Some(map.clone()),
            _ => None,
        };
        if let (Some(old), Some(new)) = (map(old), map(new))
            && !(old.is_empty() && new.is_empty())
        {
            compare(app, &format!("{path}."), &old, &new, is_variable, changes);
            continue;
        }
        changes.push(EntryChange {
            app: app.to_owned(),
            field: Some(path),
            kind: match (old, new) {
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
                _ => ChangeKind::Changed,
            },
            from: old.cloned(),
            to: new.cloned(),
            is_variable,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{EntryApp, Revision, SpecDigest};

    fn entry(apps: &Value) -> Entry {
        let apps = apps.as_object().into_iter().flatten();
        let apps = apps.map(|(name, app)| EntryApp {
            name: name.clone(),
            digest: SpecDigest(String::new()),
            revision: Revision(String::new()),
            app: app.as_object().cloned().unwrap_or_default(),
        });
        Entry::pending("test", 0, apps.collect(), [].into())
    }

    #[test]
    fn changes_are_named_by_their_keys() {
        let older = entry(&json!({
            "api": {
                "script": "./a.js",
                "args": ["a"],
                "env": { "A": "1", "GONE": "x" },
                "readiness_probe": { "period": 1000, "tcp_socket": { "port": 1 } },
            },
            "gone": { "script": "./b.js" },
            "same": { "script": "./c.js" },
        }));
        let newer = entry(&json!({
            "api": {
                "script": "./a.js",
                "args": ["a", "b"],
                "env": { "A": "2" },
                "env_production": { "B": "3" },
                "readiness_probe": { "period": 1000, "tcp_socket": { "port": 2 } },
                "env_file": ".env",
            },
            "new": { "script": "./b.js" },
            "same": { "script": "./c.js" },
        }));
        let changes = newer.changes_since(&older);
        let lines: Vec<String> = changes
            .iter()
            .map(|it| {
                let value = |value: &Option<Value>| match value {
                    Some(value) => value.to_string(),
                    None => "-".to_owned(),
                };
                let field = it.field.as_deref().unwrap_or("*");
                let sign = if it.is_variable { " variable" } else { "" };
                let (app, from, to) = (&it.app, value(&it.from), value(&it.to));
                format!("{app} {field} {:?} {from} {to}{sign}", it.kind)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "api args Changed [\"a\"] [\"a\",\"b\"]",
                "api env.A Changed \"1\" \"2\" variable",
                "api env.GONE Removed \"x\" - variable",
                "api env_file Added - \".env\"",
                "api env_production.B Added - \"3\" variable",
                "api readiness_probe.tcp_socket.port Changed 1 2",
                "gone * Removed - -",
                "new * Added - -",
            ]
        );
        assert_eq!(newer.changes_since(&newer), []);
    }
}
