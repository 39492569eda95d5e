//! A definition that is absent in only one snapshot is not removed, although others disappear permanently at that moment.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::Processes;
use pm2_client::{
    AdapterError, CurrentConf, Listed, MemoryAdapter, PmId, Prepare, ProcessAdapter, ProcessRecord,
    ReloadConf,
};
use reconcile::{
    ArtifactStore, Config, Disk, Environment, Lock, Pm2, Removal, Request, StopFlag, SyncReport,
};

/// An in-memory PM2 that changes files when its list is requested.
struct Watched {
    pm2: MemoryAdapter,
    /// Called with the number of requests so far.
    looked: Box<dyn FnMut(usize) + Send>,
    looks: usize,
}

impl ProcessAdapter for Watched {
    fn observe(&mut self) -> Result<Processes, AdapterError> {
        self.looks += 1;
        (self.looked)(self.looks);
        self.pm2.observe()
    }
    fn daemon_version(&mut self) -> Result<String, AdapterError> {
        self.pm2.daemon_version()
    }
    fn visit(
        &mut self,
        only: Option<&[PmId]>,
        visit: &mut dyn FnMut(Listed<'_>),
    ) -> Result<(), AdapterError> {
        self.pm2.visit(only, visit)
    }
    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError> {
        self.pm2.prepare(payload)
    }
    fn restart(
        &mut self,
        id: PmId,
        conf: &CurrentConf,
    ) -> Result<Option<ProcessRecord>, AdapterError> {
        self.pm2.restart(id, conf)
    }
    fn reload(&mut self, id: PmId, conf: &ReloadConf) -> Result<(), AdapterError> {
        self.pm2.reload(id, conf)
    }
    fn stop(&mut self, id: PmId) -> Result<(), AdapterError> {
        self.pm2.stop(id)
    }
    fn delete(&mut self, id: PmId) -> Result<(), AdapterError> {
        self.pm2.delete(id)
    }
    fn stop_watch(&mut self, id: PmId) -> Result<(), AdapterError> {
        self.pm2.stop_watch(id)
    }
    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError> {
        self.pm2.another()
    }
}

struct World {
    dir: tempfile::TempDir,
    config: Config,
    pm2: MemoryAdapter,
}

fn definition(root: &Utf8Path, id: &str) -> Utf8PathBuf {
    root.join("system/daemons")
        .join(id)
        .join("ecosystem.pm2.edn")
}

fn define(root: &Utf8Path, id: &str) {
    let file = definition(root, id);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = format!("{{:apps [{{:name \"{id}\" :script \"/bin/sleep\" :args [\"1000\"]}}]}}\n");
    std::fs::write(file, text).unwrap();
}

impl World {
    /// Twelve daemons that run.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
        for n in 0..12 {
            define(&root, &format!("d{n}"));
        }
        let vars = [("HOME", dir.path().join("home"))]
            .map(|(key, path)| (key.to_owned(), path.to_str().unwrap().to_owned()));
        let environment = Environment::new(BTreeMap::from(vars), Some(root.clone()));
        let world = Self {
            config: Config::for_workspace(&root, environment).unwrap(),
            pm2: MemoryAdapter::new(),
            dir,
        };
        assert_eq!(world.sync(Removal::Now, |_| {}).applied.steps.len(), 12);
        world
    }

    fn root(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.dir.path().join("w")).unwrap()
    }

    fn sync(&self, removal: Removal, looked: impl FnMut(usize) + Send + 'static) -> SyncReport {
        let mut request = Request::default();
        request.removal = removal;
        let stop = StopFlag::default();
        let home = self.dir.path().join("home");
        let home = Utf8Path::from_path(&home).unwrap();
        let lock = Lock::take(home, "test", Duration::ZERO, &stop, &mut |_| {}).unwrap();
        let mut pm2 = Pm2::new(&self.config, &stop).with_adapter(Box::new(Watched {
            pm2: self.pm2.clone(),
            looked: Box::new(looked),
            looks: 0,
        }));
        reconcile::reconcile(
            &self.config,
            &request,
            &mut Disk,
            &ArtifactStore::new(&self.config.layout),
            &mut pm2.write(lock),
            &stop,
            &mut |_| {},
        )
        .unwrap()
    }

    fn names(&self) -> Vec<String> {
        let list = self.pm2.clone().list().unwrap();
        list.into_iter().map(|record| record.name).collect()
    }
}

/// `d0` is removed permanently. `d1` exists in the first snapshot, is absent in the second, and back in the third.
fn blink(root: Utf8PathBuf, seen: Arc<Mutex<usize>>) -> impl FnMut(usize) + Send + 'static {
    move |look| {
        *seen.lock().unwrap() = look;
        match look {
            1 => std::fs::remove_file(definition(&root, "d1")).unwrap(),
            2 => define(&root, "d1"),
            _ => {}
        }
    }
}

#[test]
fn a_sync_takes_snapshots_until_a_definition_is_absent_in_two() {
    let world = World::new();
    std::fs::remove_file(definition(&world.root(), "d0")).unwrap();
    let looks = Arc::new(Mutex::new(0));
    world.sync(
        Removal::ConfirmAfter(Duration::from_millis(1)),
        blink(world.root(), Arc::clone(&looks)),
    );
    assert!(*looks.lock().unwrap() >= 3);
    let names = world.names();
    assert!(!names.contains(&"d0".to_owned()), "{names:?}");
    assert!(names.contains(&"d1".to_owned()), "{names:?}");
}

#[test]
fn a_watch_removes_nothing_while_further_definitions_disappear() {
    let world = World::new();
    std::fs::remove_file(definition(&world.root(), "d0")).unwrap();
    let looks = Arc::new(Mutex::new(0));
    let report = world.sync(Removal::Now, blink(world.root(), looks));
    assert_eq!(report.applied.steps.len(), 0);
    assert_eq!(world.names().len(), 12);
    // The next time, there is only one.
    world.sync(Removal::Now, |_| {});
    assert_eq!(world.names().len(), 11);
}
