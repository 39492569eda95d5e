//! Makes and writes the definitions and env files of imported apps.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DaemonId, Diagnostics, paths};
use files::{Access, Links};
use serde_json::{Map, Value};

use super::config_file::below;
use super::group::{Group, Groups};
use super::{ImportError, ImportOptions, Imported, Note, name_of, secrets};
use crate::config::Config;
use crate::definitions::{Definitions, Renderer};
use crate::values::ValueSources;

/// The largest definition that is compared with a new one, in bytes.
const LIMIT: u64 = 64 << 20;

/// The files to write.
#[derive(Debug)]
pub struct Import {
    /// The definitions, in the order of the apps.
    pub definitions: Vec<NewDefinition>,
    /// The env files.
    pub env_files: Vec<EnvFile>,
    /// Notes about them.
    pub notes: Vec<Note>,
}

/// A definition made by an import.
#[derive(Debug)]
pub struct NewDefinition {
    /// Its daemon.
    pub id: DaemonId,
    /// Its path relative to the workspace.
    pub name: Utf8PathBuf,
    /// The names of its apps.
    pub apps: Vec<String>,
    /// Its content.
    pub text: String,
    /// The findings about it.
    pub diagnostics: Diagnostics,
    /// What exists at its path.
    pub place: PlaceState,
}

/// What is at a target path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceState {
    /// Nothing exists there.
    Free,
    /// The same content exists there.
    Same,
    /// Another file exists there and is kept.
    Taken,
}

/// An env file that values were moved to. `Debug` shows no values.
pub struct EnvFile {
    /// Its path, as spelled in definitions.
    pub name: Utf8PathBuf,
    /// Names of its variables.
    pub variables: Vec<String>,
    /// The apps that refer to it.
    pub apps: Vec<String>,
    /// What exists at its path.
    pub place: PlaceState,
    text: String,
}

impl std::fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvFile")
            .field("name", &self.name)
            .field("variables", &self.variables)
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

impl Import {
    /// Makes definitions of apps. Writes nothing.
    ///
    /// # Errors
    /// [`ImportError::Definitions`] when the existing definitions cannot be read, [`ImportError::Into`] when a definition cannot be
    /// in the named folder, [`ImportError::Unprintable`] when an app cannot be expressed as a definition.
    pub fn arrange(
        imported: Vec<Imported>,
        options: &ImportOptions,
        config: &Config,
    ) -> Result<Self, ImportError> {
        let known = defined_apps(config)?;
        let mut import = Self {
            definitions: Vec::new(),
            env_files: Vec::new(),
            notes: Vec::new(),
        };
        let mut groups = Groups::new(options, config, &known);
        for (n, imported) in imported.into_iter().enumerate() {
            import.notes.extend(imported.notes.iter().cloned());
            import.add(n, imported, &mut groups, config)?;
        }
        let mut groups = groups.list;
        groups.retain(|group| !group.apps.is_empty());
        let repeated = repeated_names(&groups);
        import
            .notes
            .extend(repeated.into_iter().map(|app| Note::SameName { app }));
        import.separate_secrets(&mut groups, options, config)?;
        for group in groups {
            let definition = NewDefinition::new(group, config)?;
            import.definitions.push(definition);
        }
        Ok(import)
    }

    /// Adds the apps of the `n`th config to their groups, together with its other top-level keys.
    fn add(
        &mut self,
        n: usize,
        imported: Imported,
        groups: &mut Groups<'_>,
        config: &Config,
    ) -> Result<(), ImportError> {
        let mut own: Vec<usize> = Vec::new();
        for app in &imported.apps {
            let at = groups.of(app, n, imported.file.as_deref())?;
            let Some(group) = groups.list.get_mut(at) else {
                continue;
            };
            let name = name_of(app);
            match groups.known.get(&name) {
                Some(id) if *id != group.id => self.notes.push(Note::DefinedAlready {
                    app: name,
                    definition: config.layout.definition_name(id),
                }),
                _ => {
                    group.apps.push(app.clone());
                    if !own.contains(&at) {
                        own.push(at);
                    }
                }
            }
        }
        let Some(first) = own.first().copied() else {
            return Ok(());
        };
        // Each definition is rendered independently, so each needs the keys that `--env` chooses from.
        let is_chosen_from = |value: &Value| {
            let targets = value.as_object().into_iter().flatten();
            let mut targets = targets.filter_map(|(_, target)| target.get("env"));
            targets.any(Value::is_object)
        };
        let mut once = Vec::new();
        for (key, value) in imported.beside {
            let is_for_all = key == "deploy" && is_chosen_from(&value);
            if !is_for_all && own.len() > 1 {
                once.push(key.clone());
            }
            let count = if is_for_all { own.len() } else { 1 };
            for at in own.iter().take(count) {
                if let Some(group) = groups.list.get_mut(*at) {
                    group.beside.insert(key.clone(), value.clone());
                }
            }
        }
        if let Some(group) = groups.list.get(first).filter(|_| !once.is_empty()) {
            let definition = config.layout.definition_name(&group.id);
            let keys = once;
            self.notes.push(Note::KeptOnce { keys, definition });
        }
        Ok(())
    }

