//! Faults in the memory of weights: every single hit on a stored word, settled (theory.md §10).
//!
//! ```text
//! FaultModel + Network → Memory (words, and the network that they stand for) → SingleHits → SampleFaults, Tally → FaultCounts
//!                                                                              → SeveralHits → SampleWords
//! ```
//! A [`FaultModel`] says how parameters are stored and what may happen to a word; [`Memory`] has the words. [`SingleHits`] settles all
//! hits for a sample: a hit moves what is behind it along a line, on pieces of which margins are bounded. [`SeveralHits`] has, for 2, 3, …
//! words, bounds, an attack, and for pairs a search that ends with an answer.

mod change;
mod code;
mod counts;
mod injection;
mod line;
mod memory;
mod met;
mod model;
mod region;
mod search;
mod set;
mod settle;
mod several;
mod single;
mod storage;
mod tally;

pub use change::{Change, Fault};
pub use code::Code;
pub use counts::{Accuracies, BitCount, CountedHit, FaultCounts, Position, ProtectionStep, WordCount};
pub use injection::WordHit;
pub use memory::{Hit, Memory, StoredLayer};
pub use model::{Encoding, FaultError, FaultModel, Protection};
pub use search::HitAttack;
pub use set::HitSet;
pub(crate) use set::LayerHits;
pub use several::{PairLimits, SampleWords, SeveralHits};
pub use single::{BreakingHit, SampleFaults, SingleHits};
pub use storage::Storage;
pub use tally::{Effects, HitCount, Tally};
