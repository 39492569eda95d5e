//! The native adapter: PM2's own socket.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::ObservedProcess;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::adapter::{AdapterError, Method, ProcessAdapter};
use crate::message::{CurrentConf, Prepare};
use crate::record::{LiveProcess, PmId, ProcessRecord, record, records_of};
use crate::seen::Seen;
use crate::wire::{Decoder, Reply, WireError, encode_call};

/// The longest path that fits into a socket address, in bytes (Linux, `unix(7)`, less the closing NUL).
pub const MAX_SOCKET_PATH: usize = 107;

/// How long to wait for answers.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a question that PM2 answers at once.
    pub question: Duration,
    /// For a call that starts or ends processes, besides the time that their own settings allow for it.
    pub change: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            question: Duration::from_secs(10),
            change: Duration::from_secs(30),
        }
    }
}

/// PM2's time for a process to end, where its record does not say (PM2 7.0.4, constants.js).
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_millis(1600);
/// PM2's time for a worker to listen, where its record does not say (PM2 7.0.4, constants.js).
const LISTEN_TIMEOUT: Duration = Duration::from_millis(3000);

/// How often, and after which pause each time, a daemon that closes its connection is greeted again.
const CLOSED_ATTEMPTS: u32 = 50;
const CLOSED_PAUSE: Duration = Duration::from_millis(20);

/// How often it is looked whether to stop while an answer is waited for.
const STOP_STEP: Duration = Duration::from_millis(100);

/// A connection to PM2's `rpc.sock`.
#[derive(Debug)]
pub struct SocketAdapter {
    path: Utf8PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    deadlines: Deadlines,
    stop: Arc<AtomicBool>,
    calls: u64,
    version: String,
    /// A call for the list that was sent ahead.
    asked: Option<Asked>,
    seen: Seen,
    /// How long each process may take to end and to start, as the last list said.
    patience: BTreeMap<PmId, Duration>,
    /// After a lost answer replies could be taken for those of other calls only by a bug; the stream itself may
    /// end in the middle of a message.
    broken: bool,
}

/// A call that was sent before its answer is wanted.
#[derive(Debug)]
struct Asked {
    id: String,
    /// Its answer, as it came, if it came before that of an earlier call: a PM2 without processes has its list ready
    /// sooner than its version.
    answer: Option<Vec<u8>>,
}

impl SocketAdapter {
    /// Connects to the daemon of this PM2 home.
    ///
    /// # Errors
    /// [`AdapterError::NotRunning`] when there is none; otherwise why it cannot be talked to.
    pub fn connect(pm2_home: &Utf8Path, deadlines: Deadlines) -> Result<Self, AdapterError> {
        Self::connect_until(pm2_home, deadlines, Arc::default())
    }