    /// Moves values that look like secrets to env files, or notes them. An app gets every variable of a file that it refers to, so
    /// apps share a file only if they have the same secrets.
    fn separate_secrets(
        &mut self,
        groups: &mut [Group],
        options: &ImportOptions,
        config: &Config,
    ) -> Result<(), ImportError> {
        let apps = || groups.iter().flat_map(|group| &group.apps);
        let found: Vec<Vec<String>> = apps().map(secrets::find).collect();
        let Some(file) = &options.extract_secrets else {
            let found = apps().zip(found).filter(|(_, values)| !values.is_empty());
            self.notes.extend(found.map(|(app, values)| {
                let app = name_of(app);
                Note::Secrets { app, values }
            }));
            return Ok(());
        };
        let apps = groups.iter_mut().flat_map(|group| &mut group.apps);
        let mut taken: Vec<(&mut Map<String, Value>, secrets::Variables)> = apps
            .zip(&found)
            .filter(|(_, names)| !names.is_empty())
            .map(|(app, names)| {
                let values = secrets::take(app, names);
                (app, values)
            })
            .collect();
        let is_shared = taken.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let cwd = config.environment.cwd().unwrap_or(config.root());
        let path = paths::resolve(cwd, file.as_str());
        for (app, values) in &mut taken {
            let name = name_of(app);
            let path = match is_shared {
                true => path.clone(),
                false => Utf8PathBuf::from(format!("{path}.{}", paths::file_stem(&name))),
            };
            let reference = below(config.root(), &path);
            refer(app, &reference);
            if let Some(known) = self.env_files.iter_mut().find(|it| it.name == reference) {
                known.apps.push(name);
                continue;
            }
            let text = secrets::env_file(values);
            self.env_files.push(EnvFile {
                place: state_of(&path, text.as_bytes())?,
                name: reference,
                variables: values.iter().map(|(name, _)| name.clone()).collect(),
                apps: vec![name],
                text,
            });
        }
        Ok(())
    }

    /// Whether another file is at the target path.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let mut places = self.definitions.iter().map(|definition| definition.place);
        places.any(|place| place == PlaceState::Taken)
            || self
                .env_files
                .iter()
                .any(|file| file.place == PlaceState::Taken)
    }

    /// Writes the files that do not exist yet. Never overwrites. Env files are written first; if the path of one is taken, nothing
    /// is written.
    ///
    /// # Errors
    /// [`ImportError::Taken`] when the path of an env file is taken, [`ImportError::Write`] when a file cannot be written. Files
    /// written before the error remain.
    pub fn write(&self, config: &Config) -> Result<(), ImportError> {
        let taken = self.env_files.iter();
        let mut taken = taken.filter(|file| file.place == PlaceState::Taken);
        if let Some(file) = taken.next() {
            return Err(ImportError::Taken(file.name.clone()));
        }
        for file in &self.env_files {
            if file.place == PlaceState::Free {
                let path = config.root().join(&file.name);
                create(&path, file.text.as_bytes(), Access::Private)?;
                super::ignore(config, &path)?;
            }
        }
        for definition in &self.definitions {
            if definition.place == PlaceState::Free {
                let path = config.layout.definition_path(&definition.id);
                create(&path, definition.text.as_bytes(), Access::Shared)?;
            }
        }
        Ok(())
    }
}

impl NewDefinition {
    fn new(group: Group, config: &Config) -> Result<Self, ImportError> {
        let Group { id, apps, beside } = group;
        let names = apps.iter().map(name_of).collect();
        let mut document = Map::new();
        let apps = apps.into_iter().map(Value::Object).collect();
        document.insert("apps".to_owned(), apps);
        document.extend(beside);
        let name = config.layout.definition_name(&id);
        let text = edn_render::print(&document).map_err(|source| ImportError::Unprintable {
            definition: name.clone(),
            source,
        })?;
        let path = config.layout.definition_path(&id);
        // Its env file may not be written yet.
        let values = ValueSources::assumed(config.interpolate);
        let renderer = Renderer::new(config, &values);
        let mut rendered = renderer.render(&id, &path, text.as_bytes());
        rendered.check_alone(&id);
        Ok(Self {
            place: state_of(&path, text.as_bytes())?,
            id,
            name,
            apps: names,
            text,
            diagnostics: rendered.diagnostics,
        })
    }
}

/// The apps of the existing definitions, each with its daemon.
fn defined_apps(config: &Config) -> Result<BTreeMap<String, DaemonId>, ImportError> {
    if !config.layout.daemons_dir().exists() {
        return Ok(BTreeMap::new());
    }
    // All variants count.
    let config = Config {
        mode: None,
        env_name: None,
        ..config.clone()
    };
    let definitions = Definitions::load(&config)?;
    let all = definitions.daemons.iter().flat_map(|(id, definition)| {
        let apps = definition.apps().iter();
        apps.map(move |placed| (placed.app.name().to_owned(), id.clone()))
    });
    Ok(all.collect())
}

fn repeated_names(groups: &[Group]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let names = groups.iter().flat_map(|group| &group.apps).map(name_of);
    names.filter(|name| !seen.insert(name.clone())).collect()
}

/// Makes an app refer to an env file.
fn refer(app: &mut Map<String, Value>, file: &Utf8Path) {
    let file = Value::from(file.as_str());
    let files = match app.shift_remove("env_file") {
        None => file,
        Some(Value::Array(mut files)) => {
            files.push(file);
            files.into()
        }
        Some(other) => vec![other, file].into(),
    };
    app.insert("env_file".to_owned(), files);
}

fn state_of(path: &Utf8Path, bytes: &[u8]) -> Result<PlaceState, ImportError> {
    match files::read_if_exists(path.as_std_path(), Links::Follow, LIMIT) {
        Ok(None) => Ok(PlaceState::Free),
        Ok(Some(known)) if known == bytes => Ok(PlaceState::Same),
        Ok(Some(_)) => Ok(PlaceState::Taken),
        Err(source) => Err(ImportError::ReadFile {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Creates a file that must not exist, and the directories above it.
pub(crate) fn create(path: &Utf8Path, bytes: &[u8], access: Access) -> Result<(), ImportError> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir)
        .and_then(|()| files::create(path.as_std_path(), bytes, access))
        .map_err(|source| ImportError::Write {
            path: path.to_owned(),
            source,
        })
}
