//! Runs the probes of apps: HTTP requests, TCP connections and commands, each with a hard deadline.
//!
//! [`run`] runs one [`Check`] once. A [`Prober`] runs many repeatedly on one thread, keeps a [`ProbeState`] for each, and reports.
//! `daemon-model` defines what a probe is and reads it from a definition.
//!
//! ```text
//! Probe ─ variables of a process ─> Check ─ run ─> ProbeResult ─ ProbeState::record ─> Health
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `state` | the thresholds: pure, with the time as an argument |
//! | `attempt` | one run as a state machine that never blocks |
//! | `lookup`, `connect`, `http` | the stages of a run over the network |
//! | `command` | a command in its own process group |
//! | `wait` | the only place that waits: `poll` on the descriptors of any number of runs |
//! | `prober` | the thread |
//!
//! # Guarantees
//!
//! - A run ends within its timeout, which covers name lookup, connection, request and answer. A command gets SIGTERM at its
//!   deadline and SIGKILL 200 ms later, with its whole process group; its run ends within 300 ms of its deadline.
//! - A hanging probe delays no other: no run blocks, and all runs of a [`Prober`] share one thread. At most 256 run at a time;
//!   when more are due, the one that has been due longest goes first.
//! - Names of hosts are looked up on threads of their own, at most 16 at a time, because the system's resolver blocks.
//!   Such a thread may outlive its run until the resolver gives up. Addresses and `localhost` need none.
//! - No run leaves a process, a thread or a descriptor behind. What a command started ends with it, unless it left the process
//!   group. A command that the kernel cannot end (it waits for a dead disk) is collected by a later run.
//! - Redirects are not followed, no proxy is used, and nothing is read from the environment of this process. Only the head of a
//!   response is read, up to 64 KiB; the output of a command is discarded. Results contain neither.
//! - No files, no environment, no printing.
//!
//! Only starting a command can block the thread, until the kernel has found the program and entered the working directory. PM2
//! would block there, too.
//!
//! # Examples
//!
//! ```
//! use std::sync::mpsc::channel;
//! use std::time::{Duration, Instant};
//!
//! use daemon_model::{Handler, Probe, ProbeKind, Template};
//! use probe::{Health, ProbeResult, Prober};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let port = server.local_addr()?.port().to_string();
//!
//! // As a definition declares it: `{:tcp_socket {:port "${PORT}"} :period 50}`.
//! let handler = Handler::TcpSocket {
//!     host: Template::literal("127.0.0.1"),
//!     port: Template::parse("${PORT}")?,
//! };
//! let mut probe = Probe::new(ProbeKind::Readiness, handler);
//! probe.period = Duration::from_millis(50);
//!
//! // For one process.
//! let variables = [("PORT", port.as_str())].into_iter().collect();
//! let check = probe.handler.check(&variables, "/".into())?;
//!
//! // Once.
//! assert_eq!(probe::run(&check, probe.timeout), ProbeResult::Ready);
//!
//! // Again and again, until the prober is dropped.
//! let (sender, reports) = channel();
//! let prober = Prober::start(move |report| {
//!     // The other end may be gone already when the last report comes.
//!     let _ = sender.send(report);
//! })?;
//! prober.add("api", &probe, check, Instant::now());
//! assert_eq!(reports.recv()?.health, Health::Ready);
//!
//! drop(server);
//! let report = reports.recv()?;
//! assert_eq!(report.result, ProbeResult::Failed { why: "connection refused".to_owned() });
//! // One failure of the three that count.
//! assert_eq!((report.health, report.failures), (Health::Ready, 1));
//! # Ok(())
//! # }
//! ```

mod attempt;
mod command;
mod connect;
mod http;
mod lookup;
mod prober;
mod result;
mod state;
mod wait;

use std::time::{Duration, Instant};

use daemon_model::Check;

pub use prober::{Prober, Report};
pub use result::ProbeResult;
pub use state::{Health, ProbeState};

use attempt::Attempt;

/// Runs a check once. This takes at most `timeout`, or 300 ms more for a command.
///
/// ```
/// use std::time::Duration;
/// use daemon_model::Check;
/// use probe::ProbeResult;
///
/// let check = Check::Exec {
///     command: vec!["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()],
///     cwd: "/".into(),
///     env: Default::default(),
/// };
/// let result = probe::run(&check, Duration::from_secs(5));
/// assert_eq!(result, ProbeResult::Failed { why: "exit status 3".to_owned() });
/// ```
#[must_use]
pub fn run(check: &Check, timeout: Duration) -> ProbeResult {
    let mut attempt = Attempt::start(check, timeout, Instant::now());
    loop {
        if let Some(result) = attempt.step(Instant::now()) {
            return result;
        }
        wait::wait(&[attempt.interest()], Instant::now());
    }
}
