//! Steps that a dry run can predict to fail: the script, directory, interpreter or user is missing.

use daemon_model::{DaemonId, Plan};
use pm2_client::{ResolveError, ResolvedApp};

use crate::config::Config;

/// A step that would fail on this machine.
#[derive(Debug)]
pub struct Obstacle {
    /// The daemon.
    pub daemon: DaemonId,
    /// The app's name.
    pub app: String,
    /// Why.
    pub error: ResolveError,
}

/// The steps of `plan` that are sure to fail, as far as a check without side effects can tell.
pub(super) fn obstacles(config: &Config, plan: &Plan) -> Vec<Obstacle> {
    if plan.steps.is_empty() {
        return Vec::new();
    }
    let host = config.local_host();
    let mut found: Vec<Obstacle> = Vec::new();
    for step in &plan.steps {
        let Some(spec) = step.action.spec() else {
            continue;
        };
        let is_known = |known: &Obstacle| known.daemon == step.daemon && known.app == step.app;
        if found.iter().any(is_known) {
            continue;
        }
        let resolved = ResolvedApp::resolve(spec, config.root(), &config.pm2_home, &host)
            .and_then(|app| app.prepare(1));
        if let Err(error) = resolved {
            found.push(Obstacle {
                daemon: step.daemon.clone(),
                app: step.app.clone(),
                error,
            });
        }
    }
    found
}
