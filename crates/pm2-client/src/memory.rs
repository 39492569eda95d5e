//! An in-memory PM2, for tests of programs that embed this crate, and for faults that are rare with a real PM2.
//!
//! It keeps PM2's flat records and follows PM2's merge rules; the contract tests run the same scenarios on both.
//!
//! Source of the rules: PM2 7.0.4, `lib/God.js`, `lib/God/ActionMethods.js`, `lib/Utility.js`.

mod host;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon_model::{PmId, Processes, Status, paths::with_pm_id};
use serde_json::{Value, json};

use crate::adapter::{AdapterError, Method, ProcessAdapter};
use crate::message::{CurrentConf, Prepare, ReloadConf};
use crate::recent::Asked;
use crate::record::{Listed, LiveProcess, ProcessRecord};

use world::{World, merge};

pub use host::MemoryHost;

/// A fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// PM2 refuses the call and does nothing.
    Refuse,
    /// The call is never answered and nothing is done: it blocks until its [deadline](MemoryAdapter::set_deadline).
    Timeout,
    /// The call is executed, but the answer is lost.
    LoseAnswer,
    /// The daemon ends, together with all processes.
    Die,
}

/// How the processes of a script behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// Runs until it is stopped.
    Runs,
    /// Cannot be spawned: PM2 calls it online, but it has no pid.
    NoPid,
    /// Ends at once each time, until PM2 gives it up.
    Crashes,
}

/// A call that changes something, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The kind of call.
    pub method: Method,
    /// The process, or none for a start.
    pub pm_id: Option<PmId>,
    /// The app's name at that moment.
    pub name: String,
}

/// A connection to an in-memory PM2. Clones and [`another`](ProcessAdapter::another) share the same PM2.
#[derive(Debug, Clone, Default)]
pub struct MemoryAdapter {
    world: Arc<Mutex<World>>,
    keeps_lists: bool,
    /// When the last list was read, if lists are kept.
    kept: Option<Asked>,
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

