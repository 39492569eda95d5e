//! Installs the programs that chores compare with beside the build, from their own registries, in fixed versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Error, root, run, show};

/// ClojureScript on Node, with the reader that the reference renderer is built on. The version is fixed so that the results for a
/// seed stay the same.
const NBB: &str = "nbb@1.6.214";
/// The usual file watcher on Node; the last version that runs on Node 20.
const CHOKIDAR: &str = "chokidar@5.0.0";
/// Another process supervisor, from Python's registry, which needs no root and allows a fixed version.
const SUPERVISOR: &str = "supervisor==4.3.0";

/// The directory with nbb in it.
pub(crate) fn nbb() -> Result<PathBuf, Error> {
    npm(NBB, "target/nbb")
}

/// The directory with chokidar in it.
pub(crate) fn chokidar() -> Result<PathBuf, Error> {
    npm(CHOKIDAR, "target/chokidar")
}

fn npm(package: &str, prefix: &str) -> Result<PathBuf, Error> {
    let root = root()?;
    let dir = root.join(prefix);
    let name = package.split('@').next().unwrap_or(package);
    if dir.join("node_modules").join(name).exists() {
        return Ok(dir);
    }
    std::fs::create_dir_all(&dir).map_err(|source| Error::MakeDirectory {
        path: dir.clone(),
        source,
    })?;
    let line = format!("npm install --prefix {prefix} {package}");
    show(&line);
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix", prefix])
        .arg(package)
        .current_dir(root);
    run(&line, &mut npm, &[0])?;
    Ok(dir)
}

/// The virtual environment with supervisor in it.
pub(crate) fn supervisor() -> Result<PathBuf, Error> {
    let root = root()?;
    let prefix = "target/supervisor";
    let dir = root.join(prefix);
    if dir.join("bin/supervisorctl").exists() {
        return Ok(dir);
    }
    let line = format!("python3 -m venv {prefix}");
    show(&line);
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", prefix]).current_dir(root);
    run(&line, &mut venv, &[0])?;
    let line = format!("{prefix}/bin/pip install {SUPERVISOR}");
    show(&line);
    let mut pip = Command::new(dir.join("bin/pip"));
    pip.args(["install", "--quiet", SUPERVISOR])
        .current_dir(root);
    run(&line, &mut pip, &[0])?;
    Ok(dir)
}

/// The directory, if an earlier run has installed its content.
pub(crate) fn earlier(prefix: &str) -> Option<PathBuf> {
    let dir = root().ok()?.join(Path::new("target").join(prefix));
    dir.exists().then_some(dir)
}
