//! The matrix of attributes, and the table of them, on another version of PM2 than the pinned one.

use std::process::Command;

use crate::command::{Error, cargo, root, run, show};

/// Where the tests read the path of PM2's command.
const PM2_VARIABLE: &str = "PM2_TESTBED_PM2";

/// Installs the latest PM2 of this major beside the build, and runs the matrix on it.
pub(crate) fn run_on(major: &str) -> Result<(), Error> {
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

    let line = "cargo test --package pm2-client --test attributes --test matrix";
    let pm2 = dir.join("node_modules/pm2/bin/pm2");
    show(&format!("export {PM2_VARIABLE}={}", pm2.display()));
    show(line);
    let mut test = cargo();
    test.args(["test", "--package", "pm2-client"])
        .args(["--test", "attributes", "--test", "matrix"])
        .args(["--", "--nocapture"])
        .env(PM2_VARIABLE, pm2)
        .current_dir(root);
    run(line, &mut test, &[0]).map(drop)
}
