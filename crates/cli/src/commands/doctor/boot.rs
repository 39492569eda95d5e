//! Checks whether PM2 starts at boot.

use camino::Utf8PathBuf;
use pm2_client::{Host, LocalHost};

use super::{Context, Finding};

const ABOUT: &str = "boot";

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let user = LocalHost::new(context.environment.vars().clone(), None).user_name();
    // Where `pm2 startup` writes its files: PM2 7.0.4, lib/API/Startup.js.
    let files = [
        format!("/etc/systemd/system/pm2-{user}.service"),
        format!("/etc/init.d/pm2-{user}"),
    ];
    let found = files.iter().find(|file| Utf8PathBuf::from(file).exists());
    vec![match found {
        Some(file) => Finding::ok(ABOUT, format!("PM2 starts on boot ({file})")),
        None => Finding::warning(
            ABOUT,
            "start on boot not detected",
            "`pm2 startup` prints the command that sets it up",
        ),
    }]
}