    /// As [`connect`](Self::connect); a question to a PM2 that hangs is given up soon after `stop` is set. A call
    /// that changes something is not: it is over when PM2 says so, or at its deadline.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`AdapterError::Stopped`].
    pub fn connect_until(
        pm2_home: &Utf8Path,
        deadlines: Deadlines,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, AdapterError> {
        Self::connect_to(&pm2_home.join("rpc.sock"), deadlines, &stop, false)
    }

    /// As [`connect_until`](Self::connect_until), and asks for the list at once: the first look finds it
    /// answered, if no other call comes before it. For who looks once or twice; what is found is not kept for further looks.
    ///
    /// # Errors
    /// As [`connect_until`](Self::connect_until).
    pub fn connect_asking(
        pm2_home: &Utf8Path,
        deadlines: Deadlines,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, AdapterError> {
        let path = pm2_home.join("rpc.sock");
        let mut adapter = Self::connect_to(&path, deadlines, &stop, true)?;
        adapter.seen = Seen::once();
        Ok(adapter)
    }

    fn connect_to(
        path: &Utf8Path,
        deadlines: Deadlines,
        stop: &Arc<AtomicBool>,
        asks: bool,
    ) -> Result<Self, AdapterError> {
        let mut adapter = Self::greet(path, deadlines, stop, asks);
        // A daemon that is just dying still takes connections, and closes them. A moment later it is gone, or another
        // one has taken its place.
        for _ in 0..CLOSED_ATTEMPTS {
            if !matches!(adapter, Err(AdapterError::Closed { .. })) {
                break;
            }
            std::thread::sleep(CLOSED_PAUSE);
            adapter = Self::greet(path, deadlines, stop, asks);
        }
        let adapter = adapter?;
        match adapter.version.split('.').next() {
            Some("5" | "6" | "7") => Ok(adapter),
            _ => Err(AdapterError::UnsupportedVersion {
                found: adapter.version,
            }),
        }
    }

    fn greet(
        path: &Utf8Path,
        deadlines: Deadlines,
        stop: &Arc<AtomicBool>,
        asks: bool,
    ) -> Result<Self, AdapterError> {
        let mut adapter = Self::open(path.to_owned(), deadlines, Arc::clone(stop))?;
        let version = Method::Version;
        let (id, mut calls) = adapter.next_call(version, &[json!({})]);
        if asks {
            let (id, call) = adapter.next_call(Method::List, &[json!({})]);
            calls.extend(call);
            adapter.asked = Some(Asked { id, answer: None });
        }
        let timeout = deadlines.question;
        adapter.send(version, &calls, timeout)?;
        let read = &mut |reply: Reply<'_>| reply.read();
        let answer: Value = adapter.receive(version, &id, timeout, read)?;
        adapter.version = version_in(&answer)?;
        Ok(adapter)
    }

    fn open(
        path: Utf8PathBuf,
        deadlines: Deadlines,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, AdapterError> {
        if path.as_str().len() > MAX_SOCKET_PATH {
            return Err(AdapterError::PathTooLong {
                path,
                limit: MAX_SOCKET_PATH,
            });
        }
        let stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                AdapterError::NotRunning { path: path.clone() }
            }
            _ => AdapterError::Connect {
                path: path.clone(),
                source,
            },
        })?;
        Ok(Self {
            path,
            stream,
            decoder: Decoder::default(),
            deadlines,
            stop,
            calls: 0,
            version: String::new(),
            asked: None,
            seen: Seen::default(),
            patience: BTreeMap::new(),
            broken: false,
        })
    }

    fn ask_version(&mut self) -> Result<String, AdapterError> {
        let answer = self.call(Method::Version, &[json!({})], self.deadlines.question)?;
        version_in(&answer)
    }

    /// One call and its answer.
    fn call(
        &mut self,
        method: Method,
        args: &[Value],
        timeout: Duration,
    ) -> Result<Value, AdapterError> {
        self.call_and(method, args, timeout, &mut |reply| reply.read())
    }

    /// One call, and what `read` makes of its answer. After a failure of the connection, the next call makes a new one.
    fn call_and<T>(
        &mut self,
        method: Method,
        args: &[Value],
        timeout: Duration,
        read: &mut ReadReply<'_, T>,
    ) -> Result<T, AdapterError> {
        if self.broken {
            // Another PM2 may have taken the place of the one that failed.
            let fresh = Self::connect_to(&self.path, self.deadlines, &self.stop, false)?;
            self.stream = fresh.stream;
            self.decoder = fresh.decoder;
            self.calls = fresh.calls;
            self.version = fresh.version;
            self.broken = false;
        }
        let asked = self.asked.take().filter(|_| method == Method::List);
        let answer = match asked {
            Some(Asked {
                answer: Some(answer),
                ..
            }) => made_of(method, Reply::kept(&answer), read),
            Some(Asked { id, .. }) => self.receive(method, &id, timeout, read),
            None => {
                let (id, call) = self.next_call(method, args);
                self.send(method, &call, timeout)
                    .and_then(|()| self.receive(method, &id, timeout, read))
            }
        };
        if matches!(&answer, Err(error) if !matches!(error, AdapterError::Refused { .. })) {
            self.broken = true;
        }
        answer
    }

    /// A call's own number, and its bytes.
    fn next_call(&mut self, method: Method, args: &[Value]) -> (String, Vec<u8>) {
        self.calls += 1;
        let id = self.calls.to_string();
        let call = encode_call(&id, method.as_str(), args);
        (id, call)
    }

    fn send(
        &mut self,
        method: Method,
        calls: &[u8],
        timeout: Duration,
    ) -> Result<(), AdapterError> {
        self.stream
            .set_write_timeout(Some(timeout))
            .and_then(|()| self.stream.write_all(calls))
            .map_err(|source| failed(method, timeout, source))
    }

