//! Checks the environment that PM2's daemon was started with, which cluster workers inherit.

use std::collections::BTreeSet;

use camino::Utf8Path;
use daemon_model::EnvPolicy;

use super::{Context, Finding};

pub(super) fn check(context: &Context<'_>, home: &Utf8Path, daemon: u32) -> Option<Finding> {
    const ABOUT: &str = "PM2's environment";
    /// Variables that PM2, its command and the shell set by themselves.
    const OWN: [&str; 6] = ["PM2_HOME", "_", "PWD", "SHLVL", "OLDPWD", "SILENT"];
    let env_policy = EnvPolicy {
        pm2_home: home.to_owned(),
        // Without settings, the variables that are passed on deliberately are not known.
        pass_env: context.config()?.pass_env.clone(),
    };
    let environ = pm2_client::environ(daemon)?;
    let names: BTreeSet<&str> = environ
        .keys()
        .map(String::as_str)
        .filter(|name| !env_policy.inherits(name) && !OWN.contains(name))
        .filter(|name| !name.starts_with("PM2_") && !name.starts_with("NODE_CHANNEL_"))
        .collect();
    if names.is_empty() {
        return Some(Finding::ok(ABOUT, "clean"));
    }
    let shown: Vec<&str> = names.iter().take(8).copied().collect();
    let more = if names.len() > shown.len() {
        ", ..."
    } else {
        ""
    };
    Some(Finding::warning(
        ABOUT,
        format!(
            "apps in cluster mode inherit {} of its variables: {}{more}",
            names.len(),
            shown.join(", ")
        ),
        "run `pm2 kill`, then `pm2-sync sync`: it starts PM2 with a clean environment",
    ))
}
