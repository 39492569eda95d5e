//! Finds and watches the definitions of a workspace.
//!
//! Two halves that meet only in the caller. One *scans*: [`scan()`] once, or a [`Scanner`] again and again, and
//! gives a [`Tree`] of sources. The other *watches*: a [`Watcher`] is a thread that says when and where to scan
//! again. An event never says what changed. Whoever acts compares whole trees, so a hint that is lost, doubled
//! or late costs time and never truth.
//!
//! ```text
//! notify ─ event ─> table ─ paths ─> keeper ─ debounce ─> Batch ─> caller ─> Scanner ─> Tree
//!                     │                 │
//!                     │                 └ timers: root, resync, heartbeat, poll, retry
//!                     └ watches what appeared, before anyone looks at it
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `scan`, `walk`, `read`, `listing`, `tree` | the scan: real directories, then links; what is read is whole |
//! | `debounce`, `keeper` | what to do next, with the time as an argument; no thread, no clock |
//! | `source` | the port for hints; another one than notify's can be passed to [`Watcher::start_with`] |
//! | `table`, `resolve` | which directories are watched, and what a change in one of them concerns |
//! | `notify_source` | the only file that knows notify |
//! | `watch` | the thread |
//!
//! Invariants:
//! - Not seen is not absent: [`Tree::is_absent`] is false below a directory that could not be looked into, and a
//!   root that cannot be looked into is a [`ScanError`], never an empty tree.
//! - A directory is watched before it is listed, and listed before a batch tells of it.
//! - A source that lost anything is replaced as a whole, and everything is looked at again.
//! - The callback of a source neither blocks nor panics nor logs; all that waits anywhere is bounded.
//! - Nothing here acts on absence: how long something has to be gone before that counts is the caller's to say.
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
//!         // The other end may be gone already when the last batch comes.
//!         let _ = sender.send(batch);
//!     }),
//! )?;
//! // The first batch says that the watch has begun: what changed until then is found by looking.
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

mod debounce;
mod file_system;
mod keeper;
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

pub use debounce::Debounce;
pub use file_system::remote_file_system;
pub use keeper::{Batch, Cause, Mode};
pub use notify_source::NotifyOpener;
pub use scan::{Scan, ScanError, Scanner, scan};
pub use settings::Settings;
pub use source::{DeadReason, Hint, HintSource, LostReason, OpenError, OpenSource, Scope, Waker};
pub use tree::{Problem, ProblemKind, Source, Tree};
pub use watch::{WatchError, Watcher};
