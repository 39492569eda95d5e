//! PM2 in memory: for tests of whoever embeds this crate, and for faults that real PM2 shows rarely.
//!
//! It keeps the same flat record with the same rules of merging as PM2 does, so that what is exact here is exact
//! there; the contract suite runs the same scenarios on both.
//!
//! Source of the rules: PM2 7.0.4, `lib/God.js`, `lib/God/ActionMethods.js`, `lib/Utility.js`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon_model::{ObservedProcess, env_text, paths::with_pm_id};
use serde_json::{Map, Value, json};

use crate::adapter::{AdapterError, Method, ProcessAdapter};
use crate::message::{CurrentConf, Prepare};
use crate::observe::observe;
use crate::record::{LiveProcess, PmId, ProcessRecord, Status};

/// A fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// PM2 refuses the call and does nothing.
    Refuse,
    /// The call is never answered and nothing is done: it hangs until its [deadline](MemoryAdapter::set_deadline).
    Timeout,
    /// The call is carried out, but the answer is lost.
    LoseAnswer,
    /// The daemon goes away, and all processes with it.
    Die,
}

/// How processes of a script behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// Runs until it is stopped.
    Runs,
    /// Cannot be spawned: PM2 calls it online, but it has no pid.
    NoPid,
    /// Ends at once, again and again: PM2 gives up.
    Crashes,
}

/// A changing call, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which one.
    pub method: Method,
    /// The process, or none for a start.
    pub pm_id: Option<PmId>,
    /// The app's name at that moment.
    pub name: String,
}

#[derive(Debug, Default)]
struct World {
    processes: BTreeMap<u32, Held>,
    /// At most so many processes have a name: nearly always none when an app starts.
    named: HashMap<String, usize>,
    /// Which process last had a pid.
    by_pid: HashMap<u32, u32>,
    next_id: u32,
    next_pid: u32,
    clock: u64,
    calls: Vec<Call>,
    faults: Vec<(Method, usize, Fault)>,
    /// What every call that changes processes of these names meets.
    afflicted: BTreeMap<String, Fault>,
    /// How long an answer that never comes is waited for.
    deadline: Duration,
    behaviours: BTreeMap<String, Behaviour>,
    watched: BTreeSet<u32>,
    dead: bool,
}

/// A process, and what the last look made of it if nothing has changed since.
#[derive(Debug)]
struct Held {
    record: ProcessRecord,
    observed: Option<Arc<ObservedProcess>>,
}

impl Held {
    fn new(record: ProcessRecord) -> Self {
        Self {
            record,
            observed: None,
        }
    }

    fn change(&mut self) -> &mut ProcessRecord {
        self.observed = None;
        &mut self.record
    }

    fn observe(&mut self) -> Arc<ObservedProcess> {
        let record = &self.record;
        let observed = self
            .observed
            .get_or_insert_with(|| Arc::new(observe(record.clone())));
        Arc::clone(observed)
    }
}

/// A connection to a PM2 in memory. Clones and [`another`](ProcessAdapter::another) share the same PM2.
#[derive(Debug, Clone, Default)]
pub struct MemoryAdapter {
    world: Arc<Mutex<World>>,
}

