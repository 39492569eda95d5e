//! How often an idle watch polls PM2, and what it still notices.

mod common;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Env, proxy, sleeper};
use pm2_testbed::wait_for;

/// Whether PM2's list is not requested for this long.
fn is_idle(lists: &AtomicUsize, time: Duration) -> bool {
    let before = lists.load(Ordering::SeqCst);
    let began = Instant::now();
    while began.elapsed() < time {
        if lists.load(Ordering::SeqCst) != before {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Waits until PM2's list has been requested `count` times within `time`, at least a second apart.
fn wait_for_polls(lists: &AtomicUsize, count: usize, time: Duration) {
    let mut known = lists.load(Ordering::SeqCst);
    let mut polls = VecDeque::from([Instant::now()]);
    wait_for(|| {
        let now = Instant::now();
        let is_later = polls
            .back()
            .is_none_or(|last| now - *last >= Duration::from_secs(1));
        if is_later && lists.load(Ordering::SeqCst) != known {
            polls.push_back(now);
            known = lists.load(Ordering::SeqCst);
        }
        while polls.front().is_some_and(|first| now - *first > time) {
            polls.pop_front();
        }
        polls.len() > count
    });
}

/// Stops `app0` by hand; returns how long until it runs again.
fn healing(env: &Env) -> Duration {
    let pid = env.pid("app0");
    let began = Instant::now();
    assert!(env.bed.cli(&["stop", "app0"]).status.success());
    wait_for(|| env.named("app0")[0].pid.is_some_and(|now| now != pid));
    began.elapsed()
}

#[test]
fn a_watch_with_nothing_to_do_polls_pm2_rarely_and_heals_at_once() {
    let env = Env::with_sleepers(2);
    env.sync();
    let lists = proxy::count_lists(&env);
    let watch = env.watch(&[]);
    wait_for(|| is_idle(&lists, Duration::from_secs(4)));
    let took = healing(&env);
    assert!(took < Duration::from_secs(8), "{took:?}");
    env.define("d1", &sleeper("app1", 2000));
    env.wait_for_args("app1", &["2000"]);
    wait_for(|| is_idle(&lists, Duration::from_secs(4)));
    assert_eq!(watch.stop(), 0);
}

/// Its connection is open, but nothing arrives.
#[test]
fn events_that_do_not_come_are_noticed_and_pm2_is_polled_as_without_them() {
    let env = Env::with_sleepers(2);
    env.sync();
    let lists = proxy::count_lists(&env);
    let subscriptions = proxy::mute_events(&env);
    let watch = env.watch(&[]);
    env.define("d1", &sleeper("app1", 2000));
    env.wait_for_args("app1", &["2000"]);
    wait_for(|| subscriptions.load(Ordering::SeqCst) == 2);
    wait_for_polls(&lists, 5, Duration::from_secs(16));
    let took = healing(&env);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(subscriptions.load(Ordering::SeqCst), 2);
    assert_eq!(watch.stop(), 0);
}
