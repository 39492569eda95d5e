use super::*;

fn ids(names: &[&str]) -> BTreeSet<DaemonId> {
    names
        .iter()
        .map(|name| DaemonId::new(name).unwrap())
        .collect()
}

fn is_due(schedule: &mut Schedule, now: Instant) -> bool {
    schedule.take_due(now).is_some()
}

#[test]
fn a_daemon_that_fails_waits_twice_as_long_each_time_and_delays_no_other() {
    let mut schedule = Schedule::default();
    let mut now = Instant::now();
    let mut delays = Vec::new();
    for _ in 0..12 {
        schedule.passed(&ids(&["bad"]), &BTreeSet::new(), now);
        assert_eq!(schedule.waiting(now), ids(&["bad"]));
        let next = schedule.next().unwrap();
        delays.push((next - now).as_millis());
        assert!(!is_due(&mut schedule, next - Duration::from_millis(1)));
        assert!(is_due(&mut schedule, next));
        now = next;
        assert_eq!(schedule.waiting(now), BTreeSet::new());
    }
    assert_eq!(&delays[..4], [500, 1000, 2000, 4000]);
    assert_eq!(delays.last(), Some(&300_000));
    // An edit resets the back-off; a pass that excludes the daemon changes nothing.
    schedule.passed(&BTreeSet::new(), &ids(&["bad"]), now);
    schedule.passed(&ids(&["bad"]), &BTreeSet::new(), now);
    assert_eq!(schedule.next(), Some(now + RETRY.1));
    schedule.edited(&ids(&["bad"]), now);
    assert_eq!(schedule.next(), None);
}

#[test]
fn a_removal_waits_for_its_grace_and_is_forgotten_when_the_file_is_back() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    let found = |schedule: &mut Schedule, names: &[&str], now| {
        schedule.found_leaving(&ids(names), None, now);
    };
    found(&mut schedule, &["a"], now);
    // Another edit in between does not delay it.
    found(&mut schedule, &["a"], now + Duration::from_millis(300));
    assert_eq!(schedule.next(), Some(now + REMOVAL_GRACE));
    assert!(!is_due(&mut schedule, now + Duration::from_millis(999)));
    assert!(is_due(&mut schedule, now + REMOVAL_GRACE));
    found(&mut schedule, &[], now + REMOVAL_GRACE);
    assert!(!is_due(&mut schedule, now + REMOVAL_GRACE * 5));
}

#[test]
fn each_removal_has_its_own_grace_and_all_of_them_go_together() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    let later = now + Duration::from_millis(900);
    schedule.found_leaving(&ids(&["a"]), None, now);
    // A pass over other daemons does not affect it.
    schedule.found_leaving(&ids(&["b"]), Some(&ids(&["b", "c"])), later);
    assert_eq!(schedule.pending_daemons(), ids(&["a", "b"]));
    assert!(!schedule.removal_is_due(now + REMOVAL_GRACE));
    assert_eq!(schedule.next(), Some(later + REMOVAL_GRACE));
    assert!(schedule.removal_is_due(later + REMOVAL_GRACE));
    // The file of one is back: the other has been absent for long enough.
    schedule.found_leaving(&BTreeSet::new(), Some(&ids(&["b"])), later);
    assert_eq!(schedule.next(), Some(now + REMOVAL_GRACE));
}

