//! The command line end to end, on real PM2.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;

mod adoption;
mod control;
mod decisions;
mod doctor;
mod failures;
mod import;
mod import_configs;
mod import_running;
mod interrupted;
mod json;
mod launching;
mod logs;
mod order;
mod ownership;
mod removal;
mod rollouts;
mod states;
mod status;
mod storage;
mod supervised;
mod sync;
mod values;
mod watch;
