//! What a workspace declares, what PM2 runs, and the plan between them.
//!
//! This crate is pure: no files, sockets, clock, environment or threads. Everything else in the
//! project depends on it, and it depends on nothing of the project.

mod diagnostic;
mod finding;
mod id;
mod label;
mod layout;

pub use diagnostic::{Diagnostic, Label as SourceLabel, Level, Location, Severity, Span};
pub use finding::{DocumentPath, Finding, PathSegment, Place};
pub use id::{DaemonId, InvalidId};
pub use label::{Label, SpecDigest};
pub use layout::{DEFINITION_FILE, DefinitionPath, Layout};