#[test]
fn a_removal_that_fails_is_tried_less_and_less_often() {
    let mut schedule = Schedule::default();
    let mut now = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..4 {
        // A pass finds its definition gone, and a second one after the grace period fails to remove it.
        let before = now;
        schedule.found_leaving(&ids(&["bad"]), None, now);
        schedule.passed(&BTreeSet::new(), &BTreeSet::new(), now);
        now = schedule.next().unwrap();
        assert!(now >= before + REMOVAL_GRACE && schedule.removal_is_due(now));
        schedule.removed();
        schedule.passed(&ids(&["bad"]), &BTreeSet::new(), now);
        let next = schedule.next().unwrap();
        waits.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(waits, [500, 1000, 2000, 4000]);
}

#[test]
fn polls_cost_pm2_at_most_a_hundredth() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    schedule.polled(Duration::from_millis(1), now);
    assert_eq!(schedule.next(), Some(now + Duration::from_secs(1)));
    poll_each(&mut schedule, [50; 3], now);
    assert_eq!(schedule.next(), Some(now + Duration::from_secs(5)));
    assert!(!schedule.take_poll(now));
    // PM2's own events bring it forward, but only up to a twentieth of PM2's time.
    schedule.poll_soon(now);
    assert!(!schedule.take_poll(now + Duration::from_millis(999)));
    assert!(schedule.take_poll(now + Duration::from_secs(1)));
    assert!(
        !schedule.take_poll(now + Duration::from_secs(60)),
        "a poll is due once"
    );
    // An event long after the last poll is not delayed.
    poll_each(&mut schedule, [50; 3], now);
    let later = now + Duration::from_secs(2);
    schedule.poll_soon(later);
    assert!(!schedule.take_poll(later + HINT.0 / 2));
    assert!(schedule.take_poll(later + HINT.0));
}

/// Polls that take this many milliseconds.
fn poll_each(schedule: &mut Schedule, polls: [u64; 3], now: Instant) {
    for milliseconds in polls {
        schedule.polled(Duration::from_millis(milliseconds), now);
    }
}

#[test]
fn a_slow_poll_among_quick_ones_delays_nothing() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    for polls in [[20, 800, 900], [800, 20, 900], [800, 900, 20]] {
        poll_each(&mut schedule, polls, now);
        assert_eq!(schedule.next(), Some(now + Duration::from_secs(2)));
    }
    // Three in a row: PM2 has more to list.
    schedule.polled(Duration::from_millis(60), now);
    schedule.polled(Duration::from_millis(50), now);
    schedule.polled(Duration::from_millis(40), now);
    assert_eq!(schedule.next(), Some(now + Duration::from_secs(4)));
    // After a change, it is polled once more at any cost.
    schedule.poll_again(now);
    assert_eq!(schedule.next(), Some(now + Duration::from_secs(1)));
}

#[test]
fn polls_are_rare_while_all_is_well_and_events_bring_them_forward() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    schedule.polled(Duration::from_millis(1), now);
    schedule.idle(now);
    assert_eq!(schedule.next(), Some(now + IDLE_POLL.0));
    schedule.poll_soon(now);
    assert!(schedule.take_poll(now + HINT.0));
    // With many processes polls are rarer, up to a limit, and never more frequent than while work is left.
    for (milliseconds, seconds) in [(20, 20), (50, 50), (200, 60), (500, 60), (900, 90)] {
        poll_each(&mut schedule, [milliseconds; 3], now);
        schedule.idle(now);
        assert_eq!(schedule.next(), Some(now + Duration::from_secs(seconds)));
    }
}

#[test]
fn nothing_is_done_while_pm2_may_be_about_to_end() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    schedule.found_leaving(&ids(&["a"]), None, now);
    schedule.suspect_shutdown(now + REMOVAL_GRACE);
    assert!(!is_due(&mut schedule, now + REMOVAL_GRACE));
    assert!(!schedule.take_poll(now + REMOVAL_GRACE));
    // PM2 is polled before anything is done.
    assert!(!is_due(&mut schedule, now + REMOVAL_GRACE + SHUTDOWN_CHECK));
    assert!(schedule.take_poll(now + REMOVAL_GRACE + SHUTDOWN_CHECK));
    assert!(is_due(&mut schedule, now + REMOVAL_GRACE + SHUTDOWN_CHECK));
}

