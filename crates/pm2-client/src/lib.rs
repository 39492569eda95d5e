//! A native PM2 client: observe, apply a plan, verify the live processes.
//!
//! PM2 is reached over its own socket ([`SocketAdapter`]), by process number only: none of the traps of its command
//! line's names exist here. [`ProcessAdapter`] is the port; [`observe`] turns PM2's list into the model's words,
//! [`apply`] carries out a plan and looks afterwards whether each step took effect. Nothing is sent that PM2 would
//! not survive: [`Prepare`] and [`CurrentConf`] can only be made of values that it can handle.

mod adapter;
mod apply;
mod bus;
mod dump;
mod host;
mod launch;
mod memory;
mod message;
mod observe;
mod payload;
mod proc;
mod record;
mod seen;
mod socket;
mod verify;
mod wire;

pub use adapter::{AdapterError, Method, ProcessAdapter};
pub use apply::{ApplyContext, Progress, StepError, apply};
pub use bus::Bus;
pub use dump::{Dump, DumpError, Saved};
pub use host::{FileKind, Host, User};
pub use launch::{LaunchError, Pm2Command, Started, ensure_running, ensure_running_until};
pub use memory::{Behaviour, Call, Fault, MemoryAdapter};
pub use message::{CurrentConf, InvalidMessage, MAX_INSTANCES, Prepare};
pub use observe::{label_of, observe};
pub use payload::{LABEL_KEY, Launch, ResolveError};
pub use proc::{god_daemons, is_being_ended, is_in_lineage, orphans};
pub use record::{LiveProcess, PmId, ProcessRecord, Status};
pub use socket::{Deadlines, MAX_SOCKET_PATH, SocketAdapter, patience_of};
pub use verify::VerifyError;
pub use wire::WireError;
