//! What a search reads: the network, its radii and variables, and what no variable moves.

use super::kernels::length;
use super::space::Space;
use crate::kernels::rows::l1;
use crate::kernels::{Matrix, Scalar, product_transposed};
use crate::model::{Model, Radii, Step};
use crate::network::Network;
use crate::threat::{PerturbationSet, WeightSet};

/// A network and a set, in the form that both passes read; shared by all blocks.
pub(super) struct SearchProblem<'n, T> {
    pub model: Model<'n, T>,
    pub radii: Radii<T>,
    pub space: Space,
}

impl<'n, T: Scalar> SearchProblem<'n, T> {
    pub fn new(network: &'n Network, set: &PerturbationSet, space: Space) -> Self {
        let (model, radii) = (Model::new(network), Radii::new(set, network.nodes().len()));
        SearchProblem { model, radii, space }
    }

    /// Where the weights of node `index` move.
    pub fn weights(&self, index: usize) -> &WeightSet<T> {
        &self.radii.layer(index).weight
    }

    /// The first node that `index` reads, and whether a variable moves it.
    pub fn input_of(&self, index: usize) -> (usize, bool) {
        let input = self.model.input_of(index);
        (input, self.space.moving[input])
    }

    /// How far one unit carries the pre-activations of the dense node `index` for rows `z`: `Σ_j E_ij |z_j| + e_i`, or
    /// `r_i ‖z‖₂ + e_i`; for one ball `r ‖z‖₂`, one column.
    pub fn reach_at(&self, index: usize, z: &Matrix<T>) -> Matrix<T> {
        let bias = &self.radii.layer(index).bias;
        match self.weights(index) {
            WeightSet::Fixed => Matrix::from_fn(z.rows(), bias.len(), |_, i| bias[i]),
            WeightSet::Rows(rows) => {
                let norms: Vec<T> = (0..z.rows()).map(|s| l1(z.row(s))).collect();
                Matrix::from_fn(z.rows(), bias.len(), |s, i| rows[i] * norms[s] + bias[i])
            }
            WeightSet::Entries(e) => {
                let mut out = Matrix::default();
                product_transposed(&mut out, &z.map(num_traits::Float::abs), e);
                for s in 0..out.rows() {
                    super::kernels::add(out.row_mut(s), bias);
                }
                out
            }
            WeightSet::RowBalls(rows) => {
                let norms: Vec<T> = (0..z.rows()).map(|s| length(z.row(s))).collect();
                Matrix::from_fn(z.rows(), bias.len(), |s, i| rows[i] * norms[s] + bias[i])
            }
            WeightSet::Ball(r) => Matrix::from_fn(z.rows(), 1, |s, _| *r * length(z.row(s))),
        }
    }
}

/// What no variable moves, for a block of samples; computed once in f64.
#[derive(Clone, Debug)]
pub(super) struct FixedValues<T> {
    /// Clean values of nodes, (samples, width); nodes that no pass reads are empty.
    pub values: Vec<Matrix<T>>,
    /// [`SearchProblem::reach_at`] of dense nodes whose neurons have variables and that read a node that does not move.
    pub reach: Vec<Matrix<T>>,
    /// Ends of the intervals of the input, when it moves.
    pub input: Option<(Matrix<T>, Matrix<T>)>,
}

impl FixedValues<f64> {
    /// Reads it off the clean values of all nodes.
    pub fn new(problem: &SearchProblem<'_, f64>, values: &[Matrix<f64>]) -> Self {
        let (space, set) = (&problem.space, &problem.radii.set);
        let steps = &problem.model.steps;
        let reads_fixed = |k: usize| matches!(steps[k], Step::Affine(_)) && !problem.input_of(k).1;
        // What activations read: the descent compares it with the perturbed values.
        let activated: Vec<usize> = (0..steps.len())
            .filter(|&k| matches!(steps[k], Step::Activation(_)))
            .map(|k| problem.model.input_of(k))
            .collect();
        let value = |k: usize| {
            let read = !space.moving[k] || reads_fixed(k) || activated.contains(&k);
            if read { values[k].clone() } else { Matrix::default() }
        };
        let reach = |k: usize| {
            let read = space.nodes[k].neurons.is_some() && reads_fixed(k);
            if read { problem.reach_at(k, &values[problem.input_of(k).0]) } else { Matrix::default() }
        };
        let input = space.nodes[0].values.map(|_| {
            let x = &values[0];
            (x.map(|x| set.input_interval(x).0), x.map(|x| set.input_interval(x).1))
        });
        FixedValues {
            values: (0..values.len()).map(value).collect(),
            reach: (0..values.len()).map(reach).collect(),
            input,
        }
    }

    /// The same in the precision of the engine.
    pub fn cast<T: Scalar>(&self) -> FixedValues<T> {
        FixedValues {
            values: self.values.iter().map(Matrix::cast).collect(),
            reach: self.reach.iter().map(Matrix::cast).collect(),
            input: self.input.as_ref().map(|(l, u)| (l.cast(), u.cast())),
        }
    }
}
