//! Faults in the memory of weights: what a hit on a stored word makes of a parameter (theory.md §10).
//!
//! A [`FaultModel`] says how parameters are stored and what may happen to a word; [`Memory`] has the words of a network, all hits on
//! them, and the network that they stand for.

mod change;
mod code;
mod memory;
mod model;
mod storage;

pub use change::{Change, Fault};
pub use code::Code;
pub use memory::{Hit, Memory, StoredLayer};
pub use model::{Encoding, FaultError, FaultModel, Protection};
pub use storage::Storage;
