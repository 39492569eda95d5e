//! What an app declares about going live: its probes, what it depends on, and what happens when it does not become ready.

use std::time::Duration;

use serde::Serialize;

use crate::{DocumentPath, Probe, ProbeKind};

/// What happens to an app whose new spec does not become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnFailure {
    /// It goes back to the last spec that was ready.
    #[default]
    Rollback,
    /// It stays on the new spec.
    Keep,
    /// It is stopped.
    Stop,
}

/// What an app depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Dependency {
    /// The name of an app, or else the id of a daemon, which stands for all of its apps.
    pub name: String,
    /// Where it is in the document.
    #[serde(skip)]
    pub path: DocumentPath,
}

/// What an app declares about going live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// What has to be ready before it is started; in the definition's order, each once.
    pub depends_on: Vec<Dependency>,
    /// The probe that says whether a process has started.
    pub startup: Option<Probe>,
    /// The probe that says whether a process is ready.
    pub readiness: Option<Probe>,
    /// The probe that says whether a process has to be restarted.
    pub liveness: Option<Probe>,
    /// What happens when it does not become ready.
    pub on_failure: OnFailure,
    /// How long it may take to become ready, as declared; see [`Rollout::window`].
    pub within: Option<Duration>,
    /// Whether one extra worker of a cluster app tries a new spec before the others get it.
    pub canary: bool,
    /// Whether the apps of its daemon go back together.
    pub together: bool,
}

/// What holds for an app that declares nothing.
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

    /// How long it may take to become ready: what is declared; else as long as the startup probe may take until it fails for
    /// good; else 30 s with a readiness probe and 10 s without. The initial delay of the probe that decides it is added.
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

    /// How long the startup and the readiness probe may take to succeed, once they run and the app works.
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
    fn the_window_is_what_is_declared_or_what_the_probes_need() {
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
