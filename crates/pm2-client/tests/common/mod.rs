//! A machine and an app for tests on both real PM2 and the in-memory one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use camino::Utf8PathBuf;
use daemon_model::{
    AppSpec, ApplyReport, DaemonId, Desired, DesiredDaemon, DocumentPath, EnvPolicy, Observed,
    Outcome, Plan, Planned, Policy, SpecContext, plan,
};
use pm2_client::{
    ApplyContext, Host, LocalHost, MemoryAdapter, MemoryHost, ProcessAdapter, ProcessRecord,
    StepError, StopFlag, apply,
};
use serde_json::Value;

/// This machine, with a fixed environment for apps.
pub fn host(env: BTreeMap<String, String>) -> Box<dyn Host> {
    Box::new(LocalHost::new(env, None))
}

/// As [`host`], with the processes of an in-memory PM2.
pub fn memory_host(pm2: &MemoryAdapter) -> Box<dyn Host> {
    let path = std::env::var("PATH").unwrap();
    let env = BTreeMap::from([("PATH".to_owned(), path)]);
    Box::new(MemoryHost::new(LocalHost::new(env, None), pm2))
}

/// A workspace whose definitions are given as values, on some PM2.
pub struct World {
    pub root: Utf8PathBuf,
    pub pm2_home: Utf8PathBuf,
    pub host: Box<dyn Host>,
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

    pub fn env_policy(&self) -> EnvPolicy {
        EnvPolicy {
            pm2_home: self.pm2_home.clone(),
            pass_env: vec![],
        }
    }

    pub fn policy(&self) -> Policy {
        Policy::new(&self.root, self.env_policy(), 2)
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
            ..Desired::default()
        }
    }

    pub fn plan(&mut self, daemons: &[(&str, &[Value])]) -> Planned {
        let policy = self.policy();
        self.plan_with(daemons, &policy)
    }

    pub fn plan_with(&mut self, daemons: &[(&str, &[Value])], policy: &Policy) -> Planned {
        let observed = Observed {
            processes: self.adapter.observe().unwrap(),
            ..Observed::default()
        };
        plan(&self.desired(daemons), &observed, policy)
    }

    pub fn list(&mut self) -> Vec<ProcessRecord> {
        self.adapter.list().unwrap()
    }

    /// Runs one pass; returns its report.
    pub fn pass(&mut self, daemons: &[(&str, &[Value])]) -> ApplyReport<StepError> {
        let policy = self.policy();
        self.pass_with(daemons, &policy)
    }

    /// Runs one pass with a given policy.
    pub fn pass_with(
        &mut self,
        daemons: &[(&str, &[Value])],
        policy: &Policy,
    ) -> ApplyReport<StepError> {
        let plan = self.plan_with(daemons, policy).plan;
        self.carry_out(&plan)
    }

    /// Executes a plan; returns its report.
    pub fn carry_out(&mut self, plan: &Plan) -> ApplyReport<StepError> {
        let env_policy = self.env_policy();
        let context = ApplyContext {
            workspace: &self.root,
            env_policy: &env_policy,
            host: self.host.as_ref(),
            jobs: NonZeroUsize::MIN.saturating_add(3),
            stop: &StopFlag::default(),
        };
        apply(plan, self.adapter.as_mut(), &context, &mut |_| {})
    }

    /// Runs one pass that must succeed and leave nothing to do; returns the actions that it took.
    #[track_caller]
    pub fn converge(&mut self, daemons: &[(&str, &[Value])]) -> Vec<&'static str> {
        let report = self.pass(daemons);
        for step in &report.steps {
            if let Outcome::Failed(error) = &step.outcome {
                panic!("{:?}\nfailed: {error} ({:?})", step.step, error);
            }
        }
        let left = self.plan(daemons);
        assert!(left.is_in_sync(), "still to do: {:#?}", left);
        report
            .steps
            .iter()
            .map(|step| step.step.action.kind().as_str())
            .collect()
    }
}
