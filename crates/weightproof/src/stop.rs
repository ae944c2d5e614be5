//! Ends long work from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A switch that several threads hold. What work returns after it was set is incomplete and must not be used.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the work to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work must end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A switch is not part of a question: options that differ in it alone are equal.
impl PartialEq for Stop {
    fn eq(&self, _other: &Stop) -> bool {
        true
    }
}
