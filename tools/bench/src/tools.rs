//! The programs to measure and to compare with, from the environment. `cargo xtask bench` installs the baselines and sets the
//! variables; missing ones are skipped.

use camino::{Utf8Path, Utf8PathBuf};
use pm2_testbed::pm2_bin;
use serde_json::Value;

/// Where nbb was installed to.
pub const NBB: &str = "PM2_BENCH_NBB";
/// Where chokidar was installed to.
pub const CHOKIDAR: &str = "PM2_BENCH_CHOKIDAR";
/// The virtual environment of supervisor.
pub const SUPERVISOR: &str = "PM2_BENCH_SUPERVISOR";

/// Programs and their paths.
pub struct Tools {
    /// This repository.
    pub repository: Utf8PathBuf,
    /// The built `pm2-sync`.
    pub pm2_sync: Utf8PathBuf,
    /// This program itself.
    pub own: Utf8PathBuf,
    /// A program that does nothing.
    pub empty: Utf8PathBuf,
    nbb: Option<Utf8PathBuf>,
    chokidar: Option<Utf8PathBuf>,
    supervisor: Option<Utf8PathBuf>,
}

impl Tools {
    /// Reads the environment.
    pub fn find() -> Self {
        let own = Utf8PathBuf::from_path_buf(std::env::current_exe().unwrap()).unwrap();
        let named = |name: &str| std::env::var(name).ok().map(Utf8PathBuf::from);
        let repository = Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .unwrap()
            .to_owned();
        Self {
            pm2_sync: own.with_file_name("pm2-sync"),
            empty: own.with_file_name("empty"),
            own,
            repository,
            nbb: named(NBB),
            chokidar: named(CHOKIDAR),
            supervisor: named(SUPERVISOR),
        }
    }

    /// The command `nbb`, if it is installed.
    pub fn nbb(&self) -> Option<Utf8PathBuf> {
        let dir = self.nbb.as_ref()?;
        Some(dir.join("node_modules/.bin/nbb"))
    }

    /// The directory `node_modules` with chokidar in it, if it is installed.
    pub fn chokidar(&self) -> Option<Utf8PathBuf> {
        Some(self.chokidar.as_ref()?.join("node_modules"))
    }

    /// A command of supervisor, if it is installed.
    pub fn supervisor(&self, command: &str) -> Option<Utf8PathBuf> {
        Some(self.supervisor.as_ref()?.join("bin").join(command))
    }

    /// The nbb program with which the reference renderer handles a definition.
    pub fn reference(&self) -> Utf8PathBuf {
        self.repository
            .join("crates/edn-render/tests/differential/reference.cljs")
    }

    /// The versions of the installed programs.
    pub fn versions(&self) -> Vec<String> {
        let package = |name: &str, dir: Option<&Utf8Path>| {
            let text = std::fs::read(dir?.join("package.json")).ok()?;
            let package: Value = serde_json::from_slice(&text).ok()?;
            Some(format!("{name} {}", package["version"].as_str()?))
        };
        let pm2 = pm2_bin();
        let nbb = self.nbb.as_ref().map(|dir| dir.join("node_modules/nbb"));
        let chokidar = self.chokidar().map(|dir| dir.join("chokidar"));
        let mut found: Vec<String> = [
            package("PM2", pm2.ancestors().nth(2)),
            package("nbb", nbb.as_deref()),
            package("chokidar", chokidar.as_deref()),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(supervisord) = self.supervisor("supervisord") {
            let output = std::process::Command::new(supervisord)
                .arg("--version")
                .output();
            found.extend(output.ok().map(|done| {
                format!(
                    "supervisor {}",
                    String::from_utf8_lossy(&done.stdout).trim()
                )
            }));
        }
        found
    }
}
