//! Tests with another version of PM2 than the pinned one: the attribute matrix and table, rollouts, and the capture of records.

use std::process::Command;

use crate::command::{Error, cargo, root, run, show};

/// The variable from which tests read the path of PM2's command.
const PM2_VARIABLE: &str = "PM2_TESTBED_PM2";

/// Runs the matrix and the rollouts with the latest PM2 of this major version.
pub(crate) fn run_on(major: &str) -> Result<(), Error> {
    test_on(major, &["--package", "pm2-sync", "--test", "rollouts"])?;
    test_on(
        major,
        &[
            "--package",
            "pm2-sync-client",
            "--test",
            "attributes",
            "--test",
            "matrix",
            "--",
            "--nocapture",
        ],
    )
}

/// Captures the records of the latest PM2 of this major version.
pub(crate) fn capture_on(major: &str) -> Result<(), Error> {
    let package = ["--package", "pm2-sync-client"];
    let test = ["--test", "records", "--", "--ignored", "capture"];
    test_on(major, &[&package[..], &test].concat())
}

/// Installs the latest PM2 of this major version beside the build, and runs tests with it.
fn test_on(major: &str, arguments: &[&str]) -> Result<(), Error> {
    let root = root()?;
    let prefix = format!("target/pm2-{major}");
    let dir = root.join(&prefix);
    std::fs::create_dir_all(&dir).map_err(|source| Error::MakeDirectory {
        path: dir.clone(),
        source,
    })?;
    let line = format!("npm install --prefix {prefix} pm2@{major}");
    show(&line);
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix", &prefix])
        .arg(format!("pm2@{major}"))
        .current_dir(root);
    run(&line, &mut npm, &[0])?;

    let line = format!("cargo test {}", arguments.join(" "));
    let pm2 = dir.join("node_modules/pm2/bin/pm2");
    show(&format!("export {PM2_VARIABLE}={}", pm2.display()));
    show(&line);
    let mut test = cargo();
    test.arg("test")
        .args(arguments)
        .env(PM2_VARIABLE, pm2)
        .current_dir(root);
    run(&line, &mut test, &[0]).map(drop)
}
