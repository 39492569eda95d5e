//! PM2's dump, which `pm2 resurrect` reads after a boot.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{Label, ObservedProcess, PmId, Status};
use files::{Durability, Links};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::record::ProcessRecord;

/// The largest dump that is read, in bytes.
const LIMIT: u64 = 256 << 20;

/// The result of saving the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Rewritten.
    Written,
    /// It had the same content already.
    Unchanged,
}

/// Why the dump was not written. The existing dump is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The existing dump cannot be read.
    #[error("cannot read PM2's dump `{path}`, so it was left as it is")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The existing dump is not a list of processes.
    #[error(
        "PM2's dump `{path}` is damaged, so it was left as it is: remove it, or write it anew with `pm2 save --force`"
    )]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
    },
    /// The new dump cannot be written.
    #[error("cannot write PM2's dump `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// The part of PM2's dump for the processes of one workspace. It may be empty.
#[derive(Debug)]
pub struct Dump {
    workspace: Utf8PathBuf,
    entries: Entries,
}

/// JSON values, separated by commas.
#[derive(Debug, Default)]
struct Entries(Vec<u8>);

impl Entries {
    fn separate(&mut self) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
    }

    fn push(&mut self, entries: &[u8]) {
        self.separate();
        self.0.extend_from_slice(entries);
    }

    fn push_value(&mut self, entry: &impl Serialize) {
        self.separate();
        let written = serde_json::to_writer(&mut self.0, entry);
        debug_assert!(written.is_ok(), "neither a key nor a value can fail");
    }
}

impl Dump {
    /// An empty dump for the processes that this workspace manages.
    #[must_use]
    pub fn of(workspace: &Utf8Path) -> Self {
        Self {
            workspace: workspace.to_owned(),
            entries: Entries::default(),
        }
    }

    /// Adds the record of a process, if the workspace manages it. Like PM2, skips modules.
    pub fn add(&mut self, record: &ProcessRecord, process: &ObservedProcess) {
        let label = process.label.as_ref();
        // Text is much quicker to compare than paths.
        let is_ours = label.is_some_and(|it| it.workspace.as_str() == self.workspace.as_str());
        if is_ours && !process.is_module {
            self.entries.push_value(&Entry(&record.pm2_env));
        }
    }

    /// Writes PM2's dump: the processes of this workspace, and the existing entries of others. Unlabelled entries with one of
    /// `names` are replaced, too: an old dump lists adopted processes that way. As PM2 does, keeps the old dump as `dump.pm2.bak`.
    ///
    /// # Errors
    /// [`DumpError::Read`] and [`DumpError::Damaged`] when the existing dump cannot be used, [`DumpError::Write`] when the new one
    /// cannot be written.
    pub fn save(self, pm2_home: &Utf8Path, names: &BTreeSet<&str>) -> Result<Saved, DumpError> {
        let path = pm2_home.join("dump.pm2");
        let old = match files::read_if_exists(path.as_std_path(), Links::Follow, LIMIT) {
            Ok(old) => old,
            Err(source) => return Err(DumpError::Read { path, source }),
        };
        let mut entries = Entries::default();
        // PM2 itself leaves an empty file behind if it is killed while writing.
        if let Some(bytes) = old.as_ref().filter(|bytes| !bytes.is_empty()) {
            self.copy_others(bytes, names, &mut entries)
                .map_err(|_| DumpError::Damaged { path: path.clone() })?;
        }
        if !self.entries.0.is_empty() {
            entries.push(&self.entries.0);
        }
        drop(self);
        let mut text = entries.0;
        text.insert(0, b'[');
        text.push(b']');
        if old.as_deref() == Some(&text[..]) && is_private(&path) {
            return Ok(Saved::Unchanged);
        }
        if let Some(old) = old {
            back_up(&path, &old)?;
        }
        replace(&path, &text)?;
        Ok(Saved::Written)
    }

    fn copy_others(
        &self,
        old: &[u8],
        names: &BTreeSet<&str>,
        entries: &mut Entries,
    ) -> serde_json::Result<()> {
        for entry in serde_json::from_slice::<Vec<&RawValue>>(old)? {
            let owner: Owner<'_> = serde_json::from_str(entry.get())?;
            let is_replaced = match owner.label() {
                Some(label) => label.workspace == self.workspace,
                None => owner.name().is_some_and(|name| names.contains(&*name)),
            };
            if !is_replaced {
                entries.push(entry.get().as_bytes());
            }
        }
        Ok(())
    }
}

/// What tells whose an entry of a dump is. The rest of the entry is skipped.
#[derive(Deserialize)]
struct Owner<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "pm2_sync")]
    label: Option<&'a RawValue>,
}

impl Owner<'_> {
    fn name(&self) -> Option<String> {
        serde_json::from_str(self.name?.get()).ok()
    }

    /// The label, if it is complete.
    fn label(&self) -> Option<Label> {
        serde_json::from_str(self.label?.get()).ok()
    }
}

/// The processes of a dump, with the numbers they had when it was written, if it records them; none if it is not a list of
/// processes.
///
/// Source: PM2 7.0.4, `lib/God.js` (`executeApp`): the number is in the name of the pid file.
#[must_use]
pub fn records_of_dump(bytes: &[u8]) -> Option<Vec<ProcessRecord>> {
    let entries: Vec<Map<String, Value>> = serde_json::from_slice(bytes).ok()?;
    let mut records = Vec::with_capacity(entries.len());
    for (n, pm2_env) in entries.into_iter().enumerate() {
        let text = |key: &str| pm2_env.get(key).and_then(Value::as_str);
        let file = text("pm_pid_path").and_then(|path| path.strip_suffix(".pid"));
        let number = file.and_then(|stem| stem.rsplit('-').next()?.parse().ok());
        records.push(ProcessRecord {
            pm_id: PmId(number.or_else(|| u32::try_from(n).ok())?),
            name: text("name")?.to_owned(),
            pid: None,
            status: Status::from_word(text("status").unwrap_or("")),
            memory_bytes: 0,
            cpu_percent: 0.0,
            pm2_env,
        });
    }
    Some(records)
}

