//! PM2's event socket. Events are only a hint to read the list again: deletions have none, and the list has all the data.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use camino::Utf8Path;

use crate::StopFlag;
use crate::adapter::AdapterError;
use crate::connect::connect;
use crate::wire::Decoder;

/// How long PM2 may take to accept the connection. Without it, the timer replaces the events.
const TIMEOUT: Duration = Duration::from_millis(100);

/// A subscription: a thread that reads PM2's events until PM2 ends or this is dropped.
///
/// PM2 buffers without limit for a subscriber that does not read. So every event is read, and nearly all are dropped at once: each
/// line that an app logs is an event.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Bus {
    /// Subscribes. `hint` is called on the bus's thread for each event about a process, and must return quickly.
    ///
    /// # Errors
    /// [`AdapterError::NotRunning`] when PM2 does not run, [`AdapterError::OtherUser`] when it belongs to another user,
    /// [`AdapterError::Timeout`] when it does not accept connections right now; otherwise [`AdapterError::Connect`].
    pub fn subscribe(
        pm2_home: &Utf8Path,
        hint: impl Fn() + Send + 'static,
    ) -> Result<Self, AdapterError> {
        let path = pm2_home.join("pub.sock");
        let fail = |source: std::io::Error| AdapterError::Connect {
            path: path.clone(),
            source,
        };
        let stream = connect(&path, TIMEOUT, &StopFlag::default())?;
        let reader = stream.try_clone().map_err(fail)?;
        let thread = std::thread::Builder::new()
            .name("pm2-sync bus".to_owned())
            .spawn(move || read(reader, &hint))
            .map_err(fail)?;
        Ok(Self {
            stream,
            thread: Some(thread),
        })
    }

    /// Whether events still arrive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // Ends the thread's read. An error means that the thread has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(mut stream: UnixStream, hint: &dyn Fn()) {
    let mut decoder = Decoder::default();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => decoder.feed(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        loop {
            match decoder.next_is_about(b"s:process:") {
                Ok(Some(true)) => hint(),
                Ok(Some(false)) => {}
                Ok(None) => break,
                // The bytes do not follow the protocol, so no further event can be found in them.
                Err(_) => return hint(),
            }
        }
    }
    // The daemon is gone, and so are its processes.
    hint();
}
