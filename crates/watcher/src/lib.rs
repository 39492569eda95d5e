//! Finds and watches the definitions of a workspace.

mod debounce;
mod file_system;
mod keeper;
mod listing;
mod notify_source;
mod read;
mod resolve;
mod scan;
mod settings;
mod source;
mod table;
mod tree;
mod walk;
mod watch;

pub use debounce::Debounce;
pub use keeper::{Batch, Cause, Mode};
pub use notify_source::NotifyOpener;
pub use scan::{Scan, ScanError, Scanner, scan};
pub use settings::Settings;
pub use source::{DeadReason, Hint, HintSource, LostReason, OpenError, OpenSource, Scope, Waker};
pub use tree::{Problem, ProblemKind, Source, Tree};
pub use watch::{WatchError, Watcher};
