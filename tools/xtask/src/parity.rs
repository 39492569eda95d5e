//! Renders the definitions of a workspace with both renderers.

use crate::command::{Error, cargo, root, run, show};

/// Prints the differences, which are not an error of the chore.
pub(crate) fn run_on(workspace: &str) -> Result<(), Error> {
    let line = format!("cargo run --quiet --package pm2-parity -- {workspace}");
    show(&line);
    let mut parity = cargo();
    parity
        .args(["run", "--quiet", "--manifest-path"])
        .arg(root()?.join("Cargo.toml"))
        .args(["--package", "pm2-parity", "--", workspace]);
    run(&line, &mut parity, &[0, 1]).map(drop)
}
