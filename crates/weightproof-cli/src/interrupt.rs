//! Ctrl-C: the first ends the run after the current batch or, in complete verification, at once, the second ends the process.

use crate::command::Status;
use crate::error::Failure;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Starts to count interrupts; again, it goes on.
pub fn watch() -> Result<(), Failure> {
    if WATCHED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
            std::process::exit(Status::Interrupted as i32);
        }
        // Nothing can be done when standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "interrupted: finishing what is under way, then writing what is done (Ctrl-C again stops at once)"
        );
    })
    .map_err(|error| Failure::new(format!("cannot listen for Ctrl-C: {error}")))
}

/// Whether the user wants the run to end.
pub fn requested() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}
