//! Every crate as the registry would get it: packaged, then built from its package, in the order of dependencies.

use crate::command::{Error, cargo, root, run, show};

/// Packages all crates that are published, and builds each from its package if that is to be verified: that takes many minutes.
/// Nothing is uploaded; changes that are not committed are packaged, too.
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
