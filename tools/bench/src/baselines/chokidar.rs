//! The reference way to watch: a chokidar watcher that renders with nbb and runs `pm2 start`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use pm2_testbed::pm2_bin;
use tempfile::TempDir;

use crate::bed::Bed;
use crate::processes::Running;
use crate::tools::Tools;
use crate::workspace::{temporary, utf8};

/// A running watcher.
pub struct Chokidar {
    child: Running,
    lines: Receiver<String>,
    _dir: TempDir,
}

impl Chokidar {
    /// Watches the definitions of a bed for its PM2; none when chokidar is not installed. Nbb is needed only to act.
    pub fn start(tools: &Tools, bed: &Bed) -> Option<Self> {
        Self::watch(tools, bed, bed.workspace.tree())
    }

    /// As [`start`](Self::start), for another tree.
    pub fn watch(tools: &Tools, bed: &Bed, tree: &Utf8Path) -> Option<Self> {
        let modules = tools.chokidar()?;
        let nbb = tools.nbb().unwrap_or_else(|| "nbb".into());
        let dir = temporary();
        let path = utf8(dir.path());
        // Modules are resolved relative to the script.
        std::os::unix::fs::symlink(modules, path.join("node_modules")).unwrap();
        let script = path.join("watch.mjs");
        std::fs::write(&script, include_str!("watch.mjs")).unwrap();
        let node = Utf8PathBuf::from("node");
        let mut child = bed
            .run_in(&node)
            .arg(script)
            .args([tree, &nbb, &tools.reference(), &pm2_bin(), &path])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The receiver is gone once the watcher is dropped.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let watcher = Self {
            child: Running(child),
            lines,
            _dir: dir,
        };
        watcher.expect("ready");
        Some(watcher)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn expect(&self, word: &str) {
        let line = self.lines.recv_timeout(Duration::from_secs(60));
        assert_eq!(line.as_deref(), Ok(word), "of the chokidar watcher");
    }

    /// Waits until it has no work left.
    pub fn settle(&self) {
        self.expect("done");
        while self.lines.recv_timeout(Duration::from_millis(300)).is_ok() {}
    }
}
