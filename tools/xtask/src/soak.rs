//! The soak test, built as users build it.

use crate::command::{Error, cargo, root, run, show};

/// Builds the programs and runs the test; the arguments are those of `pm2-soak`.
pub(crate) fn run_with(arguments: &[&str]) -> Result<(), Error> {
    let root = root()?;
    let packages = ["--package", "pm2-sync", "--package", "pm2-soak"];
    let build = "cargo build --release --package pm2-sync --package pm2-soak";
    show(build);
    let mut command = cargo();
    command
        .args(["build", "--release"])
        .args(packages)
        .current_dir(root);
    run(build, &mut command, &[0])?;
    let line = format!(
        "cargo run --release --package pm2-soak -- {}",
        arguments.join(" ")
    );
    show(&line);
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "pm2-soak", "--"])
        .args(arguments)
        .current_dir(root);
    run(&line, &mut command, &[0]).map(drop)
}
