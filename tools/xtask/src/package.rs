//! Packages every crate as for the registry, and builds it from its package, in dependency order.

use crate::command::{Error, cargo, root, run, show};

/// Packages all published crates, and builds each from its package if `is_verified`, which takes many minutes. Uploads nothing;
/// includes uncommitted changes.
pub(crate) fn package(is_verified: bool) -> Result<(), Error> {
    let mut line = "cargo package --workspace --locked --allow-dirty --exclude pm2-bench --exclude pm2-parity --exclude pm2-soak --exclude pm2-testbed --exclude xtask".to_owned();
    if !is_verified {
        line.push_str(" --no-verify");
    }
    show(&line);
    let mut command = cargo();
    command.args(line.split(' ').skip(1)).current_dir(root()?);
    run(&line, &mut command, &[0]).map(drop)
}
