//! Decides which app goes into which definition.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use daemon_model::{DaemonId, Layout, paths};
use serde_json::{Map, Value};

use super::{Grouping, ImportError, ImportOptions, name_of};
use crate::config::Config;

/// Apps that go into one definition.
pub(super) struct Group {
    pub id: DaemonId,
    pub apps: Vec<Map<String, Value>>,
    pub beside: Map<String, Value>,
}

/// The groups so far.
pub(super) struct Groups<'a> {
    names: Names<'a>,
    /// The apps that are defined already, each with its daemon.
    pub known: &'a BTreeMap<String, DaemonId>,
    /// By config, when grouping by config, and name.
    index: BTreeMap<(Option<usize>, String), usize>,
    pub list: Vec<Group>,
}

impl<'a> Groups<'a> {
    pub fn new(
        options: &'a ImportOptions,
        config: &'a Config,
        known: &'a BTreeMap<String, DaemonId>,
    ) -> Self {
        Self {
            names: Names::new(options, config),
            known,
            index: BTreeMap::new(),
            list: Vec::new(),
        }
    }

    /// The group of an app of the `n`th config.
    pub fn of(
        &mut self,
        app: &Map<String, Value>,
        n: usize,
        file: Option<&Utf8Path>,
    ) -> Result<usize, ImportError> {
        let name = self.names.key(app, file);
        let is_shared = self.names.options.by == Grouping::Namespace;
        let key = ((!is_shared).then_some(n), name.clone());
        if let Some(at) = self.index.get(&key) {
            return Ok(*at);
        }
        self.list.push(Group {
            id: self.names.id(&name)?,
            apps: Vec::new(),
            beside: Map::new(),
        });
        self.index.insert(key, self.list.len() - 1);
        Ok(self.list.len() - 1)
    }
}

/// Hands out ids, each once.
struct Names<'a> {
    options: &'a ImportOptions,
    layout: &'a Layout,
    root: &'a Utf8Path,
    cwd: &'a Utf8Path,
    given: BTreeSet<String>,
}

impl<'a> Names<'a> {
    fn new(options: &'a ImportOptions, config: &'a Config) -> Self {
        Self {
            options,
            layout: &config.layout,
            root: config.root(),
            cwd: config.environment.cwd().unwrap_or(config.root()),
            given: BTreeSet::new(),
        }
    }

    /// The name from which the id of an app's definition is made. Apps of one config with the same key share a definition.
    fn key(&self, app: &Map<String, Value>, file: Option<&Utf8Path>) -> String {
        match self.options.by {
            Grouping::App => name_of(app),
            Grouping::Namespace => {
                let namespace = app.get("namespace").and_then(Value::as_str);
                let namespace = namespace.filter(|namespace| !namespace.is_empty());
                namespace.unwrap_or("default").to_owned()
            }
            Grouping::File => self.key_of_file(file),
        }
    }

    /// The folder of a config if it has its own, else its file name.
    fn key_of_file(&self, file: Option<&Utf8Path>) -> String {
        let Some(file) = file else {
            return "pm2".to_owned();
        };
        let path = paths::resolve(self.cwd, file.as_str());
        let folder = path
            .parent()
            .and_then(|dir| dir.strip_prefix(self.root).ok());
        match folder {
            Some(folder) if !folder.as_str().is_empty() => folder.to_string(),
            _ => {
                let stem = file.file_stem().unwrap_or("pm2");
                stem.strip_suffix(".config").unwrap_or(stem).to_owned()
            }
        }
    }

    /// An id that no other group has.
    fn id(&mut self, key: &str) -> Result<DaemonId, ImportError> {
        let mut segments: Vec<String> = Vec::new();
        if let Some(into) = &self.options.into {
            // A file-system path to the same folder is accepted as well.
            let path = paths::resolve(self.cwd, into.as_str());
            let inside = path.strip_prefix(self.layout.daemons_dir());
            let into = inside.unwrap_or(into);
            segments.extend(into.components().map(|it| it.as_str().to_owned()));
        }
        segments.extend(key.split('/').filter_map(|part| self.segment(part)));
        if segments.is_empty() {
            segments.push("app".to_owned());
        }
        let plain = segments.join("/");
        let mut id = plain.clone();
        let mut number = 2;
        // Some file systems ignore case.
        while !self.given.insert(id.to_lowercase()) {
            id = format!("{plain}-{number}");
            number += 1;
        }
        DaemonId::new(id).map_err(ImportError::Into)
    }

    /// Turns part of a name into the name of a folder that is searched for definitions.
    fn segment(&self, part: &str) -> Option<String> {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
        let plain: String = part
            .chars()
            .map(|c| if is_plain(c) { c } else { '-' })
            .collect();
        let plain = plain.trim_matches('-').trim_start_matches('.');
        let plain: String = plain.chars().take(60).collect();
        let plain = match plain.strip_suffix(".json") {
            Some(stem) => format!("{stem}-json"),
            None => plain,
        };
        match plain.as_str() {
            "" => None,
            name if self.layout.skips_dir(name) => Some(format!("{name}-app")),
            _ => Some(plain),
        }
    }
}
