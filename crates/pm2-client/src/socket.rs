//! The native adapter, which uses PM2's own socket.

mod answers;
mod timeouts;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{PmId, Processes, Usage};
use serde_json::{Value, json};

use crate::StopFlag;
use crate::adapter::{AdapterError, Method, ProcessAdapter};
use crate::connect::connect;
use crate::list_cache::ListCache;
use crate::message::{CurrentConf, Prepare, ReloadConf};
use crate::recent::{Asked, Changes};
use crate::record::{Listed, ProcessRecord, record};
use crate::wire::{Decoder, Reply, encode_call};

use answers::{ReadReply, failed, listed, made_of, version_in, visit_list};

pub use timeouts::{Deadlines, transition_timeout};
pub(crate) use timeouts::{KILL_TIMEOUT, LISTEN_TIMEOUT, timeout_in};

/// How to connect and wait.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// How long to wait for answers.
    pub deadlines: Deadlines,
    /// Once this is set, a query to a PM2 that hangs ends soon. A call that changes something does not: it ends when PM2 answers,
    /// or at its deadline.
    pub stop: StopFlag,
    /// Whether to request the list right after connecting, so that the first [`observe`](ProcessAdapter::observe) finds it
    /// answered, unless another call comes first. For callers that observe only once or twice, before they change anything on this
    /// or another connection: nothing is cached for further calls.
    pub prefetch_list: bool,
}

/// How often, and with which delay, to retry after a daemon closes its connection.
const CLOSED_ATTEMPTS: u32 = 50;
const CLOSED_PAUSE: Duration = Duration::from_millis(20);

/// How often to check the stop flag while waiting for an answer.
const STOP_STEP: Duration = Duration::from_millis(100);

/// How long PM2 may take to answer a query after the caller was asked to stop: enough for a PM2 that works, so that the step in
/// progress is verified and saved.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A connection to PM2's `rpc.sock`.
#[derive(Debug)]
pub struct SocketAdapter {
    path: Utf8PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    deadlines: Deadlines,
    stop: StopFlag,
    calls: u64,
    version: String,
    /// A list request that was sent in advance.
    prefetched: Option<Prefetched>,
    cache: ListCache,
    /// Whether the last list is kept, and that list.
    keeps_lists: bool,
    kept: Option<(Asked, Vec<u8>)>,
    /// Shared with the connections made from this one.
    changes: Changes,
    /// How long each process may take to stop and to start, from the last list.
    timeouts: BTreeMap<PmId, Duration>,
    /// Set after an I/O error: the next call reconnects.
    broken: bool,
}

/// A call that was sent in advance.
#[derive(Debug)]
struct Prefetched {
    id: String,
    asked: Asked,
    /// Its raw answer, if it arrived before that of an earlier call: a PM2 without processes has its list ready sooner than its
    /// version.
    answer: Option<Vec<u8>>,
}

impl SocketAdapter {
    /// Connects to the daemon of this PM2 home.
    ///
    /// # Errors
    /// [`AdapterError::NotRunning`] when there is none, [`AdapterError::OtherUser`] when it belongs to another user,
    /// [`AdapterError::UnsupportedVersion`] when its protocol version is not tested; other variants when communication fails.
    pub fn connect(pm2_home: &Utf8Path, options: ConnectOptions) -> Result<Self, AdapterError> {
        let ConnectOptions {
            deadlines,
            stop,
            prefetch_list,
        } = options;
        let path = pm2_home.join("rpc.sock");
        let mut adapter = Self::connect_to(&path, deadlines, &stop, prefetch_list)?;
        if prefetch_list {
            adapter.cache = ListCache::once();
        }
        Ok(adapter)
    }