/// A record without the numbers that PM2 assigns anew on resurrect.
///
/// Source: PM2 7.0.4, lib/God/ActionMethods.js, `dumpProcessList`.
struct Entry<'a>(&'a Map<String, Value>);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kept = |(key, _): &(&String, &Value)| *key != "instances" && *key != "pm_id";
        serializer.collect_map(self.0.iter().filter(kept))
    }
}

fn is_private(path: &Utf8Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 == 0)
}

/// Keeps the old dump beside the new one, without copying it where possible.
fn back_up(path: &Utf8Path, old: &[u8]) -> Result<(), DumpError> {
    let backup = path.with_extension("pm2.bak");
    // A link to a dump elsewhere is copied: it may be changed there.
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    if is_file && is_private(path) && files::link(path.as_std_path(), backup.as_std_path()).is_ok()
    {
        return Ok(());
    }
    replace(&backup, old)
}

/// Writes a dump. It contains every variable of every app, and cannot be recreated after PM2 has ended.
fn replace(path: &Utf8Path, bytes: &[u8]) -> Result<(), DumpError> {
    files::write(path.as_std_path(), bytes, Durability::Synced).map_err(|source| DumpError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::observe;

    fn label(workspace: &str) -> Value {
        json!({ "workspace": workspace, "daemon": "d", "app": "a", "spec": "v1:0" })
    }

    fn dump_of(name: &str) -> Dump {
        let mut dump = Dump::of("/w".into());
        for record in [process(name, "/w"), process("elsewhere", "/other")] {
            dump.add(&record, &observe(&record));
        }
        dump
    }

    fn process(name: &str, workspace: &str) -> ProcessRecord {
        let env = json!({
            "name": name, "pm_id": 3, "instances": 1, "pm2_sync": label(workspace), "env": { "SECRET": "x" },
        });
        ProcessRecord {
            pm_id: PmId(3),
            name: name.into(),
            pid: Some(1),
            status: Status::Online,
            pm2_env: env.as_object().unwrap().clone(),
            memory_bytes: 0,
            cpu_percent: 0.0,
        }
    }

    #[test]
    fn others_stay_and_ours_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let dump = home.join("dump.pm2");
        let other = json!({ "name": "other", "x": 1 });
        let theirs = json!({ "name": "adopted", "pm2_sync": label("/other") });
        let old = json!([
            other,
            { "name": "old", "pm2_sync": label("/w") },
            theirs,
            { "name": "adopted" },
        ]);
        std::fs::write(&dump, old.to_string()).unwrap();
        let names = BTreeSet::from(["adopted"]);
        assert_eq!(dump_of("new").save(home, &names).unwrap(), Saved::Written);
        let written: Value = serde_json::from_slice(&std::fs::read(&dump).unwrap()).unwrap();
        let new = json!({ "name": "new", "pm2_sync": label("/w"), "env": { "SECRET": "x" } });
        assert_eq!(written, json!([other, theirs, new]));
        assert!(is_private(&dump));
        assert_eq!(dump_of("new").save(home, &names).unwrap(), Saved::Unchanged);
        let empty = Dump::of("/w".into());
        assert_eq!(empty.save(home, &names).unwrap(), Saved::Written);
        let written: Value = serde_json::from_slice(&std::fs::read(&dump).unwrap()).unwrap();
        assert_eq!(written, json!([other, theirs]));
    }

    #[test]
    fn the_old_dump_is_kept_beside_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let [dump, backup] = ["dump.pm2", "dump.pm2.bak"].map(|name| home.join(name));
        let elsewhere = home.join("elsewhere");
        let save = |name: &str| dump_of(name).save(home, &BTreeSet::new()).unwrap();
        let read = |path: &Utf8Path| std::fs::read_to_string(path).unwrap();
        let others = r#"[{"name":"other"}]"#;
        std::fs::write(&elsewhere, others).unwrap();
        // PM2 may have written the old one, which others can read then, and it may be a link.
        for kind in ["written by PM2", "a link", "our own"] {
            let _ = std::fs::remove_file(&dump);
            match kind {
                "a link" => std::os::unix::fs::symlink(&elsewhere, &dump).unwrap(),
                _ => std::fs::write(&dump, others).unwrap(),
            }
            if kind == "our own" {
                save("first");
            }
            let old = read(&dump);
            assert_eq!(save("second"), Saved::Written, "{kind}");
            assert_eq!(read(&backup), old, "{kind}");
            assert!(is_private(&backup), "{kind}");
            assert!(read(&dump).contains("second"), "{kind}");
            assert_eq!(read(&elsewhere), others, "{kind}");
        }
    }

    #[test]
    fn a_damaged_dump_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::write(home.join("dump.pm2"), "[{").unwrap();
        assert!(matches!(
            Dump::of("/w".into()).save(home, &BTreeSet::new()),
            Err(DumpError::Damaged { .. })
        ));
        assert_eq!(
            std::fs::read_to_string(home.join("dump.pm2")).unwrap(),
            "[{"
        );
    }
}
