//! Resolves host names to addresses.
//!
//! The system's resolver may block for a long time and cannot be interrupted. It runs on a few separate threads: runs that need the
//! same name share a lookup, and when all threads are busy a run waits.

use std::collections::BTreeMap;
use std::io::{PipeReader, PipeWriter, pipe};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::ProbeResult;

/// How many names are resolved at a time.
const MOST_LOOKUPS: usize = 16;

/// How long a queued run waits before it tries again.
const TURN: Duration = Duration::from_millis(20);

/// How many addresses of a host are tried.
const MOST_ADDRESSES: usize = 8;

/// The addresses, without a port; none if the name is unknown.
type Addresses = Option<Vec<SocketAddr>>;

type Resolve = dyn Fn(&str) -> Addresses + Send + Sync;

/// The wait of one run for addresses.
pub(crate) struct Lookup {
    host: String,
    stage: Stage,
    resolver: Arc<Resolver>,
}

enum Stage {
    /// The host is an address, or needs no resolver.
    Known(Vec<SocketAddr>),
    /// All threads are busy. Try again at this time.
    Queued(Instant),
    Asked(Arc<Question>),
}

/// A lookup in progress.
struct Question {
    /// Closes when there is an answer.
    end: PipeReader,
    answer: OnceLock<Addresses>,
}

/// The lookups of this process.
struct Resolver {
    resolve: Box<Resolve>,
    under_way: Mutex<BTreeMap<String, Arc<Question>>>,
}

static SYSTEM: LazyLock<Arc<Resolver>> = LazyLock::new(|| Arc::new(Resolver::new(ask_system)));

fn ask_system(host: &str) -> Addresses {
    let addresses = (host, 0).to_socket_addrs().ok()?;
    Some(addresses.take(MOST_ADDRESSES).collect())
}

impl Resolver {
    fn new(resolve: impl Fn(&str) -> Addresses + Send + Sync + 'static) -> Self {
        Self {
            resolve: Box::new(resolve),
            under_way: Mutex::default(),
        }
    }

    /// The lookup of `host`, a new one if none is in progress; none if all threads are busy.
    fn ask(self: &Arc<Self>, host: &str) -> std::io::Result<Option<Arc<Question>>> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(question) = under_way.get(host) {
            return Ok(Some(Arc::clone(question)));
        }
        if under_way.len() >= MOST_LOOKUPS {
            return Ok(None);
        }
        let (end, writer) = pipe()?;
        let question = Arc::new(Question {
            end,
            answer: OnceLock::new(),
        });
        let (resolver, asked, name) = (Arc::clone(self), Arc::clone(&question), host.to_owned());
        thread::Builder::new()
            .name("probe-lookup".to_owned())
            .spawn(move || resolver.answer(&name, &asked, writer))?;
        under_way.insert(host.to_owned(), Arc::clone(&question));
        Ok(Some(question))
    }

    fn answer(&self, host: &str, question: &Question, end: PipeWriter) {
        let answer = (self.resolve)(host);
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Wakes all runs only after the thread is free, so that a run with the answer can look up the next name.
        under_way.remove(host);
        let _ = question.answer.set(answer);
        drop(under_way);
        drop(end);
    }
}

impl Lookup {
    pub(crate) fn new(host: &str) -> Self {
        Self::with(host, Arc::clone(&SYSTEM))
    }

    fn with(host: &str, resolver: Arc<Resolver>) -> Self {
        let known = |addresses: &[IpAddr]| {
            let addresses = addresses.iter().map(|address| SocketAddr::new(*address, 0));
            Stage::Known(addresses.collect())
        };
        let stage = match host.parse::<IpAddr>() {
            Ok(address) => known(&[address]),
            // RFC 6761, section 6.3: it is this machine, whatever a resolver says.
            Err(_) if host.eq_ignore_ascii_case("localhost") => {
                known(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
            }
            Err(_) => Stage::Queued(Instant::now()),
        };
        Self {
            host: host.to_owned(),
            stage,
            resolver,
        }
    }

    /// The addresses, if they are known.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Result<Vec<SocketAddr>, ProbeResult>> {
        if let Stage::Queued(_) = self.stage {
            self.stage = match self.resolver.ask(&self.host) {
                Ok(Some(question)) => Stage::Asked(question),
                Ok(None) => Stage::Queued(now + TURN),
                Err(error) => return Some(Err(error.into())),
            };
        }
        let addresses = match &self.stage {
            Stage::Known(addresses) => Some(addresses),
            Stage::Queued(_) => return None,
            Stage::Asked(question) => question.answer.get()?.as_ref(),
        };
        let addresses = addresses.filter(|addresses| !addresses.is_empty());
        // The name may come from a variable, so the result does not contain it.
        Some(
            addresses
                .cloned()
                .ok_or_else(|| ProbeResult::failed("unknown host")),
        )
    }

