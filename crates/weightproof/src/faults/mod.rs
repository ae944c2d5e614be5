//! Faults in the memory of weights: every single hit on a stored word, settled (theory.md §10).
//!
//! ```text
//! FaultModel + Network → Memory (words, and the network that they stand for) → SingleHits → SampleFaults, Tally → FaultCounts
//! ```
//! A [`FaultModel`] says how parameters are stored and what may happen to a word; [`Memory`] has the words. [`SingleHits`] settles all
//! hits for a sample: a hit moves what is behind it along a line, on pieces of which margins are bounded.

mod change;
mod code;
mod counts;
mod line;
mod memory;
mod model;
mod region;
mod single;
mod storage;
mod tally;

pub use change::{Change, Fault};
pub use code::Code;
pub use counts::{Accuracies, BitCount, CountedHit, FaultCounts, Position, ProtectionStep, WordCount};
pub use memory::{Hit, Memory, StoredLayer};
pub use model::{Encoding, FaultError, FaultModel, Protection};
pub use single::{BreakingHit, SampleFaults, SingleHits};
pub use storage::Storage;
pub use tally::{HitCount, Tally};
