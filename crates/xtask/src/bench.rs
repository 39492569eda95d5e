//! The benchmark, built as users build it.

use crate::command::{Error, cargo, root, run, show};

/// Builds what is measured, and measures it.
pub(crate) fn run_with(smoke: bool) -> Result<(), Error> {
    let root = root()?;
    let build = "cargo build --release --package pm2-sync --package pm2-bench";
    show(build);
    let mut command = cargo();
    command
        .args([
            "build",
            "--release",
            "--package",
            "pm2-sync",
            "--package",
            "pm2-bench",
        ])
        .current_dir(root);
    run(build, &mut command, &[0])?;
    let line = format!(
        "cargo run --release --package pm2-bench{}",
        if smoke { " -- --smoke" } else { "" }
    );
    show(&line);
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "pm2-bench"])
        .current_dir(root);
    if smoke {
        command.args(["--", "--smoke"]);
    }
    run(&line, &mut command, &[0]).map(drop)
}
