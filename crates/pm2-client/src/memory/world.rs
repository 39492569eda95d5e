//! The state of an in-memory PM2, and PM2's rules for changing it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use daemon_model::{ObservedProcess, PmId, Processes, Status, survival};
use serde_json::{Map, Value, json};

use super::{Behaviour, Call, Fault};
use crate::adapter::{AdapterError, Method};
use crate::observe::observe;
use crate::recent::Changes;
use crate::record::{Listed, ProcessRecord};

/// The first pid: larger than any on Linux (`proc(5)`, pid_max), so that it cannot be that of a real process.
const FIRST_PID: u32 = 5_000_000;

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) processes: BTreeMap<u32, Slot>,
    /// An upper bound for the number of processes per name: nearly always zero when an app starts.
    pub(super) named: HashMap<String, usize>,
    /// Which process last had a pid.
    pub(super) by_pid: HashMap<u32, u32>,
    pub(super) next_id: u32,
    pub(super) next_pid: u32,
    pub(super) clock: u64,
    pub(super) calls: Vec<Call>,
    /// How often the list has been requested.
    pub(super) lists: usize,
    /// Counts changes of any kind.
    pub(super) changes: Changes,
    /// The last list, and how many changes there had been by then.
    pub(super) listed: Option<(u64, Processes)>,
    pub(super) faults: Vec<(Method, usize, Fault)>,
    /// Faults for every call that changes processes of these names.
    pub(super) injected_for: BTreeMap<String, Fault>,
    /// How long to block for an answer that never comes.
    pub(super) deadline: Duration,
    pub(super) behaviours: BTreeMap<String, Behaviour>,
    pub(super) watched: BTreeSet<u32>,
    pub(super) dead: bool,
}

/// A process, and its last observation if nothing has changed since.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) record: ProcessRecord,
    pub(super) observed: Option<Arc<ObservedProcess>>,
}

impl Slot {
    pub(super) fn new(record: ProcessRecord) -> Self {
        Self {
            record,
            observed: None,
        }
    }

    pub(super) fn change(&mut self) -> &mut ProcessRecord {
        self.observed = None;
        &mut self.record
    }

    pub(super) fn observe(&mut self) -> Arc<ObservedProcess> {
        let record = &self.record;
        let observed = self
            .observed
            .get_or_insert_with(|| Arc::new(observe(record)));
        Arc::clone(observed)
    }
}

/// PM2's merge: the text `null` removes a key, and an environment replaces the old one as a whole.
pub(super) fn merge(record: &mut Map<String, Value>, conf: &Map<String, Value>) {
    for (key, value) in conf {
        if survival::is_null_text(value) {
            record.shift_remove(key);
        } else {
            record.insert(key.clone(), value.clone());
        }
    }
}

impl World {
    /// Visits these processes, or all.
    pub(super) fn visit(&self, only: Option<&[PmId]>, visit: &mut dyn FnMut(Listed<'_>)) {
        let listed = |slot: &Slot| visit(Listed::known(&slot.record, slot.observed.clone()));
        match only {
            None => self.processes.values().for_each(listed),
            Some(ids) => {
                let slots = ids.iter().filter_map(|id| self.processes.get(&id.0));
                slots.for_each(listed);
            }
        }
    }

    /// Every process.
    pub(super) fn list(&mut self) -> Processes {
        let changes = self.changes.count();
        let listed = self.listed.take().filter(|(at, _)| *at == changes);
        let list = || self.processes.values_mut().map(Slot::observe).collect();
        let list = listed.map_or_else(list, |(_, list)| list);
        self.listed = Some((changes, Arc::clone(&list)));
        list
    }

    pub(super) fn take_fault(&mut self, method: Method) -> Option<Fault> {
        let at = self.faults.iter().position(|(of, _, _)| *of == method)?;
        if self.faults[at].1 > 0 {
            self.faults[at].1 -= 1;
            return None;
        }
        Some(self.faults.remove(at).2)
    }

    pub(super) fn known(
        &mut self,
        method: Method,
        id: PmId,
    ) -> Result<&mut ProcessRecord, AdapterError> {
        self.processes
            .get_mut(&id.0)
            .map(Slot::change)
            .ok_or_else(|| AdapterError::Refused {
                method,
                message: format!("{id} : id unknown"),
            })
    }

    /// PM2's `executeApp`: the environment overwrites attributes, and a process is spawned.
    pub(super) fn execute(&mut self, id: u32, mut record: Map<String, Value>) {
        if let Some(Value::Object(env)) = record.get("env").cloned() {
            for (key, value) in env {
                record.insert(key, value);
            }
        }
        self.clock += 1;
        record.insert("pm_uptime".into(), json!(self.clock));
        let created = record.entry("created_at").or_insert(Value::Null);
        if created.is_null() {
            *created = json!(self.clock);
        }
        record.insert("pm_id".into(), json!(id));
        let script = record
            .get("pm_exec_path")
            .and_then(Value::as_str)
            .unwrap_or("");
        let behaviour = self
            .behaviours
            .get(script)
            .copied()
            .unwrap_or(Behaviour::Runs);
        let starts = record.get("autostart") != Some(&Value::Bool(false));
        // PM2 sets this status after each exit if the app has a restart delay.
        let waits = ["restart_delay", "exp_backoff_restart_delay"];
        let waits = waits.iter().any(|key| record.contains_key(*key));
        let (status, pid) = match behaviour {
            _ if !starts => (Status::Stopped, None),
            Behaviour::Crashes => {
                record.insert("created_at".into(), Value::Null);
                record.insert("exit_code".into(), json!(1));
                let word = match waits {
                    true => Status::WaitingRestart,
                    false => Status::Errored,
                };
                (word, None)
            }
            Behaviour::NoPid => (Status::Online, None),
            Behaviour::Runs => {
                self.next_pid += 1;
                (Status::Online, Some(FIRST_PID + self.next_pid))
            }
        };
        record.insert("status".into(), json!(status.as_str()));
        let name = record
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        let record = ProcessRecord {
            pm_id: PmId(id),
            name,
            pid,
            status,
            pm2_env: record,
            memory_bytes: 0,
            cpu_percent: 0.0,
        };
        *self.named.entry(record.name.clone()).or_default() += 1;
        self.by_pid.extend(record.pid.map(|pid| (pid, id)));
        let old = self.processes.insert(id, Slot::new(record));
        self.forget_name(old);
    }

    pub(super) fn forget_name(&mut self, gone: Option<Slot>) {
        let count = gone.and_then(|slot| self.named.get_mut(&slot.record.name));
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
    }

    /// The lowest instance number that no process of this name uses.
    pub(super) fn free_instance(&self, name: &str, variable: &str) -> u64 {
        if self.named.get(name).is_none_or(|count| *count == 0) {
            return 0;
        }
        let taken: BTreeSet<u64> = self
            .processes
            .values()
            .map(|slot| &slot.record)
            .filter(|record| record.name == name)
            .filter_map(|record| record.pm2_env.get(variable)?.as_u64())
            .collect();
        (0..).find(|n| !taken.contains(n)).unwrap_or(0)
    }

    pub(super) fn stop(&mut self, id: u32) {
        if let Some(record) = self.processes.get_mut(&id).map(Slot::change) {
            record.pid = None;
            record.status = Status::Stopped;
            record.pm2_env.insert("status".into(), json!("stopped"));
        }
    }
}
