//! Rollouts: what was applied, whether it works, and what users decided about it.
//!
//! ```text
//! Planned.attempts ─ entry ─> History (pending) ─ apply ─> Gates::judge ─> History (ready or failed) ─> plan again
//!                                                             ▲
//!                                          PM2's list, Probes ┘
//! ```
//!
//! Before the first step of an attempt, its entry is written to the history of the daemon as `pending`, with a deadline for each
//! app. Gates judge it until it is ready or has failed. The command need not wait: a later `sync` or the watcher resumes a pending
//! entry. Rolling back needs no code of its own: the planner rejects a spec that failed.

mod commit;
mod decree;
mod entry;
mod gates;
mod liveness;
mod probes;
mod store;
mod undecided;

pub use decree::{Decree, DecreeError, Decreed, DecreedDaemon, Terms, decree};
pub use gates::WaitingApp;
pub use store::records;

pub(crate) use entry::EntryMaker;
pub(crate) use gates::Gates;
pub(crate) use liveness::Liveness;
pub(crate) use store::RecordStore;
pub(crate) use undecided::Undecided;
