//! Shared by the tests: a workspace in a temporary directory.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod scrambled;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DEFINITION_FILE, DaemonId, Layout};
use watcher::{
    Batch, Cause, NotifyOpener, OpenSource, Scanner, Scope, Settings, Source, Tree, Watcher, scan,
};

pub struct World {
    dir: tempfile::TempDir,
    pub layout: Layout,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let layout = Layout::new(root.join("w"));
        fs::create_dir_all(layout.daemons_dir()).unwrap();
        fs::create_dir_all(root.join("outside")).unwrap();
        Self { dir, layout }
    }

    /// A path in the tree of definitions.
    pub fn tree(&self, path: &str) -> Utf8PathBuf {
        self.layout.daemons_dir().join(path)
    }

    /// A path beside the workspace, on the same file system.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.dir
            .path()
            .canonicalize()
            .unwrap()
            .join("outside")
            .join(path)
    }

    /// Writes the definition of a daemon, and creates its directory.
    pub fn define(&self, id: &str, text: &str) {
        define(self.tree(id), text);
    }

    pub fn scan(&self) -> Tree {
        scan(&self.layout).unwrap()
    }
}

pub fn define(dir: impl AsRef<Path>, text: &str) {
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.as_ref().join(DEFINITION_FILE), text).unwrap();
}

pub fn id(text: &str) -> DaemonId {
    DaemonId::new(Utf8Path::new(text)).unwrap()
}

/// A tree as text: the content of a definition, or `!` and the kind of error; `?` at the path of a misnamed file.
pub fn model(tree: &Tree) -> BTreeMap<String, String> {
    let text = |source: &Source| match source {
        Source::Present(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Source::Unreadable(error) => format!("!{:?}", error.kind()),
    };
    let sources = tree.sources.iter();
    let misnamed = tree.misnamed.iter();
    sources
        .map(|(id, source)| (id.to_string(), text(source)))
        .chain(misnamed.map(|path| (path.display().to_string(), "?".to_owned())))
        .collect()
}

pub fn entries(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(id, text): &(&str, &str)| ((*id).to_owned(), (*text).to_owned());
    entries.iter().map(owned).collect()
}

/// Uses a watcher as an engine does: it scans where a batch says, and has no other information about the disk.
pub struct Engine {
    pub watcher: Watcher,
    pub batches: Receiver<Batch>,
    pub scanner: Scanner,
    pub seen: Vec<Batch>,
    layout: Layout,
}

pub const DEADLINE: Duration = Duration::from_secs(10);

impl Engine {
    /// An engine that has scanned the initial tree.
    pub fn start(world: &World, settings: Settings) -> Self {
        Self::start_with(world, settings, Box::new(NotifyOpener))
    }

    /// As [`start`](Self::start), with another source of hints.
    pub fn start_with(world: &World, settings: Settings, opener: Box<dyn OpenSource>) -> Self {
        let mut engine = Self::start_unsettled_with(world, settings, opener);
        engine.wait("the watch begins", |engine| {
            engine
                .seen
                .iter()
                .any(|batch| batch.cause >= Cause::Started)
        });
        engine.seen.clear();
        engine
    }

    pub fn start_unsettled(world: &World, settings: Settings) -> Self {
        Self::start_unsettled_with(world, settings, Box::new(NotifyOpener))
    }

    fn start_unsettled_with(
        world: &World,
        settings: Settings,
        opener: Box<dyn OpenSource>,
    ) -> Self {
        let (sender, batches) = channel();
        let on_batch = Box::new(move |batch| sender.send(batch).unwrap_or(()));
        Self {
            watcher: Watcher::start_with(world.layout.clone(), settings, opener, on_batch).unwrap(),
            batches,
            scanner: Scanner::new(world.layout.clone()),
            seen: Vec::new(),
            layout: world.layout.clone(),
        }
    }

    /// Handles one batch, if it arrives in time.
    pub fn turn(&mut self, wait: Duration) -> bool {
        let Ok(batch) = self.batches.recv_timeout(wait) else {
            return false;
        };
        // A missing root changes nothing.
        let _ = match &batch.scope {
            Scope::Everything => self.scanner.stat_only(),
            Scope::Dirty(paths) => self.scanner.dirty(paths),
        };
        self.seen.push(batch);
        true
    }

    pub fn wait(&mut self, what: &str, mut until: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !until(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let batch = self.turn(left);
            assert!(
                batch || until(self),
                "in vain: {what}; {}",
                self.difference()
            );
        }
    }

    /// Waits until the model equals the disk.
    pub fn settle(&mut self, what: &str) {
        let layout = self.layout.clone();
        self.wait(what, |engine| {
            scan(&layout).is_ok_and(|truth| {
                let known = engine.scanner.tree();
                model(&truth) == model(known) && truth.problems.len() == known.problems.len()
            })
        });
    }

    /// Waits until the model has exactly these definitions; the disk must agree.
    pub fn expect(&mut self, what: &str, expected: &[(&str, &str)]) {
        let expected = entries(expected);
        assert_eq!(
            model(&scan(&self.layout).unwrap()),
            expected,
            "{what}: the test itself"
        );
        self.wait(what, |engine| model(engine.scanner.tree()) == expected);
    }

    /// The differences of the model, for the message of a failed test.
    fn difference(&self) -> String {
        let known = model(self.scanner.tree());
        let truth = scan(&self.layout)
            .map(|tree| model(&tree))
            .unwrap_or_default();
        let ids = known.keys().chain(truth.keys());
        let wrong: Vec<_> = ids
            .filter(|id| known.get(*id) != truth.get(*id))
            .map(|id| {
                let path = self.layout.daemons_dir().join(id);
                let real = path.canonicalize_utf8();
                let file = path.join(DEFINITION_FILE).canonicalize_utf8();
                format!(
                    "{id} = {:?}, not {:?}; {real:?} {file:?}",
                    truth.get(id),
                    known.get(id)
                )
            })
            .collect();
        format!("wrong: {wrong:#?}, last batch: {:?}", self.seen.last())
    }
}
