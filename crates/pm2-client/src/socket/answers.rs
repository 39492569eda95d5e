//! Interprets PM2's answers.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use daemon_model::PmId;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::timeouts::timeout_in;
use crate::adapter::{AdapterError, Method};
use crate::record::{Listed, is_one_of, record};
use crate::wire::{Reply, WireError};

/// Interprets a reply: the requested result, or PM2's refusal.
pub(super) type ReadReply<'r, T> =
    dyn FnMut(Reply<'_>) -> serde_json::Result<Result<T, String>> + 'r;

/// Applies `read` to PM2's answer.
pub(super) fn made_of<T>(
    method: Method,
    reply: Reply<'_>,
    read: &mut ReadReply<'_, T>,
) -> Result<T, AdapterError> {
    match read(reply) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(message)) => Err(AdapterError::Refused { method, message }),
        Err(error) => Err(AdapterError::Protocol {
            method,
            source: WireError::Json(error),
        }),
    }
}

/// Parses a PM2 list into these entries and applies a function to them.
pub(super) fn listed<'a, E: Deserialize<'a>, T>(
    reply: Reply<'a>,
    make: impl FnOnce(Vec<E>) -> serde_json::Result<T>,
) -> serde_json::Result<Result<T, String>> {
    match reply.read()? {
        Ok(entries) => make(entries).map(Ok),
        Err(message) => Ok(Err(message)),
    }
}

/// Visits the records of a list (those with these numbers, or all), and notes how long each process may take to stop and to start.
pub(super) fn visit_list(
    reply: Reply<'_>,
    only: Option<&[PmId]>,
    timeouts: &mut BTreeMap<PmId, Duration>,
    visit: &mut dyn FnMut(Listed<'_>),
) -> serde_json::Result<Result<(), String>> {
    listed(reply, |entries: Vec<&RawValue>| {
        for entry in entries {
            // PM2 always sends the whole list, but the rest need not be parsed.
            if only.is_some_and(|only| !is_one_of(entry, only)) {
                continue;
            }
            if let Some(record) = record(serde_json::from_str(entry.get())?) {
                timeouts.insert(record.pm_id, timeout_in(&record.pm2_env));
                visit(Listed::new(record));
            }
        }
        Ok(())
    })
}

pub(super) fn failed(method: Method, timeout: Duration, source: std::io::Error) -> AdapterError {
    match source.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => AdapterError::Timeout {
            method,
            after: timeout,
        },
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            AdapterError::Closed { method }
        }
        _ => AdapterError::Io { method, source },
    }
}

pub(super) fn version_in(answer: &Value) -> Result<String, AdapterError> {
    answer
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or(AdapterError::Answer {
            method: Method::Version,
            missing: "version",
        })
}
