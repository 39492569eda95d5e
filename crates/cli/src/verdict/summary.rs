//! The last line of a command.

use std::collections::BTreeSet;

use super::Verdict;
use super::problem::{ProblemKind, Role};
use crate::exit::Exit;
use crate::report::words;

impl Verdict {
    /// One line about everything.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.role {
            Role::Inspects if self.is_in_sync() => self.state(),
            Role::Inspects => self.plan_summary(),
            Role::Acts => format!("{}; {}", self.work_summary(), self.state()),
        }
    }

    fn plan_summary(&self) -> String {
        let mut pending = self.pending.clone();
        pending.sort_unstable();
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for (_, verb) in pending {
            match counts.iter_mut().find(|(known, _)| *known == verb) {
                Some((_, count)) => *count += 1,
                None => counts.push((verb, 1)),
            }
        }
        let counts = counts.iter().map(|(verb, n)| format!("{n} to {verb}"));
        let others = self.reasons(|kind| kind != ProblemKind::Pending);
        let parts: Vec<String> = counts.chain(others).collect();
        match self.pending.is_empty() {
            true => format!("not in sync: {}", parts.join(", ")),
            false => format!("{}; run `pm2-sync sync` to apply", parts.join(", ")),
        }
    }

    fn work_summary(&self) -> String {
        let work = &self.work;
        let mut parts = Vec::new();
        for (count, word) in [
            (work.done, "done"),
            (work.failed, "failed"),
            (work.skipped, "skipped"),
        ] {
            match count {
                0 => {}
                n if parts.is_empty() => {
                    parts.push(format!("{} {word}", words::counted(n, "step", "steps")));
                }
                n => parts.push(format!("{n} {word}")),
            }
        }
        let is_interrupted = self.exit() == Exit::Interrupted;
        let done = if !parts.is_empty() {
            format!("{} in {}", parts.join(", "), words::took(work.took))
        } else if work.artifacts > 0 {
            let configs = ("generated config", "generated configs");
            format!(
                "{} updated",
                words::counted(work.artifacts, configs.0, configs.1)
            )
        } else if self.problems.is_empty() {
            "nothing to do".to_owned()
        } else {
            "nothing done".to_owned()
        };
        match is_interrupted {
            true => format!("interrupted: {done}"),
            false => done,
        }
    }

    /// Whether everything is in sync, or why not.
    fn state(&self) -> String {
        if self.problems.is_empty() {
            return format!(
                "in sync: {}, {} running",
                words::counted(self.daemons, "daemon", "daemons"),
                words::counted(self.processes, "process", "processes")
            );
        }
        // The work part of the summary covers these.
        let is_counted = |kind| {
            use ProblemKind::{FailedStep, Interrupted, SkippedStep};
            matches!(kind, FailedStep | Interrupted | SkippedStep)
        };
        let reasons = self.reasons(|kind| !is_counted(kind));
        match reasons.is_empty() {
            true => "not in sync".to_owned(),
            false => format!("not in sync: {}", reasons.join(", ")),
        }
    }

    /// The problems of the wanted kinds, a few words per kind.
    fn reasons(&self, wanted: impl Fn(ProblemKind) -> bool) -> Vec<String> {
        let kinds: BTreeSet<ProblemKind> = self
            .problems
            .iter()
            .map(|problem| problem.kind)
            .filter(|kind| wanted(*kind))
            .collect();
        kinds.into_iter().map(|kind| self.reason(kind)).collect()
    }

    fn reason(&self, kind: ProblemKind) -> String {
        let of_kind = || self.problems.iter().filter(|problem| problem.kind == kind);
        let count = of_kind().count();
        let apps = |state: &str| format!("{} {state}", words::counted(count, "app", "apps"));
        match kind {
            ProblemKind::Interrupted => "interrupted".to_owned(),
            ProblemKind::Pending => {
                format!("{} left to do", words::counted(count, "step", "steps"))
            }
            ProblemKind::FailedStep => {
                format!("{} failed", words::counted(count, "step", "steps"))
            }
            ProblemKind::SkippedStep => {
                format!("{} skipped", words::counted(count, "step", "steps"))
            }
            ProblemKind::Obstacle => apps("failing"),
            ProblemKind::InvalidDefinition => match count {
                1 => "1 definition is not valid".to_owned(),
                n => format!("{n} definitions are not valid"),
            },
            ProblemKind::FailedArtifact => {
                let configs = ("generated config", "generated configs");
                format!(
                    "{} not written",
                    words::counted(count, configs.0, configs.1)
                )
            }
            ProblemKind::Unsaved => "PM2's process list is not saved".to_owned(),
            ProblemKind::HeldRemoval => "a removal is on hold".to_owned(),
            ProblemKind::Blocked => format!("{count} blocked"),
            ProblemKind::Degraded => apps("degraded"),
            ProblemKind::Mislabelled => apps("mislabelled"),
            // Nothing else names the apps.
            ProblemKind::Starting | ProblemKind::Stopping => {
                let names = of_kind().filter_map(|problem| problem.app.as_ref());
                let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
                let doing = match kind {
                    ProblemKind::Starting => "starting",
                    _ => "being stopped",
                };
                format!("{doing}: {}", words::listed(&names))
            }
            ProblemKind::OnHold => apps("on hold"),
            ProblemKind::Waiting => apps("waiting"),
            ProblemKind::RolledBack => apps("rolled back"),
            ProblemKind::NotReady => apps("not ready"),
            ProblemKind::Other => apps("in an unknown state"),
        }
    }
}
