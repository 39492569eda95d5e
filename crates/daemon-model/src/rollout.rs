//! The rollout settings of an app: its probes, its dependencies, and what happens if it does not become ready.

use std::time::Duration;

use serde::Serialize;

use crate::{DocumentPath, Probe, ProbeKind};

/// What to do if an app's new spec does not become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnFailure {
    /// Roll back to the last spec that was ready.
    #[default]
    Rollback,
    /// Stay on the new spec.
    Keep,
    /// Stop the app.
    Stop,
}

/// A dependency of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Dependency {
    /// The name of an app, or else the id of a daemon, which means all of its apps.
    pub name: String,
    /// Its position in the document.
    #[serde(skip)]
    pub path: DocumentPath,
}

/// The rollout settings of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// What must be ready before it is started; in the definition's order, without duplicates.
    pub depends_on: Vec<Dependency>,
    /// The probe that decides whether a process has started.
    pub startup: Option<Probe>,
    /// The probe that decides whether a process is ready.
    pub readiness: Option<Probe>,
    /// The probe that decides whether a process must be restarted.
    pub liveness: Option<Probe>,
    /// What to do if it does not become ready.
    pub on_failure: OnFailure,
    /// The declared time to become ready; see [`Rollout::window`].
    pub within: Option<Duration>,
    /// Whether one extra worker of a cluster app tries a new spec before the others get it.
    pub canary: bool,
    /// Whether the apps of its daemon roll back together.
    pub together: bool,
}

/// The settings of an app that declares none.
pub(crate) static NOTHING_DECLARED: Rollout = Rollout {
    depends_on: Vec::new(),
    startup: None,
    readiness: None,
    liveness: None,
    on_failure: OnFailure::Rollback,
    within: None,
    canary: true,
    together: true,
};

impl Rollout {
    /// The probe of this kind.
    #[must_use]
    pub fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
        }
    }

    /// How long it may take to become ready: the declared time; else the time until the startup probe reaches its failure
    /// threshold; else 30 s with a readiness probe and 10 s without. The initial delay of the deciding probe is added.
    #[must_use]
    pub fn window(&self) -> Duration {
        let until_failure = |probe: &Probe| {
            let runs = probe.period.saturating_mul(probe.failure_threshold.get());
            probe.initial_delay.saturating_add(runs)
        };
        let with_readiness = |probe: &Probe| {
            let window = Duration::from_secs(30);
            probe.initial_delay.saturating_add(window)
        };
        self.within
            .or_else(|| self.startup.as_ref().map(until_failure))
            .or_else(|| self.readiness.as_ref().map(with_readiness))
            .unwrap_or(Duration::from_secs(10))
    }

    /// How long the startup and the readiness probe need to succeed, for an app that works.
    #[must_use]
    pub fn probing_time(&self) -> Duration {
        let of = |probe: &Probe| {
            let run = probe.period.saturating_add(probe.timeout);
            run.saturating_mul(probe.success_threshold.get())
        };
        let probes = self.startup.iter().chain(&self.readiness);
        probes
            .map(of)
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl Default for Rollout {
    fn default() -> Self {
        NOTHING_DECLARED.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Handler, Template};

    #[test]
    fn the_window_is_the_declared_one_or_derived_from_the_probes() {
        let probe = |kind| {
            let command = vec![Template::literal("true")];
            Probe::new(kind, Handler::Exec { command })
        };
        let mut rollout = Rollout::default();
        let seconds = Duration::from_secs;
        assert_eq!(rollout.window(), seconds(10));
        rollout.readiness = Some(probe(ProbeKind::Readiness));
        assert_eq!(rollout.window(), seconds(30));
        let mut startup = probe(ProbeKind::Startup);
        startup.initial_delay = seconds(5);
        startup.period = Duration::from_millis(500);
        startup.failure_threshold = 60.try_into().unwrap();
        rollout.startup = Some(startup);
        assert_eq!(rollout.window(), seconds(35));
        rollout.within = Some(seconds(7));
        assert_eq!(rollout.window(), seconds(7));
    }
}
