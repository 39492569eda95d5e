//! A dry run cannot differ from the real run: `sync` does what `plan` plans, in random worlds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::Utf8PathBuf;
use daemon_model::{ActionKind, Step};
use edn_render::artifact::ArtifactStore;
use pm2_client::{MemoryAdapter, ProcessAdapter};
use pm2_testbed::Random;
use reconcile::{
    Config, Disk, DryRun, Environment, Lock, Pm2, Removal, Request, StopFlag, SyncReport, plan,
};

/// A workspace whose definitions and processes change at random.
struct World {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
    config: Config,
    pm2: MemoryAdapter,
    random: Random,
}

const DAEMONS: [&str; 5] = ["a", "b", "group/c", "group/d", "e"];

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
        std::fs::create_dir_all(root.join("system/daemons")).unwrap();
        let vars = [("HOME", dir.path().join("home"))]
            .map(|(key, path)| (key.to_owned(), path.to_str().unwrap().to_owned()));
        let environment = Environment::new(BTreeMap::from(vars), Some(root.clone()));
        Self {
            config: Config::for_workspace(&root, environment).unwrap(),
            pm2: MemoryAdapter::new(),
            random: Random::new(seed),
            root,
            _dir: dir,
        }
    }

    fn pm2(&self) -> Pm2<'_> {
        Pm2::new(&self.config, &StopFlag::default()).with_adapter(Box::new(self.pm2.clone()))
    }

    /// One random change of a definition.
    fn edit(&mut self) {
        let id = *self.random.pick(&DAEMONS).unwrap();
        let dir = self.root.join("system/daemons").join(id);
        let file = dir.join("ecosystem.pm2.edn");
        std::fs::create_dir_all(&dir).unwrap();
        match self.random.below(10) {
            0 => drop(std::fs::remove_file(file)),
            1 => std::fs::write(file, "{:apps [{:name").unwrap(),
            2 => std::fs::write(file, "{:apps []}").unwrap(),
            _ => {
                let name = id.rsplit('/').next().unwrap();
                let apps: String = (0..=self.random.below(2))
                    .map(|n| {
                        let seconds = 1000 + self.random.below(3);
                        let instances = 1 + self.random.below(3);
                        let mode = self.random.pick(&["fork", "cluster"]).unwrap();
                        format!(
                            "{{:name \"{name}{n}\" :script \"/bin/sleep\" :args [\"{seconds}\"] \
                             :instances {instances} :exec_mode \"{mode}\"}}"
                        )
                    })
                    .collect();
                std::fs::write(file, format!("{{:apps [{apps}]}}")).unwrap();
            }
        }
    }

    /// One random change of what PM2 runs.
    fn meddle(&mut self) {
        let list = self.pm2.clone().list().unwrap();
        let Some(record) = self.random.pick(&list) else {
            return;
        };
        match self.random.below(4) {
            0 => self.pm2.clone().stop(record.pm_id).unwrap(),
            1 => self.pm2.clone().delete(record.pm_id).unwrap(),
            2 => self.pm2.edit_record(record.pm_id, |record| {
                record.pm2_env.insert("LEFT_OVER".into(), "x".into());
            }),
            _ => self.pm2.edit_record(record.pm_id, |record| {
                record.pm2_env.shift_remove("pm2_sync");
            }),
        }
    }

    fn request(&self) -> Request {
        let mut request = Request::default();
        request.removal = Removal::Now;
        request
    }

    fn dry_run(&self) -> DryRun {
        plan(&self.config, &self.request(), &mut Disk, &mut self.pm2()).unwrap()
    }

    fn sync(&self) -> SyncReport {
        let stop = StopFlag::default();
        let home = &self.config.pm2_home;
        let lock = Lock::take(home, "test", Duration::from_secs(20), &stop, &mut |_| {}).unwrap();
        reconcile::reconcile(
            &self.config,
            &self.request(),
            &mut Disk,
            &ArtifactStore::new(&self.config.layout),
            &mut self.pm2().write(lock),
            &stop,
            &mut |_| {},
        )
        .unwrap()
    }
}

/// The visible effect of a step. Blocked steps fail, and are not executed.
fn described<'s>(steps: impl IntoIterator<Item = &'s Step>) -> BTreeSet<String> {
    steps
        .into_iter()
        .map(|step| {
            let targets: Vec<_> = step.action.targets().iter().map(|it| it.pm_id).collect();
            format!(
                "{} {} {:?} {targets:?} {:?}",
                step.daemon,
                step.app,
                step.action.kind(),
                step.reasons
            )
        })
        .collect()
}

#[test]
fn a_sync_takes_exactly_the_steps_of_the_plan_before_it() {
    let (mut passes, mut steps, mut held) = (0, 0, 0);
    for seed in 0..15 {
        let mut world = World::new(seed);
        for _ in 0..12 {
            for _ in 0..=world.random.below(3) {
                world.edit();
            }
            for _ in 0..world.random.below(3) {
                world.meddle();
            }
            let before = world.pm2.clone().list().unwrap();
            let dry_run = world.dry_run();
            assert_eq!(world.pm2.clone().list().unwrap(), before);

            let report = world.sync();
            let planned = described(&dry_run.planned.plan.steps);
            assert_eq!(described(&report.plan.steps), planned, "seed {seed}");
            let applied: Vec<&Step> = report.applied.steps.iter().map(|it| &it.step).collect();
            let (first, later) = applied.split_at(planned.len());
            assert_eq!(described(first.iter().copied()), planned, "seed {seed}");
            // Further rounds of the same pass only affect the same apps.
            let is_first = |step: &&Step| first.iter().any(|it| it.app == step.app);
            assert!(later.iter().all(is_first), "seed {seed}: {later:?}");
            assert_eq!(report.plan.held, dry_run.planned.plan.held, "seed {seed}");
            passes += 1;
            steps += planned.len();
            held += usize::from(report.plan.held.is_some());

            // Nothing is left that it could have done.
            let again = world.dry_run();
            let left = again.planned.plan.steps.iter();
            let left: Vec<_> = left
                .filter(|step| step.action.kind() != ActionKind::Blocked)
                .collect();
            assert!(left.is_empty(), "seed {seed}: {left:?}");
        }
    }
    assert!(
        passes > 150 && steps > 200 && held > 5,
        "{passes} {steps} {held}"
    );
}
