//! Decides pending entries of a daemon's history.

use std::collections::BTreeSet;

use crate::{
    AppFailure, AppSpec, AppState, Cause, Condition, DaemonId, Entry, EntryOutcome, GateInput,
    History, NotReady, ObservedProcess, OnFailure, Planned, ProbeKind, ProbeOutcome, ProcessState,
    Readiness, readiness,
};

/// The judgement of the pending entry of a daemon.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct GateReport {
    /// Apps that are not ready yet, by name, and why.
    pub waiting: Vec<(String, NotReady)>,
    /// Whether an app or its canary has become ready, so that a new plan may start or change others.
    pub is_changed: bool,
    /// The outcome of the entry, if it is decided; for [`History::decide`].
    pub outcome: Option<EntryOutcome>,
}

impl History {
    /// Judges the gates of the pending entry of `daemon` by the state of its apps in a plan, and records those that have become
    /// ready.
    ///
    /// An app with a failed step is unchanged and decides nothing: the step will be retried. An app is not judged if a user stopped
    /// it, if the plan does not contain it, or if a spec other than the entry's is in force. Nothing waits for it, and the entry
    /// stays undecided.
    pub fn judge(
        &mut self,
        daemon: &DaemonId,
        planned: &Planned,
        input: &GateInput<'_>,
    ) -> GateReport {
        let mut report = GateReport::default();
        let Some(pending) = self.pending().cloned() else {
            return report;
        };
        let EntryOutcome::Pending { gates } = &pending.outcome else {
            return report;
        };
        let mut judged = Vec::new();
        let mut unapplied = BTreeSet::new();
        let apps = planned.apps.of(daemon);
        for state in apps {
            let Some((app, gate)) = state.spec.as_ref().zip(gates.get(&state.app)) else {
                continue;
            };
            if !is_judged(state, app, &pending) {
                continue;
            }
            let processes = state.processes.iter().map(AsRef::as_ref);
            let found = match state.condition {
                _ if gate.ready => Readiness::Ready,
                Condition::Pending if gate.unapplied => {
                    unapplied.insert(state.app.clone());
                    continue;
                }
                // A failed step is not a failed rollout.
                Condition::Pending => Readiness::Waiting(NotReady::NotApplied),
                _ => readiness(app, state.want_ready(), gate, processes, input),
            };
            match &found {
                Readiness::Waiting(lacks) => {
                    report.waiting.push((state.app.clone(), lacks.clone()))
                }
                Readiness::Ready if !gate.ready => {
                    report.is_changed = true;
                    self.change_gate(&state.app, |gate| match state.is_canary() {
                        true => gate.canary_ready = true,
                        false => gate.ready = true,
                    });
                }
                _ => {}
            }
            judged.push((app, found));
        }
        if judged.len() + unapplied.len() == gates.len() {
            let is_unapplied = !unapplied.is_empty();
            // An app that has just become ready may unblock others.
            let is_complete = is_unapplied || planned.is_complete(daemon);
            let is_complete = !report.is_changed && is_complete;
            let has_way_back = self.has_way_back(&pending);
            let outcome = outcome(judged, is_complete, has_way_back, input.now_ms);
            report.outcome = outcome.map(|outcome| match outcome {
                EntryOutcome::Ready { at_ms } if is_unapplied => EntryOutcome::NotApplied {
                    at_ms,
                    apps: unapplied,
                },
                decided => decided,
            });
        }
        report
    }

    /// Marks the newest entry as ready after all: it failed, its apps were left as they are, and all of them have now been up for
    /// their full window, with successful probes. Returns whether that is so.
    pub fn recover(&mut self, daemon: &DaemonId, planned: &Planned, input: &GateInput<'_>) -> bool {
        let Some(last) = self.entries_mut().last_mut() else {
            return false;
        };
        let apps = planned.apps.of(daemon);
        let apps: Vec<&AppState> = apps.collect();
        let is_left =
            |cause: &Cause| matches!(cause, Cause::Failed { failed, .. } if *failed == last.number);
        let has_recovered = last.outcome.is_failed()
            && apps.iter().any(|app| app.causes.iter().any(is_left))
            && apps.len() == last.apps.len()
            && apps.iter().all(|app| has_recovered(app, last, input));
        if has_recovered {
            let at_ms = input.now_ms;
            last.outcome = EntryOutcome::Ready { at_ms };
        }
        has_recovered
    }

    /// Whether other specs were ready before this entry, to which its daemon can roll back.
    fn has_way_back(&self, entry: &Entry) -> bool {
        let ready = self.last_ready();
        ready.is_some_and(|ready| ready.revisions() != entry.revisions())
    }
}

/// Whether an app has been up for its full window, with successful probes.
fn has_recovered(state: &AppState, entry: &Entry, input: &GateInput<'_>) -> bool {
    let Some(app) = state.spec.as_ref() else {
        return false;
    };
    let window = u64::try_from(app.window().as_millis()).unwrap_or(u64::MAX);
    let is_up = |(process, now): (&ObservedProcess, ProcessState)| match now {
        ProcessState::Running => {
            let started = process.started_at_ms.unwrap_or(input.now_ms);
            process.is_from(app) && input.now_ms.saturating_sub(started) >= window
        }
        ProcessState::Ended => !process.ended_in_failure(),
        _ => false,
    };
    let is_probed = |process: &ObservedProcess| {
        let kinds = [ProbeKind::Startup, ProbeKind::Readiness].into_iter();
        let mut kinds = kinds.filter(|kind| app.rollout().probe(*kind).is_some());
        kinds.all(|kind| (input.probes)(process.pm_id, kind) == ProbeOutcome::Succeeded)
    };
    is_judged(state, app, entry)
        && state.processes.len() == state.wanted.unwrap_or(0) as usize
        && state.states().all(is_up)
        && state.processes.iter().all(|process| is_probed(process))
}

