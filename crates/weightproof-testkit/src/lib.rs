//! Generators, oracles and the suite of theory.md §13.
//!
//! * [`networks`]: arbitrary small dense networks.
//! * [`images`]: arbitrary small convolutional and residual networks.
//! * [`products`]: arbitrary small networks that multiply, divide and normalize computed values.
//! * [`mod@one_convolution`]: networks whose kernels can be enumerated.
//! * [`mod@dyadic`]: exact arithmetic, and networks evaluated with it.
//! * [`mod@cancelling`]: networks that are built to break verifiers by rounding.
//! * [`threats`]: every kind of threat model for a network.
//! * [`oracle`]: enumeration of vertices, and many points of a set.
//! * [`mod@reference`]: the linear bound by its definition.
//! * [`emulation`]: inference in a number format, in software.
//! * [`damage`]: damaged texts for parsers.
//! * [`suite`]: what every bound method must satisfy on them.

pub mod cancelling;
pub mod damage;
pub mod dyadic;
pub mod emulation;
pub mod images;
pub mod integers;
pub mod networks;
pub mod one_convolution;
pub mod oracle;
pub mod products;
pub mod reference;
pub mod suite;
pub mod threats;
