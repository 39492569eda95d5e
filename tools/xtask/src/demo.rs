//! The demo: pm2-sync on the example workspace, shown as a user would type it.
//!
//! PM2 gets its own home, so that the demo never affects the user's PM2. Its path is short because socket addresses must be; it
//! contains the uid so that users do not collide.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;

use crate::command::{Error, cargo, root, run, show};

/// The exit status of `plan` when changes are pending.
const PENDING: i32 = 2;

/// The paths of the demo.
pub(crate) struct Demo {
    root: PathBuf,
    workspace: PathBuf,
    pm2: PathBuf,
    home: PathBuf,
    /// Where cargo puts binaries: next to this one.
    bin: PathBuf,
}

impl Demo {
    pub(crate) fn new() -> Result<Self, Error> {
        let root = root()?;
        let executable = std::env::current_exe().map_err(Error::NoExecutable)?;
        let uid = rustix::process::getuid().as_raw();
        Ok(Self {
            root: root.to_owned(),
            workspace: root.join("fixtures/workspace"),
            pm2: root.join("node_modules/.bin/pm2"),
            home: format!("/tmp/pm2-sync-demo-{uid}").into(),
            bin: executable.parent().ok_or(Error::NoRoot)?.to_owned(),
        })
    }

    /// Syncs the example workspace and leaves its daemons running.
    pub(crate) fn run(&self) -> Result<(), Error> {
        self.install_pm2()?;
        let mut build = cargo();
        build
            .args(["build", "--quiet", "--package", "pm2-sync"])
            .current_dir(&self.root);
        show("cargo build --package pm2-sync");
        run("cargo build --package pm2-sync", &mut build, &[0])?;
        self.make_home()?;

        show(&format!("cd {}", self.workspace.display()));
        show(&format!("export PM2_HOME={}", self.home.display()));
        self.pm2_sync("check", &[0])?;
        // In sync already if the demo has run before.
        self.pm2_sync("plan", &[0, PENDING])?;
        self.pm2_sync("sync", &[0])?;
        self.pm2_sync("status", &[0])?;
        self.pm2_sync("plan", &[0])?;

        println!();
        println!("The daemons are running. Look at them:");
        println!("  PM2_HOME={} npx pm2 ls", self.home.display());
        println!("End them:");
        println!("  cargo xtask demo --stop");
        Ok(())
    }

    /// Ends the demo's PM2 with everything that runs in it, and removes its home.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        if !self.home_exists()? {
            println!("the demo is not running");
            return Ok(());
        }
        // Without its socket, PM2 does not run, and its command would start it.
        if self.home.join("rpc.sock").exists() {
            self.install_pm2()?;
            show(&format!("PM2_HOME={} npx pm2 kill", self.home.display()));
            let mut kill = Command::new(&self.pm2);
            kill.arg("kill")
                .env("PM2_HOME", &self.home)
                .current_dir(&self.root);
            run("pm2 kill", &mut kill, &[0])?;
        }
        std::fs::remove_dir_all(&self.home).map_err(|source| Error::RemoveHome {
            path: self.home.clone(),
            source,
        })?;
        println!("removed {}", self.home.display());
        Ok(())
    }

    /// Runs one pm2-sync command in the example workspace.
    fn pm2_sync(&self, command: &str, accepted: &[i32]) -> Result<(), Error> {
        let line = format!("pm2-sync {command}");
        show(&line);
        let mut pm2_sync = Command::new(self.bin.join("pm2-sync"));
        pm2_sync
            .arg(command)
            .current_dir(&self.workspace)
            .env("PM2_HOME", &self.home)
            .env("PM2_SYNC_PM2", &self.pm2);
        let status = run(&line, &mut pm2_sync, accepted)?;
        if status.code() == Some(PENDING) {
            println!("(exit status {PENDING}: changes are pending)");
        }
        Ok(())
    }

    /// Installs the pinned PM2 if it is missing.
    fn install_pm2(&self) -> Result<(), Error> {
        if self.pm2.exists() {
            return Ok(());
        }
        println!(
            "{} is missing, so PM2 is installed first",
            self.pm2.display()
        );
        show("npm ci");
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&self.root);
        run("npm ci", &mut npm, &[0])?;
        Ok(())
    }

    fn make_home(&self) -> Result<(), Error> {
        if self.home_exists()? {
            return Ok(());
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&self.home)
            .map_err(|source| Error::MakeDirectory {
                path: self.home.clone(),
                source,
            })
    }

    /// Whether the home exists; an error if another user put something in its place.
    fn home_exists(&self) -> Result<bool, Error> {
        match std::fs::symlink_metadata(&self.home) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Ok(found) if found.is_dir() && found.uid() == rustix::process::getuid().as_raw() => {
                Ok(true)
            }
            _ => Err(Error::ForeignHome(self.home.clone())),
        }
    }
}
