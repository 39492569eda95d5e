//! The library's own watch, on any adapter, recording each call that changes PM2.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use daemon_model::Processes;
use pm2_client::{
    AdapterError, CurrentConf, Listed, MemoryAdapter, PmId, Prepare, ProcessAdapter, ProcessRecord,
    ReloadConf,
};
use reconcile::{
    ArtifactStore, Config, Disk, Engine, EngineEvent, EngineHandle, EngineOptions, Environment,
    Lock, Pm2, Request, StopFlag, SyncReport,
};

/// How long a pass may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// A pass that has ended.
pub struct Pass {
    /// When it ended.
    pub at: Instant,
    /// How many steps it took, all of which succeeded.
    pub steps: usize,
}

/// A watch on its own thread, until it is dropped.
pub struct Driven {
    engine: EngineHandle,
    passes: Receiver<Pass>,
    thread: Option<JoinHandle<()>>,
}

impl Driven {
    /// Starts the watch, and waits for its first pass and for the one after all files are watched.
    pub fn start(config: Config, adapter: Box<dyn ProcessAdapter>) -> Self {
        let mut engine = Engine::new(config, EngineOptions::default(), StopFlag::default())
            .with_adapter(adapter);
        let handle = engine.handle();
        let (ended, passes) = channel();
        let thread = std::thread::spawn(move || {
            let mut tell = |event: EngineEvent<'_>| match event {
                EngineEvent::Ended(report) => {
                    expect_success(report);
                    let steps = report.applied.steps.len();
                    let at = Instant::now();
                    // The receiver is gone when the watch is ending.
                    drop(ended.send(Pass { at, steps }));
                }
                // Otherwise, a caller that waits for the next pass would hang without a message.
                EngineEvent::Failed(error, _) => eprintln!("error: a pass failed: {error}"),
                _ => {}
            };
            engine.run(&mut tell).unwrap();
        });
        let driven = Self {
            engine: handle,
            passes,
            thread: Some(thread),
        };
        driven.next();
        driven.next();
        driven
    }

    /// The next pass.
    pub fn next(&self) -> Pass {
        self.passes.recv_timeout(PATIENCE).unwrap()
    }

    /// The next pass that did something.
    pub fn next_with_steps(&self) -> Pass {
        loop {
            let pass = self.next();
            if pass.steps > 0 {
                return pass;
            }
        }
    }

    /// How many steps are taken within this time.
    pub fn steps_within(&self, time: Duration) -> usize {
        let until = Instant::now() + time;
        let mut steps = 0;
        while let Ok(pass) = self
            .passes
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            steps += pass.steps;
        }
        steps
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // It may have ended by itself, with its own message.
        self.engine.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn expect_success(report: &SyncReport) {
    assert!(report.applied.failed_daemons().next().is_none());
    assert!(report.after.plan.held.is_none());
    assert!(report.save_error.is_none());
}

/// A configuration for an in-memory PM2: its home is only used for the lock and the dump.
pub fn config_of(root: &Utf8Path, home: &Utf8Path) -> Config {
    let vars = [
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("HOME", home.to_string()),
        ("PM2_HOME", home.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    Config::for_workspace(root, Environment::new(vars, Some(root.to_owned()))).unwrap()
}

/// One complete sync on an in-memory PM2; returns how many steps it took.
pub fn sync_in_memory(config: &Config, pm2: &MemoryAdapter) -> usize {
    let stop = StopFlag::default();
    let timeout = Duration::from_secs(60);
    let lock = Lock::take(&config.pm2_home, "pm2-bench", timeout, &stop, &mut |_| {}).unwrap();
    let mut pm2 = Pm2::new(config, &stop).with_adapter(Box::new(pm2.clone()));
    let report = reconcile::reconcile(
        config,
        &Request::default(),
        &mut Disk,
        &ArtifactStore::new(&config.layout),
        &mut pm2.write(lock),
        &stop,
        &mut |_| {},
    )
    .unwrap();
    expect_success(&report);
    assert!(report.after.has_nothing_to_do());
    report.applied.steps.len()
}

/// When a call was sent to PM2, and when it was executed.
#[derive(Clone, Copy)]
pub struct Sent {
    /// Sent.
    pub at: Instant,
    /// Answered.
    pub answered: Instant,
}

/// The calls sent to PM2 on all connections.
pub type Log = Arc<Mutex<Vec<Sent>>>;

/// An adapter that records when it sends changes to PM2.
pub struct Stamped {
    inner: Box<dyn ProcessAdapter>,
    log: Log,
}

impl Stamped {
    /// Records the calls through `inner`.
    pub fn new(inner: Box<dyn ProcessAdapter>) -> (Self, Log) {
        let log = Log::default();
        let stamped = Self {
            inner,
            log: Arc::clone(&log),
        };
        (stamped, log)
    }

    fn note<T>(&mut self, call: impl FnOnce(&mut dyn ProcessAdapter) -> T) -> T {
        let at = Instant::now();
        let done = call(self.inner.as_mut());
        let answered = Instant::now();
        self.log.lock().unwrap().push(Sent { at, answered });
        done
    }
}

impl ProcessAdapter for Stamped {
    fn daemon_version(&mut self) -> Result<String, AdapterError> {
        self.inner.daemon_version()
    }

    fn visit(
        &mut self,
        only: Option<&[PmId]>,
        visit: &mut dyn FnMut(Listed<'_>),
    ) -> Result<(), AdapterError> {
        self.inner.visit(only, visit)
    }

    fn keep_lists(&mut self, keep: bool) {
        self.inner.keep_lists(keep);
    }

    fn visit_recent(&mut self, only: Option<&[PmId]>, visit: &mut dyn FnMut(Listed<'_>)) -> bool {
        self.inner.visit_recent(only, visit)
    }

    fn observe(&mut self) -> Result<Processes, AdapterError> {
        self.inner.observe()
    }

    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError> {
        self.note(|inner| inner.prepare(payload))
    }

    fn restart(
        &mut self,
        id: PmId,
        conf: &CurrentConf,
    ) -> Result<Option<ProcessRecord>, AdapterError> {
        self.note(|inner| inner.restart(id, conf))
    }

    fn reload(&mut self, id: PmId, conf: &ReloadConf) -> Result<(), AdapterError> {
        self.note(|inner| inner.reload(id, conf))
    }

    fn stop(&mut self, id: PmId) -> Result<(), AdapterError> {
        self.note(|inner| inner.stop(id))
    }

    fn delete(&mut self, id: PmId) -> Result<(), AdapterError> {
        self.note(|inner| inner.delete(id))
    }

    fn stop_watch(&mut self, id: PmId) -> Result<(), AdapterError> {
        self.note(|inner| inner.stop_watch(id))
    }

    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError> {
        Ok(Box::new(Self {
            inner: self.inner.another()?,
            log: Arc::clone(&self.log),
        }))
    }
}
