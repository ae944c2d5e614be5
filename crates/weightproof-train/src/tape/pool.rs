//! Memory that tapes use again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use weightproof::kernels::Scalar;

/// Vectors for values and gradients, by their length; shared by the tapes of all threads.
#[derive(Debug, Default)]
pub struct Pool<T>(pub(super) Mutex<HashMap<usize, Vec<Vec<T>>>>);

impl<T: Scalar> Pool<T> {
    /// A vector of this length; the numbers in it are unspecified.
    pub fn take(&self, length: usize) -> Vec<T> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = free.get_mut(&length).and_then(Vec::pop);
        drop(free);
        found.unwrap_or_else(|| vec![T::zero(); length])
    }

    /// Takes a vector back.
    pub fn give(&self, vector: Vec<T>) {
        if !vector.is_empty() {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(vector.len()).or_default().push(vector);
        }
    }
}
