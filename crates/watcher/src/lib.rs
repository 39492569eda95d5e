//! Finds and watches the definitions of a workspace.
//!
//! There are two halves, which only the caller combines. One *scans*: [`scan()`] once, or a [`Scanner`] repeatedly, and returns a
//! [`Tree`] of sources. The other *watches*: a [`Watcher`] is a thread that reports when and where to scan again. An event never
//! says what changed. The caller compares whole trees, so a lost, duplicate or late hint costs time, never correctness.
//!
//! ```text
//! notify ─ event ─> table ─ paths ─> watch_state ─ debounce ─> Batch ─> caller ─> Scanner ─> Tree
//!                     │                    │
//!                     │                    └ timers: root, resync, heartbeat, poll, retry
//!                     └ watches new directories before they are scanned
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `scan`, `walk`, `read`, `listing`, `tree` | the scan: real directories, then links; what is read is whole |
//! | `file` | one file that a definition refers to |
//! | `debounce`, `watch_state` | what to do next, with the time as an argument; no thread, no clock |
//! | `source` | the interface for hints; [`Watcher::start_with`] takes another source than notify |
//! | `change`, `table`, `resolve` | which directories are watched, and what a change in one of them concerns |
//! | `notify_source` | the only file that knows notify |
//! | `watch` | the thread |
//!
//! Invariants:
//! - Not seen is not absent: [`Tree::is_absent`] is false below an unreadable directory, and an unreadable root
//!   is a [`ScanError`], never an empty tree.
//! - A directory is watched before it is listed, and listed before a batch reports it.
//! - A source that lost any event is replaced as a whole, and everything is scanned again.
//! - The callback of a source neither blocks nor panics nor logs. Every queue is bounded.
//! - Nothing here acts on absence: the caller decides how long a definition must be gone before that counts.
//!
//! ```
//! use std::sync::mpsc::channel;
//! use std::time::Duration;
//!
//! use daemon_model::{DaemonId, Layout};
//! use watcher::{Scanner, Scope, Settings, Source, Watcher};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let root = camino::Utf8PathBuf::try_from(dir.path().to_owned())?;
//! let layout = Layout::new(root);
//! let id = DaemonId::new("mcp/serena")?;
//! let definition = layout.definition_path(&id);
//! std::fs::create_dir_all(layout.daemons_dir().join(id.as_str()))?;
//! std::fs::write(&definition, "{:apps []}")?;
//!
//! let mut scanner = Scanner::new(layout.clone());
//! assert!(scanner.full()?.changed.contains(&id));
//!
//! let (sender, batches) = channel();
//! let _watcher = Watcher::start(
//!     layout,
//!     Settings::default(),
//!     Box::new(move |batch| {
//!         // The receiver may be gone when the last batch arrives.
//!         let _ = sender.send(batch);
//!     }),
//! )?;
//! // The first batch says that the watch has begun. A scan finds what changed before.
//! batches.recv_timeout(Duration::from_secs(10))?;
//! scanner.stat_only()?;
//!
//! std::fs::write(&definition, "{:apps [{:name \"serena\"}]}")?;
//! let batch = batches.recv_timeout(Duration::from_secs(10))?;
//! let scan = match batch.scope {
//!     Scope::Everything => scanner.stat_only()?,
//!     Scope::Dirty(paths) => scanner.dirty(&paths)?,
//! };
//! assert!(scan.changed.contains(&id));
//! assert!(matches!(scan.tree.sources[&id], Source::Present(_)));
//! # Ok(())
//! # }
//! ```

mod change;
mod debounce;
mod file;
mod file_system;
mod key;
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
mod watch_state;

pub use debounce::Debounce;
pub use file::{FoundFile, SeenFile};
pub use file_system::remote_file_system;
pub use notify_source::NotifyOpener;
pub use scan::{Scan, ScanError, Scanner, scan};
pub use settings::Settings;
pub use source::{DeadReason, Hint, HintSource, LostReason, OpenError, OpenSource, Scope, Waker};
pub use tree::{Problem, ProblemKind, Source, Tree};
pub use watch::{WatchError, Watcher};
pub use watch_state::{Batch, Cause, Mode};
