use std::time::{Duration, Instant};

use super::*;

fn open() -> (tempfile::TempDir, Box<dyn HintSource>, Receiver<()>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let layout = Layout::with_dirs(
        Utf8PathBuf::from_path_buf(path).unwrap(),
        "daemons",
        "out",
        [""; 0],
    );
    std::fs::create_dir(layout.daemons_dir()).unwrap();
    let (sender, wakes) = sync_channel(1);
    let source = NotifyOpener.open(&layout, Waker(sender)).unwrap();
    (dir, source, wakes)
}

#[test]
fn a_beat_comes_back_without_a_hint() {
    let (_dir, mut source, wakes) = open();
    for _ in 0..3 {
        assert!(source.beat());
        assert!(!source.beat_seen());
        let deadline = Instant::now() + Duration::from_secs(10);
        while !source.beat_seen() {
            let left = deadline.saturating_duration_since(Instant::now());
            wakes.recv_timeout(left).unwrap();
            assert_eq!(source.drain(), []);
        }
    }
}

#[test]
fn queue_overflow_is_reported_as_lost() {
    let (dir, mut source, wakes) = open();
    for n in 0..QUEUE {
        std::fs::write(dir.path().join(format!("daemons/{n}")), "").unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // Nothing is drained before the last write, so they must pile up.
        let hints = source.drain();
        let lost = |hint: &Hint| {
            matches!(
                hint,
                Hint::Lost(LostReason::ChannelFull | LostReason::Overflow)
            )
        };
        if hints.iter().any(lost) {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        wakes.recv_timeout(left).unwrap();
    }
}

/// How a callback reports an event, and whether it woke the thread.
fn reported(event: notify::Result<Event>) -> (Option<LostReason>, bool) {
    reported_after(|callback| callback.take(event))
}

fn reported_after(work: impl FnOnce(&mut Callback)) -> (Option<LostReason>, bool) {
    let (sender, events) = sync_channel(1);
    let (wake, wakes) = sync_channel(1);
    let lost = Arc::new(AtomicU8::new(0));
    let mut callback = Callback {
        sender,
        lost: Arc::clone(&lost),
        waker: Waker(wake),
    };
    callback.guard(work);
    drop(events);
    (
        reason(lost.load(Ordering::Acquire)),
        wakes.try_recv().is_ok(),
    )
}

#[test]
fn an_overflow_names_no_path_and_is_reported_as_lost() {
    let rescan = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert!(rescan.paths.is_empty());
    assert_eq!(reported(Ok(rescan)), (Some(LostReason::Overflow), true));
}

#[test]
fn errors_are_reported_as_lost() {
    let limit = notify::Error::new(ErrorKind::MaxFilesWatch);
    assert_eq!(reported(Err(limit)), (Some(LostReason::WatchLimit), true));
    let other = notify::Error::generic("something");
    assert_eq!(reported(Err(other)), (Some(LostReason::Backend), true));
}

#[test]
fn a_panic_in_the_callback_is_reported_as_lost_and_ends_no_thread() {
    let reported = reported_after(|_| panic!("on purpose"));
    assert_eq!(reported, (Some(LostReason::Panicked), true));
}

#[test]
fn a_daemon_that_logs_causes_no_wake() {
    let (dir, mut source, wakes) = open();
    let path = dir.path().join("daemons/log");
    let mut log = File::create(&path).unwrap();
    let seen = |source: &mut Box<dyn HintSource>| {
        assert!(source.beat());
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut count = 0;
        while !source.beat_seen() {
            let left = deadline.saturating_duration_since(Instant::now());
            wakes.recv_timeout(left).unwrap();
            count += 1;
            assert_eq!(source.drain(), []);
        }
        count
    };
    seen(&mut source);
    for n in 0..10_000 {
        std::io::Write::write_all(&mut log, format!("line {n}\n").as_bytes()).unwrap();
    }
    assert!(seen(&mut source) <= 2, "writing woke it");
}

#[test]
fn reasons_survive_as_numbers() {
    for known in REASONS {
        assert_eq!(reason(code(known)), Some(known));
    }
    assert_eq!(reason(0), None);
}
