//! The simulated machine of an in-memory PM2.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::env_text;
use serde_json::Value;

use super::MemoryAdapter;
use crate::host::{FileKind, Host, InspectError, User};
use crate::record::{LiveProcess, ProcessRecord};

/// A machine that has the processes of a [`MemoryAdapter`], and otherwise delegates to another host.
#[derive(Debug)]
pub struct MemoryHost<H> {
    host: H,
    pm2: MemoryAdapter,
}

impl<H: Host> MemoryHost<H> {
    /// The machine `host`, with the processes of `pm2`.
    #[must_use]
    pub fn new(host: H, pm2: &MemoryAdapter) -> Self {
        Self {
            host,
            pm2: pm2.clone(),
        }
    }
}

impl<H: Host> Host for MemoryHost<H> {
    fn inspect(&self, pid: u32) -> Result<Option<LiveProcess>, InspectError> {
        Ok(self.pm2.inspect(pid))
    }

    fn file_kind(&self, path: &Utf8Path) -> FileKind {
        self.host.file_kind(path)
    }

    fn find_command(&self, name: &str) -> Option<Utf8PathBuf> {
        self.host.find_command(name)
    }

    fn user(&self, name_or_uid: &str) -> Option<User> {
        self.host.user(name_or_uid)
    }

    fn group(&self, name_or_gid: &str) -> Option<u32> {
        self.host.group(name_or_gid)
    }

    fn user_name(&self) -> String {
        self.host.user_name()
    }

    fn is_root(&self) -> bool {
        self.host.is_root()
    }

    fn base_env(&self) -> &BTreeMap<String, String> {
        self.host.base_env()
    }

    fn node(&self) -> Utf8PathBuf {
        self.host.node()
    }

    fn pm2_package(&self) -> Option<Utf8PathBuf> {
        self.host.pm2_package()
    }

    /// Does nothing: processes in memory write no logs.
    fn make_log_dir(&self, _dir: &Utf8Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// The process that PM2 would have spawned from a record.
///
/// Source: PM2 7.0.4, `lib/God/ForkMode.js` and `lib/God/ClusterMode.js`.
pub(super) fn live(record: &ProcessRecord, pid: u32) -> LiveProcess {
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
