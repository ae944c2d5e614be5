//! Checks certificates of weightproof: proofs of what a neural network does when its weights change.
//!
//! ```text
//! certificate + network.onnx → Header, Network, Set → Model → for each record: boxes → rows → accepted | rejected: where and why
//! ```
//! Nothing here is of the program that writes certificates (which asks [`onnx::read`] and [`run::prepared`] before it begins one), and there
//! is no floating-point arithmetic: numbers are
//! integers of 128 bits with an exponent, products are exact, sums are rounded to the safe side ([`number`]). Read [`pass`] and
//! [`relax`] first: the mathematics is there, 410 lines. The format is docs/reference/certificate.md, the proofs are docs/theory.md §2–§6 and §12b.

pub mod certificate;
pub mod check;
mod choice;
pub mod damage;
pub mod faults;
mod format;
pub mod layer;
pub mod network;
pub mod number;
pub mod onnx;
pub mod pass;
pub mod point;
pub mod protobuf;
mod quantized;
pub mod relax;
mod rounded;
pub mod run;
pub mod set;
pub mod staircase;
pub mod tensor;
