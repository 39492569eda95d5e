//! What a pass does with PM2 but for its steps: connect, start, look, save.

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::Utf8PathBuf;
use daemon_model::{Label, Observed, ObservedProcess};
use pm2_client::{
    AdapterError, Deadlines, Dump, DumpError, Pm2Command, ProcessAdapter, SocketAdapter,
    ensure_running_until, is_in_lineage, label_of, observe,
};
use serde_json::{Map, Value};

use super::{PassError, PassOptions};
use crate::config::Config;
use crate::definitions::Definitions;
use crate::lock::Lock;
use crate::signals::StopFlag;

/// A connection to PM2, if it runs.
///
/// # Errors
/// [`AdapterError`] when it runs but does not answer.
pub fn connect(config: &Config) -> Result<Option<Box<dyn ProcessAdapter>>, AdapterError> {
    connect_until(config, &StopFlag::default())
}

/// The same, for a caller that may be told to stop while PM2 does not answer.
pub(crate) fn connect_until(
    config: &Config,
    stop: &StopFlag,
) -> Result<Option<Box<dyn ProcessAdapter>>, AdapterError> {
    boxed(SocketAdapter::connect_until(
        &config.pm2_home,
        Deadlines::default(),
        stop.share(),
    ))
}

/// The same, for a caller that will look at PM2 next: it is asked for its list at once.
pub(crate) fn connect_asking(
    config: &Config,
    stop: &StopFlag,
) -> Result<Option<Box<dyn ProcessAdapter>>, AdapterError> {
    boxed(SocketAdapter::connect_asking(
        &config.pm2_home,
        Deadlines::default(),
        stop.share(),
    ))
}

fn boxed(
    connected: Result<SocketAdapter, AdapterError>,
) -> Result<Option<Box<dyn ProcessAdapter>>, AdapterError> {
    match connected {
        Ok(adapter) => Ok(Some(Box::new(adapter))),
        Err(AdapterError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A connection as a pass uses it.
pub(crate) fn borrow(
    adapter: &mut Option<Box<dyn ProcessAdapter>>,
) -> Option<&mut dyn ProcessAdapter> {
    match adapter {
        Some(adapter) => Some(adapter.as_mut()),
        None => None,
    }
}

pub(super) fn observe_all(
    adapter: Option<&mut dyn ProcessAdapter>,
) -> Result<Observed, AdapterError> {
    Ok(match adapter {
        Some(adapter) => observed(adapter.observe()?),
        None => Observed::default(),
    })
}

/// What PM2 runs, with what its dump is to say of it.
pub(super) fn observe_with_dump(
    config: &Config,
    adapter: &mut dyn ProcessAdapter,
) -> Result<(Observed, Dump), AdapterError> {
    let mut processes = Vec::new();
    let mut dump = Dump::default();
    adapter.each(&mut |record| {
        if is_ours(config, &record.pm2_env) {
            dump.add(&record);
        }
        processes.push(Arc::new(observe(record)));
    })?;
    processes.sort_by_key(|process| process.pm_id);
    Ok((observed(processes), dump))
}

fn is_ours(config: &Config, pm2_env: &Map<String, Value>) -> bool {
    label_of(pm2_env).is_some_and(|label| label.workspace == config.root())
}

fn observed(processes: Vec<Arc<ObservedProcess>>) -> Observed {
    let workspaces: BTreeSet<&Utf8PathBuf> = processes
        .iter()
        .filter_map(|process| process.label.as_ref())
        .map(|label: &Label| &label.workspace)
        .collect();
    let missing_workspaces = workspaces
        .into_iter()
        .filter(|workspace| {
            // Only a plain "it is not there" counts: what cannot be looked at may well exist.
            std::fs::symlink_metadata(workspace)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        })
        .cloned()
        .collect();
    Observed {
        processes,
        missing_workspaces,
        ..Observed::default()
    }
}

/// Whether the PM2 that ran this process is gone. None when PM2 does not run it, or where that cannot be seen.
pub(crate) fn is_left_over(config: &Config) -> Option<bool> {
    config.own_pm_id()?;
    // PM2 is the one that started this process, not just any PM2 that happens to run now.
    let daemon = daemon_pid(config)?;
    is_in_lineage(&[daemon]).map(|below| !below)
}

/// Whether PM2 runs another process under this one's name.
pub(crate) fn has_successor(
    config: &Config,
    adapter: &mut dyn ProcessAdapter,
) -> Result<bool, AdapterError> {
    let Some(name) = config.own_name() else {
        return Ok(false);
    };
    let others: Vec<u32> = adapter
        .observe()?
        .iter()
        .filter(|process| process.name == name)
        .filter_map(|process| process.pid)
        .collect();
    Ok(!others.is_empty() && is_in_lineage(&others) == Some(false))
}

/// The pid that PM2 wrote down when it was started last.
pub(super) fn daemon_pid(config: &Config) -> Option<u32> {
    let text = std::fs::read_to_string(config.pm2_home.join("pm2.pid")).ok()?;
    text.trim().parse().ok()
}

/// A connection to PM2, which is started if it does not run.
///
/// # Errors
/// [`PassError`].
pub(crate) fn connect_or_start(config: &Config) -> Result<Box<dyn ProcessAdapter>, PassError> {
    if let Some(adapter) = connect(config)? {
        return Ok(adapter);
    }
    let lock = Lock::take(
        &config.pm2_home,
        "pm2-sync up",
        PassOptions::default().lock_timeout,
        &|| false,
        &mut |_| {},
    )?;
    match connect(config)? {
        Some(adapter) => Ok(adapter),
        None => start_pm2(config, &lock, &StopFlag::default()),
    }
}

pub(super) fn start_pm2(
    config: &Config,
    lock: &Lock,
    stop: &StopFlag,
) -> Result<Box<dyn ProcessAdapter>, PassError> {
    let pm2 = config.pm2.as_ref().ok_or(PassError::NoPm2Command)?;
    let env = config.environment.base_env(&config.surroundings());
    ensure_running_until(
        &Pm2Command::new(pm2),
        &config.pm2_home,
        &env,
        lock.share(),
        &|| stop.is_set(),
    )?;
    connect_until(config, stop)?.ok_or_else(|| {
        PassError::Pm2(AdapterError::NotRunning {
            path: config.pm2_home.join("rpc.sock"),
        })
    })
}

pub(super) fn save_dump(
    config: &Config,
    definitions: &Definitions,
    dump: Dump,
) -> Result<(), DumpError> {
    let names: BTreeSet<&str> = definitions
        .daemons
        .values()
        .flat_map(|definition| definition.apps())
        .map(|(_, app)| app.name())
        .collect();
    dump.save(&config.pm2_home, |pm2_env| {
        // What was adopted stands in an old dump without a label, under its name.
        let name = pm2_env.get("name").and_then(Value::as_str);
        is_ours(config, pm2_env) || name.is_some_and(|name| names.contains(name))
    })?;
    Ok(())
}
