//! Sends a request and parses the head of the response. The only file that uses httparse.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;

use crate::ProbeResult;

/// How much of a response is read, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;
/// How many headers a response may have.
const MOST_HEADERS: usize = 256;

/// The text of a request.
pub(crate) fn request(
    host: &str,
    port: u16,
    target: &str,
    headers: &[(String, String)],
) -> Vec<u8> {
    let authority = match (host.contains(':'), port) {
        (true, 80) => format!("[{host}]"),
        (true, port) => format!("[{host}]:{port}"),
        (false, 80) => host.to_owned(),
        (false, port) => format!("{host}:{port}"),
    };
    let own = [
        ("Host", authority.as_str()),
        (
            "User-Agent",
            concat!("pm2-sync-probe/", env!("CARGO_PKG_VERSION")),
        ),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ];
    let is_given = |name: &str| {
        headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    let own = own.into_iter().filter(|(name, _)| !is_given(name));
    let given = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut text = format!("GET {target} HTTP/1.1\r\n");
    for (name, value) in own.chain(given) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A request in progress on a non-blocking stream.
pub(crate) struct Exchange {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    /// The received part of the head that is not parsed yet.
    head: Vec<u8>,
    read: usize,
}

impl Exchange {
    pub(crate) fn new(stream: TcpStream, request: Vec<u8>) -> Self {
        Self {
            stream,
            request,
            sent: 0,
            head: Vec::new(),
            read: 0,
        }
    }

    /// Sends and reads as much as possible.
    pub(crate) fn step(&mut self) -> Option<ProbeResult> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(error.into()),
            }
        }
        let mut buffer = [0; 8192];
        while self.read < LONGEST_HEAD {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Some(ProbeResult::failed("connection closed without an answer")),
                Ok(count) => {
                    let arrived = &buffer[..count];
                    self.read += count;
                    self.head.extend_from_slice(arrived);
                    // Before the end of a line there is nothing new to parse.
                    if arrived.contains(&b'\n')
                        && let Some(result) = self.understand()
                    {
                        return Some(result);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(error.into()),
            }
        }
        Some(ProbeResult::failed(TOO_LARGE))
    }

    /// The result, once the head of the response is complete. Informational (1xx) responses before it are skipped.
    fn understand(&mut self) -> Option<ProbeResult> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let mut parser = httparse::ParserConfig::default();
            // Only the status counts.
            parser.ignore_invalid_headers_in_responses(true);
            let parsed = parser.parse_response(&mut response, &self.head);
            return match (parsed, response.code) {
                (Ok(httparse::Status::Complete(length)), Some(100 | 102..=199)) => {
                    self.head.drain(..length);
                    continue;
                }
                (Ok(httparse::Status::Complete(_)), Some(200..=399)) => Some(ProbeResult::Ready),
                (Ok(httparse::Status::Complete(_)), Some(code)) => {
                    Some(ProbeResult::failed(format!("HTTP {code}")))
                }
                (Ok(_), _) => None,
                (Err(httparse::Error::TooManyHeaders), _) => Some(ProbeResult::failed(TOO_LARGE)),
                (Err(_), _) => Some(ProbeResult::failed("the answer is not HTTP")),
            };
        }
    }

    pub(crate) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = match self.sent < self.request.len() {
            true => PollFlags::OUT,
            false => PollFlags::IN,
        };
        (self.stream.as_fd(), flags)
    }
}

const TOO_LARGE: &str = "the answer has too many headers";
