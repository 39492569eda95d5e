//! Imports apps from PM2's list of processes, or from its dump.

use std::collections::BTreeMap;

use camino::Utf8Path;
use daemon_model::{ObservedProcess, ProcessState};
use files::Links;
use pm2_client::{ProcessRecord, StopFlag, observe, records_of_dump};
use serde_json::{Map, Value};

use super::record::Reader;
use super::{ImportError, Imported, Note};
use crate::config::Config;
use crate::pm2::{Pm2, daemon_environ};

/// The largest dump that is read, in bytes.
const LIMIT: u64 = 256 << 20;

/// The apps that PM2 runs.
pub(super) fn import_running(config: &Config, stop: &StopFlag) -> Result<Imported, ImportError> {
    let mut pm2 = Pm2::new(config, stop);
    if !pm2.connect()? {
        return Err(ImportError::NotRunning(config.pm2_home.clone()));
    }
    let records = pm2.list()?;
    let daemon = daemon_environ(config).unwrap_or_default();
    Ok(apps_of(records, &daemon, config))
}

/// The apps of a dump.
pub(super) fn import_dump(file: &Utf8Path, config: &Config) -> Result<Imported, ImportError> {
    let cwd = config.environment.cwd().unwrap_or(config.root());
    let path = daemon_model::paths::resolve(cwd, file.as_str());
    let bytes = files::read(path.as_std_path(), Links::Follow, LIMIT).map_err(|source| {
        ImportError::ReadFile {
            path: file.to_owned(),
            source,
        }
    })?;
    let records = records_of_dump(&bytes).ok_or_else(|| ImportError::NoDump {
        path: file.to_owned(),
    })?;
    Ok(apps_of(records, &BTreeMap::new(), config))
}

/// The app made from the processes of one name.
struct Group {
    name: String,
    processes: Vec<(ProcessRecord, ObservedProcess)>,
}

fn apps_of(
    records: Vec<ProcessRecord>,
    daemon: &BTreeMap<String, String>,
    config: &Config,
) -> Imported {
    let mut groups: Vec<Group> = Vec::new();
    let mut notes = Vec::new();
    for record in records {
        let process = observe(&record);
        if process.is_module {
            continue;
        }
        if let Some(label) = &process.label {
            let note = Note::Managed {
                app: process.name,
                workspace: label.workspace.clone(),
            };
            if !notes.contains(&note) {
                notes.push(note);
            }
            continue;
        }
        match groups.iter_mut().find(|group| group.name == process.name) {
            Some(group) => group.processes.push((record, process)),
            None => groups.push(Group {
                name: process.name.clone(),
                processes: vec![(record, process)],
            }),
        }
    }
    let reader = Reader::new(config, daemon);
    let mut apps: Vec<Map<String, Value>> = Vec::new();
    for group in groups {
        if group.processes.iter().all(|(_, it)| is_stopped(it)) {
            notes.push(Note::Stopped { app: group.name });
            continue;
        }
        apps.push(reader.app(&group.processes, &mut notes));
    }
    Imported {
        file: None,
        apps,
        beside: Map::new(),
        notes,
    }
}

/// Whether a user stopped it. An app that ended by itself as declared does not count.
fn is_stopped(process: &ObservedProcess) -> bool {
    // Only the crashing and running states depend on the time.
    process.state(0) == ProcessState::Stopped
}