/// Whether the app runs the spec of the entry, or will.
fn is_judged(state: &AppState, app: &AppSpec, entry: &Entry) -> bool {
    let is_stopped = |cause: &Cause| matches!(cause, Cause::Stopped(_));
    let revision = app.revision();
    !state.causes.iter().any(is_stopped) && entry.revisions().get(app.name()) == Some(&revision)
}

/// The outcome of an entry, from the readiness of each gated app; none while it is open. `is_complete` says whether all of its apps
/// were started and changed, `has_way_back` whether there is an entry to roll back to.
///
/// The failure of an app that rolls others back decides at once; otherwise each app gets its full time.
fn outcome<'a>(
    gated: impl IntoIterator<Item = (&'a AppSpec, Readiness)>,
    is_complete: bool,
    has_way_back: bool,
    now_ms: u64,
) -> Option<EntryOutcome> {
    let mut failures = Vec::new();
    let (mut is_open, mut is_open_alone, mut is_taken_back) = (false, false, false);
    for (app, readiness) in gated {
        let rollout = app.rollout();
        match readiness {
            Readiness::Ready => {}
            Readiness::Waiting(_) => {
                is_open = true;
                is_open_alone |= !rollout.together;
            }
            Readiness::Failed(lacks) => {
                let goes_back = rollout.on_failure == OnFailure::Rollback;
                is_taken_back |= has_way_back && goes_back && rollout.together;
                failures.push(AppFailure {
                    app: app.name().to_owned(),
                    reason: lacks.to_string(),
                });
            }
        }
    }
    let at_ms = now_ms;
    if failures.is_empty() {
        (!is_open && is_complete).then_some(EntryOutcome::Ready { at_ms })
    } else {
        let is_decided = !is_open || (is_taken_back && !is_open_alone);
        is_decided.then_some(EntryOutcome::Failed { at_ms, failures })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{DocumentPath, SpecContext};

    fn app(name: &str, policy: &Value) -> AppSpec {
        let context = SpecContext {
            root: "/w".into(),
            home: "/h".into(),
            env_name: None,
            deploy: None,
        };
        let app = json!({ "name": name, "script": "a.js", "pm2-sync": policy });
        let id = DaemonId::new("d").unwrap();
        let (spec, _) = AppSpec::read(&id, &app, &DocumentPath::root(), &context);
        spec.unwrap()
    }

    #[test]
    fn an_entry_is_decided_when_every_gate_is_or_when_one_takes_the_others_back() {
        let lacks = || NotReady::NoProcess;
        let (together, alone, kept) = (
            app("together", &json!({})),
            app("alone", &json!({ "together": false })),
            app("kept", &json!({ "on-failure": "keep" })),
        );
        let ready = || Readiness::Ready;
        let waiting = || Readiness::Waiting(lacks());
        let failed = || Readiness::Failed(lacks());
        let decide = |gated: Vec<(&AppSpec, Readiness)>, is_complete, has_way_back| match outcome(
            gated,
            is_complete,
            has_way_back,
            9,
        ) {
            None => "open".to_owned(),
            Some(EntryOutcome::Ready { at_ms: 9 }) => "ready".to_owned(),
            Some(EntryOutcome::Failed { at_ms: 9, failures }) => {
                let names: Vec<_> = failures.iter().map(|it| it.app.as_str()).collect();
                assert!(failures.iter().all(|it| it.reason == lacks().to_string()));
                format!("failed: {}", names.join(" "))
            }
            other => panic!("{other:?}"),
        };
        for (gated, is_complete, expected) in [
            (vec![], true, "ready"),
            (vec![(&together, ready()), (&alone, ready())], true, "ready"),
            (
                vec![(&together, ready()), (&alone, waiting())],
                true,
                "open",
            ),
            // Another app has not started yet, because it waits for one of these.
            (vec![(&together, ready())], false, "open"),
            (vec![(&together, failed())], false, "failed: together"),
            (
                vec![(&together, failed()), (&kept, waiting())],
                true,
                "failed: together",
            ),
            (
                vec![(&together, failed()), (&alone, waiting())],
                true,
                "open",
            ),
            (
                vec![(&alone, failed()), (&together, waiting())],
                true,
                "open",
            ),
            (
                vec![(&kept, failed()), (&together, waiting())],
                true,
                "open",
            ),
            (
                vec![(&kept, failed()), (&together, ready())],
                true,
                "failed: kept",
            ),
            (
                vec![(&together, failed()), (&alone, failed())],
                true,
                "failed: together alone",
            ),
        ] {
            assert_eq!(decide(gated, is_complete, true), expected);
        }
        // If it cannot roll back, it does not affect the others: each gets its full time.
        let with = |other| decide(vec![(&together, failed()), (&together, other)], true, false);
        assert_eq!(with(waiting()), "open");
        assert_eq!(with(ready()), "failed: together");
    }
}
