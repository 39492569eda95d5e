//! PM2's dump, which `pm2 resurrect` reads after a boot.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
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

/// Writes PM2's dump: the managed processes as they are now, and of others what the dump there says of them.
///
/// `is_managed` tells of an entry of the old dump whether it is replaced by what is managed now. The set may be
/// empty. The old dump is kept beside it (`dump.pm2.bak`), as PM2 does.
///
/// # Errors
/// [`DumpError`].
pub fn save(
    pm2_home: &Utf8Path,
    managed: &[ProcessRecord],
    is_managed: impl Fn(&Map<String, Value>) -> bool,
) -> Result<Saved, DumpError> {
    let path = pm2_home.join("dump.pm2");
    let old = match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(DumpError::Read { path, source }),
    };
    let entries: Vec<Map<String, Value>> = match &old {
        None => Vec::new(),
        // PM2 itself leaves an empty file behind when it is killed while it writes.
        Some(bytes) if bytes.is_empty() => Vec::new(),
        Some(bytes) => {
            serde_json::from_slice(bytes).map_err(|_| DumpError::Damaged { path: path.clone() })?
        }
    };
    let others = entries.into_iter().filter(|entry| !is_managed(entry));
    // PM2 leaves out its modules, and numbers that a resurrected process gets anew (lib/God/ActionMethods.js,
    // `dumpProcessList`).
    let ours = managed
        .iter()
        .filter(|record| record.pm2_env.get("pmx_module") != Some(&Value::Bool(true)))
        .map(|record| {
            let mut entry = record.pm2_env.clone();
            entry.remove("instances");
            entry.remove("pm_id");
            entry
        });
    let dump: Vec<Value> = others.chain(ours).map(Value::Object).collect();
    let text = Value::Array(dump).to_string();
    if old.as_deref() == Some(text.as_bytes()) && is_private(&path) {
        return Ok(Saved::Unchanged);
    }
    if let Some(old) = old {
        replace(pm2_home, &pm2_home.join("dump.pm2.bak"), &old)?;
    }
    replace(pm2_home, &path, text.as_bytes())?;
    Ok(Saved::Written)
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
            save(home, &[process("new")], is_managed).unwrap(),
            Saved::Written
        );
        let written: Value = serde_json::from_slice(&std::fs::read(&dump).unwrap()).unwrap();
        assert_eq!(
            written,
            json!([{ "name": "other", "x": 1 }, { "name": "new", "pm2_sync": {}, "env": { "SECRET": "x" } }])
        );
        assert!(is_private(&dump));
        assert_eq!(
            save(home, &[process("new")], is_managed).unwrap(),
            Saved::Unchanged
        );
        assert_eq!(save(home, &[], is_managed).unwrap(), Saved::Written);
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
            save(home, &[], |_| true),
            Err(DumpError::Damaged { .. })
        ));
        assert_eq!(
            std::fs::read_to_string(home.join("dump.pm2")).unwrap(),
            "[{"
        );
    }
}
