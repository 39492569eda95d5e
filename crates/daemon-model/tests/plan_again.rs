//! A plan must not show what it remembers of an earlier one.

mod common;

use std::sync::Arc;

use daemon_model::{
    ActionKind, Desired, DesiredDaemon, Observed, ObservedProcess, PmId, Policy, plan,
};
use serde_json::json;

use common::{id, policy, running, spec};

fn steps(desired: &Desired, process: &Arc<ObservedProcess>, policy: &Policy) -> Vec<ActionKind> {
    let observed = Observed {
        processes: [Arc::clone(process)].into(),
        at_ms: 20_000,
        ..Observed::default()
    };
    let planned = plan(desired, &observed, policy);
    let steps = planned.plan.steps.iter();
    steps.map(|step| step.action.kind()).collect()
}

#[test]
fn a_process_that_was_as_defined_is_compared_again_when_it_or_the_policy_changes() {
    let app = spec(
        "d",
        &json!({ "name": "a", "script": "./a.js", "env": { "A": "1" } }),
    );
    let with = |a: &str| {
        let mut process = running(&app, PmId(0));
        let env = [("A", a), ("NVM_DIR", "/n"), ("PATH", "/bin")];
        let env = env.map(|(key, value)| (Arc::from(key), Arc::from(value)));
        process.env = env.into_iter().collect();
        Arc::new(process)
    };
    let (process, edited) = (with("1"), with("2"));
    let apps = DesiredDaemon::Apps([app.clone()].into());
    let desired = Desired {
        daemons: [(id("d"), apps)].into(),
        ..Desired::default()
    };
    let strict = policy();
    let mut passing = policy();
    passing.env_policy.pass_env = vec!["NVM_*".to_owned()];
    for _ in 0..3 {
        assert_eq!(steps(&desired, &process, &passing), []);
        assert_eq!(steps(&desired, &edited, &passing), [ActionKind::Restart]);
        assert_eq!(steps(&desired, &process, &strict), [ActionKind::Restart]);
    }
    // The address of a dropped process may be reused.
    for n in 0..100 {
        let again = with(&n.to_string());
        let expected: &[ActionKind] = if n == 1 { &[] } else { &[ActionKind::Restart] };
        assert_eq!(steps(&desired, &again, &passing), expected, "{n}");
    }
}