impl MemoryAdapter {
    /// A PM2 without processes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every changing call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world().calls.clone()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.world().calls.clear();
    }

    /// Injects a fault into the call of this method that comes after `skip` others of it.
    pub fn inject(&self, method: Method, skip: usize, fault: Fault) {
        self.world().faults.push((method, skip, fault));
    }

    /// Injects a fault into every call from now on that starts, changes or ends processes of this name. Other apps are
    /// not concerned.
    pub fn afflict(&self, name: &str, fault: Fault) {
        self.world().afflicted.insert(name.to_owned(), fault);
    }

    /// How long a call hangs of which the answer never comes; calls of other connections go on meanwhile. Nothing at first,
    /// so that such a call fails at once.
    pub fn set_deadline(&self, deadline: Duration) {
        self.world().deadline = deadline;
    }

    /// Forgets the faults that have not been met yet, and those of all names.
    pub fn forget_faults(&self) {
        let world = &mut *self.world();
        world.faults.clear();
        world.afflicted.clear();
    }

    /// Says how processes of the script at this path behave from now on.
    pub fn behave(&self, script: &str, behaviour: Behaviour) {
        self.world().behaviours.insert(script.to_owned(), behaviour);
    }

    /// Changes a record from outside, as somebody at a terminal would.
    pub fn meddle(&self, id: PmId, change: impl FnOnce(&mut ProcessRecord)) {
        let world = &mut *self.world();
        if let Some(held) = world.processes.get_mut(&id.0) {
            change(held.change());
            // It may have another name now, and another pid. To count one too many is no harm.
            *world.named.entry(held.record.name.clone()).or_default() += 1;
            world.by_pid.extend(held.record.pid.map(|pid| (pid, id.0)));
        }
    }

    /// The daemon comes back without any process, after [`Fault::Die`].
    pub fn revive(&self) {
        self.world().dead = false;
    }

    fn begin(
        &self,
        method: Method,
        pm_id: Option<PmId>,
        name: &str,
    ) -> Result<Begun<'_>, AdapterError> {
        let mut world = self.world();
        if world.dead {
            return Err(AdapterError::NotRunning {
                path: "memory".into(),
            });
        }
        let name = pm_id
            .and_then(|id| world.processes.get(&id.0))
            .map_or(name, |held| held.record.name.as_str())
            .to_owned();
        let afflicted = world.afflicted.get(&name).copied();
        let fault = world.take_fault(method).or(afflicted);
        match fault {
            Some(Fault::Refuse) => {
                return Err(AdapterError::Refused {
                    method,
                    message: "injected".into(),
                });
            }
            Some(Fault::Timeout) => return Err(time_out(method, world)),
            Some(Fault::Die) => {
                *world = World {
                    dead: true,
                    calls: std::mem::take(&mut world.calls),
                    ..World::default()
                };
                return Err(AdapterError::Closed { method });
            }
            _ => {}
        }
        if !matches!(method, Method::List | Method::Version | Method::Inspect) {
            world.calls.push(Call {
                method,
                pm_id,
                name,
            });
        }
        Ok(Begun {
            world,
            lose: (fault == Some(Fault::LoseAnswer)).then_some(method),
        })
    }

    fn change(&self, method: Method, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
        let mut begun = self.begin(method, Some(id), "")?;
        let world = &mut *begun.world;
        let record = world.known(method, id)?;
        if method == Method::Restart && record.status == Status::WaitingRestart {
            return Err(AdapterError::Refused {
                method,
                message: format!(
                    "Process with pid {} already exists",
                    record.pid.unwrap_or(0)
                ),
            });
        }
        merge(&mut record.pm2_env, conf.as_map());
        let restarts = record
            .pm2_env
            .get("restart_time")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        if matches!(record.status, Status::Online | Status::Launching) {
            record
                .pm2_env
                .insert("restart_time".into(), json!(restarts + 1));
        }
        record.pm2_env.insert("unstable_restarts".into(), json!(0));
        let env = record.pm2_env.clone();
        world.execute(id.0, env);
        begun.end(())
    }
}

struct Begun<'a> {
    world: MutexGuard<'a, World>,
    lose: Option<Method>,
}

impl Begun<'_> {
    fn end<T>(self, answer: T) -> Result<T, AdapterError> {
        match self.lose {
            Some(method) => Err(time_out(method, self.world)),
            None => Ok(answer),
        }
    }
}

/// Waits in vain, and lets others at PM2 meanwhile.
fn time_out(method: Method, world: MutexGuard<'_, World>) -> AdapterError {
    let after = world.deadline;
    drop(world);
    std::thread::sleep(after);
    AdapterError::Timeout { method, after }
}

/// PM2's merge: `null` as text removes, an environment replaces the old one as a whole.
fn merge(record: &mut Map<String, Value>, conf: &Map<String, Value>) {
    for (key, value) in conf {
        let is_null_text = match value {
            Value::String(text) => text == "null",
            // A loose comparison: a list of one such text counts too.
            Value::Array(items) => items.len() == 1 && items[0].as_str() == Some("null"),
            _ => false,
        };
        if is_null_text {
            record.shift_remove(key);
        } else {
            record.insert(key.clone(), value.clone());
        }
    }
}

