//! The guard against mass removal has a memory: many small removals count as a large one, and an unmounted file system deletes
//! nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use edn_render::artifact::ArtifactStore;
use pm2_client::{MemoryAdapter, ProcessAdapter};
use reconcile::{
    Config, DefinitionSource, Definitions, DefinitionsError, Environment, Lock, Pm2, Removal,
    Request, StopFlag, SyncReport,
};

/// Reads the tree, and pretends that file systems are mounted on these directories.
struct Mounted<'m>(&'m [&'m str]);

impl DefinitionSource for Mounted<'_> {
    fn load(&mut self, config: &Config) -> Result<Arc<Definitions>, DefinitionsError> {
        let mut tree = watcher::scan(&config.layout)?;
        tree.mounts = self.0.iter().map(Utf8PathBuf::from).collect();
        Definitions::of_tree(Arc::new(tree), config, None).map(Arc::new)
    }
}

struct World {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
    config: Config,
    pm2: MemoryAdapter,
}

impl World {
    /// Twelve daemons, the last three of them in one folder.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
        std::fs::create_dir_all(&root).unwrap();
        let vars = [("HOME", dir.path().join("home"))]
            .map(|(key, path)| (key.to_owned(), path.to_str().unwrap().to_owned()));
        let environment = Environment::new(BTreeMap::from(vars), Some(root.clone()));
        let world = Self {
            _dir: dir,
            config: {
                std::fs::create_dir_all(root.join("system/daemons")).unwrap();
                Config::for_workspace(&root, environment).unwrap()
            },
            root,
            pm2: MemoryAdapter::new(),
        };
        for n in 0..12 {
            world.define(&Self::id(n));
        }
        world
    }

    fn id(n: u32) -> String {
        match n {
            9.. => format!("mounted/d{n}"),
            _ => format!("d{n}"),
        }
    }

    fn dir(&self, id: &str) -> Utf8PathBuf {
        self.root.join("system/daemons").join(id)
    }

    fn define(&self, id: &str) {
        let name = id.rsplit('/').next().unwrap();
        let text =
            format!("{{:apps [{{:name \"{name}\" :script \"/bin/sleep\" :args [\"1000\"]}}]}}\n");
        std::fs::create_dir_all(self.dir(id)).unwrap();
        std::fs::write(self.dir(id).join("ecosystem.pm2.edn"), text).unwrap();
    }

    fn undefine(&self, id: &str) {
        std::fs::remove_dir_all(self.dir(id)).unwrap();
    }

    fn sync(&self, mounts: &[&str], confirm: Option<&str>) -> SyncReport {
        let stop = StopFlag::default();
        let home = &self.config.pm2_home;
        let lock = Lock::take(home, "test", Duration::from_secs(20), &stop, &mut |_| {}).unwrap();
        let mut pm2 = Pm2::new(&self.config, &stop).with_adapter(Box::new(self.pm2.clone()));
        let mut request = Request::default();
        request.removal = Removal::Now;
        request.confirm = confirm.map(|code| code.parse().unwrap());
        reconcile::reconcile(
            &self.config,
            &request,
            &mut Mounted(mounts),
            &ArtifactStore::new(&self.config.layout),
            &mut pm2.write(lock),
            &stop,
            &mut |_| {},
        )
        .unwrap()
    }

    fn names(&self) -> BTreeSet<String> {
        let list = self.pm2.clone().list().unwrap();
        list.into_iter().map(|record| record.name).collect()
    }
}

#[test]
fn removals_one_after_the_other_are_counted_together() {
    let world = World::new();
    world.sync(&[], None);
    for n in 0..3 {
        world.undefine(&World::id(n));
        assert!(world.sync(&[], None).after.plan.held.is_none(), "{n}");
    }
    assert_eq!(world.names().len(), 9);
    world.undefine(&World::id(3));
    let report = world.sync(&[], None);
    let held = report.after.plan.held.unwrap();
    assert_eq!(held.daemons, [daemon_model::DaemonId::new("d3").unwrap()]);
    assert_eq!(held.removed_lately, 3);
    assert_eq!(world.names().len(), 9);

    // A confirmed removal was intended, and no longer counts.
    world.sync(&[], Some(&held.code.to_string()));
    assert_eq!(world.names().len(), 8);
    // A daemon that comes back was not lost.
    for n in 0..3 {
        world.define(&World::id(n));
    }
    world.sync(&[], None);
    world.undefine(&World::id(0));
    assert!(world.sync(&[], None).after.plan.held.is_none());
    assert_eq!(world.names().len(), 10);
}

#[test]
fn an_unmounted_file_system_removes_nothing_until_that_is_confirmed() {
    let world = World::new();
    world.sync(&["mounted"], None);
    // The mount point is empty now. Three of twelve alone would not be too many.
    world.undefine("mounted");
    std::fs::create_dir(world.dir("mounted")).unwrap();
    for _ in 0..2 {
        let report = world.sync(&[], None);
        let held = report.after.plan.held.unwrap();
        assert_eq!(held.unmounted.len(), 3);
        assert_eq!(world.names().len(), 12);
    }
    // It is mounted again.
    for n in 9..12 {
        world.define(&World::id(n));
    }
    let report = world.sync(&["mounted"], None);
    assert!(report.after.plan.held.is_none());
    assert_eq!(report.applied.steps.len(), 0);

    // A definition that is deleted while it is mounted is deleted.
    world.undefine(&World::id(9));
    world.sync(&["mounted"], None);
    assert_eq!(world.names().len(), 11);

    // It is gone permanently.
    world.undefine("mounted");
    let held = world.sync(&[], None).after.plan.held.unwrap();
    assert_eq!(held.unmounted.len(), 2);
    let report = world.sync(&[], Some(&held.code.to_string()));
    assert!(report.after.plan.held.is_none());
    assert_eq!(world.names().len(), 9);
    // Nothing about it is remembered: the same folder may be used again.
    for n in 9..12 {
        world.define(&World::id(n));
    }
    world.sync(&[], None);
    world.undefine(&World::id(9));
    assert!(world.sync(&[], None).after.plan.held.is_none());
    assert_eq!(world.names().len(), 11);
}
