use super::*;

/// Apps by name, each with a revision made from this text.
fn entry(apps: &[(&str, &str)]) -> Entry {
    let entry_app = |(name, spec): &(&str, &str)| EntryApp {
        name: (*name).to_owned(),
        digest: SpecDigest(format!("v1:{spec}")),
        revision: Revision(format!("r1:{spec}")),
        app: Map::new(),
    };
    let gate = |(name, _): &(&str, &str)| ((*name).to_owned(), Gate::new(5, Duration::ZERO));
    let gates = apps.iter().map(gate).collect();
    Entry::pending("test", 5, apps.iter().map(entry_app).collect(), gates)
}

const READY: EntryOutcome = EntryOutcome::Ready { at_ms: 6 };

fn failed() -> EntryOutcome {
    EntryOutcome::Failed {
        at_ms: 6,
        failures: Vec::new(),
    }
}

#[test]
fn a_new_entry_supersedes_one_that_is_not_decided() {
    let mut history = History::default();
    assert_eq!(history.begin(entry(&[("a", "1")])).number, 1);
    assert!(history.pending().is_some());
    assert_eq!(history.begin(entry(&[("a", "2")])).number, 2);
    let superseded = EntryOutcome::Superseded { at_ms: 5 };
    assert_eq!(history.entry(1).unwrap().outcome, superseded);
    // A decided outcome does not change.
    assert!(history.decide(2, READY));
    assert!(!history.decide(2, failed()));
    assert!(!history.decide(1, READY));
    history.begin(entry(&[("a", "3")]));
    assert_eq!(history.entry(2).unwrap().outcome, READY);
    assert_eq!(history.last_ready().unwrap().number, 2);
}

#[test]
fn a_pending_entry_goes_on_with_the_gates_of_its_apps() {
    let gate = |history: &History, app: &str| {
        let gate = history.pending().unwrap().gate(app).unwrap();
        (gate.began_ms, gate.canary_ready, gate.ready)
    };
    let with_gate = |apps: &[(&str, &str)], app: &str| {
        let mut entry = entry(apps);
        let gates = [(app.to_owned(), Gate::new(9, Duration::ZERO))].into();
        entry.outcome = EntryOutcome::Pending { gates };
        entry
    };
    let mut history = History::default();
    history.begin(entry(&[("a", "1"), ("b", "1")]));
    assert!(history.change_gate("a", |gate| gate.ready = true));
    assert!(history.change_gate("b", |gate| gate.canary_ready = true));
    assert!(!history.change_gate("c", |gate| gate.ready = true));
    // The other workers of `b` follow its canary.
    let same = history.begin(with_gate(&[("a", "1"), ("b", "1")], "b"));
    assert_eq!(same.number, 1);
    assert_eq!(gate(&history, "a"), (5, false, true));
    assert_eq!(gate(&history, "b"), (9, true, false));
    // `b` is edited while `a` is gated: `a` still has to become ready.
    history.change_gate("a", |gate| gate.ready = false);
    let next = history.begin(with_gate(&[("a", "1"), ("b", "2")], "b"));
    assert_eq!(next.number, 2);
    assert_eq!(gate(&history, "a"), (5, false, false));
    assert_eq!(gate(&history, "b"), (9, false, false));
}

#[test]
fn an_entry_with_a_step_that_failed_is_decided_when_its_other_apps_are_ready() {
    let mut history = History::default();
    history.begin(entry(&[("a", "1"), ("b", "1")]));
    assert!(!history.unapplied(&BTreeSet::new(), 7));
    assert!(history.unapplied(&BTreeSet::from(["a"]), 7));
    assert!(history.pending().unwrap().gate("a").unwrap().unapplied);
    // It may have been applied in the retry.
    history.begin(entry(&[("a", "1"), ("b", "1")]));
    assert!(!history.pending().unwrap().gate("a").unwrap().unapplied);
    assert!(history.change_gate("b", |gate| gate.ready = true));
    assert!(history.unapplied(&BTreeSet::from(["a", "b"]), 8));
    let not_applied = EntryOutcome::NotApplied {
        at_ms: 8,
        apps: ["a".to_owned()].into(),
    };
    assert_eq!(history.last().unwrap().outcome, not_applied);
    let revision = Revision("r1:1".to_owned());
    assert!(history.is_proven("b", &revision) && !history.is_proven("a", &revision));
    assert!(!history.unapplied(&BTreeSet::from(["a"]), 9));
    // An entry without an outcome neither rolls back nor rejects anything.
    let revisions = BTreeMap::from([("a", &revision), ("b", &revision)]);
    assert_eq!(history.rejection(&revisions), None);
    assert_eq!(history.begin(entry(&[("a", "1"), ("b", "1")])).number, 2);
}

