//! A machine and an app for tests on real PM2 and on the fake alike.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{
    AppSpec, ApplyReport, DaemonId, Desired, DesiredDaemon, DocumentPath, Observed, OnRemove,
    Outcome, Plan, Policy, SpecContext, Surroundings, plan,
};
use pm2_client::{
    ApplyContext, FileKind, Host, ProcessAdapter, ProcessRecord, StepError, User, apply,
};
use serde_json::Value;

/// A machine that looks at the real file system and has a fixed environment.
pub struct Machine {
    pub env: BTreeMap<String, String>,
}

impl Host for Machine {
    fn file_kind(&self, path: &Utf8Path) -> FileKind {
        file_kind(path)
    }

    fn find_command(&self, name: &str) -> Option<Utf8PathBuf> {
        if name.contains('/') {
            return Some(name.into()).filter(|path: &Utf8PathBuf| path.is_file());
        }
        self.env["PATH"]
            .split(':')
            .map(|dir| Utf8Path::new(dir).join(name))
            .find(|path| path.is_file())
    }

    fn user(&self, _: &str) -> Option<User> {
        None
    }

    fn group(&self, _: &str) -> Option<u32> {
        None
    }

    fn user_name(&self) -> String {
        "tester".into()
    }

    fn is_root(&self) -> bool {
        false
    }

    fn base_env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    fn node(&self) -> Utf8PathBuf {
        self.find_command("node").unwrap()
    }

    fn pm2_package(&self) -> Option<Utf8PathBuf> {
        None
    }

    fn make_log_dir(&self, dir: &Utf8Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)
    }
}

/// What really lies at `path`.
pub fn file_kind(path: &Utf8Path) -> FileKind {
    match std::fs::metadata(path) {
        Err(_) => FileKind::Missing,
        Ok(metadata) if metadata.is_dir() => FileKind::Directory,
        Ok(_) => match std::fs::read(path) {
            Ok(bytes) if bytes.iter().take(512).any(|byte| *byte == 0) => FileKind::Binary,
            _ => FileKind::Text,
        },
    }
}

/// A workspace whose definitions are given as values, on some PM2.
pub struct World {
    pub root: Utf8PathBuf,
    pub pm2_home: Utf8PathBuf,
    pub machine: Machine,
    pub adapter: Box<dyn ProcessAdapter>,
}

impl World {
    pub fn spec(&self, daemon: &str, app: &Value) -> AppSpec {
        let context = SpecContext {
            root: &self.root,
            home: &self.root,
            env_name: None,
            deploy: None,
        };
        let id = DaemonId::new(daemon).unwrap();
        let (spec, findings) = AppSpec::read(&id, app, &DocumentPath::root(), &context);
        spec.unwrap_or_else(|| panic!("{app}: {findings:?}"))
    }

    pub fn around(&self) -> Surroundings {
        Surroundings {
            pm2_home: self.pm2_home.clone(),
            pass_env: vec![],
        }
    }

    pub fn policy(&self) -> Policy {
        Policy {
            workspace: self.root.clone(),
            around: self.around(),
            cpus: 2,
            prune: true,
            defer_removal: false,
            on_remove: OnRemove::Delete,
            confirmed: None,
            adopt: true,
            only: None,
            except: std::collections::BTreeSet::new(),
            last_wishes: std::collections::BTreeMap::new(),
            own: None,
        }
    }

    fn desired(&self, daemons: &[(&str, &[Value])]) -> Desired {
        Desired {
            daemons: daemons
                .iter()
                .map(|(id, apps)| {
                    let apps = apps.iter().map(|app| self.spec(id, app)).collect();
                    (DaemonId::new(id).unwrap(), DesiredDaemon::Apps(apps))
                })
                .collect(),
        }
    }

    pub fn plan(&mut self, daemons: &[(&str, &[Value])]) -> Plan {
        let policy = self.policy();
        self.plan_with(daemons, &policy)
    }

    pub fn plan_with(&mut self, daemons: &[(&str, &[Value])], policy: &Policy) -> Plan {
        let observed = Observed {
            processes: self.adapter.observe().unwrap(),
            ..Observed::default()
        };
        plan(&self.desired(daemons), &observed, policy)
    }

    pub fn list(&mut self) -> Vec<ProcessRecord> {
        self.adapter.list().unwrap()
    }

    /// One pass; what became of it.
    pub fn pass(&mut self, daemons: &[(&str, &[Value])]) -> ApplyReport<StepError> {
        let policy = self.policy();
        self.pass_with(daemons, &policy)
    }

    /// The same, as a policy says.
    pub fn pass_with(
        &mut self,
        daemons: &[(&str, &[Value])],
        policy: &Policy,
    ) -> ApplyReport<StepError> {
        let plan = self.plan_with(daemons, policy);
        let around = self.around();
        let context = ApplyContext {
            workspace: &self.root,
            around: &around,
            host: &self.machine,
            jobs: NonZeroUsize::MIN.saturating_add(3),
            should_stop: &|| false,
        };
        apply(&plan, self.adapter.as_mut(), &context, &mut |_| {})
    }

    /// One pass that must succeed and after which nothing is left to do; the actions that it took.
    #[track_caller]
    pub fn converge(&mut self, daemons: &[(&str, &[Value])]) -> Vec<&'static str> {
        let report = self.pass(daemons);
        for step in &report.steps {
            if let Outcome::Failed(error) = &step.outcome {
                panic!("{:?}\nfailed: {error} ({:?})", step.step, error);
            }
        }
        let left = self.plan(daemons);
        assert!(left.is_in_sync(), "still to do: {:#?}", left.steps);
        report
            .steps
            .iter()
            .map(|step| step.step.action.word())
            .collect()
    }
}