    fn connect_to(
        path: &Utf8Path,
        deadlines: Deadlines,
        stop: &StopFlag,
        prefetch: bool,
    ) -> Result<Self, AdapterError> {
        let mut adapter = Self::greet(path, deadlines, stop, prefetch);
        // A daemon that is shutting down still accepts connections, and closes them. A moment later it is gone, or another one has
        // replaced it.
        for _ in 0..CLOSED_ATTEMPTS {
            if !matches!(adapter, Err(AdapterError::Closed { .. })) {
                break;
            }
            std::thread::sleep(CLOSED_PAUSE);
            adapter = Self::greet(path, deadlines, stop, prefetch);
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
        stop: &StopFlag,
        prefetch: bool,
    ) -> Result<Self, AdapterError> {
        let mut adapter = Self::open(path.to_owned(), deadlines, stop.clone())?;
        let version = Method::Version;
        let (id, mut calls) = adapter.next_call(version, &[json!({})]);
        if prefetch {
            let (id, call) = adapter.next_call(Method::List, &[json!({})]);
            calls.extend(call);
            let asked = Asked::now(&adapter.changes);
            adapter.prefetched = Some(Prefetched {
                id,
                asked,
                answer: None,
            });
        }
        let timeout = deadlines.question;
        adapter.send(version, &calls, timeout)?;
        let read = &mut |reply: Reply<'_>| reply.read();
        let answer: Value = adapter.receive(version, &id, timeout, read)?;
        adapter.version = version_in(&answer)?;
        Ok(adapter)
    }

    fn open(path: Utf8PathBuf, deadlines: Deadlines, stop: StopFlag) -> Result<Self, AdapterError> {
        let stream = connect(&path, deadlines.question, &stop)?;
        Ok(Self {
            path,
            stream,
            decoder: Decoder::default(),
            deadlines,
            stop,
            calls: 0,
            version: String::new(),
            prefetched: None,
            cache: ListCache::default(),
            keeps_lists: false,
            kept: None,
            changes: Changes::default(),
            timeouts: BTreeMap::new(),
            broken: false,
        })
    }

    fn ask_version(&mut self) -> Result<String, AdapterError> {
        let answer = self.call(Method::Version, &[json!({})], self.deadlines.question)?;
        version_in(&answer)
    }

    /// Makes one call and returns its answer.
    fn call(
        &mut self,
        method: Method,
        args: &[Value],
        timeout: Duration,
    ) -> Result<Value, AdapterError> {
        self.call_and(method, args, timeout, &mut |reply| reply.read())
    }

    /// Makes one call and passes its answer to `read`. After a connection failure, the next call reconnects.
    fn call_and<T>(
        &mut self,
        method: Method,
        args: &[Value],
        timeout: Duration,
        read: &mut ReadReply<'_, T>,
    ) -> Result<T, AdapterError> {
        self.kept = None;
        if self.broken {
            // Another PM2 may have replaced the one that failed.
            let fresh = Self::connect_to(&self.path, self.deadlines, &self.stop, false)?;
            self.stream = fresh.stream;
            self.decoder = fresh.decoder;
            self.calls = fresh.calls;
            self.version = fresh.version;
            self.broken = false;
        }
        let is_change = !matches!(method, Method::List | Method::Version);
        if is_change {
            self.changes.note();
        }
        let answer = self.answer_to(method, args, timeout, read);
        if is_change {
            self.changes.note();
        }
        if matches!(&answer, Err(error) if !matches!(error, AdapterError::Refused { .. })) {
            self.broken = true;
        }
        answer
    }

    fn answer_to<T>(
        &mut self,
        method: Method,
        args: &[Value],
        timeout: Duration,
        read: &mut ReadReply<'_, T>,
    ) -> Result<T, AdapterError> {
        let prefetched = self.prefetched.take().filter(|_| method == Method::List);
        let (asked, id, answer) = match prefetched {
            Some(Prefetched { asked, id, answer }) => (asked, id, answer),
            None => {
                let asked = Asked::now(&self.changes);
                let (id, call) = self.next_call(method, args);
                self.send(method, &call, timeout)?;
                (asked, id, None)
            }
        };
        let keeps = self.keeps_lists && method == Method::List;
        let mut kept = None;
        let read: &mut ReadReply<'_, T> = &mut |reply: Reply<'_>| {
            if keeps {
                kept = Some((asked, reply.body().to_owned()));
            }
            read(reply)
        };
        let made = match answer {
            Some(answer) => made_of(method, Reply::kept(&answer), read),
            None => self.receive(method, &id, timeout, read),
        };
        self.kept = kept.filter(|_| made.is_ok());
        made
    }

    /// Returns a number for the call, and its bytes.
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

    /// Receives the answer to a call that was sent.
    fn receive<T>(
        &mut self,
        method: Method,
        id: &str,
        timeout: Duration,
        read: &mut ReadReply<'_, T>,
    ) -> Result<T, AdapterError> {
        let deadline = Instant::now() + timeout;
        let mut stopped = None;
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
                // Ignore the answer to a call that has timed out.
                if let Some(prefetched) = &mut self.prefetched
                    && reply.id == prefetched.id.as_bytes()
                {
                    prefetched.answer = Some(reply.body().to_owned());
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
            if is_question && self.stop.is_set() {
                let since = *stopped.get_or_insert_with(Instant::now);
                if since.elapsed() > STOP_GRACE {
                    return Err(AdapterError::Stopped { method });
                }
            }
            let step = left.min(STOP_STEP);
            self.stream.set_read_timeout(Some(step)).map_err(io)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(AdapterError::Closed { method }),
                Ok(n) => self.decoder.feed(&chunk[..n]),
                // Only part of the time is over.
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
    fn timeout_of(&self, id: PmId) -> Duration {
        self.deadlines.change + self.timeouts.get(&id).copied().unwrap_or(KILL_TIMEOUT * 2)
    }

    fn change(
        &mut self,
        method: Method,
        id: PmId,
        conf: &CurrentConf,
    ) -> Result<Value, AdapterError> {
        // The new settings already apply while the old process stops.
        let wait = self.timeout_of(id) + timeout_in(conf.as_map());
        let opts = json!({ "id": id.0, "env": { "current_conf": conf.as_map() } });
        self.call(method, &[opts], wait)
    }
}

impl ProcessAdapter for SocketAdapter {
    fn daemon_version(&mut self) -> Result<String, AdapterError> {
        self.ask_version()
    }

    fn visit(
        &mut self,
        only: Option<&[PmId]>,
        visit: &mut dyn FnMut(Listed<'_>),
    ) -> Result<(), AdapterError> {
        let mut timeouts = BTreeMap::new();
        let read = &mut |reply: Reply<'_>| visit_list(reply, only, &mut timeouts, visit);
        let timeout = self.deadlines.question;
        self.call_and(Method::List, &[json!({})], timeout, read)?;
        match only {
            None => self.timeouts = timeouts,
            Some(_) => self.timeouts.append(&mut timeouts),
        }
        Ok(())
    }

    fn keep_lists(&mut self, keep: bool) {
        self.keeps_lists = keep;
        self.kept = None;
    }

    fn visit_recent(&mut self, only: Option<&[PmId]>, visit: &mut dyn FnMut(Listed<'_>)) -> bool {
        let Some((asked, body)) = &self.kept else {
            return false;
        };
        let mut timeouts = BTreeMap::new();
        let is_recent = asked.is_recent(&self.changes)
            && matches!(
                visit_list(Reply::kept(body), only, &mut timeouts, visit),
                Ok(Ok(()))
            );
        self.timeouts.append(&mut timeouts);
        is_recent
    }

    fn observe(&mut self) -> Result<Processes, AdapterError> {
        let mut cache = std::mem::take(&mut self.cache);
        let timeout = self.deadlines.question;
        let read = &mut |reply: Reply<'_>| listed(reply, |entries| cache.read(entries));
        let processes = self.call_and(Method::List, &[json!({})], timeout, read)?;
        self.cache = cache;
        self.timeouts = processes
            .iter()
            .map(|process| (process.pm_id, transition_timeout(process)))
            .collect();
        Ok(processes)
    }

    fn usage(&self) -> &[(PmId, Usage)] {
        self.cache.usage()
    }

    fn prepare(&mut self, payload: &Prepare) -> Result<Vec<ProcessRecord>, AdapterError> {
        let method = Method::Prepare;
        let each = timeout_in(payload.as_map());
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

    fn restart(
        &mut self,
        id: PmId,
        conf: &CurrentConf,
    ) -> Result<Option<ProcessRecord>, AdapterError> {
        let answer = self.change(Method::Restart, id, conf)?;
        let is_fork = |record: &ProcessRecord| {
            record.pm2_env.get("exec_mode").and_then(Value::as_str) == Some("fork_mode")
        };
        Ok(record(answer).filter(|record| record.pm_id == id && is_fork(record)))
    }

    fn reload(&mut self, id: PmId, conf: &ReloadConf) -> Result<(), AdapterError> {
        self.change(Method::Reload, id, conf.conf()).map(drop)
    }

    fn stop(&mut self, id: PmId) -> Result<(), AdapterError> {
        let wait = self.timeout_of(id);
        self.call(Method::Stop, &[json!(id.0)], wait).map(drop)
    }

    fn delete(&mut self, id: PmId) -> Result<(), AdapterError> {
        let wait = self.timeout_of(id);
        self.call(Method::Delete, &[json!(id.0)], wait).map(drop)
    }

    fn stop_watch(&mut self, id: PmId) -> Result<(), AdapterError> {
        let args = [json!("deleteProcessId"), json!(id.0)];
        self.call(Method::StopWatch, &args, self.deadlines.question)
            .map(drop)
    }

    fn another(&self) -> Result<Box<dyn ProcessAdapter>, AdapterError> {
        let mut other = Self::open(self.path.clone(), self.deadlines, self.stop.clone())?;
        other.version.clone_from(&self.version);
        other.changes = self.changes.clone();
        Ok(Box::new(other))
    }
}
