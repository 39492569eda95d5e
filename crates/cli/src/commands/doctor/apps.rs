//! Checks whether definitions are valid and their apps work.

use daemon_model::{AppState, Condition};
use reconcile::pass::{self, Disk, PassError, Request};
use reconcile::{Failure, Pm2, StopFlag};

use super::{Context, Finding};
use crate::report::words;

const DEFINITIONS: &str = "definitions";
const APPS: &str = "apps";

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let Some(config) = context.config() else {
        return Vec::new();
    };
    let mut pm2 = Pm2::new(config, &StopFlag::default()).with_prefetch();
    let dry_run = match pass::plan(config, &Request::default(), &mut Disk, &mut pm2) {
        Ok(dry_run) => dry_run,
        // The other parts report this already.
        Err(PassError::Definitions(_) | PassError::Pm2(_)) => return Vec::new(),
        Err(error) => {
            return vec![Finding::fault(
                APPS,
                reconcile::chain(&error),
                "`pm2-sync plan` shows the same",
            )];
        }
    };
    let planned = &dry_run.planned;
    let mut findings = Vec::new();
    let broken: Vec<String> = planned.broken.iter().map(ToString::to_string).collect();
    if !broken.is_empty() {
        findings.push(Finding::warning(
            DEFINITIONS,
            format!("not valid: {}", broken.join(", ")),
            "`pm2-sync check` shows where and why",
        ));
    }
    for (condition, what) in [
        (Condition::Degraded, "degraded"),
        (Condition::Failed, "did not become ready"),
        (Condition::RolledBack, "rolled back"),
    ] {
        let apps = planned.apps.iter();
        let apps = apps.filter(|app: &&AppState| app.condition == condition);
        let names: Vec<&str> = apps.map(|app| app.app.as_str()).collect();
        if !names.is_empty() {
            findings.push(Finding::warning(
                APPS,
                format!("{what}: {}", names.join(", ")),
                "`pm2-sync status` shows their last errors",
            ));
        }
    }
    for failure in dry_run.snapshot.failures.iter() {
        findings.push(Finding::warning(
            APPS,
            words::failure(failure),
            "fix the cause, then run `pm2-sync sync`",
        ));
    }
    if dry_run.snapshot.is_dump_unsaved {
        findings.push(Finding::warning(
            "PM2's dump",
            words::UNSAVED,
            "`pm2-sync sync` tries again, and reports the error",
        ));
    }
    for obstacle in &dry_run.obstacles {
        let is_known = |failure: &Failure| {
            failure.daemon == obstacle.daemon && failure.app.as_ref() == Some(&obstacle.app)
        };
        if !dry_run.snapshot.failures.iter().any(is_known) {
            findings.push(Finding::warning(
                APPS,
                words::obstacle(obstacle),
                "`pm2-sync sync` would fail for it",
            ));
        }
    }
    findings
}
