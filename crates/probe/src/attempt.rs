//! One run of a check, as a state machine.

use std::time::{Duration, Instant};

use daemon_model::Check;

use crate::ProbeResult;
use crate::command::{Command, End};
use crate::connect::{Connect, Connected};
use crate::http::Exchange;
use crate::lookup::Lookup;
use crate::state::later;
use crate::wait::Interest;

/// One run. No step blocks. Dropping it early leaves nothing behind.
pub(crate) struct Attempt {
    timeout: Duration,
    deadline: Instant,
    stage: Stage,
}

enum Stage {
    Lookup {
        lookup: Lookup,
        port: u16,
        request: Option<Vec<u8>>,
    },
    Connect {
        connect: Connect,
        request: Option<Vec<u8>>,
    },
    Http(Exchange),
    Command(Command),
    Done(ProbeResult),
}

impl Attempt {
    pub(crate) fn start(check: &Check, timeout: Duration, now: Instant) -> Self {
        let deadline = later(now, timeout);
        let stage = match check {
            Check::HttpGet {
                host,
                port,
                target,
                headers,
            } => Stage::Lookup {
                lookup: Lookup::new(host),
                port: *port,
                request: Some(crate::http::request(host, *port, target, headers)),
            },
            Check::TcpSocket { host, port } => Stage::Lookup {
                lookup: Lookup::new(host),
                port: *port,
                request: None,
            },
            Check::Exec { command, cwd, env } => match Command::start(command, cwd, env, now) {
                Ok(command) => Stage::Command(command),
                Err(result) => Stage::Done(result),
            },
        };
        Self {
            timeout,
            deadline,
            stage,
        }
    }

    /// Proceeds as far as possible without waiting. Data that has arrived counts even if the deadline has passed meanwhile.
    pub(crate) fn step(&mut self, now: Instant) -> Option<ProbeResult> {
        loop {
            let next = match &mut self.stage {
                Stage::Lookup {
                    lookup,
                    port,
                    request,
                } => match lookup.step(now) {
                    None => break,
                    Some(Err(result)) => return Some(result),
                    Some(Ok(addresses)) => Stage::Connect {
                        connect: Connect::new(addresses, *port),
                        request: request.take(),
                    },
                },
                Stage::Connect { connect, request } => match connect.step(now, self.deadline) {
                    Connected::NotYet => break,
                    Connected::Failed(result) => return Some(result),
                    Connected::Yes(stream) => match request.take() {
                        None => return Some(ProbeResult::Ready),
                        Some(request) => Stage::Http(Exchange::new(stream, request)),
                    },
                },
                Stage::Http(exchange) => match exchange.step() {
                    None => break,
                    result => return result,
                },
                Stage::Command(command) => {
                    let end = command.step(now, self.deadline);
                    return end.map(|end| match end {
                        End::Exited(result) => result,
                        End::OutOfTime => ProbeResult::timeout(self.timeout),
                    });
                }
                Stage::Done(result) => return Some(result.clone()),
            };
            self.stage = next;
        }
        (now >= self.deadline).then(|| ProbeResult::timeout(self.timeout))
    }

    /// What the run waits for after a step.
    pub(crate) fn interest(&self) -> Interest<'_> {
        let (fd, until) = match &self.stage {
            Stage::Lookup { lookup, .. } => lookup.interest(),
            Stage::Connect { connect, .. } => connect.interest(),
            Stage::Http(exchange) => (Some(exchange.interest()), None),
            Stage::Command(command) => return command.interest(),
            Stage::Done(_) => (None, None),
        };
        Interest {
            fd,
            until: Some(until.map_or(self.deadline, |until| until.min(self.deadline))),
        }
    }
}
