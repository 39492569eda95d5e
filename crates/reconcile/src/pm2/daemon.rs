//! PM2's daemon: the process that runs the others.

use std::collections::BTreeMap;

use files::Links;
use pm2_client::{Host, is_in_lineage};

use crate::config::Config;

/// Whether the PM2 that ran this process is gone. None if PM2 does not run it, or if that cannot be determined.
pub(crate) fn own_pm2_is_gone(config: &Config) -> Option<bool> {
    config.own_pm_id()?;
    // Check the PM2 that started this process, not one that happens to run now.
    let daemon = daemon_pid(config)?;
    is_in_lineage(&[daemon]).map(|below| !below)
}

/// The environment of PM2's daemon, where it can be read.
pub(crate) fn daemon_environ(config: &Config) -> Option<BTreeMap<String, String>> {
    let process = config.local_host().inspect(daemon_pid(config)?);
    process.ok()??.environ
}

/// The process id that PM2 recorded when it was last started.
pub(super) fn daemon_pid(config: &Config) -> Option<u32> {
    let path = config.pm2_home.join("pm2.pid");
    let text = files::read(path.as_std_path(), Links::Follow, 64).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}
