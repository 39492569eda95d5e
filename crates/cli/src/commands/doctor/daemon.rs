//! Checks PM2's daemon: its version, its processes and its orphans.

use camino::Utf8Path;
use pm2_client::{
    AdapterError, ConnectOptions, Orphans, ProcessAdapter, ProcessRecord, SocketAdapter,
    pm2_daemons,
};
use reconcile::watcher_module::process_name;

use super::pm2::{OTHER, is_tested};
use super::{Context, Finding, environment};

const DAEMON: &str = "PM2 daemon";
const SEE_LOG: &str = "see `pm2 logs PM2`";

pub(super) fn check(context: &Context<'_>, home: &Utf8Path, version: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let daemons = pm2_daemons(home);
    if daemons.len() > 1 {
        findings.push(Finding::fault(
            DAEMON,
            format!(
                "{} of them share one home (pids {daemons:?})",
                daemons.len()
            ),
            "stop all but the one in `pm2.pid` with `kill PID`, then run `pm2-sync sync`",
        ));
    }
    let mut listed = Vec::new();
    match ask(home) {
        Ok((running, list)) => {
            findings.push(compare_versions(&running, version));
            findings.extend(check_watcher(context, &list));
            listed = pids(&list);
        }
        Err(AdapterError::NotRunning { .. }) => {
            findings.push(Finding::ok(
                DAEMON,
                "not running; `pm2-sync sync` starts it",
            ));
        }
        Err(error @ AdapterError::OtherUser { .. }) => {
            findings.push(Finding::fault(DAEMON, reconcile::chain(&error), OTHER));
        }
        Err(error) => findings.push(Finding::fault(
            DAEMON,
            reconcile::chain(&error),
            format!("{SEE_LOG}; if it hangs, end it with `pm2 kill`"),
        )),
    }
    let daemon = daemons.first().copied();
    findings.push(check_orphans(home, daemon, &listed));
    findings.extend(daemon.and_then(|daemon| environment::check(context, home, daemon)));
    findings
}

/// The version of the daemon that answers, and its list.
fn ask(home: &Utf8Path) -> Result<(String, Vec<ProcessRecord>), AdapterError> {
    let mut adapter = SocketAdapter::connect(home, ConnectOptions::default())?;
    Ok((adapter.daemon_version()?, adapter.list()?))
}

fn pids(list: &[ProcessRecord]) -> Vec<u32> {
    list.iter().filter_map(|record| record.pid).collect()
}

fn compare_versions(running: &str, command: Option<&str>) -> Finding {
    match command {
        Some(command) if command != running => Finding::warning(
            DAEMON,
            format!("running, version {running}; the command is version {command}"),
            "`pm2 update` restarts PM2 and all apps with the command's version",
        ),
        _ if is_tested(running) => Finding::ok(DAEMON, format!("running, version {running}")),
        _ => Finding::fault(
            DAEMON,
            format!("running, version {running}, which is not supported"),
            "use PM2 5, 6 or 7",
        ),
    }
}

fn check_watcher(context: &Context<'_>, list: &[ProcessRecord]) -> Option<Finding> {
    const ABOUT: &str = "watcher";
    let name = process_name(context.config()?.root());
    let runs = |record: &ProcessRecord| record.name == name && record.pid.is_some();
    Some(match list.iter().any(runs) {
        true => Finding::ok(ABOUT, "running under PM2"),
        false => Finding::ok(ABOUT, "not running under PM2; `pm2-sync up` starts it"),
    })
}

fn check_orphans(home: &Utf8Path, daemon: Option<u32>, listed: &[u32]) -> Finding {
    const ABOUT: &str = "orphans";
    let found = Orphans::search(home, daemon, listed);
    let orphans = match found.if_unlisted.is_empty() {
        true => found.certain,
        // PM2 may have started them after it was asked.
        false => match ask(home) {
            Ok((_, list)) => found.unlisted(&pids(&list)),
            Err(_) => found.certain,
        },
    };
    let orphans: Vec<String> = orphans
        .iter()
        .map(|orphan| format!("{} (pid {})", orphan.name, orphan.pid))
        .collect();
    if orphans.is_empty() {
        return Finding::ok(ABOUT, "none");
    }
    Finding::warning(
        ABOUT,
        format!(
            "started by PM2, still running, but not in its list: {}",
            orphans.join(", ")
        ),
        "`pm2-sync sync ID` ends those of the defined apps of a daemon; end others with `kill PID`",
    )
}