#[test]
fn a_daemon_that_keeps_changing_changes_less_and_less_often() {
    let mut schedule = Schedule::default();
    let mut now = Instant::now();
    let flapping = ids(&["flapping"]);
    let mut pauses = Vec::new();
    let mut reports = Vec::new();
    for _ in 0..9 {
        // The first change is applied at once; it is edited again during that.
        assert_eq!(schedule.waiting(now), BTreeSet::new());
        reports.extend(schedule.changed(&flapping, now));
        for milliseconds in [10, 20, 30] {
            schedule.edited(&flapping, now + Duration::from_millis(milliseconds));
        }
        assert_eq!(schedule.waiting(now), flapping);
        assert!(!is_due(&mut schedule, now + Duration::from_millis(999)));
        let next = schedule.next().unwrap();
        let edited = PassReason::Edited(flapping.clone());
        assert_eq!(schedule.take_due(next), Some(edited));
        pauses.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(
        reports,
        [(DaemonId::new("flapping").unwrap(), REPORTED_PAUSE)]
    );
}

/// An edit that was applied at this moment, as soon as its file was written.
fn apply_early(schedule: &mut Schedule, ids: &BTreeSet<DaemonId>, now: Instant) {
    schedule.edited(ids, now);
    schedule.changed(ids, now);
    schedule.expect_more(ids, now, now);
}

#[test]
fn edits_soon_after_one_that_was_not_waited_for_are_one_more_change() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    let at = |milliseconds| now + Duration::from_millis(milliseconds);
    let edited = ids(&["a"]);
    apply_early(&mut schedule, &edited, now);
    assert_eq!(schedule.next(), None, "it is not edited again");
    for milliseconds in [50, 100, 290] {
        schedule.edited(&edited, at(milliseconds));
        assert_eq!(schedule.waiting(at(milliseconds)), edited);
        assert_eq!(schedule.next(), Some(now + MORE));
    }
    assert!(is_due(&mut schedule, now + MORE));
    schedule.changed(&edited, at(310));
    schedule.expect_more(&edited, at(300), at(310));
    // The next one waits as long as after a single change, and the one after that twice as long.
    schedule.edited(&edited, at(320));
    assert_eq!(schedule.next(), Some(at(310) + PAUSE.0));
    schedule.changed(&edited, at(310) + PAUSE.0);
    schedule.edited(&edited, at(1400));
    assert_eq!(schedule.next(), Some(at(310) + PAUSE.0 * 3));
}

#[test]
fn an_edit_soon_after_an_early_one_waits() {
    let now = Instant::now();
    let edited = ids(&["a"]);
    let mut schedule = Schedule::default();
    apply_early(&mut schedule, &edited, now);
    let later = now + MORE + Duration::from_millis(1);
    schedule.edited(&edited, later);
    assert_eq!(schedule.waiting(later), edited);
    // It already changed a moment before: a file that is written repeatedly is not waited for each time.
    let mut schedule = Schedule::default();
    schedule.changed(&edited, now);
    let later = now + PAUSE.0 + Duration::from_millis(1);
    apply_early(&mut schedule, &edited, later);
    schedule.edited(&edited, later);
    assert_eq!(schedule.waiting(later), edited);
    // A daemon that has not just changed expects no further edits.
    let mut schedule = Schedule::default();
    schedule.changed(&edited, now);
    let later = now + Duration::from_millis(500);
    schedule.expect_more(&edited, later, later);
    schedule.edited(&edited, later);
    assert_eq!(schedule.waiting(later), edited);
}

#[test]
fn an_edit_that_waited_and_changed_nothing_waits_no_more() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    let edited = ids(&["a"]);
    schedule.changed(&edited, now);
    schedule.edited(&edited, now);
    assert_eq!(schedule.next(), Some(now + PAUSE.0));
    // A pass that excludes it does not affect it.
    schedule.passed(&BTreeSet::new(), &edited, now);
    let later = now + PAUSE.0;
    assert!(is_due(&mut schedule, later));
    schedule.passed(&BTreeSet::new(), &BTreeSet::new(), later);
    assert!(!is_due(&mut schedule, later));
    assert_eq!(schedule.next(), None);
}

#[test]
fn a_daemon_that_is_edited_now_and_then_changes_at_once() {
    let mut schedule = Schedule::default();
    let mut now = Instant::now();
    for _ in 0..5 {
        schedule.edited(&ids(&["a"]), now);
        assert_eq!(schedule.waiting(now), BTreeSet::new());
        assert_eq!(schedule.changed(&ids(&["a"]), now), []);
        // Nothing is scheduled for the end of the pause.
        assert_eq!(schedule.next(), None);
        now += PAUSE.0 * 2;
    }
    // Other daemons are not delayed.
    schedule.changed(&ids(&["a"]), now);
    assert_eq!(schedule.waiting(now), ids(&["a"]));
}
