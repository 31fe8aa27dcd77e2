//! Ctrl-C and SIGTERM: the first lets a step end and its checkpoint be written, a second one ends the process at once.

use kiln_ir::Diagnostic;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether the process was asked to end.
pub struct Interruption(Arc<AtomicUsize>);

impl Interruption {
    /// Listens from now on, for the rest of the process.
    ///
    /// Errors: `signal` where the system does not let it.
    pub fn listen() -> Result<Interruption, Diagnostic> {
        let (number, before) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let listen = |signal| -> io::Result<()> {
            // In this order: the first signal does not find the flag set that it sets.
            flag::register_conditional_shutdown(signal, exit_status(signal), Arc::clone(&before))?;
            flag::register(signal, Arc::clone(&before))?;
            flag::register_usize(signal, Arc::clone(&number), signal as usize)?;
            Ok(())
        };
        let failed = |error: io::Error| Diagnostic::new("signal", format!("cannot listen to Ctrl-C and SIGTERM: {error}"));
        [SIGINT, SIGTERM].into_iter().try_for_each(listen).map_err(failed)?;
        Ok(Interruption(number))
    }

    /// The signal that asked, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed) as i32).filter(|signal| *signal != 0)
    }
}

/// The exit status of a process that a signal ended, as shells tell it.
pub fn exit_status(signal: i32) -> i32 {
    128 + signal
}