#[test]
fn a_revision_is_rejected_while_its_newest_entry_failed() {
    let [one, two] = ["r1:1", "r1:2"].map(|text| Revision(text.to_owned()));
    let is_rejected = |history: &History, revision: &Revision| {
        let rejection = history.rejection(&BTreeMap::from([("a", revision)]));
        rejection.map(|entry| entry.number)
    };
    let mut history = History::default();
    history.begin(entry(&[("a", "1")]));
    history.decide(1, READY);
    history.begin(entry(&[("a", "2")]));
    assert_eq!(is_rejected(&history, &two), None);
    history.decide(2, failed());
    assert_eq!(is_rejected(&history, &two), Some(2));
    assert_eq!(is_rejected(&history, &one), None);
    // Rolling back to the first revision proves nothing about the second.
    history.begin(entry(&[("a", "1")]));
    assert_eq!(is_rejected(&history, &two), Some(2));
    assert!(history.is_proven("a", &one) && !history.is_proven("a", &two));
    history.retry(9);
    assert_eq!(is_rejected(&history, &two), None);
}

#[test]
fn a_revision_is_proven_once_its_canary_is_ready() {
    let one = Revision("r1:1".to_owned());
    let mut history = History::default();
    history.begin(entry(&[("a", "1")]));
    assert!(!history.is_proven("a", &one));
    history.change_gate("a", |gate| gate.canary_ready = true);
    assert!(history.is_proven("a", &one));
    history.decide(1, failed());
    assert!(!history.is_proven("a", &one));
}

#[test]
fn the_last_ready_entry_outlives_any_number_of_others() {
    let mut history = History::default();
    history.begin(entry(&[("a", "good")]));
    history.decide(1, READY);
    for n in 0..100 {
        let number = history.begin(entry(&[("a", &format!("bad{n}"))])).number;
        history.decide(number, failed());
    }
    assert_eq!(history.entries().len(), KEPT_ENTRIES);
    assert_eq!(history.last_ready().unwrap().number, 1);
    assert_eq!(history.last().unwrap().number, 101);
    let numbers: Vec<u32> = history.entries().iter().map(|it| it.number).collect();
    assert!(numbers.is_sorted());
}

#[test]
fn a_repeated_entry_displaces_no_other() {
    let mut history = History::default();
    for outcome in [READY, READY, failed(), READY, failed(), failed()] {
        if history.entries().is_empty() {
            history.begin(entry(&[("a", "old")]));
            history.decide(1, READY);
        }
        let number = history.begin(entry(&[("a", "new")])).number;
        history.decide(number, outcome);
    }
    let kept: Vec<_> = history
        .entries()
        .iter()
        .map(|it| (it.number, it.outcome.is_ready()))
        .collect();
    assert_eq!(kept, [(1, true), (2, true), (7, false)]);
    // An entry that failed first is displaced.
    let mut history = History::default();
    for outcome in [failed(), READY, READY] {
        let number = history.begin(entry(&[("a", "new")])).number;
        history.decide(number, outcome);
    }
    let numbers: Vec<u32> = history.entries().iter().map(|it| it.number).collect();
    assert_eq!(numbers, [2, 3]);
}

#[test]
fn a_history_is_written_and_read_again() {
    let mut history = History::default();
    history.begin(entry(&[("a", "1")]));
    history.change_gate("a", |gate| gate.canary_ready = true);
    let text = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    history.decide(1, failed());
    let text = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
}