    /// The answer to a call that was sent.
    fn receive<T>(
        &mut self,
        method: Method,
        id: &str,
        timeout: Duration,
        read: &mut ReadReply<'_, T>,
    ) -> Result<T, AdapterError> {
        let deadline = Instant::now() + timeout;
        let io = |source| failed(method, timeout, source);
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let protocol = |source| AdapterError::Protocol { method, source };
            while let Some(reply) = self.decoder.next_reply().map_err(protocol)? {
                if reply.id == id.as_bytes() {
                    let made = made_of(method, reply, read);
                    self.decoder.shrink();
                    return made;
                }
                // An answer to a call that was given up on is of no use any more.
                if let Some(asked) = &mut self.asked
                    && reply.id == asked.id.as_bytes()
                {
                    asked.answer = Some(reply.body().to_owned());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AdapterError::Timeout {
                    method,
                    after: timeout,
                });
            }
            let is_question = matches!(method, Method::Version | Method::List);
            if is_question && self.stop.load(Ordering::Relaxed) {
                return Err(AdapterError::Stopped { method });
            }
            let step = left.min(STOP_STEP);
            self.stream.set_read_timeout(Some(step)).map_err(io)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(AdapterError::Closed { method }),
                Ok(n) => self.decoder.feed(&chunk[..n]),
                // Some of the time is over, not all of it.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(io(error)),
            }
        }
    }

    /// How long a change of this process may take.
    fn patience(&self, id: PmId) -> Duration {
        self.deadlines.change + self.patience.get(&id).copied().unwrap_or(KILL_TIMEOUT * 2)
    }

    fn change(&mut self, method: Method, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
        // The new settings already count while the old process ends.
        let wait = self.patience(id) + patience_in(conf.as_map());
        let opts = json!({ "id": id.0, "env": { "current_conf": conf.as_map() } });
        self.call(method, &[opts], wait).map(drop)
    }
}

/// Makes something of a reply: what was asked for, or PM2's refusal.
type ReadReply<'r, T> = dyn FnMut(Reply<'_>) -> serde_json::Result<Result<T, String>> + 'r;

/// What `read` makes of PM2's answer.
fn made_of<T>(
    method: Method,
    reply: Reply<'_>,
    read: &mut ReadReply<'_, T>,
) -> Result<T, AdapterError> {
    match read(reply) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(message)) => Err(AdapterError::Refused { method, message }),
        Err(error) => Err(AdapterError::Protocol {
            method,
            source: WireError::Json(error),
        }),
    }
}

/// Reads a list of PM2 as these entries and makes something of them.
fn listed<'a, E: Deserialize<'a>, T>(
    reply: Reply<'a>,
    make: impl FnOnce(Vec<E>) -> serde_json::Result<T>,
) -> serde_json::Result<Result<T, String>> {
    match reply.read()? {
        Ok(entries) => make(entries).map(Ok),
        Err(message) => Ok(Err(message)),
    }
}

fn failed(method: Method, timeout: Duration, source: std::io::Error) -> AdapterError {
    match source.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => AdapterError::Timeout {
            method,
            after: timeout,
        },
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            AdapterError::Closed { method }
        }
        _ => AdapterError::Io { method, source },
    }
}

fn version_in(answer: &Value) -> Result<String, AdapterError> {
    answer
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or(AdapterError::Answer {
            method: Method::Version,
            missing: "version",
        })
}

/// The time that a process's own settings (`kill_timeout`, `listen_timeout`; PM2's defaults where there are none) allow
/// for its end and its start.
#[must_use]
pub fn patience_of(process: &ObservedProcess) -> Duration {
    patience(|key| process.attributes.get(key)?.as_u64())
}

/// The same for settings that PM2 is told or has.
fn patience_in(settings: &Map<String, Value>) -> Duration {
    patience(|key| settings.get(key)?.as_u64())
}

fn patience(milliseconds: impl Fn(&str) -> Option<u64>) -> Duration {
    let time = |key, default: Duration| milliseconds(key).map_or(default, Duration::from_millis);
    // PM2 waits once for the process to end by itself, and once more after it killed it.
    (time("kill_timeout", KILL_TIMEOUT) * 2).saturating_add(time("listen_timeout", LISTEN_TIMEOUT))
}

