//! Histories and overrides in the state directory: `history/<id>.jsonl` with one entry per line, and `overrides.json`.
//!
//! Every snapshot needs them, so unchanged files are cached. Files are replaced, never written in place, so a change creates a new
//! file and updates the time of its directory.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use camino::Utf8Path;
use daemon_model::{DaemonId, Entry, History, Overrides, Records};
use files::Durability;

use crate::config::Config;
use crate::lock::Lock;
use crate::state::{StateDir, StateWarning, read_as};

/// The directory of histories.
const HISTORY: &str = "history";

/// The name of the file of overrides.
const OVERRIDES: &str = "overrides.json";

/// A file or directory that changed more recently than this may change again without a new time: the clock of a file system ticks a
/// few hundred times a second.
const CLOCK_TICK: Duration = Duration::from_millis(50);

/// What is recorded about the daemons of a workspace. An unreadable file counts as empty, with a warning.
#[must_use]
pub fn records(config: &Config) -> (Records, Vec<StateWarning>) {
    RecordStore::new(config.state()).read()
}

/// Reads and writes records.
#[derive(Debug)]
pub(crate) struct RecordStore {
    state: StateDir,
    records: Records,
    /// The stamp of the directory of histories when it was last read or written. It is known only if it is unique: it was old when
    /// the directory was read, or has the time that this program set.
    histories: Stamp,
    /// The stamp of each history when it was last read or written.
    files: BTreeMap<DaemonId, Stamp>,
    overrides: Stamp,
    /// Whether temporary files of killed writers were removed. There may be thousands of histories, so this is done only once.
    is_swept: bool,
}

/// Distinguishes a file from its replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    /// Not read yet, or changed too recently.
    Unknown,
    /// There is no such file.
    Absent,
    Present {
        device: u64,
        inode: u64,
        modified: SystemTime,
    },
}

impl Stamp {
    /// The stamp of the file at this path; [`Stamp::Unknown`] if it may change again without a new stamp.
    fn of(path: &Utf8Path) -> Self {
        let is_settled = |modified: &SystemTime| {
            let age = SystemTime::now().duration_since(*modified);
            age.is_ok_and(|age| age >= CLOCK_TICK)
        };
        match Self::now(path) {
            Self::Present { modified, .. } if !is_settled(&modified) => Self::Unknown,
            stamp => stamp,
        }
    }

    fn now(path: &Utf8Path) -> Self {
        let metadata = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::Absent,
            Err(_) => return Self::Unknown,
        };
        match metadata.modified() {
            Ok(modified) => Self::Present {
                device: metadata.dev(),
                inode: metadata.ino(),
                modified,
            },
            Err(_) => Self::Unknown,
        }
    }

    /// Whether the content that was read under this stamp is current.
    fn is_still(self, now: Self) -> bool {
        self == now && self != Self::Unknown
    }
}

impl RecordStore {
    pub(crate) fn new(state: StateDir) -> Self {
        Self {
            state,
            records: Records::default(),
            histories: Stamp::Unknown,
            files: BTreeMap::new(),
            overrides: Stamp::Unknown,
            is_swept: false,
        }
    }

    /// Reads what has changed. An unreadable file counts as empty.
    pub(crate) fn read(&mut self) -> (Records, Vec<StateWarning>) {
        let mut warnings = Vec::new();
        let dir = self.state.path().join(HISTORY);
        if !self.histories.is_still(Stamp::now(&dir)) {
            self.histories = Stamp::of(&dir);
            self.read_histories(&dir, &mut warnings);
        }
        let stamp = Stamp::of(&self.state.path().join(OVERRIDES));
        if !self.overrides.is_still(stamp) {
            self.overrides = stamp;
            let (overrides, warning) = self.state.read::<Overrides>(OVERRIDES);
            warnings.extend(warning);
            if overrides != *self.records.overrides {
                self.records.overrides = Arc::new(overrides);
            }
        }
        (self.records.clone(), warnings)
    }