    /// What the run waits for: the end of the lookup, or its turn.
    pub(crate) fn interest(&self) -> (Option<(BorrowedFd<'_>, PollFlags)>, Option<Instant>) {
        match &self.stage {
            Stage::Known(_) => (None, None),
            Stage::Queued(turn) => (None, Some(*turn)),
            Stage::Asked(question) => (Some((question.end.as_fd(), PollFlags::empty())), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::wait::{Interest, wait};

    /// A resolver that answers each question when it is released, and counts the questions.
    fn slow() -> (Arc<Resolver>, Sender<()>, Arc<AtomicUsize>) {
        let (sender, receiver) = channel();
        let receiver = Mutex::new(receiver);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let resolver = Resolver::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver
                .recv()
                .ok()
                .map(|()| vec!["192.0.2.1:0".parse().unwrap()])
        });
        (Arc::new(resolver), sender, asked)
    }

    fn finish(lookup: &mut Lookup) -> Result<Vec<SocketAddr>, ProbeResult> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let now = Instant::now();
            if let Some(result) = lookup.step(now) {
                return result;
            }
            assert!(now < deadline, "the lookup does not end");
            let (fd, until) = lookup.interest();
            let until = Some(until.unwrap_or(deadline));
            wait(&[Interest { fd, until }], now);
        }
    }

    #[test]
    fn addresses_and_this_machine_need_no_resolver() {
        let resolver = Arc::new(Resolver::new(|_| unreachable!("nothing is asked")));
        for (host, expected) in [
            ("127.0.0.1", vec!["127.0.0.1:0"]),
            ("::1", vec!["[::1]:0"]),
            ("LocalHost", vec!["127.0.0.1:0", "[::1]:0"]),
        ] {
            let found = Lookup::with(host, Arc::clone(&resolver)).step(Instant::now());
            let expected = expected
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            assert_eq!(found, Some(Ok(expected)));
        }
    }

    #[test]
    fn runs_that_ask_for_the_same_name_share_one_lookup() {
        let (resolver, go, asked) = slow();
        let mut first = Lookup::with("db", Arc::clone(&resolver));
        let mut second = Lookup::with("db", Arc::clone(&resolver));
        assert_eq!(first.step(Instant::now()), None);
        assert_eq!(second.step(Instant::now()), None);
        go.send(()).unwrap();
        assert!(finish(&mut first).is_ok());
        assert!(finish(&mut second).is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // And again for the next run.
        go.send(()).unwrap();
        assert!(finish(&mut Lookup::with("db", resolver)).is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn hanging_lookups_use_a_limited_number_of_threads() {
        let (resolver, go, _) = slow();
        let lookup = |n: usize| Lookup::with(&format!("host{n}"), Arc::clone(&resolver));
        let mut lookups: Vec<Lookup> = (0..MOST_LOOKUPS + 4).map(lookup).collect();
        for lookup in &mut lookups {
            assert_eq!(lookup.step(Instant::now()), None);
        }
        assert_eq!(resolver.under_way.lock().unwrap().len(), MOST_LOOKUPS);
        assert!(matches!(lookups[MOST_LOOKUPS].stage, Stage::Queued(_)));
        for _ in &lookups {
            go.send(()).unwrap();
        }
        // Queued lookups get their turn.
        for lookup in &mut lookups {
            assert!(finish(lookup).is_ok());
        }
        assert!(resolver.under_way.lock().unwrap().is_empty());
    }

    #[test]
    fn an_unknown_host_is_a_failure_whose_text_omits_the_name() {
        let resolver = Arc::new(Resolver::new(|_| None));
        let found = finish(&mut Lookup::with("secret.example", resolver));
        assert_eq!(found, Err(ProbeResult::failed("unknown host")));
    }
}
