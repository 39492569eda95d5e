//! Workspaces full of definitions.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, DaemonId, Layout};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::SLEEP;

/// A temporary directory with a short path, because PM2's sockets are in it.
pub fn temporary() -> TempDir {
    tempfile::Builder::new()
        .prefix("pb-")
        .tempdir_in("/tmp")
        .unwrap()
}

/// A path as text.
pub fn utf8(path: &std::path::Path) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(path.to_owned()).unwrap()
}

/// A workspace; its definitions are numbered.
pub struct Workspace {
    layout: Layout,
}

impl Workspace {
    /// Creates an empty one at `root`.
    pub fn new(root: &Utf8Path) -> Self {
        let layout = Layout::new(root);
        std::fs::create_dir_all(layout.daemons_dir()).unwrap();
        Self { layout }
    }

    /// Its root.
    pub fn root(&self) -> &Utf8Path {
        self.layout.root()
    }

    /// Its tree of definitions.
    pub fn tree(&self) -> &Utf8Path {
        self.layout.daemons_dir()
    }

    /// The daemon with a number; each directory contains a hundred.
    pub fn id(n: usize) -> DaemonId {
        DaemonId::new(format!("group{}/app{n}", n / 100)).unwrap()
    }

    /// The definition with a number.
    pub fn definition(&self, n: usize) -> Utf8PathBuf {
        self.layout.definition_path(&Self::id(n))
    }

    /// The artifact with a number.
    pub fn artifact(&self, n: usize) -> Utf8PathBuf {
        self.layout.artifact_path(&Self::id(n))
    }

    /// The directory of artifacts.
    pub fn out(&self) -> &Utf8Path {
        self.layout.out_dir()
    }

    /// Saves a definition.
    pub fn define(&self, n: usize, text: &str) {
        let path = self.definition(n);
        debug_assert_eq!(path.file_name(), Some(DEFINITION_FILE));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Defines `count` sleeping apps.
    pub fn define_sleepers(&self, count: usize) {
        for n in 0..count {
            self.define(n, &sleeper(n, 1000));
        }
    }

    /// Defines an app that sleeps for as long as its env file says.
    pub fn define_with_env_file(&self, n: usize) {
        self.define(
            n,
            &format!(
                "{{:apps [{{:name \"app{n}\" :script \"{SLEEP}\" :args [\"${{SECONDS}}\"] :env_file \"{n}.env\" \
                 :vizion false :kill_retry_time 10 :pm2-sync {{:interpolate true}}}}]}}\n"
            ),
        );
    }

    /// Saves the env file of that app, readable only by its owner.
    pub fn save_env_file(&self, n: usize, seconds: u32) {
        let path = self.root().join(format!("{n}.env"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(path).unwrap();
        writeln!(file, "SECONDS={seconds}").unwrap();
    }

    /// Defines `count` realistic apps.
    pub fn define_realistic(&self, count: usize) {
        for n in 0..count {
            self.define(n, &realistic(n));
        }
    }
}

/// A definition whose process sleeps.
pub fn sleeper(n: usize, seconds: u32) -> String {
    format!(
        "{{:apps [{{:name \"app{n}\" :script \"{SLEEP}\" :args [\"{seconds}\"] :vizion false :kill_retry_time 10}}]}}\n"
    )
}

/// The same app in the format of PM2's own command line.
pub fn sleeper_app(n: usize, seconds: u32) -> Value {
    json!({
        "name": format!("app{n}"), "script": SLEEP, "args": [seconds.to_string()], "vizion": false,
        "kill_retry_time": 10,
    })
}

/// A definition of the usual length, with comments, an environment and a profile.
pub fn realistic(n: usize) -> String {
    format!(
        ";; Serves part {n} of the index over HTTP.
{{:apps
 [{{:name \"app{n}\"
   ;; Found in PATH, run through env.
   :script \"node\"
   :interpreter \"/usr/bin/env\"
   :args [\"./services/app{n}/server.js\"
          \"--root\" \"system/daemons\"
          \"--every\" \"30\"]
   :cwd \".\"
   :exec_mode \"fork\"
   :instances 1
   :autorestart true
   :restart_delay 5000
   :max_restarts 10
   :kill_timeout 5000
   :max_memory_restart \"300M\"
   :merge_logs true
   :time true
   :out_file \"./logs/app{n}-out.log\"
   :error_file \"./logs/app{n}-error.log\"
   :watch false
   :env {{:PM2_PROCESS_NAME \"app{n}\"
         :NODE_ENV \"production\"
         :PART {n}}}}}]

 ;; Merged over the above with --mode dev.
 :profiles
 {{:dev
  {{:apps
   [{{:name \"app{n}\"
     :env {{:NODE_ENV \"development\"
           :VERBOSE true}}}}]}}}}}}
"
    )
}
