//! `pm2-sync` without PM2.

use std::process::{Command, Stdio};

use camino::Utf8PathBuf;
use tempfile::TempDir;

use crate::tools::Tools;
use crate::workspace::{Workspace, temporary, utf8};

/// A workspace whose commands need no PM2.
pub struct Offline {
    dir: TempDir,
    /// The workspace.
    pub workspace: Workspace,
    pm2_sync: Utf8PathBuf,
}

impl Offline {
    /// A workspace with `count` realistic definitions.
    pub fn new(tools: &Tools, count: usize) -> Self {
        let dir = temporary();
        let workspace = Workspace::new(&utf8(dir.path()).join("w"));
        workspace.define_realistic(count);
        Self {
            dir,
            workspace,
            pm2_sync: tools.pm2_sync.clone(),
        }
    }

    /// A file beside the workspace.
    pub fn file(&self, name: &str) -> Utf8PathBuf {
        utf8(self.dir.path()).join(name)
    }

    /// A program in a cleared environment, silent.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.workspace.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// The measured program.
    pub fn pm2_sync(&self) -> &str {
        self.pm2_sync.as_str()
    }

    /// Whether a command of pm2-sync succeeds.
    pub fn succeeds(&self, args: &[&str]) -> bool {
        let mut command = self.program(self.pm2_sync());
        command.args(args).status().unwrap().success()
    }

    /// Runs a pm2-sync command, which must succeed.
    pub fn run(&self, args: &[&str]) {
        assert!(self.succeeds(args), "{args:?}");
    }
}
