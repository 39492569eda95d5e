//! Checks whether a step took effect: in PM2's record, and in the live process.
//!
//! PM2 calls a process `online` before it runs, and its own command line reports success even if nothing changed. So each step is
//! verified.

use std::collections::BTreeMap;

use daemon_model::{AppSpec, Change, EnvPolicy, Field, Label, PmId, Status, diff, env_text};
use serde_json::Value;

use crate::adapter::ProcessAdapter;
use crate::apply::StepError;
use crate::host::Host;
use crate::observe::{label_of, observe};
use crate::record::{LiveProcess, ProcessRecord};

/// How a process differs from the intended result of a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// PM2 does not list the process.
    #[error("PM2 does not list process {0} any more")]
    NotListed(PmId),
    /// PM2 still lists a process that was removed.
    #[error("PM2 still lists process {0}")]
    StillListed(PmId),
    /// PM2 says it runs, but there is no process.
    #[error(
        "PM2 says `online`, but process {0} does not run: its working directory or interpreter cannot be used"
    )]
    NoProcess(PmId),
    /// The old process still runs.
    #[error("process {pm_id} was not replaced (pid {pid})")]
    SameProcess {
        /// PM2's number.
        pm_id: PmId,
        /// The pid.
        pid: u32,
    },
    /// PM2's record is not as defined.
    #[error("PM2's record of process {pm_id} still differs in {}", list(.fields))]
    Record {
        /// PM2's number.
        pm_id: PmId,
        /// The fields that differ.
        fields: Vec<Field>,
    },
    /// The record has another label.
    #[error("process {0} does not have its label")]
    Label(PmId),
    /// The live process still has a value that the definition changed.
    #[error("process {pm_id} (pid {pid}) still runs with the old {what}")]
    Live {
        /// PM2's number.
        pm_id: PmId,
        /// The pid.
        pid: u32,
        /// The outdated field.
        what: Field,
    },
    /// The process still runs though it was stopped.
    #[error("process {pm_id} is `{status}`, not stopped")]
    NotStopped {
        /// PM2's number.
        pm_id: PmId,
        /// PM2's status word.
        status: Status,
    },
}

fn list(fields: &[Field]) -> String {
    fields
        .iter()
        .map(Field::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The state of a process before a step.
#[derive(Debug, Clone)]
pub(crate) struct Previous {
    record: ProcessRecord,
    changes: Vec<Change>,
}

impl Previous {
    pub(crate) fn new(record: ProcessRecord, spec: &AppSpec, env_policy: &EnvPolicy) -> Self {
        let changes = diff(spec, &observe(&record), env_policy);
        Self { record, changes }
    }
}

/// Checks whether processes match an app's definition.
pub(crate) struct Verification<'a> {
    pub(crate) spec: &'a AppSpec,
    pub(crate) label: Label,
    pub(crate) env_policy: &'a EnvPolicy,
    pub(crate) host: &'a dyn Host,
}

impl Verification<'_> {
    /// Checks processes against the records that PM2 has just returned, and that none of their old state is left.
    pub(crate) fn check(
        &self,
        records: &[ProcessRecord],
        before: &BTreeMap<PmId, Previous>,
    ) -> Result<(), StepError> {
        for record in records {
            self.process(record.pm_id, before.get(&record.pm_id), records)?;
        }
        Ok(())
    }

    /// Checks processes against PM2's current list, and that none of their old state is left.
    pub(crate) fn run(
        &self,
        ids: &[PmId],
        before: &BTreeMap<PmId, Previous>,
        adapter: &mut dyn ProcessAdapter,
    ) -> Result<(), StepError> {
        let list = adapter.records(ids)?;
        for id in ids {
            self.process(*id, before.get(id), &list)?;
        }
        Ok(())
    }

    fn process(
        &self,
        id: PmId,
        before: Option<&Previous>,
        list: &[ProcessRecord],
    ) -> Result<(), VerifyError> {
        let record = list
            .iter()
            .find(|record| record.pm_id == id)
            .ok_or(VerifyError::NotListed(id))?;
        if label_of(&record.pm2_env).as_ref() != Some(&self.label) {
            return Err(VerifyError::Label(id));
        }
        let differences = diff(self.spec, &observe(record), self.env_policy);
        if !differences.is_empty() {
            return Err(VerifyError::Record {
                pm_id: id,
                fields: differences.into_iter().map(|change| change.field).collect(),
            });
        }
        let Some(pid) = record.pid else {
            // A process that ended, is in its restart delay or is not to be started is no failure of the step.
            return match record.status {
                Status::Online => Err(VerifyError::NoProcess(id)),
                _ => Ok(()),
            };
        };
        if let Some(before) = before
            && before.record.pid == Some(pid)
        {
            return Err(VerifyError::SameProcess { pm_id: id, pid });
        }
        match self.host.inspect(pid) {
            Ok(Some(live)) => verify_live(id, record, &live, before),
            // It has ended since the list was read, or this system does not show it.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

/// Checks whether the live process still has part of the old definition. A program may change its own directory or command line, so
/// only the old value counts as evidence, not any other.
fn verify_live(
    id: PmId,
    record: &ProcessRecord,
    live: &LiveProcess,
    before: Option<&Previous>,
) -> Result<(), VerifyError> {
    let Some(before) = before else {
        return Ok(());
    };
    let stale = |what: &Field| VerifyError::Live {
        pm_id: id,
        pid: live.pid,
        what: what.clone(),
    };
    let environ = live_environment(record, live);
    for change in &before.changes {
        let old = change.from.as_deref();
        let is_old = match &change.field {
            Field::Env(name) => environ.as_ref().is_some_and(|environ| {
                old.is_some() && environ.get(name).map(String::as_str) == old
            }),
            Field::Attribute("cwd") => {
                live.cwd.is_some() && live.cwd.as_ref().map(|cwd| cwd.as_str()) == old
            }
            Field::Attribute("args") => {
                let words = |record: &ProcessRecord| -> Vec<String> {
                    record
                        .pm2_env
                        .get("args")
                        .and_then(Value::as_array)
                        .map(|args| args.iter().map(env_text).collect())
                        .unwrap_or_default()
                };
                let (was, is) = (words(&before.record), words(record));
                !was.is_empty()
                    && was != is
                    && live.command_line.ends_with(&was)
                    && !live.command_line.ends_with(&is)
            }
            _ => false,
        };
        if is_old {
            return Err(stale(&change.field));
        }
    }
    Ok(())
}

/// The environment that the process was given; for a cluster worker, it is JSON in one variable.
///
/// Source: PM2 7.0.4, `lib/God/ClusterMode.js`.
fn live_environment(
    record: &ProcessRecord,
    live: &LiveProcess,
) -> Option<BTreeMap<String, String>> {
    let environ = live.environ.clone()?;
    if record.pm2_env.get("exec_mode").and_then(Value::as_str) != Some("cluster_mode") {
        return Some(environ);
    }
    let worker: serde_json::Map<String, Value> =
        serde_json::from_str(environ.get("pm2_env")?).ok()?;
    Some(
        worker
            .iter()
            .filter(|(_, value)| !value.is_object() && !value.is_array())
            .map(|(key, value)| (key.clone(), env_text(value)))
            .collect(),
    )
}
