//! What a workspace declares, what PM2 runs, and the plan between them.
//!
//! This crate is pure: no files, sockets, clock, environment or threads. Everything else in the project
//! depends on it, and it depends on nothing of the project.
//!
//! The flow through it: an app of a rendered document is read into an [`AppSpec`], its canonical form, with
//! [`Finding`]s about what PM2 would misread; all apps of a workspace are [`Desired`]; PM2's list is
//! [`Observed`]; [`plan`] compares the two and gives a [`Plan`] of [`Step`]s, each with its [`Reason`]s;
//! whoever carries it out answers with an [`ApplyReport`].
//!
//! ```
//! use daemon_model::{AppSpec, DaemonId, Desired, DesiredDaemon, DocumentPath, Observed, OnRemove, Policy};
//! use daemon_model::{SpecContext, Surroundings, plan};
//!
//! let id = DaemonId::new("services/api")?;
//! let context = SpecContext { root: "/w".into(), home: "/home/me".into(), env_name: None, deploy: None };
//! let app = serde_json::json!({ "name": "api", "script": "./api.js" });
//! let (spec, findings) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
//! assert!(findings.is_empty());
//!
//! let desired = Desired { daemons: [(id, DesiredDaemon::Apps(spec.into_iter().collect()))].into() };
//! let policy = Policy {
//!     workspace: "/w".into(),
//!     around: Surroundings { pm2_home: "/home/me/.pm2".into(), pass_env: vec![] },
//!     cpus: 4,
//!     prune: true,
//!     defer_removal: false,
//!     on_remove: OnRemove::Delete,
//!     confirmed: None,
//!     adopt: true,
//!     only: None,
//!     except: Default::default(),
//!     last_wishes: Default::default(),
//!     own: None,
//! };
//! let plan = plan(&desired, &Observed::default(), &policy);
//! assert_eq!(plan.steps[0].action.word(), "start");
//! # Ok::<(), daemon_model::InvalidId>(())
//! ```

pub mod attribute;
mod check;
mod coerce;
mod desired;
mod diagnostic;
mod diff;
mod finding;
mod id;
mod label;
mod layout;
mod names;
pub mod paths;
mod plan;
mod process;
pub mod reference;
mod report;
mod spec;
pub mod survival;

pub use check::{PlanViolation, check_plan};
pub use coerce::{env_text, is_cron_pattern, js_number};
pub use desired::{Claims, Desired, DesiredDaemon, check_claims, check_together};
pub use diagnostic::{Diagnostic, Label as SourceLabel, Level, Location, Severity, Span};
pub use diff::{
    BASE_ENV, Change, ChangeKind, Field, Surroundings, default_interpreters, diff, exec_mode_with,
    lost_variables,
};
pub use finding::{DocumentPath, Finding, FindingLabel, PathSegment, Place};
pub use id::{DaemonId, InvalidId};
pub use label::{Label, SpecDigest};
pub use layout::{DEFINITION_FILE, DefinitionPath, Layout};
pub use plan::{
    Action, AppState, Condition, HeldRemoval, OnRemove, Plan, Policy, Reason, Step, Target,
    is_mass_removal, plan, removal_code, workspace_code,
};
pub use process::{
    Attributes, Observed, ObservedProcess, Orphan, ProcessStatus, Stored, Variables,
};
pub use report::{ApplyReport, Outcome, StepReport};
pub use spec::{
    AppPolicy, AppSpec, ExecMode, Instances, OnChange, POLICY_KEY, ProcessFiles, SpecContext,
    is_node_like,
};
