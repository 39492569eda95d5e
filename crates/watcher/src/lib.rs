//! Finds and watches the definitions of a workspace.

mod listing;
mod read;
mod scan;
mod tree;
mod walk;

pub use scan::{Scan, ScanError, Scanner, scan};
pub use tree::{Problem, ProblemKind, Source, Tree};
