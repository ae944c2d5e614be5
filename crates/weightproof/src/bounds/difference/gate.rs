//! ReLUs whose pre-activations hits move.

use super::prefix::{DOWN, UP};

/// A ReLU of one sample while hits on layers before its own move it.
pub(super) struct Gate {
    /// The largest value of the pre-activation without hits.
    pub largest: f64,
    /// How far the pre-activation moves at least until the ReLU changes its slope, rounded down.
    pub slack: f64,
    /// The end, down (0) or up (1), at which it does.
    pub end: usize,
    /// Slopes of the secants between the pre-activation without hits and any other.
    pub secants: [f64; 2],
}

impl Gate {
    /// The computed pre-activation `p`, how far it may be off, and how far it moves.
    pub fn new(p: f64, error: f64, [down, up]: [f64; 2]) -> Self {
        let largest = if error == 0.0 { p } else { (p + error).next_up() };
        let end = usize::from(!(p > 0.0));
        let slack = if error == 0.0 { p.abs() } else { (p.abs() - error).next_down() };
        if !(slack > 0.0) {
            return Gate { largest, slack: 0.0, end, secants: [0.0, 1.0] };
        }
        let secants = if end == 0 {
            [if down > slack { slack / down * DOWN } else { 1.0 }, 1.0]
        } else {
            [0.0, if up > slack { ((up - slack) / up * UP).min(1.0) } else { 0.0 }]
        };
        Gate { largest, slack, end, secants }
    }
}

/// How far a ReLU follows when its pre-activation, at most `largest` before, moves down and up by at most so much. The increments of a
/// convex function are largest where it is steepest.
pub(super) fn grown(largest: f64, [down, up]: [f64; 2]) -> (f64, f64) {
    (down.min(largest.max(0.0)), up.min((largest + up).next_up().max(0.0)))
}
