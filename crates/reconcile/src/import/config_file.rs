//! Reads the apps of a PM2 config.

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DocumentPath, PathSegment};
use pm2_client::StopFlag;
use serde_json::{Map, Value};

use super::evaluate::{dir_of, evaluate};
use super::{ImportError, Imported, Note, name_of};
use crate::config::Config;

/// Keys of a config that are not part of a definition.
const APPS: [&str; 2] = ["apps", "pm2"];
const STATIC: &str = "static";

/// Evaluates a config, and splits it into apps as `pm2 start` does.
pub(super) fn import(
    file: &Utf8Path,
    config: &Config,
    stop: &StopFlag,
) -> Result<Imported, ImportError> {
    let evaluated = evaluate(file, config, stop)?;
    let shape = Shape::of(evaluated.config).ok_or_else(|| ImportError::NoApps {
        path: file.to_owned(),
    })?;
    let mut notes = Vec::new();
    if let Some(error) = evaluated.fails_without_environment {
        let file = file.to_owned();
        notes.push(Note::NeedsEnvironment { file, error });
    }
    for (app, values) in shape.by_app(evaluated.from_environment) {
        notes.push(Note::FromEnvironment { app, values });
    }
    for (app, values) in shape.by_app(evaluated.changing) {
        notes.push(Note::Changing { app, values });
    }
    for (path, what) in evaluated.lost {
        for (app, values) in shape.by_app(vec![path]) {
            let value = values.concat();
            let what = what.clone();
            notes.push(Note::Lost { app, value, what });
        }
    }
    if shape.serves_files {
        let file = file.to_owned();
        notes.push(Note::StaticFiles { file });
    }
    let mut apps = shape.apps;
    let base = config.environment.cwd().unwrap_or(config.root());
    if let Some(dir) = dir_of(file, config).filter(|dir| dir != base) {
        let misplaced = apps.iter().filter(|app| is_beside(app, base, &dir));
        notes.extend(misplaced.map(|app| Note::BesideConfig {
            app: name_of(app),
            dir: dir.clone(),
        }));
    }
    if base != config.root() {
        let rebased = apps
            .iter_mut()
            .filter_map(|app| rebase(app, base, config.root()));
        if rebased.count() > 0 {
            notes.push(Note::Relative {
                file: file.to_owned(),
                dir: below(config.root(), base),
            });
        }
    }
    Ok(Imported {
        file: Some(file.to_owned()),
        apps,
        beside: shape.beside,
        notes,
    })
}

/// A config, split into its parts.
struct Shape {
    apps: Vec<Map<String, Value>>,
    beside: Map<String, Value>,
    serves_files: bool,
    /// The key that the apps are under.
    key: Option<&'static str>,
    /// Whether they are in a list.
    is_list: bool,
}

impl Shape {
    /// Splits it as PM2 does: `apps`, else `pm2`, else the whole; one app or a list of them.
    ///
    /// Source: PM2 7.0.4, `lib/API.js` (`_startJson`).
    fn of(config: Value) -> Option<Self> {
        let mut beside = Map::new();
        let mut key = None;
        let mut serves_files = false;
        let apps = match config {
            Value::Object(mut map) => {
                serves_files = map.shift_remove(STATIC).is_some_and(|it| is_truthy(&it));
                key = APPS
                    .into_iter()
                    .find(|key| map.get(*key).is_some_and(is_truthy));
                match key {
                    Some(key) => {
                        let apps = map.shift_remove(key)?;
                        // PM2 ignores the other keys of a package.json.
                        map.retain(|name, _| key == "apps" || name == "deploy");
                        beside = map;
                        apps
                    }
                    None => Value::Object(map),
                }
            }
            other => other,
        };
        let is_list = apps.is_array();
        let apps = match apps {
            Value::Array(apps) => apps,
            one => vec![one],
        };
        let apps: Option<Vec<_>> = apps
            .into_iter()
            .map(|app| match app {
                Value::Object(app) if key.is_some() || has_script(&app) => Some(app),
                _ => None,
            })
            .collect();
        Some(Self {
            apps: apps.filter(|apps| !apps.is_empty())?,
            beside,
            serves_files,
            key,
            is_list,
        })
    }

    /// Groups paths by app, as names of its variables and paths of its other values.
    fn by_app(&self, paths: Vec<DocumentPath>) -> Vec<(Option<String>, Vec<String>)> {
        let mut found: Vec<(Option<String>, Vec<String>)> = Vec::new();
        for path in paths {
            let mut rest = path.0.as_slice();
            let mut app = None;
            let is_in_apps = match (self.key, rest) {
                (Some(key), [PathSegment::Key(first), inner @ ..]) if first == key => {
                    rest = inner;
                    true
                }
                (key, _) => key.is_none(),
            };
            if is_in_apps {
                let index = match rest {
                    [PathSegment::Index(index), inner @ ..] if self.is_list => {
                        rest = inner;
                        Some(*index)
                    }
                    _ => (!self.is_list).then_some(0),
                };
                app = index.and_then(|index| self.apps.get(index)).map(name_of);
            }
            let value = match rest {
                [PathSegment::Key(env), PathSegment::Key(name)] if env == "env" => name.clone(),
                rest => DocumentPath(rest.to_vec()).to_string(),
            };
            match found.iter_mut().find(|(known, _)| *known == app) {
                Some((_, values)) => values.push(value),
                None => found.push((app, vec![value])),
            }
        }
        found
    }
}

fn has_script(app: &Map<String, Value>) -> bool {
    let names = daemon_model::attribute::by_own_name("script").into_iter();
    let mut names = names.flat_map(daemon_model::attribute::Attribute::names);
    names.any(|name| app.get(&name).is_some_and(is_truthy))
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        _ => true,
    }
}

/// Rewrites the working directory of an app, which PM2 resolves from where it is started, relative to the workspace's root. Returns
/// none if it is absolute.
fn rebase(app: &mut Map<String, Value>, base: &Utf8Path, root: &Utf8Path) -> Option<()> {
    let cwd = app.get("cwd").and_then(Value::as_str).unwrap_or("");
    if cwd.starts_with('/') {
        return None;
    }
    let cwd = below(root, &daemon_model::paths::resolve(base, cwd));
    app.insert("cwd".to_owned(), cwd.into_string().into());
    Some(())
}

/// A path relative to the workspace's root, if it is below it.
pub(super) fn below(root: &Utf8Path, path: &Utf8Path) -> Utf8PathBuf {
    match path.strip_prefix(root) {
        Ok(rest) if rest.as_str().is_empty() => Utf8PathBuf::from("."),
        Ok(rest) => rest.to_owned(),
        Err(_) => path.to_owned(),
    }
}

/// Whether the script of an app does not exist where PM2 would look from `base`, but does from `dir`.
fn is_beside(app: &Map<String, Value>, base: &Utf8Path, dir: &Utf8Path) -> bool {
    let text = |key: &str| app.get(key).and_then(Value::as_str);
    let Some(script) = text("script").filter(|script| !script.contains(' ')) else {
        return false;
    };
    let cwd = text("cwd").unwrap_or("");
    let exists = |from: &Utf8Path| from.join(cwd).join(script).exists();
    !exists(base) && exists(dir)
}
