//! The domain model: what a workspace declares, what PM2 runs, and the plan between them.
//!
//! This crate is pure: no files, sockets, clock, environment or threads. All other crates depend on it, and it depends on none of
//! them.
//!
//! The flow: an app of a rendered document is read into an [`AppSpec`], its canonical form, with [`Finding`]s about what PM2 would
//! misread. All apps of a workspace are [`Desired`]; PM2's list is [`Observed`]. [`plan`] compares the two and returns a [`Plan`]
//! of [`Step`]s, each with its [`Reason`]s, and the state of each app. Applying the plan returns an [`ApplyReport`].
//!
//! ```
//! use daemon_model::{ActionKind, AppSpec, DaemonId, Desired, DesiredDaemon, DocumentPath, EnvPolicy};
//! use daemon_model::{Observed, Policy, SpecContext, plan};
//!
//! let id = DaemonId::new("services/api")?;
//! let context = SpecContext { root: "/w".into(), home: "/home/me".into(), env_name: None, deploy: None };
//! let app = serde_json::json!({ "name": "api", "script": "./api.js" });
//! let (spec, findings) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
//! assert!(findings.is_empty());
//!
//! let daemons = [(id, DesiredDaemon::Apps(spec.into_iter().collect()))].into();
//! let desired = Desired { daemons, ..Desired::default() };
//! let env_policy = EnvPolicy { pm2_home: "/home/me/.pm2".into(), pass_env: vec![] };
//! let policy = Policy::new("/w", env_policy, 4);
//! let planned = plan(&desired, &Observed::default(), &policy);
//! assert_eq!(planned.plan.steps[0].action.kind(), ActionKind::Start);
//! # Ok::<(), daemon_model::InvalidId>(())
//! ```

pub mod attribute;
mod capped;
mod check;
mod coerce;
mod conflicts;
mod daemon_map;
mod dependencies;
mod desired;
mod diagnostic;
mod diff;
mod entry_changes;
mod finding;
mod gate;
mod history;
mod id;
mod label;
mod layout;
mod message;
mod misnamed;
mod names;
mod nearest;
mod overrides;
pub mod paths;
mod plan;
mod probe;
mod process;
mod readiness;
pub mod reference;
mod report;
mod rollout;
mod selector;
mod spec;
pub mod survival;
mod values;

pub use capped::{Capped, Diagnostics, Findings, HasSeverity, MAX_FINDINGS, Omitted};
pub use check::{PlanViolation, check_plan};
pub use coerce::{env_text, is_cron_pattern, js_number, json_number};
pub use conflicts::{Declared, PlacedApp, find_conflicts, have_same_claims};
pub use daemon_map::DaemonMap;
pub use desired::{Desired, DesiredDaemon, Records};
pub use diagnostic::{Diagnostic, Label as SourceLabel, Level, Location, Secrecy, Severity, Span};
pub use diff::{
    BASE_ENV, Change, ChangeKind, EnvPolicy, Field, default_interpreters, diff, exec_mode_with,
};
pub use entry_changes::EntryChange;
pub use finding::{
    DocumentPath, Finding, FindingLabel, PathSegment, Place, is_env_like, is_known_key,
    is_variable_name,
};
pub use gate::GateReport;
pub use history::{AppFailure, Entry, EntryApp, EntryOutcome, Gate, History, KEPT_ENTRIES};
pub use id::{DaemonId, InvalidId};
pub use label::{Label, Revision, SpecDigest};
pub use layout::{DEFINITION_FILE, Layout};
#[doc(hidden)]
pub use message::places_in;
pub use message::{HIDDEN, Message, MessagePart, Ours, Quoted};
pub use misnamed::Misnamed;
pub use names::default_for as default_app_name;
pub use nearest::nearest_name;
pub use overrides::{DaemonOverrides, Override, Overrides, Pin};
pub use plan::{
    Action, ActionKind, AppState, AppStates, Attempt, Cause, ChangeMethod, Condition, HeldRemoval,
    InvalidRemovalCode, LastPlan, Loss, OnRemove, Plan, Planned, Policy, Reason, RemovalCode,
    RemoveMethod, RestartRequest, Scope, Step, Target, Unready, UnreadyReason, guard_removal, plan,
    workspace_code,
};
pub use probe::{Check, CheckError, Handler, InvalidReference, Probe, ProbeKind, Template};
pub use process::{
    Attributes, Observed, ObservedProcess, Orphan, PmId, ProcessState, Processes, Status, Stored,
    Usage, Variables,
};
pub use readiness::{GateInput, NotReady, ProbeOutcome, Readiness, readiness};
pub use report::{ApplyReport, Outcome, StepReport};
pub use rollout::{Dependency, OnFailure, Rollout};
pub use selector::{Known, SelectError, Selection, Written};
pub use spec::{
    AppPolicy, AppSpec, ExecMode, Instances, OnChange, Origin, POLICY_KEY, ProcessFiles,
    SpecContext, env_file_problems, is_node_like,
};
pub use values::{EnvFile, EnvFileProblem, EnvFileState, ValueKey, Values, env_files};
