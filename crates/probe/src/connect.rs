//! Opens a TCP connection to the first address that accepts one.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use std::vec;

use rustix::event::PollFlags;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::ProbeResult;

/// A connection attempt. Each address gets a share of the remaining time, so that an address that never answers does not use up the
/// time of the next one.
pub(crate) struct Connect {
    addresses: vec::IntoIter<SocketAddr>,
    port: u16,
    /// The current socket, and how long to wait for it.
    current: Option<(Socket, Instant)>,
    /// The failure of the first address.
    failure: Option<ProbeResult>,
}

pub(crate) enum Connected {
    NotYet,
    /// The stream is non-blocking.
    Yes(TcpStream),
    /// No address accepted the connection.
    Failed(ProbeResult),
}

impl Connect {
    pub(crate) fn new(addresses: Vec<SocketAddr>, port: u16) -> Self {
        Self {
            addresses: addresses.into_iter(),
            port,
            current: None,
            failure: None,
        }
    }

    pub(crate) fn step(&mut self, now: Instant, deadline: Instant) -> Connected {
        loop {
            let Some((socket, until)) = &self.current else {
                let Some(mut address) = self.addresses.next() else {
                    let failure = self.failure.take();
                    let failure = failure.unwrap_or_else(|| ProbeResult::failed("unknown host"));
                    return Connected::Failed(failure);
                };
                address.set_port(self.port);
                let left = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
                let share = deadline.saturating_duration_since(now) / left.saturating_add(1);
                match begin(address) {
                    Ok(socket) => self.current = Some((socket, now + share)),
                    Err(error) => self.fail(error),
                }
                continue;
            };
            match is_connected(socket) {
                Ok(true) => {
                    let stream = self.current.take().map(|(socket, _)| socket.into());
                    return stream.map_or(Connected::NotYet, Connected::Yes);
                }
                // The last address has the rest of the run's time.
                Ok(false) if now < *until || self.addresses.len() == 0 => return Connected::NotYet,
                Ok(false) => self.fail(ErrorKind::TimedOut.into()),
                Err(error) => self.fail(error),
            }
            self.current = None;
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert_with(|| error.into());
    }

    pub(crate) fn interest(&self) -> (Option<(BorrowedFd<'_>, PollFlags)>, Option<Instant>) {
        match &self.current {
            Some((socket, until)) => (Some((socket.as_fd(), PollFlags::OUT)), Some(*until)),
            None => (None, None),
        }
    }
}

fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn is_connected(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let Ok(peer) = socket.peer_addr() else {
        return Ok(false);
    };
    // If no server listens, the kernel may choose the target port as the source port, and the socket connects to itself.
    match socket.local_addr()?.as_socket() == peer.as_socket() {
        true => Err(ErrorKind::ConnectionRefused.into()),
        false => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_socket_that_is_connected_to_itself_is_not_connected_to_the_app() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        let error = is_connected(&socket).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn each_address_gets_its_share_of_the_time() {
        // Connections are never accepted: once the queue is full, they are not answered.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(stream);
        }
        let now = Instant::now();
        let deadline = now + Duration::from_secs(60);
        let mut connect = Connect::new(vec![address, address], address.port());
        assert!(matches!(connect.step(now, deadline), Connected::NotYet));
        assert_eq!(connect.interest().1, Some(now + Duration::from_secs(30)));
        let later = now + Duration::from_secs(31);
        assert!(matches!(connect.step(later, deadline), Connected::NotYet));
        assert_eq!(connect.interest().1, Some(deadline));
        let failure = connect.failure.map(|failure| failure.to_string());
        assert_eq!(failure.as_deref(), Some("timed out"));
    }
}
