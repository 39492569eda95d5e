//! Signals that end a command between two steps.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use reconcile::StopFlag;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, iterator};

use crate::error::CommandError;
use crate::exit::Exit;

/// Caught signals, until dropped.
pub struct Signals {
    handle: iterator::Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Catches Ctrl-C and SIGTERM. The first one sets `stop` and calls `on_stop`; a second one ends the program at once.
///
/// # Errors
/// I/O errors of installing a handler or starting the thread.
pub fn catch(stop: &StopFlag, on_stop: impl Fn() + Send + 'static) -> std::io::Result<Signals> {
    catch_with(stop, on_stop, None::<fn()>)
}

/// As [`catch`], and calls `on_hangup` for each SIGHUP.
///
/// # Errors
/// As [`catch`].
pub fn catch_with_hangup(
    stop: &StopFlag,
    on_stop: impl Fn() + Send + 'static,
    on_hangup: impl Fn() + Send + 'static,
) -> std::io::Result<Signals> {
    catch_with(stop, on_stop, Some(on_hangup))
}

/// Waits for signals that end a read-only command: Ctrl-C, SIGTERM and SIGHUP.
pub struct Stopped {
    receiver: Receiver<()>,
    _signals: Signals,
}

impl Stopped {
    /// Starts catching them. A second one ends the program at once.
    ///
    /// # Errors
    /// [`CommandError::Signals`] when they cannot be caught.
    pub fn catch() -> Result<Self, CommandError> {
        let (sender, receiver) = channel();
        let on_hangup = sender.clone();
        let end = |sender: &Sender<()>| {
            // Without a receiver, the command has ended already.
            let _ = sender.send(());
        };
        let (stop, hangup) = (move || end(&sender), move || end(&on_hangup));
        let signals = catch_with_hangup(&StopFlag::default(), stop, hangup);
        Ok(Self {
            receiver,
            _signals: signals.map_err(CommandError::Signals)?,
        })
    }

    /// Whether one of them arrived already or arrives within this time.
    #[must_use]
    pub fn within(&self, time: Duration) -> bool {
        self.receiver.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }
}

fn catch_with(
    stop: &StopFlag,
    on_stop: impl Fn() + Send + 'static,
    on_hangup: Option<impl Fn() + Send + 'static>,
) -> std::io::Result<Signals> {
    for signal in [SIGINT, SIGTERM] {
        // Order matters: the first signal finds the flag unset and only sets it. Both happen in the handler, so that a
        // second signal ends the program even if the callback for the first is stuck.
        let interrupted = i32::from(Exit::Interrupted.status());
        flag::register_conditional_shutdown(signal, interrupted, stop.share())?;
        flag::register(signal, stop.share())?;
    }
    let mut signals = iterator::Signals::new([SIGINT, SIGTERM])?;
    let handle = signals.handle();
    if on_hangup.is_some() {
        handle.add_signal(SIGHUP)?;
    }
    let thread = std::thread::Builder::new()
        .name("pm2-sync signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match (signal, &on_hangup) {
                    (SIGHUP, Some(on_hangup)) => on_hangup(),
                    _ => on_stop(),
                }
            }
        })?;
    Ok(Signals {
        handle,
        thread: Some(thread),
    })
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It only panics if one of its callbacks does, and then there is nothing left to report.
            let _ = thread.join();
        }
    }
}
