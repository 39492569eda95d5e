//! A native PM2 client: observe, apply a plan, verify the live processes.
//!
//! [`SocketAdapter`] talks to PM2 over its own socket, by process number only, so the pitfalls of names on PM2's command line do
//! not apply. [`ProcessAdapter`] is the interface to PM2 and [`Host`] the interface to the machine; [`observe`] converts PM2's
//! records to the model's, and [`apply`] executes a plan and verifies each step. Messages cannot crash PM2: [`Prepare`] and
//! [`CurrentConf`] only accept values that it can handle.
//!
//! ```
//! use daemon_model::{AppSpec, DaemonId, Desired, DesiredDaemon, DocumentPath, EnvPolicy, Observed, Policy, SpecContext, plan};
//! use pm2_client::{ApplyContext, LocalHost, MemoryAdapter, MemoryHost, ProcessAdapter, StopFlag, apply};
//!
//! let root = "/".into();
//! let context = SpecContext { root, home: root, env_name: None, deploy: None };
//! let app = serde_json::json!({ "name": "api", "script": "/bin/sh" });
//! let id = DaemonId::new("api")?;
//! let (app, _findings) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
//! let desired = Desired {
//!     daemons: [(id, DesiredDaemon::Apps(app.into_iter().collect()))].into(),
//!     ..Desired::default()
//! };
//!
//! // A PM2 in memory behaves like a real one; `SocketAdapter::connect` connects to a real one.
//! let mut pm2 = MemoryAdapter::new();
//! let env_policy = EnvPolicy { pm2_home: "/home/me/.pm2".into(), pass_env: Vec::new() };
//! let policy = Policy::new(root, env_policy.clone(), 2);
//! let observed = Observed { processes: pm2.observe()?, ..Observed::default() };
//! let planned = plan(&desired, &observed, &policy);
//!
//! let host = MemoryHost::new(LocalHost::new(std::collections::BTreeMap::new(), None), &pm2);
//! let context = ApplyContext {
//!     workspace: root,
//!     env_policy: &env_policy,
//!     host: &host,
//!     jobs: std::num::NonZeroUsize::MIN,
//!     stop: &StopFlag::default(),
//! };
//! let report = apply(&planned.plan, &mut pm2, &context, &mut |_progress| {});
//! assert!(report.is_complete());
//! assert_eq!(pm2.observe()?[0].name, "api");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod apply;
mod bus;
mod connect;
mod dump;
mod host;
mod launch;
mod list_cache;
mod memory;
mod message;
mod module;
mod observe;
mod orphans;
mod payload;
mod proc;
mod recent;
mod record;
mod socket;
mod stop;
mod verify;
mod wire;

pub use adapter::{AdapterError, Method, ProcessAdapter};
pub use apply::{ApplyContext, Progress, StepError, apply};
pub use bus::Bus;
pub use connect::MAX_SOCKET_PATH;
pub use daemon_model::{PmId, Status};
pub use dump::{Dump, DumpError, Saved, records_of_dump};
pub use host::{FileKind, Host, InspectError, LocalHost, User, find_in_path};
pub use launch::{HOME_BYTES, LaunchError, Pm2Command, Started, ensure_running};
pub use memory::{Behaviour, Call, Fault, MemoryAdapter, MemoryHost};
pub use message::{CurrentConf, InvalidMessage, MAX_INSTANCES, Prepare, ReloadConf};
pub use module::{Module, ModuleError};
pub use observe::{label_of, observe};
pub use orphans::{KillError, Orphans};
pub use payload::{LABEL_KEY, ResolveError, ResolvedApp};
pub use proc::{environ, is_being_ended, is_in_lineage, pm2_daemons};
pub use record::{Listed, LiveProcess, ProcessRecord};
pub use socket::{ConnectOptions, Deadlines, SocketAdapter, transition_timeout};
pub use stop::StopFlag;
pub use verify::VerifyError;
pub use wire::WireError;