    fn read_histories(&mut self, dir: &Utf8Path, warnings: &mut Vec<StateWarning>) {
        let listed = match std::fs::read_dir(dir) {
            Ok(entries) => entries.flatten(),
            Err(error) if error.kind() == ErrorKind::NotFound => return self.forget_histories(),
            // Keep what was read or written before: nothing else is known.
            Err(_) => return,
        };
        let listed: BTreeMap<DaemonId, String> = listed
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((daemon_of(&name)?, name))
            })
            .collect();
        let is_gone = |id: &&DaemonId| !listed.contains_key(*id);
        let gone: Vec<DaemonId> = self
            .records
            .histories
            .keys()
            .filter(is_gone)
            .cloned()
            .collect();
        for id in gone {
            self.records.histories.remove(&id);
            self.files.remove(&id);
        }
        for (id, name) in listed {
            let path = dir.join(name);
            let stamp = Stamp::of(&path);
            if self
                .files
                .get(&id)
                .is_some_and(|known| known.is_still(stamp))
            {
                continue;
            }
            let (history, warning) = read_as(path, parse);
            warnings.extend(warning);
            self.files.insert(id.clone(), stamp);
            let is_known = |known: &Arc<History>| **known == history;
            if !self.records.histories.get(&id).is_some_and(is_known) {
                self.records.set_history(&id, Arc::new(history));
            }
        }
    }

    fn forget_histories(&mut self) {
        self.records.histories.clear();
        self.files.clear();
    }

    /// Replaces the history of a daemon. It is remembered even if it cannot be written.
    ///
    /// # Errors
    /// [`StateWarning::Write`] when the file cannot be written.
    pub(crate) fn write_history(
        &mut self,
        daemon: &DaemonId,
        history: &Arc<History>,
        lock: &Lock,
    ) -> Result<(), StateWarning> {
        self.records.set_history(daemon, Arc::clone(history));
        let Some(name) = file_name(daemon) else {
            return Ok(());
        };
        if !std::mem::replace(&mut self.is_swept, true) {
            self.state.sweep(HISTORY, lock);
        }
        let name = format!("{HISTORY}/{name}");
        let dir = self.state.path().join(HISTORY);
        let is_known = self.histories.is_still(Stamp::now(&dir));
        // A killed process loses nothing by it, and there may be a thousand such writes in one pass.
        let written = self
            .state
            .write_as(&name, || format(history), Durability::Cached, lock);
        self.files
            .insert(daemon.clone(), Stamp::of(&self.state.path().join(&name)));
        // With a time that no other writer sets, the directory need not be read again until someone else writes.
        self.histories = match files::touch(dir.as_std_path()) {
            Ok(()) if is_known => Stamp::now(&dir),
            _ => Stamp::Unknown,
        };
        written
    }

    /// Replaces the overrides. They are remembered even if they cannot be written.
    ///
    /// # Errors
    /// [`StateWarning::Write`] when the file cannot be written.
    pub(crate) fn write_overrides(
        &mut self,
        overrides: Overrides,
        lock: &Lock,
    ) -> Result<(), StateWarning> {
        let written = self.state.write(OVERRIDES, &overrides, lock);
        self.records.overrides = Arc::new(overrides);
        self.overrides = Stamp::of(&self.state.path().join(OVERRIDES));
        written
    }
}

fn parse(bytes: &[u8]) -> serde_json::Result<History> {
    let entries: serde_json::Result<Vec<Entry>> = match std::str::from_utf8(bytes) {
        // UTF-8 is checked once for the whole text, so serde need not check each string.
        Ok(text) => {
            let lines = text.split('\n').filter(|line| !line.is_empty());
            lines.map(serde_json::from_str).collect()
        }
        Err(_) => {
            let lines = bytes.split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.is_empty());
            lines.map(serde_json::from_slice).collect()
        }
    };
    entries.map(History::new)
}

