//! Connects to one of PM2's sockets: within a deadline, and only to a PM2 of the caller or of root.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use camino::Utf8Path;

use crate::StopFlag;
use crate::adapter::{AdapterError, Method};

/// The longest path that fits into a socket address, in bytes (Linux, `unix(7)`, without the terminating NUL).
pub const MAX_SOCKET_PATH: usize = 107;

/// The delay between attempts while PM2's connection queue is full.
const RETRY: Duration = Duration::from_millis(20);

/// Connects to the socket at `path`. The process that listens there gets every variable of every app, so it must belong to the
/// caller or to root.
///
/// # Errors
/// [`AdapterError::PathTooLong`] when the path does not fit; [`AdapterError::NotRunning`] when nothing listens;
/// [`AdapterError::OtherUser`] when a process of another user listens; [`AdapterError::Timeout`] and [`AdapterError::Stopped`] when
/// it does not accept connections, as when it hangs; otherwise [`AdapterError::Connect`].
pub(crate) fn connect(
    path: &Utf8Path,
    timeout: Duration,
    stop: &StopFlag,
) -> Result<UnixStream, AdapterError> {
    if path.as_str().len() > MAX_SOCKET_PATH {
        return Err(AdapterError::PathTooLong {
            path: path.to_owned(),
            limit: MAX_SOCKET_PATH,
        });
    }
    let fail = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AdapterError::NotRunning {
            path: path.to_owned(),
        },
        _ => AdapterError::Connect {
            path: path.to_owned(),
            source,
        },
    };
    let began = Instant::now();
    let method = Method::Version;
    let stream = loop {
        match try_connect(path) {
            Ok(stream) => break stream,
            // The queue of connections that PM2 has not accepted yet is full (`unix(7)`, `connect(2)`).
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(fail(error)),
        }
        if stop.is_set() {
            return Err(AdapterError::Stopped { method });
        }
        if began.elapsed() >= timeout {
            return Err(AdapterError::Timeout {
                method,
                after: timeout,
            });
        }
        std::thread::sleep(RETRY);
    };
    match owner(&stream, path) {
        Ok(uid) if files::is_trusted(uid) => Ok(stream),
        Ok(uid) => Err(AdapterError::OtherUser {
            path: path.to_owned(),
            uid,
        }),
        Err(error) => Err(fail(error)),
    }
}

/// Connects without waiting for a place in the queue.
#[cfg(target_os = "linux")]
fn try_connect(path: &Utf8Path) -> std::io::Result<UnixStream> {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path.as_std_path())?;
    match rustix::net::connect(&socket, &address) {
        // A socket can be connected only once.
        Ok(()) | Err(Errno::ISCONN) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Connects. On other systems, a full queue is refused at once.
#[cfg(not(target_os = "linux"))]
fn try_connect(path: &Utf8Path) -> std::io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// The user of the process that listens, as the kernel recorded it.
#[cfg(target_os = "linux")]
fn owner(stream: &UnixStream, _path: &Utf8Path) -> std::io::Result<u32> {
    match rustix::net::sockopt::socket_peercred(stream) {
        Ok(credentials) => Ok(credentials.uid.as_raw()),
        // The listener has no pid here (`pid_namespaces(7)`): the kernel reports 0, which rustix does not expect.
        Err(error) if error.raw_os_error() == 0 => Err(std::io::Error::other(
            "it runs in another PID namespace, so run pm2-sync in the same container",
        )),
        Err(error) => Err(error.into()),
    }
}

/// The user of the process that listens: the owner of the socket, or root if that owner is trusted.
#[cfg(not(target_os = "linux"))]
fn owner(_stream: &UnixStream, path: &Utf8Path) -> std::io::Result<u32> {
    Ok(files::foreign_owner(path.as_std_path(), files::is_trusted)?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn socket() -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        let path = camino::Utf8PathBuf::from_path_buf(path).unwrap();
        (dir, path)
    }

    #[test]
    fn a_daemon_that_takes_no_connections_is_waited_for_until_the_deadline_or_a_stop() {
        let (_dir, path) = socket();
        let listener = UnixListener::bind(&path).unwrap();
        // The queue holds connections until they are accepted.
        rustix::net::listen(&listener, 0).unwrap();
        let stop = StopFlag::default();
        let mut waiting = Vec::new();
        let timeout = Duration::from_millis(100);
        let full = loop {
            match connect(&path, timeout, &stop) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 1000, "the queue is never full");
        };
        assert!(matches!(full, AdapterError::Timeout { .. }), "{full}");
        stop.set();
        let stopped = connect(&path, Duration::from_secs(60), &stop).unwrap_err();
        assert!(matches!(stopped, AdapterError::Stopped { .. }), "{stopped}");
    }

    #[test]
    fn without_a_listening_socket_pm2_does_not_run() {
        let (_dir, path) = socket();
        let stop = StopFlag::default();
        let try_it = || connect(&path, Duration::ZERO, &stop).unwrap_err();
        assert!(matches!(try_it(), AdapterError::NotRunning { .. }));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(try_it(), AdapterError::NotRunning { .. }));
    }
}
