//! Ports for the servers of tests.

use std::net::{TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// Below the ports that Linux (32768 and up) and macOS (49152 and up) assign to clients: such a port may become the local port of
/// any connection before the test's server listens.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// The sockets that reserve the ports of this process, and where to look for more.
static RESERVED: Mutex<(Vec<UdpSocket>, u16)> = Mutex::new((Vec::new(), 0));

/// A port without a listener, which no other test gets while this process runs.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` consecutive ports, each as from [`free_port`].
///
/// # Panics
/// When no ports are free.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    let (sockets, next) = &mut *RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    if sockets.is_empty() {
        // Processes that start at different ports rarely collide.
        let spread = std::process::id().wrapping_mul(97) % u32::from(RANGE.end - RANGE.start);
        *next = RANGE.start + u16::try_from(spread).unwrap();
    }
    let found = RANGE.into_iter().find_map(|_| {
        if *next + count > RANGE.end {
            *next = RANGE.start;
        }
        let first = *next;
        let reserved: Vec<_> = (first..first + count).map_while(reserve).collect();
        *next += u16::try_from(reserved.len()).unwrap().max(1);
        (reserved.len() == usize::from(count)).then(|| {
            sockets.extend(reserved);
            first
        })
    });
    found.expect("some ports are free")
}

/// Binds the UDP port with the same number, as a lock that ends with this process.
fn reserve(port: u16) -> Option<UdpSocket> {
    let lock = UdpSocket::bind(("127.0.0.1", port)).ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok().map(|_| lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once_and_outside_of_the_range_of_clients() {
        let (one, three) = (free_port(), free_ports(3));
        let other = free_port();
        assert!(!(three..three + 3).contains(&one));
        assert!(!(three..three + 3).contains(&other) && other != one);
        for port in [one, three, three + 1, three + 2, other] {
            assert!(RANGE.contains(&port));
            assert!(reserve(port).is_none());
            drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
        }
    }
}