fn format(history: &History) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in history.entries() {
        serde_json::to_writer(&mut bytes, entry)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// The file name of a daemon's history. None for an ID that is too long for a file name: its history is not kept on disk.
fn file_name(daemon: &DaemonId) -> Option<String> {
    const MAX_NAME: usize = 255;
    let escaped = daemon.as_str().replace('%', "%25").replace('/', "%2F");
    let name = format!("{escaped}.jsonl");
    (name.len() <= MAX_NAME).then_some(name)
}

/// The daemon whose history has this file name.
fn daemon_of(name: &str) -> Option<DaemonId> {
    let mut parts = name.strip_suffix(".jsonl")?.split('%');
    let mut id = parts.next()?.to_owned();
    for part in parts {
        let escaped = part.strip_prefix("2F").map(|rest| ["/", rest]);
        let escaped = escaped.or_else(|| Some(["%", part.strip_prefix("25")?]));
        id.extend(escaped.unwrap_or(["%", part]));
    }
    DaemonId::new(id).ok()
}

#[cfg(test)]
mod tests {
    use daemon_model::{EntryOutcome, Override};
    use pm2_client::StopFlag;

    use super::*;

    fn id(name: &str) -> DaemonId {
        DaemonId::new(name).unwrap()
    }

    fn history(commands: &[&str]) -> Arc<History> {
        let mut history = History::default();
        for command in commands {
            let number = history
                .begin(Entry::pending(command, 5, Vec::new(), BTreeMap::new()))
                .number;
            history.decide(number, EntryOutcome::Ready { at_ms: 6 });
        }
        Arc::new(history)
    }

    fn with_stores(test: impl FnOnce(&mut RecordStore, &mut RecordStore, &Utf8Path, &Lock)) {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let stop = StopFlag::default();
        let lock = Lock::take(home, "test", Duration::ZERO, &stop, &mut |_| {}).unwrap();
        let state = StateDir::new(home, "/w".into());
        let path = state.path().to_owned();
        let (mut one, mut other) = (RecordStore::new(state.clone()), RecordStore::new(state));
        test(&mut one, &mut other, &path, &lock);
    }

    #[test]
    fn a_write_is_visible_to_other_stores_at_once() {
        with_stores(|one, other, _, lock| {
            for round in 1..20_usize {
                let commands: Vec<&str> = std::iter::repeat_n("sync", round).collect();
                let written = history(&commands);
                for name in ["a", "b/c", "50%/d"] {
                    one.write_history(&id(name), &written, lock).unwrap();
                }
                let (records, warnings) = other.read();
                assert!(warnings.is_empty());
                assert_eq!(records.histories.len(), 3);
                for name in ["a", "b/c", "50%/d"] {
                    assert_eq!(*records.history(&id(name)), written);
                }
            }
        });
    }

    #[test]
    fn a_writer_sees_earlier_writes_of_another() {
        with_stores(|one, other, path, lock| {
            let written = history(&["sync"]);
            for round in 0..20 {
                let [first, second] = ["a", "b"].map(|name| id(&format!("{name}{round}")));
                one.write_history(&first, &written, lock).unwrap();
                other.write_history(&second, &written, lock).unwrap();
                for store in [&mut *one, &mut *other] {
                    let (records, _) = store.read();
                    assert_eq!(*records.history(&first), written);
                    assert_eq!(*records.history(&second), written);
                }
            }
            let listed = Stamp::now(&path.join(HISTORY));
            assert!(!one.histories.is_still(listed), "it changed a moment ago");
        });
    }

    #[test]
    fn a_writer_caches_what_it_wrote() {
        with_stores(|one, other, path, lock| {
            one.write_history(&id("a"), &history(&["x"]), lock).unwrap();
            let dir = path.join(HISTORY);
            let long_ago = SystemTime::now() - Duration::from_secs(9);
            std::fs::File::open(&dir)
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
            one.read();
            one.write_history(&id("b"), &history(&["x"]), lock).unwrap();
            assert!(one.histories.is_still(Stamp::now(&dir)), "nothing to read");
            one.read();
            assert!(one.histories.is_still(Stamp::now(&dir)), "nothing was read");
            other
                .write_history(&id("b"), &history(&["y"]), lock)
                .unwrap();
            assert!(!one.histories.is_still(Stamp::now(&dir)));
            assert_eq!(*one.read().0.history(&id("b")), history(&["y"]));
        });
    }

    #[test]
    fn overrides_are_read_again_when_they_change() {
        with_stores(|one, other, _, lock| {
            for round in 0..10 {
                let mut overrides = Overrides::default();
                overrides.change(&id("a"), |it| {
                    it.stop = Some(Override {
                        at_ms: round,
                        ..Override::default()
                    });
                });
                one.write_overrides(overrides.clone(), lock).unwrap();
                assert_eq!(*other.read().0.overrides, overrides);
            }
        });
    }

    #[test]
    fn a_damaged_history_is_set_aside_and_the_others_are_kept() {
        with_stores(|one, other, path, lock| {
            one.write_history(&id("a"), &history(&["x"]), lock).unwrap();
            one.write_history(&id("b"), &history(&["x"]), lock).unwrap();
            std::fs::write(path.join("history/a.jsonl"), "{\"number\":1").unwrap();
            let (records, warnings) = other.read();
            assert_eq!(*records.history(&id("a")), Arc::default());
            assert_eq!(*records.history(&id("b")), history(&["x"]));
            let [warning @ StateWarning::Damaged { .. }] = &warnings[..] else {
                panic!("{warnings:?}");
            };
            StateDir::set_aside(warning, lock);
            assert!(path.join("history/a.jsonl.damaged").exists());
            assert!(other.read().1.is_empty());
        });
    }

    #[test]
    fn records_that_cannot_be_written_are_remembered() {
        with_stores(|one, other, path, lock| {
            std::fs::create_dir_all(path).unwrap();
            std::fs::write(path.join("history"), "in the way").unwrap();
            assert!(one.write_history(&id("a"), &history(&["x"]), lock).is_err());
            assert_eq!(*one.read().0.history(&id("a")), history(&["x"]));
            assert_eq!(*other.read().0.history(&id("a")), Arc::default());
        });
    }
}
