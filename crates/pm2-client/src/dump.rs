//! PM2's dump, which `pm2 resurrect` reads after a boot.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::record::ProcessRecord;

/// What became of the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Written anew.
    Written,
    /// It said the same already.
    Unchanged,
}

/// Why the dump was not written. The one that is there stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The dump that is there cannot be read.
    #[error("cannot read PM2's dump `{path}`, so it was left as it is")]
    Read {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The dump that is there is no list of processes.
    #[error(
        "PM2's dump `{path}` is damaged, so it was left as it is: remove it, or write it anew with `pm2 save --force`"
    )]
    Damaged {
        /// Which one.
        path: Utf8PathBuf,
    },
    /// The new dump cannot be written.
    #[error("cannot write PM2's dump `{path}`")]
    Write {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What PM2's dump is to say of the managed processes. There may be none.
#[derive(Debug, Default)]
pub struct Dump {
    /// JSON, with a comma between two.
    entries: String,
}

impl Dump {
    /// Adds a process as it is now. PM2 leaves its modules out, and so does this.
    pub fn add(&mut self, record: &ProcessRecord) {
        if record.pm2_env.get("pmx_module") != Some(&Value::Bool(true)) {
            // Neither the keys nor the values can fail to be written.
            let text = serde_json::to_string(&Entry(&record.pm2_env)).unwrap_or_default();
            self.push(&text);
        }
    }

    fn push(&mut self, entry: &str) {
        if !self.entries.is_empty() {
            self.entries.push(',');
        }
        self.entries.push_str(entry);
    }

    /// Writes PM2's dump: the managed processes, and of others what the dump there says of them.
    ///
    /// `is_managed` tells of an entry of the old dump whether it is replaced by what is managed now. The old dump is kept
    /// beside it (`dump.pm2.bak`), as PM2 does.
    ///
    /// # Errors
    /// [`DumpError`].
    pub fn save(
        self,
        pm2_home: &Utf8Path,
        is_managed: impl Fn(&Map<String, Value>) -> bool,
    ) -> Result<Saved, DumpError> {
        let path = pm2_home.join("dump.pm2");
        let old = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(DumpError::Read { path, source }),
        };
        let mut dump = Self::default();
        // PM2 itself leaves an empty file behind when it is killed while it writes.
        if let Some(bytes) = old.as_ref().filter(|bytes| !bytes.is_empty()) {
            dump.add_others(bytes, is_managed)
                .map_err(|_| DumpError::Damaged { path: path.clone() })?;
        }
        if !self.entries.is_empty() {
            dump.push(&self.entries);
        }
        drop(self);
        let text = format!("[{}]", dump.entries);
        drop(dump);
        if old.as_deref() == Some(text.as_bytes()) && is_private(&path) {
            return Ok(Saved::Unchanged);
        }
        if let Some(old) = old {
            replace(pm2_home, &pm2_home.join("dump.pm2.bak"), &old)?;
        }
        replace(pm2_home, &path, text.as_bytes())?;
        Ok(Saved::Written)
    }

    fn add_others(
        &mut self,
        old: &[u8],
        is_managed: impl Fn(&Map<String, Value>) -> bool,
    ) -> serde_json::Result<()> {
        for entry in serde_json::from_slice::<Vec<&RawValue>>(old)? {
            if !is_managed(&serde_json::from_str(entry.get())?) {
                self.push(entry.get());
            }
        }
        Ok(())
    }
}

/// A record without the numbers that a resurrected process gets anew.
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

/// Writes a file as a whole or not at all. It holds every variable of every app: only for its owner.
fn replace(dir: &Utf8Path, path: &Utf8Path, bytes: &[u8]) -> Result<(), DumpError> {
    let write = || -> std::io::Result<()> {
        // Made with mode 0600.
        let mut file = tempfile::Builder::new().prefix(".dump-").tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(|source| DumpError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::{PmId, Status};

    fn dump_of(name: &str) -> Dump {
        let mut dump = Dump::default();
        dump.add(&process(name));
        dump
    }

    fn process(name: &str) -> ProcessRecord {
        let env = json!({ "name": name, "pm_id": 3, "instances": 1, "pm2_sync": {}, "env": { "SECRET": "x" } });
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
        std::fs::write(
            &dump,
            r#"[{"name":"other","x":1},{"name":"old","pm2_sync":{}}]"#,
        )
        .unwrap();
        let is_managed = |entry: &Map<String, Value>| entry.contains_key("pm2_sync");
        assert_eq!(
            dump_of("new").save(home, is_managed).unwrap(),
            Saved::Written
        );
        let written: Value = serde_json::from_slice(&std::fs::read(&dump).unwrap()).unwrap();
        assert_eq!(
            written,
            json!([{ "name": "other", "x": 1 }, { "name": "new", "pm2_sync": {}, "env": { "SECRET": "x" } }])
        );
        assert!(is_private(&dump));
        assert_eq!(
            dump_of("new").save(home, is_managed).unwrap(),
            Saved::Unchanged
        );
        assert_eq!(
            Dump::default().save(home, is_managed).unwrap(),
            Saved::Written
        );
        assert_eq!(
            std::fs::read_to_string(&dump).unwrap(),
            r#"[{"name":"other","x":1}]"#
        );
    }

    #[test]
    fn a_damaged_dump_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::write(home.join("dump.pm2"), "[{").unwrap();
        assert!(matches!(
            Dump::default().save(home, |_| true),
            Err(DumpError::Damaged { .. })
        ));
        assert_eq!(
            std::fs::read_to_string(home.join("dump.pm2")).unwrap(),
            "[{"
        );
    }
}
