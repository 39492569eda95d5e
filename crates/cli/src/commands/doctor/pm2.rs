//! Checks PM2: its command and its home.

use std::os::unix::fs::PermissionsExt;

use camino::Utf8Path;
use pm2_client::{HOME_BYTES, MAX_SOCKET_PATH, Pm2Command};

use super::{Context, Finding, daemon, read_small};

const COMMAND: &str = "pm2 command";
const HOME: &str = "PM2's home";
pub(super) const OTHER: &str = "choose another one with `PM2_HOME`";

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let location = match &context.pm2 {
        Ok(location) => location,
        Err(error) => {
            let advice = error.hint().unwrap_or_default();
            return vec![Finding::fault(HOME, reconcile::chain(error), advice)];
        }
    };
    let (command, version) = check_command(context, location.command.as_deref());
    let mut findings = vec![command];
    let home = &location.home;
    let socket = home.join("interactor.sock");
    if socket.as_str().len() > MAX_SOCKET_PATH {
        findings.push(Finding::fault(
            HOME,
            format!("{home} is too long for sockets in it ({MAX_SOCKET_PATH} bytes at most)"),
            "choose a shorter one with `PM2_HOME`",
        ));
        return findings;
    }
    findings.push(check_home(home));
    findings.extend(daemon::check(context, home, version.as_deref()));
    findings
}

/// The `pm2` command, and its version.
fn check_command(context: &Context<'_>, command: Option<&Utf8Path>) -> (Finding, Option<String>) {
    const INSTALL: &str = "install PM2 with `npm install pm2`, or name its command with `--pm2 PATH` or `PM2_SYNC_PM2`";
    let fault = |found: String| (Finding::fault(COMMAND, found, INSTALL), None);
    let Some(command) = command else {
        return fault("not found: PM2 cannot be started when it is not running".to_owned());
    };
    let file = match command.canonicalize_utf8() {
        Ok(file) => file,
        Err(error) => return fault(format!("`{command}` cannot be used: {error}")),
    };
    let version = version_of_package(&file)
        // For a wrapper script, only PM2 itself knows its version.
        .or_else(|| Pm2Command::new(command).version(context.environment.vars()));
    let Some(version) = version else {
        return fault(format!(
            "`{command}` is not PM2's command: it does not answer `--version`"
        ));
    };
    let finding = if is_tested(&version) {
        Finding::ok(COMMAND, format!("{command}, version {version}"))
    } else {
        Finding::warning(
            COMMAND,
            format!("{command}, version {version}; pm2-sync is not tested with it"),
            "use PM2 5, 6 or 7",
        )
    };
    (finding, Some(version))
}

/// The version of the npm package `pm2` that contains the file.
fn version_of_package(file: &Utf8Path) -> Option<String> {
    file.ancestors()
        .filter_map(|dir| read_small(&dir.join("package.json")).ok())
        .filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .find(|package| package.get("name").and_then(|name| name.as_str()) == Some("pm2"))
        .and_then(|package| Some(package.get("version")?.as_str()?.to_owned()))
}

pub(super) fn is_tested(version: &str) -> bool {
    matches!(version.split('.').next(), Some("5" | "6" | "7"))
}

fn check_home(home: &Utf8Path) -> Finding {
    if let Ok(Some(uid)) = files::foreign_owner(home.as_std_path(), files::is_trusted) {
        return Finding::fault(
            HOME,
            format!("{home} belongs to another user (uid {uid}), so nothing is changed there"),
            OTHER,
        );
    }
    match std::fs::metadata(home) {
        Ok(metadata) if !metadata.is_dir() => {
            Finding::fault(HOME, format!("{home} is not a directory"), OTHER)
        }
        Ok(metadata) => match files::check_room(home.as_std_path(), HOME_BYTES) {
            Err(error) => Finding::fault(
                HOME,
                format!("{home}: cannot write to it: {error}"),
                "free space on its disk, or name another home with `--pm2-home DIR`",
            ),
            Ok(()) if metadata.permissions().mode() & 0o022 != 0 => Finding::warning(
                HOME,
                format!("{home} is writable by others: they can run programs as you"),
                format!("`chmod go-w {home}`"),
            ),
            Ok(()) => Finding::ok(HOME, home.as_str()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok(HOME, format!("{home} does not exist yet"))
        }
        Err(error) => Finding::fault(HOME, format!("{home}: {error}"), OTHER),
    }
}
