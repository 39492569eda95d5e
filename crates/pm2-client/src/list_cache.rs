//! A cache of PM2's list: the record of a process is parsed again only when it has changed.
//!
//! Values that no comparison needs are skipped, not parsed. `serde_json` was the fastest parser tested for that: it skips a list of
//! 4 MB (1,000 processes) in 1.5 ms, while `simd-json` needs 5.5 ms to index its values.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use daemon_model::{ObservedProcess, PmId, Processes, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::observe::{Interner, RecordReader};

/// The processes of the last list, by the hash of their entries.
#[derive(Debug, Default)]
pub(crate) struct ListCache {
    /// Whether the list is read only once or twice, so that nothing is cached.
    once: bool,
    /// Two hashers with their own keys: with 128 bits, two different texts do not collide by accident.
    hashers: [RandomState; 2],
    known: HashMap<[u64; 2], Arc<ObservedProcess>>,
    listed: Processes,
    /// The resource use of the processes in the last list.
    usage: Vec<(PmId, Usage)>,
    texts: Interner,
}

/// The parts of a list entry that are read. Memory and CPU change with every list, so they are not part of the process.
#[derive(Deserialize)]
pub(crate) struct Entry<'a> {
    #[serde(borrow)]
    pm2_env: &'a RawValue,
    #[serde(borrow)]
    pid: Option<&'a RawValue>,
    monit: Option<Monit>,
}

#[derive(Clone, Copy, Deserialize)]
struct Monit {
    #[serde(default)]
    memory: Number,
    #[serde(default)]
    cpu: Number,
}

/// A number, or the value that PM2 gives if it could not measure.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(from = "serde_json::Value")]
struct Number(f64);

impl From<serde_json::Value> for Number {
    fn from(value: serde_json::Value) -> Self {
        Self(value.as_f64().unwrap_or(0.0))
    }
}

impl From<Monit> for Usage {
    fn from(monit: Monit) -> Self {
        Self {
            cpu_percent: monit.cpu.0,
            // No process has more bytes than a float represents exactly.
            memory_bytes: monit.memory.0 as u64,
        }
    }
}

impl Entry<'_> {
    /// The process; none for a leftover of a reload.
    fn read(&self, texts: &mut Interner) -> serde_json::Result<Option<ObservedProcess>> {
        let reading: RecordReader = serde_json::from_str(self.pm2_env.get())?;
        // For a process that does not run, PM2 gives 0 or a value that is not a number.
        let pid = self.pid.and_then(|pid| pid.get().parse().ok());
        Ok(reading
            .pm_id
            .map(|pm_id| reading.process(pm_id, pid.filter(|pid| *pid != 0), texts)))
    }
}

impl ListCache {
    /// A cache that keeps nothing, for a list that is read only once or twice.
    pub(crate) fn once() -> Self {
        Self {
            once: true,
            ..Self::default()
        }
    }

    fn note_usage(&mut self, pm_id: PmId, entry: &Entry<'_>) {
        self.usage
            .extend(entry.monit.map(|monit| (pm_id, monit.into())));
    }

    /// The resource use of the processes in the last list.
    pub(crate) fn usage(&self) -> &[(PmId, Usage)] {
        &self.usage
    }

    /// Reads the entries of a PM2 list.
    pub(crate) fn read(&mut self, entries: Vec<Entry<'_>>) -> serde_json::Result<Processes> {
        self.usage.clear();
        if self.once {
            let mut texts = Interner::default();
            let mut processes = Vec::with_capacity(entries.len());
            for entry in &entries {
                if let Some(process) = entry.read(&mut texts)? {
                    self.note_usage(process.pm_id, entry);
                    processes.push(Arc::new(process));
                }
            }
            processes.sort_by_key(|process| process.pm_id);
            return Ok(processes.into());
        }
        let mut known = HashMap::with_capacity(entries.len());
        let mut processes = Vec::with_capacity(entries.len());
        let mut news = false;
        for entry in entries {
            let text = (entry.pm2_env.get(), entry.pid.map(RawValue::get));
            let key = [0, 1].map(|n: usize| self.hashers[n].hash_one(text));
            let process = match self.known.remove(&key) {
                Some(process) => process,
                None => match entry.read(&mut self.texts)? {
                    Some(process) => {
                        news = true;
                        Arc::new(process)
                    }
                    None => continue,
                },
            };
            self.note_usage(process.pm_id, &entry);
            processes.push(Arc::clone(&process));
            known.insert(key, process);
        }
        let gone = !std::mem::replace(&mut self.known, known).is_empty();
        if gone || news {
            self.texts.sweep();
            processes.sort_by_key(|process| process.pm_id);
            self.listed = processes.into();
        }
        Ok(Arc::clone(&self.listed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(cache: &mut ListCache, list: &str) -> serde_json::Result<Processes> {
        cache.read(serde_json::from_str(list)?)
    }

    fn entry(pm_id: u32, pid: u32, status: &str, memory: u32) -> Value {
        json!({
            "pid": pid,
            "monit": { "memory": memory, "cpu": 0 },
            "pm2_env": { "pm_id": pm_id, "name": "a", "status": status, "env": { "A": "1" } },
        })
    }

    #[test]
    fn only_changed_files_are_read_again() {
        let mut cache = ListCache::default();
        let leftover = json!({ "pid": 3, "pm2_env": { "pm_id": "_old_1" } });
        let list = json!([
            entry(1, 20, "online", 5),
            entry(0, 10, "online", 5),
            leftover
        ]);
        let first = read(&mut cache, &list.to_string()).unwrap();
        let ids = |list: &[Arc<ObservedProcess>]| -> Vec<u32> {
            list.iter().map(|process| process.pm_id.0).collect()
        };
        assert_eq!(ids(&first), [0, 1]);
        let list = json!([entry(0, 10, "online", 9), entry(1, 21, "online", 5)]);
        let second = read(&mut cache, &list.to_string()).unwrap();
        assert!(
            Arc::ptr_eq(&first[0], &second[0]),
            "only its memory is another"
        );
        let used = cache.usage().iter().map(|(_, usage)| usage.memory_bytes);
        assert_eq!(used.collect::<Vec<_>>(), [9, 5]);
        assert_eq!((first[1].pid, second[1].pid), (Some(20), Some(21)));
        let list = json!([entry(0, 10, "stopped", 9)]);
        let third = read(&mut cache, &list.to_string()).unwrap();
        assert_eq!(ids(&third), [0]);
        assert_ne!(third[0].status, second[0].status);
        assert!(read(&mut cache, "{}").is_err());
    }

    #[test]
    fn a_list_read_once_gives_the_same_processes() {
        let list = json!([entry(1, 20, "online", 5), entry(0, 10, "stopped", 5)]).to_string();
        let once = read(&mut ListCache::once(), &list).unwrap();
        assert_eq!(once, read(&mut ListCache::default(), &list).unwrap());
        assert_eq!(once.len(), 2);
        assert!(read(&mut ListCache::once(), "[{}]").is_err());
    }
}