impl ProcessAdapter for SocketAdapter {
    fn daemon_version(&mut self) -> Result<String, AdapterError> {
        self.ask_version()
    }

    fn list(&mut self) -> Result<Vec<ProcessRecord>, AdapterError> {
        let mut records = Vec::new();
        self.each(&mut |record| records.push(record))?;
        records.sort_by_key(|record| record.pm_id);
        Ok(records)
    }

    fn each(&mut self, visit: &mut dyn FnMut(ProcessRecord)) -> Result<(), AdapterError> {
        let mut patience = BTreeMap::new();
        let timeout = self.deadlines.question;
        let read = &mut |reply: Reply<'_>| {
            listed(reply, |entries: Vec<&RawValue>| {
                for entry in entries {
                    if let Some(record) = record(serde_json::from_str(entry.get())?) {
                        patience.insert(record.pm_id, patience_in(&record.pm2_env));
                        visit(record);
                    }
                }
                Ok(())
            })
        };
        self.call_and(Method::List, &[json!({})], timeout, read)?;
        self.patience = patience;
        Ok(())
    }

    fn records(&mut self, ids: &[PmId]) -> Result<Vec<ProcessRecord>, AdapterError> {
        // PM2 cannot be asked for less than all, but the rest need not be read.
        let timeout = self.deadlines.question;
        let read = &mut |reply: Reply<'_>| listed(reply, |entries| records_of(entries, ids));
        self.call_and(Method::List, &[json!({})], timeout, read)
    }

    fn observe(&mut self) -> Result<Vec<Arc<ObservedProcess>>, AdapterError> {
        let mut seen = std::mem::take(&mut self.seen);
        let timeout = self.deadlines.question;
        let read = &mut |reply: Reply<'_>| listed(reply, |entries| seen.read(entries));
        let processes = self.call_and(Method::List, &[json!({})], timeout, read)?;
        self.seen = seen;
        self.patience = processes
            .iter()
            .map(|process| (PmId(process.pm_id), patience_of(process)))
            .collect();
        Ok(processes)
    }

    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError> {
        let method = Method::Prepare;
        let each = patience_in(payload.as_map());
        let instances = u32::try_from(payload.instances()).unwrap_or(u32::MAX);
        let wait = self.deadlines.change + each.saturating_mul(instances);
        let answer = self.call(method, &[Value::Object(payload.as_map().clone())], wait)?;
        let started: Vec<ProcessRecord> = match answer {
            Value::Array(started) => started.into_iter().filter_map(record).collect(),
            _ => Vec::new(),
        };
        if started.is_empty() {
            return Err(AdapterError::Answer {
                method,
                missing: "process",
            });
        }
        Ok(started)
    }

    fn restart(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
        self.change(Method::Restart, id, conf)
    }

    fn reload(&mut self, id: PmId, conf: &CurrentConf) -> Result<(), AdapterError> {
        let method = Method::Reload;
        conf.check_reload()
            .map_err(|source| AdapterError::InvalidMessage { method, source })?;
        self.change(method, id, conf)
    }

    fn stop(&mut self, id: PmId) -> Result<(), AdapterError> {
        let wait = self.patience(id);
        self.call(Method::Stop, &[json!(id.0)], wait).map(drop)
    }

    fn delete(&mut self, id: PmId) -> Result<(), AdapterError> {
        let wait = self.patience(id);
        self.call(Method::Delete, &[json!(id.0)], wait).map(drop)
    }

    fn stop_watch(&mut self, id: PmId) -> Result<(), AdapterError> {
        let args = [json!("deleteProcessId"), json!(id.0)];
        self.call(Method::StopWatch, &args, self.deadlines.question)
            .map(drop)
    }

    fn inspect(&mut self, pid: u32) -> Result<Option<LiveProcess>, AdapterError> {
        crate::proc::inspect(pid)
    }

    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError> {
        let mut other = Self::open(self.path.clone(), self.deadlines, Arc::clone(&self.stop))?;
        other.version.clone_from(&self.version);
        Ok(Box::new(other))
    }
}