impl World {
    fn take_fault(&mut self, method: Method) -> Option<Fault> {
        let at = self.faults.iter().position(|(of, _, _)| *of == method)?;
        if self.faults[at].1 > 0 {
            self.faults[at].1 -= 1;
            return None;
        }
        Some(self.faults.remove(at).2)
    }

    fn known(&mut self, method: Method, id: PmId) -> Result<&mut ProcessRecord, AdapterError> {
        self.processes
            .get_mut(&id.0)
            .map(Held::change)
            .ok_or_else(|| AdapterError::Refused {
                method,
                message: format!("{id} : id unknown"),
            })
    }

    /// PM2's `executeApp`: the environment goes over the attributes, and a process is spawned.
    fn execute(&mut self, id: u32, mut record: Map<String, Value>) {
        if let Some(Value::Object(env)) = record.get("env").cloned() {
            for (key, value) in env {
                record.insert(key, value);
            }
        }
        self.clock += 1;
        record.insert("pm_uptime".into(), json!(self.clock));
        record
            .entry("created_at")
            .or_insert_with(|| json!(self.clock));
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
        let (status, pid) = match behaviour {
            _ if !starts => (Status::Stopped, None),
            Behaviour::Crashes => (Status::Errored, None),
            Behaviour::NoPid => (Status::Online, None),
            Behaviour::Runs => {
                self.next_pid += 1;
                (Status::Online, Some(100_000 + self.next_pid))
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
        let old = self.processes.insert(id, Held::new(record));
        self.forget_name(old);
    }

    fn forget_name(&mut self, gone: Option<Held>) {
        let count = gone.and_then(|held| self.named.get_mut(&held.record.name));
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
    }

    /// The lowest instance number that no process of this name has.
    fn free_instance(&self, name: &str, variable: &str) -> u64 {
        if self.named.get(name).is_none_or(|count| *count == 0) {
            return 0;
        }
        let taken: BTreeSet<u64> = self
            .processes
            .values()
            .map(|held| &held.record)
            .filter(|record| record.name == name)
            .filter_map(|record| record.pm2_env.get(variable)?.as_u64())
            .collect();
        (0..).find(|n| !taken.contains(n)).unwrap_or(0)
    }

    fn stop(&mut self, id: u32) {
        if let Some(record) = self.processes.get_mut(&id).map(Held::change) {
            record.pid = None;
            record.status = Status::Stopped;
            record.pm2_env.insert("status".into(), json!("stopped"));
        }
    }
}

impl ProcessAdapter for MemoryAdapter {
    fn daemon_version(&mut self) -> Result<String, AdapterError> {
        self.begin(Method::Version, None, "")?
            .end("7.0.4".to_owned())
    }

    fn list(&mut self) -> Result<Vec<ProcessRecord>, AdapterError> {
        let begun = self.begin(Method::List, None, "")?;
        let processes = begun.world.processes.values();
        let list = processes.map(|held| held.record.clone()).collect();
        begun.end(list)
    }

    fn records(&mut self, ids: &[PmId]) -> Result<Vec<ProcessRecord>, AdapterError> {
        let begun = self.begin(Method::List, None, "")?;
        let known = |id: &PmId| begun.world.processes.get(&id.0);
        let records = ids.iter().filter_map(known);
        let records = records.map(|held| held.record.clone()).collect();
        begun.end(records)
    }

    fn observe(&mut self) -> Result<Vec<Arc<ObservedProcess>>, AdapterError> {
        let mut begun = self.begin(Method::List, None, "")?;
        let processes = begun.world.processes.values_mut();
        let observed = processes.map(Held::observe).collect();
        begun.end(observed)
    }

    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError> {
        let map = payload.as_map();
        let text = |key: &str| {
            map.get(key)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        let name = text("name");
        let mut begun = self.begin(Method::Prepare, None, &name)?;
        let world = &mut *begun.world;
        let variable = text("instance_var");
        let mut started = Vec::new();
        for _ in 0..payload.instances() {
            let id = world.next_id;
            world.next_id += 1;
            let mut record = map.clone();
            record.insert("restart_time".into(), json!(0));
            record.insert("unstable_restarts".into(), json!(0));
            record.insert(
                variable.clone(),
                json!(world.free_instance(&name, &variable)),
            );
            let own_logs = record.get("merge_logs") != Some(&Value::Bool(true));
            for (key, extension) in [
                ("pm_pid_path", "pid"),
                ("pm_log_path", "log"),
                ("pm_out_log_path", "log"),
                ("pm_err_log_path", "log"),
            ] {
                if (extension == "pid" || own_logs)
                    && let Some(Value::String(path)) = record.get(key)
                {
                    let numbered = with_pm_id(path, extension, id);
                    record.insert(key.into(), json!(numbered));
                }
            }
            let unique = format!("00000000-0000-4000-8000-{id:012}");
            if let Some(Value::Object(env)) = record.get_mut("env") {
                env.insert("unique_id".into(), json!(unique));
            }
            let watches = !matches!(
                record.get("watch"),
                None | Some(Value::Bool(false) | Value::Null)
            );
            if watches {
                world.watched.insert(id);
            }
            world.execute(id, record);
            let new = world.processes.get(&id);
            started.extend(new.map(|held| held.record.clone()));
        }
        begun.end(started)
    }

    fn restart(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
        self.change(Method::Restart, id, conf)
    }

    fn reload(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
        let method = Method::Reload;
        conf.check_reload()
            .map_err(|source| AdapterError::InvalidMessage { method, source })?;
        self.change(method, id, conf)
    }

    fn stop(&mut self, id: PmId) -> Result<(), AdapterError> {
        let mut begun = self.begin(Method::Stop, Some(id), "")?;
        begun.world.known(Method::Stop, id)?;
        begun.world.stop(id.0);
        begun.end(())
    }

    fn delete(&mut self, id: PmId) -> Result<(), AdapterError> {
        let mut begun = self.begin(Method::Delete, Some(id), "")?;
        begun.world.known(Method::Delete, id)?;
        let gone = begun.world.processes.remove(&id.0);
        begun.world.forget_name(gone);
        if begun.world.processes.is_empty() {
            begun.world.next_id = 0;
        }
        begun.end(())
    }

    fn stop_watch(&mut self, id: PmId) -> Result<(), AdapterError> {
        let mut begun = self.begin(Method::StopWatch, Some(id), "")?;
        begun.world.watched.remove(&id.0);
        if let Some(held) = begun.world.processes.get_mut(&id.0) {
            let record = held.change();
            record.pm2_env.insert("watch".into(), json!(false));
        }
        begun.end(())
    }

    fn inspect(&mut self, pid: u32) -> Result<Option<LiveProcess>, AdapterError> {
        let begun = self.begin(Method::Inspect, None, "")?;
        let world = &begun.world;
        let held = world
            .by_pid
            .get(&pid)
            .and_then(|id| world.processes.get(id));
        let live = held
            .map(|held| &held.record)
            .filter(|record| record.pid == Some(pid))
            .map(|record| live(record, pid));
        begun.end(live)
    }

    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError> {
        Ok(Box::new(self.clone()))
    }
}

/// The process that PM2 would have spawned from a record.
///
/// Source: PM2 7.0.4, `lib/God/ForkMode.js` and `lib/God/ClusterMode.js`.
fn live(record: &ProcessRecord, pid: u32) -> LiveProcess {
    let env = &record.pm2_env;
    let text = |key: &str| {
        env.get(key)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let words = |key: &str| -> Vec<String> {
        let list = env.get(key).and_then(Value::as_array);
        list.into_iter().flatten().map(env_text).collect()
    };
    let interpreter = text("exec_interpreter");
    let mut command_line = Vec::new();
    if interpreter != "none" {
        command_line.push(interpreter);
        command_line.extend(words("node_args"));
    }
    command_line.push(text("pm_exec_path"));
    command_line.extend(words("args"));
    let environ = if text("exec_mode") == "cluster_mode" {
        [("pm2_env".to_owned(), Value::Object(env.clone()).to_string())].into()
    } else {
        env.iter()
            .filter(|(_, value)| !value.is_object() && !value.is_array() && !value.is_null())
            .map(|(key, value)| (key.clone(), env_text(value)))
            .collect()
    };
    LiveProcess {
        pid,
        parent: 1,
        exe: command_line.first().map(Into::into),
        command_line,
        cwd: Some(text("pm_cwd").into()),
        environ: Some(environ),
        uid: 0,
        start_time_ticks: u64::from(pid),
    }
}
