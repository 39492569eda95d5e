//! PM2's list, asked for once or again and again: what it says unchanged of a process is not read again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use daemon_model::ObservedProcess;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::observe::{Reading, Texts};

/// What PM2 said of each process at the last look, and what that meant.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Whether there will be hardly a second look, so that nothing is kept for it.
    once: bool,
    /// Two hashers with keys of their own: of 128 bits, two texts never agree by accident.
    hashers: [RandomState; 2],
    known: HashMap<[u64; 2], Arc<ObservedProcess>>,
    texts: Texts,
}

/// The parts of an entry of the list that a process is read from. The rest, memory and CPU, is never the same twice.
#[derive(Deserialize)]
pub(crate) struct Entry<'a> {
    #[serde(borrow)]
    pm2_env: &'a RawValue,
    #[serde(borrow)]
    pid: Option<&'a RawValue>,
}

impl Entry<'_> {
    /// The process; none for what a reload leaves behind.
    fn read(&self, texts: &mut Texts) -> serde_json::Result<Option<ObservedProcess>> {
        let reading: Reading = serde_json::from_str(self.pm2_env.get())?;
        // PM2 gives 0, or something else than a number, for one that does not run.
        let pid = self.pid.and_then(|pid| pid.get().parse().ok());
        Ok(reading
            .pm_id
            .map(|pm_id| reading.process(pm_id, pid.filter(|pid| *pid != 0), texts)))
    }
}

impl Seen {
    /// For one look, or few.
    pub(crate) fn once() -> Self {
        Self {
            once: true,
            ..Self::default()
        }
    }

    /// Reads the entries of a list of PM2.
    pub(crate) fn read(
        &mut self,
        entries: Vec<Entry<'_>>,
    ) -> serde_json::Result<Vec<Arc<ObservedProcess>>> {
        if self.once {
            let mut texts = Texts::default();
            let read = entries.iter().map(|entry| entry.read(&mut texts));
            let found = read.filter_map(Result::transpose);
            let mut processes = found
                .map(|process| process.map(Arc::new))
                .collect::<serde_json::Result<Vec<_>>>()?;
            processes.sort_by_key(|process| process.pm_id);
            return Ok(processes);
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
            processes.push(Arc::clone(&process));
            known.insert(key, process);
        }
        let gone = !std::mem::replace(&mut self.known, known).is_empty();
        if gone || news {
            self.texts.sweep();
        }
        processes.sort_by_key(|process| process.pm_id);
        Ok(processes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(seen: &mut Seen, list: &str) -> serde_json::Result<Vec<Arc<ObservedProcess>>> {
        seen.read(serde_json::from_str(list)?)
    }

    fn entry(pm_id: u32, pid: u32, status: &str, memory: u32) -> Value {
        json!({
            "pid": pid,
            "monit": { "memory": memory, "cpu": 0 },
            "pm2_env": { "pm_id": pm_id, "name": "a", "status": status, "env": { "A": "1" } },
        })
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let mut seen = Seen::default();
        let leftover = json!({ "pid": 3, "pm2_env": { "pm_id": "_old_1" } });
        let list = json!([
            entry(1, 20, "online", 5),
            entry(0, 10, "online", 5),
            leftover
        ]);
        let first = read(&mut seen, &list.to_string()).unwrap();
        let ids = |list: &[Arc<ObservedProcess>]| -> Vec<u32> {
            list.iter().map(|process| process.pm_id).collect()
        };
        assert_eq!(ids(&first), [0, 1]);
        let list = json!([entry(0, 10, "online", 9), entry(1, 21, "online", 5)]);
        let second = read(&mut seen, &list.to_string()).unwrap();
        assert!(
            Arc::ptr_eq(&first[0], &second[0]),
            "only its memory is another"
        );
        assert_eq!((first[1].pid, second[1].pid), (Some(20), Some(21)));
        let list = json!([entry(0, 10, "stopped", 9)]);
        let third = read(&mut seen, &list.to_string()).unwrap();
        assert_eq!(ids(&third), [0]);
        assert_ne!(third[0].status, second[0].status);
        assert!(read(&mut seen, "{}").is_err());
    }

    #[test]
    fn one_look_finds_what_many_do() {
        let list = json!([entry(1, 20, "online", 5), entry(0, 10, "stopped", 5)]).to_string();
        let once = read(&mut Seen::once(), &list).unwrap();
        assert_eq!(once, read(&mut Seen::default(), &list).unwrap());
        assert_eq!(once.len(), 2);
        assert!(read(&mut Seen::once(), "[{}]").is_err());
    }
}
