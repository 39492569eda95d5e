//! The library's own watch, on any adapter, with a note of each call that changes PM2.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use daemon_model::ObservedProcess;
use pm2_client::{
    AdapterError, CurrentConf, LiveProcess, MemoryAdapter, PmId, Prepare, ProcessAdapter,
    ProcessRecord,
};
use pm2_sync::{
    Config, Definitions, Engine, EngineEvent, Environment, Event, EventSender, Lock, PassOptions,
    StopFlag, SyncReport, events, sync_locked,
};

/// How long a pass may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// A pass that has ended.
pub struct Pass {
    /// When.
    pub at: Instant,
    /// How many steps it took, all of which succeeded.
    pub steps: usize,
}

/// A watch in a thread of its own, until it is dropped.
pub struct Driven {
    sender: EventSender,
    passes: Receiver<Pass>,
    thread: Option<JoinHandle<()>>,
}

impl Driven {
    /// Starts the watch; its first pass is waited for, and the one when all files are watched.
    pub fn start(config: Config, adapter: Box<dyn ProcessAdapter>) -> Self {
        let (sender, receiver) = events();
        let (ended, passes) = channel();
        let for_engine = sender.clone();
        let thread = std::thread::spawn(move || {
            let mut engine = Engine::new(
                &config,
                PassOptions::default(),
                true,
                (&for_engine, &receiver),
                StopFlag::default(),
            )
            .with_adapter(adapter);
            let mut tell = |event: EngineEvent<'_>| match event {
                EngineEvent::Ended(report) => {
                    expect_success(report);
                    let steps = report.applied.steps.len();
                    let at = Instant::now();
                    // Nobody listens any more when the watch is about to end.
                    drop(ended.send(Pass { at, steps }));
                }
                // Whoever waits for the next pass waits in vain.
                EngineEvent::Failed(error, _) => eprintln!("error: a pass failed: {error}"),
                _ => {}
            };
            engine.run(&mut tell).unwrap();
        });
        let driven = Self {
            sender,
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
        // It may have ended by itself, with a message of its own.
        let _ = self.sender.send(Event::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn expect_success(report: &SyncReport) {
    assert!(report.applied.failed_daemons().next().is_none());
    assert!(report.after.held.is_none());
    assert!(report.save_error.is_none());
}

/// A configuration for a PM2 in memory: its home is only for the lock and the dump.
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

/// One whole sync on a PM2 in memory; how many steps it took.
pub fn sync_in_memory(config: &Config, pm2: &MemoryAdapter) -> usize {
    let mut lock = Lock::take(
        &config.pm2_home,
        "pm2-bench",
        Duration::from_secs(60),
        &|| false,
        &mut |_| {},
    )
    .unwrap();
    let definitions = Arc::new(Definitions::load(config).unwrap());
    let report = sync_locked(
        config,
        &PassOptions::default(),
        definitions,
        &mut lock,
        &mut Some(Box::new(pm2.clone())),
        &StopFlag::default(),
        &mut |_| {},
    )
    .unwrap();
    expect_success(&report);
    assert!(report.after.is_in_sync());
    report.applied.steps.len()
}

/// When a call was sent to PM2, and when it had been carried out.
#[derive(Clone, Copy)]
pub struct Told {
    /// Sent.
    pub at: Instant,
    /// Answered.
    pub answered: Instant,
}

/// The calls that were sent to PM2, by all connections.
pub type Log = Arc<Mutex<Vec<Told>>>;

/// An adapter that notes when it tells PM2 to change something.
pub struct Stamped {
    inner: Box<dyn ProcessAdapter>,
    log: Log,
}

impl Stamped {
    /// Notes the calls through `inner`.
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
        self.log.lock().unwrap().push(Told { at, answered });
        done
    }
}

impl ProcessAdapter for Stamped {
    fn daemon_version(&mut self) -> Result<String, AdapterError> {
        self.inner.daemon_version()
    }

    fn list(&mut self) -> Result<Vec<ProcessRecord>, AdapterError> {
        self.inner.list()
    }

    fn records(&mut self, ids: &[PmId]) -> Result<Vec<ProcessRecord>, AdapterError> {
        self.inner.records(ids)
    }

    fn observe(&mut self) -> Result<Vec<Arc<ObservedProcess>>, AdapterError> {
        self.inner.observe()
    }

    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError> {
        self.note(|inner| inner.prepare(payload))
    }

    fn restart(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
        self.note(|inner| inner.restart(id, conf))
    }

    fn reload(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
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

    fn inspect(&mut self, pid: u32) -> Result<Option<LiveProcess>, AdapterError> {
        self.inner.inspect(pid)
    }

    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError> {
        Ok(Box::new(Self {
            inner: self.inner.another()?,
            log: Arc::clone(&self.log),
        }))
    }
}
