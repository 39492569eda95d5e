//! Signals that end a command between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Set once the work was asked to stop; all clones are one flag.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag as what knows no signals takes it.
    pub(crate) fn share(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// A flag that Ctrl-C or SIGTERM sets; a second one ends the program at once.
///
/// # Errors
/// The operating system's, when handlers cannot be installed.
pub fn stop_flag() -> std::io::Result<StopFlag> {
    let flag = StopFlag::default();
    for signal in [SIGINT, SIGTERM] {
        // Order matters: the first signal finds the flag unset and only sets it.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            128 + signal,
            Arc::clone(&flag.0),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&flag.0))?;
    }
    Ok(flag)
}

/// A thread that waits for signals, ended and joined when dropped.
pub struct OnSignal {
    handle: signal_hook::iterator::Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Calls `stop` when Ctrl-C or SIGTERM arrives, and `hangup` when SIGHUP does.
///
/// # Errors
/// The operating system's, when the thread or the handlers cannot be had.
pub fn on_signal(
    stop: impl Fn() + Send + 'static,
    hangup: impl Fn() + Send + 'static,
) -> std::io::Result<OnSignal> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new()
        .name("pm2-sync signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    hangup();
                } else {
                    stop();
                }
            }
        })?;
    Ok(OnSignal {
        handle,
        thread: Some(thread),
    })
}

impl Drop for OnSignal {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It only panics if one of its callbacks does, and then there is nothing left to tell.
            let _ = thread.join();
        }
    }
}
