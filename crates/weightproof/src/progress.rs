//! Tells how far long work is, from any thread.

use std::fmt;
use std::sync::Arc;

/// What is told of every sample that is settled; nobody by default.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn() + Send + Sync>>);

impl Progress {
    /// Tells `listener`, from the thread that settled the sample.
    pub fn new(listener: impl Fn() + Send + Sync + 'static) -> Self {
        Progress(Some(Arc::new(listener)))
    }

    /// One more sample is settled.
    pub fn settled(&self) {
        if let Some(listener) = &self.0 {
            listener();
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(told)" } else { "Progress(nobody)" })
    }
}