    /// How often PM2 has been asked for its list.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.world().lists
    }

    /// Injects a fault into the call of this method that follows `skip` others.
    pub fn inject(&self, method: Method, skip: usize, fault: Fault) {
        self.world().faults.push((method, skip, fault));
    }

    /// From now on, injects a fault into every call that starts, changes or stops processes of this name. Other apps are not
    /// affected.
    pub fn inject_for(&self, name: &str, fault: Fault) {
        self.world().injected_for.insert(name.to_owned(), fault);
    }

    /// How long a call without an answer blocks; calls of other connections proceed meanwhile. Zero by default, so that such a call
    /// fails at once.
    pub fn set_deadline(&self, deadline: Duration) {
        self.world().deadline = deadline;
    }

    /// Removes pending faults, and those injected by name.
    pub fn forget_faults(&self) {
        let world = &mut *self.world();
        world.faults.clear();
        world.injected_for.clear();
    }

    /// Sets how processes of the script at this path behave from now on.
    pub fn behave(&self, script: &str, behaviour: Behaviour) {
        self.world().behaviours.insert(script.to_owned(), behaviour);
    }

    /// Changes a record from outside, as a user at a terminal would.
    pub fn edit_record(&self, id: PmId, change: impl FnOnce(&mut ProcessRecord)) {
        let world = &mut *self.world();
        world.changes.note();
        if let Some(slot) = world.processes.get_mut(&id.0) {
            change(slot.change());
            // It may have another name and pid now. A count that is too high does no harm.
            *world.named.entry(slot.record.name.clone()).or_default() += 1;
            world.by_pid.extend(slot.record.pid.map(|pid| (pid, id.0)));
        }
    }

    /// The process with this pid, as the operating system would report it.
    fn inspect(&self, pid: u32) -> Option<LiveProcess> {
        let world = self.world();
        let id = world.by_pid.get(&pid)?;
        let record = &world.processes.get(id)?.record;
        (record.pid == Some(pid)).then(|| host::live(record, pid))
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
            .map_or(name, |slot| slot.record.name.as_str())
            .to_owned();
        let injected_for = world.injected_for.get(&name).copied();
        let fault = world.take_fault(method).or(injected_for);
        match fault {
            Some(Fault::Refuse) => {
                return Err(AdapterError::Refused {
                    method,
                    message: "injected".into(),
                });
            }
            Some(Fault::Timeout) => return Err(time_out(method, world)),
            Some(Fault::Die) => {
                world.changes.note();
                *world = World {
                    dead: true,
                    calls: std::mem::take(&mut world.calls),
                    lists: world.lists,
                    changes: world.changes.clone(),
                    ..World::default()
                };
                return Err(AdapterError::Closed { method });
            }
            _ => {}
        }
        match method {
            Method::List => world.lists += 1,
            Method::Version => {}
            _ => {
                world.changes.note();
                world.calls.push(Call {
                    method,
                    pm_id,
                    name,
                });
            }
        }
        Ok(Begun {
            world,
            lose: (fault == Some(Fault::LoseAnswer)).then_some(method),
        })
    }

    fn change(
        &self,
        method: Method,
        id: PmId,
        conf: &CurrentConf,
    ) -> Result<Option<ProcessRecord>, AdapterError> {
        let mut begun = self.begin(method, Some(id), "")?;
        let world = &mut *begun.world;
        let record = world.known(method, id)?;
        let is_running = matches!(record.status, Status::Online | Status::Launching);
        if method == Method::Restart && record.pid.is_some() && !is_running {
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
        let new = world.processes.get(&id.0);
        let new = new.map(|slot| slot.record.clone());
        begun.end(new)
    }

    fn keep(&mut self) {
        let asked = self.keeps_lists.then(|| Asked::now(&self.world().changes));
        self.kept = asked;
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

/// Waits for the deadline, and lets other connections proceed meanwhile.
fn time_out(method: Method, world: MutexGuard<'_, World>) -> AdapterError {
    let after = world.deadline;
    drop(world);
    std::thread::sleep(after);
    AdapterError::Timeout { method, after }
}

impl ProcessAdapter for MemoryAdapter {
    fn daemon_version(&mut self) -> Result<String, AdapterError> {
        self.begin(Method::Version, None, "")?
            .end("7.0.4".to_owned())
    }

    fn visit(
        &mut self,
        only: Option<&[PmId]>,
        visit: &mut dyn FnMut(Listed<'_>),
    ) -> Result<(), AdapterError> {
        let begun = self.begin(Method::List, None, "")?;
        if begun.lose.is_none() {
            begun.world.visit(only, visit);
        }
        begun.end(())?;
        self.keep();
        Ok(())
    }

    fn keep_lists(&mut self, keep: bool) {
        self.keeps_lists = keep;
        self.kept = None;
    }

    fn visit_recent(&mut self, only: Option<&[PmId]>, visit: &mut dyn FnMut(Listed<'_>)) -> bool {
        let world = self.world();
        let is_recent = self
            .kept
            .is_some_and(|asked| asked.is_recent(&world.changes));
        if !is_recent || world.dead {
            return false;
        }
        world.visit(only, visit);
        true
    }

    fn observe(&mut self) -> Result<Processes, AdapterError> {
        let mut begun = self.begin(Method::List, None, "")?;
        let observed = begun.world.list();
        let observed = begun.end(observed)?;
        self.keep();
        Ok(observed)
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
                    let numbered = with_pm_id(path, extension, PmId(id));
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
            started.extend(new.map(|slot| slot.record.clone()));
        }
        begun.end(started)
    }

    fn restart(
        &mut self,
        id: PmId,
        conf: &CurrentConf,
    ) -> Result<Option<ProcessRecord>, AdapterError> {
        self.change(Method::Restart, id, conf)
    }

    fn reload(&mut self, id: PmId, conf: &ReloadConf) -> Result<(), AdapterError> {
        self.change(Method::Reload, id, conf.conf()).map(drop)
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
        if let Some(slot) = begun.world.processes.get_mut(&id.0) {
            let record = slot.change();
            record.pm2_env.insert("watch".into(), json!(false));
        }
        begun.end(())
    }

    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError> {
        Ok(Box::new(self.clone()))
    }
}
