//! Cross-entropy of the unperturbed network.

use super::{Evaluation, Objective, no_defect};
use crate::graph;
use crate::tape::{At, Op, Operation, Sink, Var, vectorized};
use weightproof::kernels::Scalar;

/// `−log softmax(f(x))_y`.
pub(super) const OBJECTIVE: Objective = Objective {
    name: "cross-entropy",
    summary: "cross-entropy of the unperturbed network",
    source: "",
    bound: false,
    defect: no_defect,
    loss,
};

fn loss<'t>(at: &Evaluation<'t>) -> graph::Var<'t> {
    at.logits().cross_entropy(at.labels)
}

/// `mean over s of log Σ_j exp(v_sj) − v_sy`.
struct CrossEntropy {
    labels: Box<[u32]>,
}

/// The largest number, and `Σ exp(v − largest)`.
#[inline(always)]
fn exponentials<T: Scalar>(v: &[T], mut each: impl FnMut(usize, T)) -> (T, T) {
    let most = v.iter().fold(-T::infinity(), |most, &v| if most >= v || most.is_nan() { most } else { v });
    let mut sum = T::zero();
    for (j, &v) in v.iter().enumerate() {
        let exponential = num_traits::Float::exp(v - most);
        each(j, exponential);
        sum += exponential;
    }
    (most, sum)
}

impl<T: Scalar> Operation<T> for CrossEntropy {
    fn forward(&self, at: &At<'_, '_, T>, out: &mut [T]) {
        let (v, labels) = (at.input(0), &self.labels);
        let sum: T = vectorized!(|| {
            let rows = v.data.chunks_exact(v.cols).zip(labels);
            rows.map(|(row, &label)| {
                let (most, sum) = exponentials(row, |_, _| {});
                most + num_traits::Float::ln(sum) - row[label as usize]
            })
            .sum()
        });
        out[0] = sum / T::from_f64(labels.len() as f64);
    }

    fn backward(&self, at: &At<'_, '_, T>, g: Vec<T>, sink: &mut Sink<'_, '_, T>) {
        let (v, labels) = (at.input(0), &self.labels);
        let share = g[0] / T::from_f64(labels.len() as f64);
        sink.pool.give(g);
        let mut back = sink.pool.take(v.data.len());
        let softmax = &mut back[..];
        vectorized!(|| {
            let rows = v.data.chunks_exact(v.cols).zip(labels);
            for (back, (row, &label)) in softmax.chunks_exact_mut(v.cols).zip(rows) {
                let (_, sum) = exponentials(row, |j, exponential| back[j] = exponential);
                back.iter_mut().for_each(|back| *back *= share / sum);
                back[label as usize] -= share;
            }
        });
        sink.give(0, back);
    }
}

impl<T: Scalar> Var<'_, T> {
    /// Mean cross-entropy of the labels, (1, 1), for rows of logits.
    pub fn cross_entropy(self, labels: &[u32]) -> Self {
        assert_eq!(self.shape()[0], labels.len(), "one label for each row");
        let op = Op::own(CrossEntropy { labels: labels.into() });
        self.tape().record(op, [Some(self)], [1, 1])
    }
}
